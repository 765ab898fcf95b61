"""Builds the right adapter from the settings; the only place that knows which there are."""

import ssl
from collections.abc import Sequence

from core.bus.mqtt5 import Mqtt5Bus
from core.bus.mqtt311 import Mqtt311Bus
from core.bus.port import Bus, OnConnect, Subscription, WillSource
from core.bus.reconnect import BusOptions
from core.bus.topics import topic_matches
from core.errors import SettingsError
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
    on_connect: OnConnect | None = None,
    receive_max: int | None = None,
    role: str = "service",
) -> Bus:
    """A bus that is not started yet, for the broker the settings name.

    ``username`` and ``password`` override the settings (a vehicle signs in as itself).
    ``will`` may be a function: then each connection has a will of its own.
    SettingsError where the TLS files cannot be used.
    ``on_connect`` runs as a task after each connection stands and is subscribed; it may publish.
    ``role`` labels the metrics and must be one of few values.
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
        tls=_tls(settings),
        role=role,
    )
    return Mqtt5Bus(options) if settings.protocol == "5" else Mqtt311Bus(options)


def _tls(settings: BusSettings) -> ssl.SSLContext | None:
    if not settings.tls:
        if settings.cert_file is not None:
            raise SettingsError("CAAS_MQTT_CERT_FILE is for TLS: set CAAS_MQTT_TLS=true as well")
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:
        raise SettingsError(f"cannot use CAAS_MQTT_CA_FILE {settings.ca_file}: {error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.cert_file is not None:
        try:
            context.load_cert_chain(settings.cert_file, settings.key_file)
        except OSError as error:
            raise SettingsError(
                f"cannot use CAAS_MQTT_CERT_FILE {settings.cert_file} and its key: {error}"
            ) from None
    return context
