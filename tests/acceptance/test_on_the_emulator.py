"""The deployed stack's functions in Lambda's own runtime: the whole loop, and what breaks off in its midst."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.acceptance.bulk import Bucket, encoded
from tests.cloud.emulator import Broken, Emulated, unpacked
from tests.cloud.server import Called
from tests.cloud.stack import FUNCTIONS, KEYS, OTHER, SECRET, SENDER, TENANT, TOKEN, World, stack

from ci360_twilio.core.entry import Status
from ci360_twilio.core.job import Job, State
from ci360_twilio.flow.bulk import LOST
from ci360_twilio.twin.faults import Fault

SLOW = 20.0
WORDS = "A text that nobody but its reader sees"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Deploy the stack, with two tenants."""
    with stack(tmp_path_factory.mktemp("stack")) as made:
        made.settings = {"CI360_TWILIO_LOG_LEVEL": "debug"}
        made.tenant()
        made.tenant(OTHER)
        yield made


@pytest.fixture(scope="module")
def bucket(world: World) -> Bucket:
    """Give the bucket that CI360 has its files in."""
    return Bucket(world.moto)


def test_the_loop_is_closed(world: World) -> None:
    """Event in, message out, receipt in, CI360 told; a STOP holds."""
    to = "+12015550142"
    guid, body = world.event(to, WORDS)
    assert world.post(body).status == 202
    assert world.poll() == []
    entry = world.entry(guid)
    assert (entry.status, len(world.made_for(to))) == (Status.SENT, 1)
    again = world.post(body)
    assert (again.status, again.body["duplicate"]) == (200, True)
    assert world.receipt(entry).status == 204
    assert world.text(to, "STOP").status == 200
    later, body = world.event(to)
    assert world.post(body).body["reason"] == "opted_out"
    world.invoke("Sweep")
    world.invoke("Report")
    assert "twilio_sms_delivered" in world.told(guid)
    assert "twilio_sms_suppressed" in world.told(later)
    assert len(world.made_for(to)) == 1


def test_a_tenants_key_opens_no_other_tenant(world: World, bucket: Bucket) -> None:
    """The gateway lets it in, the function does not; without a key the gateway is shut."""
    to = "+12015550143"
    guid, body = world.event(to, tenant=OTHER)
    assert world.post(body, key=KEYS[TENANT]).status == 403
    assert world.post(body, key="") == (403, {"message": "Forbidden"})
    assert world.post(body, key="a-key-of-nobody-0123456789").status == 403
    task = encoded(bucket.task([], tenant_id=OTHER))
    assert world.task(task, key=KEYS[TENANT]).status == 403
    assert world.task(task, key="") == (403, {"message": "Forbidden"})
    assert world.post(body, key=KEYS[OTHER]).status == 202
    world.poll()
    assert world.entry(guid, OTHER).status is Status.SENT


def test_an_instance_that_dies_amid_a_batch_sends_nothing_twice(world: World) -> None:
    """What it had begun may have been made and is left to be found; the rest goes out when it comes again."""
    slow, quick = "+12015550144", "+12015550145"
    world.twins.faults.for_recipient(slow, [f"slow:{SLOW:g}"])
    began, first = world.event(slow)
    assert world.post(first).status == 202
    with ThreadPoolExecutor(1) as pool:
        polled = pool.submit(world.poll)
        world.until(lambda: world.twins.faults.attempts.get(slow))
        world.instance("Deliver").kill()
        assert len(polled.result()) == 1
    other, second = world.event(quick)
    assert world.post(second).status == 202
    assert world.poll() == []
    assert world.entry(began).status is Status.SENDING
    assert world.entry(other).status is Status.SENT
    assert world.twins.faults.attempts[slow] == 1


def test_a_function_is_done_before_its_time_is_over(world: World) -> None:
    """A Twilio that does not answer: what became of the message is not known, and that is written down."""
    slow = "+12015550146"
    world.twins.faults.for_recipient(slow, [f"slow:{SLOW:g}"])
    guid, body = world.event(slow)
    assert world.post(body).status == 202
    with world.another("Deliver", seconds=6) as instance:
        record = {"messageId": "1", "body": world.entry(guid).key}
        assert instance.invoke({"Records": [record]}) == {"batchItemFailures": []}
    assert world.entry(guid).status is Status.UNKNOWN


def test_a_function_that_is_cut_off_is_an_error(world: World) -> None:
    """As on AWS: it does not answer, the gateway says 502, and the next invocation starts it anew."""
    with world.another("Sweep", seconds=1, handler="tests.cloud.handlers.sleep") as instance:
        with pytest.raises(Broken, match="timed out"):
            instance.invoke(5)
        assert instance.invoke(0.01) is None
    with world.broken("Receive"):
        assert world.post(world.event("+12015550150")[1]).status == 502


def rows_to(numbers: Sequence[str]) -> list[list[str]]:
    """Make the rows of a data file, one for each number."""
    return [[f"id-{number[1:]}", f"Robin {number[-4:]}", number, "Cary"] for number in numbers]


def said(
    world: World,
    bucket: Bucket,
    numbers: Sequence[str],
    *,
    by: Emulated | None = None,
    **members: Any,
) -> Job:
    """Post a bulk task, and have it checked; gives the job, whose chunks are said and not entered yet."""
    task = bucket.task(rows_to(numbers), tenant_id=TENANT, **members)
    answer = world.task(encoded(task))
    assert (answer.status, answer.body["status"]) == (202, "received")
    called = world.taken("JobsQueue")
    assert called["body"].endswith(answer.body["job"])
    instance = by or world.instance("Jobs")
    assert instance.invoke({"Records": [called]}) == {"batchItemFailures": []}
    job = world.job(answer.body["job"])
    assert (job.state, job.said, job.entered) == (State.RUNNING, 1, 0)
    return job


def is_put(call: Called) -> bool:
    """Tell whether a call writes a row."""
    return (call.service, call.operation) == ("dynamodb", "PutItem")


def ended(world: World, job: Job, seconds: float = 30.0) -> Job:
    """Invoke the schedule again and again until a job has ended."""
    world.until(lambda: world.invoke("Jobs", {}) and world.job(job.id).ended, seconds)
    return world.job(job.id)


def test_a_bulk_task_becomes_messages_and_a_result(world: World, bucket: Bucket) -> None:
    """From CI360's files through the stack's bucket; customers' data is gone when it is entered."""
    numbers = [f"+1201555{n:04}" for n in range(1000, 1003)]
    job = said(world, bucket, numbers)
    assert world.files(job) == ["data", "metadata", "plan"]
    assert world.poll("Jobs") == world.poll() == []
    for number in numbers:
        [message] = world.made_for(number)
        assert message.body == f"Hello Robin {number[-4:]}, see you in Cary tomorrow!"
    done = ended(world, job)
    assert (done.state, done.outcomes, done.rows) == (State.DONE, {"sent": 3}, 3)
    assert world.files(job) == ["parts/000000"]
    again = world.task(encoded(bucket.task([], occurrence=job.occurrence_id, tenant_id=TENANT)))
    assert (again.status, again.body["status"], again.body["duplicate"]) == (200, "done", True)


def test_what_is_shipped_works_on_a_job(world: World, bucket: Bucket, tmp_path: Path) -> None:
    """The zip has all that the bucket needs, though botocore's descriptions are cut down to what is called."""
    with world.another("Jobs", code=unpacked(tmp_path)) as shipped:
        job = said(world, bucket, ["+12015551010"], by=shipped)
        record = world.taken("JobsQueue")
        assert shipped.invoke({"Records": [record]}) == {"batchItemFailures": []}
        assert world.poll() == []
        world.until(lambda: shipped.invoke({}) and world.job(job.id).ended)
    assert world.job(job.id).outcomes == {"sent": 1}
    assert world.files(job) == ["parts/000000"]


def test_a_file_that_cannot_be_sent_to_is_told_whole(world: World, bucket: Bucket) -> None:
    """Nothing of it is sent; the task posted again says why."""
    task = encoded(bucket.task([["1", "Robin", "nobody", "Cary"]], tenant_id=TENANT))
    name = world.task(task).body["job"]
    world.until(lambda: world.poll("Jobs") or world.job(name).ended)
    assert (world.job(name).state, world.job(name).reason) == (State.FAILED, "too_many_bad_rows")
    assert world.files(world.job(name)) == []


def test_a_chunk_that_comes_twice_sends_nobody_twice(world: World, bucket: Bucket) -> None:
    """SQS delivers at least once: while it is entered, when it is, and when the job has ended."""
    numbers = [f"+1201555{n:04}" for n in range(1100, 1140)]
    job = said(world, bucket, numbers)
    message = {"messageId": "again", "body": json.dumps({"job": job.key, "chunk": 0})}
    with world.another("Jobs") as other, ThreadPoolExecutor(2) as pool:
        instances = (world.instance("Jobs"), other)
        for found in [pool.submit(one.invoke, {"Records": [message]}) for one in instances]:
            assert found.result() == {"batchItemFailures": []}
    assert world.poll("Jobs") == world.poll() == []
    assert ended(world, job).outcomes == {"sent": 40}
    assert world.invoke("Jobs", {"Records": [message]}) == {"batchItemFailures": []}
    assert world.poll() == []
    assert [len(world.made_for(number)) for number in numbers] == [1] * 40


def test_a_chunk_whose_message_was_lost_is_said_again(world: World, bucket: Bucket) -> None:
    """After two minutes in which nothing came."""
    job = said(world, bucket, ["+12015551200"])
    assert json.loads(world.taken("JobsQueue")["body"]) == {"job": job.key, "chunk": 0}
    world.make_due(job)
    assert world.invoke("Jobs", {}) == {"batchItemFailures": []}
    assert world.poll("Jobs") == world.poll() == []
    assert world.made_for("+12015551200") == []
    job = world.job(job.id)
    world.make_due(msgspec.structs.replace(job, updated_at=job.updated_at - 2 * LOST))
    assert world.invoke("Jobs", {}) == {"batchItemFailures": []}
    assert world.poll("Jobs") == world.poll() == []
    assert len(world.made_for("+12015551200")) == 1
    assert ended(world, job).outcomes == {"sent": 1}


def test_an_instance_that_dies_amid_a_chunk_loses_and_repeats_nothing(
    world: World, bucket: Bucket
) -> None:
    """Some rows have their entries, others not; when the chunk comes again the rest is entered."""
    numbers = [f"+1201555{n:04}" for n in range(2000, 2400)]
    job = said(world, bucket, numbers)

    def entered() -> set[str]:
        rows = [one.given["Item"]["pk"]["S"] for one in list(world.moto.calls) if is_put(one)]
        return {pk for pk in rows if pk.startswith(f"E#{TENANT}/{job.id}-")}

    with ThreadPoolExecutor(1) as pool:
        polled = pool.submit(world.poll, "Jobs")
        world.until(lambda: len(entered()) > 10)
        world.instance("Jobs").kill()
        assert len(polled.result()) == 1
    assert 10 < len(entered()) < 400
    assert world.files(job) == ["data", "metadata", "plan"]
    assert world.poll("Jobs") == world.poll() == []
    assert ended(world, job).outcomes == {"sent": 400}
    assert {len(world.made_for(number)) for number in numbers} == {1}


def test_what_names_nothing_is_set_aside_and_keeps_no_other(world: World) -> None:
    """It is in the dead-letter queue, with its reason; so is what fails too often."""
    to = "+12015550147"
    guid, body = world.event(to)
    world.queue.send_message(QueueUrl=world.queue_url, MessageBody="{}")
    assert world.post(body).status == 202
    assert world.poll() == []
    assert world.entry(guid).status is Status.SENT
    [letter] = world.dead_letters()
    assert letter["Body"] == "{}"
    assert letter["MessageAttributes"]["reason"]["StringValue"] == "no_key"
    world.queue.send_message(QueueUrl=world.queue_url, MessageBody=world.entry(guid).key)
    with world.broken("Deliver"):
        for _ in range(5):
            assert len(world.poll()) == 1
    assert world.poll() == []
    assert [one["Body"] for one in world.dead_letters()] == [world.entry(guid).key]
    world.queue.send_message(QueueUrl=world.physical["JobsQueue"], MessageBody='{"chunk": 1}')
    assert world.poll("Jobs") == []
    [letter] = world.dead_letters()
    assert (letter["Body"], len(letter["MessageAttributes"])) == ('{"chunk": 1}', 1)


def test_a_busy_twilio_is_asked_again(world: World) -> None:
    """The queue holds the key back until it is time, and the sweep has it, too."""
    to = "+12015550148"
    world.twins.faults.for_recipient(to, [Fault.HTTP_429])
    guid, body = world.event(to)
    assert world.post(body).status == 202
    world.until(lambda: world.poll() or world.entry(guid).status is Status.SENT)
    assert len(world.made_for(to)) == 1


def test_what_the_functions_write_is_nothing_personal(world: World, bucket: Bucket) -> None:
    """Ids, decisions, durations and AWS's own id of the invocation, at every level."""
    to = "+12015550149"
    guid, body = world.event(to, WORDS)
    assert world.post(body).status == 202
    assert world.poll() == []
    assert world.receipt(world.entry(guid)).status == 204
    assert world.text(to, "STOP").status == 200
    assert world.poll("Jobs") == []
    job = said(
        world, bucket, ["+12015551300"], parameters={"to": "{{mobile_phone}}", "body": WORDS}
    )
    assert world.poll("Jobs") == world.poll() == []
    world.invoke("Sweep")
    world.invoke("Report")
    lines = []
    for name in FUNCTIONS:
        text = (world.folder / f"{name}.log").read_text()
        hidden = (to[2:], "2015551300", SENDER[2:], WORDS, TOKEN, SECRET, *KEYS.values())
        assert not [number for number, value in enumerate(hidden) if value in text]
        lines += [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    ours = [line for line in lines if "_aws" not in line]
    assert {"event.accepted", "message.sent", "receipt.settled"} <= {one["event"] for one in ours}
    assert all(len(line["aws_request_id"]) == 36 for line in ours)
    assert job.id in {one.get("job") for one in ours}
    [measured, *_] = [line for line in lines if "_aws" in line]
    assert measured["Stack"] == "sms"
