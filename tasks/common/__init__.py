"""What the stages share: the store, images, metrics, training, pictures of the report."""
