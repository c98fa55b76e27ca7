"""Lists of messages: filters and pages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci360_twilio.twin.twilio import ApiError, Resource, TwilioTwin, TwinAccount

NOON = datetime(2026, 3, 14, 12, 0, 0, 700_000, tzinfo=UTC)
TO = "+19085551212"
ACCOUNT = TwinAccount(sid="AC" + "a" * 32, auth_token="token")
MESSAGE = {"To": [TO], "From": ["+19085550000"], "Body": ["Hello"]}


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        """Tell the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock at noon."""
    return Clock()


@pytest.fixture
def twin(clock: Clock) -> TwilioTwin:
    """A twin with one account."""
    return TwilioTwin(accounts=[ACCOUNT], clock=clock)


def form(**changes: str) -> Mapping[str, list[str]]:
    """Make the form of a good message, with changes."""
    return MESSAGE | {name: [value] for name, value in changes.items()}


def listed(twin: TwilioTwin, **query: str) -> list[str]:
    """Give the bodies that a list shows; ``after`` and ``before`` stand for ``DateSent>`` and ``<``."""
    names = {"after": "DateSent>", "before": "DateSent<"}
    page = twin.list_messages(ACCOUNT, {names.get(key, key): [query[key]] for key in query})
    return [message["body"] for message in page["messages"]]


def test_a_list_is_narrowed_by_recipient_and_sender(twin: TwilioTwin) -> None:
    """Filters hold together; the newest message comes first."""
    twin.create(ACCOUNT, form(Body="1"))
    twin.create(ACCOUNT, form(Body="2", To="+19085551313"))
    twin.create(ACCOUNT, form(Body="3", From="12345"))
    assert listed(twin) == ["3", "2", "1"]
    assert listed(twin, To=TO) == ["3", "1"]
    assert listed(twin, To=TO, From="12345") == ["3"]
    assert listed(twin, From="+19085550000") == ["2", "1"]
    assert listed(twin, To="+19085559999") == []


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ({"DateSent": "2026-03-14"}, "noon"),
        ({"DateSent": "2026-03-14T00:00:00Z"}, "noon"),
        ({"DateSent": "2026-03-15"}, ""),
        ({"after": "2026-03-14"}, "after noon"),
        ({"after": "2026-03-14T12:00:00Z"}, "after noon"),
        ({"after": "2026-03-14T12:00:01Z"}, "after"),
        ({"after": "2026-03-14T14:00:00+02:00"}, "after noon"),
        ({"before": "2026-03-14"}, "noon before"),
        ({"before": "2026-03-14T12:00:00Z"}, "noon before"),
        ({"before": "2026-03-14T11:59:59Z"}, "before"),
        ({"after": "2026-03-13", "before": "2026-03-14T11:00:00"}, "before"),
    ],
)
def test_a_list_is_narrowed_by_the_date(
    twin: TwilioTwin, clock: Clock, query: dict[str, str], shown: str
) -> None:
    """Both ends of a period are part of it; a date is a whole day, and times have zones."""
    for body, at in (
        ("before", NOON - timedelta(days=1)),
        ("noon", NOON.astimezone(timezone(timedelta(hours=-5)))),
        ("after", NOON + timedelta(days=2)),
    ):
        clock.now = at
        twin.create(ACCOUNT, form(Body=body))
    assert " ".join(listed(twin, **query)) == shown


@pytest.mark.parametrize(
    "query",
    [
        {"PageSize": "0"},
        {"PageSize": "1001"},
        {"PageSize": "many"},
        {"Page": "-1"},
        {"PageToken": "PAx"},
        {"DateSent": "yesterday"},
        {"DateSent>": "2026-13-01"},
        {"DateSent<": "9999-12-31"},
    ],
)
def test_a_list_that_cannot_be_read_is_refused(twin: TwilioTwin, query: dict[str, str]) -> None:
    """Filters and pages that make no sense are refused rather than ignored."""
    with pytest.raises(ApiError) as refusal:
        twin.list_messages(ACCOUNT, {name: [value] for name, value in query.items()})
    assert refusal.value.code == 20422


def follow(twin: TwilioTwin, page: Resource, direction: str) -> Resource | None:
    """Get the next or the previous page, as a client does: by the address it is given."""
    uri = page[direction]
    return uri and twin.list_messages(ACCOUNT, parse_qs(urlsplit(uri).query))


@settings(deadline=None)
@given(count=st.integers(0, 12), size=st.integers(1, 5), late=st.integers(0, 3))
def test_pages_show_each_message_once_while_more_arrive(count: int, size: int, late: int) -> None:
    """Following the pages gives every message there was, newest first, and none twice."""
    twin = TwilioTwin(accounts=[ACCOUNT], clock=Clock())
    made = [twin.create(ACCOUNT, form())["sid"] for _ in range(count)]
    query = {"To": [TO], "PageSize": [str(size)], "Page": ["0"]}
    page: Resource | None = twin.list_messages(ACCOUNT, query)
    seen = []
    while page:
        assert page["end"] - page["start"] <= size - 1
        seen += [message["sid"] for message in page["messages"]]
        for _ in range(late):
            twin.create(ACCOUNT, form())
        page = follow(twin, page, "next_page_uri")
    assert seen == made[::-1]


def test_pages_can_be_walked_back(twin: TwilioTwin) -> None:
    """The previous page shows what stood before, and the first page is named on each."""
    for number in range(5):
        twin.create(ACCOUNT, form(Body=str(number)))
    first = twin.list_messages(ACCOUNT, {"PageSize": ["2"]})
    second = follow(twin, first, "next_page_uri")
    assert second is not None
    third = follow(twin, second, "next_page_uri")
    assert third is not None
    assert third["next_page_uri"] is None
    assert [third["page"], third["start"], third["end"]] == [2, 4, 4]
    assert first["previous_page_uri"] is None
    back = follow(twin, third, "previous_page_uri")
    assert back is not None
    assert back["messages"] == second["messages"]
    assert follow(twin, third, "first_page_uri") == first
    assert follow(twin, second, "uri") == second


def test_a_page_can_be_asked_for_by_number(twin: TwilioTwin) -> None:
    """Without a token the number of the page counts."""
    for number in range(5):
        twin.create(ACCOUNT, form(Body=str(number)))
    assert listed(twin, PageSize="2", Page="1") == ["2", "1"]
    assert listed(twin, PageSize="2", Page="9") == []
