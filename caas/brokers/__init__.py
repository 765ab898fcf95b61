"""The MQTT broker to start here: Mosquitto where it is installed, else the embedded one."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from caas.brokers.listeners import Doors, add_doors
from caas.brokers.mosquitto import find_mosquitto, render_config
from core.errors import SettingsError

__all__ = ["BrokerPlan", "Doors", "plan_broker"]


@dataclass(frozen=True, slots=True)
class BrokerPlan:
    """What to start. ``protocol`` is for ``CAAS_MQTT_PROTOCOL``; SIGTERM ends the process in order.

    ``reload_on``: the process needs SIGHUP when this file changes
    (:func:`caas.brokers.reload.reload_on_change`); None = it looks for itself.
    """

    argv: list[str]
    protocol: str
    name: str
    env: dict[str, str] = field(default_factory=dict[str, str])
    reload_on: Path | None = None


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
        config = render_config(data_dir, host=host, port=port, passwords=passwords, prefix=prefix)
        environment = {} if doors is None else add_doors(config, host, doors)
        return BrokerPlan(
            [str(program), "-c", str(config)], "5", "mosquitto", environment, passwords
        )
    if prefer == "mosquitto":
        raise SettingsError("Mosquitto is not installed (apt install mosquitto)")
    argv = [sys.executable, "-m", "caas.brokers.embedded", "--host", host, "--port", str(port)]
    argv += ["--passwords", str(passwords), "--prefix", prefix]
    return BrokerPlan(argv, "3.1.1", "amqtt")
