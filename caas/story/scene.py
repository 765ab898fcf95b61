"""Who takes part in the story: the platform's doors, the people, and the car."""

import os
import re
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Self

from caas.story.client import Client, wait_for
from caas.story.timeline import Timeline

GOOD_CARD = "4242424242424242"


@dataclass(frozen=True, slots=True)
class Doors:
    """Addresses and logins the story needs; any platform that has them can tell it."""

    api: str
    partners: str
    sim: str
    dsn: str
    staff_password: str
    max_retries: int


@dataclass
class Scene:
    """What the chapters share: clients, the timeline, and what the earlier ones found out."""

    doors: Doors
    timeline: Timeline
    strike: Callable[[str], None]
    customer_mail: str
    platform: str = "AURORA"
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    order_id: str = ""
    vin: str = ""

    # Who is logged in; the customer comes with the sale.
    partners: Client = field(init=False)
    sim: Client = field(init=False)
    visitor: Client = field(init=False)
    sales: Client = field(init=False)
    support: Client = field(init=False)
    customer: Client = field(init=False)

    async def __aenter__(self) -> Self:
        self.partners = self._client(self.doors.partners)
        self.sim = self._client(self.doors.sim)
        self.visitor = self._client(self.doors.api)
        self.sales = await self.login("sales@dealer-es-001.example", self.doors.staff_password)
        self.support = await self.login("support@caas.example", self.doors.staff_password)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stack.aclose()

    async def login(self, username: str, password: str) -> Client:
        """A client that is logged in."""
        answer = await self.visitor.post(
            "/api/v1/auth/login", {"username": username, "password": password}
        )
        return self._client(self.doors.api, answer["accessToken"])

    async def card_token(self, pan: str = GOOD_CARD) -> str:
        """A payment token from the payment gateway's own card form; the platform sees no card."""
        answer = await self.partners.post(
            "/payments/_form/tokenize", {"pan": pan, "exp": "12/30", "cvv": "123"}
        )
        return answer["payment_token"]

    async def mail(
        self, subject: str, *, containing: str = "", within_s: float = 30.0
    ) -> dict[str, Any]:
        """The customer's newest e-mail whose subject and text have these."""

        async def read() -> list[dict[str, Any]]:
            answer = await self.partners.get(
                "/mail/messages", to=self.customer_mail, subject=subject
            )
            return [mail for mail in answer["messages"] if containing in mail["text"]]

        found = await wait_for(f"an e-mail about {subject!r}", read, bool, within_s=within_s)
        return found[0]

    async def ledger(self, activation_id: str) -> list[str]:
        """What the payment gateway did with the money of one activation, in order."""
        answer = await self.partners.get("/payments/_control/ledger", reference=activation_id)
        return [str(row["kind"]).upper() for row in answer["movements"]]

    async def car(self) -> dict[str, Any]:
        """The simulated car as it stands: what a driver would see."""
        return await self.sim.get(f"/vehicles/{self.vin}")

    async def car_has(self, module: str, parameter: str) -> Any:
        """The value the car itself has for a parameter."""
        for setting in (await self.car())["values"]:
            if (setting["module"], setting["parameter"]) == (module, parameter):
                return setting["value"]
        return None

    def _client(self, url: str, token: str | None = None) -> Client:
        client = Client(url, token)
        self.stack.push_async_callback(client.close)
        return client


def text_between(text: str, pattern: str) -> str:
    """The first group of ``pattern`` in ``text``; LookupError where it does not match."""
    found = re.search(pattern, text)
    if found is None:
        raise LookupError(f"nothing like {pattern!r} in {text[:300]!r}")
    return found.group(1)


def kill_9(pid: int | None) -> bool:
    """Kill a process the hard way; False when it does not run at the moment."""
    if pid is None:
        return False
    os.kill(pid, signal.SIGKILL)
    return True
