"""The inbox of signed webhooks: each message once (DOMAIN 17)."""
