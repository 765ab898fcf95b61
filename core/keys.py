"""Signing keys of the platform: a JWK set in a file, whose first key signs (BUS, Command)."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OKPKey

from core.contracts.jws import new_signing_key
from core.errors import SettingsError

CURVE = "Ed25519"


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """Private Ed25519 keys; all of them verify, so a key can be retired after its last command."""

    keys: tuple[OKPKey, ...]

    @property
    def current(self) -> OKPKey:
        """The key that signs."""
        return self.keys[0]

    def public_set(self) -> dict[str, Any]:
        """The JWK set a vehicle fetches (``/.well-known/caas-command-keys.json``)."""
        return {
            "keys": [
                {**key.as_dict(private=False), "kid": key.kid, "use": "sig", "alg": "EdDSA"}
                for key in self.keys
            ]
        }

    def verifier(self) -> KeySet:
        """What `core.contracts.jws.verify` takes."""
        return KeySet([OKPKey.import_key(key) for key in self.public_set()["keys"]])


def parse_signing_keys(text: str) -> SigningKeys:
    """``{"keys": [...]}`` as keys; SettingsError where one is not a private Ed25519 key."""
    try:
        members: Any = json.loads(text)["keys"]
        keys = tuple(_private_key(member) for member in members)
    except (ValueError, TypeError, KeyError, JoseError) as error:
        raise SettingsError(
            f"the signing keys are not a JWK set of {CURVE} keys: {error}"
        ) from None
    if not keys:
        raise SettingsError("the set of signing keys is empty")
    return SigningKeys(keys)


def load_signing_keys(path: Path) -> SigningKeys:
    """The keys of a file; SettingsError where it is missing or unusable."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"cannot read the signing keys {path}: {error.strerror}") from None
    return parse_signing_keys(text)


def new_keys_file(path: Path) -> SigningKeys:
    """Make ``path`` with one fresh key, readable by its owner only; an existing file is kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = SigningKeys((new_signing_key(),))
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    draft.touch(mode=0o600, exist_ok=False)
    try:
        draft.write_text(_private_set(fresh), encoding="utf-8")
        # A link fails where the name is taken, so two starts at once agree on one file.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return load_signing_keys(path)


def _private_key(member: Any) -> OKPKey:
    key = OKPKey.import_key(member)
    if member.get("crv") != CURVE or not key.is_private:
        raise ValueError("a key is not a private one")
    return key if key.kid else OKPKey.import_key({**member, "kid": key.thumbprint()})


def _private_set(keys: SigningKeys) -> str:
    members = [{**key.as_dict(private=True), "kid": key.kid} for key in keys.keys]
    return json.dumps({"keys": members}, indent=1) + "\n"
