"""Issue 2: one wheel, and installed in an empty environment it is a working `caas`."""

import email
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.e2e.stage import clean_environment
from tests.e2e.traces import ROOT, assert_nothing_left, place

PACKAGES = (
    "caas", "core", "api", "gateway", "ota_engine", "telemetry", "vehicle_sim", "partner_sims",
)  # fmt: skip
# Folders of the checkout that go into the wheel under another name.
CARRIED = ("migrations", "mosquitto")
INSTALL_S = 900.0
# Where an operator keeps private keys; git ignores what lies there.
CERTS = ROOT / "mosquitto" / "certs"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout with what the environment has, and a key lying about."""
    folder = tmp_path_factory.mktemp("wheel")
    key = CERTS / "of-a-test.key"
    key.write_text("private")
    try:
        return build(folder)
    finally:
        key.unlink()


def build(folder: Path) -> Path:
    program = "import sys, hatchling.build as b; print(b.build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (made,) = folder.glob("*.whl")
    return made


def test_the_wheel_has_all_that_the_checkout_has(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (info,) = {name.partition("/")[0] for name in names if ".dist-info/" in name}
        entry_points = archive.read(f"{info}/entry_points.txt").decode()
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
    wanted = {path for package in PACKAGES for path in source_files(package)}
    carried = (path for folder in CARRIED for path in source_files(folder))
    wanted |= {f"caas/_data/{path}" for path in carried if "/certs/" not in path}
    assert wanted - names == set()
    assert not any("/certs/" in name or name.endswith(".key") for name in names)
    for name in ("queries.sql", "firmware.toml", "mosquitto.conf", "acl", "0001_rooms.sql"):
        assert any(there.endswith(f"/{name}") for there in names), name
    assert any("/templates/" in there for there in names)
    assert f"{info}/licenses/LICENSE" in names
    assert "caas = caas.cli:main" in entry_points
    assert metadata["License-Expression"] == "Apache-2.0"
    assert {name.partition("/")[0] for name in names} == {*PACKAGES, info}


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_installed_elsewhere_it_tells_the_story(wheel: Path, tmp_path: Path) -> None:
    """With the locked dependencies, from a folder that is not the checkout."""
    venv = tmp_path / "venv"
    run([sys.executable, "-m", "venv", str(venv)], tmp_path)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install"]
    # Wheels only, as on a machine without a compiler.
    lock = str(ROOT / "requirements.lock")
    run([*pip, "-q", "--require-hashes", "--only-binary", ":all:", "-r", lock], tmp_path)
    run([*pip, "-q", "--no-deps", "--no-index", str(wheel)], tmp_path)
    caas = str(venv / "bin" / "caas")
    assert "demo" in run([caas, "--help"], tmp_path)
    with place() as base:
        run([caas, "demo", "--once"], tmp_path, CAAS_DATA_DIR=str(base))
        assert_nothing_left(base / "once")


def source_files(folder: str) -> list[str]:
    """The files of a folder of the checkout, without what running it leaves there."""
    found = (path for path in (ROOT / folder).rglob("*") if path.is_file())
    names = (path.relative_to(ROOT).as_posix() for path in found)
    return [name for name in names if "__pycache__" not in name]


def run(command: list[str], cwd: Path, **settings: str) -> str:
    """What a command says; it must end well."""
    outside = {k: v for k, v in clean_environment().items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**outside, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=INSTALL_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
