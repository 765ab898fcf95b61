"""What the broker's log says, piece by piece; and following a file that is emptied."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from caas.brokers.acl import parse_acl
from caas.brokers.broker_log import Denial, Line, LogReader
from caas.brokers.denials import DENIALS, Teller
from caas.brokers.log_file import follow
from caas.brokers.mosquitto import acl_text
from tests.broker_fixtures import PREFIX

VIN = "VF1AURXRA00000017"
SIGNED_IN = f"New client connected from 10.0.0.7:5000 as {VIN} (p5, c0, k30, u'{VIN}').\n"


def reader() -> LogReader:
    return LogReader(parse_acl(acl_text(PREFIX)))


def denials(text: str) -> list[Denial]:
    found = list(reader().feed(text.encode(), 0.0))
    return [entry for entry in found if isinstance(entry, Denial)]


def test_a_healthy_vehicle_says_nothing() -> None:
    text = (
        "New connection from 10.0.0.7:5000 on port 8883.\n"
        f"{SIGNED_IN}Will message specified (61 bytes) (r1, q1).\n\t{PREFIX}/{VIN}/presence\n"
        f"Sending CONNACK to {VIN} (0, 0)\nReceived SUBSCRIBE from {VIN}\n"
        f"\t{PREFIX}/{VIN}/cmd (QoS 1)\n{VIN} 1 {PREFIX}/{VIN}/cmd\n"
        f"\t{PREFIX}/{VIN}/stored (QoS 1)\n{VIN} 1 {PREFIX}/{VIN}/stored\n"
        f"Sending SUBACK to {VIN}\n"
        f"Received PUBLISH from {VIN} (d0, q1, r0, m1, '{PREFIX}/{VIN}/status', ... (9 bytes))\n"
        f"Sending PUBACK to {VIN} (m1, rc0)\nReceived PINGREQ from {VIN}\n"
        f"Received DISCONNECT from {VIN}\nClient {VIN} disconnected.\n"
    )
    assert denials(text) == []
    # In pieces of any size.
    one = reader()
    assert not [
        entry
        for byte in text.encode()
        for entry in one.feed(bytes([byte]), 0.0)
        if isinstance(entry, Denial) or entry.level != "debug"
    ]


def test_services_may_subscribe_to_what_is_theirs_and_in_groups() -> None:
    text = (
        "New client connected from 10.0.0.2:5 as caas-telemetry-0 (p5, c0, k30, u'svc-telemetry')."
    )
    text += "\n"
    text += f"caas-telemetry-0 1 $share/ingest/{PREFIX}/+/telemetry\n"
    text += f"caas-telemetry-0 1 {PREFIX}/+/cmd\n"
    assert [(d.kind, d.what, d.user) for d in denials(text)] == [
        ("subscribe", f"{PREFIX}/+/cmd", "svc-telemetry")
    ]


def test_a_topic_cannot_pass_for_a_client() -> None:
    name = f"x (d0, q1, r0, m1, 'y', ... (1 bytes)) as {VIN}"
    text = SIGNED_IN + f"Denied PUBLISH from {VIN} (d0, q1, r0, m2, '{name}', ... (1 bytes))\n"
    assert denials(text) == [Denial("publish", name, VIN, VIN, "10.0.0.7:5000")]


def test_a_line_that_mosquitto_cut_off_is_told_of_as_far_as_it_goes() -> None:
    text = SIGNED_IN + f"Denied PUBLISH from {VIN} (d0, q1, r0, m2, '{'x' * 900}\n"
    assert denials(text) == [Denial("publish", "x" * 900, VIN, VIN, "10.0.0.7:5000")]


# Mosquitto 2.0.11 says <unknown>, 2.0.13 the client id where it has one, 2.1 the address too.
@pytest.mark.parametrize(
    ("line", "kind", "client", "address"),
    [
        ("Client <unknown> disconnected, not authorised.", "sign_in", None, "10.0.0.9:6000"),
        (f"Client {VIN} disconnected, not authorised.", "sign_in", VIN, "10.0.0.9:6000"),
        (f"Client {VIN} [10.0.0.9:6000] disconnected: not authorised.", "sign_in", VIN,
         "10.0.0.9:6000"),
        ("Client <unknown> disconnected due to malformed packet.", "protocol", None,
         "10.0.0.9:6000"),
        ("Client <unknown> [10.0.0.9:6000] disconnected: protocol error.", "protocol", None,
         "10.0.0.9:6000"),
        ("Client <unknown> has exceeded timeout, disconnecting.", "silent", None, "10.0.0.9:6000"),
        ("Client <unknown> [10.0.0.9:6000] disconnected: exceeded timeout.", "silent", None,
         "10.0.0.9:6000"),
        ("Client <unknown> disconnected due to oversize packet.", "oversize", None,
         "10.0.0.9:6000"),
        ("Client connection from 10.0.0.9 denied: max_connections exceeded.", "limit", None,
         "10.0.0.9"),
    ],
)  # fmt: skip
def test_every_way_to_be_refused(line: str, kind: str, client: str | None, address: str) -> None:
    (denial,) = denials(f"New connection from 10.0.0.9:6000 on port 8884.\n{line}\n")
    assert (denial.kind, denial.client, denial.address) == (kind, client, address)


def test_of_several_that_have_not_signed_in_all_are_named() -> None:
    text = "".join(f"New connection from 10.0.0.{n}:6000 on port 8884.\n" for n in (1, 2, 3, 4))
    text += "Client <unknown> disconnected due to protocol error.\n"
    (denial,) = denials(text)
    assert denial.address == "10.0.0.1 or 10.0.0.2 or 10.0.0.3 or others"
    # The broker names the host of somebody it answered.
    text += "Sending CONNACK to 10.0.0.3 (0, 135)\nClient <unknown> disconnected, not authorised.\n"
    assert denials(text)[-1].address == "10.0.0.3:6000"


def test_going_away_is_no_denial() -> None:
    text = (
        f"{SIGNED_IN}OpenSSL Error[0]: error:0A000126:SSL routines::unexpected eof while reading\n"
    )
    text += f"Client {VIN} closed its connection.\n{SIGNED_IN}"
    text += f"Client {VIN} has exceeded timeout, disconnecting.\n"
    text += (
        "New connection from 10.0.0.9:6000 on port 8884.\nClient <unknown> closed its connection.\n"
    )
    text += "Bad socket read/write on client x: Unknown error.\n"
    assert denials(text) == []


def test_the_rest_of_the_log_is_passed_on_at_its_level() -> None:
    text = "mosquitto version 2.0.11 starting\nWarning: something\nError: Address already in use\n"
    lines = [entry for entry in reader().feed(text.encode(), 0.0) if isinstance(entry, Line)]
    assert [line.level for line in lines] == ["info", "warning", "error"]


def test_of_many_alike_the_first_are_told_and_then_how_many() -> None:
    teller, before = Teller(2, 60.0), DENIALS.labels("publish")._value.get()
    other = Denial("publish", "a", "other", "other", "10.0.0.8:1")
    with structlog.testing.capture_logs() as logs:
        for number in range(5):
            teller.tell(Denial("publish", f"topic {number}", VIN, VIN, "10.0.0.7:1"), 0.0)
        teller.tell(other, 0.0)
        teller.summarize(59.0)
        teller.summarize(60.0)
        teller.summarize(61.0)
    told = [(line["client"], line["what"], line.get("more")) for line in logs]
    assert told == [
        (VIN, "topic 0", None), (VIN, "topic 1", None), ("other", "a", None), (VIN, "topic 4", 3),
    ]  # fmt: skip
    assert DENIALS.labels("publish")._value.get() - before == 6


async def test_a_file_is_followed_through_being_emptied_and_replaced(tmp_path: Path) -> None:
    path, stop = tmp_path / "log", asyncio.Event()
    got: list[bytes] = []
    with contextlib.ExitStack() as files:
        following = asyncio.create_task(
            collect(follow(path, stop, every_s=0.01, keep_bytes=100), got)
        )
        writer = files.enter_context(path.open("ab", buffering=0))
        writer.write(b"a" * 150)
        await until(lambda: b"".join(got) == b"a" * 150)
        # Emptied by the reader, and the writer goes on where it begins now.
        await until(lambda: path.stat().st_size == 0)
        writer.write(b"b" * 10)
        await until(lambda: b"".join(got).endswith(b"b" * 10))
        # Emptied by somebody else.
        writer.truncate(0)
        await until(lambda: path.stat().st_size == 0)
        await asyncio.sleep(0.05)
        writer.write(b"c")
        await until(lambda: b"".join(got).endswith(b"c"))
        path.rename(tmp_path / "old")
        path.write_bytes(b"d")
        await until(lambda: b"".join(got).endswith(b"d"))
        stop.set()
        await asyncio.wait_for(following, 10)
    assert path.read_bytes() == b""


async def test_what_was_written_while_nobody_read_is_read(tmp_path: Path) -> None:
    path, stop = tmp_path / "log", asyncio.Event()
    path.write_bytes(b"while away")
    got: list[bytes] = []
    following = asyncio.create_task(collect(follow(path, stop, every_s=0.01, keep_bytes=100), got))
    await until(lambda: got == [b"while away"])
    stop.set()
    await asyncio.wait_for(following, 10)


async def collect(pieces: AsyncIterator[bytes], into: list[bytes]) -> None:
    async for piece in pieces:
        into += [piece]


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)
