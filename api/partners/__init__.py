"""The way to the outside systems: HTTP with timeout, bounded retry, metrics and logs."""
