"""The broker's own figures as metrics."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from core.bus.start import BusHolder
from core.clock import SystemClock
from core.db import Database
from core.settings import SigningSettings, load
from gateway.broker_stats import part as broker_stats
from gateway.broker_stats.part import note
from gateway.parts import Gateway
from tests.broker_fixtures import RunningBroker, run_broker
from tests.gateway.conftest import eventually


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[RunningBroker]:
    """A broker whose only client is the test's.

    Mosquitto tells a figure only when it changed, and on the shared broker another test's client
    may leave as this one comes: the figure stands still and is never told.
    """
    yield from run_broker(tmp_path, "mosquitto")


async def test_the_brokers_figures_are_gauges(own_broker: RunningBroker, room: Database) -> None:
    gateway = Gateway(
        room,
        SystemClock(),
        BusHolder(),
        own_broker.settings("svc-gateway"),
        load(SigningSettings),
    )
    (follow,) = broker_stats.part(gateway).loops
    stop = asyncio.Event()
    following = asyncio.create_task(follow(stop))

    async def counted() -> bool:
        assert not following.done(), following.result()
        names = ("caas_broker_connections", "caas_broker_subscriptions")
        return all((REGISTRY.get_sample_value(name) or 0) >= 1 for name in names)

    await eventually(counted, "the broker tells what it has, this client and its filters among it")
    stop.set()
    await asyncio.wait_for(following, 20)


@pytest.mark.parametrize("payload", [b"", b"many", b"nan", b"\xff", b"1e999"])
def test_what_is_no_figure_leaves_the_gauge_alone(payload: bytes) -> None:
    note("$SYS/broker/store/messages/count", b"7")
    note("$SYS/broker/store/messages/count", payload)
    note("$SYS/broker/nobody/asked", b"1")
    assert REGISTRY.get_sample_value("caas_broker_messages_stored") == 7
