"""CI360's twin on a real socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
import urllib3

from ci360_twilio.core.ci360 import bearer_of
from ci360_twilio.twin.ci360 import EXPORT, Ci360Twin
from ci360_twilio.twin.ci360_server import MAX_FILE, Ci360Server
from ci360_twilio.twin.faults import Fault, FaultPlan

if TYPE_CHECKING:
    from tests.conftest import SetClock

TENANT, SECRET = "demo", "s3cret-Xyzzy"
EVENTS, BULK = "/marketingGateway/events", "/marketingGateway/bulkEventsFileLocation"
LOCATION, JOBS = "/marketingData/fileTransferLocation", "/marketingData/tableJobs/"
EVENT = {"eventName": "twilio_sms_failed", "datahub_id": "D1", "twilio_reason": "Grüße 👍"}


class Client:
    """A caller with a tenant's token, that waits ten seconds at most."""

    def __init__(self, url: str, pool: urllib3.PoolManager) -> None:
        self.url = url
        self._pool = pool

    def call(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> urllib3.BaseHTTPResponse:
        """Send one request, once; what is no bytes goes as JSON."""
        sent = body if isinstance(body, bytes) else None if body is None else json.dumps(body)
        given = {"Authorization": f"Bearer {bearer_of(TENANT, SECRET)}"} | headers
        return self._pool.request(
            method, self.url + path, body=sent, headers=given, retries=False, timeout=10.0
        )

    def move(self, method: str, address: str, body: bytes = b"") -> urllib3.BaseHTTPResponse:
        """Put or fetch a file, without any token."""
        return self._pool.request(method, address, body=body, retries=False, timeout=10.0)


@pytest.fixture
def twin(clock: SetClock) -> Ci360Twin:
    """A twin with one tenant."""
    return Ci360Twin(tenants={TENANT: SECRET}, clock=clock)


@pytest.fixture
def faults() -> FaultPlan:
    """A plan that can be changed while the twin serves."""
    return FaultPlan()


@pytest.fixture
def served(twin: Ci360Twin, faults: FaultPlan) -> Iterator[Ci360Server]:
    """The twin on a free port, where its files are, too."""
    with Ci360Server(twin, faults) as running:
        twin._base = lambda: running.url
        yield running


@pytest.fixture
def client(served: Ci360Server) -> Iterator[Client]:
    """A caller of the twin, over one connection."""
    with urllib3.PoolManager(num_pools=1, maxsize=1, block=True) as pool:
        yield Client(served.url, pool)


# The gateway


def test_an_event_is_taken(client: Client, twin: Ci360Twin) -> None:
    """With a token; and shown by the twin's own resource."""
    answer = client.call("POST", EVENTS, EVENT)
    assert (answer.status, answer.json()) == (200, {"status": "accepted"})
    (shown,) = client.call("GET", "/twin/events").json()["events"]
    assert shown == {
        "at": "2026-03-02T09:30:00Z",
        "tenant_id": TENANT,
        "name": "twilio_sms_failed",
        "identity": ["datahub_id", "D1"],
        "attributes": {"twilio_reason": "Grüße 👍"},
        "by_file": False,
    }
    assert len(twin.events) == 1


def test_a_file_of_events_is_put_where_the_twin_says(client: Client, twin: Ci360Twin) -> None:
    """The address is a credential of its own."""
    answer = client.call("POST", BULK, {"version": 1, "applicationId": "x"}).json()
    (link,) = answer["links"]
    assert link["rel"] == "self"
    put = client.move("PUT", link["href"], b"twilio_sms_failed,datahub_id,D2,a,b\n")
    assert (put.status, put.data) == (200, b"")
    assert [one.by_file for one in twin.events] == [True]
    again = client.move("PUT", link["href"], b"x")
    assert (again.status, again.json()["httpStatusCode"]) == (403, 403)


def test_preferences_are_put_and_taken_over(client: Client, twin: Ci360Twin) -> None:
    """By a job; and what an export wrote can be fetched."""
    address = client.call("POST", LOCATION).json()["signedURL"]
    assert client.move("PUT", address, b"sms_id,+12015550101,OPT-OUT,true\n").status == 200
    order = {"jobType": "CONTACT_PREFERENCE_SMS_IMPORT", "fileLocation": address}
    job = client.call("POST", JOBS, order).json()["id"]
    said = [client.call("GET", JOBS + job).json()["status"] for _ in range(4)]
    assert (said[0], said[-1]) == ("Queued", "Imported")
    assert twin.preferences["+12015550101"].opted_out
    job = client.call("POST", JOBS, {"jobType": EXPORT}).json()["id"]
    files = [client.call("GET", JOBS + job).json() for _ in range(3)][-1]["downloadItemList"]
    fetched = [client.move("GET", file["url"]) for file in files]
    assert [one.data.decode() for one in fetched] == [
        "identity_type,identity_value,preference_type,preference_value\n",
        "sms_id,+12015550101,OPT-OUT,true\n",
    ]


@pytest.mark.parametrize(
    ("method", "path"), [("POST", EVENTS), ("POST", BULK), ("POST", LOCATION), ("POST", JOBS), ("GET", JOBS + "1")]
)  # fmt: skip
@pytest.mark.parametrize("token", ["", "Bearer x", "Bearer \xe4.\xf6.\xfc", "Basic ZGVtbzp4"])
def test_without_a_token_nothing_is_done(
    client: Client, twin: Ci360Twin, method: str, path: str, token: str
) -> None:
    """401, with the agent's error id."""
    answer = client.call(method, path, EVENT, Authorization=token)
    assert answer.status == 401
    assert answer.json()["message"].startswith("MKTCMN74224")
    assert twin.events == ()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", EVENTS),
        ("PUT", EVENTS),
        ("POST", EVENTS + "/"),
        ("GET", BULK),
        ("GET", LOCATION),
        ("DELETE", JOBS + "1"),
        ("POST", "/marketingData/customerJobs"),
        ("POST", f"/files/{'0' * 32}"),
        ("GET", "/files/x"),
        ("GET", "/files/../../etc/passwd"),
        ("GET", "/"),
    ],
)
def test_other_resources_and_methods_are_not_there(client: Client, method: str, path: str) -> None:
    """An empty answer, after which the connection is used again."""
    for _ in range(2):
        answer = client.call(method, path, b"")
        assert (answer.status, answer.data) == (404, b"")
    assert client.call("POST", EVENTS, EVENT).status == 200


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (f"PUT / HTTP/1.1\r\nContent-Length: {MAX_FILE + 1}\r\n\r\n".encode(), 413),
    ],
)
def test_a_request_that_cannot_be_read_is_answered_and_left(
    served: Ci360Server, client: Client, head: bytes, status: int
) -> None:
    """In CI360's shape."""
    port = int(served.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(head)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["httpStatusCode"] == status
    assert client.call("POST", EVENTS, EVENT).status == 200


def test_a_mistake_in_the_twin_is_an_answer_and_no_traceback(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Even a broken clock ends in a 500, and nothing is printed."""
    broken = Ci360Twin(tenants={TENANT: SECRET}, clock=lambda: datetime.fromisoformat("never"))
    with Ci360Server(broken) as served, urllib3.PoolManager() as pool:
        answer = Client(served.url, pool).call("POST", EVENTS, EVENT)
    assert (answer.status, answer.json()["httpStatusCode"]) == (500, 500)
    assert capfd.readouterr() == ("", "")


# Faults


@pytest.mark.parametrize(
    ("fault", "status", "made"),
    [
        (Fault.HTTP_400, 400, 0),
        (Fault.HTTP_401, 401, 0),
        (Fault.HTTP_429, 403, 0),
        (Fault.HTTP_500, 500, 0),
        (Fault.HTTP_500_MADE, 500, 1),
        (Fault.HTTP_503, 503, 0),
        (Fault.HTTP_503_MADE, 503, 1),
        ("slow:0.01", 200, 1),
    ],
)
def test_faults_answer_as_ci360_does(
    client: Client, faults: FaultPlan, twin: Ci360Twin, fault: str, status: int, made: int
) -> None:
    """Too many requests are a bare 403; nothing of Twilio's is in any answer."""
    faults.burst(fault, requests=1)
    answer = client.call("POST", EVENTS, EVENT)
    assert answer.status == status
    assert b"more_info" not in answer.data
    if fault == Fault.HTTP_429:
        assert answer.data == b""
    elif status != 200:
        assert answer.json()["httpStatusCode"] == status
    assert len(twin.events) == made
    assert client.call("POST", EVENTS, EVENT).status == 200


@pytest.mark.parametrize(
    ("fault", "made"),
    [(Fault.RESET, 1), (Fault.REFUSE, 0), (Fault.UNREACHABLE, 0), ("hang:0.01", 1)],
)
def test_faults_break_connections(
    client: Client, faults: FaultPlan, twin: Ci360Twin, fault: str, made: int
) -> None:
    """Whether the event was taken, the client cannot know."""
    faults.burst(fault, requests=1)
    with pytest.raises(urllib3.exceptions.HTTPError):
        client.call("POST", EVENTS, EVENT)
    assert len(twin.events) == made
    assert client.call("POST", EVENTS, EVENT).status == 200


def test_faults_befall_files_too(client: Client, faults: FaultPlan, twin: Ci360Twin) -> None:
    """An address outlives one at which nothing was put."""
    href = client.call("POST", BULK, {}).json()["links"][0]["href"]
    faults.burst(Fault.HTTP_503, requests=1)
    assert client.move("PUT", href, b"a,datahub_id,1\n").status == 503
    assert twin.events == ()
    assert client.move("PUT", href, b"a,datahub_id,1\n").status == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", ""])  # noqa: S104
def test_only_loopback_is_served(twin: Ci360Twin, host: str) -> None:
    """The twin never listens where others could reach it."""
    with pytest.raises(ValueError, match="loopback"):
        Ci360Server(twin, host=host)
