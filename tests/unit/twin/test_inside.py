"""Twilio in process: the connector's client sees the same as on a socket."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest

from ci360_twilio.clients.twilio import TwilioClient
from ci360_twilio.core.message import Message
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.core.tenant import Tenant, TenantId, parse_tenant
from ci360_twilio.errors import AnswerLost, NotReached, SendFailed
from ci360_twilio.twin.faults import Fault, FaultPlan
from ci360_twilio.twin.inside import InsideTwilio
from ci360_twilio.twin.life import Life
from ci360_twilio.twin.server import TwinServer
from ci360_twilio.twin.twilio import TwilioTwin, TwinAccount
from ci360_twilio.twin.weather import Weather

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
SID, TO, FROM = "AC" + "a" * 32, "+12015550101", "+12015550199"
HELLO = Message(to=TO, sender=FROM, body="Grüße & more; 50% off 👍")
CALLBACK = "https://sms.example.com/twilio/status/tenant?m=abc#rc=5&rp=all"


class Clock:
    """A clock that goes on while somebody waits."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        """Tell the time."""
        return self.now

    def wait(self, seconds: float) -> None:
        """Go on."""
        self.now += timedelta(seconds=seconds)


def tenant(host: str = "api.twilio.com", opened_by: str = "token") -> Tenant:
    """Make the tenant of the account."""
    scheme = "https" if host == "api.twilio.com" else "http"
    document = {
        "twilio_api_url": f"{scheme}://{host}",
        "twilio_account_sid": SID,
        "twilio_auth_token": opened_by,
    }
    return parse_tenant(json.dumps(document), TenantId("tenant"), (host,))


class Stage:
    """A twin, its faults, and the client in the same process."""

    def __init__(self, *, latency: float = 0.0, life: Life | None = None) -> None:
        self.clock = Clock()
        account = TwinAccount(sid=SID, auth_token="token", life=life)
        self.twin = TwilioTwin(accounts=[account], clock=self.clock, weather=Weather())
        self.faults = FaultPlan()
        self.twilio = InsideTwilio(self.twin, self.faults, clock=self.clock, latency=latency)

    def send(self, *faults: str, timeout: float = 40.0) -> Receipt:
        """Send a message, with the faults of the first attempts."""
        self.faults.for_recipient(TO, faults)
        return self.twilio.send(HELLO, tenant(), validity=3600, timeout=timeout, callback=CALLBACK)


@pytest.fixture
def stage() -> Stage:
    """A twin at noon."""
    return Stage()


def test_a_message_is_made_and_found(stage: Stage) -> None:
    """What the client sends arrives whole, and it reads what the twin shows."""
    receipt = stage.send()
    (made,) = stage.twin.messages
    assert (made.sid, made.body, made.to, made.sender) == (receipt.sid, HELLO.body, TO, FROM)
    assert (made.validity_period, made.status_callback) == (3600, CALLBACK)
    (row,) = stage.twilio.search(tenant(), TO, since=NOON)
    assert (row.receipt, row.body, row.created_at) == (receipt, HELLO.body, NOON)
    assert stage.twilio.fetch(tenant(), receipt.sid) == receipt
    assert stage.twilio.fetch(tenant(), "SM" + "0" * 32) is None
    stage.twilio.probe(tenant())
    assert stage.clock.now == NOON


def test_wrong_credentials_are_told(stage: Stage) -> None:
    """After a rotation every method is refused."""
    stage.twin.rotate(SID, "fresh")
    for call in (stage.send, lambda: stage.twilio.probe(tenant())):
        with pytest.raises(SendFailed) as refusal:
            call()
        assert refusal.value.reason == "twilio_20003"
    stage.twilio.probe(tenant(opened_by="fresh"))


def test_an_answer_takes_its_time(stage: Stage) -> None:
    """The clock goes on as long as the answer is waited for."""
    stage.send("slow:20")
    assert stage.clock.now == NOON + timedelta(seconds=20)
    (message,) = stage.twin.messages
    assert message.at == NOON


def test_latency_holds_for_every_request() -> None:
    """Also for those that ask."""
    stage = Stage(latency=0.5)
    stage.send()
    stage.twilio.probe(tenant())
    assert stage.clock.now == NOON + timedelta(seconds=1)


@pytest.mark.parametrize(("fault", "waited"), [("slow:34", 10), ("hang", 10), ("hang:4", 4)])
def test_an_answer_that_takes_too_long_is_lost(stage: Stage, fault: str, waited: int) -> None:
    """At the time-out, though the message was made."""
    with pytest.raises(AnswerLost) as lost:
        stage.send(fault, timeout=10)
    assert lost.value.reason == ("connection_lost" if waited < 10 else "read_timeout")
    assert stage.clock.now == NOON + timedelta(seconds=waited)
    assert len(stage.twin.messages) == 1


def test_no_answer_is_waited_for_longer_than_the_client_reads(stage: Stage) -> None:
    """The client's own limit counts, too: 30 seconds of silence."""
    with pytest.raises(AnswerLost):
        stage.send("slow:34", timeout=60)
    assert stage.clock.now == NOON + timedelta(seconds=30)


def test_a_connection_that_does_not_come_about_makes_nothing(stage: Stage) -> None:
    """Neither does one for which there is no time."""
    for faults, timeout, reason in (
        ([Fault.UNREACHABLE], 10.0, "connect_refused"),
        ([], 0.0, "connect_timeout"),
    ):
        with pytest.raises(NotReached) as unreached:
            stage.send(*faults, timeout=timeout)
        assert unreached.value.reason == reason
    assert stage.twin.messages == ()


def test_its_life_can_be_followed(stage: Stage) -> None:
    """Fetching shows how far a message is."""
    stage = Stage(life=Life())
    sid = stage.send().sid
    stage.clock.wait(3600)
    receipt = stage.twilio.fetch(tenant(), sid)
    assert receipt is not None
    assert receipt.status == "delivered"


class Seen(NamedTuple):
    """What the client makes of an exchange."""

    kind: str
    reason: str | None
    made: int


def seen_by(client: TwilioClient, of: Tenant, twin: TwilioTwin) -> Seen:
    """Send once, and tell what came of it."""
    try:
        receipt = client.send(HELLO, of, validity=60, timeout=0.5)
    except SendFailed as exc:
        return Seen(type(exc).__name__, exc.reason, len(twin.messages))
    return Seen("Receipt", receipt.status, len(twin.messages))


@pytest.mark.parametrize(
    "fault",
    [fault for fault in Fault if fault is not Fault.UNREACHABLE] + ["slow:0.01", "hang:0.01"],
)
def test_every_fault_looks_as_on_a_socket(fault: str) -> None:
    """The same error for the same reason, and the same messages made."""
    inside = Stage()
    inside.faults.for_recipient(TO, [fault])
    within = seen_by(inside.twilio, tenant(), inside.twin)
    account = TwinAccount(sid=SID, auth_token="token")
    twin, faults = TwilioTwin(accounts=[account], clock=lambda: NOON), FaultPlan()
    faults.for_recipient(TO, [fault])
    client = TwilioClient(connections=1)
    with TwinServer(twin, faults) as server:
        outside = seen_by(client, tenant(server.url.removeprefix("http://")), twin)
        client.close()
    assert within == outside


def test_an_unreachable_twin_looks_like_one_that_was_stopped() -> None:
    """On a socket that is how nothing is reached."""
    inside = Stage()
    inside.faults.burst(Fault.UNREACHABLE)
    within = seen_by(inside.twilio, tenant(), inside.twin)
    server = TwinServer(inside.twin)
    with server:
        host = server.url.removeprefix("http://")
    client = TwilioClient(connections=1)
    assert seen_by(client, tenant(host), inside.twin) == within
    client.close()
