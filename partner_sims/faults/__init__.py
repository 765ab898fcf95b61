"""Fault knobs: how a partner is made to misbehave on purpose."""
