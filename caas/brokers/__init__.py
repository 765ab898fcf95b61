"""The MQTT broker to start here: Mosquitto where it is installed, else the embedded one."""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from caas.brokers.listeners import Doors, add_doors
from caas.brokers.mosquitto import accounts_file, find_mosquitto, render_config
from caas.brokers.overlay import FOLLOWS, ONCE, SIGHUP_SAFE, find_plugin, version_of
from core.errors import SettingsError

__all__ = ["BrokerPlan", "Doors", "plan_broker"]


@dataclass(frozen=True, slots=True)
class BrokerPlan:
    """What to start. ``protocol`` is for ``CAAS_MQTT_PROTOCOL``; SIGTERM ends the process in order.

    ``live``: accounts change while it runs, over its control topic (gateway/accounts).
    ``reload_on``: the process takes SIGHUP when this file changes, ``restart_on``: it must be
    started anew (:func:`caas.brokers.reload.reload_on_change`); None = it need not.
    """

    argv: list[str]
    protocol: str
    name: str
    env: dict[str, str] = field(default_factory=dict[str, str])
    reload_on: Path | None = None
    restart_on: Path | None = None
    live: bool = False


def plan_broker(
    data_dir: Path,
    *,
    host: str,
    port: int,
    passwords: Path,
    prefix: str,
    prefer: Literal["auto", "mosquitto", "amqtt"] = "auto",
    doors: Doors | None = None,
) -> BrokerPlan:
    """Prepare the files and say what to start; starts nothing.

    SettingsError when Mosquitto is asked for and not installed. The embedded broker is for small
    demos (about 200 vehicles) and forgets everything when it ends: say so on the screen. It has one
    door for everybody, and holds vehicles to their own client id there.
    """
    program = find_mosquitto() if prefer != "amqtt" else None
    if program is not None:
        plugin = find_plugin(program)
        config = render_config(
            data_dir, host=host, port=port, passwords=passwords, prefix=prefix, plugin=plugin
        )
        environment = {} if doors is None else add_doors(config, host, doors)
        plan = _mosquitto(program, config, data_dir, passwords, live=plugin is not None)
        return replace(plan, env=environment)
    if prefer == "mosquitto":
        raise SettingsError("Mosquitto is not installed (apt install mosquitto)")
    argv = [sys.executable, "-m", "caas.brokers.embedded", "--host", host, "--port", str(port)]
    argv += ["--passwords", str(passwords), "--prefix", prefix]
    return BrokerPlan(argv, "3.1.1", "amqtt")


def _mosquitto(
    program: Path, config: Path, data_dir: Path, passwords: Path, *, live: bool
) -> BrokerPlan:
    argv = [str(program), "-c", str(config)]
    safe = version_of(program) >= SIGHUP_SAFE
    if live:
        files = [str(accounts_file(data_dir).absolute()), str(passwords.absolute())]
        start = [sys.executable, "-m", "caas.brokers.start", *files, FOLLOWS if safe else ONCE]
        argv = [*start, *argv]
    return BrokerPlan(
        argv,
        "5",
        "mosquitto",
        reload_on=passwords if safe else None,
        restart_on=None if safe or live else passwords,
        live=live,
    )
