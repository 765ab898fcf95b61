"""`caas demo` on a terminal: what it shows is true, Ctrl-C ends all of it, its data stays."""

import re
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from caas.demo.secrets import STAFF_PASSWORD
from caas.story.client import Client
from core.ids import new_id
from tests.e2e.stage import clean_environment
from tests.e2e.terminal import CTRL_C, Terminal, caas_on_terminal
from tests.e2e.traces import ROOT, assert_nothing_left, processes_naming, use_free_ports
from tests.parts import require

pytestmark = pytest.mark.e2e

UP_S = 120.0
STOP_S = 45.0
VEHICLES = ("--vehicles", "3")
URL = re.compile(r"https?://[^\s│]+")
LOGIN = re.compile(r"(\S+@\S+\.example) / (\S+)")
DSN = re.compile(r"postgresql://\S+")


def wait_until_up(terminal: Terminal) -> str:
    """The screen with every address and login, and the first live line."""

    def whole(text: str) -> bool:
        return "CaaS is up" in text and "vehicles online" in text and "samples stored" in text

    return terminal.wait_for(whole, "its screen", UP_S)


def assert_refused(base: Path, arguments: list[str]) -> None:
    """One line says that the demo runs already."""
    said = subprocess.run(
        [sys.executable, "-m", "caas", *arguments],
        cwd=ROOT,
        env={**clean_environment(), "CAAS_DATA_DIR": str(base)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=STOP_S,
        check=False,
    )
    assert said.returncode == 1
    (line,) = said.stdout.splitlines()
    assert "already runs" in line
    assert str(base / "demo") in line


def stop(terminal: Terminal) -> None:
    terminal.press(CTRL_C)
    assert terminal.end(STOP_S) == 0
    assert "All stopped." in terminal.text


@asynccontextmanager
async def sales_of(screen: str) -> AsyncGenerator[Client]:
    """The sales employee whose login is on the screen."""
    api = next(url for url in URL.findall(screen) if url.endswith("/docs")).removesuffix("/docs")
    visitor = Client(api)
    answer = await visitor.post(
        "/api/v1/auth/login",
        {"username": "sales@dealer-es-001.example", "password": STAFF_PASSWORD},
    )
    sales = Client(api, answer["accessToken"])
    try:
        yield sales
    finally:
        await sales.close()
        await visitor.close()


async def orders(sales: Client) -> list[str]:
    listed = await sales.get("/api/v1/intranet/orders")
    return [order["orderId"] for order in listed["orders"]]


async def check_screen(screen: str) -> None:
    """Every address answers, every login is good."""
    urls = URL.findall(screen)
    assert len(urls) >= 5
    async with httpx.AsyncClient(trust_env=False, timeout=15) as client:
        for url in urls:
            answer = await client.get(url)
            assert answer.status_code == 200, url
    logins = LOGIN.findall(screen)
    assert len(logins) == 5
    async with sales_of(screen) as sales:
        for username, password in logins:
            answer = await sales.post(
                "/api/v1/auth/login", {"username": username, "password": password}
            )
            assert answer["accessToken"]
    (dsn,) = DSN.findall(screen)
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        assert await (await connection.execute("SELECT 1 FROM config.service_v1")).fetchone()


async def test_up_shown_stopped_and_up_again(base: Path) -> None:
    require("mosquitto")
    data_dir = base / "demo"
    use_free_ports(data_dir)
    with caas_on_terminal(base, ["demo", *VEHICLES]) as first:
        screen = wait_until_up(first)
        await check_screen(screen)
        async with sales_of(screen) as sales:
            assert await orders(sales) == []
            order = await sales.post("/api/v1/intranet/orders", sale())
        for another in (["demo", *VEHICLES], ["demo", "--reset"]):
            assert_refused(base, another)
        stop(first)
    assert_nothing_left(data_dir)

    with caas_on_terminal(base, ["demo", *VEHICLES]) as again:
        async with sales_of(wait_until_up(again)) as sales:
            assert await orders(sales) == [order["orderId"]]
        stop(again)
    assert_nothing_left(data_dir)

    with caas_on_terminal(base, ["demo", "--reset"]) as reset:
        assert reset.end(STOP_S) == 0
    assert not data_dir.exists()


def test_ctrl_c_while_it_comes_up(base: Path) -> None:
    data_dir = base / "demo"
    use_free_ports(data_dir)
    with caas_on_terminal(base, ["demo", *VEHICLES]) as terminal:
        terminal.wait_for(lambda text: "postgres" in text, "its first part", UP_S)
        terminal.press(CTRL_C)
        assert terminal.end(STOP_S) == 0, terminal.text
        assert "Traceback" not in terminal.text
    assert_nothing_left(data_dir)


def test_ctrl_c_in_the_story_is_not_its_good_end(base: Path) -> None:
    with caas_on_terminal(base, ["demo", "--once", *VEHICLES]) as terminal:
        terminal.wait_for(lambda text: "The factory" in text, "its second chapter", UP_S)
        terminal.press(CTRL_C)
        assert terminal.end(STOP_S) == 1
    assert "SIGINT ended the story early" in terminal.text
    assert "NOT all held" in terminal.text
    assert_nothing_left(base / "once")


def test_a_part_that_does_not_start_says_why(base: Path) -> None:
    data_dir = base / "demo"
    use_free_ports(data_dir)
    # Where the partner simulators want their folder there is a file.
    (data_dir / "partners").write_text("not a folder", encoding="utf-8")
    with caas_on_terminal(base, ["demo", *VEHICLES]) as terminal:
        assert terminal.end(UP_S) == 1
    assert "partner-sims" in terminal.text
    assert "File exists" in terminal.text or "Not a directory" in terminal.text
    assert "partner-sims.log" in terminal.text
    assert_nothing_left(data_dir)


@pytest.mark.parametrize("name", ["secrets.json", "fleet.json"])
def test_a_file_of_its_own_that_is_spoilt_is_named(base: Path, name: str) -> None:
    data_dir = base / "demo"
    use_free_ports(data_dir)
    (data_dir / name).write_text("{", encoding="utf-8")
    with caas_on_terminal(base, ["demo", *VEHICLES]) as terminal:
        assert terminal.end(UP_S) == 1
    assert str(data_dir / name) in terminal.text
    assert "Traceback" not in terminal.text
    assert processes_naming(data_dir) == {}


def sale() -> dict[str, object]:
    """A sale as the intranet takes it."""
    address = {"street": "Calle 1", "city": "Madrid", "postalCode": "28014", "country": "ES"}
    return {
        "customer": {
            "name": "Lucía",
            "email": f"lucia.{new_id().hex[-8:]}@customers.example",
            "phone": "+34 600 000 000",
            "address": address,
            "taxId": "12345678Z",
        },
        "platform": "AURORA",
        "plan": {"color": "blue", "interior": "black"},
        "deliveryAddress": address,
    }
