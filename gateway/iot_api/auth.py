"""Who calls the IoT API: a bearer token, a signed request, or a client certificate (DOMAIN 9)."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives import hashes

import core.log
from core.contracts.iot_api import (
    KEY_HEADER,
    REQUEST_ID_HEADER,
    SIGNATURE_HEADER,
    TIME_HEADER,
    request_signature,
)
from core.db import Connection
from core.errors import TooMany, Unauthenticated
from gateway.iot_api import clients, keys
from gateway.iot_api.clients import Caller
from gateway.iot_api.settings import IotApiSettings

PROXY_SECRET_HEADER = "X-Proxy-Secret"  # noqa: S105 - a header's name
log = core.log.get(__name__)

_FINGERPRINT_DIGITS = 64
_MINUTE_S = 60
_MOST_NAMES = 10_000
# No client, key or digest is named longer; of what somebody makes up, no more is kept.
_NAME_LENGTH = 100


@dataclass(frozen=True, slots=True)
class Presented:
    """A request as far as it says who sends it; ``target`` is its path with query, as sent."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    address: str


class Scheme(Protocol):
    """One way to prove who calls."""

    kind: str

    def name(self, request: Presented) -> str | None:
        """Whom the request says it comes from; None where it does not use this way."""
        ...

    async def caller(self, conn: Connection, request: Presented, now: datetime) -> Caller:
        """Who that is; Unauthenticated where it is not proved."""
        ...


class BearerToken:
    """OAuth2: a token of ``POST /oauth/token`` (RFC 6750)."""

    kind = "token"

    def name(self, request: Presented) -> str | None:
        kind, _, value = request.headers.get("authorization", "").partition(" ")
        return _short(value) if kind.lower() == "bearer" and value.strip() else None

    async def caller(self, conn: Connection, request: Presented, now: datetime) -> Caller:
        value = request.headers["authorization"].partition(" ")[2].strip()
        return await clients.caller_of(conn, value, now)


class SignedRequest:
    """Key + HMAC (``core.contracts.iot_api.request_signature``).

    A request taken down and sent again within ``window_s`` does nothing new: an order is idempotent
    by its id, and the id is signed.
    """

    kind = "signature"

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s

    def name(self, request: Presented) -> str | None:
        return request.headers.get(KEY_HEADER.lower())

    async def caller(self, conn: Connection, request: Presented, now: datetime) -> Caller:
        moment = request.headers.get(TIME_HEADER.lower(), "")
        if not _is_recent(moment, now, self._window_s):
            raise Unauthenticated(
                "REQUEST_STALE", f"{TIME_HEADER} is not within {self._window_s:g} s of now"
            )
        known = await keys.find_key(conn, request.headers[KEY_HEADER.lower()], now)
        # Of an unknown key too, so that both cases take as long.
        secret = "" if known is None else known.secret
        given = request.headers.get(SIGNATURE_HEADER.lower(), "")
        wanted = request_signature(
            secret,
            method=request.method,
            target=request.target,
            moment=moment,
            request_id=request.headers.get(REQUEST_ID_HEADER.lower(), ""),
            body=request.body,
        )
        right = hmac.compare_digest(wanted.encode(), given.encode())
        if known is None or not right:
            raise Unauthenticated("SIGNATURE_INVALID", "unknown key or wrong signature")
        return known.caller


class ClientCertificate:
    """mTLS, ended by a proxy that hands on the certificate and proves itself by a secret.

    A header without any proof is not the proxy's and says nothing; one with a wrong proof is the
    proxy with another setting than ours, or somebody who guesses: refused, and in the log.
    """

    kind = "certificate"

    def __init__(self, header: str, proxy_secret: str) -> None:
        self._header = header.lower()
        self._secret = proxy_secret.encode()

    def name(self, request: Presented) -> str | None:
        value = request.headers.get(self._header)
        if not value or PROXY_SECRET_HEADER.lower() not in request.headers:
            return None
        return _short(value) if self._is_proxy(request) else "proxy"

    async def caller(self, conn: Connection, request: Presented, now: datetime) -> Caller:
        if not self._is_proxy(request):
            log.warning("wrong proxy secret", address=request.address)
            raise Unauthenticated("PROXY_SECRET_WRONG", f"{PROXY_SECRET_HEADER} is not the proxy's")
        fingerprint = fingerprint_of(request.headers[self._header])
        found = None if fingerprint is None else await keys.by_certificate(conn, fingerprint)
        if found is None:
            raise Unauthenticated("CERTIFICATE_UNKNOWN", "no client has this certificate")
        return found

    def _is_proxy(self, request: Presented) -> bool:
        given = request.headers.get(PROXY_SECRET_HEADER.lower(), "")
        return hmac.compare_digest(given.encode(), self._secret)


def schemes(settings: IotApiSettings) -> list[Scheme]:
    """The ways these settings allow."""
    allowed: list[Scheme] = [BearerToken(), SignedRequest(settings.signature_window_s)]
    secret = settings.proxy_secret
    if settings.certificate_header is not None and secret is not None:
        allowed.append(ClientCertificate(settings.certificate_header, secret.get_secret_value()))
    return allowed


def fingerprint_of(text: str) -> bytes | None:
    """SHA-256 of a certificate: 64 hex digits, or the PEM, URL-escaped or not; else None."""
    digits = text.replace(":", "").strip()
    try:
        if len(digits) == _FINGERPRINT_DIGITS:
            return bytes.fromhex(digits)
        found = x509.load_pem_x509_certificate(unquote(text).encode())
    except ValueError:
        return None
    return found.fingerprint(hashes.SHA256())


class Failures:
    """Failed proofs a minute by address and name, in this process: beyond ``limit`` none is tried.

    By name as well: behind a proxy one address stands for many callers. A name is what the caller
    shows of itself, so that one's failures shut nobody else out.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._minute = 0
        self._counts: dict[tuple[str, str], int] = {}

    def check(self, address: str, name: str, now: datetime) -> None:
        """TooMany where the limit is used up."""
        self._turn(now)
        if self._counts.get((address, name[:_NAME_LENGTH]), 0) >= self._limit:
            left_s = _MINUTE_S - int(now.timestamp()) % _MINUTE_S
            raise TooMany("too many failed attempts to sign in", left_s)

    def count(self, address: str, name: str, now: datetime) -> None:
        """One more."""
        self._turn(now)
        if len(self._counts) >= _MOST_NAMES:
            self._counts.clear()
        key = (address, name[:_NAME_LENGTH])
        self._counts[key] = self._counts.get(key, 0) + 1

    def _turn(self, now: datetime) -> None:
        minute = int(now.timestamp()) // _MINUTE_S
        if minute != self._minute:
            self._minute = minute
            self._counts.clear()


def _short(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()[:16]


def _is_recent(text: str, now: datetime, window_s: float) -> bool:
    try:
        moment = datetime.fromisoformat(text)
        return abs((now - moment).total_seconds()) <= window_s
    except (ValueError, TypeError, OverflowError):
        return False  # no time, or one without its zone
