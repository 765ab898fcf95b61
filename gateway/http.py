"""What the gateway serves over HTTP: health, metrics and the public command keys (BUS, Command)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fastapi import FastAPI
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
    async def command_keys() -> JSONResponse:  # pyright: ignore[reportUnusedFunction] - a route
        try:
            keys = await run_in_threadpool(load_signing_keys, keys_file)
        except SettingsError:
            error = {"code": "KEYS_UNAVAILABLE", "message": "there are no command keys yet"}
            return JSONResponse({"error": error}, status_code=503)
        return JSONResponse(
            keys.public_set(),
            media_type="application/jwk-set+json",
            headers={"Cache-Control": f"public, max-age={_KEYS_MAX_AGE_S}"},
        )

    return app
