"""The connectivity log: what presence did, with short outages folded into runs of flaps."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from core.contracts.bus import Presence
from core.db import Connection, load_queries
from gateway.parts import Changed
from gateway.settings import PresenceSettings
from gateway.state import VehicleState, Why

QUERIES = load_queries("gateway.presence")


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the log, as far as it decides about the next one."""

    id: int
    vin: str
    at: datetime
    until: datetime | None
    to_presence: str
    reason: str


@dataclass(frozen=True, slots=True)
class Add:
    """A change of presence of its own."""


@dataclass(frozen=True, slots=True)
class Flap:
    """The last entry's outage was short: the entry ``into`` stands for it as well.

    ``remove``: the outage's own entry, where there is a run of flaps already to add it to.
    """

    into: int
    remove: int | None = None


def judge(
    before: VehicleState,
    after: VehicleState,
    last: Sequence[Entry],
    now: datetime,
    flap_s: float,
    window_s: float,
) -> Add | Flap:
    """What a change of presence means for the log, whose ``last`` entries come last one first."""
    back = after.presence != Presence.OFFLINE and before.presence != Presence.ONLINE
    if not back or not last or last[0].reason == Why.FLAP:
        return Add()
    outage = last[0]
    if outage.to_presence != before.presence or (now - outage.at).total_seconds() >= flap_s:
        return Add()
    run = last[1] if len(last) > 1 and last[1].reason == Why.FLAP else None
    if run is None or run.until is None or (outage.at - run.until).total_seconds() >= window_s:
        return Flap(outage.id)
    return Flap(run.id, outage.id)


async def write(conn: Connection, changes: Sequence[Changed], settings: PresenceSettings) -> None:
    """Put the changes of a batch into the log."""
    vins = [change.after.vin for change in changes]
    known: dict[str, list[Entry]] = {vin: [] for vin in vins}
    for entry in await conn.all(Entry, QUERIES["last_entries"], {"vins": vins}):
        known[entry.vin].append(entry)
    added: list[dict[str, str | datetime | None]] = []
    for change in changes:
        before, after = change.before, change.after
        row = {
            "vin": after.vin,
            "at": change.now,
            "from_presence": before.presence,
            "to_presence": after.presence,
            "reason": after.presence_reason,
            "session": after.session,
        }
        meaning = judge(
            before, after, known[after.vin], change.now, settings.flap_s,
            settings.unstable_window_s,
        )  # fmt: skip
        if isinstance(meaning, Add):
            added.append(row)
            continue
        await conn.execute(QUERIES["make_flap"], {**row, "id": meaning.into})
        if meaning.remove is not None:
            await conn.execute(QUERIES["remove_entry"], {"id": meaning.remove})
    if added:
        await conn.execute_many(QUERIES["add_entry"], added)
