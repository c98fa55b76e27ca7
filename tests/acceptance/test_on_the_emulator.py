"""The deployed stack's functions in Lambda's own runtime: the whole loop, and what breaks off in its midst."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.cloud.emulator import Broken
from tests.cloud.stack import FUNCTIONS, KEYS, OTHER, SECRET, SENDER, TENANT, TOKEN, World, stack

from ci360_twilio.core.entry import Status
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


def test_a_tenants_key_opens_no_other_tenant(world: World) -> None:
    """The gateway lets it in, the function does not; without a key the gateway is shut."""
    to = "+12015550143"
    guid, body = world.event(to, tenant=OTHER)
    assert world.post(body, key=KEYS[TENANT]).status == 403
    assert world.post(body, key="") == (403, {"message": "Forbidden"})
    assert world.post(body, key="a-key-of-nobody-0123456789").status == 403
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


def test_a_busy_twilio_is_asked_again(world: World) -> None:
    """The queue holds the key back until it is time, and the sweep has it, too."""
    to = "+12015550148"
    world.twins.faults.for_recipient(to, [Fault.HTTP_429])
    guid, body = world.event(to)
    assert world.post(body).status == 202
    world.until(lambda: world.poll() or world.entry(guid).status is Status.SENT)
    assert len(world.made_for(to)) == 1


def test_what_the_functions_write_is_nothing_personal(world: World) -> None:
    """Ids, decisions, durations and AWS's own id of the invocation, at every level."""
    to = "+12015550149"
    guid, body = world.event(to, WORDS)
    assert world.post(body).status == 202
    assert world.poll() == []
    assert world.receipt(world.entry(guid)).status == 204
    assert world.text(to, "STOP").status == 200
    world.invoke("Sweep")
    world.invoke("Report")
    lines = []
    for name in FUNCTIONS:
        text = (world.folder / f"{name}.log").read_text()
        hidden = (to[2:], SENDER[2:], WORDS, TOKEN, SECRET, *KEYS.values())
        assert not [number for number, value in enumerate(hidden) if value in text]
        lines += [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    ours = [line for line in lines if "_aws" not in line]
    assert {"event.accepted", "message.sent", "receipt.settled"} <= {one["event"] for one in ours}
    assert all(len(line["aws_request_id"]) == 36 for line in ours)
    [measured, *_] = [line for line in lines if "_aws" in line]
    assert measured["Stack"] == "sms"
