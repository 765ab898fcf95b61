"""Mosquitto's password file: ``user:$7$iterations$salt$hash`` lines, PBKDF2 with SHA-512."""

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path

# Mosquitto's own default. It is one thread, checks at each connect and again for everybody at
# SIGHUP; our secrets are random 256-bit strings, which no number of rounds makes harder to guess.
ITERATIONS = 101
SALT_BYTES = 12
FILE_MODE = 0o640


def hash_password(secret: str) -> str:
    """The hash of ``secret`` with a fresh salt."""
    salt = secrets.token_bytes(SALT_BYTES)
    digest = _pbkdf2(secret, salt, ITERATIONS)
    return f"$7${ITERATIONS}${_base64(salt)}${_base64(digest)}"


def verify_password(secret: str, hashed: str) -> bool:
    """Whether ``hashed`` was made from ``secret``; False for a hash of another format."""
    try:
        empty, kind, iterations, salt, digest = hashed.split("$")
        expected = base64.b64decode(digest, validate=True)
        actual = _pbkdf2(secret, base64.b64decode(salt, validate=True), int(iterations))
    except (ValueError, binascii.Error):
        return False
    return not empty and kind == "7" and hmac.compare_digest(expected, actual)


class PasswordFile:
    """User names and their hashes on disk, replaced as a whole so no reader sees half a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, str]:
        """User name → hash; empty when there is no file yet."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
        return {name: hashed for name, hashed in pairs if not name.startswith("#")}

    def write(self, hashes: Mapping[str, str]) -> None:
        """Replace the file by ``hashes`` (from :func:`hash_password`).

        Owner, group and mode of an existing file stay: the broker may run as another user.
        ValueError for a user name that would break the format.
        """
        for name in hashes:
            if not name or any(sign in name for sign in ":\r\n"):
                raise ValueError(f"not a user name for a password file: {name!r}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.writelines(f"{name}:{hashes[name]}\n" for name in sorted(hashes))
                file.flush()
                os.fsync(file.fileno())
                self._keep_access(file.fileno())
            Path(temporary).replace(self.path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def set(self, name: str, secret: str) -> None:
        """Add or change one user; not for two writers at a time."""
        self.write({**self.read(), name: hash_password(secret)})

    def _keep_access(self, descriptor: int) -> None:
        try:
            before = self.path.stat()
        except FileNotFoundError:
            os.fchmod(descriptor, FILE_MODE)
            return
        os.fchmod(descriptor, before.st_mode & 0o777)
        if os.geteuid() == 0:
            os.fchown(descriptor, before.st_uid, before.st_gid)


def _pbkdf2(secret: str, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha512", secret.encode(), salt, iterations)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
