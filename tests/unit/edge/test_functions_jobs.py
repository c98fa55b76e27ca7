"""Bulk jobs by the functions of the AWS stack, as AWS calls them: what is said, lost, and comes twice."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import msgspec
import pytest
from moto import mock_aws

import ci360_twilio.edge.functions as functions
from ci360_twilio.clients.nudge import Nudge
from ci360_twilio.clients.signed import SignedAddresses
from ci360_twilio.core.job import Job, State, job_key
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.functions import Stack
from ci360_twilio.errors import LedgerUnavailable
from ci360_twilio.flow.bulk import CHECKS, LOST
from ci360_twilio.flow.intake import chore_of
from ci360_twilio.wiring import Parts

if TYPE_CHECKING:
    from tests.conftest import Twilio

TENANT = TenantId("af5af6b8f500013eb0c90001")
CHECKED = {"identity": {"apiKeyId": "k1"}, "stage": "prod"}
NOTHING_AGAIN: dict[str, Any] = {"batchItemFailures": []}
Records = list[dict[str, str]]


class Context:
    """What the runtime hands to a function."""

    aws_request_id = "7d0c1a52-0000-4000-8000-000000000001"

    def __init__(self, seconds: float = 20.0) -> None:
        self._seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        """Return what is left."""
        return int(self._seconds * 1000)


class Place:
    """The functions, with queues in moto, and files in a folder."""

    def __init__(self, parts: Parts, folder: Path) -> None:
        self.client = boto3.session.Session().client("sqs")
        self.urls = [self.client.create_queue(QueueName=n)["QueueUrl"] for n in ("bulk", "jobs")]
        self.parts = parts
        self.folder = folder
        self.stack = self.make()

    def make(self) -> Stack:
        """Make an instance."""
        bulk, jobs = (Nudge(url, self.client) for url in self.urls)
        return Stack(self.parts, bulk, foreman=jobs)

    def taken(self, which: int = 1) -> Records:
        """Take what stands in a queue: that of messages, or that of jobs."""
        found: Records = []
        receive, remove = self.client.receive_message, self.client.delete_message
        while batch := receive(QueueUrl=self.urls[which], MaxNumberOfMessages=10).get("Messages"):
            found += [{"messageId": one["MessageId"], "body": one["Body"]} for one in batch]
            for one in batch:
                remove(QueueUrl=self.urls[which], ReceiptHandle=one["ReceiptHandle"])
        return found

    def task(self, rows: int = 3) -> dict[str, Any]:
        """Make a task whose files are in the folder."""
        data, head = (self.folder / f"{name}-{uuid.uuid4()}" for name in ("data", "head"))
        data.write_text("".join(f"id-{n},+1201555{n:04}\n" for n in range(rows)))
        head.write_text("identity_id,mobile")
        return {
            "occurrenceId": str(uuid.uuid4()),
            "taskVersionId": "v1",
            "externalTenantId": TENANT,
            "presignedUrls": {"dataFile": str(data), "metadataFile": str(head)},
            "sendParameters": {"to": "{{mobile}}", "body": "Hello"},
        }

    def post(self, task: dict[str, Any]) -> dict[str, Any]:
        """Post a task as the REST API hands it over."""
        event = {
            "path": "/ci360/bulk",
            "httpMethod": "POST",
            "headers": {},
            "requestContext": CHECKED,
            "body": json.dumps(task),
        }
        return self.stack.bulk(event, Context())

    def running(self, rows: int = 3) -> Job:
        """Have a job run; its chunks are said, and none is entered."""
        answer = json.loads(self.post(self.task(rows))["body"])
        assert self.stack.jobs({}, Context()) == NOTHING_AGAIN
        job = self.job(answer["job"])
        assert (job.state, job.said, job.entered) == (State.RUNNING, 1, 0)
        return job

    def job(self, name: str) -> Job:
        """Read a job."""
        found = self.parts.store.job(job_key(TENANT, name))
        assert found is not None
        return found

    def make_due(self, job: Job, **changes: Any) -> None:
        """Change a job, and have it that something is to be done on it now."""
        assert self.parts.store.keep_job(msgspec.structs.replace(job, **changes))
        self.parts.store.end_chore(chore_of(job.key), due_at=datetime.now(UTC), mark=None)


def copied(_: object, url: object, into: Path, **_given: Any) -> int:
    """Fetch a file whose address is a path."""
    shutil.copy(str(url), into)
    return into.stat().st_size


@pytest.fixture
def place(
    connector: Callable[..., Parts], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """Give the functions."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "none")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(SignedAddresses, "resume", copied)
    with mock_aws():
        place = Place(connector(files=str(tmp_path / "files")), tmp_path)
        yield place
        place.stack.close()


def chunk(job: Job, number: int = 0) -> dict[str, Any]:
    """Make what the queue says of a chunk."""
    body = json.dumps({"job": job.key, "chunk": number})
    return {"Records": [{"messageId": "chunk", "body": body}]}


def test_a_task_is_said_by_its_jobs_key_and_a_chunk_by_its_number(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither says what stands in a file; what is accepted is said by keys, in the queue of its own."""
    monkeypatch.setattr(functions, "LAG_SECONDS", 0.0)
    job = place.running()
    bodies = [one["body"] for one in place.taken()]
    assert sorted(bodies) == sorted([job.key, f'{{"job":"{job.key}","chunk":0}}'])
    assert place.stack.jobs(chunk(job), Context()) == NOTHING_AGAIN
    keys = [one["body"] for one in place.taken(0)]
    assert len(keys) == 3
    assert all(key.startswith(f"{TENANT}/{job.id}-") for key in keys)


def test_a_task_that_cannot_be_taken_calls_nobody(place: Place) -> None:
    """One that is none is answered so; one that fails by itself has nothing to be done for it."""
    assert place.stack.bulk({"body": 7}, Context())["statusCode"] == 400
    assert place.post({"externalTenantId": "nobody"})["statusCode"] == 403
    broken = place.task() | {"sendParameters": {"body": "Hello"}}
    assert place.post(broken)["statusCode"] == 422
    assert place.taken() == []


def test_a_job_goes_from_file_to_result(place: Place, twilio: Twilio) -> None:
    """Each invocation does a piece, whoever comes."""
    job = place.running(5)
    assert place.stack.jobs(chunk(job), Context()) == NOTHING_AGAIN
    assert place.stack.deliver({"Records": place.taken(0)}, Context()) == NOTHING_AGAIN
    place.make_due(place.job(job.id))
    place.stack.jobs({}, Context())
    done = place.job(job.id)
    assert (done.state, done.outcomes, done.waits) == (State.DONE, {"sent": 5}, 0)
    assert len(twilio.twin.messages) == 5
    assert place.parts.files.names(f"{job.folder}/parts") == ["000000"]
    assert place.stack.jobs(chunk(job), Context()) == NOTHING_AGAIN
    assert place.taken(0) == []


def test_a_chunk_that_there_is_none_of_is_done_with(place: Place) -> None:
    """As is one of a job that is gone; what names nothing comes again until the queue sets it aside."""
    job = place.running()
    assert place.stack.jobs(chunk(job, 7), Context()) == NOTHING_AGAIN
    gone = msgspec.structs.replace(job, id="0" * 16)
    assert place.stack.jobs(chunk(gone), Context()) == NOTHING_AGAIN
    poison = {"Records": [{"messageId": "poison", "body": '{"job": 1}'}]}
    again = {"batchItemFailures": [{"itemIdentifier": "poison"}]}
    assert place.stack.jobs(poison, Context()) == again


def test_a_chunk_that_cannot_be_entered_just_now_comes_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is said; the next time it is entered."""
    job = place.running()

    def away(*_: object, **__: object) -> None:
        raise LedgerUnavailable("Away.")

    again = {"batchItemFailures": [{"itemIdentifier": "chunk"}]}
    with monkeypatch.context() as broken:
        broken.setattr(place.parts.store, "insert_many", away)
        assert place.stack.jobs(chunk(job), Context()) == again
    assert place.taken(0) == []
    assert place.stack.jobs(chunk(job), Context()) == NOTHING_AGAIN
    assert len(place.taken(0)) == 3


def test_what_is_missing_is_said_again_more_and_more_seldom(place: Place) -> None:
    """After two minutes without a further chunk, then after four: the queue may merely be long."""
    job = place.running()
    place.taken()
    for waits in range(2):
        job = place.job(job.id)
        place.make_due(job, updated_at=job.updated_at - LOST * 2**waits + LOST / 10)
        place.stack.jobs({}, Context())
        assert place.taken() == []
        job = place.job(job.id)
        place.make_due(job, updated_at=job.updated_at - LOST / 5)
        place.stack.jobs({}, Context())
        assert [json.loads(one["body"])["chunk"] for one in place.taken()] == [0]
        assert place.job(job.id).waits == waits + 1


def test_a_file_that_is_lost_before_it_is_entered_fails_the_job(place: Place) -> None:
    """A chunk alone cannot tell: it comes again, and the job says why it never will be."""
    job = place.running()
    place.parts.files.drop(job.folder)
    assert place.stack.jobs(chunk(job), Context())["batchItemFailures"]
    place.make_due(job)
    place.stack.jobs({}, Context())
    assert (place.job(job.id).state, place.job(job.id).reason) == (State.FAILED, "file_lost")


def test_a_check_that_never_ends_in_time_is_given_up(place: Place) -> None:
    """It would be begun anew every minute; one that ends is not counted any more."""
    name = json.loads(place.post(place.task())["body"])["job"]
    for _ in range(CHECKS):
        assert place.stack.jobs({}, Context(seconds=0.0)) == NOTHING_AGAIN
    assert place.job(name).state is State.RECEIVED
    place.stack.jobs({}, Context())
    assert (place.job(name).state, place.job(name).failures) == (State.RUNNING, 0)
    job = place.job(name)
    place.make_due(job, state=State.CHECKING, failures=CHECKS)
    place.stack.jobs({}, Context())
    assert (place.job(name).state, place.job(name).reason) == (State.FAILED, "check_unfinished")


def test_without_a_queue_of_their_own_jobs_are_entered_where_they_are_worked_on(
    place: Place, twilio: Twilio
) -> None:
    """And the sweep sends, as it does for every lost nudge."""
    place.parts.elsewhere = None
    alone = Stack(place.parts, None)
    name = json.loads(place.post(place.task())["body"])["job"]
    alone.jobs({}, Context())
    assert place.job(name).entered == 1
    alone.sweep({}, Context())
    assert len(twilio.twin.messages) == 3
    alone.close()
