"""The routes: statuses and bodies exactly as the contract has them, and who is let in where."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from twilio.request_validator import RequestValidator

from ci360_twilio.core.entry import UNFINISHED, Entry, Status, key_of
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.http import (
    EVENTS,
    Request,
    Response,
    Routes,
    came_directly,
    is_loopback,
    outcome,
    respond,
)
from ci360_twilio.errors import LedgerUnavailable, LedgerUnusable
from ci360_twilio.flow.accept import Acceptance, Accepted, Answer
from ci360_twilio.flow.addresses import STATUS
from ci360_twilio.flow.arrival import Arrival
from ci360_twilio.flow.settle import Settlement
from ci360_twilio.flow.webhook import MAX_WEBHOOK, Doorkeeper
from ci360_twilio.logs import Log
from ci360_twilio.stores.memory import MemoryStore
from ci360_twilio.twin.events import outbound_event
from ci360_twilio.wiring import Parts

if TYPE_CHECKING:
    from tests.conftest import Twilio

TENANT = TenantId("af5af6b8f500013eb0c90001")
LOCAL = {"host": "127.0.0.1:8360"}
RIGHT_KEY = {"x-api-key": "the-right-key"}

Connect = Callable[..., Parts]


@pytest.fixture
def parts(connector: Connect) -> Parts:
    """A connector on a ledger in memory, with the usual tenant, which is open."""
    return connector(ledger="memory:")


@pytest.fixture
def routes(parts: Parts) -> Routes:
    """The routes of a server on loopback."""
    return Routes(parts.acceptance, parts.store, parts.log, on_loopback=True)


def event(creative: str = "TO:+12015550142;\nHello", age: float = 1, **members: Any) -> Any:
    """Make an event that is a second old, with a new guid."""
    usual = {"guid": str(uuid.uuid4()), "tenant_id": TENANT}
    generated_at = datetime.now(UTC) - timedelta(seconds=age)
    return outbound_event(**(usual | members), creative=creative, generated_at=generated_at)


def post(
    routes: Routes, body: object, headers: dict[str, str] | None = None, **more: Any
) -> Response:
    """Post a body to the endpoint, from this machine unless told."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = Request(
        method="POST",
        path=EVENTS,
        headers=LOCAL if headers is None else headers,
        body=raw,
        **more,
    )
    return routes.handle(request)


def get(routes: Routes, path: str, method: str = "GET", **more: Any) -> Response:
    """Ask for a page, from this machine unless told."""
    usual: dict[str, Any] = {"headers": LOCAL, "peer": "127.0.0.1"}
    return routes.handle(Request(method=method, path=path, **(usual | more)))


def read(response: Response) -> dict[str, Any]:
    """Read a body."""
    body: dict[str, Any] = json.loads(response.body)
    return body


def error_of(response: Response) -> dict[str, Any]:
    """Read an error, having looked at its shape."""
    body = read(response)
    error: dict[str, Any] = body["error"]
    assert set(error) == {"code", "message", "timestamp", "requestId", "details"}
    assert datetime.fromisoformat(error["timestamp"]).utcoffset() == timedelta(0)
    assert all(set(detail) == {"field", "issue"} for detail in error["details"])
    assert error["requestId"]
    assert response.content_type == "application/json"
    return error


# Bodies


def test_an_accepted_event_is_a_202_with_its_guid(routes: Routes) -> None:
    """And nothing else."""
    sent = event()
    response = post(routes, sent)
    assert (response.status, read(response)) == (202, {"status": "accepted", "guid": sent["guid"]})
    assert response.content_type == "application/json"
    assert response.headers == ()


def test_a_duplicate_says_so(routes: Routes) -> None:
    """With the status that the entry has now."""
    sent = event()
    post(routes, sent)
    response = post(routes, sent)
    expected = {"status": "accepted", "guid": sent["guid"], "duplicate": True}
    assert (response.status, read(response)) == (202, expected)


def test_the_endpoints_test_is_told_why_nothing_happened(routes: Routes) -> None:
    """200, whoever asks from wherever."""
    response = post(routes, b"{}", {})
    assert (response.status, read(response)) == (200, {"status": "ignored", "reason": "test"})


def test_another_event_type_is_ignored_with_its_guid(routes: Routes) -> None:
    """200."""
    sent = event() | {"eventType": "customEvent"}
    response = post(routes, sent)
    expected = {"status": "ignored", "guid": sent["guid"], "reason": "event_type"}
    assert (response.status, read(response)) == (200, expected)


@pytest.mark.parametrize(
    ("sent", "status", "reason"),
    [
        (event(control_group=True), "suppressed", "control_group"),
        (event(age=90_000), "expired", "expired"),
    ],
    ids=["control group", "stale"],
)
def test_what_is_not_sent_on_purpose_is_a_200(
    routes: Routes, sent: Any, status: str, reason: str
) -> None:
    """With its reason."""
    response = post(routes, sent)
    expected = {"status": status, "guid": sent["guid"], "reason": reason}
    assert (response.status, read(response)) == (200, expected)


def test_a_refused_event_is_a_422_in_sas_own_shape(routes: Routes) -> None:
    """Beside status, guid and reason stands the error, with a detail for each problem."""
    sent = event("TO:{{phone}};\nHello {{name}}")
    response = post(routes, sent, request_id="r-1")
    body, error = read(response), error_of(response)
    assert response.status == 422
    assert {name: body[name] for name in ("status", "guid", "reason")} == {
        "status": "refused",
        "guid": sent["guid"],
        "reason": "merge_tag",
    }
    assert (error["code"], error["requestId"]) == ("merge_tag", "r-1")
    assert [detail["issue"][:7] for detail in error["details"]] == ["line 1:", "line 2:"]
    again = read(post(routes, sent))
    assert again["duplicate"] is True
    assert again["status"] == "refused"


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"[]", LOCAL, 400, "not_json"),
        (event() | {"externalTenantId": "../x"}, LOCAL, 400, "bad_tenant_id"),
        (event(), {}, 401, "no_credential"),
        (event(), {"x-api-key": "x"}, 403, "forbidden"),
        (event(tenant_id="nobody"), LOCAL, 403, "forbidden"),
        (b" " * 1_048_577, LOCAL, 413, "too_large"),
        (event() | {"guid": None}, LOCAL, 422, "unprocessable"),
    ],
    ids=["json", "tenant", "no credential", "credential", "unknown", "size", "guid"],
)
def test_what_is_turned_away_is_told_in_sas_own_shape(
    routes: Routes, body: object, headers: dict[str, str], status: int, code: str
) -> None:
    """An error and nothing beside it."""
    response = post(routes, body, headers)
    assert response.status == status
    assert error_of(response)["code"] == code
    assert set(read(response)) == {"error"}


def test_a_401_says_how_to_come_in(routes: Routes) -> None:
    """HTTP asks for the header."""
    assert dict(post(routes, event(), {}).headers) == {"WWW-Authenticate": "Bearer"}


def test_a_document_that_cannot_be_used_is_a_503_to_be_tried_again(
    routes: Routes, tenants_folder: Callable[..., Path]
) -> None:
    """With ``Retry-After`` in seconds, and no value of the document."""
    tenants_folder("broken", twilio_api_url="https://secret.example.com")
    response = post(routes, event(tenant_id="broken"))
    assert (response.status, error_of(response)["code"]) == (503, "tenant_broken")
    assert dict(response.headers)["Retry-After"].isdecimal()
    assert b"secret.example.com" not in response.body


class Away(MemoryStore):
    """A ledger that cannot be written, nor probed."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error
        self.probes = 0

    def insert_many(self, *_: object, **__: object) -> Any:
        """Fail."""
        raise self.error

    def probe(self) -> None:
        """Fail."""
        self.probes += 1
        raise self.error


def with_store(parts: Parts, store: MemoryStore, log: Log | None = None) -> Routes:
    """Make the routes of a server on loopback with another ledger."""
    log = log or parts.log
    acceptance = Acceptance(store, parts.tenants, lambda: datetime.now(UTC), log)
    return Routes(acceptance, store, log, on_loopback=True)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LedgerUnavailable("Locked."), "ledger_unavailable"),
        (LedgerUnusable("Damaged."), "ledger_unusable"),
        (RuntimeError("+12015550142"), "ledger_unavailable"),
    ],
)
def test_a_ledger_that_cannot_write_is_a_503_to_be_tried_again(
    parts: Parts, error: Exception, code: str
) -> None:
    """Also where it fails in a way that nobody foresaw."""
    response = post(with_store(parts, Away(error)), event())
    assert (response.status, error_of(response)["code"]) == (503, code)
    assert "Retry-After" in dict(response.headers)
    assert b"2015550142" not in response.body


def entry(status: Status, **members: Any) -> Entry:
    """Make an entry as it would be answered."""
    now = datetime.now(UTC)
    return Entry(
        key=key_of(TENANT, "g"),
        tenant_id=TENANT,
        guid="g",
        status=status,
        created_at=now,
        due_at=now,
        expires_at=now,
        purge_at=now,
        **members,
    )


@pytest.mark.parametrize("status", list(Status))
def test_each_status_has_its_answer(status: Status) -> None:
    """202 while accepted, sending, unknown or held; 422 refused; else 200."""
    response = respond(Accepted(entry=entry(status, sid="SM1"), duplicate=True), "r")
    expected = 422 if status is Status.REFUSED else 202 if status in UNFINISHED else 200
    assert response.status == expected
    body = read(response)
    assert (body["status"], body["guid"], body["duplicate"]) == (status, "g", True)
    assert body["sid"] == "SM1"


def test_an_outcome_that_failed_is_an_error_with_the_entry_beside_it() -> None:
    """Section 7's 502: the code is the reason, and the detail names it."""
    shown = Accepted(entry=entry(Status.UNKNOWN, reason="read_timeout"))
    response = outcome(shown, 502, "r-7")
    body, error = read(response), error_of(response)
    assert response.status == 502
    assert (body["status"], body["guid"], body["reason"]) == ("unknown", "g", "read_timeout")
    assert (error["code"], error["requestId"]) == ("read_timeout", "r-7")
    assert error["details"] == [{"field": "twilio", "issue": "read_timeout"}]


def test_a_refused_entry_is_a_422_whatever_was_asked_for() -> None:
    """There is no other answer for it."""
    refused = Accepted(entry=entry(Status.REFUSED, reason="twilio_21610"))
    assert outcome(refused, 502, "r").status == 422


# Who is let in: the waivers of section 2


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:8360",
        "127.8.8.8",
        "localhost",
        "localhost:80",
        "LocalHost:8360",
        "[::1]",
        "[::1]:8360",
    ],
)
def test_a_loopback_host_without_a_proxy_is_local(routes: Routes, host: str) -> None:
    """Names of hosts have no case."""
    assert post(routes, event(), {"host": host}).status == 202


@pytest.mark.parametrize(
    "host",
    [
        "",
        "sms.example.com",
        "localhost.example.com",
        "127.0.0.1.example.com",
        "example.com:127",
        "10.0.0.1",
        "0.0.0.0:8360",
        "192.168.0.1",
        "[::2]:8360",
        "[::1",
        "[::1].example.com",
        "::1",
        "user@127.0.0.1",
        "2130706433",
        "127.1",
        "localhost,sms.example.com",
    ],
)
def test_a_foreign_host_is_not_local(routes: Routes, host: str) -> None:
    """A name in a browser may have been bent to loopback."""
    assert post(routes, event(), {"host": host}).status == 401
    assert post(routes, event(), {"host": host, "x-api-key": "x"}).status == 403


def test_a_request_without_a_host_is_not_local(routes: Routes) -> None:
    """HTTP/1.0 need not name one."""
    assert post(routes, event(), {}).status == 401


@pytest.mark.parametrize(
    "header",
    [
        "forwarded",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-anything",
        "x-real-ip",
        "x-client-ip",
        "cf-connecting-ip",
    ],
)
def test_a_request_that_came_through_a_proxy_is_not_local(routes: Routes, header: str) -> None:
    """Whatever the header says, its being there is enough."""
    for value in ("203.0.113.9", "127.0.0.1", ""):
        assert post(routes, event(), {**LOCAL, header: value}).status == 401


def test_a_server_that_others_can_reach_waives_nothing(parts: Parts) -> None:
    """Not bound to loopback, or with a public address."""
    routes = Routes(parts.acceptance, parts.store, parts.log, on_loopback=False)
    assert post(routes, event()).status == 401
    assert post(routes, event(), {**LOCAL, "x-api-key": "x"}).status == 403


def test_a_gateway_that_checked_a_key_waives_the_tenants(parts: Parts) -> None:
    """Section 2 (b): the edge says so, never a header."""
    routes = Routes(parts.acceptance, parts.store, parts.log)
    assert post(routes, event(), {}, gateway_checked=True).status == 202
    assert post(routes, event(), {"x-gateway-checked": "true"}).status == 401


def test_authenticated_upstream_waives_the_tenants(parts: Parts) -> None:
    """Section 2 (c): the setting says so for every request."""
    routes = Routes(parts.acceptance, parts.store, parts.log, authenticated_upstream=True)
    headers = {"host": "sms.example.com", "x-forwarded-for": "203.0.113.9"}
    assert post(routes, event(), headers).status == 202


def test_no_waiver_is_for_a_tenant_with_credentials(
    parts: Parts, tenants_folder: Callable[..., Path]
) -> None:
    """Who has them must see them, everywhere."""
    tenants_folder("guarded", api_keys=["the-right-key"])
    routes = Routes(
        parts.acceptance, parts.store, parts.log, on_loopback=True, authenticated_upstream=True
    )
    sent = event(tenant_id="guarded")
    assert post(routes, sent, gateway_checked=True).status == 401
    assert post(routes, sent, LOCAL | {"x-api-key": "wrong"}).status == 403
    assert post(routes, sent, LOCAL | RIGHT_KEY).status == 202


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104 - only looked at
        ("::", False),
        ("", False),
        ("example.com", False),
        ("10.0.0.1", False),
    ],
)
def test_which_addresses_are_of_this_machine(address: str, local: bool) -> None:
    """An address that listens on all is not loopback."""
    assert is_loopback(address) is local


def test_came_directly_looks_at_lower_case_names() -> None:
    """The edges lower them."""
    assert came_directly(LOCAL)
    assert not came_directly(LOCAL | {"x-forwarded-for": "1"})


# Methods and paths


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "post"])
def test_events_are_posted(routes: Routes, method: str) -> None:
    """Any other method is a 405, and nothing is taken from its body."""
    response = routes.handle(
        Request(method=method, path=EVENTS, headers=LOCAL, body=json.dumps(event()).encode())
    )
    assert response.status == 405
    assert ("Allow", "POST") in response.headers
    assert error_of(response)["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_pages_are_read(routes: Routes, path: str) -> None:
    """``GET`` and ``HEAD``; anything else is a 405."""
    response = get(routes, path, "POST")
    assert response.status == 405
    assert ("Allow", "GET, HEAD") in response.headers


@pytest.mark.parametrize(
    "path", ["/", "", "/ci360", "/ci360/events/", "/CI360/EVENTS", "//ci360/events", "/metrics/x"]
)
def test_any_other_path_is_a_404(routes: Routes, path: str) -> None:
    """In the same shape as any error."""
    for method in ("GET", "POST"):
        response = get(routes, path, method)
        assert (response.status, error_of(response)["code"]) == (404, "not_found")


def test_a_batch_answers_each_request_in_its_place(routes: Routes) -> None:
    """Also where one of them is no POST."""
    first, second = event(), event()
    methods = {"POST": first, "GET": first, "PUT": second}
    requests = [
        Request(method=method, path=EVENTS, headers=LOCAL, body=json.dumps(body).encode())
        for method, body in [*methods.items(), ("POST", second)]
    ]
    assert [response.status for response in routes.events(requests)] == [202, 405, 405, 202]
    assert routes.events([]) == []


# Health, readiness and metrics


def test_health_says_that_the_process_answers(routes: Routes) -> None:
    """Whoever asks."""
    response = get(routes, "/healthz", headers={}, peer="203.0.113.9")
    assert response.status == 200
    assert read(response)["status"] == "ok"


def test_readiness_is_a_write_that_was_committed(routes: Routes) -> None:
    """Whoever asks."""
    response = get(routes, "/readyz", headers={}, peer="203.0.113.9")
    assert (response.status, read(response)) == (200, {"status": "ready"})


@pytest.mark.parametrize(
    "error", [LedgerUnavailable("Locked."), LedgerUnusable("Damaged."), OSError("disk")]
)
def test_a_broken_ledger_is_not_ready(parts: Parts, error: Exception) -> None:
    """503, to be tried again."""
    response = get(with_store(parts, Away(error)), "/readyz")
    assert response.status == 503
    assert "Retry-After" in dict(response.headers)
    error_of(response)


def test_asking_often_costs_no_writes(parts: Parts) -> None:
    """Good news and bad are kept for a moment."""
    store = Away(LedgerUnavailable("Locked."))
    routes = with_store(parts, store)
    assert {get(routes, "/readyz").status for _ in range(50)} == {503}
    assert store.probes == 1


def metrics_of(parts: Parts, token: str | None) -> Routes:
    """Make routes with metrics."""
    return Routes(
        parts.acceptance,
        parts.store,
        parts.log,
        metrics=lambda: (b"events_total 7\n", "text/plain; version=0.0.4"),
        metrics_token=token,
    )


@pytest.mark.parametrize(
    ("token", "peer", "headers", "status"),
    [
        (None, "127.0.0.1", LOCAL, 200),
        (None, "::1", {"host": "[::1]:8360"}, 200),
        (None, "203.0.113.9", LOCAL, 401),
        (None, "203.0.113.9", LOCAL | {"authorization": "Bearer "}, 401),
        (None, "203.0.113.9", LOCAL | {"authorization": "Bearer None"}, 401),
        (None, "", LOCAL, 401),
        (None, "127.0.0.1", LOCAL | {"x-forwarded-for": "203.0.113.9"}, 401),
        (None, "127.0.0.1", {"host": "sms.example.com"}, 401),
        ("t0ken", "203.0.113.9", {"authorization": "Bearer t0ken"}, 200),
        ("t0ken", "203.0.113.9", {"authorization": "bearer t0ken"}, 200),
        ("t0ken", "203.0.113.9", {"authorization": "Bearer t0ke"}, 401),
        ("t0ken", "203.0.113.9", {"authorization": "Basic t0ken"}, 401),
        ("t0ken", "203.0.113.9", {"authorization": "Bearer \u00fc\u20ac"}, 401),
        ("t0ken", "203.0.113.9", {"x-api-key": "t0ken"}, 401),
        ("t0ken", "127.0.0.1", LOCAL, 200),
    ],
)
def test_metrics_are_for_loopback_or_for_who_has_the_token(
    parts: Parts, token: str | None, peer: str, headers: dict[str, str], status: int
) -> None:
    """Numbers of a business are nobody else's."""
    response = get(metrics_of(parts, token), "/metrics", peer=peer, headers=headers)
    assert response.status == status
    if status == 200:
        assert (response.body, response.content_type[:10]) == (b"events_total 7\n", "text/plain")
    else:
        error_of(response)


def test_without_the_extra_there_are_no_metrics(routes: Routes) -> None:
    """Said to who may see them only."""
    assert get(routes, "/metrics").status == 404
    assert get(routes, "/metrics", peer="203.0.113.9").status == 401


def test_metrics_that_fail_are_a_503(parts: Parts) -> None:
    """Not a traceback."""

    def broken() -> tuple[bytes, str]:
        raise OSError("no space")

    routes = Routes(parts.acceptance, parts.store, parts.log, metrics=broken)
    assert get(routes, "/metrics").status == 503


# Twilio's callbacks


PUBLIC = "https://sms.example.com"
SID = "SM" + "1a" * 16


@pytest.fixture
def open_parts(connector: Connect) -> Parts:
    """A connector that Twilio can reach, with one message on its way."""
    parts = connector(ledger="memory:", public_url=PUBLIC)
    parts.store.insert_many([entry(Status.SENT, sid=SID, correlation="c1")])
    return parts


@pytest.fixture
def open_routes(open_parts: Parts) -> Routes:
    """The routes of a server that Twilio can reach."""
    return Routes(
        open_parts.acceptance, open_parts.store, open_parts.log, settlement=open_parts.settlement
    )


def callback(twilio: Twilio, status: str = "delivered", **changes: Any) -> Request:
    """Make a callback as Twilio posts it through a gateway; ``changes`` are of the request."""
    form = {
        "AccountSid": twilio.account,
        "MessageSid": SID,
        "MessageStatus": status,
        "To": "+12015550142",
    }
    url = f"{PUBLIC}{STATUS}{TENANT}?m=c1"
    members: dict[str, Any] = {
        "method": "POST",
        "path": f"{STATUS}{TENANT}",
        "query": "m=c1",
        "headers": {
            "host": "10.0.0.7:8360",
            "x-forwarded-for": "203.0.113.9",
            "content-type": "application/x-www-form-urlencoded",
            "x-twilio-signature": RequestValidator(twilio.token).compute_signature(url, form),
        },
        "body": urlencode(form).encode(),
    }
    return Request(**(members | changes))


def status_of(parts: Parts) -> Status:
    """Give the status of the message that was on its way."""
    (found,) = parts.store.get_many([key_of(TENANT, "g")])
    assert found is not None
    return found.status


def test_a_callback_is_a_204_without_a_body(
    open_parts: Parts, open_routes: Routes, twilio: Twilio
) -> None:
    """Durably written; the same again and one that says nothing are 204, too."""
    for _ in range(2):
        response = open_routes.handle(callback(twilio))
        assert (response.status, response.body, response.headers) == (204, b"", ())
        assert status_of(open_parts) is Status.DELIVERED


def test_the_tenants_own_credentials_are_not_asked_for(
    open_parts: Parts, open_routes: Routes, twilio: Twilio, tenants_folder: Callable[..., Path]
) -> None:
    """They are CI360's; Twilio signs. Nor do they open this route."""
    tenants_folder(api_keys=["the-right-key"])
    unsigned = callback(twilio, headers=LOCAL | RIGHT_KEY)
    assert open_routes.handle(unsigned).status == 403
    assert status_of(open_parts) is Status.SENT
    assert open_routes.handle(callback(twilio)).status == 204


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": {}},
        {"headers": LOCAL},
        {"query": "m=c2"},
        {"query": ""},
        {"body": b""},
        {"path": f"{STATUS}nobody"},
        {"path": f"{STATUS}../{TENANT}"},
        {"path": f"{STATUS}{TENANT}/"},
        {"path": STATUS},
    ],
    ids=str,
)
def test_what_is_not_signed_for_its_address_is_a_403_without_details(
    open_parts: Parts, open_routes: Routes, twilio: Twilio, changes: dict[str, Any]
) -> None:
    """The same one for everything, in SAS's own shape."""
    response = open_routes.handle(callback(twilio, **changes))
    error = error_of(response)
    assert (response.status, response.headers) == (403, ())
    assert (error["code"], error["details"]) == ("forbidden", [])
    assert error["message"] == "The request is not from this tenant's Twilio account."
    assert set(read(response)) == {"error"}
    assert status_of(open_parts) is Status.SENT


def test_a_large_callback_is_a_413(open_routes: Routes, twilio: Twilio) -> None:
    """Its limit is lower than an event's."""
    response = open_routes.handle(callback(twilio, body=b"x" * (MAX_WEBHOOK + 1)))
    assert (response.status, error_of(response)["code"]) == (413, "too_large")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "post"])
def test_callbacks_are_posted(
    open_parts: Parts, open_routes: Routes, twilio: Twilio, method: str
) -> None:
    """Any other method is a 405, for whatever tenant."""
    for path in (f"{STATUS}{TENANT}", f"{STATUS}nobody", STATUS):
        response = open_routes.handle(callback(twilio, method=method, path=path))
        assert (response.status, response.headers) == (405, (("Allow", "POST"),))
    assert status_of(open_parts) is Status.SENT


@pytest.mark.parametrize("path", ["/twilio/status", "/twilio", "/twilio/", "/Twilio/Status/x"])
def test_other_paths_of_twilios_are_404(open_routes: Routes, twilio: Twilio, path: str) -> None:
    """There is nothing there."""
    assert open_routes.handle(callback(twilio, path=path)).status == 404


def test_without_a_settlement_there_is_no_such_route(routes: Routes, twilio: Twilio) -> None:
    """As in the direct Lambda."""
    for method in ("GET", "POST"):
        assert routes.handle(callback(twilio, method=method)).status == 404


def test_a_batch_of_callbacks_answers_each_in_its_place(
    open_parts: Parts, open_routes: Routes, twilio: Twilio
) -> None:
    """In their order, whatever is among them."""
    requests = [
        callback(twilio, "sent"),
        callback(twilio, method="GET"),
        callback(twilio, "delivered"),
        callback(twilio, headers={}),
        callback(twilio, "read"),
    ]
    assert [one.status for one in open_routes.statuses(requests)] == [204, 405, 204, 403, 204]
    assert status_of(open_parts) is Status.READ
    assert open_routes.statuses([]) == []


class Blind(MemoryStore):
    """A ledger in which nothing can be found."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def marked(self, *_: object) -> Any:
        """Fail."""
        raise self.error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LedgerUnavailable("Locked."), "ledger_unavailable"),
        (LedgerUnusable("Damaged."), "ledger_unusable"),
        (ZeroDivisionError("+12015550142"), "ledger_unavailable"),
        (RecursionError(), "ledger_unavailable"),
    ],
)
def test_a_callback_that_cannot_be_written_is_a_503_to_be_tried_again(
    open_parts: Parts, twilio: Twilio, error: Exception, code: str
) -> None:
    """Also where it fails in a way that nobody foresaw; never another 5xx."""
    store, stream = Blind(error), io.StringIO()
    log = Log(stream)
    doorkeeper = Doorkeeper(open_parts.tenants, public_url=PUBLIC)
    settlement = Settlement(store, store, doorkeeper, lambda: datetime.now(UTC), log)
    routes = Routes(open_parts.acceptance, store, log, settlement=settlement)
    requests = [callback(twilio), callback(twilio, headers={}), callback(twilio)]
    failed, refused, again = routes.statuses(requests)
    for response in (failed, again):
        assert (response.status, error_of(response)["code"]) == (503, code)
        assert "Retry-After" in dict(response.headers)
    assert refused.status == 403
    assert "2015550142" not in stream.getvalue()


# Whatever happens


class Moody(Acceptance):
    """An acceptance that one event upsets, in a way that nobody foresaw."""

    def accept_many(self, arrivals: Sequence[Arrival]) -> list[Answer]:
        """Fail for a batch that holds that event."""
        if any(b"upsetting" in arrival.body for arrival in arrivals):
            raise ZeroDivisionError("upset by +12015550142")
        return super().accept_many(arrivals)


def test_one_broken_request_does_not_take_others_with_it(parts: Parts) -> None:
    """The rest of its batch is taken one by one; the error is logged by its type."""
    stream = io.StringIO()
    log, store = Log(stream), MemoryStore()
    acceptance = Moody(store, parts.tenants, lambda: datetime.now(UTC), log)
    routes = Routes(acceptance, store, log, on_loopback=True)
    bodies = [event(), event(guid="upsetting"), event()]
    requests = [
        Request(method="POST", path=EVENTS, headers=LOCAL, body=json.dumps(body).encode())
        for body in bodies
    ]
    responses = routes.events(requests)
    assert [response.status for response in responses] == [202, 503, 202]
    assert error_of(responses[1])["code"] == "ledger_unavailable"
    assert "ZeroDivisionError" in stream.getvalue()
    assert "2015550142" not in stream.getvalue()


class Gone(io.StringIO):
    """Standard error after its reader has gone."""

    def write(self, _text: str) -> int:
        """Fail as the system does."""
        raise BrokenPipeError(32, "Broken pipe")


def test_requests_are_answered_also_where_the_log_cannot_be_written(parts: Parts) -> None:
    """What was written to the ledger is answered as such."""
    routes = with_store(parts, MemoryStore(), Log(Gone()))
    assert post(routes, event()).status == 202
    assert post(routes, b"[]").status == 400
    assert get(routes, "/readyz").status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Basic !!!"},
        {"authorization": "Basic " + "A" * 100_000},
        {"authorization": "Bearer " + "." * 10_000},
        {"authorization": "\u00fc\udcff"},
        {"authorization": ""},
        {"authorization": "   "},
        {"x-api-key": ""},
        {"x-api-key": "\u00fc\udcff"},
        {"host": "[" * 10_000},
        {"host": "\x00"},
        {"content-encoding": "gzip"},
        {"content-type": "multipart/form-data"},
        {"expect": "100-continue"},
    ],
)
def test_hostile_headers_are_answered_like_others(
    routes: Routes, headers: dict[str, str], tenants_folder: Callable[..., Path]
) -> None:
    """With or without credentials of the tenant's own."""
    tenants_folder("guarded", api_keys=["k"], basic={"username": "u", "password": "p"})
    for tenant_id in (TENANT, "guarded"):
        response = post(routes, event(tenant_id=tenant_id), LOCAL | headers)
        assert response.status in (202, 401, 403)
