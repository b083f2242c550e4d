"""Building artifacts: orders, what is taken over of older ones, and clearing up after all of them."""
