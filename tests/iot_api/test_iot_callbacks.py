"""The signed callback: at least once, then a dead letter."""

import asyncio
import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any

import pytest
from typer.testing import CliRunner

from caas.cli import app
from core.errors import Invalid
from gateway.iot_api import callbacks, clients
from tests.gateway.conftest import eventually
from tests.iot_api.world import VIN, World
from tests.partner_sims.harness import Platform, receiving


def signed(world: World, received: Any) -> bool:
    secret = world.secrets["fleet-app"].callback_secret
    assert secret is not None
    digest = hmac.new(secret.encode(), received.raw, hashlib.sha256).hexdigest()
    return received.headers["X-Signature"] == digest


async def test_the_end_of_a_command_is_told(world: World) -> None:
    with receiving() as caller:
        headers = await world.client(callback_url=f"{caller.url}/caas/webhooks/ota-status")
        accepted = (await world.configure(headers, "order-7")).json()
        await eventually(lambda: received(caller, 1), "the callback came")
        (first,) = caller.received
        assert first.path == "/caas/webhooks/ota-status"
        assert signed(world, first)
        body = first.body
        assert (body["requestId"], body["commandId"]) == ("order-7", accepted["commandId"])
        assert (body["vin"], body["status"], body["errorCode"]) == (VIN, "ACTIVATED", None)

        world.car.mood = "refuse"
        await world.configure(headers, "order-8")
        await eventually(lambda: received(caller, 2), "the callback came")
        assert caller.received[1].body["status"] == "FAILED"
        assert caller.received[1].body["errorCode"] == "INCOMPATIBLE"


async def test_a_callback_nobody_takes_is_a_dead_letter(world: World) -> None:
    with receiving() as caller:
        caller.status = 500
        headers = await world.client(callback_url=f"{caller.url}/ota")
        await world.configure(headers, "r")

        async def dead() -> bool:
            async with world.room.transaction() as conn:
                return bool(await callbacks.list_callbacks(conn, state="DEAD"))

        await eventually(dead, "the callback is given up")
        assert len(caller.received) == 3
        assert len({item.headers["X-Webhook-Id"] for item in caller.received}) == 1
        caller.status = 200
        listed = await asyncio.to_thread(CliRunner().invoke, app, ["iot", "callbacks"])
        assert "DEAD" in listed.output
        retried = await asyncio.to_thread(CliRunner().invoke, app, ["iot", "retry"])
        assert "1 to be sent again" in retried.output
        await eventually(lambda: received(caller, 4), "the dead letter came")
        assert signed(world, caller.received[3])


async def test_a_revoked_client_is_told_nothing_more(world: World) -> None:
    with receiving() as caller:
        caller.status = 500
        headers = await world.client(callback_url=caller.url, telemetry_url=caller.url)
        accepted = (await world.configure(headers, "r")).json()
        await world.ended(headers, accepted["commandId"])
        async with world.room.transaction() as conn:
            # As between two tries.
            await conn.execute(
                "UPDATE gateway.iot_callback SET next_at = now() + interval '1 hour',"
                " state = 'PENDING'"
            )
        async with world.room.transaction() as conn:
            await clients.revoke(conn, "fleet-app")
            (dead,) = await callbacks.list_callbacks(conn)
            assert (dead.state, dead.last_answer) == ("DEAD", "client revoked")
            assert await callbacks.revive(conn, datetime.now(UTC)) == 0


async def test_the_command_line_makes_and_ends_a_client(world: World) -> None:
    def caas(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["iot", *arguments])

    made = await asyncio.to_thread(caas, "create", "shell-app", "--vin", VIN)
    assert made.exit_code == 0, made.output
    secret = made.output.split("client secret")[1].split()[0]
    headers = await world.token("shell-app", secret)
    assert (await world.configure(headers, "r")).status_code == 202
    assert "shell-app" in (await asyncio.to_thread(caas, "list")).output
    again = await asyncio.to_thread(caas, "create", "shell-app")
    assert "there is a client" in str(again.exception)
    await asyncio.to_thread(caas, "forbid", "shell-app", VIN)
    assert (await world.configure(headers, "r2")).status_code == 403
    await asyncio.to_thread(caas, "allow", "shell-app", VIN)
    rotated = await asyncio.to_thread(caas, "rotate", "shell-app")
    await world.token("shell-app", rotated.output.split()[2])
    # After a leak: the secret, and what was had for it.
    again = await asyncio.to_thread(caas, "rotate", "shell-app", "--now")
    assert (await world.configure(headers, "r")).status_code == 401
    form = {"grant_type": "client_credentials"}
    for old in (secret, rotated.output.split()[2]):
        answer = await world.http.post("/oauth/token", data=form, auth=("shell-app", old))
        assert answer.status_code == 401
    headers = await world.token("shell-app", again.output.split()[2])
    await asyncio.to_thread(caas, "revoke", "shell-app")
    assert (await world.configure(headers, "r")).status_code == 401


@pytest.mark.parametrize(
    "url", ["http://a.example/", "ftp://a.example/", "https://", "https://u:p@a.example/", "x"]
)
def test_callbacks_go_to_https_only(url: str) -> None:
    with pytest.raises(Invalid):
        clients.check_url(url, allow_http=False)
    clients.check_url("https://a.example/ota", allow_http=False)


async def received(caller: Platform, count: int) -> bool:
    return len(caller.received) >= count
