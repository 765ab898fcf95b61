"""The workshops' Vehicle Service System: maintenance facts, read only for the platform."""
