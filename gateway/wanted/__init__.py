"""Wanted and reported configuration: one document a vehicle, and what drifts from it (DOMAIN 8)."""
