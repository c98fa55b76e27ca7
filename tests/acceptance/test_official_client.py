"""Twilio's own Python client, as it is published, against the twin.

Its one documented extension point, the HTTP client, sends the requests to loopback.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from ci360_twilio.twin.faults import Fault, FaultPlan
from ci360_twilio.twin.life import Life
from ci360_twilio.twin.server import TwinServer
from ci360_twilio.twin.twilio import TwilioTwin, TwinAccount

SERVICE = "MG" + "5" * 32
ACCOUNT = TwinAccount(
    sid="AC" + "a" * 32,
    auth_token="token",
    api_keys={"SK" + "1" * 32: "secret"},
    numbers=("+19085550000",),
    services=(SERVICE,),
)
TEST = TwinAccount(sid="AC" + "d" * 32, auth_token="test", test=True)
TO, FROM = "+19085551212", "+19085550000"
NOW = datetime(2026, 3, 14, 12, 0, 0, tzinfo=UTC)


class ToLoopback(TwilioHttpClient):  # type: ignore[misc]  # the package has no types
    """Sends to the twin what is meant for Twilio, and waits ten seconds at most."""

    HOSTS = ("https://api.twilio.com/", "https://messaging.twilio.com/")

    def __init__(self, url: str) -> None:
        super().__init__(timeout=10)
        self._url = url

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        """Send a request to the twin instead."""
        (host,) = (host for host in self.HOSTS if url.startswith(host))
        return super().request(method, f"{self._url}/{url.removeprefix(host)}", *args, **kwargs)


@pytest.fixture
def twin() -> TwilioTwin:
    """A twin whose clock goes on a minute with each message."""
    minutes = iter(range(1_000_000))
    return TwilioTwin(
        accounts=[ACCOUNT, TEST], clock=lambda: NOW + timedelta(minutes=next(minutes))
    )


@pytest.fixture
def faults() -> FaultPlan:
    """What goes wrong."""
    return FaultPlan()


@pytest.fixture
def http(twin: TwilioTwin, faults: FaultPlan) -> Iterator[ToLoopback]:
    """The client's way to the twin."""
    with TwinServer(twin, faults) as served:
        client = ToLoopback(served.url)
        yield client
        client.session.close()


@pytest.fixture
def client(http: ToLoopback) -> Client:
    """Twilio's client with an account and its token."""
    return Client(ACCOUNT.sid, ACCOUNT.auth_token, http_client=http)


def test_it_sends_and_fetches(client: Client) -> None:
    """What the client reads from the answer is what it sent."""
    sent = client.messages.create(
        to=TO,
        from_=FROM,
        body="Grüße & more; 50% off 👍",
        media_url=["https://www.example.com/a.jpg", "https://www.example.com/b.jpg"],
        status_callback="https://www.example.com/status?m=1#rc=5&rp=all",
        validity_period=3600,
        smart_encoded=False,
    )
    assert sent.sid.startswith("MM")
    assert (sent.to, sent.from_, sent.body) == (TO, FROM, "Grüße & more; 50% off 👍")
    assert (sent.status, sent.num_media, sent.direction) == ("queued", "2", "outbound-api")
    assert (sent.price, sent.error_code, sent.date_created) == (None, None, NOW)
    fetched = client.messages(sent.sid).fetch()
    assert fetched.sid == sent.sid
    assert fetched.uri == f"/2010-04-01/Accounts/{ACCOUNT.sid}/Messages/{sent.sid}.json"


def test_it_sends_with_a_messaging_service(client: Client) -> None:
    """The Messaging Service accepts, and names no sender yet."""
    sent = client.messages.create(to=TO, messaging_service_sid=SERVICE, body="Hello")
    assert (sent.status, sent.from_, sent.num_segments) == ("accepted", None, "0")
    assert sent.messaging_service_sid == SERVICE


def test_it_sends_with_an_api_key(http: ToLoopback) -> None:
    """A key and its secret stand for the account."""
    client = Client("SK" + "1" * 32, "secret", account_sid=ACCOUNT.sid, http_client=http)
    assert client.messages.create(to=TO, from_=FROM, body="Hello").account_sid == ACCOUNT.sid


def test_it_redacts_and_deletes(client: Client, twin: TwilioTwin) -> None:
    """Redacting empties the text; deleting removes the message."""
    sent = client.messages.create(to=TO, from_=FROM, body="Hello")
    assert client.messages(sent.sid).update(body="").body == ""
    assert client.messages(sent.sid).delete()
    assert twin.messages == ()


def test_it_pages_through_a_list(client: Client) -> None:
    """Pages are followed to the end, newest message first, each once."""
    sids = [client.messages.create(to=TO, from_=FROM, body=str(n)).sid for n in range(7)]
    assert [message.sid for message in client.messages.list(page_size=3)] == sids[::-1]
    assert [message.sid for message in client.messages.list(limit=4, page_size=3)] == sids[:2:-1]
    page = client.messages.page(page_size=3).next_page()
    assert [message.body for message in page] == ["3", "2", "1"]
    assert [message.body for message in page.previous_page()] == ["6", "5", "4"]


def test_it_filters_a_list(client: Client) -> None:
    """Recipient, sender and dates narrow the list, as dates and as times."""
    for to in (TO, "+19085551313", TO):
        client.messages.create(to=to, from_=FROM, body="Hello")
    first, second, third = client.messages.list()[::-1]

    def found(**filters: Any) -> list[str]:
        return [message.sid for message in client.messages.list(**filters)]

    assert found(to=TO) == [third.sid, first.sid]
    assert found(to=TO, from_=FROM, date_sent_after=NOW + timedelta(minutes=1)) == [third.sid]
    assert found(date_sent_before=NOW + timedelta(minutes=1)) == [second.sid, first.sid]
    assert found(date_sent=NOW.date()) == [third.sid, second.sid, first.sid]
    assert found(date_sent_after=NOW.date() + timedelta(days=1)) == []
    assert found(from_="+19085559999") == []


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"to": "+1908"}, 21211),
        ({"to": "+15005550004"}, 21610),
        ({"from_": "+19085559999"}, 21659),
        ({"body": ""}, 21602),
        ({"body": "x" * 1601}, 21617),
        ({"validity_period": 36_001}, 21624),
        ({"to": "whatsapp:+19085551212"}, 21910),
    ],
)
def test_it_reads_the_codes_of_refusals(client: Client, fields: dict[str, Any], code: int) -> None:
    """A refusal is the client's exception, with our code and status."""
    with pytest.raises(TwilioRestException) as refusal:
        client.messages.create(**({"to": TO, "from_": FROM, "body": "Hello"} | fields))
    assert (refusal.value.code, refusal.value.status) == (code, 400)


def test_it_is_told_about_credentials_and_missing_messages(
    client: Client, http: ToLoopback
) -> None:
    """Wrong tokens, other accounts and unknown messages have Twilio's codes."""
    wrong = Client(ACCOUNT.sid, "wrong", http_client=http)
    foreign = Client(TEST.sid, "test", account_sid=ACCOUNT.sid, http_client=http)
    for caller, code, status in (wrong, 20003, 401), (foreign, 20404, 404), (client, 20404, 404):
        with pytest.raises(TwilioRestException) as refusal:
            caller.messages("SM" + "0" * 32).fetch()
        assert (refusal.value.code, refusal.value.status) == (code, status)


def test_it_rehearses_with_test_credentials(http: ToLoopback, twin: TwilioTwin) -> None:
    """Test credentials send to nobody, and can do nothing else."""
    client = Client(TEST.sid, "test", http_client=http)
    assert client.messages.create(to=TO, from_="+15005550006", body="Hello").status == "queued"
    assert twin.messages == ()
    with pytest.raises(TwilioRestException) as refusal:
        client.messages("SM" + "0" * 32).fetch()
    assert (refusal.value.code, refusal.value.status) == (20008, 403)


def test_it_meets_faults(client: Client, faults: FaultPlan, twin: TwilioTwin) -> None:
    """Planned faults reach the client as Twilio's errors, or as a lost connection."""
    faults.for_recipient(TO, [Fault.HTTP_429, Fault.HTTP_500_MADE, Fault.RESET])
    for code in (20429, 20500):
        with pytest.raises(TwilioRestException) as refusal:
            client.messages.create(to=TO, from_=FROM, body="Hello")
        assert refusal.value.code == code
    with pytest.raises(OSError, match="reset"):
        client.messages.create(to=TO, from_=FROM, body="Hello")
    assert len(twin.messages) == 2
    assert client.messages.create(to=TO, from_=FROM, body="Hello").status == "queued"


def test_it_fetches_the_account(client: Client, twin: TwilioTwin) -> None:
    """Active, or suspended."""
    assert client.api.v2010.accounts(ACCOUNT.sid).fetch().status == "active"
    twin.suspend(ACCOUNT.sid)
    account = client.api.v2010.accounts(ACCOUNT.sid).fetch()
    assert (account.sid, account.status) == (ACCOUNT.sid, "suspended")


def test_it_looks_for_numbers(client: Client, twin: TwilioTwin) -> None:
    """One that the account has is found, and told to send SMS; another is not."""
    (number,) = client.incoming_phone_numbers.list(phone_number=FROM)
    assert (number.phone_number, number.capabilities["sms"]) == (FROM, True)
    assert client.incoming_phone_numbers.list(phone_number="+19085559999") == []
    twin.set_numbers(ACCOUNT.sid, [f"+1908555{number:04}" for number in range(7)])
    listed = client.incoming_phone_numbers.list(page_size=3)
    assert [number.phone_number[-1] for number in listed] == [*"0123456"]


def test_it_looks_at_a_messaging_service(client: Client) -> None:
    """With the numbers in its pool; one that does not exist is not found."""
    service = client.messaging.v1.services(SERVICE).fetch()
    assert (service.sid, service.account_sid) == (SERVICE, ACCOUNT.sid)
    (number,) = service.phone_numbers.list()
    assert (number.phone_number, number.capabilities) == (FROM, ["SMS", "MMS"])
    with pytest.raises(TwilioRestException) as refusal:
        client.messaging.v1.services("MG" + "6" * 32).fetch()
    assert (refusal.value.code, refusal.value.status) == (20404, 404)


def test_it_follows_a_message_to_its_end(client: Client, twin: TwilioTwin) -> None:
    """Status, error and dates change as time goes on."""
    twin.set_life(ACCOUNT.sid, Life(fates={"undelivered:30003": 1.0}))
    sent = client.messages.create(to=TO, messaging_service_sid=SERVICE, body="Hello")
    twin.advance(NOW + timedelta(hours=1))
    fetched = client.messages(sent.sid).fetch()
    assert (fetched.status, fetched.error_code) == ("undelivered", 30003)
    assert fetched.from_ == FROM
    assert fetched.date_updated >= fetched.date_sent >= sent.date_created


def test_it_is_told_of_a_closed_country(client: Client, twin: TwilioTwin) -> None:
    """And of a number that the account has no more."""
    twin.close_country(ACCOUNT.sid, "1908")
    with pytest.raises(TwilioRestException) as refusal:
        client.messages.create(to=TO, from_=FROM, body="Hello")
    assert refusal.value.code == 21408
    twin.open_country(ACCOUNT.sid, "1908")
    twin.set_numbers(ACCOUNT.sid, ["+19085550001"])
    with pytest.raises(TwilioRestException) as refusal:
        client.messages.create(to=TO, from_=FROM, body="Hello")
    assert refusal.value.code == 21659
