"""The hash chain of the command log, computed without the database (docs/gateway.md)."""

import hashlib
import json
from collections.abc import Iterable
from typing import NamedTuple

LOG = "caas-command-log/1"
CHECKPOINT = "caas-command-checkpoint/1"


class LoggedCommand(NamedTuple):
    """A row of the log; ``admitted_us`` is microseconds since the epoch, ``content`` JSON text."""

    command_id: str
    vin: str
    seq: int
    kind: str
    source: str
    service: str | None
    admitted_us: int
    content: str
    previous_hash: bytes | None
    hash: bytes


class Checkpoint(NamedTuple):
    """A row of the checkpoints; ``vehicles`` is how many heads it has."""

    checkpoint_id: int
    at_us: int
    vehicles: int
    previous_hash: bytes | None
    hash: bytes


class Head(NamedTuple):
    """Where a vehicle's chain stood at a checkpoint."""

    checkpoint_id: int
    vin: str
    seq: int
    hash: bytes


def hash_of_command(row: LoggedCommand) -> bytes:
    """SHA-256 of the row as a JSON array that begins with the hash of the row before it."""
    return _hash(
        [
            LOG,
            _hex(row.previous_hash),
            row.command_id,
            row.vin,
            row.seq,
            row.kind,
            row.source,
            row.service,
            row.admitted_us,
            hashlib.sha256(row.content.encode()).hexdigest(),
        ]
    )


def hash_of_checkpoint(row: Checkpoint, heads: Iterable[Head]) -> bytes:
    """SHA-256 of the checkpoint and the lines ``vin seq hash`` of its heads, sorted by VIN."""
    lines = hashlib.sha256()
    for head in heads:
        lines.update(f"{head.vin} {head.seq} {head.hash.hex()}\n".encode())
    return _hash(
        [
            CHECKPOINT,
            _hex(row.previous_hash),
            row.checkpoint_id,
            row.at_us,
            row.vehicles,
            lines.hexdigest(),
        ]
    )


def _hash(members: list[str | int | None]) -> bytes:
    # As PostgreSQL prints json_build_array.
    return hashlib.sha256(json.dumps(members, ensure_ascii=False).encode()).digest()


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()
