"""Rows of the engine's tables and what it reads of other rooms, as frozen values."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec

from core.contracts.bus import Operational, ParameterSetting, Presence
from core.contracts.states import ActivationState

# A row's jsonb: a list of {module, parameter, value}.
Settings = list[dict[str, Any]]


class Direction(StrEnum):
    ON = "ON"
    OFF = "OFF"
    CORRECTION = "CORRECTION"  # of a drift: back to what is wanted anyway, without money


class DeliveryState(StrEnum):
    """See migrations/0004_ota.sql for what each one means."""

    WAITING = "WAITING"
    CHECKING = "CHECKING"
    COMMANDED = "COMMANDED"
    QUERYING = "QUERYING"
    DEFERRED = "DEFERRED"
    DIAGNOSING = "DIAGNOSING"
    DONE = "DONE"
    FAILED = "FAILED"
    ABANDONED = "ABANDONED"


class Phase(StrEnum):
    """Where a delivery is in its one off/on cycle (DOMAIN 7, partial activation)."""

    OFF = "OFF"
    AGAIN = "AGAIN"


class TicketKind(StrEnum):
    ACTIVATION = "ACTIVATION"
    SWITCH_OFF = "SWITCH_OFF"
    DRIFT = "DRIFT"


def parse_settings(rows: Settings) -> list[ParameterSetting]:
    """A jsonb column as parameter settings."""
    return msgspec.convert(rows, list[ParameterSetting])


@dataclass(frozen=True, slots=True)
class Activation:
    """A row of ota.activation."""

    activation_id: UUID
    vin: str
    service_code: str
    origin: str
    customer_id: UUID | None
    payment_id: UUID | None
    order_id: UUID | None
    state: str
    paid: bool
    duration_days: int | None
    starts_at: datetime | None
    purchased_at: datetime
    activated_at: datetime | None
    expires_at: datetime | None
    total_attempts: int
    ticket_id: UUID | None
    charged: bool
    release_ordered_at: datetime | None
    withdrawn: bool

    @property
    def status(self) -> ActivationState:
        return ActivationState(self.state)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A row of ota.delivery; a correction has a drift in the place of an activation."""

    delivery_id: UUID
    activation_id: UUID | None
    vin: str
    direction: str
    wanted: Settings
    revert: Settings
    safe_state: str
    state: str
    retries: int
    max_retries: int
    due_at: datetime | None
    safe_state_by: datetime | None
    check_until: datetime | None
    deferred_at: datetime | None
    phase: str | None
    command_id: UUID | None
    first_seq: int | None
    proof_seq: int | None
    applied: bool
    shown: bool
    query_id: UUID | None
    queried_at: datetime | None
    attempt: int
    attempt_open: bool
    last_reason: str | None
    created_at: datetime
    drift_id: UUID | None = None
    service_code: str | None = None
    valid_until: datetime | None = None

    @property
    def target(self) -> list[ParameterSetting]:
        """What the car is to show now: the wanted values, or their off values in mid-cycle."""
        return parse_settings(self.revert if self.phase == Phase.OFF else self.wanted)

    @property
    def is_on(self) -> bool:
        return self.direction == Direction.ON

    @property
    def of_activation(self) -> UUID:
        """The activation of an ON or OFF delivery; a correction has none."""
        assert self.activation_id is not None, "a correction belongs to no activation"
        return self.activation_id


@dataclass(frozen=True, slots=True)
class Vehicle:
    """What gateway.vehicle_v1 says about a car."""

    vin: str
    model: str
    firmware: str
    enrolment: str
    presence: str
    operational: str | None
    status: dict[str, Any] | None
    signal_pct: float | None
    last_seen_at: datetime | None
    reported_values: Settings | None
    reported_seq: int | None
    reported_at: datetime | None

    @property
    def ready(self) -> bool:
        """A command can reach it now (DOMAIN 7, status check)."""
        return self.enrolment == "ENROLLED" and self.presence in (
            Presence.ONLINE,
            Presence.LIMITED,
        )

    @property
    def standing_state(self) -> Operational | None:
        return None if self.operational is None else Operational(self.operational)

    @property
    def status_at(self) -> datetime | None:
        """The vehicle's own time of its last status, comparable with the times of its answers."""
        if self.status is None:
            return None
        try:
            return msgspec.convert(self.status.get("at"), datetime)
        except msgspec.ValidationError:
            return None

    @property
    def reported(self) -> list[ParameterSetting]:
        return parse_settings(self.reported_values or [])


@dataclass(frozen=True, slots=True)
class CommandRow:
    """A row of ota.command, without its body."""

    command_id: UUID
    vin: str
    seq: int
    kind: str
    activation_id: UUID | None
    delivery_id: UUID | None
    state: str
    result: str | None
    reason: str | None
    answer_at: datetime | None
