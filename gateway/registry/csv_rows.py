"""Lines of an import file as vehicles, or as what is wrong with them; pure.

A vehicle is one line, so that a stray quotation mark spoils its own line and no other.
"""

import csv
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from core.errors import DomainError, Invalid
from gateway.registry.model import MQTT, TRANSPORTS
from gateway.registry.vins import ParseVin

REQUIRED = ("vin", "model", "firmware")
OPTIONAL = ("transport", "secret", "secret_hash")
MAX_LINE_BYTES = 4096
# Whoever knows the VIN may try secrets against the broker.
MIN_SECRET, MAX_SECRET = 16, 200
_MAX_ITERATIONS = 100_000
FIRMWARE = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,49}"
_FIRMWARE = re.compile(FIRMWARE)
_HASH = re.compile(r"\$7\$(\d{1,6})\$[A-Za-z0-9+/]{8,88}={0,2}\$[A-Za-z0-9+/]{86}==")


@dataclass(frozen=True, slots=True)
class NewVehicle:
    """A line that can be used; ``secret`` is plain, ``secret_hash`` as the password file has it."""

    vin: str
    model: str
    firmware: str
    transport: str
    secret: str | None
    secret_hash: str | None
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be used, by its number in the file (the header is 1)."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Columns:
    """Where each column is, as the header says."""

    places: dict[str, int]
    count: int


@dataclass(frozen=True, slots=True)
class Rules:
    """What a line is held against."""

    parse: ParseVin
    models: Collection[str]


def read_header(line: bytes) -> Columns:
    """The columns of the file; Invalid where one is missing, unknown or there twice."""
    names = [name.strip().lower() for name in _fields(line.removeprefix(b"\xef\xbb\xbf"))]
    missing = [name for name in REQUIRED if name not in names]
    unknown = [name for name in names if name not in (*REQUIRED, *OPTIONAL)]
    if missing or unknown or len(set(names)) != len(names):
        raise Invalid(
            "INVALID_HEADER",
            f"the first line names the columns: {','.join(REQUIRED)} and, if there are any, "
            f"{','.join(OPTIONAL)}; each once, and no other",
        )
    return Columns({name: place for place, name in enumerate(names)}, len(names))


def read_line(number: int, line: bytes, columns: Columns, rules: Rules) -> NewVehicle | BadLine:
    """What a line says."""
    try:
        return replace(_vehicle(_fields(line), columns, rules), line=number)
    except DomainError as error:
        return BadLine(number, error.message)


def _vehicle(fields: Sequence[str], columns: Columns, rules: Rules) -> NewVehicle:
    if len(fields) != columns.count:
        raise Invalid("FIELDS", f"{len(fields)} fields where the header has {columns.count}")
    cells = {name: fields[place].strip() for name, place in columns.places.items()}
    vin = rules.parse(cells["vin"])
    model, firmware = cells["model"], cells["firmware"]
    transport = cells.get("transport") or MQTT
    secret, secret_hash = cells.get("secret") or None, cells.get("secret_hash") or None
    if secret and secret != fields[columns.places["secret"]]:
        # Neither guess is safe: part of the secret, or of how the file is laid out.
        raise Invalid("INVALID_SECRET", "a secret neither begins nor ends with a blank")
    if model not in rules.models:
        raise Invalid("UNKNOWN_MODEL", f"the catalogue has no vehicle model {model[:50]!r}")
    if not _FIRMWARE.fullmatch(firmware):
        raise Invalid("INVALID_FIRMWARE", f"{firmware[:50]!r} is no firmware version")
    if transport not in TRANSPORTS:
        raise Invalid("UNKNOWN_TRANSPORT", f"transport is one of {', '.join(TRANSPORTS)}")
    if transport != MQTT and (secret or secret_hash):
        raise Invalid("NO_CREDENTIAL", "a vehicle behind an IoT API has no secret here")
    if secret and secret_hash:
        raise Invalid("TWO_SECRETS", "a secret or its hash, not both")
    # Neither is repeated here: reports are kept and sent around.
    if secret and not MIN_SECRET <= len(secret) <= MAX_SECRET:
        raise Invalid("INVALID_SECRET", f"a secret has {MIN_SECRET} to {MAX_SECRET} characters")
    if secret_hash and not _is_hash(secret_hash):
        raise Invalid("INVALID_HASH", "secret_hash is not of the form $7$ITERATIONS$SALT$HASH")
    return NewVehicle(vin, model, firmware, transport, secret, secret_hash)


def _fields(line: bytes) -> list[str]:
    if len(line) > MAX_LINE_BYTES:
        raise Invalid("TOO_LONG", f"the line is longer than {MAX_LINE_BYTES} bytes")
    try:
        text = line.decode("utf-8").rstrip("\r\n")
        for fields in csv.reader([text], strict=True):
            return fields
    except UnicodeDecodeError:
        raise Invalid("NOT_TEXT", "the line is not UTF-8") from None
    except csv.Error as error:
        raise Invalid("NOT_CSV", f"the line is not CSV: {error}") from None
    return []


def _is_hash(text: str) -> bool:
    # A number of rounds without bound would stop the broker, which checks at each connect.
    found = _HASH.fullmatch(text)
    return found is not None and 1 <= int(found[1]) <= _MAX_ITERATIONS
