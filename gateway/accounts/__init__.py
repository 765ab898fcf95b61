"""Accounts that change while the broker runs: an overlay over its password file (ADR 5)."""
