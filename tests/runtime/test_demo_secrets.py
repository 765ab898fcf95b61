"""The secrets of a demo's folder outlive a new version that needs one more."""

import json
from pathlib import Path

import pytest

from caas.demo.secrets import load_or_make
from core.errors import SettingsError


def test_what_is_new_is_added_and_the_rest_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    made = load_or_make(file)
    assert load_or_make(file) == made
    kept = json.loads(file.read_text())
    del kept["svc_bridge"]
    file.write_text(json.dumps(kept))
    again = load_or_make(file)
    assert again.svc_bridge
    assert again.jwt == made.jwt
    assert load_or_make(file) == again


def test_a_spoilt_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    for text in ("{", '{"unknown": "x"}', "[]"):
        file.write_text(text)
        with pytest.raises(SettingsError, match=r"secrets\.json"):
            load_or_make(file)
