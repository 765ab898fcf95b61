"""Mosquitto's access rules as a pure decision, for the embedded broker to apply the same file."""

from dataclasses import dataclass, field
from typing import Literal

Access = Literal["read", "write"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One ``topic`` or ``pattern`` line; ``user`` None = for everybody, with ``%u`` filled in."""

    user: str | None
    access: Access
    filter: str


@dataclass(frozen=True, slots=True)
class Acl:
    """Everything not allowed is denied."""

    rules: tuple[Rule, ...] = field(default=())

    def is_service(self, user: str) -> bool:
        """Whether ``user`` has rules of its own; a vehicle has the patterns only."""
        return any(rule.user == user for rule in self.rules)

    def allows(self, user: str, access: Access, topic: str) -> bool:
        """Whether ``user`` may; for "read", ``topic`` may be a filter, then all of it."""
        # A user name with a wildcard would turn a pattern into a rule for everybody.
        if not user or any(sign in user for sign in "+#/"):
            return False
        return any(
            covers(rule.filter.replace("%u", user) if rule.user is None else rule.filter, topic)
            for rule in self.rules
            if rule.access == access and rule.user in (None, user)
        )


def parse_acl(text: str) -> Acl:
    """Read the subset of Mosquitto's format that ``mosquitto/acl`` uses; ValueError otherwise."""
    rules: list[Rule] = []
    user: str | None = None
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match line.split(maxsplit=2):
            case ["user", name]:
                user = name
            case ["topic", ("read" | "write") as access, topic_filter] if user is not None:
                rules.append(Rule(user, access, topic_filter))
            case ["pattern", ("read" | "write") as access, topic_filter]:
                rules.append(Rule(None, access, topic_filter))
            case _:
                raise ValueError(f"access rules, line {number}: {line!r} is not understood")
    return Acl(tuple(rules))


def covers(rule: str, asked: str) -> bool:
    """Whether every topic of the filter ``asked`` is one of the filter ``rule``."""
    wide, narrow = rule.split("/"), asked.split("/")
    if asked.startswith("$") != rule.startswith("$"):
        return False
    for index, level in enumerate(wide):
        if level == "#":
            return True
        if index >= len(narrow) or narrow[index] == "#":
            return False
        if level not in ("+", narrow[index]):
            return False
    return len(wide) == len(narrow)
