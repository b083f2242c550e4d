"""Networks and losses: torch alone, no files, no configuration objects."""
