"""Orders over the IoT API: checked, admitted and durable before it is answered (DOMAIN 9)."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from core.contracts.bus import Command, CommandKind, DisplayLevel, SafeState
from core.contracts.iot_api import (
    CommandAccepted,
    CommandStatus,
    ConfigureRequest,
    DisplayRequest,
)
from core.db import Connection
from core.errors import Conflict, Invalid, TooMany
from core.ids import new_id
from gateway.dispatch.service import enqueue
from gateway.iot_api.clients import Caller
from gateway.iot_api.rules import IN_USE, Capability, InUse, check_free, end_of, resolve
from gateway.iot_api.settings import IotApiSettings
from gateway.iot_api.vehicles import QUERIES, VehicleRow, find_vehicle

SOURCE = "iot_api"
# In the place of a service: a text has none.
DISPLAY = "DISPLAY"


@dataclass(frozen=True, slots=True)
class _Mapping:
    settings: list[dict[str, Any]]
    safe_state: str


@dataclass(frozen=True, slots=True)
class _Earlier:
    body_hash: bytes
    command_id: UUID
    issued_at: datetime


@dataclass(frozen=True, slots=True)
class _Texts:
    count: int
    oldest: datetime


async def configure(
    conn: Connection,
    settings: IotApiSettings,
    caller: Caller,
    request_id: str,
    request: ConfigureRequest,
    now: datetime,
) -> CommandAccepted:
    """A command for ``request``; the same id and body again gets the first answer.

    NotFound, Conflict (the id came with another body; a configuration is under way; a customer uses
    what it would change), Invalid (what the vehicle or the service cannot do), TooMany (quota).
    """
    once = _Once(caller, request_id, request)
    earlier = await _earlier(conn, once)
    if earlier is not None:
        return earlier
    vehicle = await find_vehicle(conn, request.vin)
    command = await enqueue(
        conn,
        await _draft(conn, settings, vehicle, request, now),
        source=SOURCE,
        quota=settings.quota_per_hour,
        complete_s=settings.complete_s,
    )
    configuration = request.configuration.model_dump(mode="json", by_alias=True)
    return await _remember(conn, once, command, request.service_id, configuration)


async def display(
    conn: Connection,
    settings: IotApiSettings,
    caller: Caller,
    request_id: str,
    request: DisplayRequest,
    now: datetime,
) -> CommandAccepted:
    """A text for the vehicle's screen; the same id and body again gets the first answer.

    NotFound; Conflict (the id came with another body); TooMany (texts an hour). It uses none of the
    configurations' quota.
    """
    once = _Once(caller, request_id, request)
    earlier = await _earlier(conn, once)
    if earlier is not None:
        return earlier
    vehicle = await find_vehicle(conn, request.vin)
    draft = Command(
        vin=vehicle.vin,
        command_id=new_id(),
        seq=1,
        kind=CommandKind.DISPLAY,
        issued_at=now,
        expires_at=now + timedelta(seconds=settings.complete_s),
        text=request.text,
        level=DisplayLevel(request.level),
    )
    command = await enqueue(
        conn,
        draft,
        source=SOURCE,
        quota=settings.quota_per_hour,
        complete_s=settings.complete_s,
    )
    await _check_texts(conn, settings, command)
    return await _remember(conn, once, command, DISPLAY, {})


async def _check_texts(conn: Connection, settings: IotApiSettings, command: Command) -> None:
    """TooMany where the vehicle has had its texts; after its admission, which locks its row."""
    hour = timedelta(hours=1)
    row = {"vin": command.vin, "after": command.issued_at - hour}
    texts = await conn.one_or_none(_Texts, QUERIES["texts"], row)
    assert texts is not None
    if texts.count > settings.texts_per_hour:
        left_s = (texts.oldest + hour - command.issued_at).total_seconds()
        raise TooMany("the vehicle has had its texts of this hour", max(1, ceil(left_s)))


@dataclass(frozen=True, slots=True)
class _Once:
    """A request by its caller's id."""

    caller: Caller
    request_id: str
    body: ConfigureRequest | DisplayRequest

    @property
    def row(self) -> dict[str, Any]:
        return {"client_id": self.caller.client_id, "request_id": self.request_id}

    @property
    def body_hash(self) -> bytes:
        return hashlib.sha256(self.body.model_dump_json().encode()).digest()


async def _earlier(conn: Connection, once: _Once) -> CommandAccepted | None:
    """The first answer, where there was one; Conflict where it was to another body."""
    # Two of the same at once: the second waits for the first, and repeats its answer.
    key = f"{once.caller.client_id} {once.request_id}"
    await conn.execute(QUERIES["lock_request"], {"key": key})
    earlier = await conn.one_or_none(_Earlier, QUERIES["request"], once.row)
    if earlier is None:
        return None
    if earlier.body_hash != once.body_hash:
        raise Conflict("REQUEST_ID_REUSED", "this X-Request-ID came with another body")
    return _accepted(earlier.command_id, once.request_id, earlier.issued_at)


async def _remember(
    conn: Connection, once: _Once, command: Command, service_id: str, configuration: Any
) -> CommandAccepted:
    await conn.execute(
        QUERIES["insert_request"],
        {
            **once.row,
            "body_hash": once.body_hash,
            "command_id": command.command_id,
            "service_id": service_id,
            "configuration": Jsonb(configuration),
            "now": command.issued_at,
        },
    )
    return _accepted(command.command_id, once.request_id, command.issued_at)


async def _draft(
    conn: Connection,
    settings: IotApiSettings,
    vehicle: VehicleRow,
    request: ConfigureRequest,
    now: datetime,
) -> Command:
    valid_until = end_of(request, now)
    mapping = await conn.one_or_none(
        _Mapping, QUERIES["mapping"], {"service": request.service_id, "model": vehicle.model}
    )
    if mapping is None:
        raise Invalid("INCOMPATIBLE", f"{vehicle.model} does not have {request.service_id}")
    capabilities = await conn.all(
        Capability,
        QUERIES["capabilities"],
        {"model": vehicle.model, "firmware": vehicle.firmware},
    )
    values = resolve(request, mapping.settings, capabilities)
    states = [state.value for state in IN_USE]
    row = {"vin": vehicle.vin, "model": vehicle.model, "states": states}
    check_free(values.wanted, await conn.all(InUse, QUERIES["in_use"], row))
    return Command(
        vin=vehicle.vin,
        command_id=new_id(),
        seq=1,
        kind=CommandKind.CONFIGURE,
        issued_at=now,
        expires_at=now + timedelta(seconds=settings.complete_s),
        service=request.service_id,
        values=values.wanted,
        safe_state=SafeState(mapping.safe_state),
        valid_until=valid_until,
        revert_values=values.revert if valid_until is not None else [],
    )


def _accepted(command_id: UUID, request_id: str, at: datetime) -> CommandAccepted:
    return CommandAccepted(
        command_id=command_id, request_id=request_id, status=CommandStatus.QUEUED, timestamp=at
    )
