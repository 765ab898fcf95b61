"""Drifts end to end: found once, corrected by commands, closed by the report that shows it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from core.contracts.bus import Operational, Reason
from core.contracts.jobs import RequestActivation, WithdrawActivation
from core.contracts.topics import Topic
from tests.ota_engine.world import OFFROAD_OFF, POWER_OFF, VIN
from tests.wanted.world import OFF_ROAD, POWER, SNOW, Chain
from vehicle_sim.faults import Fault, FaultKind, FaultSet
from vehicle_sim.unit import ControlUnit

HOUR = 3600.0


async def bought(
    world: Chain, service: str = "PERF_BOOST_50", days: int | None = 7
) -> RequestActivation:
    job = await world.ota.buy(service, days=days)
    await world.work()
    assert await world.ota.state(job) == "ACTIVE"
    return job


def configures(world: Chain) -> int:
    return len(world.ota.commands())


async def only_drift(world: Chain) -> dict[str, Any]:
    [drift] = await world.drifts()
    return drift


async def test_in_step_costs_no_work_and_opens_nothing(world: Chain) -> None:
    await bought(world)
    await world.car.report()
    [state] = await world.ota.sql("SELECT * FROM gateway.vehicle_state")
    assert (state["in_step_digest"], state["in_step_version"]) == (state["reported_digest"], 1)
    assert await world.drifts() == []


async def test_a_technicians_change_is_undone_without_charge(world: Chain) -> None:
    """A service that is paid and ACTIVE but found off is switched on again, and nobody pays."""
    job = await bought(world)
    captures = await world.ota.deferred("api.capture_payment")
    world.ota.clock.advance(60)
    world.car.set_by_hand(POWER, "NORMAL")
    await world.car.report()
    drift = await only_drift(world)
    assert (drift["cause"], drift["state"]) == ("CHANGED_IN_VEHICLE", "CORRECTING")
    assert drift["difference"] == [
        {"module": "ENGINE_CONTROL", "parameter": "power_mode", "wanted": "HIGH",
         "reported": "NORMAL"},
    ]  # fmt: skip
    await world.work()
    assert world.car.values[POWER] == "HIGH"
    drift = await only_drift(world)
    assert (drift["state"], drift["ended"]) == ("CLOSED", "CORRECTED")
    # The end the customer paid for still stands in the car.
    end = (await world.ota.activation(job.activation_id))["expires_at"]
    assert world.ota.last.valid_until == end
    assert [timer.at for timer in world.car.unit.state.timers] == [end]
    assert await world.ota.deferred("api.capture_payment") == captures
    assert (await world.ota.activation(job.activation_id))["total_attempts"] == 1
    assert await world.ota.state(job) == "ACTIVE"


async def test_a_withdrawal_that_did_not_reach_the_car_is_made_up_for(world: Chain) -> None:
    """The switch-off failed while the car was away; it comes back with everything on."""
    job = await bought(world)
    await world.car.lose_line()
    await world.ota.do(WithdrawActivation(activation_id=job.activation_id))
    for _ in range(60):
        await world.later(300)
    assert await world.ota.deliveries(job, "OFF") == ["FAILED"]
    assert world.car.values[POWER] == "HIGH"
    assert await world.drifts() == []
    await world.car.connect()
    drift = await only_drift(world)
    assert drift["cause"] == "NOT_FOLLOWED"
    await world.work()
    assert world.car.values[POWER] == "NORMAL"
    assert (await only_drift(world))["ended"] == "CORRECTED"
    assert configures(world) == 2


async def test_a_missed_end_by_a_car_whose_clock_stands_is_made_up_for(world: Chain) -> None:
    """`valid_until` passed while the car was away and its unit did not see it."""
    job = await bought(world, days=1)
    await world.car.lose_line()
    world.car.unit.state.timers.clear()
    world.ota.clock.advance(2 * 86400)
    await world.ota.settle()
    for _ in range(60):
        await world.later(300)
    assert await world.ota.state(job) == "EXPIRED"
    await world.car.connect()
    await world.work()
    assert world.car.values[POWER] == "NORMAL"
    assert [drift["ended"] for drift in await world.drifts()] == ["CORRECTED"]


async def test_a_replaced_unit_gets_back_what_is_paid_for(world: Chain) -> None:
    """Factory values, command number 0: everything in use is set again, nothing else."""
    await bought(world)
    await bought(world, "OFF_ROAD", days=None)
    world.ota.clock.advance(HOUR)
    world.car.replace_unit()
    await world.car.connect()
    drift = await only_drift(world)
    assert (drift["cause"], drift["report_seq"]) == ("UNIT_REPLACED", 0)
    await world.work()
    assert (world.car.values[POWER], world.car.values[OFF_ROAD]) == ("HIGH", True)
    assert world.car.values[SNOW] == 1
    assert [drift["ended"] for drift in await world.drifts()] == ["CORRECTED"]
    assert configures(world) == 4


async def test_a_unit_of_another_model_is_an_alarm_and_gets_no_command(world: Chain) -> None:
    await bought(world)
    world.ota.clock.advance(HOUR)
    world.car.replace_unit("CIERZO")
    await world.car.connect()
    await world.car.report()
    await world.work()
    drift = await only_drift(world)
    assert (drift["cause"], drift["state"], drift["reason"]) == (
        "MODEL_MISMATCH",
        "ALARM",
        "CIERZO",
    )
    assert configures(world) == 1
    # The right unit comes back.
    world.car.replace_unit()
    world.ota.clock.advance(HOUR)
    await world.car.connect()
    await world.work()
    assert (await only_drift(world))["ended"] == "CORRECTED"


async def test_a_parameter_the_firmware_lost_ends_in_one_ticket(world: Chain) -> None:
    """No endless corrections of what cannot be."""
    await bought(world, days=None)
    await world.ota.sql("DELETE FROM config.capability WHERE parameter = 'power_mode'")
    known = world.car.unit.firmware
    options = {name: option for name, option in known.options.items() if name != "PERF_BOOST_50"}
    world.car.unit = ControlUnit(VIN, replace(known, options=options), world.car.unit.state)
    world.ota.clock.advance(60)
    await world.car.report()
    for _ in range(5):
        await world.later(HOUR)
        await world.car.connect()
        await world.work()
    drift = await only_drift(world)
    assert (drift["cause"], drift["state"]) == ("UNKNOWN_PARAMETER", "FAILED")
    assert (drift["reason"], drift["rounds"]) == ("INCOMPATIBLE", 1)
    [ticket] = await world.ota.tickets()
    assert (ticket["kind"], ticket["number"]) == ("DRIFT", drift["ticket_number"])
    assert (ticket["priority"], ticket["drift_id"]) == ("HIGH", drift["drift_id"])
    assert ticket["package"]["drift"]["difference"] == drift["difference"]
    assert configures(world) == 1
    notices = await world.ota.deferred("api.notify")
    assert [n["event"] for n in notices].count("ticket_created") == 1


async def test_nothing_is_corrected_that_a_delivery_has_in_hand(world: Chain) -> None:
    """While a switch-off is under way the car still reports it on: no drift, no second command."""
    job = await bought(world)
    world.car.operational = Operational.RUNNING
    await world.ota.do(WithdrawActivation(activation_id=job.activation_id))
    await world.work()  # DEFERRED: it drives
    world.ota.clock.advance(60)
    await world.car.report()
    assert await world.wanted() == {POWER: "NORMAL"}
    assert await world.drifts() == []
    assert configures(world) == 2


async def test_the_cars_own_end_is_no_drift(world: Chain) -> None:
    """DOMAIN 4: it switches off alone at its moment; which of the two is first does not matter."""
    await bought(world, days=1)
    world.ota.clock.advance(86400 - 120)
    world.car.unit.faults = FaultSet([Fault(kind=FaultKind.CLOCK_SKEW, seconds=180)])
    await world.car.time()
    assert world.car.values[POWER] == "NORMAL"
    assert await world.drifts() == []
    await world.later(121)
    await world.car.report()
    assert await world.drifts() == []
    assert configures(world) == 1


async def test_a_report_from_before_our_command_is_no_drift(world: Chain) -> None:
    await bought(world, days=None)
    old = world.car.unit.config(world.ota.clock.now() + timedelta(seconds=1))
    await world.ota.buy("OFF_ROAD")
    world.ota.clock.advance(2)
    # The car says NORMAL, but it said so before the answer to the command of now.
    world.car.set_by_hand(POWER, "NORMAL")
    stale = world.car.unit.config(old.at)
    world.car.set_by_hand(POWER, "HIGH")
    await world.hear(Topic.CONFIG, stale)
    assert await world.drifts() == []


async def test_a_correction_waits_for_the_safe_state_and_the_quota(world: Chain) -> None:
    await bought(world, days=None)
    world.car.operational = Operational.RUNNING
    world.ota.clock.advance(60)
    world.car.set_by_hand(POWER, "NORMAL")
    await world.car.report()
    await world.work()
    rows = await world.ota.sql("SELECT state FROM ota.delivery WHERE direction = 'CORRECTION'")
    assert [row["state"] for row in rows] == ["DEFERRED"]
    world.car.operational = Operational.PARKED
    world.ota.clock.advance(60)
    await world.ota.vehicle(
        "ONLINE", operational="PARKED", status={"at": world.ota.clock.now().isoformat()}
    )
    await world.later(60)
    assert world.car.values[POWER] == "HIGH"
    assert (await only_drift(world))["ended"] == "CORRECTED"


async def test_a_correction_is_retried_and_ends_in_a_ticket(world: Chain) -> None:
    """DOMAIN 7: the same retries as what is sold, then the final failure, but for the money."""
    await bought(world, days=None)
    world.ota.clock.advance(60)
    world.car.set_by_hand(POWER, "NORMAL")
    world.car.unit.faults = FaultSet([Fault(kind=FaultKind.REFUSE, reason=Reason.BUSY)])
    await world.car.report()
    for _ in range(8):
        await world.work()
        await world.later(120)
    drift = await only_drift(world)
    assert (drift["state"], drift["reason"]) == ("FAILED", "BUSY")
    assert configures(world) == 1 + 1 + world.ota.settings.max_retries
    assert [ticket["kind"] for ticket in await world.ota.tickets()] == ["DRIFT"]
    assert await world.ota.deferred("api.release_payment") == []
    # Somebody mends it by hand: the drift is over, whoever did it.
    world.car.set_by_hand(POWER, "HIGH")
    await world.car.report()
    assert (await only_drift(world))["ended"] == "BY_ITSELF"


async def test_who_changes_it_back_and_back_is_an_alarm(world: Chain) -> None:
    """Two systems that fight over a car must not do so for ever."""
    await bought(world, days=None)
    for _ in range(6):
        await world.later(2 * HOUR)
        world.car.set_by_hand(POWER, "NORMAL")
        await world.car.report()
        await world.work()
    states = [(drift["state"], drift["reason"]) for drift in await world.drifts()]
    assert states == [*[("CLOSED", None)] * 5, ("ALARM", "TOO_MANY")]
    # A day later it is tried again.
    await world.later(86400)
    await world.car.report()
    await world.work()
    assert world.car.values[POWER] == "HIGH"


async def test_what_is_wanted_otherwise_by_now_ends_the_drift(world: Chain) -> None:
    await world.want(*POWER_OFF, *OFFROAD_OFF)
    world.car.set_by_hand(POWER, "HIGH")
    world.car.operational = Operational.RUNNING
    world.ota.clock.advance(60)
    await world.car.report()
    assert (await only_drift(world))["state"] == "CORRECTING"
    await world.ota.sql(
        "SELECT gateway.want_v1(%s, %s, 'other', %s)",
        VIN,
        '[{"module":"ENGINE_CONTROL","parameter":"power_mode","value":"HIGH"}]',
        world.ota.clock.now(),
    )
    await world.look()
    assert (await only_drift(world))["ended"] == "SUPERSEDED"
    await world.work()
    assert configures(world) == 0


async def test_an_overlap_that_ended_one_of_two_services_is_mended(world: Chain) -> None:
    """The car ends the newer one alone and takes the older, permanent one's parameter with it."""
    first = await bought(world, days=None)
    await bought(world, "SPORT_SOUND", days=1)
    await world.later(86400 + 1)
    assert world.car.values[POWER] == "HIGH"
    assert await world.ota.state(first) == "ACTIVE"
