"""The wanted configuration as rooms share it (gateway.wanted_v1): pure, no I/O (DOMAIN 8)."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from core.contracts.bus import Moment, ParameterSetting, ParameterValue
from core.contracts.values import same_value

Key = tuple[str, str]


class WantedValue(msgspec.Struct, frozen=True, omit_defaults=True):
    """One parameter and what it is to be; from ``until`` on it is to be ``revert``."""

    module: str
    parameter: str
    value: ParameterValue
    until: Moment | None = None
    revert: ParameterValue | None = None

    @property
    def key(self) -> Key:
        return (self.module, self.parameter)


class Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    """A parameter that is not as wanted; ``reported`` null = the vehicle does not report it."""

    module: str
    parameter: str
    wanted: ParameterValue
    reported: ParameterValue | None = None

    @property
    def key(self) -> Key:
        return (self.module, self.parameter)


class Change(msgspec.Struct, frozen=True):
    """A parameter that nothing is wanted of, and that is not as it was the report before."""

    module: str
    parameter: str
    before: ParameterValue
    reported: ParameterValue

    @property
    def key(self) -> Key:
        return (self.module, self.parameter)


def parse_wanted(rows: Any) -> list[WantedValue]:
    """A jsonb column as wanted values."""
    return msgspec.convert(rows or [], list[WantedValue])


def in_force(item: WantedValue, now: datetime) -> ParameterValue:
    """What the parameter is to be at ``now``."""
    if item.until is not None and item.revert is not None and now >= item.until:
        return item.revert
    return item.value


def differences(
    wanted: Iterable[WantedValue],
    reported: Iterable[ParameterSetting],
    now: datetime,
    grace: timedelta = timedelta(0),
) -> list[Difference]:
    """What a report has otherwise than wanted, of the parameters that are wanted at all.

    Within ``grace`` of its end a value may be either: vehicle and platform end it each by its own
    clock, and a moving vehicle waits until it stands (DOMAIN 4).
    """
    shown = {(item.module, item.parameter): item.value for item in reported}
    found: list[Difference] = []
    for item in wanted:
        value, is_so = in_force(item, now), shown.get(item.key)
        if is_so is not None and (
            same_value(is_so, value) or _ends_about_now(item, is_so, now, grace)
        ):
            continue
        found.append(Difference(item.module, item.parameter, value, is_so))
    return found


def _ends_about_now(
    item: WantedValue, is_so: ParameterValue, now: datetime, grace: timedelta
) -> bool:
    if item.until is None or item.revert is None:
        return False
    if not item.until - grace < now < item.until + grace:
        return False
    return same_value(is_so, item.value) or same_value(is_so, item.revert)


def next_change(
    wanted: Iterable[WantedValue], now: datetime, grace: timedelta = timedelta(0)
) -> datetime | None:
    """From when on the same report may be judged otherwise than now; None = never by itself."""
    ends = [item.until + grace for item in wanted if item.until and item.revert is not None]
    return min((end for end in ends if end > now), default=None)


class InUse(msgspec.Struct, frozen=True):
    """A service in use on a vehicle: its values, their off values, and its end (None = never)."""

    on: Sequence[ParameterSetting]
    off: Sequence[ParameterSetting]
    until: datetime | None = None


def wanted_of(off: Iterable[ParameterSetting], in_use: Sequence[InUse]) -> list[WantedValue]:
    """What the parameters of ``off`` are to be, given the services ``in_use``, the latest last.

    A parameter that several services need stays on until the last of them ends.
    """
    wanted: list[WantedValue] = []
    for item in off:
        key = (item.module, item.parameter)
        users = [(service, value) for service in in_use for value in _values(service.on, key)]
        if not users:
            wanted.append(WantedValue(item.module, item.parameter, item.value))
            continue
        value = users[-1][1]
        ends = [service.until for service, _ in users]
        known = [end for end in ends if end is not None]
        until = max(known) if len(known) == len(ends) else None
        revert = item.value if until is not None else None
        wanted.append(WantedValue(item.module, item.parameter, value, until, revert))
    return wanted


def _values(settings: Iterable[ParameterSetting], key: Key) -> list[ParameterValue]:
    return [item.value for item in settings if (item.module, item.parameter) == key]
