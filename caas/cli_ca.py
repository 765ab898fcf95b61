"""`caas ca …`: the small certificate authority of our own, for development and small fleets."""

import asyncio
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from core.clock import SystemClock
from core.errors import Conflict
from core.settings import load

ca_app = typer.Typer(help="The certificate authority of our own (CAAS_CA_DIR).")


@ca_app.command()
def init(
    if_missing: Annotated[bool, typer.Option(help="Do nothing where it is complete.")] = False,
) -> None:
    """Make the authority: whoever has its key can let any vehicle in."""
    from gateway.registry.ca import has_authority, init_authority
    from gateway.registry.settings import CaSettings

    settings, folder = load(CaSettings), _folder()
    if if_missing and (settings.bundle is not None or has_authority(folder)):
        return  # with CAAS_CA_BUNDLE it is somebody else's
    made = init_authority(folder, SystemClock().now(), settings.crl_validity)
    until = made.certificate.not_valid_after_utc.date()
    typer.echo(f"made {folder}/ca.key (keep it secret), ca.crt (until {until}) and crl.pem")


@ca_app.command()
def server(
    hosts: Annotated[list[str], typer.Argument(help="Names and IP addresses of the broker.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for server.crt and server.key; else CAAS_CA_DIR.")
    ] = None,
    if_missing: Annotated[
        bool, typer.Option(help="Do nothing where there is one that is good for a month yet.")
    ] = False,
) -> None:
    """Make a certificate and key for the broker; run it again to renew."""
    from gateway.registry.ca import SERVER_CERTIFICATE, write_server

    folder = _folder()
    if if_missing and _is_good((out or folder) / SERVER_CERTIFICATE):
        return
    path, certificate = write_server(folder, out or folder, hosts, SystemClock().now())
    typer.echo(f"made {path} (until {certificate.not_valid_after_utc.date()}) and server.key")


@ca_app.command()
def crl() -> None:
    """Bring the revocation list in step by hand; the gateway does it by itself."""
    from core.db import Database
    from core.settings import DatabaseSettings
    from gateway.registry.crl import sync_crl
    from gateway.registry.settings import CaSettings

    folder = _folder()

    async def call() -> bool:
        database = Database(load(DatabaseSettings), role="caas_gateway")
        await database.open()
        try:
            return await sync_crl(database, load(CaSettings), SystemClock())
        finally:
            await database.close()

    written = asyncio.run(call())
    typer.echo(f"{folder}/crl.pem {'written' if written else 'is up to date'}")


@ca_app.command()
def show() -> None:
    """Print the authority's certificate and revocation list, as openssl reads them."""
    folder = _folder()
    openssl = shutil.which("openssl")
    for name, kind in (("ca.crt", "x509"), ("crl.pem", "crl")):
        file = folder / name
        if not file.exists():
            typer.echo(f"{file} is not there")
        elif openssl is None:
            typer.echo(file.read_text(encoding="utf-8"))
        else:
            subprocess.run(
                [openssl, kind, "-in", str(file), "-noout", "-text"], check=True, timeout=30
            )


def _is_good(path: Path) -> bool:
    from cryptography import x509

    if not path.exists():
        return False
    ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    return ends > SystemClock().now() + timedelta(days=30)


def _folder() -> Path:
    from gateway.registry.settings import CaSettings

    folder = load(CaSettings).dir
    if folder is None:
        raise Conflict("NO_CA_DIR", "CAAS_CA_DIR is not set: name the authority's folder")
    return folder
