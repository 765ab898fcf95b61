"""What goes over MQTT 5 as packets of the ``mqtt5`` codec; a part of the adapter."""

import mqtt5
from mqtt5 import PublishPacket, QoS

from core.bus.outbox import Outgoing
from core.bus.port import NO_PROPERTIES, Properties, Will
from core.bus.reconnect import BusOptions


def connect_packet(options: BusOptions) -> mqtt5.ConnectPacket:
    """The CONNECT of the connection about to be made, with a will of its own."""
    will = options.new_will()
    return mqtt5.ConnectPacket(
        options.client_id,
        username=options.username,
        password=None if options.password is None else options.password.encode(),
        # Mosquitto writes no session to disk that began with clean start.
        clean_start=False,
        will=None if will is None else _will(will),
        keep_alive=options.keep_alive_s,
        session_expiry_interval=options.session_expiry_s,
        receive_max=options.receive_max,
    )


def _will(will: Will) -> mqtt5.Will:
    return mqtt5.Will(will.topic, payload=will.payload, qos=QoS.AT_LEAST_ONCE, retain=will.retain)


def publish_packet(item: Outgoing) -> PublishPacket:
    """A message on its way out, under the identifier the outbox gave it."""
    properties = item.properties
    return PublishPacket(
        item.topic,
        item.payload,
        qos=QoS.AT_LEAST_ONCE,
        retain=item.retain,
        packet_id=item.packet_id,
        duplicate=item.again,
        message_expiry_interval=properties.expiry_s,
        content_type=properties.content_type,
        response_topic=properties.response_topic,
        correlation_data=properties.correlation,
    )


def properties_of(packet: PublishPacket) -> Properties:
    """Those of a received message that BUS names."""
    found = Properties(
        packet.content_type,
        packet.response_topic,
        packet.correlation_data,
        packet.message_expiry_interval,
    )
    return NO_PROPERTIES if found == NO_PROPERTIES else found
