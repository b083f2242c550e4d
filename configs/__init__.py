"""Typed settings: schema, reading, and documentation of every field."""
