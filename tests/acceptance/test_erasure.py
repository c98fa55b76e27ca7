"""A person who is erased from a running connector: nothing of them is left, and STOP stays in force.

Every file of the connector's is looked through byte for byte: the ledger with its free pages and its
log, the logs of the processes, and what the commands have printed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from ci360_twilio.core.entry import Status
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.flow.addresses import inbound_address
from ci360_twilio.twin.life import Life

if TYPE_CHECKING:
    from tests.acceptance.conftest import Running

ACCOUNT, TENANT = f"AC{'7c' * 16}", "guarded-tenant"
API_KEY = "key-for-acceptance-3f9a7c1e5b2d"
NUMBER, DATAHUB_ID, SUBJECT_ID = "+12015550642", "datahub-of-eve-42", "subject-of-eve-42"
TEXT, REPLY = "Eve, your room is number 4242", "I am Eve and I bring 42 friends"
TRACES = (NUMBER[1:], "(201) 555-0642", DATAHUB_ID, SUBJECT_ID, TEXT, REPLY, "Eve")


@pytest.fixture
def looped(run_connector: Callable[..., AbstractContextManager[Running]]) -> Iterator[Running]:
    """Run a connector of its own, with many other customers around."""
    with run_connector(life=Life(until_sent=0.1, until_final=0.2), public_url="own") as running:
        running.tenant(TENANT, api_keys=[API_KEY], **running.ci360.members)
        running.twin.set_inbound(
            ACCOUNT, inbound_url=inbound_address(running.url, TenantId(TENANT)), blocks=False
        )
        others = [
            running.event(f"TO:{running.number()};\nHello number {index}", tenant_id=TENANT)
            for index in range(60)
        ]
        assert set(running.post_many(others, x_api_key=API_KEY)) == {202}
        yield running


def event_for_her(running: Running, **members: Any) -> Any:
    """Make an event for the person who will be erased."""
    return running.event(
        f"TO:{NUMBER};\n{TEXT}",
        tenant_id=TENANT,
        subject_id=SUBJECT_ID,
        identity_id=DATAHUB_ID,
        **members,
    )


def files_of(running: Running) -> list[Path]:
    """List all files that the connector has, but the backups."""
    return [one for one in running.folder.rglob("*") if one.is_file() and one.suffix != ".backup"]


def traces_in(content: bytes) -> set[str]:
    """Give what of her stands in a file, in any of the usual spellings."""
    return {
        trace
        for trace in TRACES
        for form in (trace, json.dumps(trace)[1:-1], quote(trace), trace.replace(" ", "+"))
        if form.encode() in content
    }


@pytest.mark.parametrize("by", ["number", "datahub_id", "subject_id"])
def test_nothing_of_an_erased_person_is_left_and_her_stop_holds(looped: Running, by: str) -> None:
    """Messages, texts, consent, reports, free pages and the log: whatever she was named by."""
    looped.exposed.add(*TRACES)
    first = event_for_her(looped)
    assert looped.post(first, x_api_key=API_KEY)[0] == 202
    looped.reached(first["guid"], lambda entry: entry.status is Status.DELIVERED, TENANT)
    looped.heard(looped.write(NUMBER, REPLY))
    stop = looped.write(NUMBER, "STOP")
    looped.until(lambda: looped.ci360.told("opt_out", twilio_message_sid=stop))
    second = event_for_her(looped)
    looped.post(second, x_api_key=API_KEY)
    looped.until(lambda: looped.ci360.told("suppressed", twilio_guid=second["guid"]))
    backup = looped.folder / "before.backup"
    assert looped.command("ledger", "backup", str(backup)).returncode == 0
    assert any(traces_in(one.read_bytes()) for one in files_of(looped))

    named = {"number": NUMBER, "datahub_id": DATAHUB_ID, "subject_id": SUBJECT_ID}[by]
    options = [] if by == "number" else ["--identity", by]
    done = looped.command("erase", "--tenant", TENANT, *options, "--yes", typed=named)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 messages, 2 texts, the number in 1 consent" in done.stdout
    assert "byte for byte: none of these numbers and identities is there" in done.stdout
    assert f"Backup {backup}: still holds them" in done.stdout
    audit = looped.command("audit", "--json")
    for said in (done.stdout, done.stderr, audit.stdout):
        assert traces_in(said.encode()) == set()
    assert {one.name: traces_in(one.read_bytes()) for one in files_of(looped)} == {
        one.name: set() for one in files_of(looped)
    }

    made = len(looped.made_for(NUMBER))
    again = looped.post(first, x_api_key=API_KEY)
    assert (again[0], again[1]["duplicate"]) == (200, True)
    later = event_for_her(looped)
    looped.post(later, x_api_key=API_KEY)
    assert looped.settled(later["guid"], TENANT).reason == "opted_out"
    assert len(looped.made_for(NUMBER)) == made == 1

    looped.stop()
    with closing(sqlite3.connect(looped.ledger)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    done = looped.command("ledger", "restore", str(backup), "--yes")
    assert done.returncode == 0, done.stderr
    assert looped.command("export", "--tenant", TENANT, typed="+12015550000").returncode == 1
    looped.start()
    assert looped.post(first, x_api_key=API_KEY)[1]["duplicate"] is True
    looped.command("ledger", "restore", "--resume")
    last = event_for_her(looped)
    looped.post(last, x_api_key=API_KEY)
    assert looped.settled(last["guid"], TENANT).reason == "opted_out"
    assert len(looped.made_for(NUMBER)) == 1
