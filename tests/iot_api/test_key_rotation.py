"""Command keys rotate while commands flow, and no vehicle refuses one."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from joserfc import jws as compact

from core.contracts.jws import BadSignature, verify
from core.keys import retire_key, rotate_keys, signs_from
from tests.gateway.conftest import eventually
from tests.iot_api.world import World
from vehicle_sim.keys import KeyRing, fetch_from


async def test_keys_rotate_under_a_stream_of_commands(world: World, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    url = str(world.http.base_url.copy_with(path="/.well-known/caas-command-keys.json"))
    # As rarely as a vehicle asks: the announced key must reach it before its first command.
    ring = KeyRing(fetch_from(url, world.http), ask_again_s=0)
    world.car.fetch_keys(ring)
    headers = await world.client()
    kids: list[str] = []
    begin = datetime.now(UTC)
    for turn in range(8):
        if turn == 3:
            begin = signs_from(rotate_keys(path, datetime.now(UTC), announce_s=5))
        if turn == 6:
            await eventually(lambda at=begin: _past(at), "the announced key signs")
        accepted = await world.configure(headers, f"r{turn}")
        assert accepted.status_code == 202, accepted.text
        ended = await world.ended(headers, accepted.json()["commandId"])
        assert ended["status"] == "COMPLETED"
        kids.append(str(compact.extract_compact(world.car.payloads[-1]).headers()["kid"]))
    assert len(set(kids)) == 2
    assert kids[0] == kids[3] != kids[7]

    retire_key(path, kids[0], datetime.now(UTC), force=True)
    fresh = await fetch_from(url, world.http)()
    with pytest.raises(BadSignature):
        verify(world.car.payloads[0], fresh)
    verify(world.car.payloads[7], fresh)


async def _past(moment: datetime) -> bool:
    return datetime.now(UTC) > moment
