"""Numbers in JSON's canonical form."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.contracts.numbers import canonical_number


@pytest.mark.parametrize(
    ("value", "written"),
    [
        # RFC 8785, appendix B.
        (0.0, "0"),
        (-0.0, "0"),
        (5e-324, "5e-324"),
        (-5e-324, "-5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (9007199254740992.0, "9007199254740992"),
        (295147905179352830000.0, "295147905179352830000"),
        (9.999999999999997e22, "9.999999999999997e+22"),
        (1e23, "1e+23"),
        (999999999999999700000.0, "999999999999999700000"),
        (1e21, "1e+21"),
        (9.999999999999997e-7, "9.999999999999997e-7"),
        (0.000001, "0.000001"),
        (333333333.33333325, "333333333.33333325"),
        (4.0, "4"),
        (4.5, "4.5"),
        (-120.0, "-120"),
    ],
)
def test_a_number_is_written_as_the_rfc_has_it(value: float, written: str) -> None:
    assert canonical_number(value) == written


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_what_is_written_means_the_same_number(value: float) -> None:
    assert float(json.loads(canonical_number(value))) == value


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_is_no_number_in_json_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="no JSON number"):
        canonical_number(value)
