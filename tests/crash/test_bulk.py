"""A large bulk job whose processes are killed on the way, with a Twilio that fails: nobody gets two messages."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import urllib3
from tests.acceptance.bulk import Bucket, encoded
from tests.cloud.server import Moto

from ci360_twilio.core.job import Job

if TYPE_CHECKING:
    from tests.crash.conftest import Process, Site

API_KEY = "key-for-crashes-2c9e41d7"
TENANT = "af5af6b8f500013eb0c90001"

ROWS = int(os.environ.get("BULK_ROWS", "100000"))
TWINS, STRANGERS, BROKEN = 500, 300, 200
"""Rows with the number of an earlier one, with a number that is none, and that cannot be read."""
PATIENCE = 600.0
COLUMNS = "identity_id,first_name,mobile_phone"
FAULTS = {
    "http_500_made": 0.0005,
    "http_503_made": 0.0005,
    "cut": 0.0005,
    "http_429": 0.005,
    "refuse": 0.005,
}
"""Answers that are lost although a message was made, and requests that made none."""
LOST_SHARE = 0.01
"""Answers that are lost without a kill, with room for chance; where Twilio's list does not tell in time, a
person is asked."""
CONNECTIONS = 64
"""Requests that may be open when a process is killed: nobody can tell whether these have arrived."""


def number(index: int) -> str:
    """Give a fictional number: of the blocks that are kept for that in every area."""
    return f"+1{201 + index // 10_000}555{index % 10_000:04}"


def audience() -> bytes:
    """Write the data file: good rows, and bad ones among them."""
    lines = [f"id-{n},Robin,{number(n)}\n" for n in range(ROWS - TWINS - STRANGERS - BROKEN)]
    for n in range(TWINS):
        lines.insert(len(lines) - 7 * n, f"twin-{n},Kim,{number(n)}\n")
    for n in range(STRANGERS):
        lines.insert(150 * n, f"stranger-{n},Sam,12\n")
    for n in range(BROKEN):
        lines.insert(97 * n + 5, f"broken-{n},Lee\n")
    return "".join(lines).encode()


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    """Run a local S3."""
    with Moto() as moto:
        yield Bucket(moto)


def family(pid: int) -> list[int]:
    """List a process and all that it has started, and these."""
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in children.read_text().split():
                found += family(int(child))
    return found


def kill_all(server: Process) -> None:
    """End a server, its worker, and whoever works on jobs, as a power cut would."""
    everyone = family(server.pid)
    for pid in everyone:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    for pid in everyone:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    server.kill()


def test_a_large_job_that_is_killed_five_times_sends_each_row_once(
    site: Site, bucket: Bucket
) -> None:
    """Each valid row has one message, each other one a reason, and the counts add up."""
    site.settings |= {"bulk_hosts": bucket.host, "lease": "40", "unknown_deadline": "120"}
    data = audience()
    task = bucket.task(
        data,
        columns=COLUMNS,
        tenant_id=TENANT,
        parameters={
            "to": "{{mobile_phone}}",
            "body": "Hello {{first_name}}!",
        },
    )
    twin = site.twilio.twin
    site.twilio.faults.set_share(FAULTS)
    server = site.serve(connections=CONNECTIONS)
    answer = urllib3.request(
        "POST",
        f"http://127.0.0.1:{site.port}/ci360/bulk",
        body=encoded(task),
        headers={"x-api-key": API_KEY},
    )
    assert answer.status == 202, answer.data
    (job,) = site.parts.store.jobs()

    def now() -> Job:
        found = site.parts.store.job(job.key)
        assert found is not None
        return found

    moments: list[Callable[[], object]] = [
        lambda: now().state != "received",
        lambda: now().chunks and now().entered > now().chunks // 10,
        lambda: now().chunks and now().entered > now().chunks // 2,
        lambda: len(twin.messages) >= ROWS // 5,
        lambda: len(twin.messages) >= 3 * ROWS // 5,
    ]
    for reached in moments:
        wait(reached)
        kill_all(server)
        server = site.serve(connections=CONNECTIONS)
    wait(lambda: now().ended)
    done = now()
    assert server.ask_to_end() == 0, server.words[-2000:]

    good = ROWS - TWINS - STRANGERS - BROKEN
    assert (done.state, done.rows, done.bad) == ("done", ROWS, STRANGERS + BROKEN)
    assert sum(done.outcomes.values()) == ROWS
    assert done.outcomes["invalid_recipient"] == STRANGERS
    assert done.outcomes["wrong_column_count"] == BROKEN
    assert done.outcomes["duplicate_number"] == TWINS
    sent = Counter(message.to for message in twin.messages)
    assert max(sent.values()) == 1
    assert set(sent) <= {number(n) for n in range(good)}
    held = done.outcomes.get("held", 0)
    assert held <= len(moments) * CONNECTIONS + ROWS * LOST_SHARE
    assert done.outcomes["sent"] + held == good
    assert good - held <= len(sent) <= good
    result = site.command("jobs", "result", job.id, typed="")
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert [int(one["row"]) for one in rows] == list(range(1, ROWS + 1))
    assert all(one["sid"] or one["reason"] for one in rows)
    told = json.loads(site.command("jobs", "--json", typed="").stdout)
    assert told[0]["outcomes"] == done.outcomes


def wait(reached: Callable[[], Any]) -> None:
    """Look until something is so."""
    end = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)
