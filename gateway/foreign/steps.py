"""The next step of a vehicle behind a foreign API: a call, then what follows, saved at once."""

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
from core.contracts.iot_api import CommandStatus, HealthView, StatusView
from core.db import Connection
from core.errors import Unavailable
from gateway.foreign import metrics, repository, rules, translate
from gateway.foreign.client import ForeignClient
from gateway.foreign.looks import Looks
from gateway.foreign.outcome import Outcome, Reply
from gateway.foreign.repository import QUERIES, CommandRow, VehicleRow
from gateway.foreign.rules import Again, Completed, Taken, Told, Waits
from gateway.foreign.settings import ForeignSettings
from gateway.foreign.translate import Seen
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
        self._looks = Looks(gateway, settings, client)
        self._slot = gateway.bus_settings.slot
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
        if vehicle is None or (row is None and vehicle.poll_at > now):
            return
        try:
            if row is None:
                await self._looks.one(vehicle)
            else:
                with bound_contextvars(vin=vin, command_id=str(row.command_id)):
                    await self._command(vehicle, row)
        except (Unavailable, repository.LeaseLost):
            raise  # nothing is known of the vehicle by that
        except Exception:
            # Whatever it is that cannot be handled, it will be the same at once: wait longer each
            # time, and tell the command's end when its time is over.
            what = "look" if row is None else row.kind
            log.exception("a foreign vehicle's step failed", vin=vin, what=what)
            metrics.FAILED_STEPS.labels(self._client.api.name, what).inc()
            await (self._look_later(vehicle) if row is None else self._put_off(vehicle, row))

    # Commands

    async def _command(self, vehicle: VehicleRow, row: CommandRow) -> None:
        command = row.command
        match row.state, command.kind:
            case "FAILED", _:
                told = rules.after_failure(row.error_code, self._gateway.clock.now())
                await self._tell_failure(vehicle, row, command, told)
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
                await self._tell_failure(vehicle, row, command, told)
            case Completed():
                async with self._gateway.database.transaction() as conn:
                    await repository.completed(conn, vehicle.vin, row, now)

    async def _tell_failure(
        self, vehicle: VehicleRow, row: CommandRow, command: Command, told: Told
    ) -> None:
        if told.reason is Reason.UNSAFE_STATE:
            status, _ = await self._looks.read(vehicle)
            now = self._gateway.clock.now()
            told = rules.kept_quiet(told, status, now, self._settings.unsafe_quiet_s)
        await self._tell(vehicle, row, command, told)

    async def _prove(self, vehicle: VehicleRow, row: CommandRow, command: Command) -> None:
        """The API says it is done: read what the vehicle reports, and say that (S6)."""
        if command.kind is not CommandKind.CONFIGURE:
            await self._tell(vehicle, row, command, Told(Result.APPLIED))
            return
        status, health = await self._looks.read(vehicle)
        now = self._gateway.clock.now()
        async with self._gateway.database.transaction() as conn:
            since = await repository.set_since(conn, vehicle.vin, command.seq)
        why = rules.unproved(status, command, since)
        if why is not None:
            if now >= self._late_at(row):
                # The API's word alone is no proof (S6): the engine asks first, then tries again.
                told = Told(Result.REJECTED, Reason.EXPIRED, f"the API says COMPLETED, but {why}")
                await self._tell(vehicle, row, command, told)
                return
            await self._again(vehicle, row, now + self._waits.backoff(row.tries), why)
            return
        assert status is not None
        seen = replace(vehicle.seen, applied_seq=max(vehicle.applied_seq, command.seq))
        seen = await self._looks.learn(seen, status, now)
        if status.reported_configuration is None:
            seen = translate.with_applied(seen, command, now, since)
        applied = Answer(Result.APPLIED, now, command.command_id, command.seq)
        messages: list[repository.Message] = [applied, translate.config_of(seen)]
        seen = replace(seen, config_digest=translate.config_of(seen).digest)
        seen, more = self._looks.observe(seen, status, health, now)
        messages += more
        async with self._gateway.database.transaction() as conn:
            if await repository.done(conn, vehicle.vin, row, applied):
                await repository.say(conn, vehicle.vin, messages, now)
                at = self._looks.next_look(now, seen)
                await repository.save(conn, vehicle.vin, seen, at, self._slot)
        metrics.COMMANDS.labels(command.kind.value, "APPLIED", "").inc()
        log.info("a command is applied", seq=command.seq)

    async def _answer_query(self, vehicle: VehicleRow, row: CommandRow, command: Command) -> None:
        """REPORT, then configuration and status at once; a vehicle that is away says nothing."""
        status, health = await self._looks.read(vehicle)
        now = self._gateway.clock.now()
        if status is None or not translate.reachable(status, health):
            await self._again(vehicle, row, now + self._waits.backoff(row.tries), "not there")
            return
        report = Answer(Result.REPORT, now, command.command_id, command.seq)
        await self._looks.save(vehicle, status, health, asked=True, before=(row, report))

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

    # What failed

    async def _look_later(self, vehicle: VehicleRow) -> None:
        at = self._gateway.clock.now() + self._waits.backoff(vehicle.look_tries)
        async with self._gateway.database.transaction() as conn:
            await conn.execute(QUERIES["look_failed"], {"vin": vehicle.vin, "poll_at": at})

    async def _put_off(self, vehicle: VehicleRow, row: CommandRow) -> None:
        """Try again later; past its time, an answer with nothing in it that could not be read."""
        now = self._gateway.clock.now()
        if now < self._late_at(row):
            await self._again(vehicle, row, now + self._waits.backoff(row.tries), "the step failed")
            return
        detail = "what the API answers cannot be handled"
        answer = Answer(Result.REJECTED, now, row.command_id, row.seq, Reason.EXPIRED, detail)
        async with self._gateway.database.transaction() as conn:
            if await repository.done(conn, vehicle.vin, row, answer):
                await repository.say(conn, vehicle.vin, [answer], now)
        metrics.COMMANDS.labels(row.kind, answer.result.value, Reason.EXPIRED.value).inc()

    def _late_at(self, row: CommandRow) -> datetime:
        """From when on a command is given up, after which the API may still be late."""
        late = timedelta(seconds=self._waits.late_s)
        return max(row.expires_at, row.ended_at or row.expires_at) + late

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
            row = {"vin": vehicle.vin, "quiet_until": told.quiet_until, "now": now}
            await conn.execute(QUERIES["keep_quiet"], row)
        elif seen is not vehicle.seen and seen.applied_seq != vehicle.applied_seq:
            await repository.save(conn, vehicle.vin, seen, vehicle.poll_at, self._slot)
