"""The partners' fixtures: a process of one's own, or one that many tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.partner_sims.harness import Partners, Platform, Start, receiving


@pytest.fixture
def platform() -> Iterator[Platform]:
    """The platform's place, answering 200 until told otherwise."""
    with receiving() as state:
        yield state


@pytest.fixture
def start(tmp_path: Path, platform: Platform) -> Iterator[Start]:
    """Start the partners with settings of one's own (names without the prefix)."""
    started: list[Partners] = []

    def begin(**settings: str) -> Partners:
        partners = Partners(tmp_path, platform.url, settings)
        started.append(partners)
        partners.start()
        return partners

    yield begin
    for partners in started:
        partners.close()


@pytest.fixture
def partners(start: Start) -> Partners:
    """Partners with short delays, this test's own."""
    return start()


@pytest.fixture(scope="session")
def _shared_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Partners]:
    with receiving() as platform:
        partners = Partners(tmp_path_factory.mktemp("partners"), platform.url, {})
        partners.start()
        yield partners
        partners.close()


@pytest.fixture
def shared(_shared_process: Partners) -> Partners:
    """One process for all tests that bring keys and VINs of their own; no faults, no mail."""
    _shared_process.http.delete("/faults")
    _shared_process.http.delete("/mail/messages")
    return _shared_process
