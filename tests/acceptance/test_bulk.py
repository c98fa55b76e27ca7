"""Bulk tasks: from CI360's body and a local S3 to messages, with real processes and sockets."""

from __future__ import annotations

import csv
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from tests.acceptance.bulk import PARAMETERS, Bucket, encoded
from tests.acceptance.conftest import API_KEY, GUARDED, OPEN
from tests.cloud.server import Moto

from ci360_twilio.core.job import State


@pytest.fixture(scope="session")
def bucket() -> Iterator[Bucket]:
    """Run a local S3."""
    with Moto() as moto:
        yield Bucket(moto)


@pytest.fixture(scope="session")
def bulk(run_connector: Any, bucket: Bucket) -> Iterator[Any]:
    """Run a connector that may fetch from it."""
    with run_connector() as made:
        made.stop()
        made.environ["CI360_TWILIO_BULK_HOSTS"] = bucket.host
        made.start()
        made.tenant(OPEN)
        made.tenant(GUARDED, api_keys=[API_KEY])
        yield made


def post(running: Any, task: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    """Post a task as CI360 does."""
    answer = running.pool.request(
        "POST",
        f"{running.url}/ci360/bulk",
        body=task if isinstance(task, bytes) else encoded(task),
        headers={
            "Content-Type": "text/plain",
            **{n.replace("_", "-"): v for n, v in headers.items()},
        },
        timeout=30,
    )
    return answer.status, answer.json()


def job(running: Any, name: str) -> dict[str, Any]:
    """Give what ``jobs show --json`` says."""
    done = running.command("jobs", "show", name, "--json")
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def ended(running: Any, name: str, seconds: float = 40.0) -> dict[str, Any]:
    """Wait until a job has ended."""
    with running.store() as store:
        running.until(
            lambda: [one for one in store.jobs() if one.id == name and one.ended], seconds
        )
    return job(running, name)


def test_every_customer_of_a_file_gets_one_message(bulk: Any, bucket: Bucket) -> None:
    """Cells stand where the tags do, whatever their case and CI360's underscores."""
    numbers = [bulk.number() for _ in range(3)]
    rows = [[f"id-{n}", f"Robin {n}", number, "Cary"] for n, number in enumerate(numbers)]
    status, answer = post(bulk, bucket.task(rows))
    assert (status, answer["status"]) == (202, "received")
    told = ended(bulk, answer["job"])
    assert (told["state"], told["rows"], told["outcomes"]) == ("done", 3, {"sent": 3})
    for n, number in enumerate(numbers):
        (message,) = bulk.made_for(number)
        assert message.body == f"Hello Robin {n}, see you in Cary tomorrow!"


def test_the_result_lists_every_row_and_neutralises_formulas(bulk: Any, bucket: Bucket) -> None:
    """As CSV: what became of each, with what a spreadsheet would run made harmless."""
    number = bulk.number()
    rows = [["=1+1", "Robin", number], ["id-2", "Sam", "12"], ["id-3", "Kim"]]
    task = bucket.task(
        rows,
        columns="identity_id,first_name,mobile_phone",
        parameters={
            "to": "{{mobile_phone}}",
            "body": "Hi {{first_name}}",
            "bad_rows_limit": 100,
        },
    )
    _, answer = post(bulk, task)
    ended(bulk, answer["job"])
    done = bulk.command("jobs", "result", answer["job"])
    assert done.returncode == 0, done.stderr
    found = list(csv.DictReader(done.stdout.splitlines()))
    assert [(one["row"], one["status"], one["reason"]) for one in found] == [
        ("1", "sent", ""),
        ("2", "refused", "invalid_recipient"),
        ("3", "wrong_column_count", "wrong_column_count"),
    ]
    assert (found[0]["identity"], found[0]["to"]) == ("'=1+1", number)
    file = bulk.folder / "result.csv"
    again = bulk.command("jobs", "result", answer["job"], "--output", str(file))
    assert again.returncode == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text() == done.stdout


def test_outcomes_of_rows_reach_ci360(run_connector: Any, bucket: Bucket) -> None:
    """Each customer's outcome is told under the task's tracking code."""
    with run_connector() as made:
        made.stop()
        hosts = f"{bucket.host},{made.ci360.server.authority}"
        made.environ["CI360_TWILIO_BULK_HOSTS"] = hosts
        made.start()
        made.tenant(OPEN, **made.ci360.members, ci360_events={"sent": "sms_sent"})
        rows = [["id-1", "Robin", made.number(), "Cary"], ["id-2", "Sam", "12", "Cary"]]
        parameters = PARAMETERS | {"bad_rows_limit": "50"}
        _, answer = post(made, bucket.task(rows, parameters=parameters))
        assert ended(made, answer["job"])["outcomes"] == {"invalid_recipient": 1, "sent": 1}
        made.until(lambda: len(made.ci360.told()) >= 2)
        told = {one.identity: one for one in made.ci360.told()}
    assert {one.name for one in told.values()} == {"sms_sent", "twilio_sms_refused"}
    codes = {one.attributes["responseTrackingCode"] for one in told.values()}
    assert codes == {"aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"}


def test_a_row_is_traced_like_an_event(bulk: Any, bucket: Bucket) -> None:
    """Why a customer did not get it is answered by the guid that the result gives."""
    _, answer = post(
        bulk,
        bucket.task(
            [["id-1", "Robin", "12", "Cary"]], parameters=PARAMETERS | {"bad_rows_limit": 100}
        ),
    )
    ended(bulk, answer["job"])
    (row,) = csv.DictReader(bulk.command("jobs", "result", answer["job"]).stdout.splitlines())
    told = bulk.trace(row["guid"])
    assert (told["status"], told["reason"]) == ("refused", "invalid_recipient")


def test_credentials_are_those_of_events(bulk: Any, bucket: Bucket) -> None:
    """None 401, a wrong one 403, an unknown tenant alike; nothing is made of these."""
    task = bucket.task([["id-1", "Robin", bulk.number(), "Cary"]], tenant_id=GUARDED)
    assert post(bulk, task, authorization="Bearer wrong")[0] == 403
    assert post(bulk, task, x_api_key="wrong")[0] == 403
    assert post(bulk, bucket.task([], tenant_id="nobody"), x_api_key=API_KEY)[0] == 403
    assert post(bulk, task)[0] == 401
    assert post(bulk, task, x_api_key=API_KEY)[0] == 202


def test_a_task_posted_again_is_a_duplicate(bulk: Any, bucket: Bucket) -> None:
    """202 while it runs, 200 when it is done; nobody gets anything again."""
    number = bulk.number()
    task = bucket.task([["id-1", "Robin", number, "Cary"]])
    _, answer = post(bulk, task)
    ended(bulk, answer["job"])
    status, again = post(bulk, task)
    assert (status, again["status"], again["duplicate"]) == (200, "done", True)
    assert len(bulk.made_for(number)) == 1


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no occurrence": ({"occurrenceId": None}, "occurrenceId"),
    "an occurrence of another type": ({"occurrenceId": 7}, "occurrenceId"),
    "no addresses": ({"presignedUrls": None}, "presignedUrls.dataFile"),
    "an address of another type": (
        {"presignedUrls": {"dataFile": 1, "metadataFile": "x"}},
        "presignedUrls.dataFile",
    ),
    "no recipient": ({"sendParameters": {"body": "Hi"}}, "sendParameters.to"),
    "no text": ({"sendParameters": {"to": "{{mobile_phone}}"}}, "sendParameters.body"),
    "a limit that is none": (
        {"sendParameters": PARAMETERS | {"bad_rows_limit": "101"}},
        "sendParameters.bad_rows_limit",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_task_that_cannot_be_used_is_refused_by_name(
    bulk: Any, bucket: Bucket, case: str
) -> None:
    """422, and the answer names the member."""
    members, field = REFUSED[case]
    status, body = post(bulk, bucket.task([["id-1", "Robin", bulk.number(), "Cary"]]) | members)
    assert status == 422
    assert field in json.dumps(body)


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 200), (b"{}", 200), (b"[]", 400), (b"{", 400), (b"\x1f\x8b", 400), (b'{"a":NaN}', 400)],
)
def test_odd_bodies_are_answered_as_those_of_events(bulk: Any, body: bytes, status: int) -> None:
    """CI360's test of the endpoint included."""
    assert post(bulk, body)[0] == status


class Listeners:
    """Sockets on this machine's own addresses that count who connects."""

    def __init__(self) -> None:
        self.connections = 0
        self.sockets = [
            socket.create_server(("127.0.0.1", 0)),
            socket.create_server(("::1", 0), family=socket.AF_INET6),
        ]
        for one in self.sockets:
            threading.Thread(target=self._listen, args=(one,), daemon=True).start()

    def _listen(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                listener.accept()[0].close()
                self.connections += 1

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports, of IPv4 and of IPv6."""
        return tuple(one.getsockname()[1] for one in self.sockets)

    def close(self) -> None:
        """Listen no more."""
        for one in self.sockets:
            one.close()


@pytest.fixture(scope="module")
def listeners() -> Iterator[Listeners]:
    """Listen where a hostile address would lead."""
    made = Listeners()
    yield made
    made.close()


HOSTILE = [
    "http://127.0.0.1:{v4}/x",
    "https://127.0.0.1:{v4}/x",
    "http://localhost:{v4}/x",
    "http://[::1]:{v6}/x",
    "http://[::ffff:127.0.0.1]:{v4}/x",
    "https://[::ffff:7f00:1]:{v4}/x",
    "http://[64:ff9b::7f00:1]:{v4}/x",
    "http://0x7f.1:{v4}/x",
    "http://2130706433:{v4}/x",
    "http://0.0.0.0:{v4}/x",
    "https://bucket.s3.amazonaws.com.evil.example/x",
    "https://s3.amazonaws.com@127.0.0.1:{v4}/x",
    "https://127.0.0.1:{v4}/#.s3.amazonaws.com/",
    "https://bucket.s3.amazonaws.com:{v4}/x",
    "http://bucket.s3.amazonaws.com/x",
    "https://bucket.s3-website-us-east-1.amazonaws.com/x",
    "https://evils3.amazonaws.com.example/x",
    "https://xs3.amazonaws.com\\@127.0.0.1:{v4}/x",
    "https://169.254.169.254/latest/meta-data/",
    "http://169.254.169.254/latest/meta-data/",
    "file:///etc/passwd",
    "ftp://127.0.0.1:{v4}/x",
    "gopher://127.0.0.1:{v4}/x",
    "https://bucket.s3.amazonaws.com\t.evil.example/x",
    "//127.0.0.1:{v4}/x",
    "not an address",
]


@pytest.mark.parametrize("url", HOSTILE)
@pytest.mark.parametrize("member", ["dataFile", "metadataFile"])
def test_a_hostile_address_is_refused_without_a_connection(
    bulk: Any, bucket: Bucket, listeners: Listeners, url: str, member: str
) -> None:
    """Whatever it is spelt like: the job fails, and nobody was called."""
    v4, v6 = listeners.ports
    before = listeners.connections
    task = bucket.task([["id-1", "Robin", "+12015550100", "Cary"]])
    task["presignedUrls"][member] = url.format(v4=v4, v6=v6)
    _, answer = post(bulk, task)
    told = ended(bulk, answer["job"])
    assert (told["state"], told["reason"]) == ("failed", "address_refused")
    assert listeners.connections == before


def test_what_the_command_says_of_jobs(bulk: Any, bucket: Bucket) -> None:
    """Pausing, resuming and canceling by the beginning of an id, and a list with a bar."""
    numbers = [bulk.number() for _ in range(3)]
    _, answer = post(
        bulk, bucket.task([[f"id-{n}", "Kim", number, "Cary"] for n, number in enumerate(numbers)])
    )
    name = answer["job"]
    paused = bulk.command("jobs", "pause", name[:8])
    assert paused.returncode == 0, paused.stderr
    assert f"ci360-twilio jobs resume {name}" in paused.stdout
    listed = bulk.command("jobs").stdout
    assert name in listed
    assert bulk.command("jobs", "resume", name).returncode in (0, 1)  # it may be done already
    ended(bulk, name)
    shown = bulk.command("jobs", "show", name)
    assert "100 %" in shown.stdout
    assert "sent" in shown.stdout
    refused = bulk.command("jobs", "cancel", name, "--yes")
    assert (refused.returncode, "done" in refused.stderr) == (1, True)
    assert bulk.command("jobs", "show", "ffff").returncode == 1


def test_an_erasure_names_the_jobs_whose_files_may_hold_the_person(
    bulk: Any, bucket: Bucket
) -> None:
    """Until their rows are entered nobody can tell."""
    number = bulk.number()
    _, answer = post(bulk, bucket.task([["id-1", "Robin", number, "Cary"]]))
    ended(bulk, answer["job"])
    now = datetime.now(UTC)
    with bulk.store() as store:
        known = next(one for one in store.jobs() if one.id == answer["job"])
        opened = msgspec.structs.replace(
            known, id="f" * 16, state=State.CHECKING, running_at=None, ended_at=None, created_at=now
        )
        open_job = store.add_job(opened).job
        try:
            done = bulk.command("erase", "--tenant", OPEN, "--yes", typed=number)
        finally:
            store.keep_job(msgspec.structs.replace(open_job, state=State.FAILED))
    assert done.returncode == 0, done.stderr
    assert f"ci360-twilio jobs cancel {'f' * 16}" in done.stdout
    result = bulk.command("jobs", "result", answer["job"]).stdout
    assert "erased" in result
    assert number not in result
