"""The command line and the composition: starts services, migrates, seeds, demo, doctor."""
