"""What an answer can say of a command nobody may trust."""

import base64
import json
from uuid import UUID

import pytest

from core.contracts.bus import MAX_INTEGER
from core.contracts.jws import peek_ids

KNOWN = "01926f3a-0000-7000-8000-000000000001"


def forged(content: bytes) -> bytes:
    return b"e30." + base64.urlsafe_b64encode(content).rstrip(b"=") + b".AAAA"


def test_what_can_be_read_is_read() -> None:
    content = json.dumps({"command_id": KNOWN, "seq": MAX_INTEGER}).encode()
    assert peek_ids(forged(content)) == (UUID(KNOWN), MAX_INTEGER)


@pytest.mark.parametrize("seq", [-1, MAX_INTEGER + 1, 10**400, 1.5, True, "7", None])
def test_a_number_no_answer_can_carry_is_unknown(seq: object) -> None:
    content = json.dumps({"command_id": KNOWN, "seq": seq}).encode()
    assert peek_ids(forged(content)) == (UUID(KNOWN), None)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"no dots",
        forged(b"\xff\xfe"),
        forged(b"[]"),
        forged(b"[" * 100_000),
        forged(b'{"seq": ' + b"9" * 10_000 + b"}"),
        b"e30.\xff\xff.AAAA",
        forged(b'{"command_id": "no uuid", "seq": {}}'),
    ],
)
def test_bytes_that_say_nothing_say_nothing(payload: bytes) -> None:
    assert peek_ids(payload) == (None, None)
