"""The stages, one file each; what is known of them stands in `catalog`, what they share in the rooms below."""
