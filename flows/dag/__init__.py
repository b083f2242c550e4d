"""Which stages a run has, fed by what; nothing is run here."""
