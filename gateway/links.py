"""The driver's confirmation of the app link, passed on to the API's worker (BUS, VehicleEvent)."""

import core.jobs
from core.contracts.bus import EventType, VehicleEvent
from core.contracts.jobs import LinkConfirmed
from core.db import Connection
from gateway.parts import Followed, Gateway, Part


def part(_gateway: Gateway) -> Part:
    """The links' part of the gateway."""
    return Part(followers=(pass_on,))


async def pass_on(conn: Connection, followed: Followed) -> None:
    """Defer LinkConfirmed for a LINK_CONFIRMED event."""
    event = followed.body
    if isinstance(event, VehicleEvent) and event.type is EventType.LINK_CONFIRMED:
        await core.jobs.defer(
            conn, LinkConfirmed(followed.vin, event.event_id, event.at, event.code)
        )
