"""MQTT topic filters: which topics a filter with ``+`` and ``#`` covers (MQTT 5, section 4.7)."""

from core.bus.port import Subscription


def topic_matches(topic_filter: str, topic: str) -> bool:
    """Whether ``topic`` is covered; wildcards never cover a first level that starts with ``$``."""
    wanted = topic_filter.split("/")
    given = topic.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return False
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index >= len(given) or level not in ("+", given[index]):
            return False
    return len(wanted) == len(given)


def wire_filter(subscription: Subscription) -> str:
    """The filter as MQTT 5 writes it: a shared subscription is ``$share/{group}/{filter}``."""
    if subscription.group is None:
        return subscription.filter
    return f"$share/{subscription.group}/{subscription.filter}"
