"""`caas vehicles …`: the registry by hand."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from caas.database import one_transaction
from core.db import Connection

T = TypeVar("T")
Vin = Annotated[str, typer.Argument(help="17 characters, no I, O, Q.")]

vehicles_app = typer.Typer(help="Enrol vehicles and look after their credentials.")


@vehicles_app.command()
def enroll(
    vin: Vin,
    model: Annotated[str, typer.Option(help="AURORA, BOREAL, CIERZO, or your own.")],
    firmware: Annotated[str, typer.Option(help="Firmware version, such as 2.4.1.")],
) -> None:
    """Let a vehicle in: prints the secret it signs in with, once."""
    from gateway import registry

    made = _with_database(lambda c: registry.enroll(c, vin=vin, model=model, firmware=firmware))
    if made.secret is None:
        typer.echo(f"{made.vin} is enrolled already; `caas vehicles rotate` gives a new secret")
    else:
        typer.echo(f"{made.vin} {made.secret}")


@vehicles_app.command()
def rotate(vin: Vin) -> None:
    """Give a vehicle a new secret; the old one ends at once."""
    from gateway import registry

    made = _with_database(lambda c: registry.rotate_secret(c, vin))
    typer.echo(f"{made.vin} {made.secret}")


@vehicles_app.command()
def revoke(vin: Vin) -> None:
    """Shut a vehicle out."""
    from gateway import registry

    _with_database(lambda c: registry.revoke(c, vin))
    typer.echo(f"{vin} is revoked")


@vehicles_app.command()
def show(vin: Vin) -> None:
    """All the registry knows of one vehicle."""
    from gateway import registry

    found = _with_database(lambda c: registry.show(c, vin))
    table = Table.grid(padding=(0, 2))
    for name, value in asdict(found).items():
        table.add_row(name, "" if value is None else str(value))
    Console(highlight=False).print(table)


@vehicles_app.command("list")
def list_vehicles(
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
) -> None:
    """The registered vehicles, a line each."""
    from gateway import registry

    table = Table("VIN", "model", "firmware", "transport", "enrolment", "presence")
    for row in _with_database(lambda c: registry.list_vehicles(c, limit=limit)):
        table.add_row(row.vin, row.model, row.firmware, row.transport, row.enrolment, row.presence)
    Console(highlight=False).print(table)


def _with_database(work: Callable[[Connection], Awaitable[T]]) -> T:
    async def call() -> T:
        async with one_transaction("caas_gateway") as conn:
            return await work(conn)

    return asyncio.run(call())
