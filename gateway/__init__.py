"""Vehicle registry, credentials, presence, reported configuration, command log and quota."""
