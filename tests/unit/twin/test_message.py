"""How a message is shown, whatever befalls it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from ci360_twilio.twin.message import Message, MessageStatus
from ci360_twilio.twin.weather import Lot, Mishap

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
MESSAGE = Message(
    number=1,
    sid="SM" + "1" * 32,
    account="AC" + "a" * 32,
    to="+12015550101",
    sender="+12015550199",
    service=None,
    body="It’s at https://www.example.com/offer?a=1 now",
    media=(),
    status=MessageStatus.QUEUED,
    at=NOON,
    updated_at=NOON,
)
SERVICE = replace(MESSAGE, sender=None, service="MG" + "5" * 32, status=MessageStatus.ACCEPTED)


@pytest.mark.parametrize(
    ("mishap", "shown"),
    [
        (None, MESSAGE.body),
        (Mishap.ENCODED, "It's at https://www.example.com/offer?a=1 now"),
        (Mishap.SHORTENED, "It’s at https://twil.example/Ab3dEf now"),
        (Mishap.REDACTED, ""),
    ],
)
def test_a_text_may_be_shown_altered(mishap: Mishap | None, shown: str) -> None:
    """The answer to the request that made it has the text as it was given."""
    message = replace(MESSAGE, lot=Lot(body=mishap))
    assert message.shown["body"] == shown
    assert message.resource["body"] == MESSAGE.body


def test_a_blank_row_names_no_sender_and_no_date_until_it_is_sent() -> None:
    """Only rows of a Messaging Service are blank."""
    blank = replace(SERVICE, lot=Lot(blank=True), via="+12015550198")
    assert (blank.shown["from"], blank.shown["date_sent"]) == (None, None)
    sent = replace(blank, sent_at=NOON + timedelta(minutes=1))
    assert sent.shown["date_sent"] == "Sat, 14 Mar 2026 12:01:00 +0000"
    other = replace(MESSAGE, lot=Lot(blank=True))
    assert other.shown == MESSAGE.shown


def test_a_messaging_service_shows_the_sender_it_chose() -> None:
    """And from then on it counts segments."""
    assert (SERVICE.shown["from"], SERVICE.shown["num_segments"]) == (None, "0")
    chosen = replace(SERVICE, via="+12015550198")
    assert (chosen.shown["from"], chosen.shown["num_segments"]) == ("+12015550198", "1")


def test_a_failure_is_shown_with_code_and_words() -> None:
    """As Twilio shows both."""
    failed = replace(MESSAGE, status=MessageStatus.FAILED, error_code=30007)
    assert (failed.shown["status"], failed.shown["error_code"]) == ("failed", 30007)
    assert "30007" in failed.shown["error_message"]
    assert MESSAGE.shown["error_message"] is None
