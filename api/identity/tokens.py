"""Access tokens (signed JWT, short) and the opaque one-time tokens (refresh, activation)."""

import hashlib
import secrets
from datetime import datetime
from typing import Any
from uuid import UUID

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from api.identity.principal import Principal
from api.settings import ApiSettings
from core.contracts.states import Role
from core.errors import Unauthenticated

_ALGORITHM = "HS256"
_ISSUER = "caas"


def issue_access(settings: ApiSettings, principal: Principal, now: datetime) -> str:
    """A JWT that says who the caller is, good for ``access_token_s``."""
    issued = int(now.timestamp())
    claims: dict[str, Any] = {
        "iss": _ISSUER,
        "sub": str(principal.user_id),
        "role": principal.role.value,
        "iat": issued,
        "exp": issued + int(settings.access_token_s),
    }
    for name in ("customer_id", "dealership_id", "employee_id"):
        value = getattr(principal, name)
        if value is not None:
            claims[name] = str(value)
    return jwt.encode({"alg": _ALGORITHM}, claims, _key(settings), algorithms=[_ALGORITHM])


def read_access(settings: ApiSettings, token: str, now: datetime) -> Principal:
    """Who the token speaks of; Unauthenticated where it is forged, foreign or expired."""
    registry = jwt.JWTClaimsRegistry(
        now=int(now.timestamp()),
        iss={"essential": True, "value": _ISSUER},
        exp={"essential": True},
        sub={"essential": True},
        role={"essential": True},
    )
    try:
        claims = jwt.decode(token, _key(settings), algorithms=[_ALGORITHM]).claims
        registry.validate(claims)
        return Principal(
            user_id=UUID(claims["sub"]),
            role=Role(claims["role"]),
            customer_id=_uuid(claims.get("customer_id")),
            dealership_id=_uuid(claims.get("dealership_id")),
            employee_id=_uuid(claims.get("employee_id")),
        )
    except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
        # Not only what joserfc raises on purpose: a header may hold any JSON where it reads.
        raise Unauthenticated("TOKEN_INVALID", "the token is not valid or has expired") from error


def new_secret() -> str:
    """A fresh opaque token, safe in a link."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """What is stored of an opaque token: enough to know it again, not to use it."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _key(settings: ApiSettings) -> OctKey:
    return OctKey.import_key(settings.jwt_secret.get_secret_value())


def _uuid(text: Any) -> UUID | None:
    return None if text is None else UUID(str(text))
