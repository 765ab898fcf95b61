"""Configure over the IoT API: checked, admitted and durable before it is answered (DOMAIN 9)."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from core.contracts.bus import Command, CommandKind, SafeState
from core.contracts.iot_api import CommandAccepted, CommandStatus, ConfigureRequest
from core.db import Connection
from core.errors import Conflict, Invalid
from core.ids import new_id
from gateway.dispatch.service import enqueue
from gateway.iot_api.clients import Caller
from gateway.iot_api.rules import IN_USE, Capability, InUse, check_free, end_of, resolve
from gateway.iot_api.settings import IotApiSettings
from gateway.iot_api.vehicles import QUERIES, VehicleRow, find_vehicle

SOURCE = "iot_api"


@dataclass(frozen=True, slots=True)
class _Mapping:
    settings: list[dict[str, Any]]
    safe_state: str


@dataclass(frozen=True, slots=True)
class _Earlier:
    body_hash: bytes
    command_id: UUID
    issued_at: datetime


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
    body_hash = hashlib.sha256(request.model_dump_json().encode()).digest()
    row = {"client_id": caller.client_id, "request_id": request_id}
    # Two of the same at once: the second waits for the first, and repeats its answer.
    await conn.execute(QUERIES["lock_request"], {"key": f"{caller.client_id} {request_id}"})
    earlier = await conn.one_or_none(_Earlier, QUERIES["request"], row)
    if earlier is not None:
        if earlier.body_hash != body_hash:
            raise Conflict("REQUEST_ID_REUSED", "this X-Request-ID came with another body")
        return _accepted(earlier.command_id, request_id, earlier.issued_at)
    vehicle = await find_vehicle(conn, request.vin)
    command = await enqueue(
        conn,
        await _draft(conn, settings, vehicle, request, now),
        source=SOURCE,
        quota=settings.quota_per_hour,
        complete_s=settings.complete_s,
    )
    await conn.execute(
        QUERIES["insert_request"],
        {
            **row,
            "body_hash": body_hash,
            "command_id": command.command_id,
            "service_id": request.service_id,
            "configuration": Jsonb(request.configuration.model_dump(mode="json", by_alias=True)),
            "now": now,
        },
    )
    return _accepted(command.command_id, request_id, now)


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
