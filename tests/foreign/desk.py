"""The steps of one vehicle, taken by hand on a clock that stands."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
from psycopg.types.json import Jsonb

from core.bus.start import BusHolder
from core.clock import ManualClock, rfc3339
from core.contracts.bus import Answer, Command, CommandKind, ParameterSetting, SafeState, decode
from core.contracts.topics import Topic
from core.db import Database
from core.ids import new_id
from core.settings import BusSettings, SigningSettings, load
from gateway import registry
from gateway.foreign.apis import ForeignApi
from gateway.foreign.breaker import Breaker
from gateway.foreign.client import ForeignClient
from gateway.foreign.part import adopt
from gateway.foreign.settings import ForeignSettings
from gateway.foreign.steps import Steps
from gateway.parts import Gateway
from tests.foreign.world import HIGH, KINDS, VIN

Give = Callable[[httpx.Request], httpx.Response]
STATUS: dict[str, Any] = {
    "vin": VIN,
    "connectivity": "ONLINE",
    "operational": "PARKED",
    "diagnostics": {"firmwareVersion": "2.4.1", "networkSignalStrength": 80},
}


@dataclass
class Desk:
    """``gives``: what the API answers, by path's last part; anything else is 503."""

    room: Database
    clock: ManualClock
    folder: Path
    settings: ForeignSettings = field(default_factory=lambda: load(ForeignSettings))
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    gives: dict[str, Give] = field(default_factory=dict[str, Give])
    calls: list[str] = field(default_factory=list[str])
    client: ForeignClient | None = None

    @property
    def gateway(self) -> Gateway:
        return Gateway(self.room, self.clock, BusHolder(), load(BusSettings), load(SigningSettings))

    def api(self) -> ForeignApi:
        (self.folder / "s").write_text("x")
        auth = {"kind": "hmac", "key_id": "k", "secret_file": str(self.folder / "s")}
        return ForeignApi.model_validate(
            {"name": "desk", "base_url": "https://api.example", "auth": auth, **self.options}
        )

    async def begin(self) -> None:
        """The vehicle, enrolled and taken up."""
        async with self.room.transaction() as conn:
            await registry.enroll(
                conn, vin=VIN, model="AURORA", firmware="2.4.1", transport="iot_api"
            )
        await adopt(self.gateway, self.settings, [self.api()])
        await self.run("UPDATE gateway.foreign_vehicle SET leased_by = 0")

    async def step(self) -> None:
        """Take the step that is due, if one is."""
        if self.client is None:
            breaker = Breaker(failures=1000, window_s=60, open_s=60)
            transport = httpx.MockTransport(self._answer)
            self.client = ForeignClient(self.api(), self.clock, breaker, transport)
        await Steps(self.gateway, self.settings, self.client).one(VIN)

    async def order(
        self, values: list[ParameterSetting] = HIGH, *, seq: int = 1, lives_s: float = 60.0
    ) -> Command:
        """A command that was taken in."""
        now = self.clock.now()
        command = Command(
            VIN,
            new_id(),
            seq,
            CommandKind.CONFIGURE,
            now,
            now + timedelta(seconds=lives_s),
            "PERF_BOOST_50",
            values,
            SafeState.PARKED,
        )
        async with self.room.transaction() as conn:
            await conn.execute(
                "INSERT INTO gateway.foreign_command (vin, command_id, seq, kind, body, state,"
                " received_at, expires_at, due_at) VALUES"
                " (%(vin)s, %(id)s, %(seq)s, 'CONFIGURE', %(body)s, 'RECEIVED', %(now)s, %(end)s,"
                " %(now)s)",
                {
                    "vin": VIN,
                    "id": command.command_id,
                    "seq": seq,
                    "body": Jsonb(msgspec.to_builtins(command)),
                    "now": now,
                    "end": command.expires_at,
                },
            )
        return command

    def accepts(self, status: str = "IN_PROGRESS", error_code: str | None = None) -> None:
        """The API takes commands, and says from then on that they stand like this."""
        body = {
            "commandId": str(new_id()),
            "requestId": "r",
            "timestamp": rfc3339(self.clock.now()),
        }
        self.gives["configure"] = lambda _: httpx.Response(202, json={**body, "status": "QUEUED"})
        view = {**body, "status": status, "errorCode": error_code}
        self.gives["command"] = lambda _: httpx.Response(200, json=view)

    def shows(self, **members: Any) -> None:
        """What ``status`` has besides the usual; None takes a member out."""
        status = {name: value for name, value in {**STATUS, **members}.items() if value is not None}
        self.gives["status"] = lambda _: httpx.Response(200, content=json.dumps(status).encode())

    async def said(self) -> list[msgspec.Struct]:
        """What is to be said on the bus, in order; each is held against its type."""
        rows = await self.rows(
            "SELECT topic, payload FROM gateway.foreign_message ORDER BY message_id"
        )
        return [decode(KINDS[Topic(row["topic"])], bytes(row["payload"])) for row in rows]

    async def answers(self) -> list[Answer]:
        return [item for item in await self.said() if isinstance(item, Answer)]

    async def rows(self, query: Any) -> list[dict[str, Any]]:
        async with self.room.transaction() as conn:
            return await conn.dicts(query)

    async def run(self, query: Any) -> None:
        async with self.room.transaction() as conn:
            await conn.execute(query)

    async def vehicle(self) -> dict[str, Any]:
        """The vehicle's row."""
        return await self.vehicle_of(VIN)

    async def vehicle_of(self, vin: str) -> dict[str, Any]:
        """The row of any vehicle."""
        rows = await self.rows("SELECT * FROM gateway.foreign_vehicle")
        return next(row for row in rows if row["vin"] == vin)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        parts = request.url.path.split("/")
        call = "command" if "commands" in parts else parts[-1]
        self.calls.append(call)
        give = self.gives.get(call)
        return httpx.Response(503) if give is None else give(request)
