"""What a served installation needs: settings, slots, lost and missed runs."""
