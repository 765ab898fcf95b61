"""A closed drive around Madrid: a point, a heading and a speed limit for every kilometre of it."""

import math
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate, pairwise

EARTH_KM = 6371.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a car is on a route, and how fast it may go there."""

    lat: float
    lon: float
    heading_deg: float
    limit_kmh: float


@dataclass(frozen=True, slots=True)
class Waypoint:
    lat: float
    lon: float
    limit_kmh: float  # on the way to the next waypoint


class Route:
    """A polyline that ends where it begins."""

    def __init__(self, waypoints: tuple[Waypoint, ...]) -> None:
        self._waypoints = (*waypoints, waypoints[0])
        lengths = [distance_km(a, b) for a, b in pairwise(self._waypoints)]
        self._starts = [0.0, *accumulate(lengths)]
        self.length_km = self._starts[-1]

    def at(self, km: float) -> Place:
        """The place ``km`` kilometres after the first waypoint, going round and round."""
        km %= self.length_km
        index = min(bisect_right(self._starts, km) - 1, len(self._waypoints) - 2)
        here, there = self._waypoints[index], self._waypoints[index + 1]
        share = (km - self._starts[index]) / (self._starts[index + 1] - self._starts[index])
        return Place(
            lat=here.lat + (there.lat - here.lat) * share,
            lon=here.lon + (there.lon - here.lon) * share,
            heading_deg=bearing_deg(here, there),
            limit_kmh=here.limit_kmh,
        )


def distance_km(a: Waypoint, b: Waypoint) -> float:
    """Great-circle distance (haversine)."""
    half_lat = math.radians(b.lat - a.lat) / 2
    half_lon = math.radians(b.lon - a.lon) / 2
    inner = (
        math.sin(half_lat) ** 2
        + math.cos(math.radians(a.lat)) * math.cos(math.radians(b.lat)) * math.sin(half_lon) ** 2
    )
    return 2 * EARTH_KM * math.asin(math.sqrt(inner))


def bearing_deg(a: Waypoint, b: Waypoint) -> float:
    """Direction of travel, clockwise from north."""
    across = math.radians(b.lon - a.lon) * math.cos(math.radians((a.lat + b.lat) / 2))
    return math.degrees(math.atan2(across, math.radians(b.lat - a.lat))) % 360


# From the centre out to the M-40, around it clockwise, and back in by the A-42.
MADRID = Route(
    (
        Waypoint(40.4168, -3.7038, 30),  # Puerta del Sol
        Waypoint(40.4193, -3.6930, 50),  # Cibeles
        Waypoint(40.4459, -3.6921, 50),  # Castellana, Nuevos Ministerios
        Waypoint(40.4662, -3.6890, 50),  # Plaza de Castilla
        Waypoint(40.4867, -3.6940, 90),  # M-30 north
        Waypoint(40.4965, -3.6600, 100),  # M-40 north-east
        Waypoint(40.4720, -3.6070, 100),  # Campo de las Naciones
        Waypoint(40.4330, -3.6010, 100),  # San Blas
        Waypoint(40.3960, -3.6200, 100),  # Vicálvaro
        Waypoint(40.3620, -3.6480, 100),  # Mercamadrid
        Waypoint(40.3500, -3.7000, 100),  # Villaverde
        Waypoint(40.3570, -3.7450, 90),  # Leganés
        Waypoint(40.3850, -3.7200, 70),  # A-42 inwards
        Waypoint(40.4040, -3.7110, 50),  # Pirámides
    )
)
