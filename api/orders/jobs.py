"""Jobs the sale gives itself; all run in the worker, one at a time per order."""

from typing import Any
from uuid import UUID

from core.contracts.jobs import Job


class _OrderJob(Job, frozen=True):
    order_id: UUID

    def lock(self) -> str | None:
        return f"order:{self.order_id}"


class SubmitFactoryOrder(_OrderJob, frozen=True):
    """The deposit is confirmed, or staff resubmits: order the car at the factory."""

    queue = "api"
    name = "submit_factory_order"


class ApplyFactoryStatus(_OrderJob, frozen=True):
    """A status of the factory that was signed well and is in the inbox (FactoryStatusIn)."""

    queue = "api"
    name = "apply_factory_status"

    body: dict[str, Any]


class RegisterVehicle(_OrderJob, frozen=True):
    """File the registration, try it again, or ask how a review stands."""

    queue = "api"
    name = "register_vehicle"

    def lock(self) -> str | None:
        """None: a job put off to later holds up every later job of its lock. Rows guard it."""
        return None
