"""The authorities' decisions: identity checks and plates by country (DOMAIN 10, Registration)."""

import re
from dataclasses import dataclass
from datetime import date

from core.ids import is_vin

COUNTRIES = {"es": "DGT", "fr": "ANTS", "de": "KBA", "generic": "GENERIC"}

_DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
_DNI = re.compile(r"(\d{8})([A-Z])")
_NIE = re.compile(r"([XYZ])(\d{7})([A-Z])")
_COMPANY = re.compile(r"[ABCDEFGHJNPQRSUVW]\d{7}[0-9A-J]")
# Plates leave out vowels and letters taken for others.
_ES_LETTERS = "BCDFGHJKLMNPRSTVWXYZ"
_FR_LETTERS = "ABCDEFGHJKLMNPQRSTVWXYZ"
_DE_LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a registration is refused."""

    code: str
    field: str
    message: str


def check(country: str, vin: str, tax_id: str, tuv_reference: str, office: str) -> Fault | None:
    """None where the papers are in order."""
    if not is_vin(vin):
        return Fault("INVALID_VIN", "vin", "a VIN has 17 letters and digits, without I, O and Q")
    if country == "es" and not is_spanish_tax_id(tax_id):
        return Fault("INVALID_DNI", "owner.tax_id", "not a valid DNI, NIE or NIF")
    if country == "fr" and not re.fullmatch(r"\d{13}", tax_id.replace(" ", "")):
        return Fault("INVALID_TAX_NUMBER", "owner.tax_id", "a numéro fiscal has 13 digits")
    if country == "de" and not tuv_reference.strip():
        return Fault("MISSING_TUV_REFERENCE", "tuv_reference", "the TÜV reference is missing")
    if country == "de" and not office.strip():
        return Fault("MISSING_REGIONAL_OFFICE", "regional_office", "the office is missing")
    if not tax_id.strip():
        return Fault("INVALID_TAX_NUMBER", "owner.tax_id", "the owner's tax number is missing")
    return None


def is_spanish_tax_id(text: str) -> bool:
    """True for a DNI or NIE with the right letter, or the form of a company's NIF."""
    text = text.strip().upper().replace("-", "").replace(" ", "")
    if match := _DNI.fullmatch(text):
        return _DNI_LETTERS[int(match[1]) % 23] == match[2]
    if match := _NIE.fullmatch(text):
        number = str("XYZ".index(match[1])) + match[2]
        return _DNI_LETTERS[int(number) % 23] == match[3]
    return _COMPANY.fullmatch(text) is not None


def plate(country: str, number: int, office: str = "") -> str:
    """The plate number ``number`` (from 1) of a country: 1234-BCD, AB-123-CD, XX-AB-1234."""
    if country == "es":
        return f"{number % 10000:04d}-{_letters(_ES_LETTERS, number // 10000, 3)}"
    if country == "fr":
        tail = _letters(_FR_LETTERS, number // 999, 4)
        return f"{tail[:2]}-{number % 999 + 1:03d}-{tail[2:]}"
    if country == "de":
        district = (re.sub(r"[^A-Z]", "", office.upper()) + "XX")[:2]
        return f"{district}-{_letters(_DE_LETTERS, number // 10000, 2)}-{number % 10000:04d}"
    return f"GEN-{number:06d}"


def badge(emissions_g_km: float | None, engine: str) -> str:
    """The environmental badge: 0 for electric, ECO for hybrid, else C."""
    kind = engine.upper()
    if kind == "ELECTRIC" or emissions_g_km == 0:
        return "0"
    return "ECO" if kind == "HYBRID" else "C"


def expiry(registered: date) -> date:
    """When the papers must be renewed: ten years on."""
    try:
        return registered.replace(year=registered.year + 10)
    except ValueError:  # 29 February
        return registered.replace(year=registered.year + 10, day=28)


def _letters(alphabet: str, number: int, length: int) -> str:
    letters = ""
    for _ in range(length):
        number, position = divmod(number, len(alphabet))
        letters = alphabet[position] + letters
    return letters
