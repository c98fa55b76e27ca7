"""The direct Lambda: what it understands, whom it lets in, and what it answers."""

from __future__ import annotations

import base64
import io
import json
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ci360_twilio.edge.aws as aws
import lambda_function
from ci360_twilio.core.entry import Entry, Status, key_of
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.aws import Direct, direct, parse_invocation
from ci360_twilio.edge.http import Request, Response
from ci360_twilio.errors import LedgerUnavailable
from ci360_twilio.flow.accept import Acceptance
from ci360_twilio.flow.send import Sending
from ci360_twilio.stores.memory import MemoryStore
from ci360_twilio.twin.events import outbound_event
from ci360_twilio.twin.faults import Fault
from ci360_twilio.wiring import Parts, utc_now

if TYPE_CHECKING:
    from tests.conftest import Twilio

TENANT = TenantId("af5af6b8f500013eb0c90001")
TO = "+12015550142"
CHECKED = {"identity": {"apiKeyId": "k1", "sourceIp": "203.0.113.9"}, "stage": "prod"}
Connect = Callable[..., Parts]


class Context:
    """What Lambda tells a function of its invocation."""

    aws_request_id = "7d0c1a52-0000-4000-8000-000000000001"

    def __init__(self, seconds: float = 29.0) -> None:
        self._until = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        """Give what is left of the invocation."""
        return int((self._until - time.monotonic()) * 1000)


@pytest.fixture
def parts(connector: Connect) -> Parts:
    """A connector as the Lambda wires it, without a ledger table."""
    return connector(trips=False, ledger="memory:")


@pytest.fixture
def handler(parts: Parts) -> Direct:
    """The handler on those parts."""
    return Direct(parts)


def event(creative: str = f"TO:{TO};\nHello", age: float = 1, **members: Any) -> dict[str, Any]:
    """Make an event that is a second old."""
    usual = {"guid": str(uuid.uuid4()), "tenant_id": TENANT}
    generated_at = datetime.now(UTC) - timedelta(seconds=age)
    return outbound_event(**(usual | members), creative=creative, generated_at=generated_at)


def rest(body: object, **members: Any) -> dict[str, Any]:
    """Make what a REST API hands over that has checked an API key."""
    return {
        "resource": "/twilio",
        "path": "/twilio",
        "httpMethod": "POST",
        "headers": {"Content-Type": "text/plain;charset=UTF-8", "User-Agent": "CI360"},
        "multiValueHeaders": {"Content-Type": ["text/plain;charset=UTF-8"]},
        "queryStringParameters": None,
        "requestContext": CHECKED,
        "body": body if isinstance(body, str) or body is None else json.dumps(body),
        "isBase64Encoded": False,
        **members,
    }


def version_2(body: object, **members: Any) -> dict[str, Any]:
    """Make what an HTTP API, or a function URL, hands over."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/ci360/events",
        "rawQueryString": "",
        "headers": {"content-type": "text/plain;charset=UTF-8", "x-forwarded-for": "203.0.113.9"},
        "requestContext": {
            "accountId": "anonymous",
            "domainName": "abc.lambda-url.eu-west-1.on.aws",
            "http": {"method": "POST", "path": "/ci360/events", "sourceIp": "203.0.113.9"},
        },
        "body": json.dumps(body),
        "isBase64Encoded": False,
        **members,
    }


def invoke(handler: Direct, given: object, *, seconds: float = 29.0) -> tuple[int, dict[str, Any]]:
    """Call the handler; gives status and body, having looked at the shape of the answer."""
    started = time.monotonic()
    answer = handler.handle(given, Context(seconds))
    assert time.monotonic() - started < seconds
    assert set(answer) == {"statusCode", "headers", "body", "isBase64Encoded"}
    assert answer["isBase64Encoded"] is False
    assert answer["headers"]["Content-Type"] == "application/json"
    json.dumps(answer)
    return answer["statusCode"], json.loads(answer["body"])


def stored(parts: Parts, sent: dict[str, Any]) -> Entry:
    """Give what the ledger holds of an event."""
    found = parts.store.get_many([key_of(TENANT, sent["guid"])])[0]
    assert found is not None
    return found


# Shapes of invocations


def test_a_rest_event_with_a_checked_key_is_sent(handler: Direct, twilio: Twilio) -> None:
    """Accepted and sent within the invocation: 200 with the SID."""
    sent = event()
    status, body = invoke(handler, rest(sent))
    (message,) = twilio.twin.messages
    assert (status, body) == (200, {"status": "sent", "guid": sent["guid"], "sid": message.sid})


def test_a_base64_body_is_decoded(handler: Direct, twilio: Twilio) -> None:
    """Whichever API encoded it."""
    encoded = base64.b64encode(json.dumps(event()).encode()).decode()
    assert invoke(handler, rest(encoded, isBase64Encoded=True))[0] == 200
    assert twilio.made_for(TO) == 1


@pytest.mark.parametrize(
    "body", ["", None, "{}", " {\n} "], ids=["empty", "null", "object", "spaced"]
)
def test_an_empty_body_is_the_endpoints_test(handler: Direct, body: str | None) -> None:
    """As SAS's sample takes it, credentials or not."""
    expected = (200, {"status": "ignored", "reason": "test"})
    assert invoke(handler, rest(body)) == expected
    assert invoke(handler, rest(body, requestContext={})) == expected


@pytest.mark.parametrize("given", [None, {}, [], "text", 7, {"version": "2.0"}, {"body": None}])
def test_an_event_of_another_kind_is_a_request_without_a_body(
    handler: Direct, given: object
) -> None:
    """A scheduled warm-up, or somebody's test in the console."""
    assert invoke(handler, given) == (200, {"status": "ignored", "reason": "test"})


@pytest.mark.parametrize(
    "given",
    [
        rest("") | {"body": {"guid": 1}},
        rest("") | {"body": ["x"]},
        rest("") | {"body": 7},
        rest("") | {"body": True},
        rest("%%%", isBase64Encoded=True),
        rest("YQ", isBase64Encoded=True),
        rest("\u00fc", isBase64Encoded=True),
        rest(base64.b64encode(b"\xff\xfe").decode(), isBase64Encoded=True),
        rest("\ud800"),
        rest("[]"),
        rest("To=%2B12015550142"),
        rest(base64.b64encode(b"{}").decode()),
    ],
)
def test_a_body_that_is_no_json_object_is_400(handler: Direct, given: dict[str, Any]) -> None:
    """Nor one that cannot be decoded, or is not text."""
    status, body = invoke(handler, given)
    assert (status, body["error"]["code"]) == (400, "not_json")
    assert body["error"]["requestId"] == Context.aws_request_id


@pytest.mark.parametrize(
    "members",
    [
        {"headers": None},
        {"headers": "x"},
        {"headers": {"X": None, "Y": ["z"], "": "", "Authorization": 7}},
        {"isBase64Encoded": None},
        {"isBase64Encoded": "true"},
        {"multiValueHeaders": 7},
        {"version": 7},
    ],
)
def test_odd_members_of_an_invocation_do_no_harm(handler: Direct, members: dict[str, Any]) -> None:
    """What is not understood is as if it were not there."""
    assert invoke(handler, rest(event(), **members))[0] == 200


@pytest.mark.parametrize("context", [None, 7, "x", [], {"identity": None}, {"identity": "x"}])
def test_an_odd_request_context_vouches_for_nobody(handler: Direct, context: object) -> None:
    """It is answered like one without."""
    assert invoke(handler, rest(event(), requestContext=context))[0] == 401


def test_header_names_have_no_case(
    handler: Direct, tenants_folder: Callable[..., Path], twilio: Twilio
) -> None:
    """REST APIs keep what the caller wrote, HTTP APIs lower it."""
    tenants_folder("guarded", api_keys=["the-right-key"])
    for name in ("X-API-KEY", "x-api-key"):
        sent = event(tenant_id="guarded")
        assert invoke(handler, version_2(sent, headers={name: "the-right-key"}))[0] == 200
    assert twilio.made_for(TO) == 2


def test_a_body_over_one_mebibyte_is_413(handler: Direct) -> None:
    """Plain or encoded."""
    large = json.dumps(event()) + " " * 1_048_576
    assert invoke(handler, rest(large))[0] == 413
    encoded = base64.b64encode(large.encode()).decode()
    assert invoke(handler, rest(encoded, isBase64Encoded=True))[0] == 413


def test_an_invocation_is_parsed_into_a_request() -> None:
    """As the routes take it, with the id that Lambda logs."""
    request = parse_invocation(rest({"a": 1}), "r-1")
    assert isinstance(request, Request)
    assert (request.method, request.path) == ("POST", "/ci360/events")
    assert (request.request_id, request.gateway_checked) == ("r-1", True)
    assert request.headers["user-agent"] == "CI360"
    assert json.loads(request.body) == {"a": 1}
    assert isinstance(parse_invocation(rest("") | {"body": 7}, "r-1"), Response)


# Whom it lets in: section 2 (b) and (c)


@pytest.mark.parametrize("key", [None, "", 0, False])
def test_a_rest_event_without_a_checked_key_is_401(
    handler: Direct, twilio: Twilio, key: object
) -> None:
    """Whatever header the caller sends makes it a 403 at most."""
    context = {"identity": {"apiKeyId": key, "apiKey": "x"}}
    assert invoke(handler, rest(event(), requestContext=context))[0] == 401
    headers = {"x-api-key": "x", "apiKeyId": "k1", "x-amzn-apikeyid": "k1"}
    assert invoke(handler, rest(event(), requestContext=context, headers=headers))[0] == 403
    assert twilio.twin.messages == ()


def test_an_http_api_or_a_function_url_vouches_for_nobody(handler: Direct, twilio: Twilio) -> None:
    """They check no API key."""
    assert invoke(handler, version_2(event()))[0] == 401
    assert invoke(handler, version_2(event(), headers={"x-api-key": "x"}))[0] == 403
    assert twilio.twin.messages == ()


def test_only_a_rest_apis_event_shows_that_a_key_was_checked(
    handler: Direct, twilio: Twilio
) -> None:
    """An ``apiKeyId`` in any other shape was written by somebody else."""
    context = version_2("")["requestContext"] | CHECKED
    assert invoke(handler, version_2(event(), requestContext=context))[0] == 401
    assert twilio.twin.messages == ()


def test_an_event_inside_the_body_vouches_for_nobody(handler: Direct) -> None:
    """The caller writes the body."""
    sent = event() | {"requestContext": CHECKED, "gateway_checked": True}
    assert invoke(handler, version_2(sent))[0] == 401


def test_authenticated_upstream_waives_here_too(connector: Connect) -> None:
    """Section 2 (c)."""
    handler = Direct(connector(trips=False, authenticated_upstream="true", ledger="memory:"))
    assert invoke(handler, version_2(event()))[0] == 200


def test_loopback_is_never_waived_here(handler: Direct) -> None:
    """Section 2 (a) is for servers; a header is written by the caller."""
    assert invoke(handler, version_2(event(), headers={"host": "127.0.0.1"}))[0] == 401


def test_a_tenant_with_credentials_must_see_them_also_behind_a_checked_key(
    handler: Direct, tenants_folder: Callable[..., Path]
) -> None:
    """The gateway's key is not the tenant's."""
    tenants_folder("guarded", api_keys=["the-right-key"])
    assert invoke(handler, rest(event(tenant_id="guarded")))[0] == 401


# Outcomes: section 7


def test_a_refusal_of_twilios_is_422_and_stays_so(handler: Direct, twilio: Twilio) -> None:
    """It is not asked for again."""
    twilio.faults.for_recipient(TO, ["http_400:21610"])
    sent = event()
    status, body = invoke(handler, rest(sent))
    assert (status, body["status"], body["reason"]) == (422, "refused", "twilio_21610")
    assert body["error"]["code"] == "twilio_21610"
    status, body = invoke(handler, rest(sent))
    assert (status, body["duplicate"]) == (422, True)
    assert twilio.faults.attempts == {TO: 1}


def test_an_error_of_configuration_is_502_and_a_repeat_sends_again(
    handler: Direct, twilio: Twilio
) -> None:
    """Nothing was made; once the token is right the same event goes out, without waiting."""
    twilio.twin.rotate(twilio.account, "another-token")
    sent = event()
    status, body = invoke(handler, rest(sent))
    assert (status, body["status"], body["reason"]) == (502, "accepted", "twilio_20003")
    assert body["error"]["code"] == "twilio_20003"
    twilio.twin.rotate(twilio.account, twilio.token)
    status, body = invoke(handler, rest(sent))
    assert (status, body["status"], body["duplicate"]) == (200, "sent", True)
    assert twilio.made_for(TO) == 1


def test_a_busy_twilio_that_recovers_within_the_invocation_is_200(
    handler: Direct, twilio: Twilio
) -> None:
    """429 made nothing, so it is tried again at once."""
    twilio.faults.for_recipient(TO, [Fault.HTTP_429, Fault.HTTP_429])
    assert invoke(handler, rest(event()))[0] == 200
    assert (twilio.made_for(TO), twilio.faults.attempts) == (1, {TO: 3})


def test_a_busy_twilio_that_outlasts_the_invocation_is_502_and_a_repeat_sends_again(
    handler: Direct, parts: Parts, twilio: Twilio
) -> None:
    """A failure that is safe to repeat."""
    twilio.faults.for_recipient(TO, [Fault.HTTP_429] * 20)
    sent = event()
    status, body = invoke(handler, rest(sent), seconds=3.5)
    assert (status, body["status"], body["reason"]) == (502, "accepted", "twilio_20429")
    assert stored(parts, sent).lease is None
    twilio.faults.for_recipient(TO, [])
    assert invoke(handler, rest(sent))[0] == 200
    assert twilio.made_for(TO) == 1


def test_an_unreachable_twilio_is_502_and_a_repeat_sends_again(
    handler: Direct, twilio: Twilio
) -> None:
    """Nothing had left."""
    twilio.server.stop()
    sent = event()
    status, body = invoke(handler, rest(sent), seconds=3.5)
    assert (status, body["reason"]) == (502, "connect_refused")
    twilio.server.start()
    assert invoke(handler, rest(sent))[0] == 200
    assert twilio.made_for(TO) == 1


@pytest.mark.parametrize(
    ("fault", "made"), [(Fault.RESET, 1), (Fault.HTTP_500, 0), (Fault.HTTP_500_MADE, 1)]
)
def test_a_lost_answer_is_502_and_never_sent_again(
    handler: Direct, twilio: Twilio, fault: Fault, made: int
) -> None:
    """However often the event comes."""
    twilio.faults.for_recipient(TO, [fault])
    sent = event()
    for number in range(3):
        status, body = invoke(handler, rest(sent))
        assert (status, body["status"]) == (502, "unknown")
        assert body.get("duplicate", False) is (number > 0)
        assert "may or may not" in body["error"]["message"]
    assert twilio.faults.attempts == {TO: 1}
    assert twilio.made_for(TO) == made


def test_a_slow_answer_is_written_as_unknown_before_the_invocation_ends(
    handler: Direct, parts: Parts, twilio: Twilio
) -> None:
    """Nothing works afterwards."""
    twilio.faults.for_recipient(TO, ["slow:30"])
    sent = event()
    status, body = invoke(handler, rest(sent), seconds=2.8)
    assert (status, body["status"], body["reason"]) == (502, "unknown", "read_timeout")
    assert stored(parts, sent).status is Status.UNKNOWN


@pytest.mark.parametrize("seconds", [2.4, 1.0])
def test_an_invocation_that_is_about_to_end_begins_nothing(
    handler: Direct, parts: Parts, twilio: Twilio, seconds: float
) -> None:
    """502, retry-safe; with time, a repeat sends it."""
    sent = event()
    status, body = invoke(handler, rest(sent), seconds=seconds)
    assert (status, body["status"]) == (502, "accepted")
    assert stored(parts, sent).attempts == 0
    assert twilio.faults.attempts == {}
    assert invoke(handler, rest(sent))[0] == 200


def test_a_repeat_of_a_sent_event_is_200_with_its_sid(handler: Direct, twilio: Twilio) -> None:
    """And sends nothing."""
    sent = event()
    first = invoke(handler, rest(sent))[1]
    status, body = invoke(handler, rest(sent))
    assert (status, body) == (200, first | {"duplicate": True})
    assert twilio.made_for(TO) == 1


def test_fifty_invocations_at_once_make_one_message(handler: Direct, twilio: Twilio) -> None:
    """The others are told that another is at it, or that it is done."""
    sent = rest(event())
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: invoke(handler, sent), range(50)))
    assert twilio.made_for(TO) == 1
    assert twilio.faults.attempts == {TO: 1}
    assert {status for status, _ in answers} <= {200, 202}
    fresh = [body for _, body in answers if not body.get("duplicate")]
    assert len(fresh) == 1


def test_an_accepted_event_reads_as_expired_once_its_time_is_over(
    connector: Connect, twilio: Twilio
) -> None:
    """There is no worker that would sweep it."""
    handler = Direct(connector(trips=False, ledger="memory:", event_ttl="3"))
    sent = event(age=1.8)
    assert invoke(handler, rest(sent), seconds=2.0)[0] == 502
    time.sleep(1.3)
    status, body = invoke(handler, rest(sent))
    assert (status, body["status"]) == (200, "expired")
    assert twilio.faults.attempts == {}


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (event(control_group=True), 200),
        (event(age=90_000), 200),
        (event("nobody"), 422),
        (event() | {"guid": None}, 422),
        (event() | {"eventType": "customEvent"}, 200),
        (event(tenant_id="nobody"), 403),
        (event() | {"externalTenantId": "a/b"}, 400),
    ],
    ids=["control", "stale", "creative", "guid", "type", "unknown", "tenant"],
)
def test_every_other_answer_is_the_servers(
    handler: Direct, twilio: Twilio, sent: dict[str, Any], status: int
) -> None:
    """Nothing is sent."""
    assert invoke(handler, rest(sent))[0] == status
    assert twilio.faults.attempts == {}


class Away(MemoryStore):
    """A ledger that cannot be written."""

    def insert_many(self, *_: object, **__: object) -> Any:
        """Fail, where it is to fail at once."""
        raise LedgerUnavailable("Away.")


class AwayLater(MemoryStore):
    """A ledger that cannot be written any more once an event is in it."""

    def record_many(self, *_: object, **__: object) -> Any:
        """Fail."""
        raise LedgerUnavailable("Away.")


@pytest.mark.parametrize("store", [Away(), AwayLater()], ids=["at once", "later"])
def test_where_the_ledger_cannot_write_nothing_is_sent(
    parts: Parts, twilio: Twilio, store: MemoryStore
) -> None:
    """503, to be tried again."""
    parts.store = store
    parts.acceptance = Acceptance(store, parts.tenants, utc_now, parts.log)
    parts.sending = Sending(store, parts.client, parts.tenants, parts.pausing, utc_now, parts.log)
    answer = Direct(parts).handle(rest(event()), Context())
    assert answer["statusCode"] == 503
    assert answer["headers"]["Retry-After"].isdecimal()
    assert twilio.faults.attempts == {}


def test_no_connection_outlives_an_invocation(handler: Direct, twilio: Twilio) -> None:
    """A frozen instance would find it dead, and a request lost on it."""
    assert invoke(handler, rest(event()))[0] == 200
    until = time.monotonic() + 5
    while twilio.server._connections and time.monotonic() < until:
        time.sleep(0.01)
    assert not twilio.server._connections


def test_the_log_of_an_invocation_holds_nothing_personal(
    handler: Direct, parts: Parts, twilio: Twilio
) -> None:
    """At DEBUG, whatever the outcome."""
    for fault in ("http_400:21211", "reset", "http_401"):
        twilio.faults.for_recipient(TO, [fault])
        invoke(handler, rest(event()), seconds=3)
    stream = parts.log._stream
    assert isinstance(stream, io.StringIO)
    for secret in ("2015550142", "Hello", twilio.token, twilio.account):
        assert secret not in stream.getvalue()
    assert Context.aws_request_id in stream.getvalue()


@pytest.mark.parametrize("context", [None, object(), type("C", (), {"aws_request_id": None})()])
def test_a_context_that_says_nothing_is_enough(handler: Direct, context: object) -> None:
    """Local tools call handlers with less than Lambda does."""
    assert handler.handle(rest(event()), context)["statusCode"] == 200


# The function itself


@pytest.fixture
def environment(
    monkeypatch: pytest.MonkeyPatch, tenants_folder: Callable[..., Path], twilio: Twilio
) -> Iterator[pytest.MonkeyPatch]:
    """A function's environment and a cold instance; logging is put back afterwards."""
    monkeypatch.setattr(aws, "_direct", None)
    monkeypatch.setenv("CI360_TWILIO_TENANTS", str(tenants_folder()))
    monkeypatch.setenv("CI360_TWILIO_TWILIO_HOSTS", twilio.host)
    monkeypatch.delenv("CI360_TWILIO_LEDGER", raising=False)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield monkeypatch
    root.handlers[:], root.level = handlers, level


def test_the_samples_name_is_the_same_handler() -> None:
    """``lambda_function.lambda_handler``."""
    assert lambda_function.lambda_handler is direct


@pytest.mark.usefixtures("environment")
def test_a_warm_instance_knows_what_it_sent_and_says_once_that_it_knows_no_more(
    twilio: Twilio, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a ledger table it de-duplicates within itself."""
    sent = rest(event())
    assert [direct(sent, Context())["statusCode"] for _ in range(3)] == [200] * 3
    assert twilio.made_for(TO) == 1
    assert capsys.readouterr().err.count('"direct.no_ledger"') == 1


def test_a_cold_start_by_many_threads_makes_one_instance(
    environment: pytest.MonkeyPatch, twilio: Twilio
) -> None:
    """Else each would send."""
    sent = rest(event())
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: direct(sent, Context())["statusCode"], range(20)))
    assert set(answers) <= {200, 202}
    assert twilio.made_for(TO) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CI360_TWILIO_LEASE", "s3cr3t"),
        ("CI360_TWILIO_TENANTS", ""),
        ("CI360_TWILIO_TENANTS", "/nonexistent/s3cr3t"),
        ("CI360_TWILIO_TENANTS", "~no-such-user-here/s3cr3t"),
        ("CI360_TWILIO_LEDGER", "dynamodb:Messages"),
        ("CI360_TWILIO_LEDGER", "sqlite:////proc/s3cr3t/ledger.db"),
    ],
)
def test_a_function_that_is_not_set_up_answers_503_and_logs_why(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    """The caller learns no more than that; the next invocation looks again."""
    environment.setenv(name, value)
    answer = direct(rest(event()), Context())
    assert answer["statusCode"] == 503
    assert "s3cr3t" not in answer["body"]
    assert json.loads(answer["body"])["error"]["requestId"] == Context.aws_request_id
    assert '"direct.start"' in capsys.readouterr().err
