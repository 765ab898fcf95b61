"""`caas vehicles …`: the registry by hand."""

import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from caas.cli_import import actor, import_file, quiet_bus
from caas.database import one_transaction
from core.clock import SystemClock, rfc3339
from core.db import Connection
from core.errors import Conflict, Invalid
from core.settings import BusSettings, load

if TYPE_CHECKING:
    from gateway.accounts.tell import Change
    from gateway.registry import Enrolment
    from gateway.registry.credentials import Desk

T = TypeVar("T")
Vin = Annotated[str, typer.Argument(help="17 characters, no I, O, Q.")]
AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]
Csr = Annotated[
    Path | None,
    typer.Option(help="The vehicle's certificate request (PKCS #10): it gets a certificate."),
]
External = Annotated[
    Path | None, typer.Option(help="A certificate (PEM) that an external authority has issued.")
]
Out = Annotated[
    Path | None, typer.Option(help="Write the certificate to this new file, not to the screen.")
]

vehicles_app = typer.Typer(help="Enrol vehicles and look after their credentials.")
vehicles_app.command("import")(import_file)


@vehicles_app.command()
def enroll(
    vin: Vin,
    model: Annotated[str, typer.Option(help="AURORA, BOREAL, CIERZO, or your own.")],
    firmware: Annotated[str, typer.Option(help="Firmware version, such as 2.4.1.")],
    transport: Annotated[
        Literal["mqtt", "iot_api"], typer.Option(help="iot_api: through a foreign IoT API.")
    ] = "mqtt",
    csr: Csr = None,
    certificate: External = None,
    out: Out = None,
    again: Annotated[
        bool, typer.Option(help="Let a revoked one back in, with new credentials.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Let a vehicle in: prints the secret or certificate it signs in with, once."""
    from gateway.registry.changes import of_enrolment
    from gateway.registry.credentials import Credential, enroll_with

    credential = Credential(_read(csr), _read(certificate))
    _check_new(out)
    made = _with_database(
        lambda conn: enroll_with(
            conn, _desk(), credential, vin=vin, model=model, firmware=firmware,
            transport=transport, again=again,
        )
    )  # fmt: skip
    _tell(of_enrolment(made, again=again))
    hint = "nothing changed: `caas vehicles rotate` gives a new secret, `--again` lets a revoked "
    hint += "vehicle back in"
    _print_enrolment(made, out, as_json, "" if made.created or transport != "mqtt" else hint)


@vehicles_app.command()
def rotate(
    vin: Vin,
    csr: Csr = None,
    certificate: External = None,
    out: Out = None,
    revoke_others: Annotated[
        bool, typer.Option(help="With a new certificate: the vehicle's others end at once.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """A new secret, which ends the old one at once; or, from a new request, a new certificate."""
    from gateway.registry.changes import of_enrolment
    from gateway.registry.credentials import Credential, rotate_with

    credential = Credential(_read(csr), _read(certificate))
    _check_new(out)
    made = _with_database(
        lambda conn: rotate_with(conn, _desk(), credential, vin=vin, revoke_others=revoke_others)
    )
    _tell(of_enrolment(made))
    _print_enrolment(made, out, as_json)


@vehicles_app.command()
def revoke(
    vin: Vin,
    reason: Annotated[str | None, typer.Option(help="Kept with the revocation.")] = None,
) -> None:
    """Shut a vehicle out: its secret and certificates never work again."""
    from gateway import registry
    from gateway.registry.changes import of_revocation

    done = _with_database(lambda c: registry.revoke(c, vin, reason=reason, actor=actor()))
    _tell(of_revocation(vin))
    typer.echo(f"{vin.strip().upper()} {'is revoked' if done else 'was revoked already'}")


@vehicles_app.command()
def show(vin: Vin, as_json: AsJson = False) -> None:
    """All the registry knows of one vehicle, its certificates, and who did what."""
    from gateway import registry

    async def read(conn: Connection) -> dict[str, Any]:
        return {
            **asdict(await registry.show(conn, vin)),
            "certificates": [asdict(c) for c in await registry.certificates(conn, vin)],
            "events": [asdict(e) for e in await registry.events(conn, vin)],
        }

    found = _with_database(read)
    if as_json:
        typer.echo(_as_json(found))
        return
    console = Console(highlight=False, soft_wrap=True)
    certificates, events = found.pop("certificates"), found.pop("events")
    table = Table.grid(padding=(0, 2))
    for name, value in found.items():
        table.add_row(name, _text(value))
    console.print(table)
    for item in certificates:
        end = f"revoked {_text(item['revoked_at'])}: {item['reason']}"
        end = end if item["revoked_at"] else f"until {_text(item['not_after'])}"
        console.print(f"certificate  {item['serial']}  {end}", markup=False)
    for item in events:
        detail = " ".join(f"{k}={v}" for k, v in item["detail"].items() if v is not None)
        console.print(
            f"{_text(item['at'])}  {item['action']}  by {item['actor']}  {detail}", markup=False
        )


@vehicles_app.command("list")
def list_vehicles(
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    after: Annotated[str | None, typer.Option(help="Go on behind this VIN.")] = None,
    search: Annotated[str | None, typer.Option(help="How the VIN begins.")] = None,
    presence: Annotated[str | None, typer.Option(help="ONLINE, OFFLINE or LIMITED.")] = None,
    model: Annotated[str | None, typer.Option()] = None,
    status: Annotated[str | None, typer.Option(help="ENROLLED or REVOKED.")] = None,
    transport: Annotated[str | None, typer.Option(help="mqtt or iot_api.")] = None,
    expiring: Annotated[
        int | None, typer.Option(min=0, help="Whose last certificate ends within so many days.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The registered vehicles by VIN, a line each."""
    from gateway import registry

    now = SystemClock().now()
    filters = registry.Filters(
        presence=_upper(presence), model=model, status=_upper(status), transport=transport,
        search=_upper(search),
        ends_before=None if expiring is None else now + timedelta(days=expiring),
    )  # fmt: skip
    rows = _with_database(
        lambda c: registry.list_vehicles(c, limit=limit, after=_upper(after), filters=filters)
    )
    if as_json:
        typer.echo(_as_json([asdict(row) for row in rows]))
        return
    table = Table(box=None)
    for name in ("VIN", "model", "firmware", "transport", "enrolment", "presence", "signs in with"):
        table.add_column(name, no_wrap=name == "VIN")
    for row in rows:
        means = ["secret"] if row.has_secret else []
        if row.certified_until is not None:
            means.append(f"certificate ({row.certified_until.date()})")
        table.add_row(
            row.vin, row.model, row.firmware, row.transport, row.enrolment, row.presence,
            ", ".join(means) or "-",
        )  # fmt: skip
    # In a pipe a line stays a line, for grep.
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(table)
    if len(rows) == limit:
        typer.echo(f"there may be more: --after {rows[-1].vin}")


@vehicles_app.command()
def openapi() -> None:
    """Print the OpenAPI document of the same over REST (docs/registry-api.json)."""
    from gateway.registry.app import openapi_document

    typer.echo(json.dumps(openapi_document(), indent=1, ensure_ascii=False))


def _print_enrolment(made: "Enrolment", out: Path | None, as_json: bool, hint: str = "") -> None:
    issued = made.certificate
    if issued is not None and out is not None:
        from gateway.registry.ca import PUBLIC, write_new

        write_new(out, issued.pem.encode(), PUBLIC)
    if as_json:
        shown = None if issued is None else asdict(issued)
        typer.echo(_as_json({"vin": made.vin, "secret": made.secret, "certificate": shown}))
        return
    typer.echo(f"VIN          {made.vin}")
    if made.secret is not None:
        typer.echo(f"secret       {made.secret}")
        typer.echo("It is shown this once. User name and client id are the VIN.")
    elif issued is not None:
        typer.echo(f"serial       {issued.serial}")
        typer.echo(f"until        {rfc3339(issued.not_after)}")
        typer.echo(f"certificate  {out}" if out is not None else issued.pem.rstrip())
    elif hint:
        typer.echo(hint)


def _tell(changes: "Sequence[Change]") -> None:
    """Tell the broker; what has not happened yet is a line on standard error."""
    from gateway.accounts.settings import AccountsSettings
    from gateway.accounts.tell import tell

    quiet_bus()
    notice = asyncio.run(tell(changes, load(BusSettings), load(AccountsSettings)))
    if notice is not None:
        typer.echo(f"note: {notice}", err=True)


def _desk() -> "Desk":
    from gateway.registry.credentials import Desk
    from gateway.registry.settings import CaSettings, RegistrySettings
    from gateway.registry.vins import vin_rule

    return Desk(
        ca=load(CaSettings),
        parse=vin_rule(load(RegistrySettings)),
        now=SystemClock().now(),
        actor=actor(),
    )


def _check_new(out: Path | None) -> None:
    """Conflict or OSError before anything is issued that could not be handed out."""
    if out is None:
        return
    if out.exists():
        raise Conflict("FILE_EXISTS", f"{out} exists: move it away, or name another file")
    with tempfile.TemporaryFile(dir=out.parent):
        pass  # there, and may be written to


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    with path.open("rb") as file:
        data = file.read(2**16 + 1)
    if len(data) > 2**16:
        raise Invalid("TOO_LARGE", f"{path} is no certificate and no request: it is too large")
    return data


def _upper(text: str | None) -> str | None:
    return None if text is None else text.strip().upper()


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return rfc3339(value)
    return "" if value is None else str(value)


def _as_json(value: Any) -> str:
    return json.dumps(value, default=_text)


def _with_database(work: Callable[[Connection], Awaitable[T]]) -> T:
    async def call() -> T:
        async with one_transaction("caas_gateway") as conn:
            return await work(conn)

    return asyncio.run(call())
