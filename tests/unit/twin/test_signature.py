"""Signatures, compared with Twilio's own verification."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from ci360_twilio.twin.signature import sign


def test_the_example_of_twilios_page_is_signed_as_there() -> None:
    """The value stands in docs/usage/security."""
    form = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+14158675310",
        "Digits": "1234",
        "From": "+14158675310",
        "To": "+18005551212",
    }
    url = "https://example.com/myapp.php?foo=1&bar=2"
    assert sign("12345", url, form) == "L/OH5YylLD5NRKLltdqwSvS0BnU="


@given(
    form=st.dictionaries(st.text(min_size=1), st.text()),
    query=st.sampled_from(["", "?m=abc", "?m=a%2Bb&n="]),
)
def test_twilios_own_client_verifies_every_form(form: dict[str, str], query: str) -> None:
    """Any parameters and any query are signed as the official package expects it."""
    url = f"https://sms.example.com/twilio/status/tenant{query}"
    validator = RequestValidator("token")
    assert validator.validate(url, form, sign("token", url, form))
    assert not validator.validate(url, form, sign("other", url, form))


@pytest.mark.parametrize(
    "changed", [("https://example.com/?m=2", {"a": "1"}), ("https://example.com/?m=1", {"a": "2"})]
)
def test_another_address_or_form_has_another_signature(changed: tuple[str, dict[str, str]]) -> None:
    """Both are covered."""
    assert sign("token", *changed) != sign("token", "https://example.com/?m=1", {"a": "1"})
