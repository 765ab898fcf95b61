"""Builds the right adapter from the settings; the only place that knows which there are."""

from collections.abc import Sequence
from pathlib import Path

from core.bus.mqtt5 import Mqtt5Bus
from core.bus.mqtt311 import Mqtt311Bus
from core.bus.port import Bus, OnConnect, Subscription, WillSource
from core.bus.reconnect import DEFAULT_SESSION_S, BusOptions
from core.bus.tls import tls_files
from core.bus.topics import topic_matches
from core.settings import BusSettings

__all__ = ["open_bus", "topic_matches"]


def open_bus(
    settings: BusSettings,
    *,
    client_id: str,
    subscriptions: Sequence[Subscription] = (),
    will: WillSource | None = None,
    username: str | None = None,
    password: str | None = None,
    cert_file: Path | None = None,
    key_file: Path | None = None,
    on_connect: OnConnect | None = None,
    receive_max: int | None = None,
    session_expiry_s: int | None = None,
    role: str = "service",
) -> Bus:
    """A bus that is not started yet, for the broker the settings name.

    ``username`` and ``password``, or ``cert_file`` and ``key_file``, go before the settings' (a
    vehicle signs in as itself). SettingsError where the files for TLS cannot be used.
    ``will`` may be a function: then each connection has a will of its own.
    ``on_connect`` runs as a task after each connection stands and is subscribed; it may publish.
    ``session_expiry_s``: how long an MQTT 5 broker keeps what waits for an absent client; unset =
    24 h. ``role`` labels the metrics and must be one of few values.
    """
    secret = settings.password.get_secret_value() if settings.password else None
    options = BusOptions(
        client_id=client_id,
        host=settings.host,
        port=settings.port,
        username=username if username is not None else settings.username,
        password=password if password is not None else secret,
        subscriptions=tuple(subscriptions),
        will=will,
        on_connect=on_connect,
        receive_max=receive_max or settings.receive_max,
        keep_alive_s=settings.keep_alive_s,
        session_expiry_s=DEFAULT_SESSION_S if session_expiry_s is None else session_expiry_s,
        tls=tls_files(settings, cert_file, key_file),
        role=role,
    )
    return Mqtt5Bus(options) if settings.protocol == "5" else Mqtt311Bus(options)
