"""Twilio's rules, as the twin keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from ci360_twilio.twin.twilio import (
    ERRORS,
    ApiError,
    MessageStatus,
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
