"""The gateway's own commands, from durable to proved: what the IoT API orders (DOMAIN 7)."""
