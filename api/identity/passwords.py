"""Passwords: argon2 hashes, and generated ones for a first login."""

import asyncio
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_HASHER = PasswordHasher()
# No letters or digits that are taken for one another when typed from an e-mail.
_ALPHABET = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_GENERATED_LENGTH = 14
# Verified against where no account is, so that both cases take as long.
_NOBODY = _HASHER.hash(secrets.token_urlsafe(16))


def generate() -> str:
    """A random password for a first login (82 bits)."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_GENERATED_LENGTH))


async def hash_password(password: str) -> str:
    """The argon2id hash, made in a thread: it takes tens of milliseconds of a core."""
    return await asyncio.to_thread(_HASHER.hash, password)


async def matches(password_hash: str | None, password: str) -> bool:
    """True where the password is right; an unknown account takes just as long."""
    right = await asyncio.to_thread(_verify, password_hash or _NOBODY, password)
    return right and password_hash is not None


def _verify(password_hash: str, password: str) -> bool:
    try:
        return _HASHER.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False
