"""One file a format of tags, and what they share."""
