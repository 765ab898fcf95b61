"""How the gateway proves to a foreign API who it is: OAuth2, client certificate, key + HMAC."""

import asyncio
import re
import ssl
import time
from collections.abc import AsyncGenerator, Generator
from urllib.parse import quote_plus

import httpx

from core.clock import Clock, rfc3339
from core.contracts.iot_api import (
    KEY_HEADER,
    REQUEST_ID_HEADER,
    SIGNATURE_HEADER,
    TIME_HEADER,
    request_signature,
)
from core.errors import SettingsError
from gateway.foreign.apis import ClientCertificate, ForeignApi, KeyAndHmac, OAuth2, read_secret
from gateway.foreign.body import clean_text, read_body

# Renewed this long before its end, or at half of a short life.
_SPARE_S = 30.0
_LIFE_S = 60.0
_LONGEST_S = 30 * 86_400.0
_TOKEN = re.compile(r"[\x21-\x7e]+")
_UNAUTHORIZED = 401
_REFUSALS = frozenset({400, 401, 403})


class TokenRefused(httpx.RequestError):
    """The token endpoint does not know us: our configuration, not the API's state."""


class ClientCredentials(httpx.Auth):
    """A bearer token, kept until it is nearly over and fetched anew, once, after a 401."""

    def __init__(self, token_url: str, client_id: str, secret: str, scope: str = "") -> None:
        self._url = token_url
        # RFC 6749, 2.3.1: form-encoded before they are joined.
        self._client = httpx.BasicAuth(quote_plus(client_id), quote_plus(secret))
        self._scope = scope
        self._token: str | None = None
        self._good_until = 0.0
        self._lock = asyncio.Lock()

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Token first where none is good, then the request, then once more after a 401."""
        async with self._lock:  # one fetch, however many calls wait for it
            if self._token is None or time.monotonic() >= self._good_until:
                await self._keep((yield self._token_request(request)))
            used = self._token
        request.headers["Authorization"] = f"Bearer {used}"
        response = yield request
        if response.status_code != _UNAUTHORIZED:
            return
        async with self._lock:
            if self._token == used:
                await self._keep((yield self._token_request(request)))
            used = self._token
        request.headers["Authorization"] = f"Bearer {used}"
        yield request

    def _token_request(self, request: httpx.Request) -> httpx.Request:
        data = {"grant_type": "client_credentials"}
        if self._scope:
            data["scope"] = self._scope
        # httpx sets no time limit of its own on what an auth flow sends.
        made = httpx.Request(
            "POST", self._url, data=data, extensions={"timeout": request.extensions["timeout"]}
        )
        return next(self._client.auth_flow(made))

    async def _keep(self, response: httpx.Response) -> None:
        self._token = None
        await response.aread()
        if response.status_code in _REFUSALS:
            said = clean_text(response.text[:200])
            raise TokenRefused(f"no token: {response.status_code} {said}", request=response.request)
        body = read_body(response.content) if response.is_success else {}
        token, life = body.get("access_token"), body.get("expires_in", _LIFE_S)
        # RFC 6749, appendix A.12: anything else could not be put into a header.
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise httpx.RemoteProtocolError(
                f"no token in the answer {response.status_code}", request=response.request
            )
        seconds = _seconds(life)
        self._token = token
        self._good_until = time.monotonic() + max(seconds - _SPARE_S, seconds / 2)


def _seconds(life: object) -> float:
    """The life of a token as an API writes it, or else a careful guess."""
    try:
        seconds = float(life) if isinstance(life, int | float | str) else _LIFE_S
    except ValueError:
        return _LIFE_S
    return min(seconds, _LONGEST_S) if seconds >= 0 else _LIFE_S  # nor of NaN, which is neither


class RequestSignature(httpx.Auth):
    """``X-Api-Key``, ``X-Timestamp`` and ``X-Signature`` (docs/iot-api.md, Signed requests)."""

    requires_request_body = True

    def __init__(self, key_id: str, secret: str, clock: Clock) -> None:
        self._key_id = key_id
        self._secret = secret
        self._clock = clock

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """The request, signed."""
        moment = rfc3339(self._clock.now())
        request.headers[KEY_HEADER] = self._key_id
        request.headers[TIME_HEADER] = moment
        request.headers[SIGNATURE_HEADER] = request_signature(
            self._secret,
            method=request.method,
            target=request.url.raw_path.decode("ascii"),
            moment=moment,
            request_id=request.headers.get(REQUEST_ID_HEADER, ""),
            body=request.content,
        )
        yield request


def auth_of(api: ForeignApi, clock: Clock) -> httpx.Auth | None:
    """What signs an API's requests; SettingsError where a secret cannot be read."""
    auth = api.auth
    match auth:
        case OAuth2():
            base = str(api.base_url).rstrip("/")
            whole = auth.token_path.startswith(("http://", "https://"))
            url = auth.token_path if whole else f"{base}/{auth.token_path.lstrip('/')}"
            return ClientCredentials(url, auth.client_id, read_secret(auth.secret_file), auth.scope)
        case KeyAndHmac():
            return RequestSignature(auth.key_id, read_secret(auth.secret_file), clock)
        case ClientCertificate():
            return None  # the connection itself says who we are


def tls_of(api: ForeignApi) -> ssl.SSLContext:
    """Whom we trust, and our certificate; SettingsError where a file cannot be used."""
    try:
        context = ssl.create_default_context(cafile=api.ca_file)
        if isinstance(api.auth, ClientCertificate):
            context.load_cert_chain(api.auth.certificate_file, api.auth.key_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"the certificates of the API {api.name}: {error}") from None
    return context
