"""Attacks on the broker over TLS, each judged by what arrives at the victim, and by the log.

docs/security.md has a line for each; `test_security_doc.py` holds the two together.
"""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from core.errors import Invalid
from core.settings import load
from gateway.registry.ca import sign_request
from gateway.registry.settings import CaSettings, RegistrySettings
from gateway.registry.vins import vin_rule
from gateway.registry.x509 import new_authority
from tests.broker.judge import Judge
from tests.broker.raw import ACCEPTED, Identity, Raw, connect_packet, packet, text, tls_context
from tests.broker.world import A, B, World, running, topic
from tests.gateway.registry import requests

NOT_AUTHORIZED = 0x87
UPWARD = ("answer", "config", "status", "telemetry", "event", "presence")


def victim(world: World, *topics: str) -> Raw:
    """Vehicle B, signed in and listening."""
    raw = world.at_certificates(world.certificate(B))
    assert raw.connect(B) == ACCEPTED
    raw.subscribe(*(topics or (topic(B, "cmd"), topic(B, "stored"))))
    return raw


def publish_and_be_refused(attacker: Raw, name: str, payload: bytes = b"forged") -> None:
    """Debian's 2.0.11 ends the connection after a refusal, so each has one of its own."""
    assert attacker.publish(name, payload) == NOT_AUTHORIZED


@pytest.mark.parametrize(
    "wanted",
    [
        topic(B, "cmd"),
        topic(B, "config"),
        topic("+", "cmd"),
        topic(B, "#"),
        "#",
        "+/#",
        f"$share/thieves/{topic('+', 'config')}",
    ],
)
def test_reading_another_vehicles_topics(
    world: World, judge: Judge, attacker: Raw, wanted: str
) -> None:
    with victim(world) as owner, world.service("svc-gateway") as gateway:
        attacker.subscribe(wanted, topic(A, "cmd"))
        owner.publish(topic(B, "config"), b"private")
        gateway.publish(topic(B, "cmd"), b"for B")
        gateway.publish(topic(A, "cmd"), b"for A")
        assert owner.next_message() == (topic(B, "cmd"), b"for B")
        # One connection's messages stay in order: what was B's would have come first.
        assert attacker.next_message() == (topic(A, "cmd"), b"for A")
        attacker.ping()
        assert {name for name, _ in attacker.messages} <= {topic(A, "cmd")}
    judge.expect("subscribe", wanted, client=A)


@pytest.mark.parametrize("leaf", UPWARD)
def test_writing_another_vehicles_topics(
    world: World, judge: Judge, attacker: Raw, leaf: str
) -> None:
    with victim(world) as owner, world.service("svc-telemetry") as service:
        service.subscribe(topic(B, leaf))
        publish_and_be_refused(attacker, topic(B, leaf))
        owner.publish(topic(B, leaf), b"own")
        assert service.next_message() == (topic(B, leaf), b"own")
    judge.expect("publish", topic(B, leaf), client=A)


@pytest.mark.parametrize("name", [topic(B, "cmd"), topic(B, "stored")])
def test_commanding_another_vehicle(world: World, judge: Judge, attacker: Raw, name: str) -> None:
    sender = "svc-gateway" if name.endswith("cmd") else "svc-telemetry"
    with victim(world) as owner, world.service(sender) as service:
        publish_and_be_refused(attacker, name)
        service.publish(name, b"real")
        assert owner.next_message() == (name, b"real")
    judge.expect("publish", name, client=A)


def test_commanding_itself(world: World, judge: Judge, attacker: Raw) -> None:
    with world.at_certificates(world.certificate(B)) as owner:
        owner.connect(B)
        owner.subscribe(topic(B, "cmd"))
        publish_and_be_refused(owner, topic(B, "cmd"))
        assert not owner.messages
    publish_and_be_refused(attacker, topic(A, "cmd"))
    judge.expect("publish", topic(A, "cmd"), client=A)


@pytest.mark.parametrize("name", ["$SYS/broker/uptime", "$CONTROL/dynamic-security/v1"])
def test_writing_the_brokers_own_topics(judge: Judge, attacker: Raw, name: str) -> None:
    publish_and_be_refused(attacker, name, b'{"commands": [{"command": "listClients"}]}')
    judge.expect("publish", name, client=A)


def test_reading_the_brokers_own_topics(world: World, judge: Judge, attacker: Raw) -> None:
    with world.service("svc-monitor") as monitor, world.service("svc-gateway") as gateway:
        monitor.subscribe("$SYS/broker/version")
        attacker.subscribe("$SYS/#", "$CONTROL/#", topic(A, "cmd"))
        assert b"mosquitto" in monitor.next_message()[1]
        gateway.publish(topic(A, "cmd"), b"for A")
        assert attacker.next_message() == (topic(A, "cmd"), b"for A")
    judge.expect("subscribe", "$SYS/#", client=A)
    judge.expect("subscribe", "$CONTROL/#", client=A)


def test_a_will_on_another_vehicles_topic(world: World, judge: Judge) -> None:
    with victim(world) as owner, world.service("svc-gateway") as gateway:
        gateway.subscribe(topic("+", "presence"))
        attacker = world.at_certificates(world.certificate(A))
        assert attacker.connect(A, will=(topic(B, "presence"), b"forged")) == ACCEPTED
        # The line is cut without a DISCONNECT, so that the will is due.
        attacker.sock.close()
        honest = world.at_certificates(world.certificate(A))
        honest.connect(A, will=(topic(A, "presence"), b"gone"))
        honest.sock.close()
        assert gateway.next_message() == (topic(A, "presence"), b"gone")
        owner.publish(topic(B, "presence"), b"own")
        assert gateway.next_message() == (topic(B, "presence"), b"own")
    judge.expect("will", topic(B, "presence"), client=A)


FLAWED: dict[str, Callable[[World], Identity]] = {
    "none": lambda _world: Identity(),
    "self-signed": lambda world: world.certificate(A, self_signed=True),
    "expired": lambda world: world.certificate(A, ends=-timedelta(days=1)),
    "revoked before": lambda world: world.revoked_certificate,
    "revoked since": lambda world: world.certificate(A, revoked=True),
    "other authority": lambda world: world.certificate(
        A, authority=new_authority("CaaS development CA", datetime.now(UTC))
    ),
    "the broker's own": lambda world: Identity(
        world.ca_dir / "server.crt", world.ca_dir / "server.key"
    ),
}


@pytest.mark.parametrize("flaw", FLAWED)
def test_a_certificate_that_is_no_good(world: World, judge: Judge, flaw: str) -> None:
    with world.service("svc-gateway") as gateway:
        gateway.subscribe(topic(A, "status"))
        with pytest.raises(OSError, match=r".*"):
            sign_in_and_publish(world, FLAWED[flaw](world))
        denial = judge.expect(
            "tls", "did not return a certificate" if flaw == "none" else "verify failed"
        )
        assert (denial.address or "").startswith("127.0.0.1")
        sign_in_and_publish(world, world.certificate(A), b"good")
        assert gateway.next_message() == (topic(A, "status"), b"good")


def sign_in_and_publish(world: World, identity: Identity, payload: bytes = b"bad") -> None:
    with world.at_certificates(identity) as raw:
        assert raw.connect(A) == ACCEPTED
        raw.publish(topic(A, "status"), payload)


# A TLS 1.2 session that ended in order can be resumed: docs/security.md, What stays open.
@pytest.mark.parametrize(
    ("version", "in_order"),
    [
        (ssl.TLSVersion.TLSv1_3, True),
        (ssl.TLSVersion.TLSv1_3, False),
        (ssl.TLSVersion.TLSv1_2, False),
    ],
)
def test_resuming_a_session_after_its_certificate_was_revoked(
    world: World, judge: Judge, version: ssl.TLSVersion, in_order: bool
) -> None:
    identity = world.certificate(A)
    assert identity.cert is not None
    context = tls_context(world.ca, identity, None)
    context.maximum_version = version
    with Raw(world.certificates, context=context, identity=identity) as raw:
        assert raw.connect(A) == ACCEPTED
        raw.ping()
        assert isinstance(raw.sock, ssl.SSLSocket)
        session = raw.sock.session
        if in_order:
            raw.sock.sendall(b"\xe0\x00")
            assert raw.closed()
    world.revoke_file(identity.cert)
    with (
        pytest.raises(OSError, match=r".*"),
        Raw(world.certificates, context=context, identity=identity, session=session) as raw,
    ):
        raw.connect(A)
    judge.expect("tls", "verify failed")


@pytest.mark.parametrize("name", ["+", "#", "a/b", "x y", A.lower(), f"{B}/status", "%u", " "])
def test_a_common_name_that_is_no_vin(world: World, judge: Judge, name: str) -> None:
    """What a careless authority would sign; ours signs VINs only."""
    with victim(world) as owner, world.service("svc-telemetry") as service:
        service.subscribe(*(topic("+", leaf) for leaf in UPWARD))
        identity = world.certificate(name)
        with world.at_certificates(identity) as thief:
            assert thief.connect("a client id") == ACCEPTED
            thief.subscribe("#", "+/+/+/+/+")
            owner.publish(topic(B, "config"), b"private")
            assert service.next_message() == (topic(B, "config"), b"private")
            thief.ping()
            assert not thief.messages
            publish_and_be_refused(thief, topic(B, "status"))
        owner.publish(topic(B, "status"), b"own")
        assert service.next_message() == (topic(B, "status"), b"own")
    judge.expect("identity", client=name)
    judge.expect("publish", topic(B, "status"), client=name)


def test_a_certificate_with_the_name_of_a_service(world: World, judge: Judge) -> None:
    """Our authority does not sign it. Of another's the broker would take it: it is told of."""
    ours = load(CaSettings, dir=world.ca_dir)
    request = requests.request(ec.generate_private_key(ec.SECP256R1()), "svc-ota")
    with pytest.raises(Invalid):
        sign_request(ours, A, request, datetime.now(UTC))
    with pytest.raises(Invalid):
        vin_rule(load(RegistrySettings))("svc-ota")
    with world.at_certificates(world.certificate("svc-ota")) as raw:
        raw.connect("caas-ota-0")
        denial = judge.expect("identity", "no vehicle", client="svc-ota")
        assert denial.address == f"127.0.0.1:{raw.local_port}"


SECRETS: dict[str, Callable[[World], Identity]] = {
    "wrong": lambda _world: Identity(user=A, secret="wrong"),
    "another's": lambda world: Identity(user=A, secret=world.secrets[B]),
    "revoked": lambda world: world.revoked_secret,
    "unknown vehicle": lambda _world: Identity(user="VF1AURXRA00000041", secret="x"),
    "of a service": lambda _world: Identity(user="svc-ota", secret="x"),
    "none": lambda _world: Identity(user=A),
    "nobody": lambda _world: Identity(),
}


@pytest.mark.parametrize("level", [5, 4])
@pytest.mark.parametrize("flaw", SECRETS)
def test_a_secret_that_is_no_good(world: World, judge: Judge, flaw: str, level: int) -> None:
    with world.at_secrets(SECRETS[flaw](world)) as raw:
        assert raw.connect(A, level=level) in (5, NOT_AUTHORIZED)
        assert raw.closed()
        judge.expect("sign_in", address=f"127.0.0.1:{raw.local_port}")


def test_a_secret_at_the_door_for_certificates(world: World, judge: Judge) -> None:
    with (
        pytest.raises(OSError, match=r".*"),
        Raw(world.certificates, ca=world.ca, identity=world.by_secret(A)) as raw,
    ):
        raw.connect(A)
    judge.expect("tls", "did not return a certificate")


@pytest.mark.parametrize("whose", ["vehicle", "service"])
def test_the_client_id_of_somebody_else(world: World, attacker: Raw, whose: str) -> None:
    """Not refused, not heeded, not logged: the user name takes its place."""
    del attacker
    service = world.service("svc-gateway", "caas-gateway-0")
    with victim(world) as owner, service:
        taken = B if whose == "vehicle" else "caas-gateway-0"
        for door in (
            world.at_secrets(world.by_secret(A)),
            Raw(world.plain, identity=world.by_secret(A)),
        ):
            with door as thief:
                assert thief.connect(taken) == ACCEPTED
                service.publish(topic(B, "cmd"), b"for B")
                assert owner.next_message() == (topic(B, "cmd"), b"for B")
                service.ping()
                thief.ping()
                assert not thief.messages


def test_an_oversized_payload(world: World, judge: Judge, attacker: Raw) -> None:
    with world.service("svc-telemetry") as service:
        service.subscribe(topic(A, "telemetry"))
        with pytest.raises(OSError, match=r".*"):
            attacker.publish(topic(A, "telemetry"), b"x" * 300_000)
        with world.at_secrets(world.by_secret(A)) as again:
            again.connect(A)
            again.publish(topic(A, "telemetry"), b"small")
        assert service.next_message() == (topic(A, "telemetry"), b"small")
    judge.expect("oversize", client=A)


def test_an_endless_payload(world: World, judge: Judge, attacker: Raw) -> None:
    """It says 256 MiB. The connection ends before they are read or have a place."""
    before = world.memory()
    attacker.sock.sendall(packet(0x32, text(topic(A, "telemetry")) + b"\x00\x01", 268_435_455))
    assert attacker.closed()
    assert world.memory() - before < 64 * 1024 * 1024
    judge.expect("oversize", client=A)


def test_an_endless_connect(world: World, judge: Judge) -> None:
    """The same from somebody who has not even signed in."""
    with world.at_secrets(Identity()) as raw:
        raw.sock.sendall(packet(0x10, b"\x00\x04MQTT", 268_435_455))
        assert raw.closed()
        judge.expect("oversize", address=f"127.0.0.1:{raw.local_port}")


def test_half_a_connect_and_then_silence(world: World) -> None:
    """Whoever waits holds up nobody; when he is shown out: `test_silence.py`."""
    half = connect_packet(A, world.by_secret(A))[:20]
    waiting = [world.at_secrets(Identity()) for _ in range(10)]
    waiting += [Raw(world.certificates) for _ in range(10)]
    try:
        for raw in waiting[:10]:
            raw.sock.sendall(half)
        for make in (
            lambda: world.at_secrets(world.by_secret(A)),
            lambda: world.at_certificates(world.certificate(B)),
        ):
            with make() as raw:
                raw.identity = Identity() if raw.identity.cert else raw.identity
                assert raw.connect(A) == ACCEPTED
                raw.ping()
    finally:
        for raw in waiting:
            raw.sock.close()


BYTES: dict[str, bytes] = {
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "publish first": packet(0x32, text("a") + b"\x00\x01x"),
    "nothing but ff": b"\xff" * 64,
    "length without end": b"\x10\xff\xff\xff\xff\xff\xff",
    "wrong name": packet(0x10, text("MQXX") + b"\x04\x02\x00\x1e" + text("c")),
    "short": packet(0x10, text("MQTT") + b"\x04\x02"),
    "client id that is no text": packet(0x10, text("MQTT") + b"\x04\x02\x00\x1e" + text(b"\xff")),
    "null in the user name": connect_packet("c", Identity(user="svc-ota\x00", secret="x"), level=4),
}


@pytest.mark.parametrize("kind", BYTES)
def test_bytes_that_are_no_mqtt(world: World, judge: Judge, kind: str) -> None:
    with world.at_secrets(Identity()) as raw:
        raw.sock.sendall(BYTES[kind])
        assert raw.closed()
        judge.expect("protocol", address=f"127.0.0.1:{raw.local_port}")


AFTER_SIGN_IN: dict[str, bytes] = {
    "a second connect": connect_packet(B, Identity()),
    "a wildcard to publish to": packet(0x32, text(topic("+", "status")) + b"\x00\x01\x00x"),
    "a topic that is no text": packet(0x32, text(b"caas/\xff") + b"\x00\x01\x00x"),
    "quality of service 3": packet(0x36, text(topic(A, "status")) + b"\x00\x01\x00x"),
    "a server's packet": packet(0x20, b"\x00\x00\x00"),
}


@pytest.mark.parametrize("kind", AFTER_SIGN_IN)
def test_packets_that_break_the_protocol(
    world: World, judge: Judge, attacker: Raw, kind: str
) -> None:
    with world.service("svc-telemetry") as service:
        service.subscribe(topic("+", "status"))
        attacker.sock.sendall(AFTER_SIGN_IN[kind])
        assert attacker.closed()
        with victim(world) as owner:
            owner.publish(topic(B, "status"), b"own")
        assert service.next_message() == (topic(B, "status"), b"own")
    judge.expect("protocol", client=A)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.parametrize("door", ["certificates", "secret_door"])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_tls(world: World, judge: Judge, door: str, version: ssl.TLSVersion) -> None:
    with pytest.raises(OSError, match=r"(?i)protocol.version|EOF|reset"):
        Raw(getattr(world, door), ca=world.ca, identity=world.certificate(A), version=version)
    judge.expect("tls", "unsupported protocol")


def test_no_tls(world: World, judge: Judge) -> None:
    with Raw(world.secret_door) as raw:
        raw.sock.sendall(connect_packet(A, world.by_secret(A)))
        assert raw.closed()
    judge.expect("tls", "wrong version number")


def test_more_connections_than_a_door_has_room_for(tmp_path: Path) -> None:
    with running(tmp_path, max_connections=10) as world:
        judge = Judge(world.log)
        with victim(world) as owner:
            crowd = [Raw(world.secret_door) for _ in range(15)]
            try:
                judge.expect("limit", "max_connections", address="127.0.0.1", count=5)
                with world.service("svc-gateway") as service:
                    service.publish(topic(B, "cmd"), b"for B")
                    assert owner.next_message() == (topic(B, "cmd"), b"for B")
                with world.at_certificates(world.certificate(A)) as another:
                    assert another.connect(A) == ACCEPTED
            finally:
                for raw in crowd:
                    raw.sock.close()
