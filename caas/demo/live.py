"""The live line: what the fleet and the platform do at this moment."""

import asyncio
from typing import Any, cast

import httpx
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.status import Status

from caas.demo.platform import Running

EVERY_S = 1.0
PLAIN_EVERY_S = 10.0


async def show_live_line(running: Running, console: Console) -> None:
    """Show the line until cancelled; once in ten seconds where there is no terminal."""
    async with httpx.AsyncClient(timeout=2.0, trust_env=False) as client:
        if not console.is_terminal:
            while True:
                console.print(await _line(running, client))
                await asyncio.sleep(PLAIN_EVERY_S)
        with Status("", console=console) as status:
            while True:
                status.update(await _line(running, client))
                await asyncio.sleep(EVERY_S)


async def _line(running: Running, client: httpx.AsyncClient) -> str:
    fleet, stored = await asyncio.gather(_fleet(running, client), _stored(running, client))
    return f"{fleet} · {stored}"


async def _fleet(running: Running, client: httpx.AsyncClient) -> str:
    try:
        answer = await client.get(f"{running.layout.url('sim')}/summary")
        seen = cast("dict[str, Any]", answer.raise_for_status().json())
    except (httpx.HTTPError, ValueError):
        return "fleet: no answer"
    return (
        f"{seen['connected']}/{seen['vehicles']} vehicles online, {seen['driving']} driving · "
        f"{seen['messages_sent']} messages sent · commands: {seen['applied']} applied, "
        f"{seen['deferred']} deferred, {seen['rejected']} rejected"
    )


async def _stored(running: Running, client: httpx.AsyncClient) -> str:
    try:
        answer = await client.get(f"{running.layout.url('telemetry')}/metrics")
        samples = _total(answer.raise_for_status().text, "caas_telemetry_samples_stored")
    except httpx.HTTPError:
        return "telemetry: no answer"
    return f"{samples:.0f} samples stored"


def _total(text: str, name: str) -> float:
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        if family.name == name
        for sample in family.samples
        if sample.name.endswith("_total")
    )
