"""Comparing parameter values as JSON does."""

from collections.abc import Iterable, Sequence

from core.contracts.bus import ParameterSetting, ParameterValue


def same_value(left: ParameterValue, right: ParameterValue) -> bool:
    """Equal as JSON values: true is not 1, but 4 is 4.0."""
    return isinstance(left, bool) == isinstance(right, bool) and left == right


def matching(
    wanted: Iterable[ParameterSetting], reported: Iterable[ParameterSetting]
) -> list[ParameterSetting]:
    """Those of ``wanted`` that the report shows."""
    shown = {(item.module, item.parameter): item.value for item in reported}
    return [
        item
        for item in wanted
        if (key := (item.module, item.parameter)) in shown and same_value(shown[key], item.value)
    ]


def shows(wanted: Sequence[ParameterSetting], reported: Iterable[ParameterSetting]) -> bool:
    """Whether all of ``wanted``, and that is something, is reported."""
    return bool(wanted) and len(matching(wanted, reported)) == len(wanted)
