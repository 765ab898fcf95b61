"""The registry for administrators as an application of its own, with its own document."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import FastAPI

from core.errors import SettingsError
from core.settings import AccessTokenSettings, OpsSettings, is_loopback
from core.web.answers import add_error_handlers
from core.web.middleware import BodyLimit, RequestContext, RequestMetrics
from gateway.registry.routes import RegistryApi, router

PREFIX = "/api/v1/registry"
METRICS = RequestMetrics("registry")
_IMPORT = "/vehicles/import"
_MAX_BODY = 128 * 1024

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]


class Limits:
    """A file to import may be large; every other body is small, and read before it is judged."""

    def __init__(self, app: App, *, import_max_bytes: int) -> None:
        self._small = BodyLimit(app, max_bytes=_MAX_BODY)
        self._large = BodyLimit(app, max_bytes=import_max_bytes)

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        large = str(scope.get("path", "")).endswith(_IMPORT)
        await (self._large if large else self._small)(scope, receive, send)


def create_registry_app(api: RegistryApi) -> FastAPI:
    """The application, to be mounted at ``PREFIX``."""
    app = _routes()
    app.state.registry = api
    add_error_handlers(app)
    app.add_middleware(Limits, import_max_bytes=api.registry.import_max_bytes)
    app.add_middleware(RequestContext, metrics=METRICS, prefix=PREFIX)
    return app


def openapi_document() -> dict[str, Any]:
    """The calls' OpenAPI document, as it is served at ``PREFIX/openapi.json``."""
    return _routes().openapi()


def refuse_demo_secret(tokens: AccessTokenSettings, ops: OpsSettings) -> None:
    """SettingsError where others reach the gateway and anybody could sign an administrator."""
    default = AccessTokenSettings.model_fields["jwt_secret"].default
    if tokens.jwt_secret == default and not is_loopback(ops.host):
        raise SettingsError(
            f"CAAS_API_JWT_SECRET: still the demo's value, while CAAS_OPS_HOST is {ops.host}; "
            "set the one the API has"
        )


def _routes() -> FastAPI:
    app = FastAPI(
        title="CaaS vehicle registry",
        version="1",
        summary="Enrol vehicles and look after their credentials; for administrators.",
        servers=[{"url": PREFIX}],
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(router)
    return app
