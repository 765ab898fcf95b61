"""Bearer authentication of the partners' callers."""

import secrets
from typing import Annotated

from fastapi import Header
from pydantic import SecretStr

from partner_sims.errors import PartnerError
from partner_sims.sims import SimsDep

Authorization = Annotated[str | None, Header()]


def bearer_of(authorization: str | None) -> str:
    """The token of an ``Authorization: Bearer …`` header, else 401."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise PartnerError(401, "UNAUTHORIZED", "a bearer token is needed")
    return token.strip()


def _check(authorization: str | None, expected: SecretStr) -> None:
    given = bearer_of(authorization)
    if not secrets.compare_digest(given.encode(), expected.get_secret_value().encode()):
        raise PartnerError(401, "UNAUTHORIZED", "the token is not valid")


async def factory_caller(sims: SimsDep, authorization: Authorization = None) -> None:
    _check(authorization, sims.settings.factory_token)


async def payment_caller(sims: SimsDep, authorization: Authorization = None) -> None:
    _check(authorization, sims.settings.payment_token)


async def authority_caller(sims: SimsDep, authorization: Authorization = None) -> None:
    _check(authorization, sims.settings.authority_token)
