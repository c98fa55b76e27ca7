"""The country of a number is told fast, and is the one that the library tells."""

from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ci360_twilio.core.country import country_of
from ci360_twilio.core.e164 import look_up

CODES = sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)
SHARED = [code for code in CODES if len(phonenumbers.COUNTRY_CODE_TO_REGION_CODE[code]) > 1]
REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)
KINDS = range(11)


def example_of(region: str, kind: int) -> str | None:
    """Give a number of a kind in a region, if there are such numbers."""
    number = phonenumbers.example_number_for_type(region, kind)
    if number is None:
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


EXAMPLES = [one for region in REGIONS for kind in KINDS if (one := example_of(region, kind))]

digits = st.text("0123456789", min_size=3, max_size=12)
numbers = st.one_of(
    st.builds("+{}{}".format, st.sampled_from(CODES), digits),
    st.builds("+{}{}".format, st.sampled_from(SHARED), digits),
    st.builds(
        lambda number, cut, end: number[:cut] + end,
        st.sampled_from(EXAMPLES),
        st.integers(4, 14),
        st.text("0123456789", max_size=6),
    ),
)


@given(st.builds("{}{}".format, st.sampled_from(["", "", "whatsapp:", "rcs:"]), numbers))
@example("")
@example("+")
@example("+0123456789")
@example("+2101234567")
@example("+882345678901")
@example("+18005550123")
@example("messenger:12015550101")
@example("{{phone}}")
def test_the_country_is_that_of_the_library(address: str) -> None:
    """Whatever stands for a number, and for numbers that nobody has."""
    assert country_of(address) == look_up(address)[0]


@pytest.mark.parametrize("region", REGIONS)
def test_the_numbers_of_every_region_are_its_own(region: str) -> None:
    """Those of each kind that the library gives as an example."""
    for kind in KINDS:
        if number := example_of(region, kind):
            assert country_of(number) == look_up(number)[0]
