"""A real Chromium for tests of pages, without internet, spoken to over its debugging pipe."""

import asyncio
import itertools
import json
import os
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from tests.parts import require

START_S = 60.0
ANSWER_S = 30.0


class Page:
    """One tab; every call is a command of the DevTools protocol."""

    def __init__(self, reader: asyncio.StreamReader, write: int) -> None:
        self._reader, self._write = reader, write
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self.requested: list[str] = []

    async def command(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        async with asyncio.timeout(START_S if self._session is None else ANSWER_S):
            while True:
                answer = json.loads((await self._reader.readuntil(b"\0"))[:-1])
                if answer.get("method") == "Network.requestWillBeSent":
                    self.requested.append(answer["params"]["request"]["url"])
                if answer.get("id") == number:
                    assert "error" not in answer, answer
                    return answer["result"]

    async def attach(self) -> None:
        target = await self.command("Target.createTarget", url="about:blank")
        session = await self.command(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        self._session = session["sessionId"]
        await self.command("Network.enable")

    async def open(self, url: str) -> None:
        await self.command("Page.navigate", url=url)

    async def evaluate(self, script: str) -> Any:
        """The value of an expression in the page; None where there is none (yet)."""
        answer = await self.command("Runtime.evaluate", expression=script, returnByValue=True)
        return answer["result"].get("value")

    async def until(self, script: str) -> Any:
        """The first true value of an expression; AssertionError with the page after a while."""
        loop = asyncio.get_running_loop()
        end = loop.time() + ANSWER_S
        while loop.time() < end:
            value = await self.evaluate(script)
            if value:
                return value
            await asyncio.sleep(0.05)
        body = await self.evaluate("document.documentElement.outerHTML")
        raise AssertionError(f"{script} did not come true in {body}")


@asynccontextmanager
async def chromium(language: str = "en") -> AsyncGenerator[Page]:
    """A page in a browser of its own that reaches this machine only."""
    program = require("chromium")
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()

    def pipes_to_3_and_4() -> None:
        os.dup2(to_read, 3)
        os.dup2(from_write, 4)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = await asyncio.create_subprocess_exec(
            str(program),
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", f"--lang={language}", f"--user-data-dir={profile}",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            "--remote-debugging-pipe", "about:blank",
            preexec_fn=pipes_to_3_and_4,
            pass_fds=(3, 4),
            env={**os.environ, "LANGUAGE": language, "LANG": f"{language}_US.UTF-8"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_read)
        os.close(from_write)
        reader = asyncio.StreamReader(limit=2**24)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(from_read, "rb")
        )
        page = Page(reader, to_write)
        try:
            await page.attach()
            yield page
        finally:
            browser.kill()
            await browser.wait()
            transport.close()
            os.close(to_write)
