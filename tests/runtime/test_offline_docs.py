"""Swagger pages of the demo's other services, which load nothing from elsewhere."""

import re
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

import partner_sims.app
import vehicle_sim.main


def _stub() -> Any:
    """What the applications only ask for their checks."""
    return SimpleNamespace(check=None)


@pytest.mark.parametrize(
    "app",
    [
        partner_sims.app.make_app(_stub(), CollectorRegistry()),
        vehicle_sim.main.build_app(_stub(), _stub(), _stub()),
    ],
    ids=["partner_sims", "vehicle_sim"],
)
async def test_the_swagger_page_is_served_whole(app: FastAPI) -> None:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        page = (await client.get("/docs")).text
        assets = re.findall(r'(?:src|href)="([^"]+)"', page)
        assert len(assets) >= 2
        for asset in assets:
            assert asset.startswith("/")
            assert (await client.get(asset)).status_code == 200
