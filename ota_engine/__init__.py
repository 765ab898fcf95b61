"""The activation lifecycle: commands, retries, expiry, tickets, and the proof before the money."""
