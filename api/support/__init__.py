"""What support and finance staff see and may do (DOMAIN 7, 16)."""
