"""A gateway as its process runs it, a car on the real broker, and a caller of the IoT API."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc.jwk import KeySet

from api.services.seed import seed_catalogue
from core.bus import Bus, Subscription
from core.bus.open import open_bus
from core.contracts.bus import (
    Answer,
    Command,
    CommandKind,
    ParameterSetting,
    ReportedConfig,
    Result,
    digest_of,
    encode,
)
from core.contracts.bus import Reason as Why
from core.contracts.jws import BadSignature, verify
from core.db import Database
from core.keys import load_signing_keys, new_keys_file
from core.settings import DatabaseSettings, load
from gateway import registry
from gateway.iot_api import clients
from gateway.main import run
from tests.broker_fixtures import RunningBroker, free_port
from tests.gateway.conftest import DEADLINE_S, PREFIX, eventually
from vehicle_sim.keys import KeyRing

VIN = "VF1AURXRA00000017"
OTHER_VIN = "VF1AURXRA00000025"
FACTORY: dict[str, Any] = {
    "ENGINE_CONTROL.power_mode": "NORMAL",
    "ADAS.autonomous_highway_enabled": False,
    "HVAC.climate_zones": 1,
}


class Car:
    """Verifies a command and does what ``mood`` says: obey, refuse, mute or nothing.

    Mute: it does what it is told and says so only when it is asked.
    """

    def __init__(self, bus: Bus, vin: str, keys_file: Path) -> None:
        self.bus, self.vin, self.mood = bus, vin, "obey"
        self.payloads: list[bytes] = []
        self.commands: list[Command] = []
        self.values = dict(FACTORY)
        self._keys_file = keys_file
        self._ring: KeyRing | None = None

    async def drive(self) -> None:
        """Until the bus is closed."""
        async for message in self.bus.messages():
            self.payloads.append(message.payload)
            self.bus.ack(message)
            try:
                command = verify(message.payload, await self._trusted(message.payload))
            except BadSignature:
                continue  # left in the session by an earlier platform
            self.commands.append(command)
            if self.mood == "mute":
                if command.kind is CommandKind.QUERY:
                    await self.answer(command, Result.REPORT)
                    await self.report(self.commands[0].seq)
                self._apply(command)
            elif self.mood == "refuse":
                await self.answer(command, Result.REJECTED, Why.INCOMPATIBLE)
            elif self.mood == "obey":
                await self.answer(command, Result.ACCEPTED)
                self._apply(command)
                await self.answer(command, Result.APPLIED)
                await self.report(command.seq)

    def fetch_keys(self, ring: KeyRing) -> None:
        """Trust the gateway's published keys, as a vehicle does, and not the file."""
        self._ring = ring

    async def _trusted(self, payload: bytes) -> KeySet:
        if self._ring is not None:
            return await self._ring.for_command(payload)
        return load_signing_keys(self._keys_file).verifier()

    def _apply(self, command: Command) -> None:
        for item in command.values:
            self.values[f"{item.module}.{item.parameter}"] = item.value

    async def answer(self, command: Command, result: Result, reason: Why | None = None) -> None:
        said = Answer(
            result=result,
            at=datetime.now(UTC),
            command_id=command.command_id,
            seq=command.seq,
            reason=reason,
        )
        await self.bus.publish(f"{PREFIX}/{self.vin}/answer", encode(said))

    async def report(self, seq: int) -> None:
        settings = [
            ParameterSetting(name.partition(".")[0], name.partition(".")[2], value)
            for name, value in self.values.items()
        ]
        config = ReportedConfig(
            at=datetime.now(UTC),
            seq=seq,
            firmware="2.4.1",
            model="AURORA",
            values=settings,
            digest=digest_of(settings),
        )
        await self.bus.publish(f"{PREFIX}/{self.vin}/config", encode(config), retain=True)


@dataclass
class World:
    """Everything in hand. ``replicas`` are the callers of each gateway."""

    room: Database
    car: Car
    replicas: Sequence[httpx.AsyncClient]
    secrets: dict[str, clients.NewClient] = field(default_factory=dict[str, clients.NewClient])

    @property
    def http(self) -> httpx.AsyncClient:
        return self.replicas[0]

    async def client(self, name: str = "fleet-app", **options: Any) -> dict[str, str]:
        """A client and a token of its own, as headers."""
        vins = options.pop("vins", [VIN])
        async with self.room.transaction() as conn:
            made = await clients.create(
                conn, name, now=datetime.now(UTC), allow_http=True, **options
            )
            await clients.allow(conn, name, vins, allowed=True)
        self.secrets[name] = made
        return await self.token(name, made.secret)

    async def token(self, name: str, secret: str) -> dict[str, str]:
        answer = await self.http.post(
            "/oauth/token", data={"grant_type": "client_credentials"}, auth=(name, secret)
        )
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    async def configure(
        self,
        headers: dict[str, str],
        request_id: str,
        *,
        service: str = "PERF_BOOST_50",
        vin: str = VIN,
        http: httpx.AsyncClient | None = None,
        **more: Any,
    ) -> httpx.Response:
        body = {"vin": vin, "serviceId": service, "duration": {"type": "PERMANENT"}, **more}
        return await (http or self.http).post(
            f"/vehicle/{vin}/configure",
            json=body,
            headers={**headers, "X-Request-ID": request_id},
        )

    async def command(self, headers: dict[str, str], command_id: str) -> dict[str, Any]:
        answer = await self.http.get(f"/vehicle/{VIN}/commands/{command_id}", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def ended(self, headers: dict[str, str], command_id: str) -> dict[str, Any]:
        """The command once it is over."""

        async def over() -> bool:
            return (await self.command(headers, command_id))["status"] in ("COMPLETED", "FAILED")

        await eventually(over, f"command {command_id} is over")
        return await self.command(headers, command_id)


@contextlib.asynccontextmanager
async def running(
    dsn: str,
    broker: RunningBroker,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    replicas: int = 1,
    **settings: str,
) -> AsyncGenerator[World]:
    """Gateways over one database and broker, two enrolled vehicles, one of them there."""
    room = await _filled(dsn)
    _set_environment(monkeypatch, dsn, broker, folder, settings)
    new_keys_file(folder / "keys.json")
    if VIN not in broker.secrets:
        broker.add_user(VIN)
    bus = open_bus(
        broker.settings(VIN),
        client_id=VIN,
        subscriptions=[Subscription(f"{PREFIX}/{VIN}/cmd")],
        role="vehicle",
    )
    await bus.start()
    car = Car(bus, VIN, folder / "keys.json")
    driving = asyncio.create_task(car.drive())
    stop = asyncio.Event()
    serving: list[asyncio.Task[None]] = []
    async with contextlib.AsyncExitStack() as stack:
        callers: list[httpx.AsyncClient] = []
        for slot in range(replicas):
            port = free_port()
            monkeypatch.setenv("CAAS_OPS_PORT", str(port))
            monkeypatch.setenv("CAAS_MQTT_SLOT", str(slot))
            serving.append(asyncio.create_task(run(stop)))
            url = f"http://127.0.0.1:{port}"
            await eventually(lambda at=url: _healthy(at), "the gateway is healthy")
            client = httpx.AsyncClient(base_url=f"{url}/iot/v1", timeout=20, trust_env=False)
            callers.append(await stack.enter_async_context(client))
        try:
            yield World(room, car, callers)
        finally:
            stop.set()
            await asyncio.wait_for(asyncio.gather(*serving), DEADLINE_S)
            await bus.close()
            await driving
            await room.close()


async def _filled(dsn: str) -> Database:
    """The gateway's database with catalogue and vehicles."""
    database = Database(load(DatabaseSettings, dsn=dsn, set_role=True), role="caas_api")
    await database.open()
    async with database.transaction() as conn:
        await seed_catalogue(conn)
    await database.close()
    room = Database(load(DatabaseSettings, dsn=dsn, set_role=True), role="caas_gateway")
    await room.open()
    async with room.transaction() as conn:
        for vin in (VIN, OTHER_VIN):
            await registry.enroll(conn, vin=vin, model="AURORA", firmware="2.4.1")
    return room


def _set_environment(
    monkeypatch: pytest.MonkeyPatch,
    dsn: str,
    broker: RunningBroker,
    folder: Path,
    settings: Mapping[str, str],
) -> None:
    """What a gateway's process is started with."""
    for name, value in {
        "CAAS_DB_DSN": dsn,
        "CAAS_DB_SET_ROLE": "true",
        "CAAS_MQTT_HOST": broker.host,
        "CAAS_MQTT_PORT": str(broker.port),
        "CAAS_MQTT_USERNAME": "svc-gateway",
        "CAAS_MQTT_PASSWORD": broker.secrets["svc-gateway"],
        "CAAS_SIGNING_KEYS_FILE": str(folder / "keys.json"),
        "CAAS_DISPATCH_POLL_S": "0.1",
        "CAAS_IOT_API_CALLBACK_POLL_S": "0.05",
        "CAAS_IOT_API_CALLBACK_WAITS_S": "[0.05, 0.05]",
        "CAAS_IOT_API_CALLBACK_ALLOW_HTTP": "true",
        **settings,
    }.items():
        monkeypatch.setenv(name, value)


async def _healthy(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(f"{url}/healthz")).status_code == 200
    return False
