"""The messages' lives in the twin, told by a clock that is set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from ci360_twilio.twin.callback import Callback, Failing
from ci360_twilio.twin.life import Life
from ci360_twilio.twin.twilio import ApiError, MessageStatus, TwilioTwin, TwinAccount
from ci360_twilio.twin.weather import Weather

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
TO, FROM, OTHER = "+12015550101", "+12015550199", "+12015550102"
SERVICE = "MG" + "5" * 32
SID = "AC" + "a" * 32
URL = "https://sms.example.com/twilio/status/tenant?m=abc"


class Stage:
    """A twin with one account, and a clock that goes where it is told."""

    def __init__(
        self,
        life: Life | None,
        *,
        seed: int = 0,
        weather: Mapping[str, float] | None = None,
        numbers: Sequence[str] = (),
    ) -> None:
        self.now = NOON
        self.account = TwinAccount(sid=SID, auth_token="token", life=life, numbers=numbers)
        self.twin = TwilioTwin(
            accounts=[self.account],
            clock=lambda: self.now,
            seed=seed,
            weather=Weather(weather, seed=seed),
        )

    def send(self, to: str = TO, **changes: str) -> str:
        """Make a message; give its SID."""
        fields = {"To": to, "From": FROM, "Body": "Hello", "StatusCallback": URL} | changes
        form = {name: [value] for name, value in fields.items() if value}
        account = self.twin.authorize(SID, "token")
        sid: str = self.twin.create(account, form)["sid"]
        return sid

    def send_by_service(self, to: str = TO, **changes: str) -> str:
        """Make a message with a Messaging Service."""
        return self.send(to, From="", MessagingServiceSid=SERVICE, **changes)

    def play(self, seconds: float = 1e6) -> list[Callback]:
        """Let time pass from change to change; give the callbacks in their order."""
        until, seen = self.now + timedelta(seconds=seconds), []
        while (at := self.twin.next_change_at()) is not None and at <= until:
            self.now = max(at, self.now)
            seen += self.twin.advance(self.now)
        self.now = until
        return seen

    def status(self, sid: str) -> tuple[str, int | None]:
        """Give what is shown of a message."""
        shown = self.twin.fetch(self.account, sid)
        return shown["status"], shown["error_code"]

    def listed(self, to: str = TO) -> list[str]:
        """Give the SIDs that a list shows."""
        page = self.twin.list_messages(self.account, {"To": [to]})
        return [message["sid"] for message in page["messages"]]


def statuses(callbacks: Sequence[Callback]) -> list[str]:
    """Give the statuses that callbacks tell of."""
    return [callback.form["MessageStatus"] for callback in callbacks]


def test_without_a_life_nothing_changes() -> None:
    """A message stays as it was made, and there is nothing to wait for."""
    stage = Stage(None)
    sid = stage.send()
    assert stage.twin.next_change_at() is None
    assert stage.twin.advance(NOON + timedelta(days=9)) == []
    assert stage.status(sid) == ("queued", None)
    assert not stage.twin.lives


def test_a_message_is_sent_and_delivered() -> None:
    """Every status after the first is told of, in order, each in its time."""
    stage = Stage(Life())
    sid = stage.send()
    assert stage.status(sid) == ("queued", None)
    callbacks = stage.play()
    assert statuses(callbacks) == ["sending", "sent", "delivered"]
    assert [callback.at for callback in callbacks] == sorted(callback.at for callback in callbacks)
    assert {callback.form["MessageSid"] for callback in callbacks} == {sid}
    assert stage.status(sid) == ("delivered", None)
    sent_at = stage.twin.messages[0].sent_at
    assert sent_at is not None
    assert NOON < sent_at < NOON + timedelta(seconds=3)


def test_what_is_shown_is_up_to_date_without_anybody_advancing() -> None:
    """A status is told by the clock; callbacks wait until they are asked for."""
    stage = Stage(Life())
    sid = stage.send()
    stage.now += timedelta(hours=1)
    assert stage.status(sid) == ("delivered", None)
    assert statuses(stage.twin.advance(stage.now)) == ["sending", "sent", "delivered"]


def test_callbacks_are_signed_with_the_token_of_the_moment() -> None:
    """Twilio's own package verifies them, also after a rotation."""
    stage = Stage(Life())
    stage.send(StatusCallback=f"{URL}#rc=5&rp=all")
    (sending, *_) = stage.play(0.5)
    stage.twin.rotate(SID, "fresh")
    (*_, delivered) = stage.twin.advance(NOON + timedelta(hours=1))
    for callback, token in (sending, "token"), (delivered, "fresh"):
        assert callback.url == URL
        validator = RequestValidator(token)
        assert validator.validate(callback.url, callback.form, callback.signature)


def test_without_an_address_there_are_no_callbacks() -> None:
    """The message lives all the same."""
    stage = Stage(Life())
    sid = stage.send(StatusCallback="")
    assert stage.play() == []
    assert stage.status(sid) == ("delivered", None)


def test_planned_fates_are_met_in_order() -> None:
    """One for each message to the recipient; then chance decides again."""
    stage = Stage(Life())
    stage.twin.plan_fates(TO, ["undelivered:30003", "failed:30007", "sent"])
    sids = [stage.send() for _ in range(4)]
    stage.play()
    assert [stage.status(sid) for sid in sids] == [
        ("undelivered", 30003),
        ("failed", 30007),
        ("sent", None),
        ("delivered", None),
    ]


def test_a_failure_is_told_with_its_code() -> None:
    """The last callback has it."""
    stage = Stage(Life(fates={"undelivered:30005": 1.0}))
    stage.send()
    assert [callback.form.get("ErrorCode") for callback in stage.play()] == [None, None, "30005"]


def test_messages_wait_for_their_turn() -> None:
    """A sender's queue drains at its rate."""
    stage = Stage(Life(rate=0.1))
    sids = [stage.send() for _ in range(3)]
    stage.play(11)
    assert [stage.status(sid)[0] != "queued" for sid in sids] == [True, True, False]


def test_long_texts_and_media_take_their_segments() -> None:
    """Three segments take three turns; media are one."""
    stage = Stage(Life(rate=1.0))
    for body in ("x" * 400, "Hello"):
        stage.send(Body=body)
    media = stage.send(MediaUrl="https://www.example.com/a.jpg")
    stage.play(2.9)
    assert [one.status is MessageStatus.QUEUED for one in stage.twin.messages] == [
        False,
        True,
        True,
    ]
    stage.play(2)
    assert stage.status(media)[0] != "queued"


def test_a_full_queue_refuses_what_has_a_sender() -> None:
    """With ``From`` the answer is 21611, nothing is made, and it is counted."""
    stage = Stage(Life(rate=1.0, queue_seconds=1.0))
    for _ in range(2):
        stage.send()
    with pytest.raises(ApiError) as refusal:
        stage.send()
    assert (refusal.value.code, refusal.value.status) == (21611, 400)
    assert len(stage.twin.messages) == 2
    assert stage.twin.overflows == {FROM: 1}
    stage.play(5)
    stage.send()


def test_a_full_queue_fails_what_a_messaging_service_took() -> None:
    """The message is made, and soon fails with 30001."""
    stage = Stage(Life(rate=1.0, queue_seconds=0.5))
    sids = [stage.send_by_service() for _ in range(2)]
    assert stage.status(sids[1]) == ("accepted", None)
    callbacks = stage.play()
    assert [stage.status(sid) for sid in sids] == [("delivered", None), ("failed", 30001)]
    (failed,) = (one for one in callbacks if one.form["MessageSid"] == sids[1])
    assert (failed.form["MessageStatus"], failed.form["ErrorCode"]) == ("failed", "30001")
    assert stage.twin.overflows == {SERVICE: 1}


def test_what_is_not_valid_until_its_turn_fails() -> None:
    """At the end of its validity, with 30036, and without holding others up."""
    stage = Stage(Life(rate=0.1))
    stage.send()
    sid = stage.send(ValidityPeriod="5")
    last = stage.send()
    stage.play(4.9)
    assert stage.status(sid) == ("queued", None)
    stage.play(0.1)
    assert stage.status(sid) == ("failed", 30036)
    stage.play(6)
    assert stage.status(last)[0] != "queued"


def test_a_messaging_service_chooses_one_of_the_numbers() -> None:
    """The same for each message to a recipient, and it shows when the message is being sent."""
    numbers = ("+12015550197", "+12015550198", "12345")
    stage = Stage(Life(), numbers=numbers)
    sids = [stage.send_by_service() for _ in range(3)]
    assert stage.twin.fetch(stage.account, sids[0])["from"] is None
    callbacks = stage.play()
    chosen = {stage.twin.fetch(stage.account, sid)["from"] for sid in sids}
    assert len(chosen) == 1
    assert chosen < set(numbers[:2])
    assert {callback.form["From"] for callback in callbacks} == chosen


def test_a_list_goes_by_the_date_of_sending() -> None:
    """A message that waited is found by when it was sent."""
    stage = Stage(Life(rate=0.001))
    sids = [stage.send() for _ in range(2)]
    stage.play()
    query = {"DateSent>": ["2026-03-14T12:10:00Z"]}
    page = stage.twin.list_messages(stage.account, query)
    assert [message["sid"] for message in page["messages"]] == sids[1:]


def test_a_deleted_message_has_no_future() -> None:
    """Nothing more is told of it."""
    stage = Stage(Life())
    stage.twin.delete(stage.account, stage.send())
    assert stage.play() == []


def test_a_lagging_list_shows_a_message_later() -> None:
    """Fetched by its SID it is there at once."""
    stage = Stage(None)
    stage.twin.weather.for_recipient(TO, ["lag:600"])
    sid = stage.send()
    assert stage.listed() == []
    assert stage.status(sid) == ("queued", None)
    stage.now += timedelta(seconds=600)
    assert stage.listed() == [sid]


def test_rows_are_altered_in_lists_and_not_in_the_first_answer() -> None:
    """Who made the message is told what it said; who looks later may see something else."""
    stage = Stage(None)
    stage.twin.weather.for_recipient(TO, ["redacted", "blank"])
    stage.send_by_service()
    (row,) = stage.twin.list_messages(stage.account, {"To": [TO]})["messages"]
    assert (row["body"], row["from"], row["date_sent"]) == ("", None, None)
    assert stage.twin.messages[0].body == "Hello"


@pytest.mark.parametrize("seconds", [-30, 30])
def test_a_strangers_equal_message_stands_beside_ours(seconds: int) -> None:
    """Earlier or later, to the same recipient, with the same text, without our callback."""
    stage = Stage(Life())
    stage.twin.weather.for_recipient(TO, [f"stranger:{seconds}"])
    sid = stage.send()
    assert len(stage.twin.messages) == (2 if seconds < 0 else 1)
    callbacks = stage.play()
    strange = next(one for one in stage.twin.messages if one.stranger)
    ours = next(one for one in stage.twin.messages if not one.stranger)
    assert strange.at - ours.at == timedelta(seconds=seconds)
    assert (strange.body, strange.sender, strange.status) == ("Hello", FROM, "delivered")
    assert strange.status_callback is None
    assert {callback.form["MessageSid"] for callback in callbacks} == {sid}
    newest_first = [sid, strange.sid] if seconds < 0 else [strange.sid, sid]
    assert stage.listed() == newest_first
    page = stage.twin.list_messages(stage.account, {"To": [TO], "PageSize": ["1"]})
    token = page["next_page_uri"].partition("PageToken=")[2]
    second = stage.twin.list_messages(stage.account, {"To": [TO], "PageToken": [token]})
    assert [message["sid"] for message in second["messages"]] == newest_first[1:]


@pytest.mark.parametrize(
    ("mishap", "seen"),
    [
        ("lost", []),
        ("repeated", ["sending", "sending", "sent", "sent", "delivered", "delivered"]),
        ("disordered", ["delivered", "sent", "sending"]),
    ],
)
def test_callbacks_go_astray(mishap: str, seen: list[str]) -> None:
    """They are lost, come twice, or overtake each other; the message itself is delivered."""
    stage = Stage(Life(until_sent=0.5, until_final=0.1))
    stage.twin.weather.for_recipient(TO, [mishap])
    sid = stage.send()
    got = statuses(stage.play())
    assert sorted(got) == sorted(seen)
    if mishap == "disordered":
        assert got[0] == "delivered"
    assert stage.status(sid) == ("delivered", None)


def test_late_callbacks_come_late() -> None:
    """By as much as was said."""
    stage = Stage(Life())
    stage.twin.weather.for_recipient(TO, ["late:7200"])
    stage.send()
    assert stage.play(7200) == []
    assert statuses(stage.play(60)) == ["sending", "sent", "delivered"]


def test_a_failed_callback_comes_again() -> None:
    """As often as its address allows, signed anew."""
    stage = Stage(Life(fates={"failed:30007": 1.0}))
    stage.send(StatusCallback=f"{URL}#rc=1&rp=all")
    _, failed = stage.play()
    assert stage.twin.failed(failed, stage.now, Failing.SERVER)
    (again,) = stage.play()
    assert (again.form, again.attempt, again.signature) == (failed.form, 2, failed.signature)
    assert not stage.twin.failed(again, stage.now, Failing.SERVER)
    assert stage.play() == []


SHARES = {"lag:60": 0.3, "stranger:5": 0.3, "lost": 0.2, "late:600": 0.3, "repeated": 0.3}


@settings(deadline=None)
@given(seed=st.integers(0, 1000), order=st.permutations([TO, TO, OTHER, "+12015550103"]))
def test_the_same_seed_gives_each_message_the_same_life(seed: int, order: list[str]) -> None:
    """The order in which messages to many recipients are made changes nothing for any of them."""
    life = Life(fates={"undelivered:30003": 0.3, "failed:30007": 0.3, "sent": 0.2})

    def lives(recipients: list[str]) -> dict[str, list[str]]:
        stage = Stage(life, seed=seed, weather=SHARES)
        for to in recipients:
            stage.send(to)
        told: dict[str, list[str]] = {to: [] for to in recipients}
        for callback in stage.play():
            told[callback.form["To"]].append(f"{callback.at} {callback.form['MessageStatus']}")
        for message in stage.twin.messages:
            told[message.to].append(f"{message.at} {message.status} {message.error_code}")
        return {to: sorted(what) for to, what in told.items()}

    assert lives(order) == lives(sorted(order))


def test_many_messages_live_at_a_time() -> None:
    """Every one comes to its end, and callbacks come in the order of time."""
    stage = Stage(Life(rate=100.0, fates={"undelivered:30003": 0.1}))
    for number in range(2000):
        stage.send(f"+1201555{number:04}")
    callbacks = stage.play()
    assert len(callbacks) == 6000
    assert [one.at for one in callbacks] == sorted(one.at for one in callbacks)
    ends = [message.status for message in stage.twin.messages]
    assert {*ends} == {MessageStatus.DELIVERED, MessageStatus.UNDELIVERED}
    assert 130 < ends.count(MessageStatus.UNDELIVERED) < 270
