"""The file of signing keys: made once, closed to others, rotated by order."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.contracts import jws
from core.contracts.bus import Command, CommandKind
from core.errors import Conflict, NotFound, SettingsError
from core.ids import new_id
from core.keys import (
    KeyFile,
    SigningKeys,
    load_signing_keys,
    new_keys_file,
    parse_signing_keys,
    retire_key,
    rotate_keys,
)

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)


def command() -> Command:
    return Command(
        vin="VF1AURRA000000017",
        command_id=new_id(),
        seq=1,
        kind=CommandKind.QUERY,
        issued_at=NOW,
        expires_at=NOW + timedelta(seconds=300),
    )


def test_a_new_file_is_closed_to_others_and_kept_when_it_is_there(tmp_path: Path) -> None:
    path = tmp_path / "below" / "keys.json"
    made = new_keys_file(path)
    assert path.stat().st_mode & 0o077 == 0
    assert new_keys_file(path).current.kid == made.current.kid
    assert [entry.name for entry in path.parent.iterdir()] == ["keys.json"]


def test_the_public_set_verifies_what_the_current_key_signs_and_holds_no_secret(
    tmp_path: Path,
) -> None:
    keys = new_keys_file(tmp_path / "keys.json")
    sent = command()
    assert jws.verify(jws.sign(sent, keys.current), keys.verifier()) == sent
    assert all("d" not in member for member in keys.public_set()["keys"])


def test_after_a_rotation_the_old_key_still_verifies(tmp_path: Path) -> None:
    old = new_keys_file(tmp_path / "old.json")
    new = new_keys_file(tmp_path / "new.json")
    both = SigningKeys((new.current, old.current))
    assert both.current.kid == new.current.kid
    for key in (old.current, new.current):
        jws.verify(jws.sign(command(), key), both.verifier())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"keys": []}',
        '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}',
        json.dumps({"keys": [jws.new_signing_key().as_dict(private=False)]}),
    ],
)
def test_an_unusable_set_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        parse_signing_keys(text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.json"):
        load_signing_keys(tmp_path / "nowhere.json")


def test_a_new_key_is_announced_before_it_signs(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    old = new_keys_file(path).current
    file = KeyFile(path)
    assert file.load().signer(NOW).kid == old.kid
    path.chmod(0o640)
    new = rotate_keys(path, NOW, announce_s=600)
    assert path.stat().st_mode & 0o777 == 0o640
    keys = file.load()  # no restart
    assert [member["kid"] for member in keys.public_set()["keys"]] == [new.kid, old.kid]
    assert all("nbf" not in member for member in keys.public_set()["keys"])
    begin = NOW + timedelta(seconds=600)
    assert keys.signer(begin - timedelta(seconds=1)).kid == old.kid
    assert keys.signer(begin).kid == new.kid
    with pytest.raises(Conflict):
        rotate_keys(path, NOW, announce_s=600)
    rotate_keys(path, begin, announce_s=0)
    assert len(file.load().keys) == 3


def test_a_key_is_announced_for_no_less_than_was_asked(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    old = new_keys_file(path).current
    late = NOW + timedelta(milliseconds=999)
    new = rotate_keys(path, late, announce_s=1)
    keys = load_signing_keys(path)
    assert keys.signer(late + timedelta(milliseconds=999)).kid == old.kid
    assert keys.signer(late + timedelta(seconds=1)).kid == new.kid


def test_a_key_goes_once_its_last_command_is_over(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    old = new_keys_file(path).current
    assert old.kid is not None
    with pytest.raises(Conflict, match="signs now"):
        retire_key(path, old.kid, NOW)
    new = rotate_keys(path, NOW, announce_s=0)
    with pytest.raises(Conflict, match="may be valid until 2026-11-24T09:00:00Z"):
        retire_key(path, old.kid, NOW + timedelta(minutes=59))
    with pytest.raises(NotFound):
        retire_key(path, "nonsense", NOW)
    retire_key(path, old.kid, NOW + timedelta(hours=1))
    keys = load_signing_keys(path)
    assert [key.kid for key in keys.keys] == [new.kid]
    with pytest.raises(jws.BadSignature):
        jws.verify(jws.sign(command(), old), keys.verifier())


def test_a_file_that_breaks_leaves_the_last_good_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    made = new_keys_file(path).current
    file = KeyFile(path)
    file.load()
    path.write_text("{", encoding="utf-8")
    assert file.load().current.kid == made.kid
    path.unlink()
    assert file.load().current.kid == made.kid
    with pytest.raises(SettingsError):
        KeyFile(path).load()
