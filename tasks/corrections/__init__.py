"""Masks that people corrected: the folder that keeps them, and what brings them back from other programs."""
