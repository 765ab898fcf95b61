"""The workshops' client against answers no contract foresees, and a token server that hangs."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from api.partners.http import PartnerClient, PartnerUnavailable
from api.partners.vss import VssClient
from api.partners.vss_auth import ClientCredentials
from api.services.maintenance import parse

VIN = "VF1AURRA000000017"


class Workshops(httpx.AsyncBaseTransport):
    """Gives a token, then one answer."""

    def __init__(self, answer: str) -> None:
        self.answer = answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/oauth/token"):
            return httpx.Response(200, json={"access_token": "t", "expires_in": 600})
        return httpx.Response(200, text=self.answer)


def vss(answer: str) -> VssClient:
    auth = ClientCredentials("http://vss/oauth/token", "caas", "secret")
    transport = Workshops(answer)
    return VssClient(
        PartnerClient("vss", "http://vss", timeout_s=1, auth=auth, transport=transport)
    )


def status(compliance: str, name: str = '"ENGINE"') -> str:
    return (
        f'{{"vin": "{VIN}", "warranty_active": true, "functional_blocks":'
        f' [{{"block_id": {name}, "compliance_percentage": {compliance}}}]}}'
    )


@pytest.mark.parametrize(
    "answer",
    [status("NaN"), status("1e999"), status("-Infinity"), status("1", r'"a\u0000b"'), "[" * 5000],
)
async def test_what_is_no_json_or_cannot_be_kept_is_no_answer(answer: str) -> None:
    with pytest.raises(PartnerUnavailable):
        await vss(answer).maintenance_status(VIN)


async def test_a_number_beyond_all_bounds_is_not_known() -> None:
    body = await vss(status("9" * 400)).maintenance_status(VIN)
    assert parse(body).blocks[0].compliance is None


@pytest.fixture
async def silent_server() -> AsyncIterator[str]:
    """Takes connections and never says a word."""
    open_writers: list[asyncio.StreamWriter] = []

    async def take(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_writers.append(writer)

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    for writer in open_writers:
        writer.close()
    await server.wait_closed()


async def test_a_token_server_that_hangs_is_given_up(silent_server: str) -> None:
    auth = ClientCredentials(f"{silent_server}/oauth/token", "caas", "secret")
    client = PartnerClient("vss", silent_server, timeout_s=0.2, auth=auth)
    try:
        async with asyncio.timeout(10):
            with pytest.raises(PartnerUnavailable):
                await VssClient(client).maintenance_status(VIN)
    finally:
        await client.close()
