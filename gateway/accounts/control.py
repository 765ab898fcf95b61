"""A line to the control topic of the broker's dynamic security plugin: commands and answers."""

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import core.log
from core.bus import Bus, Subscription
from core.bus.open import open_bus
from core.bus.port import BusUnavailable, OnConnect, PublishFailed
from core.errors import Conflict, DomainError
from core.settings import BusSettings
from gateway.accounts.commands import Account, Command, is_harmless, read_accounts

log = core.log.get(__name__)

TOPIC = "$CONTROL/dynamic-security/v1"
RESPONSES = f"{TOPIC}/response"
DEADLINE_S = 5.0
_PAGE = 500


class ControlFailed(DomainError):
    """The plugin said no; ``message`` has its words."""

    def __init__(self, message: str) -> None:
        super().__init__("ACCOUNT_REFUSED", f"the broker did not change an account: {message}")


class Control:
    """Speaks to the plugin over a bus of its own, which :func:`open_control` opens."""

    def __init__(self, bus: Bus, *, deadline_s: float = DEADLINE_S) -> None:
        self._bus = bus
        self._deadline_s = deadline_s
        self._waiting: dict[str, asyncio.Future[list[Command]]] = {}

    @property
    def connected(self) -> bool:
        return self._bus.connected

    async def run(self, commands: Sequence[Command], *, deadline_s: float | None = None) -> None:
        """Have it do all of them. ControlFailed: it did not do one; else as :meth:`ask`."""
        if not commands:
            return
        for response in await self.ask(commands, deadline_s=deadline_s):
            if "error" in response and not is_harmless(response):
                raise ControlFailed(f"{response.get('command')}: {response['error']}")

    async def ask(
        self, commands: Sequence[Command], *, deadline_s: float | None = None
    ) -> list[Command]:
        """Its answers. BusUnavailable: none within the deadline; Conflict: it has no plugin."""
        number = secrets.token_hex(8)
        answer: asyncio.Future[list[Command]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        tagged = [{**command, "correlationData": number} for command in commands]
        limit_s = deadline_s or self._deadline_s
        try:
            await self._bus.publish(
                TOPIC, json.dumps({"commands": tagged}).encode(), timeout_s=limit_s
            )
            async with asyncio.timeout(limit_s):
                return await answer
        except PublishFailed as error:
            raise Conflict("NO_LIVE_ACCOUNTS", f"no account can be changed: {error}") from None
        except TimeoutError:
            raise BusUnavailable(
                f"the broker's dynamic security plugin does not answer within {limit_s:g} s"
            ) from None
        finally:
            del self._waiting[number]

    async def account(self, user: str) -> Account | None:
        """One account of the overlay."""
        (answer,) = await self.ask([{"command": "getClient", "username": user}])
        found = answer.get("data", {}).get("client")
        return read_accounts([found])[0] if found else None

    async def accounts(self) -> dict[str, Account]:
        """User → account, of the whole overlay."""
        found: dict[str, Account] = {}
        offset, total = 0, 1
        while offset < total:
            (answer,) = await self.ask(
                [{"command": "listClients", "verbose": True, "count": _PAGE, "offset": offset}]
            )
            data = answer.get("data", {})
            found |= {account.user: account for account in read_accounts(data.get("clients", ()))}
            offset, total = offset + _PAGE, int(data.get("totalCount", 0))
        return found

    async def role(self, name: str) -> Command | None:
        """A role as the plugin describes it."""
        (answer,) = await self.ask([{"command": "getRole", "rolename": name}])
        return answer.get("data", {}).get("role")

    async def read(self) -> None:
        """Take answers in; runs until the bus is closed."""
        async for message in self._bus.messages():
            self._bus.ack(message)
            for number, responses in _by_number(message.payload).items():
                waiting = self._waiting.get(number)
                # Answers to everybody's commands come here.
                if waiting is not None and not waiting.done():
                    waiting.set_result(responses)


def _by_number(payload: bytes) -> dict[str, list[Command]]:
    found: dict[str, list[Command]] = {}
    try:
        responses = json.loads(payload)["responses"]
        for response in cast("list[Any]", responses):
            found.setdefault(str(response.get("correlationData")), []).append(response)
    except (ValueError, KeyError, TypeError, AttributeError):
        log.warning("an answer of the broker's plugin cannot be read", bytes=len(payload))
    return found


@asynccontextmanager
async def open_control(
    settings: BusSettings,
    *,
    client_id: str | None = None,
    deadline_s: float = DEADLINE_S,
    on_connect: OnConnect | None = None,
) -> AsyncGenerator[Control]:
    """A line for the block. BusUnavailable: no broker within the deadline; BusRefused: it says no.

    The account of ``settings`` needs the rights to ``TOPIC`` and ``RESPONSES``.
    """
    bus = open_bus(
        settings,
        client_id=client_id or f"caas-accounts-{secrets.token_hex(6)}",
        subscriptions=[Subscription(RESPONSES)],
        on_connect=on_connect,
        session_expiry_s=0,
        role="accounts",
    )
    control = Control(bus, deadline_s=deadline_s)
    reading: asyncio.Task[None] | None = None
    try:
        try:
            async with asyncio.timeout(deadline_s):
                await bus.start()
        except TimeoutError:
            raise BusUnavailable(
                f"no broker at {settings.host}:{settings.port} within {deadline_s:g} s"
            ) from None
        reading = asyncio.create_task(control.read())
        yield control
    finally:
        await bus.close()
        if reading is not None:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
