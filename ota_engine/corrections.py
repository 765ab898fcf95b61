"""Corrections: deliveries that bring a drifted vehicle back to what is wanted, without money.

What is wanted stands in the gateway's document (docs/adr/0006); a drift is the gateway's finding.
Here it becomes commands, by the same attempts, retries, quota and safe states as what is sold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from psycopg.types.json import Jsonb

import core.log
from core.contracts.bus import (
    Command,
    CommandKind,
    ParameterSetting,
    SafeState,
    VehicleStatus,
)
from core.contracts.jobs import CorrectDrift
from core.contracts.values import matching
from core.contracts.wanted import Difference, Key, WantedValue, differences, in_force
from core.ids import new_id
from ota_engine import commands, endings, tickets
from ota_engine.commands import NotNeeded, Outcome, Refused
from ota_engine.metrics import CORRECTIONS
from ota_engine.model import Delivery, Direction, Vehicle, parse_settings
from ota_engine.repository import Capability
from ota_engine.retry import Failure
from ota_engine.unit import Unit
from ota_engine.wanted_repository import PlatformService

log = core.log.get(__name__)

IN_STEP = "IN_STEP"
IN_HAND = "IN_HAND"
SUPERSEDED = "SUPERSEDED"
OVER = "DRIFT_OVER"
# States of a drift that is corrected; of a failed one, what the failure did not concern.
OPEN, FAILED = "CORRECTING", "FAILED"


@dataclass(frozen=True, slots=True)
class Correction:
    """What one delivery is to set: of one service, with one end, and known to the firmware."""

    service: PlatformService | None
    until: datetime | None
    values: list[ParameterSetting]
    revert: list[ParameterSetting]


def plan(
    wanted: Sequence[WantedValue],
    found: Sequence[Difference],
    services: Sequence[PlatformService],
    capabilities: Sequence[Capability],
    held: frozenset[Key],
    now: datetime,
) -> list[Correction]:
    """Corrections for ``found``, but for parameters that another delivery has in hand.

    What no service of the platform switches, and what the firmware does not know, is apart: it can
    only end in a ticket, and must not take the rest with it. A base parameter is in no mapping, so
    none is ever in a command (S2; `configure` holds it once more).
    """
    known = {(row.module, row.parameter) for row in capabilities}
    groups: dict[tuple[str | None, datetime | None, bool], Correction] = {}
    documents = {item.key: item for item in wanted}
    for difference in found:
        item = documents.get(difference.key)
        if item is None or item.key in held:
            continue
        service = _service_of(item.key, services)
        until = item.until if item.until is not None and now < item.until else None
        code = None if service is None else service.service_code
        group = groups.setdefault(
            (code, until, item.key in known), Correction(service, until, [], [])
        )
        group.values.append(ParameterSetting(item.module, item.parameter, in_force(item, now)))
        if until is not None and item.revert is not None:
            group.revert.append(ParameterSetting(item.module, item.parameter, item.revert))
    return list(groups.values())


def _service_of(key: Key, services: Sequence[PlatformService]) -> PlatformService | None:
    return next((service for service in services if key in _keys(service.settings)), None)


def _keys(settings: Sequence[dict[str, Any]]) -> set[Key]:
    return {(item["module"], item["parameter"]) for item in settings}


def _in_hand(open_ones: Sequence[Delivery]) -> set[Key]:
    """Parameters that a customer's delivery, ON or OFF, is about to settle."""
    customers = [item for item in open_ones if item.direction != Direction.CORRECTION]
    return {key for delivery in customers for key in _keys(delivery.wanted)}


async def correct(unit: Unit, job: CorrectDrift) -> None:
    """Make the corrections of a drift; nothing for what is corrected or delivered already."""
    drift = await unit.repo.drift(job.drift_id, job.vin)
    vehicle = await unit.repo.vehicle(job.vin)
    if drift is None or drift.state != OPEN or vehicle is None:
        log.info("nothing to correct", state=None if drift is None else drift.state)
        return
    wanted = await unit.repo.wanted_values(job.vin)
    # What the gateway found and no more: it knows which values are about to change anyway.
    drifted = _keys(drift.difference)
    differing = differences(wanted, vehicle.reported, unit.now)
    open_ones = await unit.repo.open_deliveries(job.vin)
    held = frozenset(key for delivery in open_ones for key in _keys(delivery.wanted))
    planned = plan(
        wanted,
        [difference for difference in differing if difference.key in drifted],
        await unit.repo.platform_services(job.vin, vehicle.model),
        await unit.repo.capabilities(vehicle.model, vehicle.firmware),
        held,
        unit.now,
    )
    for correction in planned:
        await _insert(unit, job, correction)
    log.info("drift to correct", cause=drift.cause, corrections=len(planned))


async def _insert(unit: Unit, job: CorrectDrift, correction: Correction) -> None:
    service = correction.service
    own = None if service is None else service.max_retries
    await unit.repo.insert_correction(
        {
            "delivery_id": new_id(),
            "vin": job.vin,
            "drift_id": job.drift_id,
            "service_code": None if service is None else service.service_code,
            "wanted": Jsonb(msgspec.to_builtins(correction.values)),
            "revert": Jsonb(msgspec.to_builtins(correction.revert)),
            "safe_state": "ANY" if service is None else service.safe_state,
            "valid_until": correction.until,
            "max_retries": unit.settings.max_retries if own is None else own,
            "at": unit.now,
        }
    )
    unit.wake = True


async def configure(unit: Unit, delivery: Delivery, vehicle: Vehicle) -> Outcome:
    """The CONFIGURE of a correction, if what it was made for still stands."""
    assert delivery.drift_id is not None
    drift = await unit.repo.drift(delivery.drift_id, delivery.vin)
    if drift is None or drift.state not in (OPEN, FAILED):
        return NotNeeded(OVER)
    values = delivery.target
    wanted = {item.key: item for item in await unit.repo.wanted_values(delivery.vin)}
    if not all(
        _still_wanted(value, wanted.get((value.module, value.parameter)), delivery, unit.now)
        for value in values
    ):
        return NotNeeded(SUPERSEDED)
    if _keys(delivery.wanted) & _in_hand(await unit.repo.open_deliveries(delivery.vin)):
        return NotNeeded(IN_HAND)
    if delivery.first_seq is None and len(matching(values, vehicle.reported)) == len(values):
        return NotNeeded(IN_STEP)
    services = await unit.repo.platform_services(delivery.vin, vehicle.model)
    if any(_service_of((item.module, item.parameter), services) is None for item in values):
        return Refused(Failure.INCOMPATIBLE, "no service of this platform has the parameter")
    problem = commands.check(values, await unit.repo.capabilities(vehicle.model, vehicle.firmware))
    if problem is not None:
        return problem
    draft = Command(
        vin=delivery.vin,
        command_id=new_id(),
        seq=1,
        kind=CommandKind.CONFIGURE,
        issued_at=unit.now,
        expires_at=unit.now + unit.settings.command_timeout,
        service=delivery.service_code,
        values=values,
        safe_state=SafeState(delivery.safe_state),
        valid_until=delivery.valid_until,
        revert_values=parse_settings(delivery.revert),
    )
    quota = max(1, unit.settings.quota_per_hour - unit.settings.correction_reserve)
    return await commands.admit(unit, draft, delivery, quota=quota)


def _still_wanted(
    value: ParameterSetting, item: WantedValue | None, delivery: Delivery, now: datetime
) -> bool:
    if item is None:
        return False
    until = item.until if item.until is not None and now < item.until else None
    setting = ParameterSetting(item.module, item.parameter, in_force(item, now))
    return until == delivery.valid_until and bool(matching([value], [setting]))


async def proven(unit: Unit, delivery: Delivery) -> None:
    """The vehicle shows the wanted values again; the gateway closes the drift by that report."""
    await endings.finish(unit, delivery, "DONE", "PROVEN")
    unit.after_commit(CORRECTIONS.labels("CORRECTED", "").inc)
    log.info("drift corrected", drift_id=str(delivery.drift_id))


async def not_needed(unit: Unit, delivery: Delivery, why: str) -> None:
    """It is so already, or something else is wanted now, which is looked at anew.

    One whose parameters a customer's delivery has in hand ends here: the gateway asks again where
    the drift outlives that delivery.
    """
    await endings.finish(unit, delivery, "DONE" if why == IN_STEP else "ABANDONED", why)
    if why == SUPERSEDED and delivery.drift_id is not None:
        await unit.defer(CorrectDrift(vin=delivery.vin, drift_id=delivery.drift_id))
    unit.after_commit(CORRECTIONS.labels("NOT_NEEDED", why).inc)


async def given_up(
    unit: Unit, delivery: Delivery, vehicle: Vehicle | None, status: VehicleStatus | None
) -> None:
    """Diagnosed: a ticket, and the drift says so (DOMAIN 7, final failure, but for the money)."""
    assert delivery.drift_id is not None
    await endings.finish(unit, delivery, "FAILED")
    reason = delivery.last_reason or "FAILED"
    unit.after_commit(CORRECTIONS.labels("FAILED", reason).inc)
    drift = await unit.repo.drift(delivery.drift_id, delivery.vin)
    if drift is None or drift.state == "CLOSED":
        return  # a report matched in the meantime: nobody needs to look at it
    services = (
        [] if vehicle is None else await unit.repo.platform_services(delivery.vin, vehicle.model)
    )
    owner = next((row for row in services if row.service_code == delivery.service_code), None)
    ticket = await tickets.open_drift_ticket(
        unit,
        delivery,
        vehicle,
        status,
        customer_id=None if owner is None else owner.customer_id,
        paid=owner is not None and owner.paid,
    )
    await unit.repo.drift_failed(delivery.drift_id, reason, ticket.number, unit.now)
