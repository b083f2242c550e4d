"""Algorithms without networks: dense CRF, background prior, groups of tags."""
