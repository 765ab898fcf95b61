"""A Mosquitto of each test's own, and the gateway's keeper of its accounts."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from core.bus import Bus, Subscription, Will, open_bus
from core.bus.start import BusHolder
from core.clock import SystemClock
from core.db import Database
from core.settings import SigningSettings, load
from gateway.accounts.keeper import Keeper
from gateway.accounts.settings import AccountsSettings
from gateway.parts import Gateway
from tests.broker_fixtures import RunningBroker, run_broker
from tests.gateway.conftest import PREFIX, VIN, eventually

Keeping = Callable[[], AbstractAsyncContextManager[None]]
SETTINGS = load(AccountsSettings, recheck_s=1.0, grace_s=1.5, will_wait_s=0.3, deadline_s=5.0)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where Mosquitto's own user may go: started by root, it drops to it."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o711)
        yield path


@pytest.fixture
def broker(folder: Path) -> Iterator[RunningBroker]:
    """Mosquitto, fresh: no account of another test."""
    yield from run_broker(folder, "mosquitto")


@pytest.fixture
def gateway(room: Database, broker: RunningBroker) -> Gateway:
    return Gateway(
        room, SystemClock(), BusHolder(), broker.settings("svc-gateway"), load(SigningSettings)
    )


@pytest.fixture
def keeping(gateway: Gateway) -> Keeping:
    """The gateway's keeper, for a block."""

    @asynccontextmanager
    async def keep() -> AsyncGenerator[None]:
        bus = open_bus(gateway.bus_settings, client_id="caas-gateway-0")
        await bus.start()
        gateway.bus.bus = bus
        task = asyncio.create_task(Keeper(gateway, SETTINGS).run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await bus.close()

    return keep


@asynccontextmanager
async def signed_in(
    broker: RunningBroker, secret: str, *, vin: str = VIN, will: Will | None = None
) -> AsyncGenerator[Bus]:
    """A vehicle with an open connection."""
    broker.secrets[vin] = secret
    bus = open_bus(
        broker.settings(vin),
        client_id=vin,
        subscriptions=[Subscription(f"{PREFIX}/{vin}/cmd")],
        will=will,
        role="test",
    )
    await bus.start()
    try:
        yield bus
    finally:
        await bus.close(drop=True)


async def is_let_in(broker: RunningBroker, secret: str, vin: str = VIN) -> bool:
    return await asyncio.to_thread(broker.can_log_in, vin, secret)


async def ends(bus: Bus) -> None:
    """The connection is cut: it cannot come back with what it signed in with."""

    async def gone() -> bool:
        return not bus.connected

    await eventually(gone, "the open connection ends")
