"""Who is there and who fell silent (DOMAIN 8)."""
