"""The connectivity log and the count of flaps, on the in-memory broker and a real database."""

from typing import Any

from core.contracts.bus import PresenceMessage
from core.db import Database
from gateway import metrics
from gateway.presence.scan import scan
from tests.gateway.test_gateway_consumer import World, presence, status, world

__all__ = ["world"]


async def entries(room: Database) -> list[tuple[Any, ...]]:
    async with room.transaction() as conn:
        rows = await conn.dicts("SELECT * FROM gateway.connectivity_v1 ORDER BY id")
    return [(r["from_presence"], r["to_presence"], r["reason"], r["flaps"]) for r in rows]


async def connection(room: Database, vin: str) -> dict[str, Any]:
    async with room.transaction() as conn:
        [row] = await conn.dicts(
            "SELECT * FROM gateway.connection_v1 WHERE vin = %(vin)s", {"vin": vin}
        )
    return row


def goodbye(session: str, seconds: int) -> PresenceMessage:
    return presence("OFFLINE", session, seconds + 1)


async def test_each_change_has_its_reason(world: World) -> None:
    await world.online("one", 10)
    world.clock.advance(100)
    await world.say("status", status(10))
    world.clock.advance(100)
    await world.say("status", status(80))
    world.clock.advance(100)
    await world.say("presence", presence("OFFLINE", "one", 9))
    world.clock.advance(100)
    await world.online("two", 400)
    world.clock.advance(100)
    await world.say("presence", goodbye("two", 400))
    world.clock.advance(100)
    await world.online("three", 600)
    world.clock.advance(400)
    assert await scan(world.room, world.presence, world.clock) == 1
    world.clock.advance(100)
    await world.say("telemetry", b"{}")
    assert await entries(world.room) == [
        ("OFFLINE", "ONLINE", "CONNECT", 0),
        ("ONLINE", "LIMITED", "WEAK_SIGNAL", 0),
        ("LIMITED", "ONLINE", "STRONG_SIGNAL", 0),
        ("ONLINE", "OFFLINE", "WILL", 0),
        ("OFFLINE", "ONLINE", "CONNECT", 0),
        ("ONLINE", "OFFLINE", "DISCONNECT", 0),
        ("OFFLINE", "ONLINE", "CONNECT", 0),
        ("ONLINE", "OFFLINE", "SILENCE", 0),
        ("OFFLINE", "ONLINE", "BACK", 0),
    ]


async def test_a_run_of_flaps_is_one_entry_and_makes_unstable(world: World) -> None:
    """Debounced and counted: short outages are no outages, but a vehicle that flaps is unstable."""
    counted = metrics.FLAPS._value.get()
    await world.online("0", 0)
    for number in range(1, 6):
        world.clock.advance(100)
        await world.say("presence", presence("OFFLINE", str(number - 1), 1000 * number - 1000))
        world.clock.advance(20)
        await world.online(str(number), 1000 * number)
    assert await entries(world.room) == [
        ("OFFLINE", "ONLINE", "CONNECT", 0),
        ("ONLINE", "ONLINE", "FLAP", 5),
    ]
    row = await connection(world.room, "VF1AURXRA00000017")
    assert (row["flaps"], row["flap_streak"], row["last_flap_at"]) == (5, 5, world.clock.now())
    assert (row["unstable_until"] - world.clock.now()).total_seconds() == 600
    assert metrics.FLAPS._value.get() == counted + 5
    await scan(world.room, world.presence, world.clock)
    assert metrics.UNSTABLE._value.get() == 1
    # A window without a flap: stable again, and the next one begins a new run.
    world.clock.advance(601)
    await world.say("telemetry", b"{}")
    await scan(world.room, world.presence, world.clock)
    assert metrics.UNSTABLE._value.get() == 0
    await world.say("presence", presence("OFFLINE", "5", 4000))
    world.clock.advance(20)
    await world.online("6", 6000)
    assert (await entries(world.room))[2:] == [("ONLINE", "ONLINE", "FLAP", 1)]
    assert (await connection(world.room, "VF1AURXRA00000017"))["flap_streak"] == 1


async def test_a_true_outage_between_flaps_stays_an_outage(world: World) -> None:
    await world.online("0", 0)
    world.clock.advance(100)
    await world.say("presence", presence("OFFLINE", "0", 0))
    world.clock.advance(61)
    await world.online("1", 1000)
    assert [entry[2] for entry in await entries(world.room)] == ["CONNECT", "WILL", "CONNECT"]
    assert (await connection(world.room, "VF1AURXRA00000017"))["flaps"] == 0


async def test_a_silence_that_ends_at_once_is_a_flap(world: World) -> None:
    await world.online("0", 0)
    world.clock.advance(316)
    assert await scan(world.room, world.presence, world.clock) == 1
    world.clock.advance(5)
    await world.say("telemetry", b"{}")
    assert await entries(world.room) == [
        ("OFFLINE", "ONLINE", "CONNECT", 0),
        ("ONLINE", "ONLINE", "FLAP", 1),
    ]
    assert (await connection(world.room, "VF1AURXRA00000017"))["flaps"] == 1


async def test_the_log_is_kept_as_long_as_set(world: World) -> None:
    await world.online("0", 0)
    world.clock.advance(89 * 86400)
    await scan(world.room, world.presence, world.clock)
    assert len(await entries(world.room)) == 2
    world.clock.advance(2 * 86400)
    await scan(world.room, world.presence, world.clock)
    assert [entry[2] for entry in await entries(world.room)] == ["SILENCE"]
