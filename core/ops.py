"""``/healthz`` and ``/metrics`` of a service, and the run loop every service shares."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Awaitable, Callable, Generator, Mapping

import uvicorn
from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

import core.log
from core.errors import DomainError, Unavailable

log = core.log.get(__name__)

HealthCheck = Callable[[], Awaitable[None]]
_CHECK_TIMEOUT_S = 5.0


def add_ops_routes(app: FastAPI, service: str, checks: Mapping[str, HealthCheck]) -> None:
    """Serve ``/healthz`` (200 with every part's state, or 503) and ``/metrics`` on ``app``."""

    @app.get("/healthz", include_in_schema=False)
    async def healthz(response: Response) -> dict[str, object]:  # pyright: ignore[reportUnusedFunction]
        parts = {name: await _state(check) for name, check in checks.items()}
        healthy = all(state == "ok" for state in parts.values())
        response.status_code = 200 if healthy else 503
        return {"service": service, "healthy": healthy, "parts": parts}

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:  # pyright: ignore[reportUnusedFunction]
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)


async def _state(check: HealthCheck) -> str:
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            await check()
    except TimeoutError:
        return f"no answer in {_CHECK_TIMEOUT_S:g} s"
    except DomainError as error:
        return str(error)
    return "ok"


class _Server(uvicorn.Server):
    """uvicorn without handlers for signals: the service's run loop has them already."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class HttpServer:
    """uvicorn inside the service's own loop."""

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        self._server = _Server(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=5,
            )
        )
        self._host, self._port = host, port

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop``; Unavailable at once where the address is taken."""
        try:
            listener = socket.create_server((self._host, self._port), backlog=512)
        except OSError as error:
            raise Unavailable(
                "PORT_TAKEN", f"cannot listen on {self._host}:{self._port}: {error.strerror}"
            ) from None
        with listener:
            serving = asyncio.create_task(self._server.serve(sockets=[listener]))
            stopping = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopping.cancel()
                self._server.should_exit = True
                await serving


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set; must be called inside the running loop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
