"""One broker with every door open for the tests here, and who reads its log."""

from collections.abc import Iterator

import pytest

from tests.broker.judge import Judge
from tests.broker.raw import ACCEPTED, Raw
from tests.broker.world import A, World, running


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(tmp_path_factory.mktemp("attacked")) as made:
        yield made


@pytest.fixture
def judge(world: World) -> Iterator[Judge]:
    """Reads the log from here on. Whatever was done, the broker serves the services after it."""
    yield Judge(world.log)
    world.service("svc-monitor").__exit__()


@pytest.fixture(params=["certificate", "secret"])
def attacker(request: pytest.FixtureRequest, world: World) -> Iterator[Raw]:
    """Vehicle A, signed in with what it rightly has."""
    made = (
        world.at_certificates(world.certificate(A))
        if request.param == "certificate"
        else world.at_secrets(world.by_secret(A))
    )
    with made as raw:
        assert raw.connect(A) == ACCEPTED
        yield raw
