"""The broker's own figures as metrics."""

import asyncio

import pytest
from prometheus_client import REGISTRY

from core.bus.start import BusHolder
from core.clock import SystemClock
from core.db import Database
from core.settings import SigningSettings, load
from gateway.broker_stats import part as broker_stats
from gateway.broker_stats.part import note
from gateway.parts import Gateway
from tests.broker_fixtures import RunningBroker
from tests.gateway.conftest import eventually


async def test_the_brokers_figures_are_gauges(
    mosquitto_broker: RunningBroker, room: Database
) -> None:
    gateway = Gateway(
        room,
        SystemClock(),
        BusHolder(),
        mosquitto_broker.settings("svc-gateway"),
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
