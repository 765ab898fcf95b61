"""`caas vehicles import`: many vehicles from a CSV file, with a progress bar."""

import asyncio
import csv
import getpass
import io
import json
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from caas.database import one_transaction
from core.errors import Conflict
from core.settings import BusSettings, load

if TYPE_CHECKING:
    from gateway.registry.bulk import ImportReport

_SHOWN = 20


def import_file(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV; its first line names the columns vin, model, firmware and, if there are "
            "any, transport, secret, secret_hash."
        ),
    ],
    strict: Annotated[
        bool, typer.Option(help="Import nothing where any line cannot be used or repeats a VIN.")
    ] = False,
    secrets: Annotated[
        Path | None,
        typer.Option(help="Make secrets for vehicles that bring none; written to this new file."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Enrol the vehicles of a file, all or none of it at Ctrl-C; known ones stay as they are."""
    from gateway.registry.bulk import FileRefused, as_dict

    if secrets is not None and secrets.exists():
        raise Conflict("FILE_EXISTS", f"{secrets} exists: move it away, or name another file")
    try:
        with file.open("rb") as source:
            report, notice = asyncio.run(_import(source, strict, secrets))
    except FileRefused as refusal:
        _print_bad(refusal.report)
        raise
    if notice is not None:
        typer.echo(f"note: {notice}", err=True)
    if as_json:
        typer.echo(json.dumps(as_dict(report)))
        return
    _print_bad(report)
    typer.echo(
        f"{report.lines} lines: {report.imported} imported, {report.known} known already, "
        f"{report.repeated} repeated, {report.refused} refused"
    )
    if secrets is not None:
        typer.echo(f"{len(report.secrets)} secrets are in {secrets}: hand them out and erase it")


async def _import(
    source: BinaryIO, strict: bool, secrets: Path | None
) -> "tuple[ImportReport, str | None]":
    """What became of the file, and what the broker does not know yet."""
    from gateway.accounts.settings import AccountsSettings
    from gateway.registry.bulk import import_vehicles
    from gateway.registry.changes import tell_of_import
    from gateway.registry.settings import RegistrySettings
    from gateway.registry.vins import vin_rule

    quiet_bus()
    parse, accounts = vin_rule(load(RegistrySettings)), load(AccountsSettings)
    size = os.fstat(source.fileno()).st_size
    with _bar() as bar:
        task = bar.add_task("import", total=size)
        async with one_transaction("caas_gateway") as conn:
            report = await import_vehicles(
                conn,
                source,
                parse=parse,
                actor=actor(),
                strict=strict,
                make_secrets=secrets is not None,
                remember=accounts.bulk_max + 1,
                progress=lambda at: bar.update(task, completed=at),
            )
            if secrets is not None:
                # Before the commit, or a crash would leave vehicles whose secret nobody has.
                _write_secrets(secrets, report.secrets)
        bar.update(task, completed=size)
    return report, await tell_of_import(report, load(BusSettings), accounts)


def quiet_bus() -> None:
    """What the bus logs about a broker that is away, a command says itself, in one line."""
    logging.getLogger("core.bus").setLevel(logging.CRITICAL)


def actor() -> str:
    """Who works at this command line, as the registry's events name them."""
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):  # a container's user may have no name
        return "cli"


def _write_secrets(path: Path, secrets: Mapping[str, str]) -> None:
    from gateway.registry.ca import write_new

    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("vin", "secret"))
    rows.writerows(sorted(secrets.items()))
    write_new(path, text.getvalue().encode())


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), disable=not sys.stderr.isatty(),
    )  # fmt: skip


def _print_bad(report: "ImportReport") -> None:
    for bad in report.bad[:_SHOWN]:
        typer.echo(f"line {bad.line}: {bad.reason}", err=True)
    more = report.refused + report.repeated - min(len(report.bad), _SHOWN)
    if more > 0:
        typer.echo(f"and {more} more lines; --json lists the first thousand", err=True)
