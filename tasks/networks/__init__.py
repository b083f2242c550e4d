"""Networks from settings, their weights and folders, and their input."""
