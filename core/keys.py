"""Signing keys of the platform: a JWK set in a file, newest first (BUS, Command).

A key's ``nbf`` says from when on it signs: until then it is only announced, so that vehicles have
it before the first command that needs it.
"""

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OKPKey

from core.contracts.jws import new_signing_key
from core.errors import Conflict, NotFound, SettingsError

CURVE = "Ed25519"
# Commands live for minutes: this long after its last one a key may go.
KEEP_S = 3600.0


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """Private Ed25519 keys; all of them verify, so a key can be retired after its last command."""

    keys: tuple[OKPKey, ...]

    @property
    def current(self) -> OKPKey:
        """The newest key, announced or signing."""
        return self.keys[0]

    def signer(self, now: datetime) -> OKPKey:
        """The key that signs at ``now``: the newest that is not only announced."""
        return next((key for key in self.keys if signs_from(key) <= now), self.keys[-1])

    def public_set(self) -> dict[str, Any]:
        """The JWK set a vehicle fetches (``/.well-known/caas-command-keys.json``)."""
        return {
            "keys": [
                {**_public(key), "kid": key.kid, "use": "sig", "alg": "EdDSA"} for key in self.keys
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


class KeyFile:
    """The keys of a file, read again where it was replaced, so that a rotation needs no restart."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[tuple[int, int, int], SigningKeys] | None = None

    def load(self) -> SigningKeys:
        """The keys; the last good ones where the file is gone or broken, SettingsError if none."""
        try:
            found = self._path.stat()
            version = (found.st_ino, found.st_mtime_ns, found.st_size)
            if self._read is None or self._read[0] != version:
                self._read = (version, load_signing_keys(self._path))
        except (OSError, SettingsError):
            if self._read is None:
                return load_signing_keys(self._path)  # says what is wrong
        return self._read[1]


def signs_from(key: OKPKey) -> datetime:
    """From when on a key signs; the epoch where it says nothing."""
    begin: Any = key.as_dict(private=False).get("nbf", 0)
    return datetime.fromtimestamp(float(begin), UTC)


def rotate_keys(path: Path, now: datetime, announce_s: float) -> OKPKey:
    """Add a fresh key that signs in ``announce_s`` seconds; Conflict where one is announced."""
    keys = load_signing_keys(path)
    if signs_from(keys.current) > now:
        raise Conflict("KEY_ANNOUNCED", f"{keys.current.kid} is announced and does not sign yet")
    made = new_signing_key()
    # To the fraction (RFC 7519, NumericDate): whole seconds would announce up to one less.
    begin = (now + timedelta(seconds=announce_s)).timestamp()
    members: Any = {**made.as_dict(private=True), "kid": made.kid, "nbf": begin}
    fresh = OKPKey.import_key(members)
    _replace(path, SigningKeys((fresh, *keys.keys)))
    return fresh


def retire_key(path: Path, kid: str, now: datetime, *, force: bool = False) -> None:
    """Take a key away: what it signed is refused from then on.

    NotFound. Conflict: it signs now, or (without ``force``) commands it signed may still be out.
    """
    keys = load_signing_keys(path)
    place = next((at for at, key in enumerate(keys.keys) if key.kid == kid), None)
    if place is None:
        raise NotFound("UNKNOWN_KEY", f"{path} has no key {kid}")
    if keys.signer(now).kid == kid:
        raise Conflict("KEY_IN_USE", f"{kid} signs now: rotate first")
    if place > 0 and not force:
        until = signs_from(keys.keys[place - 1]) + timedelta(seconds=KEEP_S)
        if now < until:
            raise Conflict(
                "KEY_IN_USE", f"commands signed by {kid} may be valid until {until:%FT%TZ}"
            )
    _replace(path, SigningKeys(tuple(key for key in keys.keys if key.kid != kid)))


def _replace(path: Path, keys: SigningKeys) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    present = path.stat()
    draft.touch(mode=0o600, exist_ok=False)
    try:
        draft.write_text(_private_set(keys), encoding="utf-8")
        # The services that read it may be another user's.
        draft.chmod(present.st_mode & 0o777)
        if os.geteuid() == 0:
            os.chown(draft, present.st_uid, present.st_gid)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _public(key: OKPKey) -> dict[str, Any]:
    members = key.as_dict(private=False)
    return {name: value for name, value in members.items() if name != "nbf"}


def _private_key(member: Any) -> OKPKey:
    key = OKPKey.import_key(member)
    if member.get("crv") != CURVE or not key.is_private:
        raise ValueError("a key is not a private one")
    return key if key.kid else OKPKey.import_key({**member, "kid": key.thumbprint()})


def _private_set(keys: SigningKeys) -> str:
    members = [{**key.as_dict(private=True), "kid": key.kid} for key in keys.keys]
    return json.dumps({"keys": members}, indent=1) + "\n"
