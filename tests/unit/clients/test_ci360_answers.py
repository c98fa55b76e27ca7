"""The client for CI360's gateway: what its answers mean, and those that do not come."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from ci360_twilio.clients.connections import MAX_ANSWER
from ci360_twilio.core.ci360 import EVENTS_PATH
from ci360_twilio.core.tenant import TenantId, parse_tenant
from ci360_twilio.errors import Trouble
from ci360_twilio.twin.faults import Ending

if TYPE_CHECKING:
    from tests.unit.clients.conftest import Gateway, Web

MakeWeb = Callable[..., "Web"]
AWAY, THROTTLED, DENIED, REFUSED = (
    Trouble.AWAY,
    Trouble.THROTTLED,
    Trouble.DENIED,
    Trouble.REFUSED,
)

pytestmark = pytest.mark.usefixtures("no_proxies")


# What CI360 answers


@pytest.mark.parametrize(
    ("status", "body", "trouble"),
    [
        (300, b"", DENIED),
        (301, b"", DENIED),
        (302, b"", DENIED),
        (304, b"", DENIED),
        (307, b"", DENIED),
        (308, b"", DENIED),
        (400, b'{"message":"there is no such event"}', REFUSED),
        (400, b'{"message":"MKTCMN74224: bad token"}', DENIED),
        (400, b"", REFUSED),
        (400, b"[" * 100_000, REFUSED),
        (401, b"", DENIED),
        (401, b"<html>", DENIED),
        (403, b"", THROTTLED),
        (403, b"<html>Request blocked</html>", THROTTLED),
        (403, b'{"message":"slow down"}', THROTTLED),
        (403, b'{"httpStatusCode":403,"message":"MKTCMN74224: bad token"}', DENIED),
        (403, b'{"message":"tenant missing (MKTCMN74248)"}', DENIED),
        (403, b'{"message":"MKTCMN74261"}', DENIED),
        (403, b'{"message":"MKTCMN74265"}', DENIED),
        (403, b"MKTCMN74282 not licensed", DENIED),
        (403, b'{"message":"MKTCMN74299"}', THROTTLED),
        (404, b"", DENIED),
        (404, b"<html>nothing here</html>", DENIED),
        (404, b"[]", DENIED),
        (404, b'{"message":"no such job"}', REFUSED),
        (405, b"", DENIED),
        (405, b'{"message":"no"}', REFUSED),
        (407, b"", REFUSED),
        (408, b"", AWAY),
        (409, b"", REFUSED),
        (413, b"", REFUSED),
        (415, b"", REFUSED),
        (422, b'{"message":"no such attribute"}', REFUSED),
        (429, b"", THROTTLED),
        (429, b'{"message":"MKTCMN74224"}', DENIED),
        (500, b'{"message":"oops"}', AWAY),
        (502, b"<html>", AWAY),
        (503, b"", AWAY),
        (504, b"", AWAY),
        (599, b"", AWAY),
    ],
)  # fmt: skip
def test_an_error_is_told_by_its_status_and_its_id(
    gateway: Gateway, web: MakeWeb, status: int, body: bytes, trouble: Trouble
) -> None:
    """A 403 means too much as well as a bad token; the request is made once."""
    served = web().say(status, body)
    error = gateway.failure(lambda: gateway.tell(served))
    assert (error.trouble, error.reason) == (trouble, f"ci360_http_{status}")
    assert str(status) in error.message
    assert len(served.requests) == 1


@pytest.mark.parametrize("status", [403, 429, 503])
@pytest.mark.parametrize(
    ("asked", "seconds"),
    [("3", 3.0), ("0", 0.0), ("1.5", 1.5), ("-1", None), ("nan", None), ("1e999", None),
     ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("", None), (None, None)],
)  # fmt: skip
def test_ci360_may_say_when_to_come_again(
    gateway: Gateway, web: MakeWeb, status: int, asked: str | None, seconds: float | None
) -> None:
    """In seconds; a date, or nonsense, is as if it were not there."""
    headers = [] if asked is None else [f"Retry-After: {asked}"]
    served = web().say(status, b"", *headers)
    assert gateway.failure(lambda: gateway.tell(served)).retry_after == seconds


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"message":"there is no  such\\n event"}', "there is no such event"),
        (b'{"httpStatusCode":400,"message":"no"}', "no"),
        (b'{"message":7}', '{"message":7}'),
        (b'{"error":"no"}', '{"error":"no"}'),
        (b" <html>\r\n<b>no</b> ", "<html> <b>no</b>"),
        (b"\xff\xfeno", "\ufffd\ufffdno"),
        (b"", ""),
        (json.dumps({"message": "x" * 600}).encode(), "x" * 500),
        (b"y" * (MAX_ANSWER + 100), "y" * 500),
    ],
    ids=range(9),
)
def test_what_ci360_says_is_kept_for_people(
    gateway: Gateway, web: MakeWeb, body: bytes, said: str
) -> None:
    """On one line and not endlessly; never in the error's own words."""
    error = gateway.failure(lambda: gateway.tell(web().say(400, body)))
    assert error.said == said
    assert error.message == "CI360 answered 400."


def test_a_redirect_is_not_followed(gateway: Gateway, web: MakeWeb) -> None:
    """The token would go where nobody allowed."""
    elsewhere = web().say(200)
    served = web().say(307, b"", f"Location: {elsewhere.url}{EVENTS_PATH}")
    assert gateway.failure(lambda: gateway.tell(served)).trouble is DENIED
    assert elsewhere.requests == []


# Answers that do not come


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        (Ending.ANSWERED, "connection_lost"),
        (Ending.RESET, "connection_lost"),
        (Ending.SILENT, "read_timeout"),
    ],
)
def test_an_answer_that_is_lost_leaves_open_what_ci360_heard(
    gateway: Gateway, web: MakeWeb, ending: Ending, reason: str
) -> None:
    """It is told once more, under the same key."""
    served = web(ending)
    timeout = 0.3 if ending is Ending.SILENT else 10.0
    error = gateway.failure(lambda: gateway.tell(served, timeout=timeout))
    assert (error.trouble, error.reason) == (AWAY, reason)
    assert len(served.requests) == 1


@pytest.mark.parametrize(
    "whole",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_an_answer_that_is_no_http_is_a_lost_one(
    gateway: Gateway, web: MakeWeb, whole: bytes
) -> None:
    """Whatever it is."""
    served = web().say_raw(whole)
    assert gateway.failure(lambda: gateway.tell(served)).trouble is AWAY


def test_an_acknowledgement_may_break_off(gateway: Gateway, web: MakeWeb) -> None:
    """It was given by then, and its connection is not used again."""
    served = web(Ending.CUT).say(200, b"x" * 1000)
    for _ in range(2):
        gateway.tell(served)
    assert len(served.requests) == 2


def test_where_nobody_listens_ci360_is_away(gateway: Gateway) -> None:
    """Nothing was told."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    document = {
        "twilio_api_url": "https://api.twilio.com",
        "twilio_account_sid": f"AC{'a1' * 16}",
        "twilio_auth_token": "a-token",
        "ci360_api_url": url,
        "ci360_client_secret": "s3cret-Xyzzy",
    }
    hosts = (url.removeprefix("http://"),)
    tenant = parse_tenant(json.dumps(document), TenantId("demo"), (), hosts)
    error = gateway.failure(lambda: gateway.client.tell(tenant, gateway.event))
    assert (error.trouble, error.reason) == (AWAY, "connect_refused")
