"""What group systems are trained on: images that share a tag, and batches of such groups."""
