"""No bytes on any topic make a decoder do anything but use or refuse them."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.decoders import PREFIX, TOPICS, VIN, check, good
from tests.fuzz.mutations import Sent, messages

ROOT = Path(__file__).parents[2]
# What a search found once; each must stay refused, or used.
FOUND = {
    "bytes that are no UTF-8 under a name nobody knows": (
        "presence",
        b'{"state":"ONLINE","at":"2026-11-24T07:59:59Z","session":"s","boot":1,"\xe5x":1}',
    ),
    "and in a value nobody reads": (
        "presence",
        b'{"state":"ONLINE","at":"2026-11-24T07:59:59Z","session":"s","boot":1,"x":"\xe5"}',
    ),
    "a time that is in the year 10000 in UTC": (
        "status",
        good()["status"].replace(
            b'"since": "2026-11-24T08:00:00.000Z"', b'"since": "9999-12-31T23:59:59.999-14:00"'
        ),
    ),
}


@pytest.mark.parametrize("what", FOUND)
def test_what_was_found_once(what: str) -> None:
    topic, payload = FOUND[what]
    check(f"{PREFIX}/{VIN}/{topic}", payload)


@pytest.mark.parametrize("topic", sorted(good()))
def test_good_messages_are_used(topic: str) -> None:
    check(f"{PREFIX}/{VIN}/{topic}", good()[topic])
    assert not Sent(topic, good()[topic]).hopeless


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(messages(), st.sampled_from(TOPICS))
def test_changed_messages(sent: Sent, elsewhere: str) -> None:
    check(f"{PREFIX}/{VIN}/{sent.topic}", sent.payload)
    check(elsewhere, sent.payload)


def search(folder: Path, *limits: str) -> str:
    """Run the search guided by coverage; its output. AssertionError with the finding."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.search", str(folder), *limits],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stderr


# Only where there is a wheel of atheris (Linux on x86-64); the tests above run everywhere.
if find_spec("atheris") is not None:

    def test_a_short_search_guided_by_coverage(tmp_path: Path) -> None:
        said = search(tmp_path, "-runs=20000")
        assert "Done 20000 runs" in said
        assert "NEW" in said, "nothing was learnt: are the decoders instrumented?"

    @pytest.mark.proof
    def test_a_long_search_guided_by_coverage(tmp_path: Path) -> None:
        assert "Done " in search(tmp_path, "-max_total_time=240")
