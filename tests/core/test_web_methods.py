"""What a caller writes as its method becomes no time series, and no long log line."""

import httpx
import pytest
import structlog
from fastapi import FastAPI
from prometheus_client import REGISTRY

from core.web.middleware import RequestContext, RequestMetrics


@pytest.fixture(scope="module")
def metrics() -> RequestMetrics:
    return RequestMetrics("methods_test")  # once a process: the registry is global


async def test_an_unknown_method_is_counted_as_other(metrics: RequestMetrics) -> None:
    app = FastAPI()
    app.add_middleware(RequestContext, metrics=metrics)
    transport = httpx.ASGITransport(app=app)
    with structlog.testing.capture_logs() as lines:
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            await client.get("/")
            for number in range(20):
                await client.request(f"M{number}{'A' * 4000}", "/")
    counted = {
        sample.labels["method"]: sample.value
        for family in REGISTRY.collect()
        if family.name == "caas_methods_test_requests"
        for sample in family.samples
        if sample.name.endswith("_total")
    }
    assert counted == {"GET": 1, "other": 20}
    assert len(lines) == 21
    assert max(len(line["method"]) for line in lines) == 20
