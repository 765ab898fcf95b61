"""The workshops' Vehicle Service System (DOMAIN 5), read only: one live call, no retry of ours."""

import json
from typing import Any, cast

from api.partners.http import NO_RETRY, PartnerClient, PartnerUnavailable

_OK = 200


class VssClient:
    """A car's maintenance status as the workshops give it."""

    def __init__(self, client: PartnerClient) -> None:
        self._client = client

    async def maintenance_status(self, vin: str) -> dict[str, Any]:
        """The answer's body; PartnerUnavailable for no answer, 4xx, 5xx or a malformed body."""
        response = await self._client.request(
            "GET",
            f"/api/v1/vehicles/{vin}/maintenance-status",
            operation="maintenance_status",
            retry=NO_RETRY,
        )
        if response.status_code != _OK:
            raise _unusable(response.status_code, f"answered {response.status_code}")
        try:
            body: Any = response.json()
            # Python reads NaN, Infinity and 1e999; they are no JSON, and no database keeps them.
            text = json.dumps(body, allow_nan=False)
        except (ValueError, RecursionError):
            raise _unusable(_OK, "the body is not JSON") from None
        if "\\u0000" in text:
            raise _unusable(_OK, "a text holds the character NUL")
        if not isinstance(body, dict):
            raise _unusable(_OK, "the body is not an object")
        status = cast("dict[str, Any]", body)
        if status.get("vin") != vin or not isinstance(status.get("functional_blocks"), list):
            raise _unusable(_OK, "the body does not fit the contract")
        return status


def _unusable(status: int, message: str) -> PartnerUnavailable:
    return PartnerUnavailable("vss", message, timed_out=False, status=status)
