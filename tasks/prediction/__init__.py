"""Using a trained segmenter on images that belong to no dataset."""
