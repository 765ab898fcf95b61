"""A car as BUS.md has it, that can be told to misbehave, and the road it drives on."""

import random
from dataclasses import dataclass, field

from core.bus import Message
from core.contracts import bus as wire
from core.contracts.bus import (
    Answer,
    Command,
    CommandKind,
    Operational,
    ParameterSetting,
    Reason,
    ReportedConfig,
    Result,
    VehicleStatus,
)
from core.contracts.topics import Topic, topic_of
from tests.ota_engine.world import OFFROAD_OFF, POWER_OFF, PREFIX, VIN, World

REFUSALS = [Reason.BUSY, Reason.FIRMWARE_ERROR, Reason.UNSAFE_STATE, Reason.CONFLICT]


@dataclass
class RandomCar:
    """Applies what it gets, in the ways ``dice`` chooses; its messages can be lost or doubled."""

    world: World
    dice: random.Random
    values: dict[tuple[str, str], ParameterSetting] = field(
        default_factory=dict[tuple[str, str], ParameterSetting]
    )
    highest: int = 0
    applied: int = 0
    read: int = 0
    honest: bool = False
    answers: dict[object, Answer] = field(default_factory=dict[object, Answer])
    sent: list[Message] = field(default_factory=list[Message])

    def __post_init__(self) -> None:
        self._set([*POWER_OFF, *OFFROAD_OFF])

    def _set(self, values: list[ParameterSetting]) -> None:
        for item in values:
            self.values[(item.module, item.parameter)] = item

    async def receive(self) -> None:
        """Take every command that is on the bus and was not read yet."""
        commands = self.world.commands(None)
        while self.read < len(commands):
            command = commands[self.read]
            self.read += 1
            if not self.honest and self.dice.random() < 0.15:
                continue  # lost on the way, or expired in the broker
            await self.take(command)

    async def take(self, command: Command) -> None:
        known = self.answers.get(command.command_id)
        if known is not None:
            await self._say(Topic.ANSWER, known)
        elif command.expires_at <= self.world.clock.now():
            await self._answer(command, Result.REJECTED, Reason.EXPIRED)
        elif command.seq <= self.highest:
            await self._answer(command, Result.REJECTED, Reason.REPLAYED)
        else:
            self.highest = command.seq
            await self._execute(command)

    async def _execute(self, command: Command) -> None:
        if command.kind is CommandKind.QUERY:
            await self._answer(command, Result.REPORT)
            await self.publish_state()
            return
        how = 0.0 if self.honest else self.dice.random()
        if how < 0.5:
            await self._apply(command, len(command.values))
        elif how < 0.6:
            await self._apply(command, len(command.values) - 1)
        elif how < 0.7:
            await self._answer(command, Result.DEFERRED, Reason.UNSAFE_STATE)
        elif how < 0.8:
            await self._answer(command, Result.APPLIED)  # a lie
            await self.config()
        elif how < 0.9:
            await self._answer(command, Result.REJECTED, self.dice.choice(REFUSALS))

    async def _apply(self, command: Command, count: int) -> None:
        self._set(command.values[:count])
        self.applied = command.seq
        await self._answer(command, Result.APPLIED)
        await self.config()

    async def _answer(self, command: Command, result: Result, reason: Reason | None = None) -> None:
        answer = Answer(result, self.world.clock.now(), command.command_id, command.seq, reason)
        self.answers[command.command_id] = answer
        await self._say(Topic.ANSWER, answer)

    async def config(self) -> None:
        values = list(self.values.values())
        await self._say(
            Topic.CONFIG,
            ReportedConfig(
                self.world.clock.now(),
                self.applied,
                "2.4.1",
                "AURORA",
                values,
                wire.digest_of(values),
            ),
        )

    async def publish_state(self) -> None:
        await self.config()
        await self.drive(Operational.PARKED)

    async def drive(self, operational: Operational) -> None:
        at = self.world.clock.now()
        await self.world.vehicle(
            "ONLINE",
            operational=operational.value,
            status={"at": at.isoformat()},
            reported=list(self.values.values()),
            reported_seq=self.applied,
        )
        await self._say(Topic.STATUS, VehicleStatus(at, operational, "2.4.1", 70))

    async def repeat_something_old(self) -> None:
        """The broker delivers twice, and late."""
        if self.sent:
            await self.world.inbox.handle(self.dice.choice(self.sent))

    async def _say(self, topic: Topic, body: Answer | ReportedConfig | VehicleStatus) -> None:
        message = Message(topic_of(PREFIX, VIN, topic), wire.encode(body))
        self.sent.append(message)
        if self.honest or self.dice.random() > 0.15:
            await self.world.inbox.handle(message)
