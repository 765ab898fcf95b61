"""The REST API as one ASGI application: every noun's routes under one prefix."""

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from api.deps import ApiDeps
from api.nouns import ROUTERS
from api.pages.routes import router as pages
from core.ops import add_ops_routes
from core.web.answers import add_error_handlers
from core.web.middleware import BodyLimit, RequestContext, RequestMetrics

PREFIX = "/api/v1"
METRICS = RequestMetrics("api")


def create_app(deps: ApiDeps) -> FastAPI:
    """The application over ``deps``; it opens and closes nothing of them."""
    # Its Swagger page brings its own files: the plain one loads them from a CDN.
    app = FastAPIOffline(
        title="CaaS",
        version="1",
        summary="Sells a car, and the features it already has.",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url="/docs",
        redoc_url=None,
    )
    app.state.deps = deps
    for router in ROUTERS:
        app.include_router(router, prefix=PREFIX)
    app.include_router(pages)
    add_error_handlers(app)
    app.add_middleware(BodyLimit, max_bytes=deps.settings.api.max_body_bytes)
    app.add_middleware(RequestContext, metrics=METRICS, prefix=PREFIX)
    add_ops_routes(app, "api", {"database": deps.database.ping})
    return app
