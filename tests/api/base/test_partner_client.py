"""The partner client's retries: by table, bounded, with one key."""

import httpx
import pytest

from api.partners.http import NO_RETRY, PartnerClient, PartnerUnavailable, RetryPlan


class Partner(httpx.AsyncBaseTransport):
    """Answers with what it is told, and remembers what it was asked."""

    def __init__(self, *answers: int | httpx.TransportError) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, httpx.TransportError):
            raise answer
        return httpx.Response(answer, json={})


def client(partner: Partner, plan: RetryPlan = NO_RETRY) -> PartnerClient:
    return PartnerClient(
        "test", "http://partner/base", timeout_s=1, retry=plan, bearer="t", transport=partner
    )


async def test_a_refusal_is_an_answer() -> None:
    partner = Partner(402)
    answer = await client(partner).request("POST", "/x", operation="x", idempotency_key="k")
    assert answer.status_code == 402
    assert str(partner.asked[0].url) == "http://partner/base/x"
    assert partner.asked[0].headers["Idempotency-Key"] == "k"
    assert partner.asked[0].headers["Authorization"] == "Bearer t"


@pytest.mark.parametrize(
    ("answers", "plan", "asked"),
    [
        ((503,), NO_RETRY, 1),
        ((503, 500, 502), RetryPlan(server=(0, 0)), 3),
        ((429, 429), RetryPlan(network=(0, 0), server=(0,)), 2),
        ((httpx.ReadTimeout("t"),) * 3, RetryPlan(network=(0, 0)), 3),
    ],
)
async def test_retries_end_with_the_table(answers, plan, asked) -> None:
    partner = Partner(*answers)
    with pytest.raises(PartnerUnavailable):
        await client(partner, plan).request("GET", "/x", operation="x")
    assert len(partner.asked) == asked


async def test_a_retry_repeats_key_and_body() -> None:
    partner = Partner(httpx.ConnectError("down"), 503, 201)
    answer = await client(partner, RetryPlan((0, 0), (0, 0))).request(
        "POST", "/x", operation="x", json={"a": 1}, idempotency_key="k"
    )
    assert answer.status_code == 201
    assert {r.headers["Idempotency-Key"] for r in partner.asked} == {"k"}
    assert {r.content for r in partner.asked} == {b'{"a":1}'}


@pytest.mark.parametrize(
    ("error", "in_doubt"), [(httpx.ConnectError("x"), False), (httpx.ReadTimeout("x"), True)]
)
async def test_only_a_lost_answer_leaves_doubt(error, in_doubt) -> None:
    with pytest.raises(PartnerUnavailable) as raised:
        await client(Partner(error)).request("GET", "/x", operation="x")
    assert raised.value.timed_out is in_doubt
