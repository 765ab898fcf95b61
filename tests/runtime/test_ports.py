"""Ports: the wished one, else a free one, and the same again next time."""

import json
import socket
from pathlib import Path

from caas.supervisor.ports import Ports, choose, free_port, is_free


def listen(port: int, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_server((host, port))


def test_the_wished_port_when_it_is_free() -> None:
    port = free_port()
    assert choose(port) == port


def test_another_one_when_somebody_listens_there() -> None:
    with listen(0) as server:
        taken: int = server.getsockname()[1]
        chosen = choose(taken)
        assert not is_free(taken)
        assert chosen != taken
        listen(chosen).close()


def test_a_port_listened_on_for_every_address_is_taken() -> None:
    with listen(0, "0.0.0.0") as server:
        assert not is_free(server.getsockname()[1])


def chosen(folder: Path, wish: int) -> int:
    """What a run chooses that ends at once."""
    ports = Ports(folder)
    port = ports.choose("api", wish)
    ports.release()
    return port


def test_two_demos_that_start_at_once_share_no_port(tmp_path: Path) -> None:
    wish = free_port()
    one, other = Ports(tmp_path / "one"), Ports(tmp_path / "other")
    first = one.choose("api", wish)
    assert other.choose("api", wish) != first
    one.release()
    other.release()


def test_two_names_never_share_a_port(tmp_path: Path) -> None:
    ports = Ports(tmp_path)
    wish = free_port()
    assert ports.choose("api", wish) != ports.choose("gateway", wish)


def test_a_second_run_has_the_same_ports(tmp_path: Path) -> None:
    with listen(0) as server:
        wish: int = server.getsockname()[1]
        first = chosen(tmp_path, wish)
    assert first != wish
    assert chosen(tmp_path, wish) == first
    with listen(first):
        assert chosen(tmp_path, wish) != first


def test_a_new_wish_beats_what_is_remembered(tmp_path: Path) -> None:
    chosen(tmp_path, free_port())
    wish = free_port()
    assert chosen(tmp_path, wish) == wish


def test_a_torn_file_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text('{"api": [8', encoding="utf-8")
    wish = free_port()
    assert chosen(tmp_path, wish) == wish
    assert json.loads((tmp_path / "ports.json").read_text())["api"] == [wish, wish]
