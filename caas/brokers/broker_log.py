"""Reads Mosquitto's log: who was refused, and what; a pure function of the lines so far.

Mosquitto does its work in one thread, so lines that belong together follow each other. What it
does not say is put together here: the address of somebody it names ``<unknown>`` is that of the
connections that have not signed in yet; a subscription (which it grants, and does not serve) and a
last will (which it takes, and does not send) are held against the access rules.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from caas.brokers.acl import Acl

Kind = Literal[
    "sign_in", "tls", "identity", "publish", "subscribe", "will", "oversize", "protocol", "silent",
    "limit",
]  # fmt: skip
KINDS: tuple[Kind, ...] = (
    "sign_in", "tls", "identity", "publish", "subscribe", "will", "oversize", "protocol", "silent",
    "limit",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Denial:
    """One refusal. ``address``: with a port where it is known; several where it is one of them."""

    kind: Kind
    what: str
    client: str | None = None
    user: str | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """Any other line of the log that is worth a look."""

    level: Literal["debug", "info", "warning", "error"]
    text: str


@dataclass(slots=True)
class _Context:
    """What one line says about the next."""

    ssl_error: str | None = None
    refused: str | None = None
    will_of: str | None = None


# What a healthy fleet writes all the time; most of the log, so it goes before anything else.
_NOISE = re.compile(rb"^(?:Received |Sending (?!CONNACK)|No will message)[^\n]*\n", re.MULTILINE)

_NEW = re.compile(r"New connection from (?P<address>\S+) on port \d+\.$")
_SIGNED_IN = re.compile(
    r"New client connected from (?P<address>\S+) as (?P<client>.*?) \(p\d, c\d, k\d+"
    r"(?:, u'(?P<user>.*)')?\)\.$"
)
_WILL = re.compile(r"Will message specified \(")
_TAB = re.compile(r"\t(?P<what>.*)")
_DENIED = re.compile(r"Denied PUBLISH from (?P<client>.*?) \(d\d, q\d, r\d, m\d+, '(?P<what>.*)")
_TOO_LARGE = re.compile(
    r"Dropped too large PUBLISH from (?P<client>.*?) \(d\d, q\d, r\d, m\d+, '(?P<what>.*)"
)
_SUBSCRIBED = re.compile(r"(?P<client>.*?) [0-2] (?P<what>\S.*)$")
_CONNACK = re.compile(r"Sending CONNACK to (?P<who>.*) \(\d+, (?P<code>\d+)\)$")
_REFUSED_AT_ONCE = re.compile(r"Client connection from (?P<address>\S+) failed: (?P<what>.*)\.$")
_FULL = re.compile(r"Client connection from (?P<address>\S+) denied: max_connections exceeded\.$")
_OPENSSL = re.compile(r"OpenSSL Error\[\d+\]: (?P<what>.*)")
_DANGEROUS = re.compile(r'ACL denying access to client with dangerous (?P<what>.* "(?P<user>.*)")')
_VERSION = re.compile(r"(?P<what>Invalid protocol .*) in CONNECT from (?P<address>\S+)\.$")
# "Client X disconnected due to Y." and the like; from 2.1 on "Client X [address] disconnected: Y."
_ENDED = re.compile(
    r"Client (?P<client>.*?)(?: \[(?P<address>\S+)\])? "
    r"(?:disconnected(?:, | due to |: )?|has |closed |been )(?P<why>.*)\.$"
)
_BROKEN = re.compile(r"Bad socket read/write on client (?P<client>.*?): (?P<what>.*)")
_UNKNOWN = "<unknown>"
_TAIL = re.compile(r"', \.\.\. \(\d+ bytes\)\)$")
_SSL_CODE = re.compile(r"^error:[0-9A-F]+:(?:[^:]*:)?(?:[^:]*:)?")
_VIN = re.compile(r"[A-HJ-NPR-Z0-9]{17}")
# A connection that says nothing is ended by the broker after 90 s.
_PENDING_S = 120.0
_MOST_PENDING = 50_000
_LONGEST_LINE = 65_536


class LogReader:
    """Give it the log in pieces of any size; it keeps what it needs to understand the next one."""

    def __init__(self, acl: Acl) -> None:
        self._acl = acl
        self._rest = b""
        # Address → when it came, of those that have not signed in.
        self._pending: dict[str, float] = {}
        # Client id → user name and address.
        self._signed_in: dict[str, tuple[str, str]] = {}
        self._now = 0.0
        self._before = _Context()
        self._latest = _Context()
        self._patterns = (
            (_NEW, self._new),
            (_SIGNED_IN, self._sign_in),
            (_CONNACK, self._connack),
            (_WILL, self._will_announced),
            (_TAB, self._will),
            (_DENIED, self._publish),
            (_TOO_LARGE, self._too_large),
            (_OPENSSL, self._openssl),
            (_REFUSED_AT_ONCE, self._refused_at_once),
            (_FULL, self._full),
            (_DANGEROUS, self._dangerous),
            (_VERSION, self._version),
            (_ENDED, self._ended),
            (_BROKEN, self._broken),
            (_SUBSCRIBED, self._subscribed),
        )

    def feed(self, data: bytes, now: float) -> Iterator[Denial | Line]:
        """What the next piece of the log says; ``now`` in seconds of any clock that only rises."""
        self._now = now
        whole, newline, rest = (self._rest + data).rpartition(b"\n")
        self._rest = b"" if len(rest) > _LONGEST_LINE else rest
        for line in _NOISE.sub(b"", whole + newline).decode(errors="replace").split("\n"):
            if line:
                yield from self._line(line)

    def _line(self, line: str) -> Iterator[Denial | Line]:
        self._before, self._latest = self._latest, _Context()
        for pattern, understand in self._patterns:
            if found := pattern.match(line):
                return understand(found)
        return iter([Line(_level(line), line)])

    def _openssl(self, found: re.Match[str]) -> Iterator[Denial | Line]:
        self._latest.ssl_error = self._before.ssl_error or found["what"]
        return iter(())

    def _connack(self, found: re.Match[str]) -> Iterator[Denial | Line]:
        # To an address, or to a client id where the broker knows it.
        if int(found["code"]) and any(_host(one) == found["who"] for one in self._pending):
            self._latest.refused = found["who"]
        return iter(())

    def _will_announced(self, _found: re.Match[str]) -> Iterator[Denial | Line]:
        self._latest.will_of = next(reversed(self._signed_in), None)
        return iter(())

    def _will(self, found: re.Match[str]) -> Iterator[Denial | Line]:
        client = self._before.will_of
        if client is not None:
            user, topic = self._signed_in[client][0], found["what"]
            if not self._acl.allows(user, "write", topic):
                yield self._of_client("will", topic, client)

    def _publish(self, found: re.Match[str]) -> Iterator[Denial | Line]:
        yield self._of_client("publish", _TAIL.sub("", found["what"]), found["client"])

    def _too_large(self, found: re.Match[str]) -> Iterator[Denial | Line]:
        yield self._of_client("oversize", _TAIL.sub("", found["what"]), found["client"])

    def _refused_at_once(self, found: re.Match[str]) -> Iterator[Denial | Line]:
        yield Denial("tls", _reason(found["what"]), address=found["address"])

    def _full(self, found: re.Match[str]) -> Iterator[Denial | Line]:
        yield Denial("limit", "max_connections exceeded", address=found["address"])

    def _dangerous(self, found: re.Match[str]) -> Iterator[Denial | Line]:
        yield self._of_client("identity", f"dangerous {found['what']}", found["user"])

    def _version(self, found: re.Match[str]) -> Iterator[Denial | Line]:
        yield Denial("protocol", found["what"], address=found["address"])

    def _broken(self, found: re.Match[str]) -> Iterator[Denial | Line]:
        if found["what"].startswith("Unknown error"):
            # After a refusal this is how Debian's 2.0.11 ends the connection.
            yield Line("debug", found.string)
        else:
            yield self._of_client("protocol", found["what"], found["client"])
        self._signed_in.pop(found["client"], None)

    def _new(self, found: re.Match[str]) -> Iterator[Denial | Line]:
        for old, since in list(self._pending.items()):
            if self._now - since < _PENDING_S and len(self._pending) < _MOST_PENDING:
                break
            del self._pending[old]
        self._pending[found["address"]] = self._now
        return iter(())

    def _sign_in(self, found: re.Match[str]) -> Iterator[Denial | Line]:
        client, user, address = found["client"], found["user"] or "", found["address"]
        self._pending.pop(address, None)
        # At the end of the dictionary: the will that may follow is the last one's.
        self._signed_in.pop(client, None)
        self._signed_in[client] = (user, address)
        # At a door for vehicles the client id is the user name; services have others at theirs.
        if client == user and not _VIN.fullmatch(user):
            yield self._of_client("identity", "the name is no vehicle's", client)
        yield Line("debug", found[0])

    def _subscribed(self, found: re.Match[str]) -> Iterator[Denial | Line]:
        client, topic_filter = found["client"], found["what"]
        user = self._signed_in.get(client, (client, ""))[0]
        # A client that signed in before we read along, and is no vehicle.
        stranger = client not in self._signed_in and not _VIN.fullmatch(client)
        plain = topic_filter
        if topic_filter.startswith("$share/"):
            plain = topic_filter.split("/", 2)[-1]
        if not stranger and not self._acl.allows(user, "read", plain):
            yield self._of_client("subscribe", topic_filter, client)

    def _ended(self, found: re.Match[str]) -> Iterator[Denial | Line]:
        client, why, ssl_error = found["client"], found["why"], self._before.ssl_error
        kind = _kind_of_end(why, client in self._signed_in, ssl_error)
        if kind is None:
            self._nobody_any_more(found["address"])
            yield Line("debug", found[0])
        elif client in self._signed_in:
            yield self._of_client(kind, _what(why, ssl_error), client)
        else:
            address = found["address"] or self._before.refused
            address = self._nobody_any_more(address) or address
            named = None if client == _UNKNOWN else client
            yield Denial(kind, _what(why, ssl_error), named, address=address)
        self._signed_in.pop(client, None)

    def _nobody_any_more(self, address: str | None) -> str | None:
        """Who of those that have not signed in has gone, as far as that can be told."""
        if address in self._pending:
            del self._pending[address]
            return address
        some = [one for one in self._pending if address is None or _host(one) == address]
        if len(some) == 1:
            del self._pending[some[0]]
            return some[0]
        hosts = dict.fromkeys(_host(one) for one in some)
        return " or ".join(list(hosts)[:3]) + (" or others" if len(hosts) > 3 else "") or None

    def _of_client(self, kind: Kind, what: str, client: str) -> Denial:
        user, address = self._signed_in.get(client, (None, None))
        return Denial(kind, what, client, user, address)


def _kind_of_end(why: str, signed_in: bool, ssl_error: str | None) -> Kind | None:
    reason = why.lower()
    if ssl_error is not None and "unexpected eof" not in ssl_error and "its connect" not in why:
        return "tls"
    if "not authorised" in reason or "bad username" in reason or "bad authentication" in reason:
        return "sign_in"
    if "oversize" in reason:
        return "oversize"
    if "exceeded timeout" in reason and not signed_in:
        return "silent"
    if "malformed" in reason or "protocol error" in reason or "not allowed feature" in reason:
        return "protocol"
    return None


def _what(why: str, ssl_error: str | None) -> str:
    return why if ssl_error is None else _reason(ssl_error)


def _reason(ssl_error: str) -> str:
    """``error:0A000086:SSL routines::certificate verify failed`` → its last part."""
    return _SSL_CODE.sub("", ssl_error).strip() or ssl_error


def _host(address: str) -> str:
    return address.rpartition(":")[0]


def _level(line: str) -> Literal["info", "warning", "error"]:
    if line.startswith(("Error", "OpenSSL Error")):
        return "error"
    return "warning" if line.startswith(("Warning", "Unable")) else "info"
