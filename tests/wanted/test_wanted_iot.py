"""What the IoT API had set is wanted from its proof on, and ends as it was ordered."""

from datetime import timedelta

from core.contracts.bus import Command, CommandKind, SafeState
from core.contracts.jws import sign
from core.ids import new_id
from gateway.dispatch.service import enqueue
from tests.ota_engine.world import KEYS, POWER_OFF, POWER_ON, VIN
from tests.wanted.world import POWER, Chain


async def order(world: Chain, hours: float | None) -> None:
    """A caller of the IoT API switches power on; the car does it."""
    now = world.ota.clock.now()
    draft = Command(
        vin=VIN,
        command_id=new_id(),
        seq=1,
        kind=CommandKind.CONFIGURE,
        issued_at=now,
        expires_at=now + timedelta(seconds=300),
        service="PERF_BOOST_50",
        values=POWER_ON,
        safe_state=SafeState.PARKED,
        valid_until=None if hours is None else now + timedelta(hours=hours),
        revert_values=POWER_OFF if hours else [],
    )
    async with world.room.transaction() as conn:
        command = await enqueue(conn, draft, source="iot:fleet", quota=10, complete_s=300)
    await world.car.take(sign(command, KEYS.current))
    assert world.car.values[POWER] == "HIGH"


async def test_it_is_wanted_and_watched(world: Chain) -> None:
    await order(world, None)
    assert await world.wanted() == {POWER: "HIGH"}
    [row] = await world.ota.sql("SELECT cause FROM gateway.wanted_v1")
    assert row["cause"] == "iot:fleet: PERF_BOOST_50"
    world.ota.clock.advance(60)
    world.car.set_by_hand(POWER, "NORMAL")
    await world.car.report()
    await world.work()
    assert world.car.values[POWER] == "HIGH"
    assert [drift["ended"] for drift in await world.drifts()] == ["CORRECTED"]


async def test_its_end_is_no_drift_and_is_made_up_for_where_it_was_missed(world: Chain) -> None:
    await order(world, 1)
    world.ota.clock.advance(3601)
    await world.car.time()
    assert world.car.values[POWER] == "NORMAL"
    world.ota.clock.advance(3600)
    await world.car.report()
    assert await world.drifts() == []
    await order(world, 1)
    world.car.unit.state.timers.clear()  # the unit forgets it
    world.ota.clock.advance(3601)
    await world.car.report()
    assert await world.drifts() == [], "within the grace either is right"
    world.ota.clock.advance(300)
    await world.car.report()
    await world.work()
    assert world.car.values[POWER] == "NORMAL"
    assert [drift["cause"] for drift in await world.drifts()] == ["NOT_FOLLOWED"]


async def test_a_correction_keeps_to_the_quota(world: Chain) -> None:
    """Ten an hour, whoever orders them: the correction waits for its place."""
    for _ in range(10):
        await order(world, None)
        world.ota.clock.advance(1)
    world.car.set_by_hand(POWER, "NORMAL")
    await world.car.report()
    await world.work()
    assert world.car.values[POWER] == "NORMAL"
    assert await world.ota.tickets() == []
    await world.later(3600)
    assert world.car.values[POWER] == "HIGH"
    assert [drift["ended"] for drift in await world.drifts()] == ["CORRECTED"]
