"""Steering the twin while it runs, by its own resources and by its methods."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from ci360_twilio.twin.answer import Answer
from ci360_twilio.twin.controls import Controls
from ci360_twilio.twin.faults import FaultPlan
from ci360_twilio.twin.life import Life
from ci360_twilio.twin.twilio import ApiError, TwilioTwin, TwinAccount
from ci360_twilio.twin.weather import Mishap
from ci360_twilio.twin.wire import Request

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
SID = "AC" + "a" * 32
TO, FROM = "+12015550101", "+12015550199"


class Desk:
    """A twin, what goes wrong, and the controls of both."""

    def __init__(self) -> None:
        account = TwinAccount(sid=SID, auth_token="token", life=Life(rate=1.0, queue_seconds=0.5))
        self.twin = TwilioTwin(accounts=[account], clock=lambda: NOON)
        self.faults = FaultPlan()
        self.controls = Controls(self.twin, self.faults, lambda: {"delivered": 3})

    def order(self, path: str, order: Mapping[str, object]) -> int:
        """Post an order; give the status of the answer."""
        return self.call("POST", path, json.dumps(order).encode()).status

    def call(self, method: str, path: str, body: bytes = b"") -> Answer:
        """Make a request."""
        headers = {"host": "localhost"}
        return self.controls.answer(
            Request(method=method, path=path, query="", headers=headers, body=body, keep_alive=True)
        )

    def refused(self, **changes: str) -> int | None:
        """Make a message; give the code with which it is refused."""
        fields = {"To": TO, "From": FROM, "Body": "Hello"} | changes
        account = self.twin.authorize(SID, "token")
        try:
            self.twin.create(account, {name: [value] for name, value in fields.items()})
        except ApiError as exc:
            return exc.code
        return None


@pytest.fixture
def desk() -> Desk:
    """A twin at noon."""
    return Desk()


def test_a_number_is_taken_from_an_account_and_given_back(desk: Desk) -> None:
    """From the next request on."""
    assert desk.order("/twin/account", {"account": SID, "numbers": ["+12015550198"]}) == 204
    assert desk.refused() == 21659
    desk.order("/twin/account", {"account": SID, "numbers": [FROM]})
    assert desk.refused() is None


def test_a_country_is_closed_and_opened(desk: Desk) -> None:
    """Others are not concerned."""
    desk.order("/twin/account", {"account": SID, "close": ["44", "49"]})
    assert desk.refused(To="+447700900123") == 21408
    assert desk.refused() is None
    desk.order("/twin/account", {"account": SID, "open": ["44"]})
    assert desk.refused(To="+447700900123", From="+12015550197") is None
    assert desk.refused(To="+4915112345678") == 21408


def test_an_account_is_suspended_and_active_again(desk: Desk) -> None:
    """A suspended one sends nothing."""
    desk.order("/twin/account", {"account": SID, "suspended": True})
    assert desk.refused() == 20005
    desk.order("/twin/account", {"account": SID, "suspended": False})
    assert desk.refused() is None


def test_a_life_can_be_taken_away(desk: Desk) -> None:
    """What is made from then on stays as it is."""
    desk.twin.set_life(SID, None)
    assert desk.refused() is None
    assert desk.twin.next_change_at() is None


@pytest.mark.parametrize(
    ("path", "order"),
    [
        ("/twin/account", {"account": "AC1", "numbers": []}),
        ("/twin/account", {"account": "AC1"}),
        ("/twin/token", {"account": "AC1", "token": "x"}),
    ],
)
def test_an_unknown_account_is_not_there(desk: Desk, path: str, order: dict[str, object]) -> None:
    """404, and nothing changes."""
    assert desk.order(path, order) == 404


def test_a_burst_is_begun_and_ended(desk: Desk) -> None:
    """For a number of requests, or until it is ended."""
    ok = Answer(200, {})

    def statuses(count: int) -> list[int]:
        answers = [desk.faults.ask("list", lambda: ok).answer for _ in range(count)]
        return [answer.status for answer in answers if answer]

    desk.order("/twin/faults", {"burst": "http_429", "requests": 2})
    assert statuses(3) == [429, 429, 200]
    desk.order("/twin/faults", {"burst": "http_503"})
    assert statuses(2) == [503, 503]
    desk.order("/twin/faults", {"burst": ""})
    assert statuses(1) == [200]
    desk.order("/twin/faults", {"share": {}, "asking": {"http_500": 1.0}})
    assert statuses(1) == [500]


def test_the_weather_is_made(desk: Desk) -> None:
    """For a recipient, and by chance for all."""
    assert desk.order("/twin/weather", {"to": TO, "mishaps": ["lag:5"]}) == 204
    assert desk.order("/twin/weather", {"share": {"redacted": 1.0}, "seed": 3}) == 204
    assert desk.twin.weather.lot(TO, 1).lag == 5
    assert desk.twin.weather.lot("+12015550102", 1).body is Mishap.REDACTED


def test_fates_are_planned(desk: Desk) -> None:
    """For the next messages to a recipient."""
    assert desk.order("/twin/fates", {"to": TO, "fates": ["failed:30007"]}) == 204
    desk.refused()
    desk.twin.advance(NOON.replace(hour=13))
    assert desk.twin.messages[0].error_code == 30007


def test_callbacks_and_full_queues_are_counted(desk: Desk) -> None:
    """Whoever rehearses can see both."""
    assert [desk.refused() for _ in range(2)] == [None, 21611]
    answer = desk.call("GET", "/twin/callbacks")
    assert answer == Answer(200, {"callbacks": {"delivered": 3}, "overflows": {FROM: 1}})


@pytest.mark.parametrize(
    ("path", "order"),
    [
        ("/twin/weather", {}),
        ("/twin/weather", {"to": TO, "mishaps": ["rain"]}),
        ("/twin/weather", {"share": {"lag": 2}}),
        ("/twin/fates", {"to": TO}),
        ("/twin/fates", {"to": TO, "fates": ["lost"]}),
        ("/twin/account", {"numbers": []}),
        ("/twin/account", {"account": SID, "number": "+1"}),
        ("/twin/faults", {"burst": "rain"}),
    ],
)
def test_an_order_that_is_not_understood_is_refused(
    desk: Desk, path: str, order: dict[str, object]
) -> None:
    """A spelling mistake is told, not ignored."""
    assert desk.order(path, order) == 400


def test_phones_and_conversations_are_shown(desk: Desk) -> None:
    """The latest message of each phone; and what was written between the two, both ways."""
    for number in range(3):
        assert desk.refused(To=f"+1201555010{number}", From=f"+1201555019{number}") is None
    letter = {"account": SID, "from": TO, "to": FROM, "body": "Thank you"}
    assert desk.order("/twin/letters", letter) == 201
    phones = desk.call("POST", "/twin/phones", json.dumps({"account": SID}).encode()).body
    assert phones is not None
    assert [(one["customer"], one["is_theirs"]) for one in phones["phones"]] == [
        ("+12015550101", True),
        ("+12015550102", False),
        ("+12015550100", False),
    ]
    asked = json.dumps({"account": SID, "customer": TO, "most": 5}).encode()
    written = desk.call("POST", "/twin/conversation", asked).body
    assert written is not None
    assert [(one["body"], one["ours"]) for one in written["messages"]] == [
        ("Thank you", FROM),
        ("Hello", "+12015550191"),
    ]
    other = json.dumps({"account": f"AC{'b' * 32}"}).encode()
    assert desk.call("POST", "/twin/phones", other).status == 404
