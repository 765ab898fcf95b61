"""The next step of a vehicle behind a foreign API: a call, then what follows, saved at once."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from structlog.contextvars import bound_contextvars

import core.log
from core.contracts.bus import (
    Answer,
    Command,
    CommandKind,
    DisplayLevel,
    Operational,
    Reason,
    Result,
)
from core.contracts.iot_api import CommandStatus, DiagnosticsReport, HealthView, StatusView
from core.db import Connection
from core.ids import new_id
from gateway.foreign import metrics, repository, rules, translate
from gateway.foreign.client import ForeignClient
from gateway.foreign.outcome import Down, Outcome, Reply
from gateway.foreign.repository import QUERIES, CommandRow, VehicleRow
from gateway.foreign.rules import Again, Completed, Taken, Told, Waits
from gateway.foreign.settings import ForeignSettings
from gateway.foreign.translate import Seen, Upward
from gateway.parts import Gateway

log = core.log.get(__name__)

# A callback says it earlier; this only covers a lost one.
_CALLBACK_COVER = 3.0


class Steps:
    """Takes steps of one API's vehicles."""

    def __init__(self, gateway: Gateway, settings: ForeignSettings, client: ForeignClient) -> None:
        self._gateway = gateway
        self._settings = settings
        self._client = client
        api = client.api
        self._waits = Waits(
            settings.retry_s,
            settings.retry_max_s,
            api.command_poll_s * (_CALLBACK_COVER if api.has_callbacks else 1.0),
            settings.late_s,
        )

    async def one(self, vin: str) -> None:
        """The step that is due, if one is."""
        now = self._gateway.clock.now()
        async with self._gateway.database.transaction() as conn:
            vehicle = await repository.find(conn, vin)
            row = await repository.next_command(conn, vin, now)
        if vehicle is None:
            return
        if row is None:
            if vehicle.poll_at <= now:
                await self._look(vehicle)
            return
        with bound_contextvars(vin=vin, command_id=str(row.command_id)):
            await self._command(vehicle, row)

    # Commands

    async def _command(self, vehicle: VehicleRow, row: CommandRow) -> None:
        command = row.command
        match row.state, command.kind:
            case "FAILED", _:
                told = rules.after_failure(row.error_code, self._gateway.clock.now())
                await self._tell(vehicle, row, command, told)
            case "COMPLETED", _:
                await self._prove(vehicle, row, command)
            case "SENT", _:
                await self._poll(vehicle, row, command)
            case _ if self._gateway.clock.now() >= row.expires_at:
                late = Told(Result.REJECTED, Reason.EXPIRED, "the API did not take it in time")
                await self._tell(vehicle, row, command, late)
            case _, CommandKind.CONFIGURE:
                await self._order(vehicle, row, command)
            case _, CommandKind.QUERY:
                await self._answer_query(vehicle, row, command)
            case _, CommandKind.TEST:
                await self._test(vehicle, row, command)
            case _:
                await self._display(vehicle, row, command)

    async def _order(self, vehicle: VehicleRow, row: CommandRow, command: Command) -> None:
        if command.safe_state == "PARKED":
            # A vehicle looks whether it stands before it takes anything; so does this.
            found = await self._client.status(vehicle.vin)
            status = found.read(StatusView) if isinstance(found, Reply) else None
            operational = None if status is None else status.operational
            known = None if operational is None else Operational(operational)
            if rules.must_wait(command, known):
                told = Told(Result.DEFERRED, Reason.UNSAFE_STATE, f"the vehicle is {known}")
                await self._tell(vehicle, row, command, told)
                return
        outcome = await self._client.configure(
            vehicle.vin, row.command_id, translate.order_of(command)
        )
        await self._follow_order(vehicle, row, command, outcome)

    async def _follow_order(
        self, vehicle: VehicleRow, row: CommandRow, command: Command, outcome: Outcome
    ) -> None:
        now = self._gateway.clock.now()
        match rules.after_order(outcome, row.tries, row.expires_at, now, self._waits):
            case Again(at, why):
                await self._again(vehicle, row, at, why)
            case Told() as told:
                await self._tell(vehicle, row, command, told)
            case Taken(foreign_id, status):
                first = status in (CommandStatus.COMPLETED, CommandStatus.FAILED)
                wait = timedelta() if first else timedelta(seconds=self._waits.command_poll_s)
                accepted = Answer(Result.ACCEPTED, now, command.command_id, command.seq)
                async with self._gateway.database.transaction() as conn:
                    if await repository.taken(
                        conn, vehicle.vin, row, foreign_id, accepted, now + wait
                    ):
                        await repository.say(conn, vehicle.vin, [accepted], now)
                log.info("the API has taken a command", foreign_id=str(foreign_id))

    async def _poll(self, vehicle: VehicleRow, row: CommandRow, command: Command) -> None:
        assert row.foreign_id is not None
        outcome = await self._client.command(vehicle.vin, row.foreign_id)
        now = self._gateway.clock.now()
        match rules.after_poll(outcome, row.tries, row.expires_at, now, self._waits):
            case Again(at, why):
                await self._again(vehicle, row, at, why)
            case Told() as told:
                await self._tell(vehicle, row, command, told)
            case Completed():
                async with self._gateway.database.transaction() as conn:
                    await repository.completed(conn, vehicle.vin, row, now)

    async def _prove(self, vehicle: VehicleRow, row: CommandRow, command: Command) -> None:
        """The API says it is done: read what the vehicle reports, and say that (S6)."""
        if command.kind is not CommandKind.CONFIGURE:
            await self._tell(vehicle, row, command, Told(Result.APPLIED))
            return
        status, health = await self._read(vehicle.vin)
        now = self._gateway.clock.now()
        give_up = now >= row.expires_at + timedelta(seconds=self._waits.late_s)
        # A later one may have changed the values again: the report says how it is.
        give_up = give_up or vehicle.applied_seq > command.seq
        if status is None and not give_up:
            await self._again(vehicle, row, now + self._waits.backoff(row.tries), "no status yet")
            return
        seen = replace(vehicle.seen, applied_seq=max(vehicle.applied_seq, command.seq))
        if status is not None:
            seen = translate.learn(seen, status, await self._defaults(seen, status), now)
        if status is None or status.reported_configuration is None:
            seen = translate.with_applied(seen, command, now)
        elif not translate.shows(seen.values, command.values) and not give_up:
            # Its report may be a moment behind its word.
            await self._again(vehicle, row, now + self._waits.backoff(row.tries), "not shown yet")
            return
        applied = Answer(Result.APPLIED, now, command.command_id, command.seq)
        messages: list[repository.Message] = [applied, translate.config_of(seen)]
        seen = replace(seen, config_digest=translate.config_of(seen).digest)
        if status is not None:
            seen, more = self._observe(seen, status, health, now)
            messages += more
        async with self._gateway.database.transaction() as conn:
            if await repository.done(conn, vehicle.vin, row, applied):
                await repository.say(conn, vehicle.vin, messages, now)
                await repository.save(conn, vehicle.vin, seen, self._next_look(now, seen))
                metrics.COMMANDS.labels(command.kind.value, "APPLIED", "").inc()
        log.info("a command is applied", seq=command.seq)

    async def _answer_query(self, vehicle: VehicleRow, row: CommandRow, command: Command) -> None:
        """REPORT, then configuration and status at once; a vehicle that is away says nothing."""
        status, health = await self._read(vehicle.vin)
        now = self._gateway.clock.now()
        if status is None or not translate.reachable(status, health):
            await self._again(vehicle, row, now + self._waits.backoff(row.tries), "not there")
            return
        report = Answer(Result.REPORT, now, command.command_id, command.seq)
        await self._save_look(vehicle, status, health, asked=True, before=(row, report))

    async def _test(self, vehicle: VehicleRow, row: CommandRow, command: Command) -> None:
        outcome = await self._client.health(vehicle.vin)
        health = outcome.read(HealthView) if isinstance(outcome, Reply) else None
        if health is not None and health.reachable:
            await self._tell(vehicle, row, command, Told(Result.REPORT))
            return
        at = self._gateway.clock.now() + self._waits.backoff(row.tries)
        await self._again(vehicle, row, min(at, row.expires_at), "not there")

    async def _display(self, vehicle: VehicleRow, row: CommandRow, command: Command) -> None:
        text = command.text if isinstance(command.text, str) else ""
        level = command.level if isinstance(command.level, DisplayLevel) else DisplayLevel.INFO
        outcome = await self._client.display(vehicle.vin, row.command_id, text, level.value)
        if outcome is None:
            none = Told(Result.REJECTED, Reason.INCOMPATIBLE, "the IoT API shows no texts")
            await self._tell(vehicle, row, command, none)
            return
        await self._follow_order(vehicle, row, command, outcome)

    # Looks

    async def _look(self, vehicle: VehicleRow) -> None:
        status, health = await self._read(vehicle.vin)
        now = self._gateway.clock.now()
        if status is None:
            # That the API is away says nothing about the vehicle; silence does, in time.
            async with self._gateway.database.transaction() as conn:
                row = {"vin": vehicle.vin, "poll_at": self._next_look(now, vehicle.seen)}
                await conn.execute(QUERIES["poll_later"], row)
            return
        await self._save_look(vehicle, status, health)
        if self._client.api.events:
            await self._follow_log(vehicle)

    async def _follow_log(self, vehicle: VehicleRow) -> None:
        """Say what is new in the vehicle log."""
        outcome = await self._client.diagnostics(vehicle.vin)
        report = outcome.read(DiagnosticsReport) if isinstance(outcome, Reply) else None
        if report is None:
            return
        now = self._gateway.clock.now()
        events = translate.new_events(vehicle.vin, report, vehicle.events_at, now)
        if not events:
            return
        async with self._gateway.database.transaction() as conn:
            await repository.say(conn, vehicle.vin, events, now)
            row = {"vin": vehicle.vin, "at": max(event.at for event in events)}
            await conn.execute(QUERIES["events_said"], row)

    async def _save_look(
        self,
        vehicle: VehicleRow,
        status: StatusView,
        health: HealthView | None,
        *,
        asked: bool = False,
        before: tuple[CommandRow, Answer] | None = None,
    ) -> None:
        now = self._gateway.clock.now()
        seen = translate.learn(
            vehicle.seen, status, await self._defaults(vehicle.seen, status), now
        )
        seen, said = self._observe(seen, status, health, now, asked=asked)
        messages: Sequence[repository.Message] = said
        async with self._gateway.database.transaction() as conn:
            if before is not None:
                row, answer = before
                if not await repository.done(conn, vehicle.vin, row, answer):
                    return
                messages = [answer, *said]
                metrics.COMMANDS.labels(row.kind, answer.result.value, "").inc()
            await repository.say(conn, vehicle.vin, messages, now)
            await repository.save(conn, vehicle.vin, seen, self._next_look(now, seen))

    def _observe(
        self,
        seen: Seen,
        status: StatusView,
        health: HealthView | None,
        now: datetime,
        *,
        asked: bool = False,
    ) -> tuple[Seen, list[Upward]]:
        return translate.observe(
            seen,
            status,
            health,
            now=now,
            session=str(new_id()),
            alive_every=timedelta(seconds=self._settings.alive_every_s),
            asked=asked,
        )

    async def _read(self, vin: str) -> tuple[StatusView | None, HealthView | None]:
        found = await self._client.status(vin)
        status = found.read(StatusView) if isinstance(found, Reply) else None
        if status is None:
            said = found.why if isinstance(found, Down) else f"{found.status} {found.code or ''}"
            log.warning("no status of a foreign vehicle", api=self._client.api.name, said=said)
            return None, None
        asked = await self._client.health(vin)
        return status, asked.read(HealthView) if isinstance(asked, Reply) else None

    async def _defaults(self, seen: Seen, status: StatusView) -> translate.Values:
        if status.reported_configuration is not None or seen.values is not None:
            return {}
        async with self._gateway.database.transaction() as conn:
            return await repository.defaults(
                conn, status.model or seen.model, status.diagnostics.firmware_version
            )

    def _next_look(self, now: datetime, seen: Seen) -> datetime:
        api = self._client.api
        moving = seen.status is not None and seen.status.get("operational") == Operational.RUNNING
        # One that drives may park, and one that is away may come back: both are waited for.
        wait = api.waiting_poll_s if moving or not seen.online else api.poll_s
        at = now + timedelta(seconds=wait)
        return at if seen.quiet_until is None else min(at, max(now, seen.quiet_until))

    # Endings

    async def _again(self, vehicle: VehicleRow, row: CommandRow, at: datetime, why: str) -> None:
        async with self._gateway.database.transaction() as conn:
            await repository.again(conn, vehicle.vin, row, at)
        log.info("a command waits", why=why, state=row.state, tries=row.tries + 1)

    async def _tell(
        self, vehicle: VehicleRow, row: CommandRow, command: Command, told: Told
    ) -> None:
        now = self._gateway.clock.now()
        answer = Answer(told.result, now, command.command_id, command.seq, told.reason, told.detail)
        messages: list[repository.Message] = [answer]
        seen = vehicle.seen
        if told.result is Result.APPLIED and seen.values_at is not None:
            # APPLIED is followed by the configuration, whatever was applied (BUS, Answer).
            seen = replace(seen, applied_seq=max(seen.applied_seq, command.seq))
            messages.append(translate.config_of(seen))
        async with self._gateway.database.transaction() as conn:
            if not await repository.done(conn, vehicle.vin, row, answer):
                return
            await repository.say(conn, vehicle.vin, messages, now)
            await self._after_telling(conn, vehicle, seen, told, now)
        metrics.COMMANDS.labels(command.kind.value, answer.result.value, told.reason or "").inc()
        say = log.info if told.reason is None else log.warning
        say("a command has ended", result=answer.result.value, detail=told.detail)

    async def _after_telling(
        self, conn: Connection, vehicle: VehicleRow, seen: Seen, told: Told, now: datetime
    ) -> None:
        if told.result is Result.DEFERRED:
            # The engine waits for a status: have one when the reason is over.
            at = told.quiet_until or now
            row = {"vin": vehicle.vin, "quiet_until": told.quiet_until, "poll_at": at}
            await conn.execute(QUERIES["keep_quiet"], row)
        elif seen is not vehicle.seen and seen.applied_seq != vehicle.applied_seq:
            await repository.save(conn, vehicle.vin, seen, vehicle.poll_at)
