"""Countries of recipients, as far as a number tells them; reading numbers is in ``test_message.py``."""

from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci360_twilio.core.country import country_of


@pytest.mark.parametrize(
    ("number", "country"),
    [
        ("+12015550123", "US"),
        ("+14165550123", "CA"),
        ("+18765550123", "JM"),
        ("+442079460123", "GB"),
        ("+441534555012", "JE"),
        ("+79161234567", "RU"),
        ("+77012345678", "KZ"),
        ("+3906698123456", "VA"),
        ("+358401234567", "FI"),
        ("+35818123456", "AX"),
        ("+4915112345678", "DE"),
        ("+3835551234", "XK"),
    ],
)
def test_a_number_tells_its_country(number: str, country: str) -> None:
    """Also where several countries share a calling code."""
    assert country_of(number) == country


@pytest.mark.parametrize(
    ("number", "country"),
    [
        ("+19995550123", "US"),
        ("+18005550123", "US"),
        ("+440000000000", "GB"),
        ("+70000000000", "RU"),
        ("+61000000000", "AU"),
        ("+4900000000", "DE"),
    ],
)
def test_a_number_that_no_country_knows_is_the_main_ones(number: str, country: str) -> None:
    """Numbering plans are older than some numbers, and some are every country's of the code."""
    assert country_of(number) == country


@pytest.mark.parametrize(
    "number", ["+881612345678", "+882161234567", "+80012345678", "+999123456789", "+2101234567"]
)
def test_some_numbers_belong_to_no_country(number: str) -> None:
    """Satellites, networks of the world, free numbers, and calling codes that are not given out."""
    assert country_of(number) is None


@pytest.mark.parametrize("channel", ["whatsapp", "rcs", "messenger"])
def test_a_channel_is_left_aside(channel: str) -> None:
    """The number behind it counts."""
    assert country_of(f"{channel}:+14165550123") == "CA"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "+",
        "x",
        "whatsapp:",
        "messenger:12015550123",
        "rcs:brand_agent",
        "MG" + "3c" * 16,
        "12345",
        "12015550123",
        "+0123456789",
        "+120155",
        "+12015550123456789",
        "+1 201 555 0123",
        "+12015550123\n",
        "+1\u0662015550123",
        "\udc80",
        "+" * 100_000,
        "+1" + "0" * 100_000,
    ],
    ids=lambda address: ascii(address)[:30],
)
def test_what_is_no_number_has_no_country(address: str) -> None:
    """Ids, short codes, and whatever else a caller writes."""
    assert country_of(address) is None


addresses = st.builds(
    "{}{}".format,
    st.sampled_from(["", "whatsapp:", "x:"]),
    st.integers(0, 10**16).map("+{}".format) | st.text(alphabet=st.characters(), max_size=20),
)


@given(address=addresses)
@settings(max_examples=500, deadline=None)
def test_no_address_fails(address: str) -> None:
    """A country is two letters, and one that a tenant may name."""
    country = country_of(address)
    assert country is None or country in phonenumbers.SUPPORTED_REGIONS


TOLD_AS = {"EH": "MA", "MF": "BL"}
"""Countries whose numbers are another's, too."""


@pytest.mark.parametrize("country", sorted(phonenumbers.SUPPORTED_REGIONS))
def test_every_country_is_told_by_its_example(country: str) -> None:
    """Of those that a tenant may name, all but two can be met by themselves."""
    example = phonenumbers.example_number(country)
    assert example is not None
    written = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
    assert country_of(written) == TOLD_AS.get(country, country)
