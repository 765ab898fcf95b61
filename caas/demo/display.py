"""What a person sees while the demo comes up, runs and goes down."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from caas.demo.platform import SERVICE_ORDER, Running
from caas.demo.secrets import STAFF_PASSWORD
from caas.supervisor.child import State

_MARKS: dict[State, tuple[str, str]] = {
    "starting": ("…", "yellow"),
    "ready": ("✓", "green"),
    "failed": ("✗", "red"),
    "restarting": ("↻", "yellow"),
    "stopped": ("■", "dim"),
}
PARTS = ("postgres", "broker", *SERVICE_ORDER)


class StartDisplay:
    """One line a part, redrawn as the parts come up; plain lines where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._states: dict[str, tuple[State, str]] = {}
        self._live = Live(self._table(), console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def on_event(self, name: str, state: State, detail: str) -> None:
        """A part changed its state."""
        self._states[name] = (state, detail)
        if self._live.is_started:
            self._live.update(self._table())
        else:
            mark, style = _MARKS[state]
            line = Text(f"{mark} {name} {state}", style=style)
            self._console.print(line.append(f" {detail}" if detail else "", style="dim"))

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 1))
        for name in (*PARTS, *(name for name in self._states if name not in PARTS)):
            state, detail = self._states.get(name, (None, ""))
            mark, style = _MARKS[state] if state else ("·", "dim")
            table.add_row(Text(f"  {mark}", style=style), name, Text(detail, style="dim"))
        return table


def show_welcome(console: Console, running: Running) -> None:
    """The one screen with every address and login; whole lines, so that they can be copied."""
    console.print(Rule("CaaS is up"))
    for name, value in _lines(running):
        console.print(
            Text(f"{name:<26}", style="bold").append(value, style="not bold"), soft_wrap=True
        )
    console.print(Rule("Ctrl-C stops it all"))


def _lines(running: Running) -> list[tuple[str, str]]:
    layout, database = running.layout, running.database
    where = f"{database.version} from {database.binaries}"
    if database.runs_as is not None:
        where += f", run by user {database.runs_as}"
    return [
        ("REST API", f"{layout.url('api')}/docs"),
        ("Mail, push and SMS sent", f"{layout.url('partners')}/mail/"),
        ("Partner simulators", f"{layout.url('partners')}/"),
        ("Vehicle simulator", f"{layout.url('sim')}/docs"),
        ("Command keys", f"{layout.url('gateway')}/.well-known/caas-command-keys.json"),
        ("MQTT broker", f"mqtt://127.0.0.1:{layout.vehicles_port} ({_broker(running)})"),
        *_tls_doors(running),
        ("", _account(running)),
        ("Database", layout.dsn),
        ("", f"PostgreSQL {where}"),
        ("", f"data in {database.data_dir}"),
        ("", ""),
        ("Sales", f"sales@dealer-es-001.example / {STAFF_PASSWORD}"),
        ("Administrator", f"admin@caas.example / {STAFF_PASSWORD}"),
        ("Support", f"support@caas.example / {STAFF_PASSWORD}"),
        ("Finance", f"finance@caas.example / {STAFF_PASSWORD}"),
        ("Operations", f"operations@caas.example / {STAFF_PASSWORD}"),
        ("Customers", "register a sale; their credentials are in the mail"),
        ("", ""),
        ("Vehicles", f"{len(running.fleet)}, in {layout.fleet_file}"),
        ("Logs", f"{layout.data_dir / 'logs'}/"),
        ("See it all happen", "make demo-once, or docs/first-sale.md by hand"),
    ]


def _tls_doors(running: Running) -> list[tuple[str, str]]:
    if running.broker.name != "mosquitto":
        return []
    layout = running.layout
    by_certificate, by_secret = (
        f"mqtts://127.0.0.1:{layout.ports[name]}" for name in ("mqtt-certificates", "mqtt-secrets")
    )
    return [
        ("", f"{by_certificate} with a certificate, {by_secret} with a secret"),
        ("", f"(authority: {layout.ca_dir / 'ca.crt'})"),
    ]


def _account(running: Running) -> str:
    """What `caas vehicles` needs to bring a new secret to the broker."""
    names = ("CAAS_MQTT_PORT", "CAAS_MQTT_PROTOCOL", "CAAS_MQTT_USERNAME", "CAAS_MQTT_PASSWORD")
    settings = running.layout.environment("gateway")
    return " ".join(f"{name}={settings[name]}" for name in names)


def _broker(running: Running) -> str:
    if running.broker.name == "mosquitto":
        return "Mosquitto"
    return "embedded amqtt: for small demos, forgets everything when it ends"
