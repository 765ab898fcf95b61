"""What the broker says of itself, as metrics."""
