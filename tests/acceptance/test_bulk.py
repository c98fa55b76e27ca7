"""Bulk tasks: from CI360's body and a local S3 to messages, with real processes and sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.acceptance.bulk import Bucket, encoded
from tests.acceptance.conftest import API_KEY, GUARDED, OPEN
from tests.cloud.server import Moto


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
