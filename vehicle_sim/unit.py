"""The control unit of a vehicle, without I/O: what it answers to a command and what it changes.

Its rules are BUS (Command, Answer, ReportedConfig) and DOMAIN 7 ("Vehicle duties"). Its state is
one struct that the caller writes to disk before anything of a :class:`Reaction` goes out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from joserfc.jwk import KeySet

from core.contracts import jws
from core.contracts.bus import (
    STANDING,
    ActiveService,
    Answer,
    Command,
    CommandKind,
    EventType,
    Operational,
    ParameterSetting,
    ParameterValue,
    Reason,
    ReportedConfig,
    Result,
    SafeState,
    ServiceState,
    Unusable,
    VehicleEvent,
    digest_of,
)
from core.ids import new_id
from vehicle_sim.faults import Fault, FaultKind, FaultSet
from vehicle_sim.firmware import Firmware, Refused
from vehicle_sim.state import Shown, Timer, UnitState

ANSWERS_KEPT = 200
TEXTS_KEPT = 5
_LINK_CODE = re.compile(r"\bcode\D{0,3}(\d{4,8})\b", re.IGNORECASE)
_LINK_WORD = re.compile(r"\blink", re.IGNORECASE)


@dataclass
class Reaction:
    """What follows from a command or from time passing; to be published in this order."""

    out: list[Answer | ReportedConfig | VehicleEvent] = field(
        default_factory=list[Answer | ReportedConfig | VehicleEvent]
    )
    status: bool = False  # publish a VehicleStatus after ``out``
    link_code: str | None = None  # the driver is asked to confirm this code
    delay_s: float = 0.0  # wait before publishing
    reboot: bool = False  # restart now; the command was not finished and must come again
    offline_s: float | None = None  # lose the network now; the command must come again

    @property
    def acknowledged(self) -> bool:
        """Whether the command is done with, so the broker may forget it."""
        return not self.reboot and self.offline_s is None


class ControlUnit:
    """One vehicle's unit. ``now`` is real time; the unit's own clock may be wrong (faults)."""

    def __init__(
        self, vin: str, firmware: Firmware, state: UnitState, faults: FaultSet | None = None
    ) -> None:
        self.vin = vin
        self.firmware = firmware
        self.state = state
        self.faults = faults or FaultSet()
        # A firmware update may have brought parameters or taken some away.
        known = {k: v for k, v in state.values.items() if k in firmware.parameters}
        state.values = firmware.base_values() | known

    # What it does

    def boot(self, now: datetime) -> Reaction:
        """Start up: another boot number, and an event that says so."""
        self.state.boot += 1
        return Reaction(out=[self._event(now, EventType.BOOT, detail=f"boot {self.state.boot}")])

    def handle(
        self, payload: bytes, keys: KeySet, now: datetime, operational: Operational
    ) -> Reaction:
        """React to the payload of ``cmd``, trusted or not."""
        try:
            command = jws.verify(payload, keys)
        except Unusable as error:
            bad = error.code == Reason.BAD_SIGNATURE
            reason = Reason.BAD_SIGNATURE if bad else Reason.MALFORMED
            command_id, seq = jws.peek_ids(payload)
            return Reaction(out=[self._answer(now, command_id, seq, reason, error.message)])
        known = self.state.answers.get(str(command.command_id))
        if known is not None and command.vin == self.vin:
            # APPLIED is always followed by the configuration; the first one may be lost.
            proof = [self.config(now)] if known.result is Result.APPLIED else []
            return Reaction(out=[known, *proof])
        refusal = self._refuse_unasked(command, now)
        if refusal is not None:
            return Reaction(out=[refusal])
        hit = self.faults.take(command.kind)
        if FaultKind.IGNORE in hit:
            return Reaction()
        if (offline := hit.get(FaultKind.OFFLINE)) is not None:
            return Reaction(offline_s=offline.seconds or 0.0)
        reaction = self._execute(command, now, operational, hit)
        if reaction.acknowledged:
            self.state.highest_seq = command.seq
            self._remember(command, reaction)
            _hold_back(reaction, hit)
        return reaction

    def tick(self, now: datetime, operational: Operational) -> Reaction:
        """Switch off what has run out (``valid_until``); BUS, Command."""
        clock = self.clock(now)
        standing = operational in STANDING
        due = [t for t in self.state.timers if t.at <= clock and (standing or not t.standing)]
        if not due:
            return Reaction()
        self.state.timers = [timer for timer in self.state.timers if timer not in due]
        reaction = Reaction()
        for timer in due:
            self._change(timer.values, now, reaction, "valid_until is over")
        reaction.out.insert(0, self.config(now))
        return reaction

    def set_by_hand(self, settings: list[ParameterSetting], now: datetime) -> Reaction:
        """A workshop's tool sets values; Refused as for a command. No number, no answer.

        Timers stay: a tool knows nothing of them.
        """
        values = self.firmware.accept(settings)
        self.firmware.check_conflicts(self.state.values | values)
        reaction = Reaction()
        self._change(values, now, reaction, "by hand")
        reaction.out.insert(0, self.config(now))
        return reaction

    # What it is

    def clock(self, now: datetime) -> datetime:
        """What the unit takes for the present."""
        return now + timedelta(seconds=self.faults.clock_skew_s)

    def config(self, now: datetime) -> ReportedConfig:
        """Every optional parameter as it stands (BUS, ReportedConfig)."""
        values = [
            ParameterSetting(parameter.module, parameter.parameter, self.state.values[key])
            for key, parameter in sorted(self.firmware.parameters.items())
        ]
        return ReportedConfig(
            at=self.clock(now),
            seq=self.state.applied_seq,
            firmware=self.firmware.version,
            model=self.firmware.model,
            values=values,
            digest=digest_of(values),
        )

    def active_services(self) -> list[ActiveService]:
        """Options that are on; ERROR where only some of an option's parameters are."""
        states = self._option_states()
        return [
            ActiveService(name, since, states[name])
            for name, since in self.state.since.items()
            if name in states
        ]

    @property
    def next_timer(self) -> datetime | None:
        """When the first switch-off is due, by the unit's clock."""
        return min((timer.at for timer in self.state.timers), default=None)

    # Judging a command

    def _refuse_unasked(self, command: Command, now: datetime) -> Answer | None:
        """The answer to a command that is not to be executed at all, whatever it wants."""
        if command.vin != self.vin:
            return self._refusal(command, now, Reason.WRONG_VEHICLE, f"this is {self.vin}")
        if command.seq <= self.state.highest_seq:
            detail = f"seq {command.seq} is not above {self.state.highest_seq}"
            return self._refusal(command, now, Reason.REPLAYED, detail)
        if command.expires_at <= self.clock(now):
            self.state.highest_seq = command.seq
            answer = self._refusal(command, now, Reason.EXPIRED, "by the clock of the vehicle")
            self._keep(answer)
            return answer
        return None

    def _execute(
        self,
        command: Command,
        now: datetime,
        operational: Operational,
        hit: Mapping[FaultKind, Fault],
    ) -> Reaction:
        refuse = hit.get(FaultKind.REFUSE)
        if refuse is not None and refuse.reason is not None:
            return Reaction(out=[self._refusal(command, now, refuse.reason, "a fault was set")])
        if FaultKind.FALSE_APPLIED in hit:
            return Reaction(out=[self._done(command, now, Result.APPLIED)])
        try:
            match command.kind:
                case CommandKind.CONFIGURE:
                    return self._configure(command, now, operational, hit)
                case CommandKind.DISPLAY:
                    return self._display(command, now)
                case CommandKind.QUERY:
                    report = self._done(command, now, Result.REPORT)
                    return Reaction(out=[report, self.config(now)], status=True)
                case CommandKind.TEST:
                    return Reaction(out=[self._done(command, now, Result.REPORT)])
        except Refused as refused:
            answer = self._refusal(command, now, refused.reason, refused.detail)
            return Reaction(out=[answer])

    def _configure(
        self,
        command: Command,
        now: datetime,
        operational: Operational,
        hit: Mapping[FaultKind, Fault],
    ) -> Reaction:
        if not command.values:
            raise Refused(Reason.MALFORMED, "CONFIGURE without values")
        wanted = self.firmware.accept(command.values)
        revert = self.firmware.accept(command.revert_values)
        self.firmware.check_conflicts(self.state.values | wanted)
        needs_standing = command.safe_state is SafeState.PARKED or self.firmware.needs_standing(
            wanted
        )
        if needs_standing and operational not in STANDING:
            raise Refused(Reason.UNSAFE_STATE, f"the vehicle is {operational}")
        if FaultKind.REBOOT in hit:
            half = dict(list(wanted.items())[: len(wanted) // 2])
            self.state.values |= half
            return Reaction(reboot=True)
        if FaultKind.PARTIAL in hit:
            wanted = dict(list(wanted.items())[:-1])
        reaction = Reaction()
        self._change(wanted, now, reaction, command.service)
        self.state.applied_seq = command.seq
        self._set_timer(command, wanted, revert, needs_standing)
        reaction.out[:0] = [self._done(command, now, Result.APPLIED), self.config(now)]
        return reaction

    def _display(self, command: Command, now: datetime) -> Reaction:
        if not isinstance(command.text, str):
            raise Refused(Reason.MALFORMED, "DISPLAY without a text")
        level = command.level if isinstance(command.level, str) else "INFO"
        shown = Shown(self.clock(now), level, command.text)
        self.state.screen = [*self.state.screen, shown][-TEXTS_KEPT:]
        self.state.applied_seq = command.seq
        code = _LINK_CODE.search(command.text) if _LINK_WORD.search(command.text) else None
        return Reaction(
            out=[self._done(command, now, Result.APPLIED), self.config(now)],
            link_code=code.group(1) if code else None,
        )

    # Changing the configuration

    def _change(
        self,
        values: Mapping[str, ParameterValue],
        now: datetime,
        reaction: Reaction,
        why: str | None,
    ) -> None:
        before = self._option_states()
        self.state.values |= values
        after = self._option_states()
        for name in self.firmware.options:
            if (state := after.get(name)) == before.get(name):
                continue
            if state is None:
                self.state.since.pop(name, None)
                reaction.out.append(self._event(now, EventType.FEATURE_OFF, name, why))
            else:
                self.state.since.setdefault(name, self.clock(now))
                if state is ServiceState.ACTIVE:
                    reaction.out.append(self._event(now, EventType.FEATURE_ON, name, why))
            reaction.status = True

    def _set_timer(
        self,
        command: Command,
        wanted: Mapping[str, ParameterValue],
        revert: dict[str, ParameterValue],
        needs_standing: bool,
    ) -> None:
        """The newest command decides over its parameters: older timers forget them."""
        kept: list[Timer] = []
        for timer in self.state.timers:
            left = {k: v for k, v in timer.values.items() if k not in wanted}
            if left:
                kept.append(Timer(timer.at, left, timer.standing))
        if command.valid_until is not None and revert:
            kept.append(Timer(command.valid_until, revert, needs_standing))
        self.state.timers = kept

    def _option_states(self) -> dict[str, ServiceState]:
        states: dict[str, ServiceState] = {}
        for name, option in self.firmware.options.items():
            on = [self.firmware.is_on(p.key, self.state.values[p.key]) for p in option.parameters]
            if any(on):
                states[name] = ServiceState.ACTIVE if all(on) else ServiceState.ERROR
        return states

    # Answers and events

    def _answer(
        self, now: datetime, command_id: UUID | None, seq: int | None, reason: Reason, detail: str
    ) -> Answer:
        result = Result.DEFERRED if reason is Reason.UNSAFE_STATE else Result.REJECTED
        return Answer(result, self.clock(now), command_id, seq, reason, detail)

    def _refusal(self, command: Command, now: datetime, reason: Reason, detail: str) -> Answer:
        return self._answer(now, command.command_id, command.seq, reason, detail)

    def _done(self, command: Command, now: datetime, result: Result) -> Answer:
        return Answer(result, self.clock(now), command.command_id, command.seq)

    def _event(
        self, now: datetime, kind: EventType, code: str | None = None, detail: str | None = None
    ) -> VehicleEvent:
        return VehicleEvent(new_id(), self.clock(now), kind, code, detail)

    def confirm_link(self, code: str, now: datetime) -> VehicleEvent:
        """The driver pressed yes on the screen."""
        return self._event(now, EventType.LINK_CONFIRMED, code)

    def _remember(self, command: Command, reaction: Reaction) -> None:
        for item in reaction.out:
            if isinstance(item, Answer) and item.command_id == command.command_id:
                self._keep(item)

    def _keep(self, answer: Answer) -> None:
        self.state.answers[str(answer.command_id)] = answer
        while len(self.state.answers) > ANSWERS_KEPT:
            del self.state.answers[next(iter(self.state.answers))]


def _hold_back(reaction: Reaction, hit: Mapping[FaultKind, Fault]) -> None:
    """Faults of telling, after everything was done and remembered."""
    if FaultKind.SILENT_APPLY in hit:
        reaction.out, reaction.status = [], False
    if FaultKind.NO_ANSWER in hit:
        reaction.out = [item for item in reaction.out if not isinstance(item, Answer)]
    if (delay := hit.get(FaultKind.DELAY)) is not None:
        reaction.delay_s = delay.seconds or 0.0
