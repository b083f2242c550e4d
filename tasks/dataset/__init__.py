"""Images, tags, label maps, class maps and ground truth on disk."""
