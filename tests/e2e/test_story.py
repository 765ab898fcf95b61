"""Issue 2: the whole chain from nothing, on real parts, by one command."""

from pathlib import Path

import pytest

from tests.e2e.demo import tell_once
from tests.e2e.traces import assert_nothing_left
from tests.parts import require

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("broker", ["mosquitto", "amqtt"])
def test_every_check_holds_and_nothing_is_left(base: Path, broker: str) -> None:
    if broker == "mosquitto":
        require("mosquitto")
    told = tell_once(base, "--broker", broker)
    told.check()
    assert_nothing_left(base / "once")
