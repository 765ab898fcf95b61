"""The API's own pages, in a real browser that reaches nothing but this machine."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import quote

import httpx
import pytest

from api.app import create_app
from api.deps import ApiDeps
from api.identity import service
from caas.supervisor.ports import free_port
from core.ids import new_id
from core.ops import HttpServer
from tests.browser import Page, chromium

PASSWORD = "my own password"
TYPE = """
document.getElementById("password").value = {password!r};
document.getElementById("repeated").value = {repeated!r};
document.getElementById("form").requestSubmit();
"""


@pytest.fixture
async def url(deps: ApiDeps) -> AsyncIterator[str]:
    port, stop = free_port(), asyncio.Event()
    serving = asyncio.create_task(HttpServer(create_app(deps), "127.0.0.1", port).run(stop))
    base = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient() as client, asyncio.timeout(30):
        while True:
            try:
                await client.get(f"{base}/healthz")
                break
            except httpx.TransportError:
                await asyncio.sleep(0.02)
    yield base
    stop.set()
    await serving


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with chromium() as opened:
        yield opened


async def link(deps: ApiDeps) -> str:
    """The path and query of a new customer's activation link."""
    customer = new_id()
    async with deps.database.transaction() as conn:
        await conn.execute(
            "INSERT INTO customers.customer (customer_id, name, email, phone, address, tax_id)"
            " VALUES (%(id)s, 'Eva', 'eva@example.com', '+34', '{}', '1')",
            {"id": customer},
        )
        user_id = await service.create_customer_account(
            conn, customer_id=customer, email="eva@example.com"
        )
        issued = await service.issue_credentials(conn, deps.settings.api, user_id, deps.clock.now())
    return issued.activation_url.removeprefix(deps.settings.api.public_url)


async def login(url: str, password: str) -> str:
    """The answer's code; a customer without a purchase gets in as far as that."""
    async with httpx.AsyncClient(base_url=url) as client:
        body = {"username": "eva@example.com", "password": password}
        answer = await client.post("/api/v1/auth/login", json=body)
    return answer.json()["error"]["code"]


async def said(page: Page) -> str:
    return await page.until("document.getElementById('status')?.textContent")


async def test_the_link_of_the_mail_sets_the_password(url: str, deps: ApiDeps, page: Page) -> None:
    await page.open(url + await link(deps))
    await page.until("document.getElementById('form')?.hidden === false")
    await page.evaluate(TYPE.format(password=PASSWORD, repeated="another password"))
    assert "not the same" in await said(page)
    await page.evaluate(TYPE.format(password=PASSWORD, repeated=PASSWORD))
    await page.until("document.getElementById('status').textContent.includes('is active')")
    assert await page.evaluate("location.search") == ""
    assert await login(url, PASSWORD) == "NO_PURCHASE"
    assert await login(url, "wrong password") == "INVALID_CREDENTIALS"


async def test_a_link_that_is_over_says_so(url: str, page: Page) -> None:
    await page.open(f"{url}/activate?token=over")
    await page.until("document.getElementById('form')?.hidden === false")
    await page.evaluate(TYPE.format(password=PASSWORD, repeated=PASSWORD))
    await page.until("document.getElementById('status').textContent.includes('not valid')")


async def test_nothing_of_the_query_becomes_part_of_the_page(url: str, page: Page) -> None:
    evil = '"><img src=x onerror="document.title=1"><script>document.title=2</script>'
    await page.open(f"{url}/activate?token={quote(evil)}")
    await page.until("document.title.startsWith('CaaS –')")
    html = await page.evaluate("document.documentElement.outerHTML")
    assert "onerror" not in html
    async with httpx.AsyncClient() as client:
        raw = (await client.get(f"{url}/activate", params={"token": evil})).text
    assert "onerror" not in raw


@pytest.mark.parametrize("path", ["/", "/activate", "/pages/activate.js", "/pages/style.css"])
async def test_pages_allow_no_foreign_and_no_inline_code(
    client: httpx.AsyncClient, path: str
) -> None:
    answer = await client.get(f"http://test{path}", params={"token": "t"})
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"


async def test_every_link_of_the_first_page_leads_somewhere(url: str, page: Page) -> None:
    await page.open(url)
    links = await page.until(
        "document.readyState === 'complete' && Array.from(document.links, a => a.href)"
    )
    assert f"{url}/docs" in links
    async with httpx.AsyncClient() as client:
        for target in links:
            assert (await client.get(target)).status_code == 200, target


async def test_the_documentation_needs_no_internet(url: str, page: Page) -> None:
    await page.open(f"{url}/docs")
    await page.until("document.querySelectorAll('.opblock').length > 10")
    assert page.requested
    assert all(asked.startswith((url, "data:")) for asked in page.requested)
