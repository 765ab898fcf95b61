"""Texts of diagnostic trouble codes (SAE J2012 names; the class where a code is not listed)."""

_TEXTS = {
    "P0A0F": "Engine failed to start",
    "P0A1B": "Drive motor control module",
    "P0A3F": "Drive motor position sensor circuit",
    "P0A78": "Drive motor inverter performance",
    "P0A7F": "Hybrid/EV battery pack deterioration",
    "P0A80": "Replace hybrid/EV battery pack",
    "P0562": "System voltage low",
    "P0563": "System voltage high",
    "P0300": "Random or multiple cylinder misfire detected",
    "P0420": "Catalyst system efficiency below threshold",
    "P0700": "Transmission control system",
    "C0035": "Left front wheel speed sensor",
    "C0040": "Right front wheel speed sensor",
    "B1000": "Control unit defective",
    "U0100": "Lost communication with engine control module",
    "U0121": "Lost communication with anti-lock brake control module",
    "U0155": "Lost communication with instrument panel cluster",
}
_CLASSES = {"P": "Powertrain", "C": "Chassis", "B": "Body", "U": "Network"}


def text_of(code: str) -> str:
    """What a code means; "Powertrain trouble code" and the like where it is not listed."""
    kind = _CLASSES.get(code[:1])
    return _TEXTS.get(code) or (f"{kind} trouble code" if kind else "Manufacturer's trouble code")
