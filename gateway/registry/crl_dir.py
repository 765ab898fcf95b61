"""The revocation lists as OpenSSL looks them up by itself: ``crls/HASH.rN`` in ``CAAS_CA_DIR``.

A broker reads ``crl.pem`` once, at its start. In a folder named by ``capath`` it looks at every
handshake for the next number of the issuer's name, so a list put there counts at once, with no
restart and no signal.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509

CRL_DIR = "crls"
_PEM = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----\n?", re.DOTALL)
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_UTF8_STRING, _SEQUENCE, _SET = 0x0C, 0x30, 0x31


def publish_crls(folder: Path, lists: bytes) -> bool:
    """Put ``lists`` (PEM, one or more) in place under the next number; False where they are there.

    Never a gap and never a number twice: whoever looks remembers how far it has read. What was
    replaced becomes a link to the first list, so that a fresh start reads it for nothing.
    """
    directory = folder / CRL_DIR
    directory.mkdir(parents=True, exist_ok=True)
    by_issuer: dict[str, bytes] = {}
    for text in _PEM.findall(lists):
        issuer = name_hash(x509.load_pem_x509_crl(text).issuer)
        by_issuer[issuer] = by_issuer.get(issuer, b"") + text
    changed = [_publish(directory, issuer, text) for issuer, text in by_issuer.items()]
    return any(changed)


def name_hash(name: x509.Name) -> str:
    """What ``openssl x509 -subject_hash`` prints: of the name without case and spare blanks."""
    canonical = b"".join(
        _tagged(_SET, b"".join(sorted(_attribute(item) for item in part))) for part in name.rdns
    )
    # SHA-1 as OpenSSL has it, of a public name: not to keep anything safe.
    digest = hashlib.sha1(canonical, usedforsecurity=False).digest()
    return f"{int.from_bytes(digest[:4], 'little'):08x}"


def _publish(directory: Path, issuer: str, text: bytes) -> bool:
    number = sum(1 for _ in _numbered(directory, issuer))
    newest = directory / f"{issuer}.r{number - 1}"
    if number and newest.read_bytes() == text:
        return False
    draft = directory / f".{issuer}"
    draft.write_bytes(text)
    draft.chmod(0o644)
    draft.replace(directory / f"{issuer}.r{number}")
    if number > 1:
        draft.unlink(missing_ok=True)
        os.link(directory / f"{issuer}.r0", draft)
        draft.replace(newest)
    return True


def _numbered(directory: Path, issuer: str) -> Iterator[Path]:
    number = 0
    while (path := directory / f"{issuer}.r{number}").exists():
        yield path
        number += 1


def _attribute(item: "x509.NameAttribute[str | bytes]") -> bytes:
    # A name of this attribute alone: SEQUENCE { SET { SEQUENCE { object identifier, value } } }.
    pair = _content(_content(_content(x509.Name([item]).public_bytes())))
    if isinstance(item.value, bytes):
        return _tagged(_SEQUENCE, pair)
    identifier = pair[: 2 + pair[1]]
    value = " ".join(item.value.split()).translate(_LOWER)
    return _tagged(_SEQUENCE, identifier + _tagged(_UTF8_STRING, value.encode()))


def _tagged(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + length.to_bytes(size) + content


def _content(tagged: bytes) -> bytes:
    size = tagged[1] & 0x7F if tagged[1] & 0x80 else 0
    return tagged[2 + size :]
