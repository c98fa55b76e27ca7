"""Customers' phones: what they write, what Twilio makes of it, and from whom they hear no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ci360_twilio.twin.phone import HELP_WORDS, START_WORDS, STOP_WORDS, Blocks, Letter, taken_for
from ci360_twilio.twin.twilio import ApiError, Message, MessageStatus, TwilioTwin, TwinAccount

if TYPE_CHECKING:
    from tests.conftest import SetClock

SID, OTHER = f"AC{'a' * 32}", f"AC{'b' * 32}"
CUSTOMER, OURS, SECOND = "+12015550142", "+12015550199", "+12015550198"
SERVICE = f"MG{'5' * 32}"


@pytest.fixture
def twin(clock: SetClock) -> TwilioTwin:
    """A twin with two accounts."""
    accounts = [
        TwinAccount(sid=SID, auth_token="token", numbers=(OURS, SECOND)),
        TwinAccount(sid=OTHER, auth_token="other"),
    ]
    return TwilioTwin(accounts=accounts, clock=clock)


def write(twin: TwilioTwin, body: str, *, to: str = OURS, sid: str = SID, **more: Any) -> Message:
    """Have the customer write."""
    return twin.write(sid, Letter(sender=CUSTOMER, to=to, body=body, **more))


def send(
    twin: TwilioTwin, sender: str = OURS, *, to: str = CUSTOMER, sid: str = SID
) -> dict[str, Any] | int:
    """Write to the customer; gives the message, or the code that it is refused with."""
    by = "MessagingServiceSid" if sender.startswith("MG") else "From"
    account = twin.authorize(sid, "token" if sid == SID else "other")
    try:
        return twin.create(account, {"To": [to], by: [sender], "Body": ["Hello"]})
    except ApiError as exc:
        return exc.code


# What a text is taken for


@pytest.mark.parametrize(
    ("words", "kind"), [(STOP_WORDS, "STOP"), (START_WORDS, "START"), (HELP_WORDS, "HELP")]
)
def test_a_word_of_twilios_is_taken_for_what_it_is(words: frozenset[str], kind: str) -> None:
    """In any case, with blanks around."""
    for word in words:
        for text in (word, word.lower(), word.title(), f"  {word}\n"):
            assert taken_for(text) == kind


@pytest.mark.parametrize(
    "text", ["", " ", "STOP.", "Please STOP", "stop it", "STOPP", "NO", "Y", "s t o p", "\u201cstop\u201d"]
)  # fmt: skip
def test_any_other_text_is_nothing_to_twilio(text: str) -> None:
    """The whole message must be the word."""
    assert taken_for(text) == ""


def test_blocks_are_by_account_place_and_customer() -> None:
    """And START takes back what STOP did, there and nowhere else."""
    blocks = Blocks()
    for place in (OURS, SERVICE):
        blocks.read(SID, place, CUSTOMER, "STOP")
    for text in ("STOP", "HELP", "start please", ""):
        blocks.read(SID, OURS, CUSTOMER, text)
    assert blocks.block(SID, OURS, CUSTOMER)
    for other in ((OTHER, OURS, CUSTOMER), (SID, SECOND, CUSTOMER), (SID, OURS, SECOND)):
        assert not blocks.block(*other)
    blocks.read(SID, OURS, CUSTOMER, "Unstop")
    assert not blocks.block(SID, OURS, CUSTOMER)
    assert blocks.block(SID, SERVICE, CUSTOMER)
    blocks.read(SID, OURS, SECOND, "START")


# Letters


def test_a_letter_is_a_message_of_its_account(twin: TwilioTwin, clock: SetClock) -> None:
    """It can be fetched and listed as Twilio shows it; what we sent is kept apart."""
    made = write(twin, "Grüße 👍")
    send(twin)
    assert [letter.sid for letter in twin.letters] == [made.sid]
    assert [message.inbound for message in twin.messages] == [False]
    account = twin.authorize(SID, "token")
    shown = twin.fetch(account, made.sid)
    assert made.sid.startswith("SM")
    wanted = {
        "direction": "inbound",
        "status": "received",
        "from": CUSTOMER,
        "to": OURS,
        "body": "Grüße 👍",
        "num_media": "0",
        "account_sid": SID,
        "messaging_service_sid": None,
        "date_created": "Mon, 02 Mar 2026 09:30:00 +0000",
    }
    assert {name: shown[name] for name in wanted} == wanted
    assert made.at == clock.now
    assert twin.list_messages(account, {"To": [OURS]})["messages"] == [shown]
    assert twin.list_messages(account, {"From": [CUSTOMER]})["messages"] == [shown]
    with pytest.raises(ApiError):
        twin.fetch(twin.authorize(OTHER, "other"), made.sid)


def test_nobody_writes_to_an_account_that_is_not_there(twin: TwilioTwin) -> None:
    """A mistake in a rehearsal is told."""
    with pytest.raises(KeyError):
        write(twin, "Hello", sid=f"AC{'0' * 32}")
    with pytest.raises(KeyError):
        twin.set_inbound(f"AC{'0' * 32}", blocks=False)
    assert twin.letters == ()


def test_the_number_that_a_customer_heard_from_last_is_known(twin: TwilioTwin) -> None:
    """Of either kind, and of that account alone."""
    assert twin.last_sender(SID, CUSTOMER) is None
    for sender in (OURS, SECOND):
        send(twin, sender)
        assert twin.last_sender(SID, CUSTOMER) == sender
    write(twin, "Hello", to=OURS)
    assert twin.last_sender(SID, CUSTOMER) == SECOND
    assert twin.last_sender(OTHER, CUSTOMER) is None
    assert twin.last_sender(SID, OURS) is None


# STOP


def test_who_wrote_stop_hears_no_more_from_that_number(twin: TwilioTwin) -> None:
    """Until they write START; others do, and from other numbers they do."""
    write(twin, "STOP")
    assert send(twin) == 21610
    assert isinstance(send(twin, to="+12015550143"), dict)
    assert isinstance(send(twin, SECOND), dict)
    assert isinstance(send(twin, sid=OTHER), dict)
    write(twin, "help")
    assert send(twin) == 21610
    write(twin, "start")
    assert isinstance(send(twin), dict)


def test_a_message_that_was_made_before_is_not_taken_back(twin: TwilioTwin) -> None:
    """STOP is for what comes later."""
    made = send(twin)
    assert isinstance(made, dict)
    write(twin, "STOP")
    account = twin.authorize(SID, "token")
    assert twin.fetch(account, made["sid"])["error_code"] is None


def test_stop_counts_for_the_service_that_the_customer_heard_from(
    twin: TwilioTwin, clock: SetClock
) -> None:
    """It takes the message, and fails it a moment later; its numbers alone still reach them."""
    form = {"To": [CUSTOMER], "MessagingServiceSid": [SERVICE], "From": [OURS], "Body": ["Hello"]}
    account = twin.authorize(SID, "token")
    twin.create(account, form)
    assert write(twin, "STOP").service == SERVICE
    made = send(twin, SERVICE)
    assert isinstance(made, dict)
    assert made["status"] == MessageStatus.ACCEPTED
    clock.advance(seconds=2)
    shown = twin.fetch(account, made["sid"])
    assert (shown["status"], shown["error_code"]) == (MessageStatus.FAILED, 21610)
    assert isinstance(send(twin, SECOND), dict)
    write(twin, "START")
    made = send(twin, SERVICE)
    assert isinstance(made, dict)
    clock.advance(seconds=2)
    assert twin.fetch(account, made["sid"])["error_code"] is None


def test_an_account_may_leave_stop_to_its_owner(twin: TwilioTwin) -> None:
    """What was written meanwhile counts as soon as it does not any more."""
    twin.set_inbound(SID, blocks=False)
    write(twin, "STOP")
    assert isinstance(send(twin), dict)
    twin.set_inbound(SID, blocks=True)
    assert send(twin) == 21610


def test_what_fails_for_a_stop_is_told_by_a_callback(twin: TwilioTwin, clock: SetClock) -> None:
    """As any failure is, though the account's messages have no life."""
    form = {"To": [CUSTOMER], "MessagingServiceSid": [SERVICE], "From": [OURS], "Body": ["Hello"]}
    account = twin.authorize(SID, "token")
    twin.create(account, form)
    write(twin, "STOP")
    form |= {"From": [], "StatusCallback": ["https://sms.example.com/status"]}
    twin.create(account, form)
    callbacks = twin.advance(clock.advance(seconds=2))
    assert [(one.form["MessageStatus"], one.form["ErrorCode"]) for one in callbacks] == [
        ("failed", "21610")
    ]
