"""What the broker is told about a vehicle, decided from both sides' words alone."""

from datetime import UTC, datetime, timedelta

import pytest

from core.contracts.bus import Presence
from gateway.accounts.commands import (
    NOBODYS,
    REVOKED_ROLE,
    Account,
    Command,
    forget,
    read_accounts,
    revoke,
    set_secret,
    tag_of,
)
from gateway.accounts.rules import (
    Base,
    Registered,
    cut,
    farewell,
    is_settled,
    read_base,
    settle,
)

VIN = "VF1AURXRA00000017"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
GRACE = timedelta(seconds=10)
LONG_AGO = NOW - timedelta(hours=2)
BEFORE = Base(NOW - timedelta(hours=1))
HASH, OLD_HASH = "$7$101$new", "$7$101$old"
ENDED = set_secret(VIN, "random", NOBODYS)


def enrolled(secret_hash: str | None = HASH, ago: timedelta = timedelta(minutes=1)) -> Registered:
    return Registered(VIN, "ENROLLED", secret_hash, NOW - ago)


def revoked(ago: timedelta = timedelta(0)) -> Registered:
    return Registered(VIN, "REVOKED", None, NOW - ago)


def account(tag: str, *, disabled: bool = False, roles: tuple[str, ...] = ()) -> Account:
    return Account(VIN, tag, disabled, roles)


OUT = account("", disabled=True, roles=(REVOKED_ROLE,))


@pytest.mark.parametrize(
    ("row", "known", "base", "wanted"),
    [
        (revoked(), None, BEFORE, revoke(VIN)),
        (revoked(), account(tag_of(OLD_HASH)), BEFORE, revoke(VIN)),
        (revoked(), account("", disabled=True), BEFORE, revoke(VIN)),
        (revoked(), OUT, BEFORE, []),
        # The password file said so already, or says so soon.
        (enrolled(ago=timedelta(hours=2)), None, BEFORE, []),
        (enrolled(), None, Base(LONG_AGO, follows=True), []),
        (enrolled(), None, Base(None), []),
        # Whoever made it has brought it, or has not yet.
        (enrolled(), account(tag_of(HASH)), BEFORE, []),
        (enrolled(ago=timedelta(seconds=9)), account(tag_of(OLD_HASH)), BEFORE, []),
        (enrolled(ago=timedelta(seconds=9)), None, BEFORE, []),
        # It never came: the old one ends all the same, once.
        (enrolled(), None, BEFORE, ENDED),
        (enrolled(), account(tag_of(OLD_HASH)), BEFORE, ENDED),
        (enrolled(), account(NOBODYS), BEFORE, []),
        (enrolled(), OUT, BEFORE, ENDED),
        (enrolled(None), OUT, BEFORE, ENDED),
        (enrolled(None), account(tag_of(OLD_HASH)), BEFORE, ENDED),
        (enrolled(None), account(NOBODYS), BEFORE, []),
        # The password file has it: the account is only in its way.
        (enrolled(), account(NOBODYS), Base(LONG_AGO, follows=True), forget(VIN)),
        (enrolled(ago=timedelta(hours=2)), account(tag_of(OLD_HASH)), BEFORE, forget(VIN)),
        (enrolled(ago=timedelta(hours=2)), OUT, BEFORE, forget(VIN)),
        # An operator's own.
        (enrolled(), account("made by hand"), BEFORE, []),
    ],
)
def test_what_is_left_to_say(
    row: Registered, known: Account | None, base: Base, wanted: list[Command]
) -> None:
    assert settle(row, known, base, NOW, GRACE, new_secret=lambda: "random") == wanted


def test_an_account_is_never_disabled_for_longer_than_it_takes() -> None:
    names = [command["command"] for command in set_secret(VIN, "secret", "tag")]
    # The new secret is there before the account is open again.
    assert names.index("modifyClient") < names.index("enableClient")
    names = [command["command"] for command in revoke(VIN)]
    assert names.index("disableClient") < names.index("modifyClient")


def test_the_age_of_the_password_file_is_read() -> None:
    moment = datetime(2026, 11, 24, 12, 0, 0, 500_000, tzinfo=UTC)
    assert read_base(f"{moment.timestamp():.3f}") == Base(moment)
    assert read_base(f"{moment.timestamp():.3f} follows") == Base(moment, follows=True)
    for text in ("", "soon", "nan", "1e30"):
        assert read_base(text).written_at is None


def test_accounts_are_read_as_the_plugin_writes_them() -> None:
    listed = [
        {"username": VIN, "disabled": True, "roles": [{"rolename": REVOKED_ROLE}], "groups": []},
        {"username": "other", "textdescription": "tag", "roles": []},
    ]
    assert read_accounts(listed) == [OUT, Account("other", "tag", False, ())]


@pytest.mark.parametrize(
    ("row", "known", "settled"),
    [
        (revoked(), None, False),
        (revoked(), account("", disabled=True), False),
        (revoked(), OUT, True),
        (enrolled(), None, False),
        (enrolled(), account(tag_of(OLD_HASH)), False),
        (enrolled(), account(tag_of(HASH)), True),
        (enrolled(), account(NOBODYS), True),
    ],
)
def test_when_nobody_is_connected_with_what_ended(
    row: Registered, known: Account | None, *, settled: bool
) -> None:
    assert is_settled(row, known) is settled


def online(status: str, seen: timedelta, ago: timedelta = timedelta(seconds=5)) -> Registered:
    changed = NOW - ago
    return Registered(VIN, status, None, changed, "ONLINE", "session-1", 7, changed + seen)


def test_a_farewell_names_the_session_that_ended() -> None:
    wait = timedelta(seconds=2)
    before, after = -timedelta(seconds=1), timedelta(seconds=1)
    said = farewell(online("REVOKED", before), settled=True, now=NOW, will_wait=wait)
    assert said is not None
    assert (said.state, said.session, said.boot, said.at) == (
        Presence.OFFLINE,
        "session-1",
        7,
        NOW,
    )
    # A revoked one cannot be back; one with a new secret can.
    assert farewell(online("REVOKED", after), settled=True, now=NOW, will_wait=wait) is not None
    assert farewell(online("ENROLLED", after), settled=True, now=NOW, will_wait=wait) is None
    assert farewell(online("ENROLLED", before), settled=True, now=NOW, will_wait=wait) is not None
    assert farewell(online("REVOKED", before), settled=False, now=NOW, will_wait=wait) is None
    early = online("REVOKED", before, ago=timedelta(seconds=1))
    assert farewell(early, settled=True, now=NOW, will_wait=wait) is None
    assert farewell(revoked(GRACE), settled=True, now=NOW, will_wait=wait) is None


def test_ending_a_connection_leaves_no_account_behind() -> None:
    assert cut(VIN, None)[-1]["command"] == "deleteClient"
    assert "deleteClient" not in {command["command"] for command in cut(VIN, account("tag"))}
