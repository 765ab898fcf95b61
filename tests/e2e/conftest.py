"""Fixtures of the end-to-end tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.traces import place


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder for a demo's data."""
    with place() as folder:
        yield folder
