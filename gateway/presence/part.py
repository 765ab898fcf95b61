"""Presence in the process: the look for silence, the count of flaps, the connectivity log."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from core.contracts.bus import PresenceMessage
from core.db import Connection
from gateway import metrics
from gateway.parts import Changed, Followed, Gateway, Part
from gateway.presence import log
from gateway.presence.scan import keep_scanning
from gateway.settings import GatewaySettings, PresenceSettings
from gateway.state import VehicleState, Why, is_flap


def part(gateway: Gateway, settings: GatewaySettings, presence: PresenceSettings) -> Part:
    """Presence's part of the gateway."""

    async def scan(stop: asyncio.Event) -> None:
        await keep_scanning(gateway.database, presence, gateway.clock, settings.scan_every_s, stop)

    async def count_flaps(conn: Connection, followed: Followed) -> None:
        if isinstance(followed.body, PresenceMessage) and is_flap(
            followed.before, followed.after, followed.now, presence.flap_s
        ):
            await _count(conn, Changed(followed.before, followed.after, followed.now,
                                       followed.on_commit), presence)  # fmt: skip

    async def follow_changes(conn: Connection, changes: Sequence[Changed]) -> None:
        for change in changes:
            if _came_back(change.after) and is_flap(
                change.before, change.after, change.now, presence.flap_s
            ):
                await _count(conn, change, presence)
        await log.write(conn, changes, presence)

    return Part(loops=(scan,), followers=(count_flaps,), change_followers=(follow_changes,))


def _came_back(state: VehicleState) -> bool:
    """After a silence, by any message: a presence message's flaps are counted with it."""
    return state.presence_reason == Why.BACK


async def _count(conn: Connection, change: Changed, presence: PresenceSettings) -> None:
    window = timedelta(seconds=presence.unstable_window_s)
    await conn.execute(
        log.QUERIES["count_flap"],
        {
            "vin": change.after.vin,
            "now": change.now,
            "window_began": change.now - window,
            "window_ends": change.now + window,
            "unstable_flaps": presence.unstable_flaps,
        },
    )
    change.on_commit.append(metrics.FLAPS.inc)
