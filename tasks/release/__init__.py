"""Numbered label sets: the gate, comparison, publishing and export."""
