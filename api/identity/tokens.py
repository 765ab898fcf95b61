"""Access tokens (signed JWT, short) and the opaque one-time tokens (refresh, activation)."""

import hashlib
import secrets
from dataclasses import asdict
from datetime import datetime

from api.identity.principal import Principal
from api.settings import ApiSettings
from core.contracts import access_token
from core.contracts.access_token import AccessClaims


def issue_access(settings: ApiSettings, principal: Principal, now: datetime) -> str:
    """A JWT that says who the caller is, good for ``access_token_s``."""
    secret = settings.jwt_secret.get_secret_value()
    claims = AccessClaims(**asdict(principal))
    return access_token.sign_access(secret, claims, now, settings.access_token_s)


def read_access(settings: ApiSettings, token: str, now: datetime) -> Principal:
    """Who the token speaks of; Unauthenticated where it is forged, foreign or expired."""
    claims = access_token.read_access(settings.jwt_secret.get_secret_value(), token, now)
    return Principal(**asdict(claims))


def new_secret() -> str:
    """A fresh opaque token, safe in a link."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """What is stored of an opaque token: enough to know it again, not to use it."""
    return hashlib.sha256(secret.encode()).hexdigest()
