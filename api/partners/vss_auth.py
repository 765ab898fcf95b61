"""OAuth2 client credentials for httpx: fetches a token, keeps it until it is nearly over."""

import time
from collections.abc import Generator

import httpx

_SPARE_S = 30.0
_UNAUTHORIZED = 401


class ClientCredentials(httpx.Auth):
    """Adds a bearer token; a 401 makes it fetch a new one, once."""

    requires_response_body = True

    def __init__(self, token_url: str, client_id: str, client_secret: str) -> None:
        self._token_url = token_url
        self._client_id = client_id
        self._client_secret = client_secret
        self._token: str | None = None
        self._good_until = 0.0

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Token first where none is good, then the request, then once more after a 401."""
        if self._token is None or time.monotonic() >= self._good_until:
            self._keep((yield self._token_request(request)))
        request.headers["Authorization"] = f"Bearer {self._token}"
        response = yield request
        if response.status_code == _UNAUTHORIZED:
            self._keep((yield self._token_request(request)))
            request.headers["Authorization"] = f"Bearer {self._token}"
            yield request

    def _token_request(self, request: httpx.Request) -> httpx.Request:
        """Under the time limits of ``request``: httpx sets none on what an auth flow sends."""
        return httpx.Request(
            "POST",
            self._token_url,
            data={
                "grant_type": "client_credentials",
                "client_id": self._client_id,
                "client_secret": self._client_secret,
            },
            extensions={"timeout": request.extensions["timeout"]},
        )

    def _keep(self, response: httpx.Response) -> None:
        """Keep the token of the answer; a TransportError where it holds none."""
        self._token = None
        try:
            body = response.raise_for_status().json()
            self._token = str(body["access_token"])
            life = float(body.get("expires_in", 60))
        except (httpx.HTTPStatusError, ValueError, KeyError, TypeError, AttributeError):
            raise httpx.RemoteProtocolError(
                f"no token in the answer {response.status_code}", request=response.request
            ) from None
        self._good_until = time.monotonic() + life - _SPARE_S
