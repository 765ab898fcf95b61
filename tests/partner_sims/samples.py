"""Requests as the platform makes them, and what tests do with several partners."""

import hashlib
import hmac
import itertools
from typing import Any

from tests.partner_sims.harness import Partners, Received

VIN = "VAURA0TEST0000001"
OK_CARD = "4242424242424242"
_numbers = itertools.count(2)


def fresh_vin() -> str:
    """A VIN no other test has."""
    return f"VAURA0TEST{next(_numbers):07d}"


def order(platform: str = "AURORA", **specification: Any) -> dict[str, Any]:
    return {
        "customer_id": "CAAS-CUST-123456",
        "vehicle_specification": {
            "platform_base": platform,
            "initial_options": ["PREMIUM_ENTERTAINMENT"],
            "color": "blue",
            "interior": "cloth",
            **specification,
        },
        "dealership_id": "DEALER-ES-001",
        "delivery_address": {
            "street": "Calle Mayor 1",
            "city": "Zaragoza",
            "postal_code": "50001",
            "country": "ES",
        },
        "plan_comercial": {
            "maintenance_included": True,
            "warranty_years": 3,
            "opciones_permanentes": [],
        },
    }


def registration(vin: str = VIN, tax_id: str = "12345678Z", **more: Any) -> dict[str, Any]:
    return {
        "vehicle_id": vin,
        "customer_id": "CAAS-CUST-123456",
        "country": "ES",
        "vin": vin,
        "manufacturer": "CaaS Motors",
        "model": "AURORA",
        "engine": "ELECTRIC",
        "power_kw": 150,
        "emissions_g_km": 0,
        "weight_kg": 1800,
        "owner": {"id": "c1", "tax_id": tax_id, "name": "Ana García"},
        "dealership": {
            "dealership_id": "DEALER-ES-001",
            "location": "Zaragoza",
            "authorization_number": "A-1",
        },
        "purchase_date": "2026-01-15",
        "payment_confirmation": "txn_1",
        "invoice_number": "INV-1",
        **more,
    }


def token(partners: Partners, pan: str = OK_CARD) -> str:
    answer = partners.http.post(
        "/payments/_form/tokenize", json={"pan": pan, "exp": "12/2049", "cvv": "123"}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["payment_token"]


def payment(payment_token: str, key: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "SERVICE",
        "amount_minor": 6000,
        "currency": "EUR",
        "payment_token": payment_token,
        "capture": True,
        "idempotency_key": key,
        "reference": f"ref-{key}",
        **more,
    }


def kinds(partners: Partners, reference: str) -> list[str]:
    ledger = partners.http.get("/payments/_control/ledger", params={"reference": reference}).json()
    return [movement["kind"] for movement in ledger["movements"]]


def is_signed(webhook: Received, header: str, secret: str) -> bool:
    expected = hmac.new(secret.encode(), webhook.raw, hashlib.sha256).hexdigest()
    return webhook.headers.get(header) == expected
