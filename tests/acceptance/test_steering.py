"""What a person steers by, on a running connector: pause, resume, cancel, replay and resolve."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from ci360_twilio.core.entry import Entry, Status
from ci360_twilio.twin.faults import Fault

if TYPE_CHECKING:
    from tests.acceptance.conftest import Running

API_KEY = "key-for-acceptance-3f9a7c1e5b2d"
OPEN, OTHER = "open-tenant", "other-tenant"
CONNECTIONS = 32
CAMPAIGN, LATE = 5_000, 400
"""Events of the campaign, and how many of them are of yesterday and soon too old."""
DAY = 86_400.0


@pytest.fixture(scope="module")
def steered(run_connector: Callable[..., AbstractContextManager[Running]]) -> Iterator[Running]:
    """Run a connector whose whole traffic may be stopped."""
    with run_connector(connections=str(CONNECTIONS)) as made:
        made.tenant(OPEN)
        made.tenant(OTHER)
        yield made


def commanded(running: Running, *arguments: str) -> str:
    """Run a command that succeeds, and give what it printed."""
    done = running.command(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def all_wait(running: Running) -> bool:
    """Tell whether the worker has met everything that is due."""
    with running.store() as store:
        return store.summary(datetime.now(UTC)).due == 0


def nothing_is_open(running: Running) -> bool:
    """Tell whether everything has come to its end."""
    with running.store() as store:
        return not store.summary(datetime.now(UTC)).unfinished


def waits(entry: Entry) -> bool:
    """Tell whether an entry waits behind a pause."""
    return (entry.status, entry.reason) == (Status.ACCEPTED, "paused")


def test_a_campaign_that_is_paused_stops_and_goes_on_without_a_loss(steered: Running) -> None:
    """Once ``pause`` has spoken only what was leaving then arrives, at most what may be open.

    Afterwards each event that is not too old is one message, and each of the others ``expired``.
    """
    steered.faults.set_share({"slow:0.08": 1.0})
    events = [steered.event(f"TO:{steered.number()};Big news") for _ in range(CAMPAIGN - LATE)]
    assert set(steered.post_many(events)) == {202}
    with subprocess.Popen(
        [sys.executable, "-m", "ci360_twilio", "pause", "all"],
        env=steered.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as pausing:
        assert pausing.stdout is not None
        assert pausing.stdout.readline().startswith(b"Paused: everything.")
        made = {message.to for message in steered.twin.messages}
        leaving = {_recipient(entry) for entry in steered.entries(Status.SENDING)}
        assert pausing.wait(30) == 0
    late = [steered.event(f"TO:{steered.number()};Old news", age=DAY - 6.0) for _ in range(LATE)]
    assert set(steered.post_many(late)) == {202}
    steered.until(lambda: all_wait(steered) and not steered.entries(Status.SENDING), 60)
    after = [message.to for message in steered.twin.messages if message.to not in made]
    assert set(after) <= leaving
    assert len(after) <= CONNECTIONS

    expired = steered.until(lambda: _when(steered.entries(Status.EXPIRED), LATE), 30)
    assert {entry.guid for entry in expired} == {event["guid"] for event in late}
    valid = steered.entries(Status.ACCEPTED)
    steered.faults.set_share({})
    told = commanded(steered, "resume", "all", "--yes")
    assert len(valid) > 0
    words = f"{len(valid):,} can still be sent, {LATE} have expired"
    assert words in told.partition("Resumed")[0]
    steered.until(lambda: nothing_is_open(steered), 60)
    times = Counter(message.to for message in steered.twin.messages)
    assert set(times.values()) == {1}
    entries = {entry.guid: entry for entry in steered.entries()}
    assert {_recipient(entries[event["guid"]]) for event in events} == set(times)
    assert {entries[event["guid"]].status for event in events} == {Status.SENT}
    ends = {(entries[event["guid"]].status, entries[event["guid"]].reason) for event in late}
    assert ends == {(Status.EXPIRED, "expired")}


def _recipient(entry: Entry) -> str:
    return entry.message.to if entry.message else ""


def _when(entries: list[Entry], number: int) -> list[Entry]:
    return entries if len(entries) >= number else []


def test_resume_says_how_much_has_expired_behind_the_pause(steered: Running) -> None:
    """Whoever resumes decides about what is left, and must know what is not."""
    commanded(steered, "pause", "task", "TSK_AGED")
    creatives = [f"TO:{steered.number()};Still good" for _ in range(5)]
    events = [
        steered.event(creative, task_code="TSK_AGED", age=DAY - 3.0 if number < 2 else 1.0)
        for number, creative in enumerate(creatives)
    ]
    assert set(steered.post_many(events)) == {202}
    for event in events[:2]:
        steered.reached(event["guid"], lambda entry: entry.status is Status.EXPIRED)
    for event in events[2:]:
        steered.reached(event["guid"], waits)
    told = commanded(steered, "resume", "task", "TSK_AGED", "--yes")
    assert [steered.settled(event["guid"]).status for event in events[2:]] == [Status.SENT] * 3
    assert "3 can still be sent, 2 have expired" in told


TARGETS: dict[str, tuple[tuple[str, str], str, dict[str, Any]]] = {
    "task": (("task", "TSK_QUIET"), "TO:{to};Hush", {"task_code": "TSK_QUIET"}),
    "sender": (("sender", "+12015550188"), "TO:{to};FROM:+12015550188;Hush", {}),
    "country": (("country", "GB"), "TO:+447700900123;Hush", {}),
    "tenant": (("tenant", OTHER), "TO:{to};Hush", {"tenant_id": OTHER}),
}


@pytest.mark.parametrize("scope", TARGETS)
def test_a_pause_covers_what_it_names_and_nothing_else(steered: Running, scope: str) -> None:
    """The paused event comes first, is met by the worker, and waits; the other one goes out."""
    target, template, members = TARGETS[scope]
    steered.exposed.add("+447700900123")
    tenant_id = members.get("tenant_id", OPEN)
    commanded(steered, "pause", *target)
    quiet = steered.event(template.format(to=steered.number()), **members)
    number = steered.number()
    loud = steered.event(f"TO:{number};Hello")
    assert [steered.post(event)[0] for event in (quiet, loud)] == [202, 202]
    assert steered.settled(loud["guid"]).status is Status.SENT
    entry = steered.reached(quiet["guid"], waits, tenant_id)
    assert (entry.attempts, steered.made_for(_recipient(entry))) == (0, [])
    assert len(steered.made_for(number)) == 1
    told = steered.trace(quiet["guid"])
    assert (told["status"], told["reason"]) == ("accepted", "paused")
    commanded(steered, "resume", *target, "--yes")
    assert steered.settled(quiet["guid"], tenant_id).status is Status.SENT
    assert len(steered.made_for(_recipient(entry))) == 1


def test_a_pause_outlives_the_server(steered: Running) -> None:
    """It is killed, and started again: what waited and what comes then wait on."""
    commanded(steered, "pause", "all", "--reason", "the text is wrong")
    numbers = [steered.number() for _ in range(3)]
    ages = (1.0, DAY - 4.0, 1.0)
    before, aged, after = (
        steered.event(f"TO:{number};On hold", age=age)
        for number, age in zip(numbers, ages, strict=True)
    )
    assert {steered.post(event)[0] for event in (before, aged)} == {202}
    for event in (before, aged):
        steered.reached(event["guid"], waits)
    steered.stop(signal.SIGKILL)
    expired = re.compile("1 can still be sent, 1 have expired")
    steered.until(
        lambda: expired.search(commanded(steered, "resume", "all", "--dry-run")), seconds=30
    )
    steered.start()
    assert steered.post(after)[0] == 202
    for event in (before, after):
        steered.reached(event["guid"], waits)
    assert steered.settled(aged["guid"]).status is Status.EXPIRED
    assert not any(steered.made_for(number) for number in numbers)
    commanded(steered, "resume", "all", "--yes")
    for event in (before, after):
        assert steered.settled(event["guid"]).status is Status.SENT
    assert [len(steered.made_for(number)) for number in numbers] == [1, 0, 1]
    assert "the text is wrong" in commanded(steered, "audit")


def test_what_is_canceled_behind_a_pause_is_never_sent(steered: Running) -> None:
    """Only the rest of the paused goes out when it is resumed."""
    commanded(steered, "pause", "all")
    wrong = [
        steered.event(f"TO:{steered.number()};Wrong price", task_code="TSK_WRONG") for _ in range(3)
    ]
    number = steered.number()
    right = steered.event(f"TO:{number};Right price")
    assert set(steered.post_many([*wrong, right])) == {202}
    recipients = [_recipient(steered.reached(event["guid"], waits)) for event in (*wrong, right)]
    told = commanded(steered, "cancel", "--task", "TSK_WRONG", "--yes")
    assert "3 messages canceled" in told
    commanded(steered, "resume", "all", "--yes")
    assert steered.settled(right["guid"]).status is Status.SENT
    assert [steered.settled(event["guid"]).status for event in wrong] == [Status.CANCELED] * 3
    assert [len(steered.made_for(to)) for to in recipients] == [0, 0, 0, 1]
    assert steered.post(wrong[0]) == (
        200,
        {
            "status": "canceled",
            "guid": wrong[0]["guid"],
            "reason": "withdrawn",
            "duplicate": True,
        },
    )


def test_a_failed_message_is_replayed_once(called_back: Running) -> None:
    """The new message has an entry of its own; each names the other in ``trace``."""
    number = called_back.number()
    called_back.twin.plan_fates(number, ["failed:30008", "delivered"])
    event = called_back.event(f"TO:{number};Once more", tenant_id="guarded-tenant")
    guid, again = event["guid"], f"{event['guid']}~again"
    assert called_back.post(event, x_api_key=API_KEY)[0] == 202
    called_back.reached(guid, lambda entry: entry.status is Status.FAILED, "guarded-tenant")
    assert "1 message will be sent again" in commanded(called_back, "replay", guid, "--yes")
    called_back.reached(again, lambda entry: entry.status is Status.DELIVERED, "guarded-tenant")
    old, new = called_back.trace(guid), called_back.trace(again)
    assert (old["status"], old["replayed_by"], old["replay_of"]) == ("failed", new["key"], None)
    assert (new["status"], new["replay_of"], new["replayed_by"]) == ("delivered", old["key"], None)
    assert old["sid"] != new["sid"]
    refused = called_back.command("replay", guid, "--yes")
    assert (refused.returncode, "replayed before" in refused.stdout) == (1, True)
    assert {message.sid for message in called_back.made_for(number)} == {old["sid"], new["sid"]}


def test_a_held_message_is_resolved_by_a_person(steered: Running) -> None:
    """Twilio lists two that may be it. It is one of them, or none, or is to be sent again."""
    numbers = [steered.number() for _ in range(3)]
    events = [steered.event(f"TO:{number};Which one?") for number in numbers]
    for number, event in zip(numbers, events, strict=True):
        steered.faults.for_recipient(number, [Fault.RESET])
        steered.twin.weather.for_recipient(number, ["stranger:1"])
        assert steered.post(event)[0] == 202
    for event in events:
        held = steered.reached(event["guid"], lambda entry: entry.status is Status.HELD)
        assert held.reason == "several_candidates"
    one, none, more = (event["guid"] for event in events)
    assert one in commanded(steered, "messages", "--status", "held")

    (ours,) = [message for message in steered.made_for(numbers[0]) if not message.stranger]
    commanded(steered, "resolve", one, "sent", "--sid", ours.sid, "--yes")
    entry = steered.settled(one)
    assert (entry.status, entry.sid, entry.guessed) == (Status.SENT, ours.sid, False)

    commanded(steered, "resolve", none, "not-sent", "--yes")
    assert steered.settled(none).status is Status.CANCELED

    steered.twin.weather.for_recipient(numbers[2], [])
    commanded(steered, "resolve", more, "resend", "--yes")
    assert steered.settled(more).status is Status.CANCELED
    fresh = steered.settled(f"{more}~again")
    assert fresh.status is Status.SENT
    assert steered.trace(more)["replayed_by"] == fresh.key
    made = [sum(not message.stranger for message in steered.made_for(number)) for number in numbers]
    assert made == [1, 1, 2]
