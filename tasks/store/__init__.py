"""The artifact store: one immutable folder per result, found by what made it."""
