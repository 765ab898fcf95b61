"""A vehicle's flash memory: its state and its unreceipted telemetry as files, safe from kill -9."""

from pathlib import Path

import msgspec
from pydantic import TypeAdapter, ValidationError

import core.log
from vehicle_sim.buffer import Kept, TelemetryBuffer
from vehicle_sim.faults import Fault
from vehicle_sim.state import Saved, UnitState

log = core.log.get(__name__)

# The journal is rewritten once it holds this many times what is still kept.
_SLACK = 4
_SLACK_MIN = 64
_FAULTS = TypeAdapter(list[Fault])


class VehicleStore:
    """``{vin}.json`` is replaced in one step; ``{vin}.telemetry`` is appended to.

    ``{vin}.faults.json`` are the faults set from outside: a defect car stays one when the
    simulator restarts (those with ``times`` then count anew).
    """

    def __init__(self, folder: Path, vin: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._state = folder / f"{vin}.json"
        self._journal = folder / f"{vin}.telemetry"
        self._faults = folder / f"{vin}.faults.json"
        self._lines = 0

    def load(self) -> Saved:
        """What was saved; a new vehicle where nothing was, or nothing readable."""
        try:
            return msgspec.json.decode(self._state.read_bytes(), type=Saved)
        except FileNotFoundError:
            return Saved(UnitState())
        except msgspec.DecodeError as error:
            # Never overwritten in place, so this is a file of another version or a foreign hand.
            log.warning("vehicle_state_unreadable", file=self._state.name, error=str(error))
            return Saved(UnitState())

    def save(self, saved: Saved) -> None:
        """Replace the state; a kill leaves either the old or the new one."""
        fresh = self._state.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(saved))
        fresh.replace(self._state)

    def load_faults(self) -> list[Fault]:
        """The faults last set; none where nothing was saved, or nothing readable."""
        try:
            return _FAULTS.validate_json(self._faults.read_bytes())
        except FileNotFoundError:
            return []
        except ValidationError as error:
            log.warning("vehicle_faults_unreadable", file=self._faults.name, error=str(error))
            return []

    def save_faults(self, faults: list[Fault]) -> None:
        """Remember the faults; none leaves no file."""
        if not faults:
            self._faults.unlink(missing_ok=True)
            return
        fresh = self._faults.with_suffix(".new")
        fresh.write_bytes(_FAULTS.dump_json(faults))
        fresh.replace(self._faults)

    def load_telemetry(self, limit: int) -> TelemetryBuffer:
        """The batches that had no receipt yet, and perhaps a few that had."""
        try:
            *lines, torn = self._journal.read_bytes().split(b"\n")
        except FileNotFoundError:
            return TelemetryBuffer(limit)
        self._lines = len(lines)
        try:
            buffer = TelemetryBuffer(limit, map(_read, lines))
        except ValueError as error:
            log.warning("vehicle_journal_unreadable", file=self._journal.name, error=str(error))
            return TelemetryBuffer(limit)
        if torn:  # A kill cut the last line short; the next one must not be glued to it.
            self._rewrite(buffer)
        return buffer

    def append(self, batch: Kept) -> None:
        """Write a batch down before it is sent."""
        with self._journal.open("ab") as journal:
            journal.write(_line(batch))
        self._lines += 1

    def trim(self, buffer: TelemetryBuffer) -> None:
        """Let the journal forget what the buffer has forgotten, now and then."""
        if self._lines > max(_SLACK_MIN, _SLACK * len(buffer)):
            self._rewrite(buffer)

    def _rewrite(self, buffer: TelemetryBuffer) -> None:
        fresh = self._journal.with_suffix(".new-telemetry")
        fresh.write_bytes(b"".join(map(_line, buffer.batches)))
        fresh.replace(self._journal)
        self._lines = len(buffer)


def _line(batch: Kept) -> bytes:
    # The payload is compact JSON, so it has no line feed of its own.
    return b"%d %d %s\n" % (batch.boot, batch.n, batch.payload)


def _read(line: bytes) -> Kept:
    boot, n, payload = line.split(b" ", 2)
    return Kept(int(boot), int(n), payload)
