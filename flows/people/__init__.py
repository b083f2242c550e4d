"""The loop with people: what to correct is handed over, and what was corrected taken back."""
