"""What a run leaves in the UI."""
