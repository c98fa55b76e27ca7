"""Receipts: what Twilio says of a message, and which word outranks which."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci360_twilio.core.receipt import (
    RANKS,
    ProviderStatus,
    Receipt,
    is_final,
    moment_of,
    parse_callback,
    parse_resource,
)

SID = "SM" + "0a" * 16
FROM = "+12015550199"


def resource(**changes: Any) -> dict[str, Any]:
    """Give a message as Twilio's API answers it."""
    return {"sid": SID, "status": "queued", "error_code": None, "to": "+12015550123"} | changes


def test_a_message_resource_is_a_receipt() -> None:
    """Of all its fields, few matter."""
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


@pytest.mark.parametrize(
    "status", [None, "", 5, [], "two words", "a\nb", "<b>", "\u017fent", "x" * 65], ids=ascii
)
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


@pytest.mark.parametrize("code", ["30003", True, 1.5, [30003], {}, 0, -1, 10**30], ids=ascii)
def test_an_error_code_that_is_no_number_is_left_out(code: object) -> None:
    """The resource writes numbers, of five digits."""
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


# Status callbacks


def callback(**changes: str | None) -> dict[str, str]:
    """Give the form of a status callback; ``None`` removes a member."""
    members = {
        "ErrorCode": "30034",
        "SmsSid": SID,
        "SmsStatus": "undelivered",
        "MessageStatus": "undelivered",
        "To": "+12015550123",
        "MessageSid": SID,
        "AccountSid": "AC" + "b2" * 16,
        "From": FROM,
        "ApiVersion": "2010-04-01",
    }
    return {name: value for name, value in (members | changes).items() if value is not None}


def test_a_status_callback_is_a_receipt() -> None:
    """Members that are not known are left aside."""
    undelivered = Receipt(sid=SID, status="undelivered", error_code=30034, sender=FROM)
    assert parse_callback(callback()) == undelivered
    assert parse_callback(callback(Tomorrow="x")) == undelivered
    delivered = parse_callback(callback(MessageStatus="delivered", ErrorCode=None, From=None))
    assert delivered == Receipt(sid=SID, status="delivered")


def test_a_callback_tells_when_the_carrier_was_done() -> None:
    """As it writes it: nobody says in which zone."""
    found = parse_callback(callback(RawDlrDoneDate="2603021200"))
    assert found
    assert found.carrier_done == "2603021200"


@pytest.mark.parametrize("date", ["", "soon", "26-03-02", "2" * 15, "26", "\u0663" * 10, "1\n2"])
def test_a_carriers_date_that_is_none_is_left_out(date: str) -> None:
    """It would be shown to people."""
    found = parse_callback(callback(RawDlrDoneDate=date))
    assert found
    assert found.carrier_done is None


def test_a_resource_tells_who_sends_it_and_when_twilio_made_it() -> None:
    """By Twilio's clock: whether a customer's text came before it or after."""
    date = "Mon, 02 Mar 2026 09:30:00 +0000"
    found = parse_resource(resource(**{"from": FROM, "date_created": date}))
    assert found == Receipt(sid=SID, status="queued", sender=FROM, made=date)
    assert moment_of(found.made) == datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize("value", [None, "", 5, ["x"], "x" * 101], ids=ascii)
def test_what_is_no_sender_and_no_date_is_left_out(value: object) -> None:
    """A Messaging Service has chosen nobody at first."""
    assert parse_resource(resource(**{"from": value, "date_created": value})) == Receipt(
        sid=SID, status="queued"
    )


@pytest.mark.parametrize("missing", ["MessageSid", "MessageStatus"])
@pytest.mark.parametrize("value", [None, ""], ids=ascii)
def test_the_older_names_stand_in_for_the_newer(missing: str, value: str | None) -> None:
    """``SmsSid`` and ``SmsStatus`` say the same; an empty member is as if it were missing."""
    assert parse_callback(callback(**{missing: value})) == parse_callback(callback())


def test_of_both_names_the_newer_one_counts() -> None:
    """Should they differ."""
    found = parse_callback(callback(SmsSid="SM1", SmsStatus="sent"))
    assert found == parse_callback(callback())


@pytest.mark.parametrize(
    "sid", [None, "", "SM 1", "SM/../x", "SM\n", "x" * 65, "\u0663", "\udc80"], ids=ascii
)
def test_a_callback_without_a_usable_sid_names_no_message(sid: str | None) -> None:
    """It would go into the ledger and into logs."""
    assert parse_callback(callback(MessageSid=sid, SmsSid=None)) is None


@pytest.mark.parametrize(
    "status",
    [None, "", "two words", "a\nb", "<b>", "\u00e4", "\udc80", "5", "x" * 65],
    ids=ascii,
)
def test_a_callback_without_a_status_says_nothing(status: str | None) -> None:
    """Unlike the answer to a request, which says at least that there is a message."""
    assert parse_callback(callback(MessageStatus=status, SmsStatus=None)) is None


def test_a_status_is_read_in_any_case() -> None:
    """In callbacks and resources alike, also one that is not known yet."""
    for written, status in (("DELIVERED", "delivered"), ("Teleported", "teleported")):
        made = Receipt(sid=SID, status=status)
        form = callback(MessageStatus=written, ErrorCode=None, From=None)
        assert parse_callback(form) == made
        assert parse_resource(resource(status=written)) == made


@pytest.mark.parametrize(
    "code", ["", "0", "-1", "30034.0", "3e4", " 30034", "\u0663", "\u00b2", "9" * 5000, "\udc80"],
    ids=lambda code: ascii(code)[:20],
)  # fmt: skip
def test_a_callbacks_error_code_that_is_no_number_is_left_out(code: str) -> None:
    """The status is news all the same."""
    found = parse_callback(callback(ErrorCode=code))
    assert found == Receipt(sid=SID, status="undelivered", sender=FROM)


@given(
    form=st.dictionaries(
        st.sampled_from([*callback()]) | st.text(), st.text(alphabet=st.characters())
    )
)
@settings(max_examples=200, deadline=None)
def test_no_callback_fails(form: dict[str, str]) -> None:
    """What is read out of it fits into the ledger."""
    found = parse_callback(callback() | form)
    if found is not None:
        assert found.sid.isascii()
        assert found.sid.isalnum()
        assert found.status.isascii()
        assert found.error_code is None or 0 < found.error_code < 10_000_000


@pytest.mark.parametrize("status", ["delivered", "undelivered", "failed", "canceled", "read"])
def test_after_a_final_status_twilio_need_not_be_asked_again(status: str) -> None:
    """It has said the last word."""
    assert is_final(status)
    assert is_final(ProviderStatus(status))


@pytest.mark.parametrize(
    "status",
    [None, "", "accepted", "scheduled", "queued", "sending", "sent", "partially_delivered", "x"],
)
def test_any_other_status_is_not_final(status: str | None) -> None:
    """More is to come, or we do not know the word."""
    assert not is_final(status)


def test_every_final_status_outranks_every_other() -> None:
    """Or an end would not be recorded after what came before it."""
    final = {status for status in ProviderStatus if is_final(status)}
    open_ranks = [RANKS[status] for status in ProviderStatus if status not in final]
    assert max(open_ranks) < min(RANKS[status] for status in final)
