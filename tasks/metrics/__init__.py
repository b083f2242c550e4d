"""Measures of label maps, saliency and co-saliency maps."""
