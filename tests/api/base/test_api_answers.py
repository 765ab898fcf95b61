"""The one error shape, the request id, and the ops routes."""

import httpx


async def test_an_unknown_path_has_the_one_shape(client: httpx.AsyncClient) -> None:
    answer = await client.get("/nothing", headers={"X-Request-ID": "abc-1"})
    assert answer.status_code == 404
    assert answer.headers["X-Request-ID"] == "abc-1"
    error = answer.json()["error"]
    assert error["code"] == "NOT_FOUND"
    assert error["requestId"] == "abc-1"


async def test_a_body_that_is_not_json_is_400(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/auth/login", content=b"{", headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "MALFORMED_JSON")


async def test_a_bad_field_is_named_and_its_value_is_not_repeated(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post("/auth/login", json={"username": "a", "secret": "geheim"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "INVALID_REQUEST")
    fields = {item["field"] for item in answer.json()["error"]["details"]["fields"]}
    assert fields == {"password", "secret"}
    assert "geheim" not in answer.text


async def test_health_and_metrics_are_served(client: httpx.AsyncClient) -> None:
    await client.post("/auth/login", json={})
    health = await client.get("http://test/healthz")
    assert health.json() == {"service": "api", "healthy": True, "parts": {"database": "ok"}}
    metrics = await client.get("http://test/metrics")
    assert 'caas_api_requests_total{method="POST",route="/api/v1/auth/login",status="422"}' in (
        metrics.text
    )
