"""The functions of the AWS stack, each called as AWS calls it, against the twins and moto's queue."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import boto3
import pytest
from moto import mock_aws

import ci360_twilio.edge.functions as functions
from ci360_twilio.clients.nudge import Nudge
from ci360_twilio.core.entry import Entry, Status, key_of
from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.functions import Stack, metrics_line, parse_webhook
from ci360_twilio.edge.http import Request
from ci360_twilio.errors import LedgerUnavailable
from ci360_twilio.logs import Log
from ci360_twilio.ports import Summary
from ci360_twilio.twin.events import outbound_event
from ci360_twilio.twin.faults import Fault
from ci360_twilio.twin.signature import sign
from ci360_twilio.wiring import Parts, utc_now

if TYPE_CHECKING:
    from tests.conftest import Twilio

TENANT = TenantId("af5af6b8f500013eb0c90001")
TO, SENDER = "+12015550142", "+12015550199"
PUBLIC_URL = "https://sms.example.com/base"
CHECKED = {"identity": {"apiKeyId": "k1"}, "stage": "prod"}
Connect = Callable[..., Parts]


class Context:
    """What the runtime hands to a function."""

    aws_request_id = "7d0c1a52-0000-4000-8000-000000000001"

    def __init__(self, seconds: float = 20.0) -> None:
        self._seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        """Return what is left."""
        return int(self._seconds * 1000)


class Queue:
    """A queue of moto, and what stands in it."""

    def __init__(self) -> None:
        self.client = boto3.session.Session().client("sqs")
        self.url = self.client.create_queue(QueueName="deliver")["QueueUrl"]

    def taken(self) -> dict[str, Any]:
        """Take what stands there as a batch for ``deliver``."""
        found = self.client.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10)
        records = [
            {"messageId": one["MessageId"], "body": one["Body"]}
            for one in found.get("Messages", ())
        ]
        return {"Records": records}


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    """Give a queue in moto; what is called on loopback goes there all the same."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "none")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield Queue()


@pytest.fixture
def parts(connector: Connect) -> Parts:
    """Give the parts of an instance."""
    return connector(public_url=PUBLIC_URL)


@pytest.fixture
def stack(parts: Parts, queue: Queue) -> Iterator[Stack]:
    """Give an instance's functions."""
    stack = Stack(parts, Nudge(queue.url, queue.client))
    yield stack
    stack.close()


def event(to: str = TO, **members: Any) -> dict[str, Any]:
    """Make an event that is a second old."""
    usual = {"guid": str(uuid.uuid4()), "tenant_id": TENANT}
    generated_at = datetime.now(UTC) - timedelta(seconds=1)
    creative = f"TO:{to};\nHello"
    return outbound_event(**(usual | members), creative=creative, generated_at=generated_at)


def rest(body: object, **members: Any) -> dict[str, Any]:
    """Make what a REST API hands over that has checked a key."""
    return {
        "path": "/ci360/events",
        "httpMethod": "POST",
        "headers": {"Content-Type": "text/plain"},
        "requestContext": CHECKED,
        "body": body if isinstance(body, str) else json.dumps(body),
        "isBase64Encoded": False,
        **members,
    }


def received(stack: Stack, **members: Any) -> dict[str, Any]:
    """Have an event received; gives it."""
    sent = event(**members)
    answer = stack.receive(rest(sent), Context())
    assert (answer["statusCode"], json.loads(answer["body"])["status"]) == (202, "accepted")
    return sent


def stored(parts: Parts, sent: dict[str, Any]) -> Entry:
    """Give what the ledger holds of an event."""
    [found] = parts.store.get_many([key_of(TENANT, sent["guid"])])
    assert found is not None
    return found


def callback(entry: Entry, status: str, twilio: Twilio, **members: Any) -> dict[str, Any]:
    """Make the webhook that tells of a message's status, as a REST API with a base path has it."""
    form = {
        "MessageSid": entry.sid or "",
        "MessageStatus": status,
        "AccountSid": twilio.document()["twilio_account_sid"],
        "To": TO,
        "From": SENDER,
    }
    route = f"/twilio/status/{TENANT}"
    address = f"{PUBLIC_URL}{route}?m={entry.correlation}"
    signature = sign(twilio.document()["twilio_auth_token"], address, form)
    return rest(
        urlencode(form),
        path=f"/base{route}",
        headers={
            "X-Twilio-Signature": signature,
            "Content-Type": "application/x-www-form-urlencoded",
        },
        multiValueQueryStringParameters={"m": [entry.correlation]},
        **members,
    )


def test_an_event_goes_out_by_way_of_the_queue(
    stack: Stack, parts: Parts, queue: Queue, twilio: Twilio
) -> None:
    """The queue holds its key and nothing else."""
    sent = received(stack)
    batch = queue.taken()
    assert [one["body"] for one in batch["Records"]] == [f"{TENANT}/{sent['guid']}"]
    assert stack.deliver(batch, Context()) == {"batchItemFailures": []}
    assert stored(parts, sent).status is Status.SENT
    assert twilio.made_for(TO) == 1


def test_a_batch_that_comes_twice_sends_once(stack: Stack, queue: Queue, twilio: Twilio) -> None:
    """SQS delivers at least once."""
    received(stack)
    batch = queue.taken()
    for _ in range(3):
        assert stack.deliver(batch, Context()) == {"batchItemFailures": []}
    assert twilio.made_for(TO) == 1


def test_a_message_that_names_nothing_keeps_no_other(
    stack: Stack, parts: Parts, queue: Queue
) -> None:
    """It comes again until the queue sets it aside; what names an entry that is gone is done with."""
    sent = received(stack)
    batch = queue.taken()
    batch["Records"] += [
        {"messageId": "poison", "body": "{}"},
        {"messageId": "none"},
        {"messageId": "gone", "body": f"{TENANT}/gone"},
    ]
    done = stack.deliver(batch, Context())
    failed = [one["itemIdentifier"] for one in done["batchItemFailures"]]
    assert failed == ["poison", "none"]
    assert stored(parts, sent).status is Status.SENT


def test_what_names_nothing_is_set_aside_with_its_reason(parts: Parts, queue: Queue) -> None:
    """Where there is a queue for it, as in the stack."""
    aside = queue.client.create_queue(QueueName="aside")["QueueUrl"]
    stack = Stack(parts, Nudge(queue.url, queue.client, aside=aside))
    batch = {"Records": [{"messageId": "poison", "body": "{}"}]}
    assert stack.deliver(batch, Context()) == {"batchItemFailures": []}
    [found] = queue.client.receive_message(QueueUrl=aside, MessageAttributeNames=["All"])[
        "Messages"
    ]
    assert found["Body"] == "{}"
    assert found["MessageAttributes"]["reason"]["StringValue"] == "no_key"
    gone = Stack(parts, Nudge(queue.url, queue.client, aside=f"{aside}-that-is-not-there"))
    again = [{"itemIdentifier": "poison"}]
    assert gone.deliver(batch, Context()) == {"batchItemFailures": again}


def test_a_ledger_that_is_away_has_the_batch_come_again(
    stack: Stack, parts: Parts, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent meanwhile."""
    received(stack)
    batch = queue.taken()

    def away(*_: object, **__: object) -> None:
        raise LedgerUnavailable("Away.")

    monkeypatch.setattr(parts.store, "claim", away)
    done = stack.deliver(batch, Context())
    assert [one["itemIdentifier"] for one in done["batchItemFailures"]] == [
        one["messageId"] for one in batch["Records"]
    ]


def test_a_beginning_that_fails_is_written_once_more(
    stack: Stack, parts: Parts, queue: Queue, twilio: Twilio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Part of it may have been written: what stayed in ``sending`` would be left to a person."""
    received(stack)
    batch, begin, tries = queue.taken(), parts.sending.begin, []

    def away_at_first(*given: Any) -> Any:
        begun = begin(*given)
        tries.append(len(begun))
        if len(tries) == 1:
            raise LedgerUnavailable("Away.")
        return begun

    monkeypatch.setattr(parts.sending, "begin", away_at_first)
    assert stack.deliver(batch, Context()) == {"batchItemFailures": []}
    assert (tries, twilio.made_for(TO)) == ([1, 1], 1)


def test_a_retry_is_said_for_when_it_is_due(
    stack: Stack, parts: Parts, queue: Queue, twilio: Twilio
) -> None:
    """Twilio is busy; the key comes again by itself."""
    twilio.faults.for_recipient(TO, [Fault.HTTP_429])
    sent = received(stack)
    stack.deliver(queue.taken(), Context())
    assert stored(parts, sent).status is Status.ACCEPTED
    attributes = queue.client.get_queue_attributes(QueueUrl=queue.url, AttributeNames=["All"])
    said = attributes["Attributes"]
    delayed, there = "ApproximateNumberOfMessagesDelayed", "ApproximateNumberOfMessages"
    assert int(said[delayed]) + int(said[there]) == 1


def test_too_little_time_begins_nothing(
    stack: Stack, parts: Parts, queue: Queue, twilio: Twilio
) -> None:
    """What is claimed is given back, and said again."""
    sent = received(stack)
    stack.deliver(queue.taken(), Context(seconds=3.0))
    entry = stored(parts, sent)
    assert (entry.status, entry.lease, twilio.made_for(TO)) == (Status.ACCEPTED, None, 0)
    stack.deliver(queue.taken(), Context())
    assert twilio.made_for(TO) == 1


def test_a_paced_sender_waits_for_the_sweep(
    connector: Connect, tenants_folder: Callable[..., Any], queue: Queue, twilio: Twilio
) -> None:
    """The queue knows no turns; the sweep goes by the sender's budget."""
    tenants_folder(sender_rates={SENDER: 2.0}, default_sender=SENDER)
    parts = connector()
    stack = Stack(parts, Nudge(queue.url, queue.client))
    sent = [received(stack) for _ in range(3)]
    stack.deliver(queue.taken(), Context())
    [place] = {stored(parts, one).place for one in sent}
    assert place is not None
    assert SENDER in place
    assert twilio.made_for(TO) == 0
    stack.sweep({}, Context(seconds=8.0))
    assert twilio.made_for(TO) == 3


def test_the_sweep_sends_what_a_lost_nudge_left(parts: Parts, twilio: Twilio) -> None:
    """Here there is no queue at all."""
    stack = Stack(parts, None)
    sent = [received(stack, to=f"+1201555{number:04}") for number in range(5)]
    assert stack.sweep({}, Context()) == {"due": 0}
    assert {stored(parts, one).status for one in sent} == {Status.SENT}
    assert len(twilio.twin.messages) == 5


def test_a_pause_holds_for_the_functions(
    stack: Stack, parts: Parts, queue: Queue, twilio: Twilio
) -> None:
    """Whoever has set it."""
    received(stack)
    parts.store.pause(Pause(scope=Scope.ALL, cause=Cause.PERSON, reason="paused", since=utc_now()))
    stack.deliver(queue.taken(), Context())
    stack.sweep({}, Context(seconds=5.0))
    assert twilio.made_for(TO) == 0


def test_a_receipt_comes_in_behind_a_stage_and_a_base_path(
    stack: Stack, parts: Parts, queue: Queue, twilio: Twilio
) -> None:
    """What Twilio has signed is the public address and our route."""
    sent = received(stack)
    stack.deliver(queue.taken(), Context())
    asked = callback(stored(parts, sent), "delivered", twilio)
    assert stack.webhook(asked, Context())["statusCode"] == 204
    assert stored(parts, sent).status is Status.DELIVERED
    other = callback(stored(parts, sent), "read", twilio)
    other["body"] += "&More=1"
    assert stack.webhook(other, Context())["statusCode"] == 403
    assert stored(parts, sent).status is Status.DELIVERED


@pytest.mark.parametrize(
    ("given", "path", "query"),
    [
        ({"path": "/twilio/status/t"}, "/twilio/status/t", ""),
        ({"path": "/prod/twilio/inbound/t"}, "/twilio/inbound/t", ""),
        (
            {"rawPath": "/prod/twilio/status/t", "rawQueryString": "m=a1"},
            "/twilio/status/t",
            "m=a1",
        ),
        (
            {"path": "/twilio/status/t", "queryStringParameters": {"m": "a1"}},
            "/twilio/status/t",
            "m=a1",
        ),
        (
            {"path": "/twilio/status/x/twilio/status/t", "queryStringParameters": None},
            "/twilio/status/t",
            "",
        ),
    ],
)
def test_a_route_is_found_behind_whatever_stands_in_front(
    given: dict[str, Any], path: str, query: str
) -> None:
    """REST API and HTTP API, with and without a stage."""
    request = parse_webhook({"body": "a=b", **given}, "id")
    assert isinstance(request, Request)
    assert (request.path, request.query, request.body) == (path, query, b"a=b")


@pytest.mark.parametrize("given", [{}, {"path": "/ci360/events"}, {"rawPath": 7}, None, []])
def test_what_is_no_webhook_is_not_found(stack: Stack, given: Any) -> None:
    """Whatever it is."""
    assert stack.webhook(given, Context())["statusCode"] == 404


def test_other_methods_are_not_allowed(stack: Stack) -> None:
    """Twilio posts."""
    asked = {"path": f"/twilio/status/{TENANT}", "httpMethod": "GET", "body": None}
    assert stack.webhook(asked, Context())["statusCode"] == 405


def test_a_webhook_that_is_too_large_is_refused(stack: Stack) -> None:
    """The function's own limit holds, not the gateway's."""
    asked = {"path": f"/twilio/status/{TENANT}", "body": "a" * 70_000}
    assert stack.webhook(asked, Context())["statusCode"] == 413


def test_the_state_of_the_ledger_is_measured(
    parts: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    """In CloudWatch's own format, one line for each sweep."""
    Stack(parts, None).sweep({}, Context())
    [line] = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    [directive] = told["_aws"]["CloudWatchMetrics"]
    names = {one["Name"] for one in directive["Metrics"]}
    assert names == told.keys() - {"_aws", "Stack"}
    assert {"Due", "OldestDueSeconds", "Unknown", "Held", "ReportsOwed"} <= names


def test_ages_are_measured_from_now() -> None:
    """Never below zero, where a clock is ahead."""
    at = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
    summary = Summary(
        unfinished={Status.HELD: 2},
        due=3,
        oldest_due_at=at,
        oldest_owed_at=at + timedelta(hours=2),
        restored_at=None,
        outdated=False,
    )
    told = json.loads(metrics_line(summary, at.timestamp() + 60, "sms"))
    assert (told["OldestDueSeconds"], told["OldestReportSeconds"], told["Held"]) == (60.0, 0.0, 2)


def test_functions_are_made_of_their_settings(
    queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
    tenants_folder: Callable[..., Any],
    twilio: Twilio,
) -> None:
    """As Lambda calls them: once for an instance, whichever comes first."""
    monkeypatch.setattr(functions, "_stack", None)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    folder = tenants_folder()
    for name, value in (
        ("TENANTS", str(folder)),
        ("LEDGER", f"sqlite:///{folder.parent / 'functions.db'}"),
        ("TWILIO_HOSTS", twilio.host),
        ("QUEUE_URL", queue.url),
    ):
        monkeypatch.setenv(f"CI360_TWILIO_{name}", value)
    answer = functions.receive(rest(event()), Context())
    assert answer["statusCode"] == 202
    assert functions.deliver(queue.taken(), Context()) == {"batchItemFailures": []}
    assert functions.report({}, Context()) == {"reports": 0}
    assert functions.sweep({}, Context()) == {"due": 0}
    assert functions.webhook({}, Context())["statusCode"] == 404
    assert twilio.made_for(TO) == 1
    made = functions._stack
    assert made is not None
    made.close()


def test_a_page_of_the_set_origin_may_post_events(connector: Connect) -> None:
    """A browser asks first; no other function and no other stack says so."""
    stack = Stack(connector(cors_origin="https://www.example.com"), None)
    asked = stack.receive({"httpMethod": "OPTIONS", "path": "/ci360/events"}, Context())
    answer = stack.receive(rest("{"), Context())
    assert (asked["statusCode"], answer["statusCode"]) == (204, 400)
    for one in (asked, answer):
        assert one["headers"]["Access-Control-Allow-Origin"] == "https://www.example.com"
    closed = Stack(connector(), None).receive({"httpMethod": "OPTIONS"}, Context())
    assert not [name for name in closed["headers"] if name.startswith("Access-Control")]


def test_every_line_says_whose_invocation_it_is(parts: Parts) -> None:
    """By the id under which AWS has it."""
    stream = io.StringIO()
    parts.log = Log(stream)
    stack = Stack(parts, None)
    stack.begin(Context())
    stack.deliver({"Records": [{"messageId": "1"}]}, Context())
    assert json.loads(stream.getvalue())["aws_request_id"] == Context.aws_request_id


def test_a_function_that_is_not_set_up_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """CI360 comes again after a 503."""
    monkeypatch.setattr(functions, "_stack", None)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    for name in ("TENANTS", "LEDGER", "SM_SECRET_ID_PREFIX"):
        monkeypatch.delenv(f"CI360_TWILIO_{name}", raising=False)
    monkeypatch.delenv("sm_secret_id_prefix", raising=False)
    monkeypatch.setenv("CI360_TWILIO_LEDGER", "memory:")
    answer = functions.receive(rest(event()), Context())
    assert answer["statusCode"] == 503
