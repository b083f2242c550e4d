"""The tags of images, from the formats in which they lie around."""
