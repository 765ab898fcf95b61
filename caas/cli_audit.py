"""`caas audit …`: the command log, and the proof that it is whole."""

import asyncio
import json
import re
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from caas.database import one_transaction
from core.clock import SystemClock, rfc3339
from core.errors import DomainError, Invalid

audit_app = typer.Typer(help="The log of every command, and the proof that it is whole.")

_ROLE = "caas_gateway"
_EXPECTED = re.compile(r"(\d+):([0-9a-f]{64})")
Vin = Annotated[str | None, typer.Option(help="Only this vehicle's.")]
AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]


@audit_app.command()
def verify(
    vin: Vin = None,
    expect: Annotated[
        str | None,
        typer.Option(
            help="NUMBER:HASH of a checkpoint noted down earlier (`caas audit checkpoint`)."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Recompute the hash chain of every command; exit 1 at the first break."""
    from gateway.commands import audit

    expected = None if expect is None else _parse(expect)

    async def call() -> audit.Unbroken:
        hidden = as_json or not Console(stderr=True).is_terminal
        with Progress(console=Console(stderr=True), transient=True, disable=hidden) as progress:
            task = progress.add_task("verifying", total=None)
            async with one_transaction(_ROLE) as conn:
                return await audit.verify(
                    conn,
                    vin=vin,
                    expect=expected,
                    on_progress=lambda done, total: progress.update(
                        task, completed=done, total=total
                    ),
                )

    try:
        found = asyncio.run(call())
    except audit.Broken as broken:
        if not as_json:
            raise
        typer.echo(json.dumps({"unbroken": False, "where": broken.message}))
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps({"unbroken": True, **asdict(found)}))
        return
    typer.echo(
        f"unbroken: {found.commands} commands of {found.vehicles} vehicles, "
        f"{found.checkpoints} checkpoints"
    )


@audit_app.command()
def checkpoint() -> None:
    """Make a checkpoint now and print it: note it down where the database's owner cannot write."""
    from gateway.commands import audit

    async def call() -> audit.LastCheckpoint | None:
        async with one_transaction(_ROLE) as conn:
            await audit.checkpoint(conn, SystemClock())
            return await audit.last_checkpoint(conn)

    made = asyncio.run(call())
    typer.echo("no commands yet" if made is None else f"{made.checkpoint_id}:{made.hash}")


@audit_app.command("list")
def list_commands(
    vin: Vin = None,
    source: Annotated[str | None, typer.Option(help="Only of this door: ota, iot_api, …")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """The newest commands, a line each."""
    from gateway.commands import audit

    async def call() -> list[audit.CommandEntry]:
        async with one_transaction(_ROLE) as conn:
            return await audit.list_commands(conn, limit=limit, vin=vin, source=source)

    entries = asyncio.run(call())
    if as_json:
        typer.echo(json.dumps([asdict(entry) for entry in entries], default=str))
        return
    table = Table("admitted", "VIN", "seq", "kind", "source", "service", "answer")
    for entry in entries:
        answer = " ".join(filter(None, (entry.last_result, entry.last_reason)))
        table.add_row(
            rfc3339(entry.admitted_at),
            entry.vin,
            str(entry.seq),
            entry.kind,
            entry.source,
            entry.service or "",
            answer,
        )
    Console(highlight=False).print(table)


def _parse(text: str) -> tuple[int, str]:
    found = _EXPECTED.fullmatch(text.strip())
    if found is None:
        error: DomainError = Invalid(
            "INVALID_CHECKPOINT", "--expect takes NUMBER:HASH as `caas audit checkpoint` prints it"
        )
        raise error
    return int(found[1]), found[2]
