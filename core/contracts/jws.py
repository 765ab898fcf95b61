"""Commands as compact JWS with Ed25519: signed by the platform, verified by the vehicle (BUS)."""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import cast
from uuid import UUID

from joserfc import jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwk import KeySet, OKPKey

from core.contracts.bus import MAX_INTEGER, Command, Unusable, decode, encode

TYP = "caas-command+json"
CONTENT_TYPE = "application/jose"
ALG = "EdDSA"


class _OnlyEdDsa(jws.JWSRegistry):
    """Allows the one algorithm of BUS.md, whose newer name (RFC 9864) joserfc would rather see.

    A header member that is not known is ignored (RFC 7515, 4), so that one can be added some day.
    """

    def get_alg(self, name: str):
        if name != ALG:
            raise UnsupportedAlgorithmError(f"alg is {name!r}, not {ALG}")
        return self.algorithms[name]


_REGISTRY = _OnlyEdDsa(strict_check_header=False)


class BadSignature(Unusable):
    """The JWS is not signed by a key the verifier trusts."""

    def __init__(self, message: str) -> None:
        super().__init__("BAD_SIGNATURE", message)


def new_signing_key() -> OKPKey:
    """A fresh private Ed25519 key; its ``kid`` is its RFC 7638 thumbprint."""
    key = OKPKey.generate_key("Ed25519", private=True)
    return OKPKey.import_key({**key.as_dict(private=True), "kid": key.thumbprint()})


def sign(command: Command, key: OKPKey) -> bytes:
    """The payload of ``cmd``: header, command and signature, in compact serialization."""
    header = {"alg": ALG, "kid": key.kid, "typ": TYP}
    return jws.serialize_compact(header, encode(command), key, registry=_REGISTRY).encode()


def _check_header(header: Mapping[str, object]) -> None:
    if header.get("typ") != TYP:
        raise BadSignature(f"typ is {header.get('typ')!r}, not {TYP}")
    if not isinstance(header.get("kid"), str):
        # Without one joserfc would try a key of its choice.
        raise BadSignature("no kid")
    if "crit" in header:
        raise BadSignature("crit: the contract knows no extension of JWS")


def verify(payload: bytes, keys: KeySet) -> Command:
    """The command inside; BadSignature or Unusable (MALFORMED, NOT_JSON) where there is none."""
    try:
        token = jws.extract_compact(payload)
        header: Mapping[str, object] = token.headers()
        _check_header(header)
        verified = jws.deserialize_compact(payload, keys, registry=_REGISTRY)
    except (JoseError, ValueError, KeyError) as error:
        raise BadSignature(str(error)) from None
    return decode(Command, verified.payload)


def peek_ids(payload: bytes) -> tuple[UUID | None, int | None]:
    """(command_id, seq) of a command that cannot be trusted, as far as they can be read (BUS).

    A number outside of what an answer can carry is None: a forger must not make it unusable.
    """
    try:
        body = payload.split(b".")[1]
        content: object = json.loads(base64.urlsafe_b64decode(body + b"=" * (-len(body) % 4)))
    except (IndexError, binascii.Error, ValueError, RecursionError):
        return None, None
    if not isinstance(content, dict):
        return None, None
    members = cast("dict[str, object]", content)
    raw_id, seq = members.get("command_id"), members.get("seq")
    try:
        command_id = UUID(raw_id) if isinstance(raw_id, str) else None
    except ValueError:
        command_id = None
    usable = isinstance(seq, int) and not isinstance(seq, bool) and 0 <= seq <= MAX_INTEGER
    return command_id, cast("int", seq) if usable else None
