"""Masks as other programs write them: run lengths and polygons."""
