"""A vehicle as BUS.md describes it, its faults, and fleets of it."""
