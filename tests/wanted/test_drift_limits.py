"""Corrections stand back: for customers, for what is not ours, and for a car that fights."""

import asyncio

import pytest

from core.contracts.bus import Operational, ParameterSetting, Reason
from core.contracts.jobs import CorrectDrift, WithdrawActivation
from gateway.wanted import metrics
from tests.ota_engine.world import POWER_OFF, POWER_ON, VIN
from tests.wanted.test_drift_chain import HOUR, bought, configures, only_drift
from tests.wanted.world import OFF_ROAD, POWER, SNOW, STREAMING, Chain
from vehicle_sim.faults import Fault, FaultKind, FaultSet


def brakes(on: bool) -> list[ParameterSetting]:
    return [ParameterSetting("BRAKES", "abs_enabled", on)]


async def corrections(world: Chain) -> list[tuple[str, str | None]]:
    rows = await world.ota.sql(
        "SELECT state, last_reason FROM ota.delivery WHERE direction = 'CORRECTION'"
        " ORDER BY created_at, delivery_id"
    )
    return [(row["state"], row["last_reason"]) for row in rows]


@pytest.mark.parametrize("bought_before", [True, False])
async def test_a_base_parameter_is_reported_and_never_corrected(
    world: Chain, bought_before: bool
) -> None:
    """S2: no command addresses it, but people must see that somebody turned at it."""
    counter = metrics.DRIFTS.labels("NOT_MANAGED")._value
    counted = counter.get()
    world.car.base = brakes(True)
    await world.car.report()
    if bought_before:
        await bought(world)
    assert await world.drifts() == []
    world.ota.clock.advance(60)
    world.car.base = brakes(False)
    await world.car.report()
    await world.car.report()
    await world.look()
    await world.work()
    drift = await only_drift(world)
    assert (drift["cause"], drift["state"], drift["ended"]) == ("NOT_MANAGED", "CLOSED", "NOTED")
    assert drift["difference"] == [
        {"module": "BRAKES", "parameter": "abs_enabled", "before": True, "reported": False}
    ]
    assert counter.get() == counted + 1
    assert configures(world) == int(bought_before)
    assert "BRAKES.abs_enabled" not in await world.wanted()
    # Each change is on record, but no vehicle writes without end.
    for turn in range(20):
        world.ota.clock.advance(60)
        world.car.base = brakes(turn % 2 == 0)
        await world.car.report()
    assert len(await world.drifts()) == world.settings.drifts_per_day
    assert counter.get() == counted + 21


async def test_beside_a_drift_a_base_parameter_stays_as_it_is(world: Chain) -> None:
    world.car.base = brakes(True)
    await world.car.report()
    await bought(world)
    world.ota.clock.advance(60)
    world.car.base = brakes(False)
    world.car.set_by_hand(POWER, "NORMAL")
    await world.car.report()
    await world.work()
    assert {drift["cause"] for drift in await world.drifts()} == {
        "NOT_MANAGED",
        "CHANGED_IN_VEHICLE",
    }
    assert world.car.values[POWER] == "HIGH"
    assert world.car.base == brakes(False)
    assert [item.parameter for item in world.ota.last.values] == ["power_mode"]


async def test_an_option_nobody_bought_is_noted_but_a_purchase_is_no_hand(world: Chain) -> None:
    """It was never ours to switch: off and on are its owner's matter until it is sold."""
    await bought(world)
    assert await world.drifts() == []
    world.ota.clock.advance(60)
    world.car.set_by_hand(SNOW, 1)
    await world.car.report()
    await world.work()
    drift = await only_drift(world)
    assert (drift["cause"], drift["ended"]) == ("NOT_MANAGED", "NOTED")
    assert configures(world) == 1
    # Buying what a hand has switched, and a proof that comes late, are none.
    await bought(world, "OFF_ROAD")
    assert len(await world.drifts()) == 1


async def test_a_customer_goes_before_a_correction_that_waits_for_the_car_to_stand(
    world: Chain,
) -> None:
    """A drive of hours must not keep a paid service back that needs no standstill."""
    await bought(world, days=None)
    world.car.operational = Operational.RUNNING
    world.ota.clock.advance(60)
    world.car.set_by_hand(POWER, "NORMAL")
    await world.car.report()
    await world.work()
    assert await corrections(world) == [("DEFERRED", "UNSAFE_STATE")]
    job = await world.ota.buy("PREMIUM_ENTERTAINMENT", days=7)
    await world.work()
    assert await world.ota.state(job) == "ACTIVE"
    assert world.car.values[STREAMING] is True
    # The correction goes on, within the same 24 hours.
    world.car.operational = Operational.PARKED
    await world.ota.vehicle(
        "ONLINE", operational="PARKED", status={"at": world.ota.clock.now().isoformat()}
    )
    await world.later(60)
    assert world.car.values[POWER] == "HIGH"
    assert [drift["ended"] for drift in await world.drifts()] == ["CORRECTED"]
    assert [row["state"] for row in await world.ota.sql(
        "SELECT state FROM ota.delivery WHERE direction = 'CORRECTION'")] == ["DONE"]  # fmt: skip


async def test_corrections_leave_room_in_the_quota_for_customers(world: Chain) -> None:
    """DOMAIN 7: ten an hour for all; corrections stop at six, one of them the purchase here."""
    await bought(world, days=None)
    world.car.unit.faults = FaultSet([Fault(kind=FaultKind.REFUSE, reason=Reason.BUSY)])
    for hand in ("NORMAL", "ECO"):
        world.ota.clock.advance(1)
        world.car.set_by_hand(POWER, hand)
        await world.car.report()
        for _ in range(20):
            await world.later(60)
    limit = world.ota.settings.quota_per_hour - world.ota.settings.correction_reserve
    assert configures(world) == limit
    assert await corrections(world) == [("FAILED", "BUSY"), ("WAITING", "QUOTA")]
    world.car.unit.faults = FaultSet()
    for service in ("OFF_ROAD", "PREMIUM_ENTERTAINMENT"):
        await bought(world, service)
    assert configures(world) == limit + 2
    # Once the hour is over it is made up for.
    await world.later(HOUR)
    await world.later(HOUR)
    assert world.car.values[POWER] == "HIGH"


async def test_a_correction_leaves_alone_what_a_customers_delivery_has_in_hand(
    world: Chain,
) -> None:
    """Bought again while the car still drives with the old one on: no off and on for nothing."""
    await world.want(*POWER_OFF)
    world.car.set_by_hand(POWER, "HIGH")
    world.car.unit.faults = FaultSet([Fault(kind=FaultKind.REFUSE, reason=Reason.BUSY)])
    await world.car.report()
    await world.work()
    assert await corrections(world) == [("WAITING", "BUSY")]
    world.ota.clock.advance(20)
    job = await world.ota.buy("PERF_BOOST_50", days=None)
    await world.work()
    assert await world.ota.state(job) == "RETRY_SCHEDULED"
    await world.later(15)  # the correction's turn, and not yet the purchase's
    assert await corrections(world) == [("ABANDONED", "IN_HAND")]
    world.car.unit.faults = FaultSet()
    await world.later(30)
    assert await world.ota.state(job) == "ACTIVE"
    sent = [command.values for command in world.ota.commands()]
    assert sent == [POWER_OFF, POWER_ON, POWER_ON]
    await world.look()
    assert (await only_drift(world))["state"] == "CLOSED"


async def test_a_correction_nobody_makes_is_asked_for_without_a_report(world: Chain) -> None:
    """The engine dropped it for a customer's delivery; the car may not report for days."""
    await bought(world, days=None)
    world.ota.clock.advance(60)
    world.car.set_by_hand(POWER, "NORMAL")
    await world.car.report()
    [row] = await world.ota.deferred("ota.correct_drift")
    world.corrected += 1  # it never comes to a delivery
    await world.look()
    assert await world.ota.deferred("ota.correct_drift") == [row]
    await world.later(world.settings.ask_every_s)
    await world.look()
    await world.work()
    assert world.car.values[POWER] == "HIGH"
    assert (await only_drift(world))["ended"] == "CORRECTED"


async def test_replicas_at_once_make_one_correction(world: Chain) -> None:
    """The same job twice, and the same look by several gateways: one question, one delivery."""
    await bought(world, days=None)
    world.ota.clock.advance(60)
    world.car.set_by_hand(POWER, "NORMAL")
    await world.car.report()
    world.ota.clock.advance(world.settings.ask_every_s)
    await asyncio.gather(*(world.look() for _ in range(4)))
    jobs = await world.ota.deferred("ota.correct_drift")
    assert len(jobs) == 2, "the report's, and that of one look"
    drift = (await only_drift(world))["drift_id"]
    await asyncio.gather(*(world.ota.do(CorrectDrift(VIN, drift)) for _ in range(4)))
    rows = await world.ota.sql("SELECT state FROM ota.delivery WHERE direction = 'CORRECTION'")
    assert len(rows) == 1
    assert configures(world) == 2


async def test_no_page_of_drifts_hides_the_next(world: Chain) -> None:
    """Vehicles whose drift cannot be judged yet must not keep the look from the others."""
    await world.want(*POWER_OFF)
    world.car.set_by_hand(POWER, "HIGH")
    world.ota.clock.advance(60)
    await world.car.report()
    others = [f"AAAAAAAAAAAA{n:05}" for n in range(450)]
    await world.ota.sql(
        "INSERT INTO gateway.vehicle (vin, model, firmware) SELECT unnest(%s::text[]), 'AURORA',"
        " '2.4.1'", others,
    )  # fmt: skip
    await world.ota.sql(
        "INSERT INTO gateway.wanted (vin, version, wanted_values, changed_at, cause)"
        " SELECT unnest(%s::text[]), 2, '[]', now(), 'test'", others,
    )  # fmt: skip
    await world.ota.sql(
        "INSERT INTO gateway.drift (drift_id, vin, opened_at, cause, state, wanted_version,"
        " difference, firmware, report_seq, report_at) SELECT gen_random_uuid(), v, now(),"
        " 'NOT_FOLLOWED', 'FAILED', 1, '[]', '2.4.1', 1, now() FROM unnest(%s::text[]) v", others,
    )  # fmt: skip
    await world.want(*POWER_ON)
    await world.look()
    rows = await world.ota.sql("SELECT ended FROM gateway.drift WHERE vin = %s", VIN)
    assert [row["ended"] for row in rows] == ["SUPERSEDED"]


async def test_only_what_the_gateway_found_is_corrected(world: Chain) -> None:
    """A value about to end by itself is the car's own business, beside a drift too (DOMAIN 4)."""
    await bought(world, days=1)
    await bought(world, "OFF_ROAD", days=None)
    world.ota.clock.advance(86400 - 120)
    world.car.unit.faults = FaultSet([Fault(kind=FaultKind.CLOCK_SKEW, seconds=180)])
    await world.car.time()
    world.car.set_by_hand(OFF_ROAD, False)
    await world.car.report()
    await world.work()
    assert (world.car.values[POWER], world.car.values[OFF_ROAD]) == ("NORMAL", True)
    assert [item.parameter for item in world.ota.last.values] == ["off_road_mode"]
    assert configures(world) == 3


async def test_old_drifts_are_forgotten_open_ones_never(world: Chain) -> None:
    await bought(world, days=None)
    world.ota.clock.advance(60)
    world.car.set_by_hand(POWER, "NORMAL")
    await world.car.report()
    await world.work()
    await world.later(86400)
    world.car.set_by_hand(POWER, "NORMAL")
    await world.car.report()
    world.ota.clock.advance(86400 * (world.settings.keep_days - 0.5))
    await world.look()
    assert [drift["state"] for drift in await world.drifts()] == ["CORRECTING"]


async def test_a_withdrawal_while_a_correction_is_out_ends_off(world: Chain) -> None:
    """The correction has just sent ON when the customer gives the service back."""
    job = await bought(world, days=None)
    world.ota.clock.advance(60)
    world.car.set_by_hand(POWER, "NORMAL")
    await world.car.report()
    world.car.line = False
    await world.work()
    assert configures(world) == 2
    await world.ota.do(WithdrawActivation(activation_id=job.activation_id))
    world.car.line = True
    await world.work()
    for _ in range(3):
        await world.later(120)
        await world.look()
    assert world.car.values[POWER] == "NORMAL"
    assert await world.wanted() == {POWER: "NORMAL"}
    assert await world.ota.deliveries(job, "OFF") == ["DONE"]
    assert all(drift["closed_at"] for drift in await world.drifts())
