"""The state machine refuses what its table does not list."""

from enum import StrEnum

import pytest

from core.errors import IllegalTransition
from core.machine import Machine


class Door(StrEnum):
    OPEN = "OPEN"
    SHUT = "SHUT"
    GONE = "GONE"


class Push(StrEnum):
    PULL = "PULL"
    SLAM = "SLAM"
    BURN = "BURN"


TABLE = [
    (Door.OPEN, Push.SLAM, Door.SHUT),
    (Door.SHUT, Push.PULL, Door.OPEN),
    (Door.OPEN, Push.BURN, Door.GONE),
    (Door.SHUT, Push.BURN, Door.GONE),
]
MACHINE = Machine("door", TABLE, initial=Door.SHUT, final=[Door.GONE])


def test_every_listed_transition_is_taken() -> None:
    for state, event, target in TABLE:
        assert MACHINE.next(state, event) is target


def test_every_unlisted_transition_is_refused() -> None:
    listed = {(state, event) for state, event, _ in TABLE}
    refused = [(s, e) for s in Door for e in Push if (s, e) not in listed]
    assert len(refused) == 5
    for state, event in refused:
        assert not MACHINE.allows(state, event)
        with pytest.raises(IllegalTransition) as error:
            MACHINE.next(state, event)
        assert error.value.details == {"machine": "door", "state": state, "event": event}


def test_sources_are_what_a_guarded_update_compares_with() -> None:
    assert set(MACHINE.sources(Push.BURN)) == {Door.OPEN, Door.SHUT}


def test_an_ambiguous_table_and_a_final_state_that_moves_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="twice"):
        Machine("door", [*TABLE, (Door.OPEN, Push.SLAM, Door.GONE)], initial=Door.OPEN)
    with pytest.raises(ValueError, match="final state"):
        Machine("door", TABLE, initial=Door.OPEN, final=[Door.SHUT])
