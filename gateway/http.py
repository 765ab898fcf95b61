"""What the gateway serves over HTTP: health, metrics and the public command keys (BUS, Command)."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Header, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from core.errors import SettingsError
from core.keys import load_signing_keys
from core.ops import HealthCheck, add_ops_routes
from gateway.parts import Part

KEYS_PATH = "/.well-known/caas-command-keys.json"
_KEYS_MAX_AGE_S = 300


def make_app(
    keys_file: Path, checks: Mapping[str, HealthCheck], parts: Sequence[Part] = ()
) -> FastAPI:
    """The application. The keys are read at each request, so a rotation needs no restart."""
    app = FastAPI(title="CaaS gateway", docs_url=None, redoc_url=None, openapi_url=None)
    add_ops_routes(app, "gateway", checks)
    for part in parts:
        for router in part.routers:
            app.include_router(router)
        for path, mounted in part.mounts.items():
            app.mount(path, mounted)

    @app.get(KEYS_PATH)
    async def command_keys(  # pyright: ignore[reportUnusedFunction] - a route
        if_none_match: Annotated[str, Header()] = "",
    ) -> Response:
        try:
            keys = await run_in_threadpool(load_signing_keys, keys_file)
        except SettingsError:
            error = {"code": "KEYS_UNAVAILABLE", "message": "there are no command keys yet"}
            return JSONResponse({"error": error}, status_code=503)
        served = JSONResponse(
            keys.public_set(),
            media_type="application/jwk-set+json",
            headers={"Cache-Control": f"public, max-age={_KEYS_MAX_AGE_S}"},
        )
        # A fleet asks again and again for what seldom changes.
        tag = f'"{hashlib.sha256(served.body).hexdigest()[:32]}"'
        served.headers["ETag"] = tag
        if tag in if_none_match:
            same = {name: served.headers[name] for name in ("Cache-Control", "ETag")}
            return Response(status_code=304, headers=same)
        return served

    return app
