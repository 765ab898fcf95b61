"""A vehicle with a certificate, whose sign-in asks nobody for a secret, is shut out as well."""

import asyncio
import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from caas.brokers import plan_broker
from core.bus import Bus, BusRefused, BusUnavailable, PublishFailed, Subscription, open_bus
from core.db import Database
from core.passwords import PasswordFile
from core.settings import BusSettings, load
from gateway import registry
from gateway.accounts.tell import Readmitted, Revoked, tell
from tests.broker_fixtures import SERVICES, RunningBroker, free_port
from tests.bus.bus_stacks import nothing_arrives, take_and_ack
from tests.bus.pki import Authority
from tests.gateway.accounts.conftest import SETTINGS, Keeping, ends
from tests.gateway.conftest import PREFIX, VIN, eventually

STATUS, CMD = f"{PREFIX}/{VIN}/status", f"{PREFIX}/{VIN}/cmd"


@dataclass(frozen=True)
class Certified:
    """How the vehicle signs in."""

    settings: BusSettings

    def bus(self, *topics: str) -> Bus:
        wanted = [Subscription(topic) for topic in topics]
        return open_bus(self.settings, client_id=VIN, subscriptions=wanted, role="test")


@pytest.fixture
def tls_port() -> int:
    return free_port()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca", "test CA")


@pytest.fixture
def broker(authority: Authority, tls_port: int, tmp_path: Path) -> Iterator[RunningBroker]:
    """As in production: services with secrets, and a second listener for certificates."""
    passwords = PasswordFile(tmp_path / "passwords")
    chosen = {name: secrets.token_hex(32) for name in SERVICES}
    for name, secret in chosen.items():
        passwords.set(name, secret)
    port = free_port()
    plan = plan_broker(
        tmp_path, host="127.0.0.1", port=port, passwords=passwords.path, prefix=PREFIX
    )
    server = authority.server()
    with (tmp_path / "mosquitto" / "mosquitto.conf").open("a", encoding="utf-8") as config:
        config.write(
            f"listener {tls_port} 127.0.0.1\n"
            f"cafile {authority.cert}\ncertfile {server.cert}\nkeyfile {server.key}\n"
            "require_certificate true\nuse_identity_as_username true\n"
        )
    running = RunningBroker(plan, "127.0.0.1", port, passwords)
    running.secrets.update(chosen)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def vehicle(authority: Authority, broker: RunningBroker, tls_port: int) -> Certified:
    own = authority.client(VIN)
    return Certified(
        load(
            BusSettings,
            host=broker.host,
            port=tls_port,
            tls=True,
            ca_file=authority.cert,
            cert_file=own.cert,
            key_file=own.key,
        )
    )


async def test_a_revoked_certificate_opens_at_most_an_empty_line(
    broker: RunningBroker, vehicle: Certified
) -> None:
    as_gateway = broker.settings("svc-gateway")
    async with contextlib.AsyncExitStack() as exits:
        gateway = open_bus(as_gateway, client_id="gateway", subscriptions=[Subscription(STATUS)])
        await gateway.start()
        exits.push_async_callback(gateway.close)
        bus = vehicle.bus(CMD)
        await bus.start()
        await bus.publish(STATUS, b"before")
        assert await take_and_ack(gateway) == [b"before"]
        cut = asyncio.create_task(ends(bus))
        assert await tell([Revoked(VIN)], as_gateway, SETTINGS) is None
        await cut
        # Until the broker has read the list of revoked certificates, the line opens again.
        await bus.close()
        with pytest.raises(BusRefused):
            await vehicle.bus(CMD).start()
        # Its session still has the subscription.
        again = vehicle.bus()
        await asyncio.wait_for(again.start(), 20)
        exits.push_async_callback(again.close)
        with pytest.raises((PublishFailed, BusUnavailable)):
            await again.publish(STATUS, b"after", timeout_s=2)
        await gateway.publish(CMD, b"for it")
        assert await nothing_arrives(again)
        assert await nothing_arrives(gateway)
        await again.close()
        # Back with a new certificate, which this broker does not tell from the old one.
        assert await tell([Readmitted(VIN)], as_gateway, SETTINGS) is None
        third = vehicle.bus(CMD)
        await third.start()
        exits.push_async_callback(third.close)
        await third.publish(STATUS, b"again")
        assert await take_and_ack(gateway) == [b"again"]


async def test_the_gateway_ends_a_certificates_connection(
    room: Database, broker: RunningBroker, vehicle: Certified, keeping: Keeping
) -> None:
    async with room.transaction() as conn:
        await registry.enroll(conn, vin=VIN, model="AURORA", firmware="2.4.1", credential=False)
    async with keeping():
        bus = vehicle.bus()
        await bus.start()
        await bus.publish(STATUS, b"{}")
        async with room.transaction() as conn:
            await registry.revoke(conn, VIN)

        async def is_mute() -> bool:
            try:
                await bus.publish(STATUS, b"{}", timeout_s=1)
            except (PublishFailed, BusUnavailable):
                return True
            return False

        await eventually(is_mute, "the vehicle is not heard any more")
        await bus.close()
