"""Which VINs the registry takes: length, alphabet and, where the market uses it, check digit."""

from collections.abc import Callable

from core.errors import Invalid
from core.ids import has_check_digit, parse_vin
from gateway.registry.settings import RegistrySettings

ParseVin = Callable[[str], str]


def vin_rule(settings: RegistrySettings) -> ParseVin:
    """What makes a VIN of a text as an operator types it, or raises Invalid."""

    def parse(text: str) -> str:
        vin = parse_vin(text)
        if _is_checked(settings, vin) and not has_check_digit(vin):
            raise Invalid(
                "INVALID_CHECK_DIGIT",
                f"the ninth character of {vin} is not its check digit (ISO 3779)"
                " (CAAS_REGISTRY_CHECK_DIGIT)",
            )
        return vin

    return parse


def _is_checked(settings: RegistrySettings, vin: str) -> bool:
    if settings.check_digit == "region":
        return vin[0] in settings.check_digit_regions
    return settings.check_digit == "always"
