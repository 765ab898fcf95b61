"""Vehicles behind a foreign IoT API, made to look like any other on the bus (DOMAIN 1 and 9)."""
