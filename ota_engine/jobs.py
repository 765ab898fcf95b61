"""Handlers of the queue ``ota``: each is one unit on the vehicle, and safe to run twice."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from structlog.contextvars import bound_contextvars

import core.log
from core.contracts.jobs import (
    CancelActivation,
    CorrectDrift,
    Job,
    PaymentReleased,
    RequestActivation,
    RetryActivation,
    ShowOnDisplay,
    WithdrawActivation,
)
from core.jobs import Handler
from ota_engine import activations, commands, corrections
from ota_engine.commands import Refused
from ota_engine.repository import Repository
from ota_engine.unit import Engine, Unit

log = core.log.get(__name__)

J = TypeVar("J", CancelActivation, WithdrawActivation, PaymentReleased, RetryActivation)


class JobHandlers:
    """The engine's side of `core.contracts.jobs`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def table(self) -> Mapping[type[Job], Handler]:
        """What a JobWorker needs."""
        return {
            RequestActivation: self.request,
            CancelActivation: self._on_activation(activations.cancel),
            WithdrawActivation: self._on_activation(activations.withdraw),
            PaymentReleased: self._on_activation(activations.payment_released),
            RetryActivation: self._on_activation(activations.retry_by_hand),
            ShowOnDisplay: self.show_on_display,
            CorrectDrift: self.correct_drift,
        }

    async def request(self, job: RequestActivation) -> None:
        """The VIN is in the job: the activation is not there yet."""

        async def work(unit: Unit) -> None:
            await activations.request(unit, job)

        with bound_contextvars(vin=job.vin, activation_id=str(job.activation_id)):
            await self._engine.run(job.vin, work)

    async def show_on_display(self, job: ShowOnDisplay) -> None:
        """A text for a car that is not in the registry is nobody's to see."""

        async def work(unit: Unit) -> None:
            if isinstance(await commands.display(unit, job.vin, job.text, job.level), Refused):
                log.warning("no such vehicle to show a text on")

        with bound_contextvars(vin=job.vin):
            await self._engine.run(job.vin, work)

    async def correct_drift(self, job: CorrectDrift) -> None:
        """Corrections for what differs now; none where the drift is over."""

        async def work(unit: Unit) -> None:
            await corrections.correct(unit, job)

        with bound_contextvars(vin=job.vin, drift_id=str(job.drift_id)):
            await self._engine.run(job.vin, work)

    def _on_activation(self, act: Callable[[Unit, J], Awaitable[None]]) -> Handler:
        async def handle(job: Any) -> None:
            async with self._engine.database.transaction() as conn:
                vin = await Repository(conn).vin_of(job.activation_id)

            async def work(unit: Unit) -> None:
                await act(unit, job)

            with bound_contextvars(vin=vin, activation_id=str(job.activation_id)):
                await self._engine.run(vin, work)

        return handle
