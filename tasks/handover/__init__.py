"""A release handed over to other programs, one file a format."""
