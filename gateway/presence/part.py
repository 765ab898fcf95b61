"""Presence in the process: the look for silence, and the count of flaps."""

import asyncio

from core.contracts.bus import PresenceMessage
from core.db import Connection
from gateway import metrics
from gateway.parts import Followed, Gateway, Part
from gateway.presence.scan import keep_scanning
from gateway.settings import GatewaySettings, PresenceSettings
from gateway.state import is_flap


def part(gateway: Gateway, settings: GatewaySettings, presence: PresenceSettings) -> Part:
    """Presence's part of the gateway."""

    async def scan(stop: asyncio.Event) -> None:
        await keep_scanning(gateway.database, presence, gateway.clock, settings.scan_every_s, stop)

    async def count_flaps(conn: Connection, followed: Followed) -> None:
        if isinstance(followed.body, PresenceMessage) and is_flap(
            followed.before, followed.after, followed.now, presence.flap_s
        ):
            followed.on_commit.append(metrics.FLAPS.inc)

    return Part(loops=(scan,), followers=(count_flaps,))
