"""Numbered label sets: the gate, comparison and publishing."""
