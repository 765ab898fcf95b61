"""Whoever takes a connection and says nothing is shown out after a minute and a half."""

import pytest

from tests.broker.judge import Judge
from tests.broker.raw import Identity, Raw, connect_packet
from tests.broker.world import A, World

# Mosquitto gives a connection 60 s before it has said how often it will speak, and half as much
# again; it looks every 5 s.
LATEST_S = 110.0


@pytest.mark.proof
@pytest.mark.timeout(400)
def test_half_a_connect_is_ended(world: World, judge: Judge) -> None:
    half = connect_packet(A, Identity(user=A, secret="x"))[:20]
    slow = [world.at_secrets(Identity()), Raw(world.plain)]
    no_handshake = Raw(world.certificates)
    for raw in slow:
        raw.sock.sendall(half)
    for raw in (*slow, no_handshake):
        raw.sock.settimeout(LATEST_S)
        assert raw.closed()
        raw.sock.close()
    judge.expect("silent", address="127.0.0.1", count=3)
