"""Looks at a vehicle behind a foreign API: what it reports is read, and said on the bus."""

from datetime import datetime, timedelta

import core.log
from core.contracts.bus import Answer, Operational
from core.contracts.iot_api import DiagnosticsReport, HealthView, StatusView
from core.ids import new_id
from gateway.foreign import metrics, repository, translate
from gateway.foreign.client import ForeignClient
from gateway.foreign.outcome import Down, Reply
from gateway.foreign.repository import QUERIES, CommandRow, VehicleRow
from gateway.foreign.settings import ForeignSettings
from gateway.foreign.translate import Seen, Upward
from gateway.parts import Gateway

log = core.log.get(__name__)


class Looks:
    """Looks at one API's vehicles."""

    def __init__(self, gateway: Gateway, settings: ForeignSettings, client: ForeignClient) -> None:
        self._gateway = gateway
        self._settings = settings
        self._client = client
        self._slot = gateway.bus_settings.slot

    async def one(self, vehicle: VehicleRow) -> None:
        """Look once, and say what is new."""
        status, health = await self.read(vehicle)
        if status is None:
            # That the API is away says nothing about the vehicle; silence does, in time.
            now = self._gateway.clock.now()
            async with self._gateway.database.transaction() as conn:
                row = {"vin": vehicle.vin, "poll_at": self.next_look(now, vehicle.seen)}
                await conn.execute(QUERIES["poll_later"], row)
            return
        await self.save(vehicle, status, health)
        if self._client.api.events:
            await self._follow_log(vehicle)

    async def read(self, vehicle: VehicleRow) -> tuple[StatusView | None, HealthView | None]:
        """Status and health; without a status that the bus could carry, neither."""
        found = await self._client.status(vehicle.vin)
        status = found.read(StatusView) if isinstance(found, Reply) else None
        if status is None:
            said = found.why if isinstance(found, Down) else f"{found.status} {found.code or ''}"
            log.warning("no status of a foreign vehicle", api=self._client.api.name, said=said)
            return None, None
        asked = await self._client.health(vehicle.vin)
        health = asked.read(HealthView) if isinstance(asked, Reply) else None
        fault = translate.fault_of(vehicle.seen, status, health, self._gateway.clock.now())
        if fault is not None:
            log.warning("a status that no vehicle could send", vin=vehicle.vin, fault=fault[:300])
            return None, None
        return status, health

    async def save(
        self,
        vehicle: VehicleRow,
        status: StatusView,
        health: HealthView | None,
        *,
        asked: bool = False,
        before: tuple[CommandRow, Answer] | None = None,
    ) -> None:
        """Say and keep what a look has shown; ``before``: the answer to the command that asked."""
        now = self._gateway.clock.now()
        seen = await self.learn(vehicle.seen, status, now)
        seen, said = self.observe(seen, status, health, now, asked=asked)
        messages: list[repository.Message] = [*said]
        async with self._gateway.database.transaction() as conn:
            if before is not None:
                row, answer = before
                if not await repository.done(conn, vehicle.vin, row, answer):
                    return
                messages.insert(0, answer)
            await repository.say(conn, vehicle.vin, messages, now)
            await repository.save(conn, vehicle.vin, seen, self.next_look(now, seen), self._slot)
        if before is not None:
            metrics.COMMANDS.labels(before[0].kind, before[1].result.value, "").inc()

    async def learn(self, seen: Seen, status: StatusView, now: datetime) -> Seen:
        """``seen`` with what a status reports."""
        return translate.learn(seen, status, await self._defaults(seen, status), now)

    def observe(
        self,
        seen: Seen,
        status: StatusView,
        health: HealthView | None,
        now: datetime,
        *,
        asked: bool = False,
    ) -> tuple[Seen, list[Upward]]:
        """What a look makes the bus hear."""
        return translate.observe(
            seen,
            status,
            health,
            now=now,
            session=str(new_id()),
            alive_every=timedelta(seconds=self._settings.alive_every_s),
            asked=asked,
        )

    def next_look(self, now: datetime, seen: Seen) -> datetime:
        """When to look again."""
        api = self._client.api
        moving = seen.status is not None and seen.status.get("operational") == Operational.RUNNING
        # One that drives may park, and one that is away may come back: both are waited for.
        wait = api.waiting_poll_s if moving or not seen.online else api.poll_s
        at = now + timedelta(seconds=wait)
        quiet = seen.quiet_until
        return at if quiet is None or quiet <= now else min(at, quiet)

    async def _follow_log(self, vehicle: VehicleRow) -> None:
        """Say what is new in the vehicle log."""
        outcome = await self._client.diagnostics(vehicle.vin)
        report = outcome.read(DiagnosticsReport) if isinstance(outcome, Reply) else None
        if report is None:
            return
        now = self._gateway.clock.now()
        # Some reach the log later than newer ones, so a part of it is read again, by id.
        overlap = timedelta(seconds=self._settings.events_overlap_s)
        since = max(vehicle.events_from, vehicle.events_at - overlap)
        there = translate.events_since(vehicle.vin, report, since, now)
        known = set(vehicle.events_said)
        events = [event for event in there if event.event_id not in known]
        if not events:
            return
        # Never ahead of now: a clock that is fast must not hide what comes next.
        mark = min(now, max(event.at for event in events))
        said = [event.event_id for event in there]
        async with self._gateway.database.transaction() as conn:
            await repository.say(conn, vehicle.vin, events, now)
            await conn.execute(
                QUERIES["events_said"], {"vin": vehicle.vin, "at": mark, "said": said}
            )

    async def _defaults(self, seen: Seen, status: StatusView) -> translate.Values:
        if status.reported_configuration is not None or seen.values is not None:
            return {}
        async with self._gateway.database.transaction() as conn:
            return await repository.defaults(
                conn, status.model or seen.model, status.diagnostics.firmware_version
            )
