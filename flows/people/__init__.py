"""The loop with people: what to correct is exported, and what was corrected imported."""
