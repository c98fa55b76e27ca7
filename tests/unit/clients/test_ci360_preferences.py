"""The client for CI360's gateway: contact preferences and their jobs."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from ci360_twilio.clients.ci360 import EXPORT, IMPORT
from ci360_twilio.errors import Trouble

if TYPE_CHECKING:
    from tests.unit.clients.conftest import Gateway, Web

MakeWeb = Callable[..., "Web"]
WISHES = (
    b"identity_type,identity_value,preference_type,preference_value\n"
    b"sms_id,+12015550101,OPT-OUT,true\n"
    b"sms_id,+12015550102,OPT-OUT,false\n"
)
HOSTILE = [None, "", 7, {"href": "x"}, "https://evil.example/5ec2e7", "http://169.254.169.254/x"]

pytestmark = pytest.mark.usefixtures("no_proxies")


def ended(gateway: Gateway, job: str) -> dict[str, Any]:
    """Ask for a job until it has ended."""
    for _ in range(10):
        said = gateway.client.ask_job(gateway.tenant(), job)
        if said["status"] in ("Imported", "EXPORTED", "Failed Validation"):
            return said
    raise AssertionError("it did not end")


def test_wishes_are_put_and_taken_over(gateway: Gateway) -> None:
    """The file first, then the job that names it."""
    tenant, client = gateway.tenant(), gateway.client
    address = client.upload_preferences(tenant, WISHES)
    job = client.start_job(tenant, IMPORT, fileLocation=address, headerRowIncluded=True)
    assert ended(gateway, job)["status"] == "Imported"
    known = {number: one.opted_out for number, one in gateway.twin.preferences.items()}
    assert known == {"+12015550101": True, "+12015550102": False}


def test_wishes_are_exported_and_fetched(gateway: Gateway) -> None:
    """In several files, one of which is the head."""
    for number in ("+12015550101", "+12015550102", "+12015550103"):
        gateway.twin.prefer(number, opted_out=number.endswith("2"))
    job = gateway.client.start_job(gateway.tenant(), EXPORT, includeSourceAndTimestamp=True)
    texts = []
    for file in ended(gateway, job)["downloadItemList"]:
        with tempfile.TemporaryFile() as into:
            size = gateway.client.fetch_file(file["url"], into)
            into.seek(0)
            text = into.read()
        assert size == len(text)
        texts.append(text.decode())
    assert "".join(texts).splitlines() == [
        "identity_type,identity_value,preference_type,preference_value,source,timestamp",
        "sms_id,+12015550101,OPT-OUT,false,CI360,2026-03-02T09:30:00Z",
        "sms_id,+12015550102,OPT-OUT,true,CI360,2026-03-02T09:30:00Z",
        "sms_id,+12015550103,OPT-OUT,false,CI360,2026-03-02T09:30:00Z",
    ]
    assert len(texts) == 3


def test_what_ci360_finds_wrong_is_told(gateway: Gateway) -> None:
    """A job may end so."""
    tenant, client = gateway.tenant(), gateway.client
    address = client.upload_preferences(tenant, b"sms_id,+12015550101,OPT-OUT,maybe\n")
    job = client.start_job(tenant, IMPORT, fileLocation=address, headerRowIncluded=False)
    assert ended(gateway, job) == {
        "id": job,
        "status": "Failed Validation",
        "statusDescription": "row 1 is not valid",
    }
    assert gateway.twin.preferences == {}


def test_the_requests_are_those_of_sass_own_samples(gateway: Gateway, web: MakeWeb) -> None:
    """Paths, bodies and types; the file goes without the token."""
    storage = web().say(200)
    address = f"{storage.url}/f?s=1"
    served = web().say(200, json.dumps({"signedURL": address}).encode())
    served.say(200, b'{"id":"job-1"}').say(200, b'{"status":"Queued"}')
    client, tenant = gateway.client_for(storage), gateway.tenant(served)
    assert client.upload_preferences(tenant, WISHES) == address
    assert client.start_job(tenant, IMPORT, fileLocation=address, headerRowIncluded=True) == "job-1"
    assert client.ask_job(tenant, "job-1") == {"status": "Queued"}
    where, start, ask = served.requests
    assert (where.method, where.path, where.body) == (
        "POST",
        "/marketingData/fileTransferLocation",
        b"",
    )
    assert (start.method, start.path) == ("POST", "/marketingData/tableJobs/")
    assert json.loads(start.body) == {
        "jobType": IMPORT,
        "fileLocation": address,
        "headerRowIncluded": True,
    }
    assert (ask.method, ask.path, ask.body) == ("GET", "/marketingData/tableJobs/job-1", b"")
    assert {request.headers["authorization"] for request in served.requests} == {
        f"Bearer {gateway.token}"
    }
    (put,) = storage.requests
    assert (put.body, put.headers["content-type"]) == (WISHES, "text/csv")
    assert "authorization" not in put.headers
    client.close()


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"id":null}', b'{"id":7}', b'{"id":""}', b'{"id":"../x"}',
     b'{"id":"a b"}', b'{"id":"a?b"}', b'{"id":"\\u00e4"}', b'{"id":"a\\n"}',
     b'{"id":"' + b"a" * 129 + b'"}', b"<html>"],
)  # fmt: skip
def test_a_job_without_an_id_is_none(gateway: Gateway, web: MakeWeb, body: bytes) -> None:
    """It goes into an address later."""
    tenant = gateway.tenant(web().say(200, body))
    error = gateway.failure(lambda: gateway.client.start_job(tenant, EXPORT))
    assert (error.trouble, error.reason) == (Trouble.AWAY, "unreadable_answer")


def test_a_job_that_ci360_does_not_know_is_refused(gateway: Gateway) -> None:
    """Neither kinds nor ids of jobs are guessed; nor is one tenant's job another's."""
    tenant, client = gateway.tenant(), gateway.client
    for call in (
        lambda: client.start_job(tenant, "GDPR_DELETE"),
        lambda: client.start_job(tenant, IMPORT, fileLocation="https://example.com/x"),
        lambda: client.ask_job(tenant, "0" * 16),
    ):
        assert gateway.failure(call).trouble is Trouble.REFUSED


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"<html>", b"\xff"])
def test_a_job_of_which_nothing_can_be_read_has_no_news(
    gateway: Gateway, web: MakeWeb, body: bytes
) -> None:
    """It is asked for again."""
    assert gateway.client.ask_job(gateway.tenant(web().say(200, body)), "1") == {}


@pytest.mark.parametrize("address", HOSTILE, ids=ascii)
def test_no_file_is_moved_where_none_may_be(
    gateway: Gateway, web: MakeWeb, address: object
) -> None:
    """Neither fetched nor put."""
    served = web().say(200, json.dumps({"signedURL": address}).encode())
    tenant, client = gateway.tenant(served), gateway.client
    with tempfile.TemporaryFile() as into:
        for call in (
            lambda: client.fetch_file(address, into),
            lambda: client.upload_preferences(tenant, WISHES),
        ):
            error = gateway.failure(call)
            assert (error.trouble, error.reason) == (Trouble.REFUSED, "address_refused")


def test_a_file_whose_address_has_expired_is_asked_for_anew(gateway: Gateway) -> None:
    """By the next attempt."""
    address = f"{gateway.server.url}/files/{'0' * 32}?X-Amz-Expires=900"
    with tempfile.TemporaryFile() as into:
        error = gateway.failure(lambda: gateway.client.fetch_file(address, into))
        assert into.tell() == 0
    assert (error.trouble, error.reason) == (Trouble.AWAY, "address_expired")
