"""Accounts, passwords, tokens: who calls, and as whom (DOMAIN 2)."""
