"""Status callbacks: what they say and how often they are tried."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from msgspec.structs import replace

from ci360_twilio.twin.callback import Callback, Failing, callback_of, parse_retries, repeated
from ci360_twilio.twin.message import Message, MessageStatus

NOON = datetime(2026, 3, 14, 12, 34, tzinfo=UTC)
URL = "https://sms.example.com/twilio/status/tenant?m=abc"
SENT = Message(
    number=1,
    sid="SM" + "1" * 32,
    account="AC" + "a" * 32,
    to="+12015550101",
    sender="+12015550199",
    service=None,
    body="Hello",
    media=(),
    status=MessageStatus.SENT,
    at=NOON,
    updated_at=NOON,
    status_callback=f"{URL}#rc=5&rp=all",
)


def callback(fragment: str) -> Callback:
    """Make a callback whose address has a fragment."""
    return callback_of(replace(SENT, status_callback=f"{URL}#{fragment}"), NOON)


def test_a_callback_says_what_twilios_says() -> None:
    """Every parameter has its name and value; the fragment is not part of the address."""
    made = callback_of(SENT, NOON)
    assert made.url == URL
    assert made.form == {
        "MessageSid": SENT.sid,
        "SmsSid": SENT.sid,
        "MessageStatus": "sent",
        "SmsStatus": "sent",
        "AccountSid": SENT.account,
        "From": "+12015550199",
        "To": "+12015550101",
        "ApiVersion": "2010-04-01",
    }


def test_a_failure_carries_its_code_and_the_carriers_time() -> None:
    """The time has no seconds and no zone, and comes with a last status only."""
    failed = replace(SENT, status=MessageStatus.UNDELIVERED, error_code=30003)
    form = callback_of(failed, NOON, carrier_date=True).form
    assert (form["ErrorCode"], form["RawDlrDoneDate"]) == ("30003", "2603141234")
    assert "RawDlrDoneDate" not in callback_of(failed, NOON).form
    assert "RawDlrDoneDate" not in callback_of(SENT, NOON, carrier_date=True).form


def test_a_messaging_service_names_itself_and_the_sender_it_chose() -> None:
    """Before it has chosen, there is no sender."""
    service = replace(SENT, sender=None, service="MG" + "5" * 32)
    assert "From" not in callback_of(service, NOON).form
    form = callback_of(replace(service, via="+12015550198"), NOON).form
    assert (form["From"], form["MessagingServiceSid"]) == ("+12015550198", "MG" + "5" * 32)


@pytest.mark.parametrize(
    ("fragment", "count", "after"),
    [
        ("", 1, {"ct"}),
        ("rc=5&rp=all", 5, {"ct", "rt", "4xx", "5xx"}),
        ("rc=0", 0, {"ct"}),
        ("rp=5xx,rt", 1, {"5xx", "rt"}),
        ("rc=6&rp=no", 1, {"ct"}),
        ("rc=x&ct=3000", 1, {"ct"}),
    ],
)
def test_connection_overrides_are_read(fragment: str, count: int, after: set[str]) -> None:
    """What cannot be read is as if it were not there."""
    retries = parse_retries(fragment)
    assert (retries.count, set(retries.after)) == (count, after)


@pytest.mark.parametrize(
    ("fragment", "how", "attempts"),
    [
        ("", Failing.CONNECT, 2),
        ("", Failing.SERVER, 1),
        ("", Failing.READ, 1),
        ("rc=5&rp=all", Failing.CLIENT, 6),
        ("rc=0&rp=all", Failing.CONNECT, 1),
        ("rc=2&rp=5xx", Failing.SERVER, 3),
        ("rc=2&rp=5xx", Failing.CONNECT, 1),
    ],
)
def test_a_failed_callback_is_repeated_as_its_address_says(
    fragment: str, how: Failing, attempts: int
) -> None:
    """At most so often, and after these failures only; each later than the one before."""
    made: Callback | None = callback(fragment)
    seen = []
    while made is not None:
        seen.append(made.at)
        made = repeated(made, made.at, how)
    assert len(seen) == attempts
    waits = [later - earlier for earlier, later in pairwise(seen)]
    assert waits == [timedelta(seconds=2**number) for number in range(attempts - 1)]
