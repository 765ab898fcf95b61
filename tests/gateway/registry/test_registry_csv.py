"""Lines of an import file, and the rule for VINs; no fixture."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Invalid
from core.ids import has_check_digit, parse_vin
from core.passwords import hash_password
from core.settings import load
from gateway.registry.csv_rows import BadLine, NewVehicle, Rules, read_header, read_line
from gateway.registry.settings import RegistrySettings
from gateway.registry.vins import vin_rule
from tests.gateway.conftest import VIN

RULES = Rules(parse_vin, {"AURORA"})
PLAIN = read_header(b"vin,model,firmware\n")
ALL = read_header(b"\xef\xbb\xbfModel, VIN ,firmware,transport,secret,secret_hash\r\n")
HASH = hash_password("a secret of many characters")


def test_columns_come_in_any_order() -> None:
    line = f"AURORA,{VIN.lower()},2.4.1,iot_api,,\r\n".encode()
    assert read_line(7, line, ALL, RULES) == NewVehicle(
        VIN, "AURORA", "2.4.1", "iot_api", None, None
    )
    line = f"AURORA,{VIN},2.4.1,,,{HASH}".encode()
    assert read_line(7, line, ALL, RULES) == NewVehicle(VIN, "AURORA", "2.4.1", "mqtt", None, HASH)


@pytest.mark.parametrize(
    "header",
    [b"", b"vin,model", b"vin,model,firmware,vin", b"vin,model,firmware,colour", b'"vin', b"\xff"],
)
def test_a_header_that_does_not_fit_is_refused(header: bytes) -> None:
    with pytest.raises(Invalid):
        read_header(header)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"AURORA,{VIN[:-1]},2.4.1,,,", "17 letters"),
        (f"NONE,{VIN},2.4.1,,,", "no vehicle model 'NONE'"),
        (f"AURORA,{VIN},,,,", "no firmware version"),
        (f"AURORA,{VIN},2.4.1,pigeon,,", "transport is one of"),
        (f"AURORA,{VIN},2.4.1,,short,", "16 to 200"),
        (f"AURORA,{VIN},2.4.1,, {'x' * 20},", "nor ends with a blank"),
        (f'AURORA,{VIN},2.4.1,,"{"x" * 20} ",', "nor ends with a blank"),
        (f"AURORA,{VIN},2.4.1,,,$6$101$abc$def", "$7$ITERATIONS"),
        (f"AURORA,{VIN},2.4.1,,,{HASH.replace('$101$', '$999999$')}", "$7$ITERATIONS"),
        (f"AURORA,{VIN},2.4.1,,{'x' * 20},{HASH}", "not both"),
        (f"AURORA,{VIN},2.4.1,iot_api,{'x' * 20},", "IoT API"),
        (f"AURORA,{VIN},2.4.1", "3 fields where the header has 6"),
        (f'AURORA,"{VIN},2.4.1,,,', "not CSV"),
        (f"AURORA,{VIN},2.4.1\udcff,,,", "not UTF-8"),
        (f"AURORA,{VIN},2.4.1,,,{'x' * 5000}", "longer than"),
    ],
)
def test_a_bad_line_says_its_number_and_why(line: str, said: str) -> None:
    found = read_line(7, line.encode("utf-8", "surrogateescape"), ALL, RULES)
    assert isinstance(found, BadLine)
    assert found.line == 7
    assert said in found.reason
    assert "x" * 16 not in found.reason


@given(st.binary(max_size=200))
def test_any_bytes_are_a_vehicle_or_a_bad_line(line: bytes) -> None:
    assert isinstance(read_line(2, line, PLAIN, RULES), NewVehicle | BadLine)


# Vehicles of three makers, and two examples of the standard's.
GOOD = ["1M8GDM9AXKP042788", "11111111111111111", "1HGCM82633A004352", "LVSHCAMB1CE054249"]


@pytest.mark.parametrize("vin", GOOD)
def test_the_check_digit_is_that_of_iso_3779(vin: str) -> None:
    assert has_check_digit(vin)
    other = "0" if vin[8] != "0" else "1"
    assert not has_check_digit(f"{vin[:8]}{other}{vin[9:]}")


@pytest.mark.parametrize(
    ("mode", "vin", "taken"),
    [
        ("never", "1M8GDM9A0KP042788", True),
        ("region", "1M8GDM9A0KP042788", False),
        ("region", "1M8GDM9AXKP042788", True),
        ("region", "LVSHCAMB0CE054249", False),
        ("region", VIN, True),
        ("always", VIN, False),
    ],
)
def test_the_check_digit_counts_where_the_market_uses_it(mode: str, vin: str, taken: bool) -> None:
    parse = vin_rule(load(RegistrySettings, check_digit=mode))
    if taken:
        assert parse(vin.lower()) == vin
        return
    with pytest.raises(Invalid) as refused:
        parse(vin)
    assert refused.value.code == "INVALID_CHECK_DIGIT"
