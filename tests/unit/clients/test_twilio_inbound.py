"""The client for what customers wrote: Twilio's list of the messages to a number."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from ci360_twilio.clients.twilio import (
    INBOUND_PAGE_SIZE,
    MAX_INBOUND_PAGES,
    TwilioClient,
)
from ci360_twilio.core.inbound import Heard
from ci360_twilio.core.tenant import Tenant
from ci360_twilio.errors import AnswerLost, SendFailed, TwilioRefused
from ci360_twilio.twin.faults import Ending
from ci360_twilio.twin.phone import Letter
from ci360_twilio.twin.server import TwinServer
from ci360_twilio.twin.twilio import TwilioTwin, TwinAccount

if TYPE_CHECKING:
    from tests.conftest import SetClock
    from tests.unit.clients.conftest import Web

ACCOUNT, TOKEN = f"AC{'b2' * 16}", "a-token"
PATH = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
CUSTOMER, OURS = "+12015550142", "+12015550199"
SERVICE = f"MG{'3c' * 16}"
SINCE = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
QUERY = f"To=%2B12015550199&PageSize={INBOUND_PAGE_SIZE}&DateSent%3E=2026-03-02T09%3A00%3A00Z"

pytestmark = pytest.mark.usefixtures("no_proxies")

MakeWeb = Callable[..., "Web"]
TenantAt = Callable[[str], Tenant]
PagesOf = Callable[..., Iterator[list[Heard]]]


@pytest.fixture
def twin(clock: SetClock) -> TwilioTwin:
    """A twin on a morning in March 2026, with two numbers."""
    account = TwinAccount(sid=ACCOUNT, auth_token=TOKEN, numbers=[OURS, "+12015550198", "12345"])
    return TwilioTwin(accounts=[account], clock=clock)


@pytest.fixture
def tenant(twin: TwilioTwin, tenant_at: TenantAt) -> Iterator[Tenant]:
    """The tenant of the twin's account, while it serves."""
    with TwinServer(twin) as served:
        yield tenant_at(served.url)


def row(sid: object = "SM1", **changes: Any) -> dict[str, Any]:
    """Give a row of Twilio's list, as of a customer's message."""
    members = {
        "sid": sid,
        "direction": "inbound",
        "from": CUSTOMER,
        "to": OURS,
        "body": "Hello",
        "num_media": "0",
        "date_created": "Mon, 02 Mar 2026 09:30:00 +0000",
        "messaging_service_sid": None,
        "status": "received",
    }
    return members | changes


def page(*rows: object, following: object = None) -> bytes:
    """Write a page of the list."""
    return json.dumps({"messages": rows, "next_page_uri": following}).encode()


@pytest.fixture
def pages_of(client: TwilioClient, tenant_at: TenantAt) -> PagesOf:
    """Give a function that asks a server for the list."""

    def ask(
        served: Web, number: str = OURS, *, since: datetime = SINCE, timeout: float = 10.0
    ) -> Iterator[list[Heard]]:
        return client.inbound(tenant_at(served.url), number, since=since, timeout=timeout)

    return ask


def sids(pages: Sequence[Sequence[Heard]]) -> list[str]:
    """Give what is on all pages."""
    return [heard.sid for page in pages for heard in page]


# Customers' messages


def test_what_customers_wrote_is_listed_newest_first(
    client: TwilioClient, tenant: Tenant, twin: TwilioTwin, clock: SetClock
) -> None:
    """With all that the webhook would have said, and its date; but not what we wrote."""
    first = twin.write(ACCOUNT, Letter(sender=CUSTOMER, to=OURS, body="STOP"))
    clock.advance(minutes=1)
    media = ("https://example.com/a.jpg", "https://example.com/b.jpg")
    second = twin.write(ACCOUNT, Letter(sender=CUSTOMER, to=OURS, body="Grüße 👍", media=media))
    twin.write(ACCOUNT, Letter(sender=CUSTOMER, to="+12015550198", body="elsewhere"))
    form = {"To": [OURS], "From": ["+12015550198"], "Body": ["ours"]}
    twin.create(twin.authorize(ACCOUNT, TOKEN), form)
    (found,) = client.inbound(tenant, OURS, since=SINCE)
    assert found == [
        Heard(
            sid=second.sid,
            sender=CUSTOMER,
            to=OURS,
            body="Grüße 👍",
            media_count=2,
            dated_at=second.at,
        ),
        Heard(sid=first.sid, sender=CUSTOMER, to=OURS, body="STOP", dated_at=first.at),
    ]


def test_a_message_by_way_of_a_service_names_it(
    client: TwilioClient, tenant: Tenant, twin: TwilioTwin
) -> None:
    """It is the service that the customer heard from."""
    form = {"To": [CUSTOMER], "MessagingServiceSid": [SERVICE], "From": [OURS], "Body": ["x"]}
    twin.create(twin.authorize(ACCOUNT, TOKEN), form)
    twin.write(ACCOUNT, Letter(sender=CUSTOMER, to=OURS, body="Yes"))
    (found,) = client.inbound(tenant, OURS, since=SINCE)
    assert [heard.service for heard in found] == [SERVICE]


def test_what_was_written_before_is_not_listed(
    client: TwilioClient, tenant: Tenant, twin: TwilioTwin, clock: SetClock
) -> None:
    """That very second is."""
    for _ in range(3):
        twin.write(ACCOUNT, Letter(sender=CUSTOMER, to=OURS, body="Hello"))
        clock.advance(minutes=1)
    since = clock.now - timedelta(minutes=2)
    assert len(sids(list(client.inbound(tenant, OURS, since=since)))) == 2


@pytest.mark.parametrize(
    "since",
    [SINCE, SINCE.astimezone(timezone(timedelta(hours=10))), SINCE + timedelta(seconds=0.9)],
)
def test_the_list_is_asked_for_by_number_and_moment(
    pages_of: PagesOf, web: MakeWeb, since: datetime
) -> None:
    """In UTC and to the second, with as many on a page as there may be."""
    served = web().say(200, page(row()))
    pages = list(pages_of(served, since=since))
    assert sids(pages) == ["SM1"]
    (request,) = served.requests
    assert (request.method, request.path, request.query) == ("GET", PATH, QUERY)
    assert request.headers["authorization"].startswith("Basic ")


def test_an_address_of_a_channel_is_asked_for_whole(pages_of: PagesOf, web: MakeWeb) -> None:
    """A number has messages of its own on WhatsApp."""
    addresses = {"from": f"whatsapp:{CUSTOMER}", "to": f"whatsapp:{OURS}"}
    served = web().say(200, page({**row(), **addresses}))
    ((heard,),) = pages_of(served, f"whatsapp:{OURS}")
    assert (heard.sender, heard.to) == (f"whatsapp:{CUSTOMER}", f"whatsapp:{OURS}")
    assert served.requests[0].query.startswith("To=whatsapp%3A%2B12015550199&")


@pytest.mark.parametrize(
    "other",
    [
        None,
        7,
        "inbound",
        [],
        {},
        row(direction="outbound-api"),
        row(direction="outbound-reply"),
        row(direction=None),
        row(sid=None),
        row(sid=""),
        row(sid="SM/.."),
        {**row(), "from": None},
        {**row(), "from": ""},
        {**row(), "from": "+1\x1b[2J"},
        row(to=None),
        row(to=7),
    ],
    ids=ascii,
)
def test_rows_that_are_no_customers_are_left_out(
    pages_of: PagesOf, web: MakeWeb, other: object
) -> None:
    """Whatever they are; the others are given."""
    served = web().say(200, page(row("SM1"), other, row("SM2")))
    assert sids(list(pages_of(served))) == ["SM1", "SM2"]


@pytest.mark.parametrize(
    ("changes", "members"),
    [
        ({"body": None}, {"body": ""}),
        ({"body": 7}, {"body": ""}),
        ({"num_media": None}, {"media_count": 0}),
        ({"num_media": "-1"}, {"media_count": 0}),
        ({"num_media": "99999999"}, {"media_count": 1000}),
        ({"date_created": None}, {"dated_at": None}),
        ({"date_created": "yesterday"}, {"dated_at": None}),
        ({"date_created": "2026-03-02"}, {"dated_at": None}),
        ({"messaging_service_sid": SERVICE}, {"service": SERVICE}),
        ({"messaging_service_sid": 7}, {"service": None}),
        ({"price": {"a": 1}, "more": [1]}, {"body": "Hello"}),
    ],
)
def test_a_member_that_cannot_be_read_is_as_if_it_were_not_there(
    pages_of: PagesOf, web: MakeWeb, changes: dict[str, Any], members: dict[str, Any]
) -> None:
    """The message is the customer's all the same."""
    ((heard,),) = pages_of(web().say(200, page(row(**changes))))
    assert {name: getattr(heard, name) for name in members} == members


# Pages


def test_pages_are_given_one_at_a_time(pages_of: PagesOf, web: MakeWeb) -> None:
    """Whoever has seen enough asks for no more; of the next address only the query is taken."""
    served = web().say(
        200, page(row("SM1"), following="https://evil.example/x?PageToken=PA1&Page=1")
    )
    served.say(200, page(row("SM2")))
    pages = pages_of(served)
    assert served.requests == []
    assert sids([next(pages)]) == ["SM1"]
    assert len(served.requests) == 1
    assert sids(list(pages)) == ["SM2"]
    assert (served.requests[1].path, served.requests[1].query) == (PATH, "PageToken=PA1&Page=1")


def test_the_twins_pages_are_all_read(
    client: TwilioClient, tenant: Tenant, twin: TwilioTwin
) -> None:
    """Two and a part of one."""
    for _ in range(INBOUND_PAGE_SIZE + 3):
        twin.write(ACCOUNT, Letter(sender=CUSTOMER, to=OURS, body="Hello"))
    pages = list(client.inbound(tenant, OURS, since=SINCE))
    assert [len(one) for one in pages] == [INBOUND_PAGE_SIZE, 3]
    assert sids(pages) == [letter.sid for letter in reversed(twin.letters)]


def test_a_list_without_end_is_given_up(pages_of: PagesOf, web: MakeWeb) -> None:
    """What was given until then are customers' messages all the same."""
    served = web().say(200, page(row(), following="?Page=1"))
    pages = pages_of(served)
    assert sids([next(pages) for _ in range(MAX_INBOUND_PAGES)]) == ["SM1"] * MAX_INBOUND_PAGES
    with pytest.raises(AnswerLost) as caught:
        next(pages)
    assert caught.value.reason == "list_too_long"
    assert len(served.requests) == MAX_INBOUND_PAGES


def test_the_last_page_that_is_read_may_be_the_last_one(pages_of: PagesOf, web: MakeWeb) -> None:
    """Then nothing is missing."""
    served = web()
    for _ in range(MAX_INBOUND_PAGES - 1):
        served.say(200, page(row(), following="?Page=1"))
    served.say(200, page(row()))
    assert len(list(pages_of(served))) == MAX_INBOUND_PAGES


@pytest.mark.parametrize("following", [PATH, f"{PATH}?", "?&&", "?a=" + "b" * 2000, 7, [], True])
def test_a_next_page_that_cannot_be_asked_for_is_no_end(
    pages_of: PagesOf, web: MakeWeb, following: object
) -> None:
    """There is more, and nobody knows what."""
    served = web().say(200, page(row(), following=following))
    with pytest.raises(AnswerLost):
        list(pages_of(served))
    assert len(served.requests) == 1


# What goes wrong


@pytest.mark.parametrize(
    ("status", "body", "kind", "reason"),
    [
        (200, b"", AnswerLost, "unreadable_answer"),
        (200, b"<html>", AnswerLost, "unreadable_answer"),
        (200, b'{"messages":null}', AnswerLost, "unreadable_answer"),
        (200, b'{"messages":{}}', AnswerLost, "unreadable_answer"),
        (503, b"", AnswerLost, "twilio_http_503"),
        (401, b'{"code":20003}', TwilioRefused, "twilio_20003"),
        (403, b"<html>proxy</html>", TwilioRefused, "twilio_http_403"),
        (404, b'{"code":20404}', TwilioRefused, "twilio_20404"),
        (302, b"", TwilioRefused, "twilio_http_302"),
        (429, b'{"code":20429}', TwilioRefused, "twilio_20429"),
    ],
)
def test_a_list_that_breaks_off_says_why(
    pages_of: PagesOf,
    web: MakeWeb,
    status: int,
    body: bytes,
    kind: type[SendFailed],
    reason: str,
) -> None:
    """After what was given; the error holds neither the number nor the token."""
    served = web().say(200, page(row(), following="?Page=1")).say(status, body)
    pages = pages_of(served)
    assert sids([next(pages)]) == ["SM1"]
    with pytest.raises(kind) as caught:
        next(pages)
    assert caught.value.reason == reason
    for secret in ("2015550199", "2015550142", TOKEN, ACCOUNT):
        assert secret not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_an_answer_that_does_not_come_is_lost(pages_of: PagesOf, web: MakeWeb) -> None:
    """Each page has its time."""
    with pytest.raises(AnswerLost) as caught:
        list(pages_of(web(Ending.SILENT), timeout=0.3))
    assert caught.value.reason == "read_timeout"
