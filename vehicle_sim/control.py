"""HTTP control over a running fleet: look at vehicles, drive, park, cut, reboot, set faults."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from core.contracts.bus import Operational, ParameterSetting, Reason, Result
from core.errors import DomainError, NotFound
from vehicle_sim.faults import Fault, FaultKind
from vehicle_sim.fleet import Fleet
from vehicle_sim.tally import Tally
from vehicle_sim.vehicle import Vehicle


class OfflineRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    seconds: Annotated[float, Field(gt=0, le=7 * 24 * 3600)]


class FaultsRequest(BaseModel):
    """The faults a vehicle has from now on; ``refuse`` is short for the one wanted most."""

    model_config = ConfigDict(extra="forbid")

    faults: list[Fault] = []
    refuse: Reason | None = None  # every configuration command, until told otherwise

    def all(self) -> list[Fault]:
        refuse = Fault(kind=FaultKind.REFUSE, reason=self.refuse) if self.refuse else None
        return [*self.faults, refuse] if refuse else self.faults


class Setting(BaseModel):
    """An optional parameter as it stands in the unit, proved or not."""

    module: str
    parameter: str
    value: bool | int | float | str


class ValuesRequest(BaseModel):
    """What a technician's tool writes into the unit, without any command."""

    model_config = ConfigDict(extra="forbid")

    values: Annotated[list[Setting], Field(min_length=1)]


class UnitRequest(BaseModel):
    """The unit put in: of another model or firmware where somebody took the wrong one."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = None  # null: as before
    firmware: str | None = None  # null: as the factory delivers


class VehicleView(BaseModel):
    """A vehicle at a glance."""

    vin: str
    model: str
    firmware: str
    connected: bool
    operational: Operational
    values: list[Setting]
    seq: int
    applied_seq: int
    boot: int
    buffer: int
    faults: list[dict[str, Any]]


class VehicleDetail(VehicleView):
    """A vehicle with what its driver sees."""

    digest: str
    speed_kmh: float
    lat: float
    lon: float
    odometer_km: float
    soc_pct: float | None
    fuel_pct: float | None
    active_services: list[str]
    timers: list[dict[str, Any]]
    screen: list[dict[str, Any]]


class Summary(BaseModel):
    """One live line."""

    vehicles: int
    connected: int
    driving: int
    buffered: int
    messages_sent: int
    applied: int
    deferred: int
    rejected: int
    answers: dict[str, int]


def control_router(fleet: Fleet, tally: Tally) -> APIRouter:
    """The routes, over a fleet and its counts."""
    router = APIRouter(tags=["simulator"])

    _add_by_hand(router, fleet)

    @router.get("/summary")
    async def summary() -> Summary:  # pyright: ignore[reportUnusedFunction]
        return _summary(fleet, tally)

    @router.get("/vehicles")
    async def vehicles() -> list[VehicleView]:  # pyright: ignore[reportUnusedFunction]
        return [_view(vehicle) for vehicle in fleet]

    @router.get("/vehicles/{vin}")
    async def vehicle(vin: str) -> VehicleDetail:  # pyright: ignore[reportUnusedFunction]
        return _detail(fleet.vehicle(vin))

    @router.post("/vehicles/{vin}/drive")
    async def drive(vin: str) -> VehicleView:  # pyright: ignore[reportUnusedFunction]
        fleet.vehicle(vin).drive()
        return _view(fleet.vehicle(vin))

    @router.post("/vehicles/{vin}/park")
    async def park(vin: str) -> VehicleView:  # pyright: ignore[reportUnusedFunction]
        fleet.vehicle(vin).park()
        return _view(fleet.vehicle(vin))

    @router.post("/vehicles/{vin}/reboot", status_code=202)
    async def reboot(vin: str) -> VehicleView:  # pyright: ignore[reportUnusedFunction]
        fleet.vehicle(vin).reboot()
        return _view(fleet.vehicle(vin))

    @router.post("/vehicles/{vin}/offline", status_code=202)
    async def offline(vin: str, body: Annotated[OfflineRequest, Body()]) -> VehicleView:  # pyright: ignore[reportUnusedFunction]
        fleet.vehicle(vin).go_offline(body.seconds)
        return _view(fleet.vehicle(vin))

    @router.put("/vehicles/{vin}/faults")
    async def set_faults(vin: str, body: Annotated[FaultsRequest, Body()]) -> VehicleView:  # pyright: ignore[reportUnusedFunction]
        fleet.vehicle(vin).set_faults(body.all())
        return _view(fleet.vehicle(vin))

    @router.delete("/vehicles/{vin}/faults")
    async def clear_faults(vin: str) -> VehicleView:  # pyright: ignore[reportUnusedFunction]
        fleet.vehicle(vin).set_faults([])
        return _view(fleet.vehicle(vin))

    return router


def _add_by_hand(router: APIRouter, fleet: Fleet) -> None:
    """What a workshop does to a car, past the platform."""

    @router.put("/vehicles/{vin}/values")
    async def set_values(vin: str, body: Annotated[ValuesRequest, Body()]) -> VehicleView:  # pyright: ignore[reportUnusedFunction]
        settings = [ParameterSetting(v.module, v.parameter, v.value) for v in body.values]
        fleet.vehicle(vin).set_values(settings)
        return _view(fleet.vehicle(vin))

    @router.post("/vehicles/{vin}/replace-unit", status_code=202)
    async def replace_unit(vin: str, body: Annotated[UnitRequest, Body()]) -> VehicleView:  # pyright: ignore[reportUnusedFunction]
        fleet.vehicle(vin).replace_unit(fleet.firmware(vin, body.model, body.firmware))
        return _view(fleet.vehicle(vin))


def add_error_shape(app: FastAPI) -> None:
    """Errors as DOMAIN 16 shapes them."""

    @app.exception_handler(DomainError)
    async def domain_error(_request: Request, error: DomainError) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        status = 404 if isinstance(error, NotFound) else 409
        return _error(status, error.code, error.message)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return _error(422, "INVALID_REQUEST", f"{where}: {first['msg']}")


def _error(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status)


def _summary(fleet: Fleet, tally: Tally) -> Summary:
    return Summary(
        vehicles=len(fleet),
        connected=sum(vehicle.connected for vehicle in fleet),
        driving=sum(vehicle.operational is Operational.RUNNING for vehicle in fleet),
        buffered=sum(len(vehicle.outgoing.buffer) for vehicle in fleet),
        messages_sent=tally.sent,
        applied=tally.answers.get(Result.APPLIED, 0),
        deferred=tally.answers.get(Result.DEFERRED, 0),
        rejected=tally.answers.get(Result.REJECTED, 0),
        answers=dict(tally.answers),
    )


def _view(vehicle: Vehicle) -> VehicleView:
    return VehicleView(**_glance(vehicle))


def _glance(vehicle: Vehicle) -> dict[str, Any]:
    state = vehicle.unit.state
    return {
        "vin": vehicle.vin,
        "model": vehicle.firmware.model,
        "firmware": vehicle.firmware.version,
        "connected": vehicle.connected,
        "operational": vehicle.operational,
        "values": [
            Setting(module=p.module, parameter=p.parameter, value=state.values[key])
            for key, p in sorted(vehicle.firmware.parameters.items())
        ],
        "seq": state.highest_seq,
        "applied_seq": state.applied_seq,
        "boot": state.boot,
        "buffer": len(vehicle.outgoing.buffer),
        "faults": vehicle.unit.faults.describe(),
    }


def _detail(vehicle: Vehicle) -> VehicleDetail:
    status, state = vehicle.status(), vehicle.unit.state
    return VehicleDetail(
        **_glance(vehicle),
        digest=vehicle.unit.config(status.at).digest,
        speed_kmh=round(vehicle.car.speed_kmh, 1),
        lat=status.lat or 0.0,
        lon=status.lon or 0.0,
        odometer_km=status.odometer_km or 0.0,
        soc_pct=status.soc_pct,
        fuel_pct=status.fuel_pct,
        active_services=[active.service for active in status.active_services],
        timers=[{"at": timer.at, "values": timer.values} for timer in state.timers],
        screen=[{"at": s.at, "level": s.level, "text": s.text} for s in state.screen],
    )
