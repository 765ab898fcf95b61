"""`caas iot …`: who may call the IoT API, and the callbacks that found nobody."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, TypeVar
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table

from caas.database import one_transaction
from core.clock import SystemClock, rfc3339
from core.db import Connection
from core.errors import Invalid
from core.settings import load

T = TypeVar("T")
ClientId = Annotated[str, typer.Argument(help="Lower-case letters, digits and dashes.")]
AtOnce = Annotated[
    bool, typer.Option("--now", help="The old one ends at once, with the client's tokens: a leak.")
]
AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]

iot_app = typer.Typer(help="Clients of the IoT API, and its callbacks.")


@iot_app.command()
def create(
    client_id: ClientId,
    scope: Annotated[
        list[str] | None, typer.Option(help="configure, read; both where none is given.")
    ] = None,
    vin: Annotated[list[str] | None, typer.Option(help="A vehicle it may reach.")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="It may reach every vehicle of this model.")
    ] = None,
    every_vehicle: Annotated[bool, typer.Option(help="It may reach all of them.")] = False,
    callback_url: Annotated[
        str | None, typer.Option(help="Where it wants to hear how commands end.")
    ] = None,
    telemetry_url: Annotated[
        str | None, typer.Option(help="Where it wants its vehicles' telemetry.")
    ] = None,
) -> None:
    """Let a system in: prints its secrets, once."""
    from gateway.iot_api import clients
    from gateway.iot_api.settings import IotApiSettings

    async def call(conn: Connection) -> clients.NewClient:
        made = await clients.create(
            conn,
            client_id,
            now=SystemClock().now(),
            scopes=scope or clients.SCOPES,
            every_vehicle=every_vehicle,
            models=model or (),
            callback_url=callback_url,
            telemetry_url=telemetry_url,
            allow_http=load(IotApiSettings).callback_allow_http,
        )
        await clients.allow(conn, client_id, vin or [], allowed=True)
        return made

    made = _with_database(call)
    typer.echo(f"client id        {made.client_id}")
    typer.echo(f"client secret    {made.secret}")
    if made.callback_secret is not None:
        typer.echo(f"callback secret  {made.callback_secret}")


@iot_app.command()
def rotate(client_id: ClientId, at_once: AtOnce = False) -> None:
    """Give a client a new secret; the old one stays good for the overlap."""
    from gateway.iot_api import clients

    overlap_s = _overlap_s(at_once=at_once)
    now = SystemClock().now()

    async def call(conn: Connection) -> str:
        if at_once:
            await clients.end_tokens(conn, client_id)
        return await clients.rotate(conn, client_id, now=now, overlap_s=overlap_s)

    typer.echo(f"client secret    {_with_database(call)}")
    typer.echo(_old_one(overlap_s, at_once=at_once))


@iot_app.command()
def key(client_id: ClientId, at_once: AtOnce = False) -> None:
    """Give a client a key to sign requests with; an old one stays good for the overlap."""
    from gateway.iot_api import clients, keys

    overlap_s = _overlap_s(at_once=at_once)
    now = SystemClock().now()

    async def call(conn: Connection) -> keys.NewKey:
        if at_once:
            await clients.end_tokens(conn, client_id)
        return await keys.add_key(conn, client_id, now=now, overlap_s=overlap_s)

    made = _with_database(call)
    typer.echo(f"key id      {made.key_id}")
    typer.echo(f"key secret  {made.secret}")
    typer.echo(_old_one(overlap_s, at_once=at_once))


@iot_app.command()
def certificate(
    client_id: ClientId,
    file: Annotated[Path, typer.Argument(help="The certificate, PEM.")],
    remove: Annotated[bool, typer.Option(help="It lets nobody in any more.")] = False,
) -> None:
    """Let a client in by a certificate, which a TLS proxy checks and hands on."""
    from gateway.iot_api import keys
    from gateway.iot_api.auth import fingerprint_of

    fingerprint = fingerprint_of(file.read_text(encoding="utf-8", errors="replace"))
    if fingerprint is None:
        raise Invalid("NO_CERTIFICATE", f"{file} is no certificate in PEM")
    now = SystemClock().now()
    if remove:
        _with_database(lambda conn: keys.remove_certificate(conn, client_id, fingerprint))
    else:
        _with_database(lambda conn: keys.add_certificate(conn, client_id, fingerprint, now=now))
    typer.echo(f"{client_id} {'without' if remove else 'with'} {fingerprint.hex()}")


@iot_app.command()
def revoke(client_id: ClientId) -> None:
    """Shut a client out at once, its tokens included."""
    from gateway.iot_api import clients

    _with_database(lambda conn: clients.revoke(conn, client_id))
    typer.echo(f"{client_id} is revoked")


@iot_app.command()
def allow(client_id: ClientId, vins: Annotated[list[str], typer.Argument(help="VINs.")]) -> None:
    """Let a client reach these vehicles."""
    from gateway.iot_api import clients

    _with_database(lambda conn: clients.allow(conn, client_id, vins, allowed=True))
    typer.echo(f"{client_id} may reach {', '.join(vins)}")


@iot_app.command()
def forbid(client_id: ClientId, vins: Annotated[list[str], typer.Argument(help="VINs.")]) -> None:
    """Let a client no longer reach these vehicles."""
    from gateway.iot_api import clients

    _with_database(lambda conn: clients.allow(conn, client_id, vins, allowed=False))
    typer.echo(f"{client_id} may no longer reach {', '.join(vins)}")


@iot_app.command("list")
def list_clients(as_json: AsJson = False) -> None:
    """The clients, a line each."""
    from gateway.iot_api import clients

    found = _with_database(clients.list_clients)
    if as_json:
        typer.echo(json.dumps([asdict(client) for client in found], default=str))
        return
    table = Table("client", "status", "scopes", "vehicles", "callback")
    for client in found:
        reach = "every one"
        if not client.every_vehicle:
            reach = ", ".join([*client.models, f"{client.vehicles} by name"])
        url = client.callback_url or ""
        table.add_row(client.client_id, client.status, " ".join(client.scopes), reach, url)
    Console(highlight=False).print(table)


@iot_app.command()
def callbacks(
    state: Annotated[str | None, typer.Option(help="PENDING, DELIVERED or DEAD.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """The newest callbacks; DEAD are those nobody took."""
    from gateway.iot_api import callbacks as service

    found = _with_database(lambda conn: service.list_callbacks(conn, state=state, limit=limit))
    if as_json:
        typer.echo(json.dumps([asdict(item) for item in found], default=str))
        return
    table = Table("callback", "client", "state", "tries", "made", "last answer")
    for item in found:
        made = rfc3339(item.created_at)
        row = (str(item.callback_id), item.client_id, item.state, str(item.attempts), made)
        table.add_row(*row, item.last_answer or "")
    Console(highlight=False).print(table)


@iot_app.command()
def retry(
    callback_id: Annotated[
        UUID | None, typer.Argument(help="One; all dead letters if none.")
    ] = None,
) -> None:
    """Send dead letters again."""
    from gateway.iot_api import callbacks as service

    now = SystemClock().now()
    revived = _with_database(lambda conn: service.revive(conn, now, callback_id))
    typer.echo(f"{revived} to be sent again")


@iot_app.command()
def openapi() -> None:
    """Print the OpenAPI document (docs/iot-api.json)."""
    from gateway.iot_api.app import openapi_document

    typer.echo(json.dumps(openapi_document(), indent=1, ensure_ascii=False))


def _overlap_s(*, at_once: bool) -> float:
    from gateway.iot_api.settings import IotApiSettings

    return 0.0 if at_once else load(IotApiSettings).secret_overlap_s


def _old_one(overlap_s: float, *, at_once: bool) -> str:
    if at_once:
        return "the old one is over, and so are the client's tokens"
    return f"an old one ends in {overlap_s / 3600:g} h"


def _with_database(work: Callable[[Connection], Awaitable[T]]) -> T:
    async def call() -> T:
        async with one_transaction("caas_gateway") as conn:
            return await work(conn)

    return asyncio.run(call())
