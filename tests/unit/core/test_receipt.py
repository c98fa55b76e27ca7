"""Receipts: what Twilio says of a message, and which word outranks which."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci360_twilio.core.receipt import RANKS, ProviderStatus, Receipt, parse_resource

SID = "SM" + "0a" * 16


def resource(**changes: Any) -> dict[str, Any]:
    """Give a message as Twilio's API answers it."""
    return {"sid": SID, "status": "queued", "error_code": None, "to": "+12015550123"} | changes


def test_a_message_resource_is_a_receipt() -> None:
    """Of all its fields, three matter."""
    assert parse_resource(resource()) == Receipt(sid=SID, status="queued")
    found = parse_resource(resource(status="undelivered", error_code=30003))
    assert found == Receipt(sid=SID, status="undelivered", error_code=30003)


@pytest.mark.parametrize(
    "sid", [None, "", 5, ["SM"], "SM 1", "SM/../x", "SM\n", "x" * 65], ids=ascii
)
def test_a_resource_without_a_usable_sid_names_no_message(sid: object) -> None:
    """Then the answer counts as lost."""
    assert parse_resource(resource(sid=sid)) is None
    assert parse_resource({}) is None


@pytest.mark.parametrize("status", [None, "", 5, [], "two words", "a\nb", "<b>"], ids=ascii)
def test_a_status_that_is_no_word_counts_as_accepted(status: object) -> None:
    """The message exists, and that is what matters."""
    found = parse_resource(resource(status=status))
    assert found == Receipt(sid=SID, status="accepted")


def test_a_status_that_we_do_not_know_is_kept() -> None:
    """Twilio adds some; it has the lowest rank."""
    found = parse_resource(resource(status="teleported"))
    assert found
    assert found.status == "teleported"
    assert found.rank < min(RANKS.values())


@pytest.mark.parametrize("code", ["30003", True, 1.5, [30003], {}], ids=ascii)
def test_an_error_code_that_is_no_number_is_left_out(code: object) -> None:
    """The resource writes numbers."""
    assert parse_resource(resource(error_code=code)) == Receipt(sid=SID, status="queued")


def test_every_status_of_twilios_has_a_rank() -> None:
    """One without would be ignored."""
    assert set(RANKS) == set(ProviderStatus)


@pytest.mark.parametrize(
    "way",
    [
        ["accepted", "queued", "sending", "sent", "delivered", "read"],
        ["accepted", "scheduled", "queued", "sending", "sent", "undelivered", "delivered"],
        ["queued", "sending", "failed", "undelivered", "delivered"],
        ["accepted", "scheduled", "canceled"],
        ["sent", "undelivered"],
        ["partially_delivered", "delivered"],
    ],
    ids=" < ".join,
)
def test_ranks_rise_along_every_way_that_a_message_goes(way: list[str]) -> None:
    """Proof of delivery outranks every failure, and reading proves delivery."""
    ranks = [Receipt(sid=SID, status=status).rank for status in way]
    assert all(earlier < later for earlier, later in pairwise(ranks))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(sid=json_values, status=json_values, code=json_values)
@settings(max_examples=200, deadline=None)
def test_no_answer_of_twilios_fails(sid: object, status: object, code: object) -> None:
    """What is read out of it is of the type it says."""
    found = parse_resource({"sid": sid, "status": status, "error_code": code})
    if found is not None:
        assert found.sid
        assert found.status
        assert found.error_code is None or type(found.error_code) is int
