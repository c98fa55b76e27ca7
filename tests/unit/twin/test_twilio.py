"""Twilio's rules, as the twin keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci360_twilio.twin.twilio import (
    ERRORS,
    ApiError,
    MessageStatus,
    Resource,
    TwilioTwin,
    TwinAccount,
)

NOON = datetime(2026, 3, 14, 12, 0, 0, 700_000, tzinfo=UTC)
TO = "+19085551212"
SERVICE = "MG" + "5" * 32
ACCOUNT = TwinAccount(sid="AC" + "a" * 32, auth_token="token", api_keys={"SK" + "1" * 32: "secret"})
OTHER = TwinAccount(sid="AC" + "b" * 32, auth_token="other")
STRICT = TwinAccount(
    sid="AC" + "c" * 32, auth_token="strict", numbers=("+19085550000",), services=(SERVICE,)
)
TEST = TwinAccount(sid="AC" + "d" * 32, auth_token="test", test=True)
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
    """A twin with accounts of each kind."""
    return TwilioTwin(accounts=(ACCOUNT, OTHER, STRICT, TEST), clock=clock)


def form(**changes: str | Sequence[str] | None) -> Mapping[str, Sequence[str]]:
    """Make the form of a good message, with changes; ``None`` leaves a parameter out."""
    changed = {
        name: [value] if isinstance(value, str) else value for name, value in changes.items()
    }
    return {name: value for name, value in (MESSAGE | changed).items() if value is not None}


def refused(twin: TwilioTwin, account: TwinAccount, **changes: str | None) -> int:
    """Give the code with which a message is refused."""
    with pytest.raises(ApiError) as refusal:
        twin.create(account, form(**changes))
    assert twin.messages == ()
    return refusal.value.code


def listed(twin: TwilioTwin, **query: str) -> list[str]:
    """Give the bodies that a list shows; ``after`` and ``before`` stand for ``DateSent>`` and ``<``."""
    names = {"after": "DateSent>", "before": "DateSent<"}
    page = twin.list_messages(ACCOUNT, {names.get(key, key): [query[key]] for key in query})
    return [message["body"] for message in page["messages"]]


def test_a_message_is_shown_as_twilio_shows_it(twin: TwilioTwin) -> None:
    """A new message has every field of the description, and the values of one just queued."""
    made = twin.create(ACCOUNT, form())
    uri = f"/2010-04-01/Accounts/{ACCOUNT.sid}/Messages/{made['sid']}"
    assert made["sid"].startswith("SM")
    assert len(made["sid"]) == 34
    assert made == {
        "account_sid": ACCOUNT.sid,
        "api_version": "2010-04-01",
        "body": "Hello",
        "date_created": "Sat, 14 Mar 2026 12:00:00 +0000",
        "date_sent": "Sat, 14 Mar 2026 12:00:00 +0000",
        "date_updated": "Sat, 14 Mar 2026 12:00:00 +0000",
        "direction": "outbound-api",
        "error_code": None,
        "error_message": None,
        "from": "+19085550000",
        "messaging_service_sid": None,
        "num_media": "0",
        "num_segments": "1",
        "price": None,
        "price_unit": "USD",
        "sid": made["sid"],
        "status": "queued",
        "subresource_uris": {"media": f"{uri}/Media.json", "feedback": f"{uri}/Feedback.json"},
        "to": TO,
        "uri": f"{uri}.json",
    }
    assert twin.fetch(ACCOUNT, made["sid"]) == made


def test_a_messaging_service_accepts_and_has_no_sender_yet(twin: TwilioTwin) -> None:
    """With a Messaging Service the status is accepted; sender and segments are still open."""
    made = twin.create(ACCOUNT, form(From=None, MessagingServiceSid=SERVICE))
    assert made["status"] == "accepted"
    assert made["messaging_service_sid"] == SERVICE
    assert made["from"] is None
    assert made["num_segments"] == "0"


def test_media_make_an_mms(twin: TwilioTwin) -> None:
    """Media are counted, need no text, and show in the kind of SID."""
    urls = ["https://www.example.com/a.jpg", "https://www.example.com/b.jpg"]
    made = twin.create(ACCOUNT, form(Body=None, MediaUrl=urls))
    assert made["sid"].startswith("MM")
    assert made["num_media"] == "2"
    assert made["num_segments"] == "1"
    assert twin.messages[0].media == tuple(urls)


def test_callback_and_validity_are_kept(twin: TwilioTwin) -> None:
    """What the request says of callbacks and validity stays with the message."""
    callback = "http://127.0.0.1:8360/twilio/status/demo?m=1#rc=5&rp=all"
    twin.create(ACCOUNT, form(StatusCallback=callback, ValidityPeriod="36000"))
    (message,) = twin.messages
    assert message.status_callback == callback
    assert message.validity_period == 36_000
    assert message.status is MessageStatus.QUEUED


def test_the_same_seed_gives_the_same_sids() -> None:
    """A run can be repeated to the SID."""
    twins = [TwilioTwin(accounts=[ACCOUNT], clock=Clock(), seed=seed) for seed in (7, 7, 8)]
    first, again, another = (twin.create(ACCOUNT, form())["sid"] for twin in twins)
    assert first == again != another


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"To": None}, 21604),
        ({"To": ""}, 21604),
        ({"From": None}, 21603),
        ({"From": ""}, 21603),
        ({"Body": None}, 21602),
        ({"Body": ""}, 21602),
        ({"Body": "x" * 1601}, 21617),
        ({"MediaUrl": ["https://www.example.com/a.jpg"] * 11}, 21623),
        ({"MediaUrl": ["https://www.example.com/a.jpg", "ftp://www.example.com/b"]}, 21620),
        ({"MediaUrl": "logo.jpg"}, 21620),
        ({"MediaUrl": "https://[::1"}, 21620),
        ({"To": "9085551212"}, 21211),
        ({"To": "+1908555"}, 21211),
        ({"To": "+999123456789"}, 21211),
        ({"To": "somebody"}, 21211),
        ({"To": "whatsapp:somebody"}, 21211),
        ({"From": "+0123"}, 21212),
        ({"From": "TooLongSender"}, 21212),
        ({"From": "99999999999"}, 21212),
        ({"To": "whatsapp:+19085551212"}, 21910),
        ({"From": "whatsapp:+19085550000"}, 21910),
        ({"MessagingServiceSid": "MG123"}, 21705),
        ({"ValidityPeriod": "0"}, 21624),
        ({"ValidityPeriod": "36001"}, 21624),
        ({"ValidityPeriod": "-5"}, 21624),
        ({"ValidityPeriod": "soon"}, 21624),
        ({"StatusCallback": "/twilio/status"}, 21609),
        ({"StatusCallback": "https://my_host.example.com/"}, 21609),
        ({"StatusCallback": "https://example.com/" + "x" * 4000}, 21609),
        ({"StatusCallback": "https://example.com:99999/"}, 21609),
    ],
)
def test_what_twilio_refuses_is_refused_with_its_code(
    twin: TwilioTwin, changes: dict[str, str | None], code: int
) -> None:
    """Each wrong parameter has its code, and nothing is made."""
    assert refused(twin, ACCOUNT, **changes) == code


@pytest.mark.parametrize(
    "changes",
    [
        {"Body": "x" * 1600},
        {"Body": "😀" * 1600},
        {"MediaUrl": ["https://www.example.com/a.jpg"] * 10},
        {"From": "12345"},
        {"From": "My Company"},
        {"To": "whatsapp:+19085551212", "From": "whatsapp:+19085550000"},
        {"To": "messenger:4711", "From": "messenger:4712"},
        {"To": "rcs:+19085551212", "From": None, "MessagingServiceSid": SERVICE},
        {"ValidityPeriod": "1"},
        {"SmartEncoded": "true", "MessageIntent": "marketing"},
    ],
)
def test_what_twilio_takes_is_taken(
    twin: TwilioTwin, changes: dict[str, str | Sequence[str] | None]
) -> None:
    """Limits are part of what is allowed; channels and further parameters are taken."""
    twin.create(ACCOUNT, form(**changes))
    assert len(twin.messages) == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"From": "+19085550001"}, 21659),
        ({"From": "Company"}, 21606),
        ({"From": None, "MessagingServiceSid": "MG" + "6" * 32}, 21701),
    ],
)
def test_an_account_with_a_list_of_senders_has_no_others(
    twin: TwilioTwin, changes: dict[str, str | None], code: int
) -> None:
    """Senders and services that an account does not own are refused where it lists its own."""
    assert refused(twin, STRICT, **changes) == code


@pytest.mark.parametrize("account", [ACCOUNT, TEST], ids=["ordinary", "test"])
@pytest.mark.parametrize(
    ("to", "code"),
    [
        ("+15005550001", 21211),
        ("+15005550002", 21612),
        ("+15005550003", 21408),
        ("+15005550004", 21610),
        ("+15005550009", 21614),
    ],
)
def test_magic_recipients_are_refused_on_every_account(
    twin: TwilioTwin, account: TwinAccount, to: str, code: int
) -> None:
    """The recipients of Twilio's test credentials can be rehearsed on ordinary accounts too."""
    assert refused(twin, account, To=to, From="+15005550006") == code


@pytest.mark.parametrize(
    ("sender", "code"),
    [
        ("+15005550001", 21212),
        ("+15005550007", 21606),
        ("+15005550008", 21611),
        ("+19085550000", 21606),
    ],
)
def test_magic_senders_are_refused_on_test_accounts(
    twin: TwilioTwin, sender: str, code: int
) -> None:
    """Test credentials know four senders, and no other number will do."""
    assert refused(twin, TEST, From=sender) == code


def test_test_credentials_make_nothing_and_read_nothing(twin: TwilioTwin) -> None:
    """A test account gets the answer of a message that is not there, and no other resource."""
    made = twin.create(TEST, form(From="+15005550006"))
    assert made["status"] == "queued"
    assert twin.messages == ()
    with pytest.raises(ApiError) as fetched:
        twin.fetch(TEST, made["sid"])
    with pytest.raises(ApiError) as shown:
        twin.list_messages(TEST, {})
    assert [fetched.value.code, shown.value.code] == [20008, 20008]
    assert fetched.value.status == 403


def test_an_error_names_its_code_and_its_page() -> None:
    """The body of an error has the four fields that clients read."""
    answer = ApiError(20404, "/somewhere").answer
    assert answer.status == 404
    assert answer.body == {
        "code": 20404,
        "message": "There is nothing at /somewhere.",
        "more_info": "https://www.twilio.com/docs/errors/20404",
        "status": 404,
    }
    assert all(400 <= status < 600 for status, _ in ERRORS.values())


def test_an_account_and_its_keys_are_let_in(twin: TwilioTwin) -> None:
    """The token and the secret of an API key open their account."""
    assert twin.authorize(ACCOUNT.sid, "token", ACCOUNT.sid) == ACCOUNT
    assert twin.authorize("SK" + "1" * 32, "secret", ACCOUNT.sid) == ACCOUNT


@pytest.mark.parametrize(
    ("user", "password", "account", "code"),
    [
        (ACCOUNT.sid, "wrong", ACCOUNT.sid, 20003),
        (ACCOUNT.sid, "", ACCOUNT.sid, 20003),
        ("", "", ACCOUNT.sid, 20003),
        ("AC" + "f" * 32, "token", "AC" + "f" * 32, 20003),
        (ACCOUNT.sid, "tökèn", ACCOUNT.sid, 20003),
        (ACCOUNT.sid, "token", OTHER.sid, 20404),
        ("SK" + "1" * 32, "secret", OTHER.sid, 20404),
    ],
)
def test_others_are_not_let_in(
    twin: TwilioTwin, user: str, password: str, account: str, code: int
) -> None:
    """Wrong credentials and another's account are told apart as Twilio does."""
    with pytest.raises(ApiError) as refusal:
        twin.authorize(user, password, account)
    assert refusal.value.code == code


def test_a_rotated_token_replaces_the_old_one(twin: TwilioTwin) -> None:
    """After a rotation only the new token and the API keys work."""
    twin.rotate(ACCOUNT.sid, "fresh")
    assert twin.authorize(ACCOUNT.sid, "fresh", ACCOUNT.sid) == ACCOUNT
    assert twin.authorize("SK" + "1" * 32, "secret", ACCOUNT.sid) == ACCOUNT
    with pytest.raises(ApiError):
        twin.authorize(ACCOUNT.sid, "token", ACCOUNT.sid)
    with pytest.raises(KeyError):
        twin.rotate("AC" + "f" * 32, "fresh")


def test_secrets_do_not_show(twin: TwilioTwin) -> None:
    """An account that is printed keeps its token and its keys to itself."""
    assert "token" not in repr(ACCOUNT).replace("auth_token", "")
    assert "secret" not in repr(ACCOUNT)


def test_messages_of_others_are_not_there(twin: TwilioTwin) -> None:
    """A message is found, changed and listed by its own account alone."""
    sid = twin.create(ACCOUNT, form())["sid"]
    for call in (
        lambda: twin.fetch(OTHER, sid),
        lambda: twin.update(OTHER, sid, {"Body": [""]}),
        lambda: twin.delete(OTHER, sid),
        lambda: twin.fetch(ACCOUNT, "SM" + "0" * 32),
    ):
        with pytest.raises(ApiError) as refusal:
            call()
        assert refusal.value.code == 20404
    assert twin.list_messages(OTHER, {})["messages"] == []


def test_a_message_can_be_redacted_and_nothing_else(twin: TwilioTwin, clock: Clock) -> None:
    """Emptying the text is the one change; canceling needs a scheduled message."""
    sid = twin.create(ACCOUNT, form())["sid"]
    clock.now += timedelta(minutes=1)
    for change, code in ({"Body": ["New"]}, 20422), ({"Status": ["canceled"]}, 30409):
        with pytest.raises(ApiError) as refusal:
            twin.update(ACCOUNT, sid, change)
        assert refusal.value.code == code
    assert twin.update(ACCOUNT, sid, {})["body"] == "Hello"
    redacted = twin.update(ACCOUNT, sid, {"Body": [""]})
    assert redacted["body"] == ""
    assert redacted["date_updated"] == "Sat, 14 Mar 2026 12:01:00 +0000"
    assert redacted["date_created"] == "Sat, 14 Mar 2026 12:00:00 +0000"
    assert twin.fetch(ACCOUNT, sid) == redacted


def test_a_deleted_message_is_gone(twin: TwilioTwin) -> None:
    """A deleted message is neither fetched nor listed."""
    sid = twin.create(ACCOUNT, form())["sid"]
    twin.delete(ACCOUNT, sid)
    with pytest.raises(ApiError):
        twin.fetch(ACCOUNT, sid)
    assert listed(twin) == listed(twin, To=TO) == []


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


PARAMETERS = st.dictionaries(
    st.sampled_from(["To", "From", "Body", "MediaUrl", "MessagingServiceSid", "ValidityPeriod"])
    | st.text(max_size=5),
    st.lists(st.sampled_from([TO, "12345", SERVICE, "Hello"]) | st.text(), max_size=3),
)


@settings(deadline=None)
@given(parameters=PARAMETERS)
def test_any_form_is_made_or_refused(parameters: dict[str, list[str]]) -> None:
    """Whatever a client sends, there is a message or an error that Twilio knows."""
    twin = TwilioTwin(accounts=[ACCOUNT], clock=Clock())
    outcome: str | int
    try:
        outcome = twin.create(ACCOUNT, parameters)["sid"]
    except ApiError as refusal:
        outcome = refusal.code
    assert outcome in ERRORS or [outcome] == [message.sid for message in twin.messages]
    assert len(twin.messages) == (outcome not in ERRORS)
