"""The public command keys over HTTP: what is cached, and for how long it counts."""

from datetime import UTC, datetime
from pathlib import Path

import httpx

from core.keys import new_keys_file, rotate_keys
from gateway.http import KEYS_PATH, make_app


async def test_the_set_is_sent_again_only_when_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    transport = httpx.ASGITransport(make_app(path, {}))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        missing = await http.get(KEYS_PATH)
        assert missing.status_code == 503
        assert "cache-control" not in missing.headers
        new_keys_file(path)
        first = await http.get(KEYS_PATH)
        assert first.headers["content-type"] == "application/jwk-set+json"
        assert first.headers["cache-control"] == "public, max-age=300"
        known = {"If-None-Match": first.headers["etag"]}
        same = await http.get(KEYS_PATH, headers=known)
        assert (same.status_code, same.content) == (304, b"")
        assert same.headers["etag"] == first.headers["etag"]

        announced = rotate_keys(path, datetime.now(UTC), announce_s=3600)
        changed = await http.get(KEYS_PATH, headers=known)
        assert changed.status_code == 200
        kids = [key["kid"] for key in changed.json()["keys"]]
        assert kids == [announced.kid, first.json()["keys"][0]["kid"]]
