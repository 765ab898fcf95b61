"""`caas vehicles config`: what is wanted of a vehicle, what it reports, and the difference."""

import asyncio
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from caas.database import one_transaction
from core.clock import SystemClock
from core.contracts.wanted import Key, in_force
from core.settings import load


def config(
    vin: Annotated[str, typer.Argument(help="17 characters, no I, O, Q.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """What is wanted of a vehicle, what it reports, and the difference."""
    found = asyncio.run(_read(vin))
    if as_json:
        import msgspec

        typer.echo(msgspec.json.encode(found).decode())
        return
    console = Console(highlight=False)
    console.print(_summary(found))
    console.print(_table(found))


async def _read(vin: str) -> dict[str, Any]:
    from gateway.wanted import document
    from gateway.wanted.settings import WantedSettings

    now = SystemClock().now()
    async with one_transaction("caas_gateway") as conn:
        return await document.configuration(conn, vin, now, load(WantedSettings))


def _summary(found: dict[str, Any]) -> str:
    version = found["version"]
    wanted = (
        "nothing is wanted of it yet"
        if version is None
        else f"wanted: version {version}, {found['changed_at']:%Y-%m-%d %H:%M:%S} UTC, "
        f"{found['cause']}"
    )
    reported = (
        "it has not reported yet"
        if found["reported_at"] is None
        else f"reported: {found['reported_at']:%Y-%m-%d %H:%M:%S} UTC, command "
        f"{found['reported_seq']}, firmware {found['firmware']}"
    )
    drift = found["drift"]
    if drift is None:
        state = "in step" if not found["difference"] else "different (a delivery may be under way)"
    else:
        ticket = f", ticket {drift['ticket_number']}" if drift["ticket_number"] else ""
        reason = f", {drift['reason']}" if drift["reason"] else ""
        state = f"drift {drift['state']}: {drift['cause']}{reason}{ticket}"
    return f"{found['vin']} {found['model']}\n{wanted}\n{reported}\n{state}"


def _table(found: dict[str, Any]) -> Table:
    now = SystemClock().now()
    reported: dict[Key, Any] = {
        (item.module, item.parameter): item.value for item in found["reported"]
    }
    wanted = {item.key: item for item in found["wanted"]}
    differing = {item.key for item in found["difference"]}
    table = Table("parameter", "wanted", "until", "reported", "")
    for key in sorted(wanted.keys() | reported.keys()):
        item = wanted.get(key)
        table.add_row(
            ".".join(key),
            "" if item is None else str(in_force(item, now)),
            "" if item is None or item.until is None else f"{item.until:%Y-%m-%d %H:%M:%S}",
            str(reported[key]) if key in reported else "not reported",
            "differs" if key in differing else "",
        )
    return table
