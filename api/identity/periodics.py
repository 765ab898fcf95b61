"""Housekeeping of logins: tokens that are over, counts of minutes that are over."""

from api import limits
from api.deps import ApiDeps
from api.identity import repository
from api.periodic import Periodic
from core.db import Connection

_EVERY_S = 600.0


def periodics(deps: ApiDeps) -> tuple[Periodic, ...]:
    """Drop what is of no use any more."""

    async def forget(conn: Connection) -> None:
        await repository.forget_refresh(conn, deps.clock.now())
        await limits.forget(conn, deps.clock.now())

    return (Periodic("identity.forget", _EVERY_S, forget),)
