"""Builds commands from the mapping, checked against what the firmware knows (DOMAIN 7)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from core.contracts.bus import (
    Command,
    CommandKind,
    DisplayLevel,
    ParameterSetting,
    SafeState,
)
from core.contracts.commands import content_of
from core.contracts.values import matching, same_value
from core.ids import new_id
from ota_engine.metrics import COMMANDS
from ota_engine.model import Activation, Delivery, Phase, Vehicle
from ota_engine.proof import without
from ota_engine.repository import Capability
from ota_engine.retry import Failure
from ota_engine.unit import Unit


@dataclass(frozen=True, slots=True)
class Sent:
    """Admitted, stored, and published once the transaction commits."""

    command: Command


@dataclass(frozen=True, slots=True)
class Postponed:
    """The vehicle's quota is used up for this long (DOMAIN 7: no attempt used)."""

    retry_after_s: int


@dataclass(frozen=True, slots=True)
class Refused:
    """It must not or cannot be sent, now or later."""

    failure: Failure
    detail: str


@dataclass(frozen=True, slots=True)
class NotNeeded:
    """Nothing is left to change."""

    why: str


Outcome = Sent | Postponed | Refused | NotNeeded


async def configure(
    unit: Unit, activation: Activation, delivery: Delivery, vehicle: Vehicle
) -> Outcome:
    """A CONFIGURE for what the delivery wants of the car now."""
    values = delivery.target
    if delivery.is_on:
        if await unit.repo.in_use_elsewhere(activation):
            return Refused(Failure.CONFLICT, f"{activation.service_code} is already in use")
    else:
        values = without(
            values, await unit.repo.needed_by_others(activation.activation_id, delivery.vin)
        )
        if not values:
            return NotNeeded("NEEDED_BY_OTHER")
        if off_by_itself(activation, delivery, vehicle, values):
            return NotNeeded("ALREADY_OFF")
    problem = check(values, await unit.repo.capabilities(vehicle.model, vehicle.firmware))
    if problem is not None:
        return problem
    return await admit(unit, _configure(unit.now, activation, delivery, values, unit), delivery)


def off_by_itself(
    activation: Activation,
    delivery: Delivery,
    vehicle: Vehicle,
    values: Sequence[ParameterSetting],
) -> bool:
    """The car ended an expired service alone, at its ``valid_until``, and said so (DOMAIN 4)."""
    return (
        activation.state == "EXPIRED"
        and delivery.first_seq is None
        and len(matching(values, vehicle.reported)) == len(values)
    )


def check(values: Sequence[ParameterSetting], capabilities: Sequence[Capability]) -> Refused | None:
    """What makes ``values`` unfit for a firmware; unknown parameters cannot be addressed (S2)."""
    known = {(row.module, row.parameter): row.allowed for row in capabilities}
    if not values:
        return Refused(Failure.INCOMPATIBLE, "the service has no mapping for this platform")
    for item in values:
        allowed = known.get((item.module, item.parameter))
        name = f"{item.module}.{item.parameter}"
        if allowed is None:
            return Refused(Failure.INCOMPATIBLE, f"the firmware does not know {name}")
        if not any(same_value(value, item.value) for value in allowed):
            return Refused(Failure.INVALID_VALUE, f"{name} does not take {item.value!r}")
    return None


def _configure(
    now: datetime,
    activation: Activation,
    delivery: Delivery,
    values: list[ParameterSetting],
    unit: Unit,
) -> Command:
    switches_on = delivery.is_on and delivery.phase != Phase.OFF
    # DOMAIN 4 wants expires_at = activated_at + duration, and wants it inside the command; but
    # what is signed before the car acts cannot know when it will. So the end is counted from
    # issuing, at most one command time limit earlier, and the proof takes over the end that was
    # signed: car and platform agree to the second, which is what switching off alone needs.
    valid_until = (
        now + timedelta(days=activation.duration_days)
        if switches_on and activation.duration_days is not None
        else None
    )
    return Command(
        vin=delivery.vin,
        command_id=new_id(),
        seq=1,
        kind=CommandKind.CONFIGURE,
        issued_at=now,
        expires_at=now + unit.settings.command_timeout,
        service=activation.service_code,
        values=values,
        safe_state=SafeState(delivery.safe_state),
        valid_until=valid_until,
        revert_values=_revert(delivery, values) if switches_on else [],
    )


def _revert(delivery: Delivery, values: Sequence[ParameterSetting]) -> list[ParameterSetting]:
    names = {(item.module, item.parameter) for item in values}
    reverts = msgspec.convert(delivery.revert, list[ParameterSetting])
    return [item for item in reverts if (item.module, item.parameter) in names]


async def query(unit: Unit, delivery: Delivery, time_limit: timedelta) -> UUID | None:
    """A QUERY for the delivery; its id, or None where the vehicle cannot be asked."""
    command = Command(
        vin=delivery.vin,
        command_id=new_id(),
        seq=1,
        kind=CommandKind.QUERY,
        issued_at=unit.now,
        # Whole seconds on the wire: shorter ones would expire before they are sent.
        expires_at=unit.now + max(time_limit, timedelta(seconds=2)),
    )
    outcome = await admit(unit, command, delivery)
    return outcome.command.command_id if isinstance(outcome, Sent) else None


async def display(unit: Unit, vin: str, text: str, level: DisplayLevel) -> Outcome:
    """A text for the vehicle's screen."""
    command = Command(
        vin=vin,
        command_id=new_id(),
        seq=1,
        kind=CommandKind.DISPLAY,
        issued_at=unit.now,
        expires_at=unit.now + unit.settings.command_timeout,
        text=text,
        level=level,
    )
    return await admit(unit, command, None)


async def admit(
    unit: Unit, draft: Command, delivery: Delivery | None, *, quota: int | None = None
) -> Outcome:
    """Get the command's number, store it, and leave it to be published after the commit.

    ``quota``: configuration commands of the hour beyond which it waits, if not the usual number.
    """
    admission = await unit.repo.admit(
        draft.command_id,
        draft.vin,
        draft.kind,
        content_of(draft),
        unit.now,
        unit.settings.quota_per_hour if quota is None else quota,
        draft.service,
    )
    if admission.outcome == "RATE_LIMITED":
        return Postponed(admission.retry_after_s or 1)
    if admission.outcome != "ADMITTED" or admission.seq is None:
        return Refused(Failure.UNKNOWN_VIN, "the registry does not know the vehicle")
    command = msgspec.structs.replace(draft, seq=admission.seq)
    await unit.repo.insert_command(
        command,
        None if delivery is None else delivery.activation_id,
        None if delivery is None else delivery.delivery_id,
        unit.now + timedelta(seconds=unit.settings.republish_s),
    )
    unit.outgoing.append(command)
    unit.after_commit(COMMANDS.labels(command.kind.value).inc)
    return Sent(command)


def with_command(delivery: Delivery, command: Command, unit: Unit) -> Delivery:
    """The delivery once ``command`` is on its way; a change of phase starts the proof anew."""
    return replace(
        delivery,
        state="COMMANDED",
        due_at=unit.now + unit.settings.command_timeout,
        command_id=command.command_id,
        first_seq=delivery.first_seq or command.seq,
        proof_seq=delivery.proof_seq or command.seq,
        applied=False,
        query_id=None,
        queried_at=None,
    )
