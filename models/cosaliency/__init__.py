"""Networks for the objects that a group of images shares, and their losses."""
