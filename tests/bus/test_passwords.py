"""Mosquitto's password format, checked against Mosquitto's own tool, and the file's rewriting."""

import subprocess
from pathlib import Path

import pytest

from core.passwords import PasswordFile, hash_password, verify_password


def test_a_hash_verifies_its_own_secret_only() -> None:
    hashed = hash_password("correct")
    assert verify_password("correct", hashed)
    assert not verify_password("wrong", hashed)
    assert hash_password("correct") != hashed


@pytest.mark.parametrize("hashed", ["", "plain", "$6$salt$hash", "$7$x$y$z", "$7$101$AA==$!!"])
def test_another_format_never_verifies(hashed: str) -> None:
    assert not verify_password("secret", hashed)


def test_what_mosquitto_hashed_verifies_here(tmp_path: Path) -> None:
    path = tmp_path / "passwords"
    path.write_text("one:secret of one\n", encoding="utf-8")
    subprocess.run(["mosquitto_passwd", "-U", str(path)], check=True)
    assert verify_password("secret of one", PasswordFile(path).read()["one"])


def test_the_file_keeps_its_mode_and_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "passwords"
    file = PasswordFile(path)
    file.write({"b": "hash b", "a": "hash a"})
    assert path.read_text(encoding="utf-8") == "a:hash a\nb:hash b\n"
    assert path.stat().st_mode & 0o777 == 0o640
    path.chmod(0o600)
    before = path.stat().st_ino
    file.set("c", "secret")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_ino != before
    assert set(file.read()) == {"a", "b", "c"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["passwords"]


@pytest.mark.parametrize("name", ["", "a:b", "a\nroot"])
def test_a_name_that_would_break_the_file_is_refused(tmp_path: Path, name: str) -> None:
    file = PasswordFile(tmp_path / "passwords")
    file.write({"a": "hash"})
    with pytest.raises(ValueError, match="user name"):
        file.write({name: "hash"})
    assert file.read() == {"a": "hash"}
