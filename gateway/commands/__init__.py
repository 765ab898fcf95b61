"""The log of every command, whichever door it came in by (DOMAIN 7, Quota)."""
