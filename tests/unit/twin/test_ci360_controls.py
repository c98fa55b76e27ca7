"""Steering CI360's twin while it runs, by its own resources."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from ci360_twilio.core.ci360 import EVENTS_PATH, bearer_of
from ci360_twilio.twin.answer import Answer
from ci360_twilio.twin.ci360 import Ci360Twin
from ci360_twilio.twin.ci360_server import Ci360Routes
from ci360_twilio.twin.faults import FaultPlan
from ci360_twilio.twin.wire import Request

if TYPE_CHECKING:
    from tests.conftest import SetClock


class Desk:
    """A twin with what goes wrong, and the requests to both."""

    def __init__(self, clock: SetClock) -> None:
        twin = Ci360Twin(tenants={"demo": "secret"}, clock=clock)
        self.routes = Ci360Routes(twin, FaultPlan())

    def call(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """Make a request of this machine."""
        given = {"host": "localhost", "authorization": f"Bearer {bearer_of('demo', 'secret')}"}
        request = Request(
            method=method, path=path, query="", headers=given | headers, body=body, keep_alive=True
        )
        answer = self.routes.play(request).answer
        assert answer is not None
        return answer

    def order(self, path: str, order: object) -> int:
        """Tell the twin what to do; gives the status."""
        return self.call("POST", path, json.dumps(order).encode()).status

    def shown(self, path: str) -> Any:
        """Read what it shows, as it would be written."""
        return json.loads(msgspec.json.encode(self.call("GET", path).body))

    def event(self) -> int:
        """Post an event; gives the status."""
        return self.order(EVENTS_PATH, {"eventName": "twilio_sms_failed", "datahub_id": "D1"})


@pytest.fixture
def desk(clock: SetClock) -> Desk:
    """A twin on a morning in March 2026."""
    return Desk(clock)


def test_what_is_published_is_set_by_its_own_resource(desk: Desk) -> None:
    """``null`` is any."""
    assert desk.order("/twin/published", ["twilio_sms_reply"]) == 204
    assert desk.event() == 400
    assert desk.order("/twin/published", None) == 204
    assert desk.event() == 200


def test_preferences_are_seen_and_set_by_their_own_resource(desk: Desk) -> None:
    """As if somebody had decided it in CI360."""
    order = {"number": "+12015550101", "opted_out": True}
    assert desk.order("/twin/preferences", order) == 204
    shown = desk.shown("/twin/preferences")["preferences"]
    known = {"opted_out": True, "source": "CI360", "at": "2026-03-02T09:30:00Z"}
    assert shown == {"+12015550101": known}


def test_faults_are_planned_by_their_own_resource(desk: Desk) -> None:
    """A burst for some requests, or until it is ended; and shares of chance. None befalls these."""
    assert desk.order("/twin/faults", {"burst": "http_503", "requests": 2}) == 204
    assert [desk.event() for _ in range(3)] == [503, 503, 200]
    desk.order("/twin/faults", {"burst": "http_429"})
    assert [desk.event() for _ in range(3)] == [403] * 3
    desk.order("/twin/faults", {"burst": ""})
    assert desk.event() == 200
    desk.order("/twin/faults", {"share": {"http_500": 1.0}, "seed": 3})
    assert desk.event() == 500
    desk.order("/twin/faults", {"share": {}})
    assert desk.event() == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/twin/faults", b""),
        ("/twin/faults", b"\xff"),
        ("/twin/faults", b"[]"),
        ("/twin/faults", b'{"burst":"http_402"}'),
        ("/twin/faults", b'{"bursts":"http_429"}'),
        ("/twin/faults", b'{"share":{"http_429":2}}'),
        ("/twin/published", b"{}"),
        ("/twin/published", b"[7]"),
        ("/twin/preferences", b'{"number":"+12015550101"}'),
        ("/twin/preferences", b'{"number":"+12015550101","opted_out":"yes"}'),
    ],
)
def test_an_order_that_is_not_understood_is_refused(desk: Desk, path: str, body: bytes) -> None:
    """A spelling mistake in a rehearsal is told, not ignored."""
    answer = desk.call("POST", path, body)
    assert answer.status == 400
    assert answer.body
    assert answer.body["error"]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/twin/faults"), ("POST", "/twin/events"), ("GET", "/twin/x")]
)
def test_other_resources_of_its_own_are_not_there(desk: Desk, method: str, path: str) -> None:
    """The twin says what it does not have."""
    assert desk.call(method, path, b"{}").status == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "localhost:8361"}, 200),
        ({"host": "[::1]:8361"}, 200),
        ({"host": "twin.example.com"}, 403),
        ({"host": "127.0.0.1.example.com"}, 403),
        ({"host": "["}, 403),
        ({"host": ""}, 403),
        ({"origin": "https://www.example.com"}, 403),
    ],
)
def test_its_own_resources_are_for_this_machine_only(
    desk: Desk, headers: dict[str, str], status: int
) -> None:
    """A web page that points its own name at loopback cannot read or steer the twin."""
    assert desk.call("GET", "/twin/events", b"", **headers).status == status
