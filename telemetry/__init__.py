"""Bytes to samples to TimescaleDB, latest state, connectivity log, quarantine."""
