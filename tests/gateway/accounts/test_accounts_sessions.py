"""Sessions that outlive their connection: what crashed Mosquitto 2.0 when it was sent SIGHUP."""

import asyncio
import secrets
from collections.abc import Sequence

from core.bus import Bus, Subscription
from core.bus.mqtt5 import Mqtt5Bus
from core.bus.mqtt311 import Mqtt311Bus
from core.bus.reconnect import BusOptions
from core.passwords import hash_password
from gateway.accounts.tell import Imported, Revoked, Secret, tell
from tests.broker_fixtures import RunningBroker
from tests.gateway.accounts.conftest import SETTINGS, is_let_in
from tests.gateway.conftest import PREFIX

VEHICLES = [f"VF1AURXRA{number:08d}" for number in range(40)]
ROUNDS = 12


def session(broker: RunningBroker, vin: str, secret: str) -> Bus:
    """Clean start off, a session of 24 h; every second vehicle speaks MQTT 3.1.1."""
    options = BusOptions(
        client_id=vin,
        host=broker.host,
        port=broker.port,
        username=vin,
        password=secret,
        subscriptions=[Subscription(f"{PREFIX}/{vin}/cmd")],
        role="test",
    )
    return Mqtt311Bus(options) if vin[-1] in "13579" else Mqtt5Bus(options)


async def come_and_go(broker: RunningBroker, vins: Sequence[str], known: dict[str, str]) -> None:
    """Each connects and leaves: its session stays behind."""
    buses = [session(broker, vin, known[vin]) for vin in vins]
    await asyncio.gather(*(bus.start() for bus in buses))
    await asyncio.gather(*(bus.close() for bus in buses))


async def test_offline_sessions_outlive_changes_of_their_secrets(broker: RunningBroker) -> None:
    """The same with SIGHUP in place of the overlay kills Mosquitto 2.0.11 within these rounds."""
    pid = broker.pid
    known: dict[str, str] = {}
    for number in range(ROUNDS):
        fresh = {vin: secrets.token_hex(16) for vin in VEHICLES}
        changes = [Secret(vin, secret, hash_password(secret)) for vin, secret in fresh.items()]
        # Some are out for a while, with a session that waits.
        out = [Revoked(vin) for vin in VEHICLES[number::3]]
        assert await tell([*out, *changes], broker.settings("svc-gateway"), SETTINGS) is None
        known = fresh
        await come_and_go(broker, VEHICLES, known)
    assert broker.pid == pid
    assert await asyncio.to_thread(broker.is_running)
    service = session(broker, "svc-gateway", broker.secrets["svc-gateway"])
    await service.start()
    await service.publish(f"{PREFIX}/{VEHICLES[0]}/cmd", b"still there")
    await service.close()


async def test_a_restored_session_survives_changes_of_others(broker: RunningBroker) -> None:
    """Its password is not in the broker's memory: a check of everybody would have ended it."""
    waiting, other = VEHICLES[0], VEHICLES[1]
    secret = broker.add_user(waiting)
    await come_and_go(broker, [waiting], {waiting: secret})
    broker.restart()
    pid = broker.pid
    service = session(broker, "svc-gateway", broker.secrets["svc-gateway"])
    await service.start()
    await service.publish(f"{PREFIX}/{waiting}/cmd", b"kept for it")
    for _ in range(20):
        replaced = secrets.token_hex(16)
        change = Secret(other, replaced, hash_password(replaced))
        assert await tell([change], broker.settings("svc-gateway"), SETTINGS) is None
        assert await is_let_in(broker, replaced, other)
    back = session(broker, waiting, secret)
    await back.start()
    async with asyncio.timeout(20):
        message = await anext(aiter(back.messages()))
    assert message.payload == b"kept for it"
    back.ack(message)
    await back.close()
    await service.close()
    assert broker.pid == pid
    assert await asyncio.to_thread(broker.is_running)


async def test_a_fleet_is_added_while_others_are_connected(broker: RunningBroker) -> None:
    """An import of secrets keeps nobody waiting for long, and ends no connection."""
    secret = broker.add_user(VEHICLES[0])
    bus = session(broker, VEHICLES[0], secret)
    await bus.start()
    hashed = hash_password("secret")
    fleet = [Imported(f"VF1AURXRB{number:08d}", "secret", hashed) for number in range(300)]
    assert await tell(fleet, broker.settings("svc-gateway"), SETTINGS) is None
    assert bus.connected
    await bus.publish(f"{PREFIX}/{VEHICLES[0]}/status", b"{}")
    await bus.close()
    assert await is_let_in(broker, "secret", fleet[-1].vin)
