"""The IoT API in the process: its application, and what it sends by itself."""

from gateway.iot_api.app import PREFIX, create_iot_app
from gateway.iot_api.callbacks import Deliverer
from gateway.iot_api.pusher import Pusher
from gateway.iot_api.settings import IotApiSettings
from gateway.iot_api.telemetry import Outbox
from gateway.parts import Gateway, Part


def part(gateway: Gateway, settings: IotApiSettings) -> Part:
    """The IoT API's part of the gateway."""
    outbox = Outbox(settings)
    return Part(
        mounts={PREFIX: create_iot_app(gateway, settings)},
        loops=(Deliverer(gateway, settings).run, Pusher(gateway, settings, outbox).run),
        telemetry_takers=(outbox,),
    )
