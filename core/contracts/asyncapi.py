"""The command bus as an AsyncAPI 3 document, made from the message types themselves (BUS)."""

import json
from dataclasses import dataclass
from typing import Any

import msgspec

from core.contracts import bus
from core.contracts.examples import VIN, examples, known_key
from core.contracts.jws import ALG, CONTENT_TYPE, TYP, sign
from core.contracts.topics import MAX_PAYLOAD_BYTES, RETAINED, UPWARD, Topic, topic_of

PREFIX = "caas/v1/vehicles"
SESSION_EXPIRY_S = 24 * 3600
_BINDING = "0.2.0"
_JWS = r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$"
_VIN = "^[A-HJ-NPR-Z0-9]{17}$"


@dataclass(frozen=True, slots=True)
class _Kind:
    message: type[msgspec.Struct]
    summary: str


KINDS = {
    Topic.CMD: _Kind(bus.Command, "What the platform tells a vehicle, signed."),
    Topic.STORED: _Kind(bus.Stored, "The receipt: what of the telemetry is committed."),
    Topic.ANSWER: _Kind(bus.Answer, "A vehicle's answer to a command."),
    Topic.CONFIG: _Kind(bus.ReportedConfig, "Every optional parameter as it stands."),
    Topic.STATUS: _Kind(bus.VehicleStatus, "How the vehicle is: on change, on QUERY, at connect."),
    Topic.TELEMETRY: _Kind(bus.TelemetryBatch, "1 to 500 samples; may arrive again."),
    Topic.EVENT: _Kind(bus.VehicleEvent, "Something that happened; event_id dedupes."),
    Topic.PRESENCE: _Kind(bus.PresenceMessage, "Here or gone; OFFLINE is also the last will."),
}


def text() -> str:
    """The document as JSON, which is YAML as well; the same types give the same bytes."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def document() -> dict[str, Any]:
    """The document, as seen from a vehicle: it receives ``cmd`` and ``stored``, sends the rest."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "CaaS command bus, the vehicle's side",
            "version": "1.0.0",
            "description": (
                "What a vehicle and the platform say to each other over MQTT 5 (3.1.1 too, without "
                "the properties). QoS 1 both ways, UTF-8 JSON but for cmd, times RFC 3339 UTC with "
                f"milliseconds, payloads up to {MAX_PAYLOAD_BYTES} bytes. Duplicates are normal. "
                "The rules in words: command-bus.md. Made by `caas contracts`."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "tls": _server("8883", "secure-mqtt", ["password", "certificate"]),
            "plain": _server("1883", "mqtt", ["password"]),
        },
        "channels": {topic.value: _channel(topic) for topic in Topic},
        "operations": {_operation_name(topic): _operation(topic) for topic in Topic},
        "components": {
            "schemas": schemas(),
            "messages": {_name(topic): _message(topic) for topic in Topic},
            "parameters": {
                "vin": {
                    "description": "17 characters, upper case, no I, O, Q (ISO 3779).",
                    "examples": [VIN],
                }
            },
            "securitySchemes": {
                "password": {
                    "type": "userPassword",
                    "description": "User name = client id = VIN, and the vehicle's secret.",
                },
                "certificate": {
                    "type": "X509",
                    "description": "A client certificate whose common name is the VIN.",
                },
            },
        },
    }


def schemas() -> dict[str, Any]:
    """JSON Schemas (draft 7) by the name of the type, and the header of a command's JWS."""
    _, made = msgspec.json.schema_components(
        [kind.message for kind in KINDS.values()], ref_template="#/components/schemas/{name}"
    )
    # What the types leave to other checks: a VIN's letters, that LIMITED is never on the wire, what
    # a digest looks like, and what a sender owes though a reader does without.
    made["Command"]["properties"]["vin"]["pattern"] = _VIN
    made["Presence"]["enum"] = [bus.Presence.OFFLINE.value, bus.Presence.ONLINE.value]
    made["ReportedConfig"]["properties"]["digest"]["pattern"] = "^[0-9a-f]{64}$"
    made["VehicleStatus"]["required"] += ["error_codes", "active_services"]
    made["CommandHeader"] = {
        "title": "CommandHeader",
        "description": "The protected header of the JWS of cmd.",
        "type": "object",
        "properties": {
            "alg": {"const": ALG},
            "kid": {"type": "string", "description": "Which key of the published JWK set."},
            "typ": {"const": TYP},
        },
        "required": ["alg", "kid", "typ"],
    }
    return dict(sorted(made.items()))


def _server(port: str, protocol: str, security: list[str]) -> dict[str, Any]:
    return {
        "host": "{host}:" + port,
        "protocol": protocol,
        "protocolVersion": "5",
        "variables": {"host": {"default": "localhost", "description": "Where the broker is."}},
        "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in security],
        "bindings": {
            "mqtt": {
                "clientId": VIN,
                "cleanSession": False,
                "sessionExpiryInterval": SESSION_EXPIRY_S,
                "lastWill": {
                    "topic": topic_of(PREFIX, VIN, Topic.PRESENCE),
                    "qos": 1,
                    "retain": True,
                    "message": bus.encode(examples()["PresenceMessage"][1][1]).decode(),
                },
                "bindingVersion": _BINDING,
            }
        },
    }


def _channel(topic: Topic) -> dict[str, Any]:
    name = _name(topic)
    return {
        "address": topic_of(PREFIX, "{vin}", topic),
        "description": KINDS[topic].summary,
        "parameters": {"vin": {"$ref": "#/components/parameters/vin"}},
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
    }


def _operation(topic: Topic) -> dict[str, Any]:
    binding: dict[str, Any] = {"qos": 1, "retain": topic in RETAINED}
    operation: dict[str, Any] = {
        "action": "send" if topic in UPWARD else "receive",
        "channel": {"$ref": f"#/channels/{topic.value}"},
        "summary": KINDS[topic].summary,
        "messages": [_of_channel(topic)],
    }
    if topic is Topic.CMD:
        binding["messageExpiryInterval"] = {
            "type": "integer",
            "minimum": 1,
            "description": "Whole seconds left until expires_at, which is what counts.",
        }
        operation["reply"] = {
            "channel": {"$ref": f"#/channels/{Topic.ANSWER.value}"},
            "messages": [_of_channel(Topic.ANSWER)],
        }
    operation["bindings"] = {"mqtt": {**binding, "bindingVersion": _BINDING}}
    return operation


def _message(topic: Topic) -> dict[str, Any]:
    name = _name(topic)
    shown = examples()[name]
    message: dict[str, Any] = {
        "name": name,
        "title": name,
        "summary": KINDS[topic].summary,
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{name}"},
        "examples": [{"name": word, "payload": _plain(item)} for word, item in shown],
    }
    if topic is Topic.CMD:
        message |= _command(shown)
    return message


def _command(shown: list[tuple[str, msgspec.Struct]]) -> dict[str, Any]:
    signed = [(word, item) for word, item in shown if isinstance(item, bus.Command)]
    schema = "#/components/schemas/"
    return {
        "contentType": CONTENT_TYPE,
        "description": (
            f"A JWS in compact serialization (RFC 7515), {ALG} with Ed25519, by a key of the JWK "
            "set the gateway serves at /.well-known/caas-command-keys.json. Header and content: "
            "x-jws-header, x-jws-payload. The examples are signed by the key of RFC 8037, A.1."
        ),
        "payload": {"type": "string", "pattern": _JWS, "contentMediaType": CONTENT_TYPE},
        "x-jws-header": {"$ref": f"{schema}CommandHeader"},
        "x-jws-payload": {"$ref": f"{schema}Command"},
        "bindings": {
            "mqtt": {
                "contentType": CONTENT_TYPE,
                "correlationData": {
                    "type": "string",
                    "description": "The 16 bytes of command_id.",
                },
                "responseTopic": {
                    "type": "string",
                    "description": "The vehicle's answer topic.",
                },
                "bindingVersion": _BINDING,
            }
        },
        "examples": [
            {"name": word, "payload": sign(item, known_key()).decode()} for word, item in signed
        ],
    }


def _plain(item: msgspec.Struct) -> Any:
    return json.loads(bus.encode(item))


def _name(topic: Topic) -> str:
    return KINDS[topic].message.__name__


def _operation_name(topic: Topic) -> str:
    return f"{'send' if topic in UPWARD else 'receive'}{_name(topic)}"


def _of_channel(topic: Topic) -> dict[str, str]:
    return {"$ref": f"#/channels/{topic.value}/messages/{_name(topic)}"}
