"""Deferred jobs between rooms: what one asks of another once its own facts are committed."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

import msgspec

from core.contracts.bus import DisplayLevel
from core.contracts.states import Origin


class Job(msgspec.Struct, frozen=True):
    """A job's payload; ``queue`` is the room that runs it, ``name`` its verb."""

    queue: ClassVar[str] = ""
    name: ClassVar[str] = ""

    @classmethod
    def task_name(cls) -> str:
        return f"{cls.queue}.{cls.name}"

    def lock(self) -> str | None:
        """Jobs with the same lock run one after the other, in the order they were deferred."""
        return None


# --- to the gateway ---------------------------------------------------------------------------


class EnrollVehicle(Job, frozen=True):
    """Make sure the registry knows a vehicle the factory has built; idempotent."""

    queue = "gateway"
    name = "enroll_vehicle"

    vin: str
    model: str
    firmware: str
    transport: str = "mqtt"

    def lock(self) -> str:
        return f"vehicle:{self.vin}"


# --- to the OTA engine ------------------------------------------------------------------------


class _ActivationJob(Job, frozen=True):
    activation_id: UUID

    def lock(self) -> str:
        return f"activation:{self.activation_id}"


class RequestActivation(_ActivationJob, frozen=True):
    """A service was bought (payment held), or comes with the plan (no payment): deliver it.

    ``duration_days`` null = permanent or open-ended. ``starts_at`` null = at once.
    ``purchased_at`` and ``payment_started_at`` are for the history.
    """

    queue = "ota"
    name = "request_activation"

    vin: str
    service_code: str
    origin: Origin
    purchased_at: datetime
    customer_id: UUID | None = None
    payment_id: UUID | None = None
    order_id: UUID | None = None
    duration_days: int | None = None
    starts_at: datetime | None = None
    paid: bool = True


class CancelActivation(_ActivationJob, frozen=True):
    """The customer cancels before ACTIVE (DOMAIN 6): stop trying; a late success is undone."""

    queue = "ota"
    name = "cancel_activation"

    reason: str | None = None
    actor: str = "customer"


class WithdrawActivation(_ActivationJob, frozen=True):
    """A granted withdrawal of an active service: switch it off, and verify that it is off."""

    queue = "ota"
    name = "withdraw_activation"

    reason: str | None = None
    actor: str = "customer"


class PaymentReleased(_ActivationJob, frozen=True):
    """The money of an escalated activation is free again: ``outcome`` VOIDED, REFUNDED or NONE."""

    queue = "ota"
    name = "payment_released"

    outcome: str


class RetryActivation(_ActivationJob, frozen=True):
    """Support tries a failed activation once more by hand, on an open ticket (DOMAIN 6)."""

    queue = "ota"
    name = "retry_activation"

    actor: str


class CorrectDrift(Job, frozen=True):
    """A vehicle reports something else than is wanted: bring it back (DOMAIN 8); idempotent."""

    queue = "ota"
    name = "correct_drift"

    vin: str
    drift_id: UUID

    def lock(self) -> str:
        return f"drift:{self.vin}"


class ShowOnDisplay(Job, frozen=True):
    """Put a text on the vehicle's screen (DISPLAY of BUS)."""

    queue = "ota"
    name = "show_on_display"

    vin: str
    text: str
    level: DisplayLevel = DisplayLevel.INFO

    def lock(self) -> str:
        return f"display:{self.vin}"


# --- to the API's worker ----------------------------------------------------------------------


class CapturePayment(_ActivationJob, frozen=True):
    """The car has proved the service: capture the held payment, once, and invoice it."""

    queue = "api"
    name = "capture_payment"

    payment_id: UUID


class ReleasePayment(_ActivationJob, frozen=True):
    """Not delivered (or withdrawn): void the hold, or refund what was captured (S1)."""

    queue = "api"
    name = "release_payment"

    payment_id: UUID
    reason: str


class ActivationClosed(_ActivationJob, frozen=True):
    """A withdrawal's switch-off is proved by the car, or has ended in a ticket."""

    queue = "api"
    name = "activation_closed"

    switched_off: bool
    ticket_number: str | None = None


class LinkConfirmed(Job, frozen=True):
    """The driver confirmed the app link on the vehicle (VehicleEvent LINK_CONFIRMED)."""

    queue = "api"
    name = "link_confirmed"

    vin: str
    event_id: UUID
    at: datetime
    code: str | None = None

    def lock(self) -> str:
        return f"link:{self.vin}"


class Notify(Job, frozen=True):
    """Tell a customer (or a staff role) what happened, by the channels of DOMAIN 15.

    ``event`` names a row of the notification table; ``dedupe_key`` makes it sent once.
    """

    queue = "api"
    name = "notify"

    event: str
    dedupe_key: str
    customer_id: UUID | None = None
    staff_role: str | None = None
    vin: str | None = None
    activation_id: UUID | None = None
    data: dict[str, Any] = {}
