"""Labels and predictions for other programs: VOC folders, COCO annotations, plain tables, submissions."""
