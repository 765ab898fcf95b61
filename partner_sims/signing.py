"""Webhook signatures: HMAC-SHA256 over the raw body, in hex (DOMAIN 17)."""

import hashlib
import hmac

FACTORY_HEADER = "X-Factory-Signature"
SIGNATURE_HEADER = "X-Signature"
ID_HEADER = "X-Webhook-Id"
TIMESTAMP_HEADER = "X-Webhook-Timestamp"


def sign(body: bytes, secret: str) -> str:
    """The signature of ``body`` under ``secret``."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
