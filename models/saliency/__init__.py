"""Networks for salient objects in single images, and their losses."""
