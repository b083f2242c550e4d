"""The drawn dataset of the demo."""
