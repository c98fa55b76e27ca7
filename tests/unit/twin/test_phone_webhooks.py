"""Customers' phones: how the account hears of what they write."""

from __future__ import annotations

import queue
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import pytest
from twilio.request_validator import RequestValidator

from ci360_twilio.core.inbound import parse_inbound
from ci360_twilio.twin.answer import Answer
from ci360_twilio.twin.callback import Callback, Failing, Retries
from ci360_twilio.twin.faults import Outcome
from ci360_twilio.twin.listener import Listener
from ci360_twilio.twin.phone import Letter
from ci360_twilio.twin.postman import DELIVERED, FAILED
from ci360_twilio.twin.server import TwinServer
from ci360_twilio.twin.twilio import Message, TwilioTwin, TwinAccount
from ci360_twilio.twin.wire import Request, write_response

if TYPE_CHECKING:
    from tests.conftest import SetClock

SID = f"AC{'a' * 32}"
CUSTOMER, OURS = "+12015550142", "+12015550199"
SERVICE = f"MG{'5' * 32}"
WEBHOOK = "https://sms.example.com/twilio/inbound/tenant?a=b#rc=2&rp=all"
FALLBACK = "https://backup.example.com/twilio/inbound/tenant#rc=0"


@pytest.fixture
def twin(clock: SetClock) -> TwilioTwin:
    """A twin with an account that wants to hear of letters."""
    account = TwinAccount(sid=SID, auth_token="token", numbers=(OURS,), inbound_url=WEBHOOK)
    return TwilioTwin(accounts=[account], clock=clock)


def write(twin: TwilioTwin, body: str, **more: Any) -> Message:
    """Have the customer write."""
    return twin.write(SID, Letter(sender=CUSTOMER, to=OURS, body=body, **more))


def webhook(twin: TwilioTwin, clock: SetClock) -> Callback:
    """Give the one webhook that is due."""
    (callback,) = twin.advance(clock.now)
    return callback


def test_a_webhook_says_what_twilios_says(twin: TwilioTwin, clock: SetClock) -> None:
    """Signed for the address without its fragment, so that Twilio's own package verifies it."""
    made = write(twin, "Hello & more")
    callback = webhook(twin, clock)
    assert callback.url == WEBHOOK.partition("#")[0]
    assert (callback.at, callback.attempt, callback.retries.count) == (clock.now, 1, 2)
    assert callback.form == {
        "MessageSid": made.sid,
        "SmsSid": made.sid,
        "SmsMessageSid": made.sid,
        "AccountSid": SID,
        "From": CUSTOMER,
        "To": OURS,
        "Body": "Hello & more",
        "NumMedia": "0",
        "NumSegments": "1",
        "SmsStatus": "received",
        "ApiVersion": "2010-04-01",
    }
    validator = RequestValidator("token")
    assert validator.validate(callback.url, callback.form, callback.signature)


def test_a_webhook_names_the_service_that_the_customer_heard_from(
    twin: TwilioTwin, clock: SetClock
) -> None:
    """As Twilio does for its numbers."""
    form = {"To": [CUSTOMER], "MessagingServiceSid": [SERVICE], "From": [OURS], "Body": ["Hello"]}
    twin.create(twin.authorize(SID, "token"), form)
    write(twin, "Yes")
    assert webhook(twin, clock).form["MessagingServiceSid"] == SERVICE


def test_a_webhook_of_a_button_names_it(twin: TwilioTwin, clock: SetClock) -> None:
    """As on WhatsApp."""
    write(twin, "Yes, please", button_text="Yes, please", button_payload="yes-1")
    form = webhook(twin, clock).form
    assert (form["ButtonText"], form["ButtonPayload"]) == ("Yes, please", "yes-1")


@pytest.mark.parametrize(
    ("body", "kind"), [("stop", "STOP"), ("Start", "START"), ("HELP", "HELP"), ("Hello", None)]
)
def test_advanced_opt_out_says_what_a_text_was_taken_for(
    twin: TwilioTwin, clock: SetClock, body: str, kind: str | None
) -> None:
    """Only where it is on."""
    write(twin, body)
    assert "OptOutType" not in webhook(twin, clock).form
    twin.set_inbound(SID, advanced=True)
    write(twin, body)
    assert webhook(twin, clock).form.get("OptOutType") == kind


def test_webhooks_go_where_the_account_says(twin: TwilioTwin, clock: SetClock) -> None:
    """From the next letter on; and nowhere, where it says so. The other settings stay."""
    twin.set_inbound(SID, advanced=True)
    twin.set_inbound(SID, inbound_url="https://elsewhere.example.com/")
    write(twin, "STOP")
    callback = webhook(twin, clock)
    assert (callback.url, callback.form["OptOutType"]) == ("https://elsewhere.example.com/", "STOP")
    assert callback.retries == Retries(1, frozenset({Failing.CONNECT}))
    twin.set_inbound(SID, inbound_url="")
    write(twin, "Hello")
    assert twin.advance(clock.now) == []
    assert len(twin.letters) == 2


def test_a_webhook_that_is_given_up_goes_to_the_other_address(
    twin: TwilioTwin, clock: SetClock
) -> None:
    """After its repetitions; with a signature for that address, and no third one."""
    twin.set_inbound(SID, fallback_url=FALLBACK)
    write(twin, "Hello")
    urls = []
    for _ in range(10):
        for callback in twin.advance(clock.now):
            assert RequestValidator("token").validate(
                callback.url, callback.form, callback.signature
            )
            urls.append(callback.url)
            twin.failed(callback, clock.now, Failing.SERVER)
        clock.advance(minutes=1)
    assert urls == [WEBHOOK.partition("#")[0]] * 3 + [FALLBACK.partition("#")[0]]


@pytest.mark.parametrize(
    ("mishap", "seconds"), [("lost", []), ("repeated", [0, 1]), ("late:60", [60]), ("lag", [0])]
)
def test_webhooks_have_weather_too(
    twin: TwilioTwin, clock: SetClock, mishap: str, seconds: list[int]
) -> None:
    """Planned by the customer's number."""
    twin.weather.for_recipient(CUSTOMER, [mishap])
    begun = clock.now
    write(twin, "Hello")
    callbacks = twin.advance(clock.now + timedelta(hours=3))
    assert [callback.at - begun for callback in callbacks] == [
        timedelta(seconds=one) for one in seconds
    ]


def test_an_account_lives_where_its_letters_go_anywhere(clock: SetClock) -> None:
    """Then somebody must post them."""
    twin = TwilioTwin(accounts=[TwinAccount(sid=SID, auth_token="token")], clock=clock)
    assert not twin.lives
    twin.set_inbound(SID, inbound_url=WEBHOOK)
    assert twin.lives


def test_a_letter_with_pictures_has_them(twin: TwilioTwin, clock: SetClock) -> None:
    """It is an MMS then."""
    urls = ("https://example.com/a.jpg", "https://example.com/b.jpg")
    made = write(twin, "", media=urls)
    assert (made.sid[:2], made.media) == ("MM", urls)
    form = webhook(twin, clock).form
    assert form["NumMedia"] == "2"
    assert [form[f"MediaUrl{n}"] for n in range(2)] == [*urls]
    heard = parse_inbound(form)
    assert heard is not None
    assert [medium.url for medium in heard.media] == [*urls]


# On a socket


class Mailbox(Listener):
    """A server on loopback that keeps what is posted to it, and answers with one status."""

    def __init__(self, status: int = 200) -> None:
        super().__init__()
        self._answer = Answer(status, {})
        self.posted: queue.Queue[Request] = queue.Queue()

    def play(self, request: Request) -> Outcome:
        """Keep a request."""
        self.posted.put(request)
        return Outcome(answer=self._answer)

    def render(self, *_: object, stays: bool) -> bytes:
        """Answer."""
        return write_response(self._answer, stays=stays)


def posted(mailbox: Mailbox) -> dict[str, str]:
    """Wait for the form that is posted next, and see that Twilio's own package verifies it."""
    request = mailbox.posted.get(timeout=20)
    form = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
    url = f"{mailbox.url}{request.path}"
    signature = request.headers["x-twilio-signature"]
    assert RequestValidator("token").validate(url, form, signature)
    return form


def test_a_twin_that_serves_posts_letters_to_this_machine(clock: SetClock) -> None:
    """And where it is answered with an error, to the other address."""
    with Mailbox(500) as broken, Mailbox() as backup:
        account = TwinAccount(
            sid=SID,
            auth_token="token",
            inbound_url=f"{broken.url}/inbound/a",
            fallback_url=f"{backup.url}/inbound/b#rc=0",
        )
        twin = TwilioTwin(accounts=[account], clock=clock)
        with TwinServer(twin) as served:
            made = write(twin, "Grüße 👍 & more", button_text="Yes", button_payload="")
            for mailbox in (broken, backup):
                heard = parse_inbound(posted(mailbox))
                assert heard is not None
                assert (heard.sid, heard.sender, heard.to) == (made.sid, CUSTOMER, OURS)
                assert (heard.body, heard.button_text) == ("Grüße 👍 & more", "Yes")
        assert served.deliveries() == {FAILED: 1, DELIVERED: 1}
        assert broken.posted.empty()
