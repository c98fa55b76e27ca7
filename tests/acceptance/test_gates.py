"""The gates of the contract, in their order, on a running server."""

from __future__ import annotations

import gzip
import json
import uuid
from typing import Any

import pytest

from ci360_twilio.core.entry import Status

OPEN, GUARDED, OTHER = "open-tenant", "guarded-tenant", "other-tenant"
API_KEY = "key-for-acceptance-3f9a7c1e5b2d"


@pytest.fixture
def good(running: Any) -> dict[str, Any]:
    """Give an event that can be sent."""
    event: dict[str, Any] = running.event(f"TO:{running.number()};\nHello from the gates")
    return event


def error_code(answer: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    """Give status and error code, having looked at the shape of the error."""
    status, body = answer
    assert set(body["error"]) == {"code", "message", "timestamp", "requestId", "details"}
    return status, body["error"]["code"]


def test_a_body_over_one_mebibyte_is_413(running: Any, good: Any) -> None:
    """The size gate speaks before anything is parsed."""
    good["padding"] = "x" * 1_048_576
    assert error_code(running.post(good)) == (413, "too_large")


@pytest.mark.parametrize("body", [b"", b"{}", b" {\n} ", b"\r\n"])
def test_an_empty_body_is_the_endpoints_test(running: Any, body: bytes) -> None:
    """CI360's *Test Endpoint* learns that we are here."""
    assert running.post(body) == (200, {"status": "ignored", "reason": "test"})


DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"null",
        b'"text"',
        b"{",
        b'{"guid":NaN}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b"{} {}",
        DEEP,
        gzip.compress(b"{}"),
        b"TO=%2B12015550100",
    ],
    ids=[
        "array",
        "null",
        "string",
        "cut",
        "nan",
        "surrogate",
        "utf8",
        "two",
        "deep",
        "gzip",
        "form",
    ],
)
def test_what_is_not_one_json_object_is_400(running: Any, body: bytes) -> None:
    """Depth bombs, NaN, gzip and lone surrogates are told apart from events."""
    assert error_code(running.post(body)) == (400, "not_json")


@pytest.mark.parametrize("tenant_id", [None, "", 7, "../x", "a/b", "a" * 65, "é", "x\n", ["x"]])
def test_a_missing_or_malformed_tenant_is_400(running: Any, good: Any, tenant_id: object) -> None:
    """The id is checked before it touches a path."""
    good["externalTenantId"] = tenant_id
    assert error_code(running.post(good)) == (400, "bad_tenant_id")


def test_no_credential_is_401_where_the_tenant_wants_one(running: Any, good: Any) -> None:
    """Loopback waives nothing for a tenant that has credentials."""
    good["externalTenantId"] = GUARDED
    assert error_code(running.post(good)) == (401, "no_credential")


def test_a_wrong_credential_and_an_unknown_tenant_get_the_same_answer(
    running: Any, good: Any
) -> None:
    """Nobody learns which tenants exist."""
    answers = []
    for tenant_id in (GUARDED, "nobody-of-that-name"):
        status, body = running.post(good | {"externalTenantId": tenant_id}, x_api_key="wrong-key")
        del body["error"]["timestamp"], body["error"]["requestId"]
        answers.append((status, body))
    assert answers[0] == answers[1]
    assert answers[0][0] == 403


def test_one_tenants_key_does_not_open_another(running: Any, good: Any) -> None:
    """Credentials belong to tenants."""
    good["externalTenantId"] = OTHER
    assert error_code(running.post(good, x_api_key=API_KEY)) == (403, "forbidden")


def test_the_right_key_opens_the_door(running: Any, good: Any) -> None:
    """The event goes out for the tenant whose key it is."""
    good["externalTenantId"] = GUARDED
    assert running.post(good, x_api_key=API_KEY)[0] == 202
    assert running.settled(good["guid"], GUARDED).status is Status.SENT


@pytest.mark.parametrize(
    "headers",
    [{"x_forwarded_for": "10.0.0.1"}, {"forwarded": "for=10.0.0.1"}, {"host": "sms.example.com"}],
    ids=["x-forwarded-for", "forwarded", "host"],
)
def test_loopback_waives_nothing_behind_a_proxy_or_for_a_foreign_host(
    running: Any, good: Any, headers: dict[str, str]
) -> None:
    """A page in a browser or a proxy on this machine cannot send for an open tenant."""
    assert error_code(running.post(good, **headers)) == (401, "no_credential")
    assert error_code(running.post(good, x_api_key="any-key-at-all", **headers)) == (
        403,
        "forbidden",
    )


def test_a_broken_document_is_503_with_retry_after(running: Any, good: Any) -> None:
    """Our fault, not the caller's; the error names no value."""
    (running.tenants / "broken.json").write_text('{"twilio_api_url": "https://evil.example.com"}')
    good["externalTenantId"] = "broken"
    answer = running.pool.request("POST", f"{running.url}/ci360/events", body=json.dumps(good))
    assert answer.status == 503
    assert answer.headers["Retry-After"].isdecimal()
    assert "evil" not in answer.data.decode()


def test_another_event_type_is_ignored_and_not_recorded(running: Any, good: Any) -> None:
    """A plain event that an endpoint is associated with asks for no message."""
    good["eventType"] = "customEvent"
    status, body = running.post(good)
    assert (status, body["status"]) == (200, "ignored")
    assert running.command("trace", good["guid"]).returncode == 1


@pytest.mark.parametrize("guid", [None, "", 5, "g" * 257, {"a": 1}])
def test_without_a_usable_guid_an_event_is_422(running: Any, good: Any, guid: object) -> None:
    """There is no key under which to record it."""
    good["guid"] = guid
    status, body = running.post(good)
    assert status == 422
    assert body["error"]["details"][0]["field"] == "guid"


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("eventType",), None, "eventType"),
        (("eventType",), 7, "eventType"),
        (("impression",), "text", "impression"),
        (("impression", "creativeContent"), 7, "impression.creativeContent"),
        (("impression", "isControlGroup"), "yes", "impression.isControlGroup"),
        (("date", "generatedTimestamp"), "soon", "date.generatedTimestamp"),
        (("date", "generatedTimestamp"), True, "date.generatedTimestamp"),
        (("date", "generatedTimestamp"), 4_102_444_800_000, "date.generatedTimestamp"),
        (("date", "generatedTimestamp"), 10**30, "date.generatedTimestamp"),
        (("outboundProperties",), [], "outboundProperties"),
        (("contactResponse", "responseTrackingCode"), [1], "contactResponse.responseTrackingCode"),
    ],
)
def test_a_wrong_field_is_422_and_recorded(
    running: Any, good: Any, path: tuple[str, ...], value: object, field: str
) -> None:
    """The answer names the field, and the trace has it too."""
    inner = good
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    status, body = running.post(good)
    assert status == 422
    assert [detail["field"] for detail in body["error"]["details"]] == [field]
    assert running.settled(good["guid"]).reason == "invalid_event"


def test_a_wrong_field_under_a_known_key_answers_as_a_duplicate(running: Any, good: Any) -> None:
    """What was sent stays sent, whatever comes under its key later."""
    assert running.post(good)[0] == 202
    running.settled(good["guid"])
    good["date"]["generatedTimestamp"] = "soon"
    status, body = running.post(good)
    assert (status, body["status"], body["duplicate"]) == (200, "sent", True)


def test_a_timestamp_as_digits_in_a_string_is_a_number(running: Any, good: Any) -> None:
    """Custom bodies quote what CI360 does not."""
    good["date"]["generatedTimestamp"] = str(good["date"]["generatedTimestamp"])
    assert running.post(good)[0] == 202


def test_a_clock_that_runs_ahead_a_little_is_no_error(running: Any) -> None:
    """Real events came with an age below zero; it counts as zero."""
    event = running.event(f"TO:{running.number()};\nFrom the near future", age=-30)
    assert running.post(event)[0] == 202


def test_without_a_timestamp_the_age_counts_from_arrival(running: Any, good: Any) -> None:
    """An event need not say when it was made."""
    good["date"] = None
    assert running.post(good)[0] == 202


def test_a_customer_of_the_control_group_gets_nothing(running: Any) -> None:
    """It is recorded, so that the question why has its answer."""
    number = running.number()
    event = running.event(f"TO:{number};\nNot for you", control_group=True)
    status, body = running.post(event)
    assert (status, body["status"], body["reason"]) == (200, "suppressed", "control_group")
    assert running.trace(event["guid"])["history"][0]["reason"] == "control_group"
    assert not running.made_for(number)


def test_a_stale_event_is_expired_and_recorded(running: Any) -> None:
    """The time to live is a day unless set otherwise."""
    number = running.number()
    event = running.event(f"TO:{number};\nYesterday's news", age=2 * 86_400)
    status, body = running.post(event)
    assert (status, body["status"]) == (200, "expired")
    assert running.trace(event["guid"])["status"] == "expired"
    assert not running.made_for(number)


def test_an_unsendable_creative_is_422_and_recorded(running: Any) -> None:
    """The answer says which line; so does the trace."""
    event = running.event("TO:{{phone}};\nHello {{firstname}}")
    status, body = running.post(event)
    assert (status, body["status"], body["reason"]) == (422, "refused", "merge_tag")
    assert body["error"]["code"] == "merge_tag"
    told = running.trace(event["guid"])
    assert told["status"] == "refused"
    assert [problem["issue"][:7] for problem in told["problems"]] == ["line 1:", "line 2:"]


def test_a_duplicate_answers_with_the_current_state(running: Any, good: Any) -> None:
    """202 while it is under way, 200 with the SID once it is sent; nothing goes out twice."""
    assert running.post(good) == (202, {"status": "accepted", "guid": good["guid"]})
    entry = running.settled(good["guid"])
    status, body = running.post(good)
    assert status == 200
    assert body == {"status": "sent", "guid": good["guid"], "sid": entry.sid, "duplicate": True}
    assert len(running.made_for(entry.message.to)) == 1
    assert "duplicate" in [step["decision"] for step in running.trace(good["guid"])["history"]]


def test_a_duplicate_of_a_refused_event_is_422_again(running: Any) -> None:
    """The answer does not change with asking."""
    event = running.event("No recipient here")
    assert [running.post(event)[0] for _ in range(2)] == [422, 422]


def test_the_content_type_does_not_matter(running: Any, good: Any) -> None:
    """CI360's agent sends text/plain."""
    for content_type in ("application/json", "application/x-www-form-urlencoded", ""):
        good["guid"] = str(uuid.uuid4())
        assert running.post(good, content_type=content_type)[0] == 202


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_other_methods_are_405(running: Any, method: str) -> None:
    """The endpoint takes POST."""
    answer = running.pool.request(method, f"{running.url}/ci360/events")
    assert answer.status == 405
    assert answer.headers["Allow"] == "POST"


def test_health_readiness_and_metrics_answer(running: Any, good: Any) -> None:
    """What an operator's monitoring asks for."""
    running.post(good)
    running.settled(good["guid"])
    answers = {
        path: running.pool.request("GET", f"{running.url}{path}")
        for path in ("/healthz", "/readyz", "/metrics", "/nothing")
    }
    assert {path: answer.status for path, answer in answers.items()} == {
        "/healthz": 200,
        "/readyz": 200,
        "/metrics": 200,
        "/nothing": 404,
    }
    metrics = answers["/metrics"].data.decode()
    assert 'ci360_twilio_events_total{decision="accepted",reason=""}' in metrics
    assert 'ci360_twilio_attempts_total{outcome="made",reason=""}' in metrics
    assert "ci360_twilio_ledger_up 1.0" in metrics
