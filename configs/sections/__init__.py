"""One frozen section of settings per stage."""
