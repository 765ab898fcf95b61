"""Settings of the simulator."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from core.settings import SettingsGroup


class SimSettings(SettingsGroup):
    """Which vehicles there are, and how they behave."""

    model_config = SettingsConfigDict(env_prefix="CAAS_SIM_")
    about: ClassVar[str] = "vehicle simulator"

    # JSON list of {vin, secret, model, firmware?, roams?}; read again when it changes.
    fleet_file: Path = Path("data/fleet.json")
    data_dir: Path = Path("data/vehicles")
    keys_url: str = "http://127.0.0.1:8081/.well-known/caas-command-keys.json"
    seed: int = 1
    # DOMAIN 20: telemetry.running, telemetry.parked.
    running_s: float = Field(30.0, gt=0)
    parked_s: float = Field(300.0, gt=0)
    # A moving car takes a sample this often; a batch holds those since the last one.
    sample_s: float = Field(10.0, gt=0)
    # Silence of the platform after which the oldest unreceipted batch goes out again (BUS).
    resend_s: float = Field(60.0, gt=0)
    buffer_batches: int = Field(2880, ge=1)
    # Share of the fleet that drives and rests by turns; the others stand until told.
    drive_share: float = Field(0.3, ge=0, le=1)
    # How much faster than real the cars drive and rest; clocks and intervals stay real.
    time_scale: float = Field(1.0, gt=0)
    link_confirm_s: float = Field(1.0, ge=0)
    # Pause between the starts of two vehicles.
    stagger_s: float = Field(0.02, ge=0)
    fleet_poll_s: float = Field(1.0, gt=0)
