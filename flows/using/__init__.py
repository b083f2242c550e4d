"""Using what a run delivers: its segmenter, on images and in other programs."""
