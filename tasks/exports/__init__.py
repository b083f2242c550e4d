"""A release exported to other programs, one file a format."""
