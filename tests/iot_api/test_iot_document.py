"""The IoT API does what its document says, for whatever the document allows."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.iot_api.world import VIN, World

# All but "what fits the schema is accepted": a service the vehicle does not have fits, and is 422.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "negative_data_rejection",
    "ignored_auth",
    "unsupported_method",
)


@pytest.mark.proof
async def test_every_call_keeps_to_the_document(world: World, tmp_path: Path) -> None:
    headers = await world.client()
    url = str(world.http.base_url).rstrip("/")
    config = tmp_path / "schemathesis.toml"
    config.write_text(f'[parameters]\n"path.vin" = "{VIN}"\n', encoding="utf-8")
    command = [
        str(Path(sys.executable).with_name("st")),
        f"--config-file={config}",
        "run",
        f"{url}/openapi.json",
        f"--url={url}",
        f"--header=Authorization: {headers['Authorization']}",
        f"--checks={','.join(CHECKS)}",
        "--phases=coverage,fuzzing",
        "--max-examples=20",
        "--generation-deterministic",
    ]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    published = json.loads(Path("docs/iot-api.json").read_text(encoding="utf-8"))
    calls = sum(len(methods) for methods in published["paths"].values())
    assert f"{calls} selected / {calls} total" in done.stdout
