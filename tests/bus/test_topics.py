"""Which topics a filter covers, and which filters a rule covers."""

import pytest

from caas.brokers.acl import covers, parse_acl
from caas.brokers.mosquitto import acl_text
from core.bus import Subscription, topic_matches
from core.bus.topics import wire_filter

PREFIX = "caas/v1/vehicles"
VIN, OTHER = "VF1AURORA00000017", "VF1AURORA00000018"


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/c", False),
        ("a/+", "a/b", True),
        ("a/+", "a/b/c", False),
        ("a/+", "a", False),
        ("+/b", "a/b", True),
        ("+", "a/b", False),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("a/#", "b/a", False),
        ("#", "a/b", True),
        ("#", "$SYS/x", False),
        ("+/x", "$SYS/x", False),
        ("$SYS/#", "$SYS/x", True),
        ("a/+/c", "a//c", True),
        ("a/b", "a/b/c", False),
    ],
)
def test_topic_matches(topic_filter: str, topic: str, expected: bool) -> None:
    assert topic_matches(topic_filter, topic) is expected


@pytest.mark.parametrize(
    ("rule", "asked", "expected"),
    [
        ("a/+/c", "a/b/c", True),
        ("a/+/c", "a/+/c", True),
        ("a/b/c", "a/+/c", False),
        ("a/+", "a/#", False),
        ("a/#", "a/+/c", True),
        ("a/#", "#", False),
        ("#", "a/#", True),
        ("#", "$SYS/#", False),
        ("$SYS/#", "$SYS/broker", True),
    ],
)
def test_covers(rule: str, asked: str, expected: bool) -> None:
    assert covers(rule, asked) is expected


def test_a_group_is_written_as_a_shared_subscription() -> None:
    assert wire_filter(Subscription("a/+", "ingest")) == "$share/ingest/a/+"
    assert wire_filter(Subscription("a/+")) == "a/+"


UPWARD = ("answer", "config", "status", "telemetry", "event", "presence")
DOWNWARD = ("cmd", "stored")


@pytest.mark.parametrize("leaf", UPWARD + DOWNWARD)
def test_a_vehicle_writes_up_and_reads_down_and_only_its_own(leaf: str) -> None:
    acl = parse_acl(acl_text(PREFIX))
    assert acl.allows(VIN, "write", f"{PREFIX}/{VIN}/{leaf}") is (leaf in UPWARD)
    assert acl.allows(VIN, "read", f"{PREFIX}/{VIN}/{leaf}") is (leaf in DOWNWARD)
    assert not acl.allows(VIN, "write", f"{PREFIX}/{OTHER}/{leaf}")
    assert not acl.allows(VIN, "read", f"{PREFIX}/{OTHER}/{leaf}")
    assert not acl.allows(VIN, "read", f"{PREFIX}/+/{leaf}")


def test_a_vehicle_cannot_change_accounts_nor_hear_of_it() -> None:
    acl = parse_acl(acl_text(PREFIX))
    assert not acl.allows(VIN, "write", "$CONTROL/dynamic-security/v1")
    assert not acl.allows(VIN, "read", "$CONTROL/dynamic-security/v1/response")


@pytest.mark.parametrize(
    ("user", "reads", "writes"),
    [
        ("svc-gateway", set(UPWARD), {"cmd", "presence"}),
        ("svc-ota", {"answer", "config", "presence", "status"}, {"cmd"}),
        ("svc-telemetry", set(UPWARD), {"stored"}),
        ("svc-monitor", set[str](), set[str]()),
    ],
)
def test_services_have_the_topics_they_need(user: str, reads: set[str], writes: set[str]) -> None:
    acl = parse_acl(acl_text("other/prefix"))
    leaves = UPWARD + DOWNWARD
    assert {leaf for leaf in leaves if acl.allows(user, "read", f"other/prefix/+/{leaf}")} == reads
    assert {
        leaf for leaf in leaves if acl.allows(user, "write", f"other/prefix/{VIN}/{leaf}")
    } == writes
    assert acl.allows(user, "read", "$SYS/broker/uptime") is (
        user in ("svc-gateway", "svc-monitor")
    )
    # Who changes accounts could make itself one that may do anything.
    assert acl.allows(user, "write", "$CONTROL/dynamic-security/v1") is (user == "svc-gateway")
    assert acl.allows(user, "read", "$CONTROL/dynamic-security/v1/response") is (
        user == "svc-gateway"
    )


def test_a_user_name_with_a_wildcard_gets_nothing() -> None:
    acl = parse_acl(acl_text(PREFIX))
    assert not acl.allows("+", "write", f"{PREFIX}/+/answer")


def test_a_line_that_is_not_understood_is_an_error() -> None:
    with pytest.raises(ValueError, match="line 1"):
        parse_acl("topic a/b")
