"""A ledger that is restored from a backup: what was sent since then is not sent again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from ci360_twilio.core.entry import Entry, Status

if TYPE_CHECKING:
    from tests.acceptance.conftest import Running

OPEN = "open-tenant"
BEFORE, WAITING, AFTER = 200, 20, 60
"""Events of a campaign that is going out while the backup is made, that wait then behind a pause,
and that come afterwards."""


@pytest.fixture
def served(run_connector: Callable[..., AbstractContextManager[Running]]) -> Iterator[Running]:
    """Run a connector whose ledger may be replaced."""
    with run_connector(connections="16") as made:
        made.tenant(OPEN)
        yield made


def commanded(running: Running, *arguments: str) -> str:
    """Run a command that succeeds, and give what it printed."""
    done = running.command(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def nothing_is_under_way(running: Running) -> bool:
    """Tell whether all that is left waits for a person."""
    with running.store() as store:
        return set(store.summary(datetime.now(UTC)).unfinished) <= {Status.HELD}


def test_nobody_gets_a_second_message_after_a_restore(served: Running) -> None:
    """CI360 posts everything once more, and a person lets the ledger send again.

    What the backup says was under way is looked for in Twilio's list; what it does not know, and
    may have been sent since, is held.
    """
    campaign = events(served, BEFORE, "TSK_CAMPAIGN")
    paused = events(served, WAITING, "TSK_PAUSED")
    commanded(served, "pause", "task", "TSK_PAUSED")
    served.faults.set_share({"slow:0.1": 1.0})
    assert set(served.post_many([*paused, *campaign])) == {202}
    copy = served.folder / "yesterday.db"
    commanded(served, "ledger", "backup", str(copy))
    commanded(served, "resume", "task", "TSK_PAUSED", "--yes")
    later = events(served, AFTER, "TSK_LATER")
    assert set(served.post_many(later)) == {202}
    served.until(lambda: nothing_is_under_way(served), 60)
    served.faults.set_share({})
    everything = [*campaign, *paused, *later]
    assert len(served.twin.messages) == len(everything)

    told = commanded(served, "ledger", "restore", str(copy), "--yes")
    assert "Nothing is sent until: ci360-twilio ledger restore --resume" in told
    lost = {entry.guid for entry in served.entries() if ("restore", "unknown") in _steps(entry)}
    assert {event["guid"] for event in paused} <= lost
    assert not served.entries(Status.ACCEPTED, Status.SENDING)

    assert set(served.post_many(everything)) <= {200, 202}
    number = served.number()
    new = served.event(f"TO:{number};Fresh news", age=0.0)
    assert served.post(new)[0] == 202
    checked = served.command("check")
    assert (checked.returncode, "was restored and sends nothing" in checked.stdout) == (1, True)
    assert len(served.twin.messages) == len(everything)

    commanded(served, "ledger", "restore", "--resume")
    assert served.settled(new["guid"]).status is Status.SENT
    served.until(lambda: nothing_is_under_way(served), 60)
    times = Counter(message.to for message in served.twin.messages)
    assert set(times.values()) == {1}
    assert len(times) == len(everything) + 1

    entries = {entry.guid: entry for entry in served.entries()}
    known = [entries[event["guid"]] for event in (*campaign, *paused)]
    sids = {message.to: message.sid for message in served.twin.messages}
    assert {entry.status for entry in known} == {Status.SENT}
    assert [entry.sid for entry in known] == [sids[_recipient(entry)] for entry in known]
    assert {entry.guid for entry in known if entry.guessed} == lost
    held = [entries[event["guid"]] for event in later]
    ends = {(entry.status, entry.reason, entry.attempts) for entry in held}
    assert ends == {(Status.HELD, "older_than_restore", 0)}
    told = commanded(served, "trace", later[0]["guid"])
    assert "The event is older than the ledger's restore and may have been sent before." in told
    story = served.trace(paused[0]["guid"])["history"]
    found = [(one["step"], one["decision"], one["reason"]) for one in story]
    assert ("restore", "unknown", "restored") in found
    assert ("find", "sent", None) in found


def events(running: Running, number: int, task: str) -> list[Any]:
    """Make events of a task."""
    return [
        running.event(f"TO:{running.number()};News of today", task_code=task) for _ in range(number)
    ]


def _recipient(entry: Entry) -> str:
    return entry.message.to if entry.message else ""


def _steps(entry: Entry) -> list[tuple[str, str]]:
    return [(step.step, step.decision) for step in entry.history]
