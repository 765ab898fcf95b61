"""The whole platform on one machine, with a fleet: for a first look, for QA and for the story."""
