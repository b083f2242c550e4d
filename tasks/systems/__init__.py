"""Saliency and group systems: how each is built, trained and asked, one record each, and the registry of all."""
