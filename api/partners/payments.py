"""The payment gateway's contract (DOMAIN 11) in our words."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

import httpx

import core.log
from api.partners.http import PartnerClient, PartnerUnavailable
from core.money import Money

log = core.log.get(__name__)

_DECLINED = 402
_CONFLICT = 409


class GatewayStatus(StrEnum):
    """Where a transaction stands at the gateway."""

    PENDING = "PENDING"
    AUTHORIZED = "AUTHORIZED"
    CAPTURED = "CAPTURED"
    VOIDED = "VOIDED"
    DECLINED = "DECLINED"


@dataclass(frozen=True, slots=True)
class GatewayAnswer:
    """What the gateway says of a transaction; ``error_code`` only with DECLINED."""

    transaction_id: str | None
    status: GatewayStatus
    error_code: str | None = None


@dataclass(frozen=True, slots=True)
class RefundAnswer:
    """A refund the gateway has taken on; its completion comes by webhook."""

    refund_id: str
    status: str


class PaymentGateway:
    """Every call may be repeated: the gateway answers the same and moves money once.

    PartnerUnavailable where no usable answer came, retries included.
    """

    def __init__(self, client: PartnerClient) -> None:
        self._client = client

    async def submit(
        self,
        *,
        kind: str,
        amount: Money,
        payment_token: str,
        capture: bool,
        idempotency_key: str,
        reference: str,
    ) -> GatewayAnswer:
        """Charge (``capture``) or hold."""
        response = await self._client.request(
            "POST",
            "/transactions",
            operation="submit",
            json={
                "type": kind,
                "amount_minor": amount.minor,
                "currency": amount.currency,
                "payment_token": payment_token,
                "capture": capture,
                "idempotency_key": idempotency_key,
                "reference": reference,
            },
            idempotency_key=idempotency_key,
        )
        return _transaction(response)

    async def find(self, transaction_id: str) -> GatewayAnswer:
        """Where a transaction stands."""
        response = await self._client.request(
            "GET", f"/transactions/{transaction_id}", operation="query"
        )
        return _transaction(response)

    async def capture(self, transaction_id: str) -> GatewayAnswer:
        """Take the held money. Where that is not possible: how the transaction stands."""
        return await self._end(transaction_id, "capture")

    async def void(self, transaction_id: str) -> GatewayAnswer:
        """Let the held money go. Where that is not possible: how the transaction stands."""
        return await self._end(transaction_id, "void")

    async def refund(
        self, transaction_id: str, *, amount: Money, idempotency_key: str
    ) -> RefundAnswer:
        """Order money back."""
        response = await self._client.request(
            "POST",
            f"/transactions/{transaction_id}/refund",
            operation="refund",
            json={
                "originalTransactionId": transaction_id,
                "amount_minor": amount.minor,
                "idempotency_key": idempotency_key,
            },
            idempotency_key=idempotency_key,
        )
        body = _body(response)
        if not response.is_success or "refundId" not in body:
            raise _unusable(response)
        return RefundAnswer(str(body["refundId"]), str(body.get("status", "PENDING")))

    async def _end(self, transaction_id: str, verb: str) -> GatewayAnswer:
        response = await self._client.request(
            "POST", f"/transactions/{transaction_id}/{verb}", operation=verb
        )
        if response.status_code == _CONFLICT:
            return await self.find(transaction_id)
        return _transaction(response)


def _transaction(response: httpx.Response) -> GatewayAnswer:
    body = _body(response)
    given = body.get("transaction_id")
    transaction_id = None if given is None else str(given)
    if response.status_code == _DECLINED:
        code = str(body.get("error_code") or "CARD_DECLINED")
        return GatewayAnswer(transaction_id, GatewayStatus.DECLINED, code)
    if not response.is_success or transaction_id is None:
        raise _unusable(response)
    try:
        status = GatewayStatus(_status_text(body))
    except ValueError:
        raise _unusable(response) from None
    error = body.get("error_code") if status is GatewayStatus.DECLINED else None
    return GatewayAnswer(transaction_id, status, None if error is None else str(error))


def _status_text(body: dict[str, Any]) -> str:
    """The contract's ``pending`` alone is enough; ``status`` says which kind of yes it is."""
    return "PENDING" if body.get("pending") is True else str(body.get("status"))


def _body(response: httpx.Response) -> dict[str, Any]:
    try:
        body: Any = response.json()
    except ValueError:
        return {}
    return cast("dict[str, Any]", body) if isinstance(body, dict) else {}


def _unusable(response: httpx.Response) -> PartnerUnavailable:
    """An answer that says nothing about the money: as good as none, and worth an alert."""
    log.error(
        "payment gateway answered what cannot be used",
        statusCode=response.status_code,
        code=_body(response).get("error_code"),
    )
    return PartnerUnavailable(
        "payments",
        f"unusable answer {response.status_code}",
        timed_out=True,
        status=response.status_code,
    )
