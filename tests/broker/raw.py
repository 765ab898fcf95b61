"""A small MQTT client by hand: it can do what a well-behaved one cannot."""

import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

DEADLINE_S = 10.0
ACCEPTED = 0
CONNACK, PUBLISH, PUBACK, SUBACK, PINGRESP, DISCONNECT = 2, 3, 4, 9, 13, 14


@dataclass(frozen=True)
class Identity:
    """What a client shows: a certificate and key, or a user name and secret, or nothing."""

    cert: Path | None = None
    key: Path | None = None
    user: str | None = None
    secret: str | None = None


@dataclass(frozen=True)
class Packet:
    """A control packet: its type (1 to 14), flags, and what follows the length."""

    kind: int
    flags: int
    body: bytes


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return len(data).to_bytes(2) + data


def packet(first: int, body: bytes, length: int | None = None) -> bytes:
    """A packet; ``length``: what it claims, where that is not the truth."""
    left, digits = len(body) if length is None else length, b""
    while True:
        left, digit = divmod(left, 128)
        digits += bytes([digit | (128 if left else 0)])
        if not left:
            return bytes([first]) + digits + body


def connect_packet(
    client_id: str,
    identity: Identity,
    *,
    will: tuple[str, bytes] | None = None,
    level: int = 5,
    keep_alive: int = 30,
) -> bytes:
    """A CONNECT with clean start; MQTT 5 asks for a session of a minute."""
    flags = 0b10
    flags |= (0b100 | 1 << 3) if will else 0
    flags |= 0x80 if identity.user is not None else 0
    flags |= 0x40 if identity.secret is not None else 0
    body = text("MQTT") + bytes([level, flags]) + keep_alive.to_bytes(2)
    body += b"\x05\x11\x00\x00\x00\x3c" if level == 5 else b""
    body += text(client_id)
    if will:
        body += (b"\x00" if level == 5 else b"") + text(will[0]) + text(will[1])
    for part in (identity.user, identity.secret):
        body += b"" if part is None else text(part)
    return packet(0x10, body)


def tls_context(ca: Path, identity: Identity, version: ssl.TLSVersion | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca))
    if identity.cert is not None and identity.key is not None:
        context.load_cert_chain(identity.cert, identity.key)
    if version is not None:
        # What this machine's own OpenSSL would refuse to offer.
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
    return context


class Raw:
    """One connection. Every wait ends after 10 s with an OSError."""

    def __init__(
        self,
        port: int,
        *,
        ca: Path | None = None,
        identity: Identity | None = None,
        version: ssl.TLSVersion | None = None,
        context: ssl.SSLContext | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self.identity = identity or Identity()
        plain = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
        self.local_port = int(plain.getsockname()[1])
        self.sock: socket.socket = plain
        if context is None and ca is not None:
            context = tls_context(ca, self.identity, version)
        if context is not None:
            try:
                self.sock = context.wrap_socket(plain, server_hostname="127.0.0.1", session=session)
            except OSError:
                plain.close()
                raise
        self._data = b""
        self._mid = 0
        self.level = 5
        self.messages: list[tuple[str, bytes]] = []

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def connect(
        self, client_id: str, *, will: tuple[str, bytes] | None = None, level: int = 5
    ) -> int:
        """Send CONNECT; the reason code of the CONNACK."""
        self.level = level
        self.sock.sendall(connect_packet(client_id, self.identity, will=will, level=level))
        return self.expect(CONNACK).body[1]

    def publish(self, topic: str, payload: bytes) -> int:
        """QoS 1; the PUBACK's reason code (0 in 3.1.1)."""
        self._mid += 1
        body = text(topic) + self._mid.to_bytes(2) + (b"\x00" if self.level == 5 else b"") + payload
        self.sock.sendall(packet(0x32, body))
        answer = self.expect(PUBACK)
        return answer.body[2] if len(answer.body) > 2 else 0

    def subscribe(self, *topics: str) -> list[int]:
        """QoS 1 each; the reason codes."""
        self._mid += 1
        body = self._mid.to_bytes(2) + (b"\x00" if self.level == 5 else b"")
        self.sock.sendall(packet(0x82, body + b"".join(text(t) + b"\x01" for t in topics)))
        return list(self.expect(SUBACK).body[3 if self.level == 5 else 2 :])

    def next_message(self) -> tuple[str, bytes]:
        """The next PUBLISH that arrives, acknowledged."""
        if self.messages:
            return self.messages.pop(0)
        self.expect(PUBLISH)
        return self.messages.pop(0)

    def ping(self) -> None:
        """Return once everything sent before is handled."""
        self.sock.sendall(b"\xc0\x00")
        self.expect(PINGRESP)

    def closed(self) -> bool:
        """Whether the other side ends the connection within the deadline."""
        try:
            while self.sock.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True

    def expect(self, kind: int) -> Packet:
        """The next packet of that kind; messages before it are kept."""
        while True:
            found = self._read()
            if found.kind == PUBLISH:
                self._keep(found)
            if found.kind == kind:
                return found
            if found.kind == DISCONNECT:
                raise ConnectionError(f"DISCONNECT {found.body.hex()}")

    def _keep(self, found: Packet) -> None:
        end = 2 + int.from_bytes(found.body[:2])
        topic, rest = found.body[2:end].decode(), found.body[end:]
        if found.flags & 0b110:
            self.sock.sendall(packet(0x40, rest[:2]))
            rest = rest[2:]
        if self.level == 5:
            rest = rest[1 + rest[0] :]
        self.messages.append((topic, rest))

    def _read(self) -> Packet:
        first = self._take(1)[0]
        length = shift = 0
        while True:
            digit = self._take(1)[0]
            length |= (digit & 127) << shift
            shift += 7
            if not digit & 128:
                break
        return Packet(first >> 4, first & 15, self._take(length))

    def _take(self, count: int) -> bytes:
        deadline = time.monotonic() + DEADLINE_S
        while len(self._data) < count:
            if time.monotonic() > deadline:
                raise TimeoutError("no answer")
            got = self.sock.recv(65536)
            if not got:
                raise ConnectionError("closed by the broker")
            self._data += got
        taken, self._data = self._data[:count], self._data[count:]
        return taken
