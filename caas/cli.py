"""The `caas` command: every command is one call into the composition, every error one line."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from caas.cli_audit import audit_app
from caas.cli_ca import ca_app
from caas.cli_contracts import contracts
from caas.cli_iot import iot_app
from caas.cli_vehicles import vehicles_app
from caas.cli_wanted import config
from caas.settings import DataSettings
from core.errors import Conflict, DomainError, Invalid, Unavailable
from core.settings import LogSettings, SigningSettings, load

PREFER = Literal["auto", "mosquitto", "amqtt"]
EXIT_FAILED = 1
EXIT_USAGE = 2

app = typer.Typer(
    name="caas",
    help="Cars as a service: sells a car's optional features, switches them on over the air, "
    "and takes the money only when the car has proved it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
keys_app = typer.Typer(help="The keys that sign commands.", no_args_is_help=True)
vehicles_app.command()(config)
app.add_typer(ca_app, name="ca", rich_help_panel="Run it")
app.add_typer(vehicles_app, name="vehicles", rich_help_panel="Run it")
app.add_typer(iot_app, name="iot", rich_help_panel="Run it")
app.add_typer(audit_app, name="audit", rich_help_panel="Run it")
app.add_typer(keys_app, name="keys", rich_help_panel="Run it")
app.command(rich_help_panel="Look after it")(contracts)

Vehicles = Annotated[
    int, typer.Option(min=1, max=10_000, envvar="VEHICLES", help="Size of the simulated fleet.")
]
Broker = Annotated[
    PREFER, typer.Option(help="Mosquitto where installed (auto), or one of the two by name.")
]


@app.command(rich_help_panel="Try it")
def demo(
    vehicles: Vehicles = 20,
    broker: Broker = "auto",
    once: Annotated[bool, typer.Option(help="Tell the whole story once, check it, end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --once: as JSON.")] = False,
    kill: Annotated[
        str, typer.Option(help="With --once: kill -9 this part at several points of the story.")
    ] = "",
    reset: Annotated[bool, typer.Option(help="Forget everything the demo has made.")] = False,
) -> None:
    """The whole platform on this machine, with partners and a fleet; Ctrl-C stops it all."""
    from caas.demo import run

    data_dir = load(DataSettings).dir
    if reset:
        run.reset_demo(data_dir)
        typer.echo("The demo starts over at its next run.")
    elif once:
        held = run.run_once(
            data_dir, vehicles=vehicles, prefer=broker, as_json=as_json, kill=kill or None
        )
        raise typer.Exit(0 if held else EXIT_FAILED)
    else:
        run.run_demo(data_dir, vehicles=vehicles, prefer=broker)


@app.command(rich_help_panel="Run it")
def up(
    also: Annotated[
        list[str] | None, typer.Option(help="Start these too: partner-sims, sim.")
    ] = None,
) -> None:
    """Every service of the platform, on the database and broker the settings name."""
    from caas.up import run_up

    run_up(also or [])


@app.command(rich_help_panel="Run it")
def run(
    service: Annotated[str, typer.Argument(help="gateway, ota-engine, telemetry, api, worker, …")],
) -> None:
    """One service in the foreground, until SIGTERM or Ctrl-C."""
    from caas.services import find, run_service

    run_service(find(service))


@app.command(rich_help_panel="Run it")
def migrate(
    check: Annotated[bool, typer.Option(help="Only say what is missing; exit 1 if any.")] = False,
) -> None:
    """Bring the database to the newest schema; run it as the database's owner."""
    from caas.database import migrate_database, pending_migrations
    from core.settings import DatabaseSettings

    if check:
        missing = asyncio.run(pending_migrations(load(DatabaseSettings)))
        typer.echo("\n".join(missing) if missing else "The schema is up to date.")
        raise typer.Exit(EXIT_FAILED if missing else 0)
    ran = asyncio.run(migrate_database())
    typer.echo("\n".join(f"ran {name}" for name in ran) or "The schema is up to date.")


@app.command(rich_help_panel="Run it")
def seed(
    staff_password: Annotated[
        str, typer.Option(envvar="CAAS_SEED_STAFF_PASSWORD", prompt=True, hide_input=True)
    ],
) -> None:
    """Models, services, prices, mappings, a dealership and one employee a role; repeatable."""
    from caas.seeding import seed_database

    typer.echo(asyncio.run(seed_database(staff_password)))


@app.command(rich_help_panel="Try it")
def sim(
    fleet: Annotated[
        Path | None, typer.Option(help="Fleet file: VINs and secrets, as `vehicles enroll` gives.")
    ] = None,
) -> None:
    """A fleet of simulated vehicles in the foreground, on the broker the settings name."""
    from caas.services import find, run_service

    if fleet is not None:
        os.environ["CAAS_SIM_FLEET_FILE"] = str(fleet)
    run_service(find("sim"))


@app.command(rich_help_panel="Look after it")
def bench(
    name: Annotated[str, typer.Argument(help="Which one; without it, a list of them.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    vehicles: Annotated[
        int, typer.Option(min=0, max=5000, help="Default: ingest 10, bus 2000.")
    ] = 0,
    messages: Annotated[
        int, typer.Option(min=0, help="Of or to each vehicle, in each round: ingest 600, bus 2.")
    ] = 0,
    samples: Annotated[int, typer.Option(min=1, max=500, help="ingest: in each message.")] = 10,
    rounds: Annotated[int, typer.Option(min=1, help="Measured thing and ceilings by turns.")] = 3,
) -> None:
    """Measure a path at full speed, beside its ceilings on this machine."""
    from caas.bench import BENCHES

    if not name:
        typer.echo("\n".join(f"{known}  {about}" for known, about in BENCHES.items()))
        return
    if name not in BENCHES:
        raise Invalid("UNKNOWN_BENCH", f"no benchmark {name!r}; there are {', '.join(BENCHES)}")
    from caas.bench.bus import run_bus
    from caas.bench.ingest import run_ingest
    from caas.bench.report import show

    folder = (load(DataSettings).dir / "bench").absolute()
    if name == "bus":
        measuring = run_bus(
            folder, vehicles=vehicles or 2000, messages=messages or 2, rounds=rounds
        )
    else:
        measuring = run_ingest(
            folder, vehicles=vehicles or 10, messages=messages or 600, samples=samples,
            rounds=rounds,
        )  # fmt: skip
    show(asyncio.run(measuring), as_json=as_json)


@app.command(rich_help_panel="Look after it")
def doctor(
    settings: Annotated[bool, typer.Option(help="List every setting too.")] = False,
) -> None:
    """What is missing or misconfigured on this machine, and how to mend it."""
    from caas.doctor import examine, print_report, print_settings

    console = Console(highlight=False)
    findings = asyncio.run(examine())
    print_report(console, findings)
    if settings:
        print_settings(console)
    raise typer.Exit(EXIT_FAILED if any(f.level == "error" for f in findings) else 0)


@app.command(rich_help_panel="Look after it")
def health(
    url: Annotated[str, typer.Argument(help="Default: this service's own /healthz.")] = "",
) -> None:
    """Ask a service whether it is well; exit 1 if not. For health checks of containers."""
    import httpx

    from core.settings import OpsSettings

    if not url and not load(OpsSettings).port:
        raise Invalid("NO_URL", "CAAS_OPS_PORT is not set: name the URL to ask")
    target = url or f"http://127.0.0.1:{load(OpsSettings).port}/healthz"
    try:
        answer = httpx.get(target, timeout=5.0, trust_env=False)
    except httpx.HTTPError as error:
        raise Unavailable("NO_ANSWER", f"{target} does not answer: {error}") from None
    typer.echo(answer.text)
    raise typer.Exit(0 if answer.is_success else EXIT_FAILED)


@keys_app.command("new")
def keys_new(
    file: Annotated[Path, typer.Argument(help="Where CAAS_SIGNING_KEYS_FILE points.")],
    if_missing: Annotated[bool, typer.Option(help="Do nothing where the file exists.")] = False,
) -> None:
    """Make the key that signs commands; whoever has the file can command every car."""
    from core.keys import new_keys_file

    if file.exists():
        if if_missing:
            return
        raise Conflict("FILE_EXISTS", f"{file} exists: move it away, or keep it")
    new_keys_file(file)
    typer.echo(f"made {file}")


@keys_app.command("list")
def keys_list() -> None:
    """The keys of the signing file, newest first, and what each is for."""
    from core.clock import SystemClock, rfc3339
    from core.keys import load_signing_keys, signs_from

    keys, now = load_signing_keys(load(SigningSettings).keys_file), SystemClock().now()
    signer = keys.signer(now)
    for key in keys.keys:
        begin = signs_from(key)
        use = "signs" if key is signer else "verifies"
        if begin > now:
            use = f"announced, signs from {rfc3339(begin)}"
        typer.echo(f"{key.kid}  {use}")


@keys_app.command("rotate")
def keys_rotate() -> None:
    """Announce a new key that signs after CAAS_SIGNING_ANNOUNCE_S; nothing is restarted."""
    from core.clock import SystemClock, rfc3339
    from core.keys import rotate_keys, signs_from

    settings = load(SigningSettings)
    made = rotate_keys(settings.keys_file, SystemClock().now(), settings.announce_s)
    typer.echo(f"{made.kid} signs from {rfc3339(signs_from(made))}")


@keys_app.command("retire")
def keys_retire(
    kid: Annotated[str, typer.Argument(help="As `caas keys list` shows it.")],
    force: Annotated[bool, typer.Option(help="Even if its commands may still be out.")] = False,
) -> None:
    """Take a key away: vehicles refuse what it signed once they have the new set."""
    from core.clock import SystemClock
    from core.keys import retire_key

    retire_key(load(SigningSettings).keys_file, kid, SystemClock().now(), force=force)
    typer.echo(f"{kid} is retired")


def main() -> None:
    """Entry point: a refusal is one line on standard error, and an exit code."""
    import core.log
    from caas.embedded_pg import EmbeddedPostgresError
    from caas.story.client import Refused, TimedOut
    from caas.supervisor.errors import SupervisorError

    try:
        # A command speaks to a person; `caas run` sets up the service's own logs.
        core.log.configure("caas", load(LogSettings, level="WARNING"))
        app()
    except (DomainError, SupervisorError, EmbeddedPostgresError, Refused, TimedOut) as error:
        message = error.message if isinstance(error, DomainError) else str(error)
        if isinstance(error, Unavailable) and error.code == "DATABASE_UNAVAILABLE":
            message += " (CAAS_DB_DSN says where the database is)"
        sys.stderr.write(f"caas: {' '.join(message.split())}\n")
        sys.exit(EXIT_FAILED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        sys.stderr.write(f"caas: {where}{error.strerror or error}\n")
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(130)
