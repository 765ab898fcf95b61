"""The access token: a short JWT (HS256) that says who calls, to every room that serves HTTP."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from core.contracts.states import Role
from core.errors import Unauthenticated

_ALGORITHM = "HS256"
_ISSUER = "caas"


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """Who a token speaks of: a customer or an employee, and in which role (DOMAIN 2)."""

    user_id: UUID
    role: Role
    customer_id: UUID | None = None
    dealership_id: UUID | None = None
    employee_id: UUID | None = None


def sign_access(secret: str, claims: AccessClaims, now: datetime, lifetime_s: float) -> str:
    """A JWT of ``claims`` under ``secret``, good for ``lifetime_s`` from ``now``."""
    issued = int(now.timestamp())
    members: dict[str, Any] = {
        "iss": _ISSUER,
        "sub": str(claims.user_id),
        "role": claims.role.value,
        "iat": issued,
        "exp": issued + int(lifetime_s),
    }
    for name in ("customer_id", "dealership_id", "employee_id"):
        value = getattr(claims, name)
        if value is not None:
            members[name] = str(value)
    key = OctKey.import_key(secret)
    return jwt.encode({"alg": _ALGORITHM}, members, key, algorithms=[_ALGORITHM])


def read_access(secret: str, token: str, now: datetime) -> AccessClaims:
    """Who the token speaks of; Unauthenticated where it is forged, foreign or expired."""
    registry = jwt.JWTClaimsRegistry(
        now=int(now.timestamp()),
        iss={"essential": True, "value": _ISSUER},
        exp={"essential": True},
        sub={"essential": True},
        role={"essential": True},
    )
    try:
        members = jwt.decode(token, OctKey.import_key(secret), algorithms=[_ALGORITHM]).claims
        registry.validate(members)
        return AccessClaims(
            user_id=UUID(members["sub"]),
            role=Role(members["role"]),
            customer_id=_uuid(members.get("customer_id")),
            dealership_id=_uuid(members.get("dealership_id")),
            employee_id=_uuid(members.get("employee_id")),
        )
    except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
        # Not only what joserfc raises on purpose: a header may hold any JSON where it reads.
        raise Unauthenticated("TOKEN_INVALID", "the token is not valid or has expired") from error


def _uuid(text: Any) -> UUID | None:
    return None if text is None else UUID(str(text))
