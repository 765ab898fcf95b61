"""TLS of both adapters on a real Mosquitto: who is trusted, who is not, and what is said then."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import serialization
from structlog.testing import capture_logs

from caas.brokers.mosquitto import acl_text, find_mosquitto
from core.bus import Bus, BusUnavailable, PublishFailed, Subscription, open_bus
from core.bus.start import BusHolder
from core.errors import SettingsError
from core.settings import BusSettings, load
from tests.broker_fixtures import PREFIX, free_port, wait_until
from tests.bus.bus_stacks import DEADLINE_S, client, take_and_ack, until
from tests.bus.pki import Authority, Pair

VIN = "VF1AURXRA00000017"
LIMIT_LOSS = timedelta(days=-1)


class TlsBroker:
    """Mosquitto with one TLS listener: a client certificate is needed, its name is the user."""

    def __init__(self, folder: Path, ca: Path, server: Pair) -> None:
        self.port = free_port()
        self.folder = folder
        self._config = folder / "mosquitto.conf"
        self._process: subprocess.Popen[bytes] | None = None
        # Production's rules, and room for what the other tests say.
        rules = acl_text(PREFIX) + "\npattern readwrite t/%u/#\n"
        (folder / "acl").write_text(rules, encoding="utf-8")
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\n"
            f"cafile {ca}\ncertfile {folder}/server.crt\nkeyfile {folder}/server.key\n"
            "require_certificate true\nuse_identity_as_username true\n"
            f"allow_anonymous false\nacl_file {folder}/acl\nuser root\nlog_dest stderr\n"
            f"persistence true\npersistence_location {folder}/\n",
            encoding="utf-8",
        )
        self.present(server)

    def present(self, server: Pair) -> None:
        """Use this certificate from the next start on."""
        (self.folder / "server.crt").write_bytes(server.cert.read_bytes())
        (self.folder / "server.key").write_bytes(server.key.read_bytes())

    def start(self) -> None:
        program = find_mosquitto()
        assert program is not None
        self._process = subprocess.Popen(
            [program, "-c", self._config], stderr=subprocess.DEVNULL, env=os.environ
        )
        wait_until(self._answers, "Mosquitto answers")

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(DEADLINE_S)
            self._process = None

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "Mosquitto ended by itself"
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except OSError:
            return False
        return True


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "the fleet's authority")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), "somebody else's authority")


@pytest.fixture
def broker(ca: Authority, tmp_path: Path) -> Iterator[TlsBroker]:
    made = TlsBroker(tmp_path, ca.cert, ca.server())
    made.start()
    yield made
    made.stop()


Open = Callable[..., Bus]


@pytest_asyncio.fixture(params=["5", "3.1.1"])
async def opens(
    request: pytest.FixtureRequest, broker: TlsBroker, ca: Authority
) -> AsyncIterator[Open]:
    """Makes buses of one protocol on the broker; closes them."""
    buses: list[Bus] = []

    def make(identity: Pair | None, *filters: str, trust: Path = ca.cert, **options: Any) -> Bus:
        settings = load(
            BusSettings,
            host="127.0.0.1",
            port=broker.port,
            protocol=request.param,
            tls=True,
            ca_file=trust,
        )
        bus = open_bus(
            settings,
            client_id=options.pop("client_id", client("tls")),
            subscriptions=[Subscription(one) for one in filters],
            cert_file=identity and identity.cert,
            key_file=identity and identity.key,
            role="test",
            **options,
        )
        buses.append(bus)
        return bus

    yield make
    for bus in buses:
        await bus.close()


async def started(bus: Bus) -> Bus:
    async with asyncio.timeout(DEADLINE_S):
        await bus.start()
    return bus


async def trouble_of(bus: Bus) -> str:
    """What the bus says about why it cannot connect: in its log and to the health page alike."""
    holder = BusHolder()
    holder.bus = bus
    with capture_logs() as logs:
        starting = asyncio.create_task(bus.start())
        await until(lambda: bool(logs), "a line in the log")
        assert not starting.done()
        starting.cancel()
        await asyncio.wait({starting})
    with pytest.raises(BusUnavailable) as health:
        await holder.check()
    assert logs[0]["log_level"] == "warning"
    assert logs[0]["reason"] in str(health.value)
    return logs[0]["reason"]


async def test_the_certificate_is_the_identity(opens: Open, ca: Authority) -> None:
    bus = await started(opens(ca.client(VIN), f"t/{VIN}/#", f"t/{VIN[::-1]}/#"))
    await bus.publish(f"t/{VIN}/status", b"own")
    assert await take_and_ack(bus) == [b"own"]


async def test_a_vehicle_needs_nothing_but_its_certificate(opens: Open, ca: Authority) -> None:
    """The rules of production are patterns: nothing of this vehicle is known to the broker."""
    other = "VF1AURXRA00000025"
    service = await started(
        opens(ca.client("svc-gateway"), f"{PREFIX}/{VIN}/status", f"{PREFIX}/{other}/status")
    )
    vehicle = await started(opens(ca.client(VIN), f"{PREFIX}/{VIN}/cmd"))
    # MQTT 5 says no; 3.1.1 cannot.
    with contextlib.suppress(PublishFailed):
        await vehicle.publish(f"{PREFIX}/{other}/status", b"forged")
    await vehicle.publish(f"{PREFIX}/{VIN}/status", b"own")
    assert await take_and_ack(service) == [b"own"]


async def test_large_and_many_messages_pass_with_a_small_window(opens: Open, ca: Authority) -> None:
    """Bytes that TLS has decrypted already make no socket readable."""
    reader = await started(opens(ca.client(VIN), f"t/{VIN}/#", receive_max=3))
    writer = await started(opens(ca.client(VIN)))
    sent = [b"%d" % number * (50_000 if number % 50 == 0 else 1) for number in range(200)]
    await asyncio.gather(*(writer.publish(f"t/{VIN}/x", payload) for payload in sent))
    assert await take_and_ack(reader, len(sent)) == sent


async def test_a_broker_restarted_with_a_renewed_certificate_is_found_again(
    opens: Open, ca: Authority, broker: TlsBroker
) -> None:
    me = client("tls")
    bus = await started(opens(ca.client(VIN), f"t/{VIN}/#", client_id=me))
    await asyncio.to_thread(broker.stop)
    await until(lambda: not bus.connected, "the stop is noticed")
    broker.present(ca.server())
    await asyncio.to_thread(broker.start)
    await until(lambda: bus.connected, "connected again")
    await bus.publish(f"t/{VIN}/status", b"after")
    assert await take_and_ack(bus) == [b"after"]


async def test_a_client_certificate_that_was_replaced_is_used_at_the_next_connection(
    opens: Open, ca: Authority, broker: TlsBroker
) -> None:
    identity, other = ca.client(VIN), ca.client("VF1AURXRA00000025")
    bus = await started(opens(identity, "t/#"))
    await asyncio.to_thread(broker.stop)
    await until(lambda: not bus.connected, "the stop is noticed")
    identity.cert.write_bytes(other.cert.read_bytes())
    identity.key.write_bytes(other.key.read_bytes())
    await asyncio.to_thread(broker.start)
    await until(lambda: bus.connected, "connected again")
    await bus.publish("t/VF1AURXRA00000025/status", b"as the other")
    assert await take_and_ack(bus) == [b"as the other"]


async def test_a_broker_of_another_authority_is_refused(
    opens: Open, ca: Authority, stranger: Authority
) -> None:
    said = await trouble_of(opens(ca.client(VIN), trust=stranger.cert))
    assert said.startswith("the broker's certificate is refused: ")
    assert "self-signed certificate in certificate chain" in said


async def test_an_expired_broker_is_refused(opens: Open, ca: Authority, broker: TlsBroker) -> None:
    await asyncio.to_thread(broker.stop)
    broker.present(ca.server(ends=LIMIT_LOSS))
    await asyncio.to_thread(broker.start)
    said = await trouble_of(opens(ca.client(VIN)))
    assert said == "the broker's certificate is refused: certificate has expired"


async def test_a_broker_under_another_name_is_refused(
    opens: Open, ca: Authority, broker: TlsBroker
) -> None:
    await asyncio.to_thread(broker.stop)
    broker.present(ca.server("elsewhere.example"))
    await asyncio.to_thread(broker.start)
    said = await trouble_of(opens(ca.client(VIN)))
    assert said.startswith("the broker's certificate is refused: IP address mismatch")


async def test_without_a_certificate_of_ones_own_it_says_what_is_missing(opens: Open) -> None:
    assert "CAAS_MQTT_CERT_FILE" in await trouble_of(opens(None))


async def test_a_certificate_of_another_authority_is_turned_away(
    opens: Open, stranger: Authority
) -> None:
    said = await trouble_of(opens(stranger.client(VIN)))
    assert said == "the broker's TLS: it does not trust the authority of our certificate"


async def test_an_expired_certificate_is_turned_away(opens: Open, ca: Authority) -> None:
    said = await trouble_of(opens(ca.client(VIN, ends=LIMIT_LOSS)))
    assert said == "the broker's TLS: it says our certificate has expired"


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_what_speaks_no_tls_is_called_so(protocol: str, ca: Authority) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = load(BusSettings, port=port, tls=True, ca_file=ca.cert, protocol=protocol)
    bus = open_bus(settings, client_id=client("tls"), role="test")
    assert await trouble_of(bus) == "the broker's TLS: what answers there does not speak TLS"
    await bus.close()
    server.close()


def test_files_that_cannot_be_used_are_one_clear_line(ca: Authority, tmp_path: Path) -> None:
    good, other, empty = ca.client("a"), ca.client("b"), tmp_path / "empty"
    empty.touch()
    encrypted = tmp_path / "encrypted.key"
    key = serialization.load_pem_private_key(good.key.read_bytes(), None)
    encrypted.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    gone = tmp_path / "gone"
    for wanted, given in (
        ("need each other", {"cert_file": good.cert}),
        ("need each other", {"key_file": good.key}),
        ("CAAS_MQTT_TLS=true", {"ca_file": ca.cert, "tls": False}),
        ("CAAS_MQTT_TLS=true", {"cert_file": good.cert, "key_file": good.key, "tls": False}),
        (f"CAAS_MQTT_CA_FILE: cannot read {gone}", {"ca_file": gone}),
        (f"CAAS_MQTT_CA_FILE: {empty} cannot be used", {"ca_file": empty}),
        (f"CAAS_MQTT_CERT_FILE: cannot read {gone}", {"cert_file": gone, "key_file": good.key}),
        (f"cannot read {gone}", {"cert_file": good.cert, "key_file": gone}),
        ("does not belong", {"cert_file": good.cert, "key_file": other.key}),
        ("encrypted", {"cert_file": good.cert, "key_file": encrypted}),
    ):
        settings = load(BusSettings, **{"tls": True, **given})
        with pytest.raises(SettingsError) as refused:
            open_bus(settings, client_id="x")
        assert wanted in str(refused.value)
        assert "\n" not in str(refused.value)
