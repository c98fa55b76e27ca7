"""Sending again: what speaks against it, and the new entry that does it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from ci360_twilio.core.advance import advance
from ci360_twilio.core.entry import Entry, Fact, Kind, Lease, Status, Step, key_of
from ci360_twilio.core.event import Origin
from ci360_twilio.core.message import Message
from ci360_twilio.core.replay import REPLAYABLE, again, objection
from ci360_twilio.core.tenant import TenantId

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
TTL = timedelta(days=1)
ONE = TenantId("one")
GUID = "5d0c5a0e-6f43-4a53-9b3c-8f2f4f6c1a77"


def entry(**changes: Any) -> Entry:
    """Give an entry of yesterday that failed."""
    made = NOON - timedelta(days=1)
    members: dict[str, Any] = {
        "key": key_of(ONE, GUID),
        "tenant_id": ONE,
        "guid": GUID,
        "status": Status.FAILED,
        "created_at": made,
        "generated_at": made,
        "due_at": made,
        "expires_at": made + TTL,
        "purge_at": made + timedelta(days=90),
        "message": Message(to="+12015550142", sender="+12015550199", body="Hello Anna"),
        "origin": Origin(task_code="TSK_539"),
    }
    return Entry(**(members | changes))


def link(**changes: Any) -> Entry:
    """Give the entry that sends one again."""
    return again(entry(**changes), now=NOON, ttl=TTL, step="steer", reason="replayed")


def objected(**changes: Any) -> str | None:
    """Give the code of what speaks against it."""
    found = objection(entry(**changes))
    return found.code if found else None


@pytest.mark.parametrize("status", sorted(REPLAYABLE))
def test_what_was_refused_failed_or_not_delivered_may_be_sent_again(status: Status) -> None:
    """Nothing speaks against it where the cause may have passed."""
    assert objected(status=status, error_code=30003) is None


@pytest.mark.parametrize("status", sorted(set(Status) - REPLAYABLE))
def test_every_other_status_is_not_replayed(status: Status) -> None:
    """It waits, has arrived, was left out on purpose, or nobody knows; insisting does not help."""
    found = objection(entry(status=status))
    assert found is not None
    assert found.code == "not_replayable"
    assert found.final


def test_a_message_is_replayed_once() -> None:
    """The second time, the entry that replayed it is the one to look at."""
    assert objected(replayed_by=key_of(ONE, "other")) == "replayed"


@pytest.mark.parametrize(
    "changes", [{"message": None}, {"problems": (("to", "is missing"),)}], ids=["none", "problems"]
)
def test_what_our_own_gates_refused_is_not_replayed(changes: dict[str, Any]) -> None:
    """There is nothing to send, or it is known to be wrong."""
    assert objected(status=Status.REFUSED, **changes) == "no_message"


def test_a_recipient_who_opted_out_is_never_sent_to_again() -> None:
    """Insisting does not help."""
    found = objection(entry(error_code=21610))
    assert found is not None
    assert found.code == "opted_out"
    assert found.final


@pytest.mark.parametrize("code", [21211, 21617, 21620], ids=["recipient", "content", "media"])
def test_who_insists_may_replay_what_would_fail_again(code: int) -> None:
    """The number may have been given out anew, the address may work by now."""
    found = objection(entry(error_code=code))
    assert found is not None
    assert found.code == "hopeless"
    assert not found.final


def test_an_error_that_is_not_described_is_no_objection() -> None:
    """Twilio has more codes than we know."""
    assert objected(error_code=99_999) is None


def test_the_new_entry_carries_the_message_and_where_it_comes_from() -> None:
    """What the customer gets and whom CI360 credits stay the same; so does its rank."""
    old, new = entry(bulk=True), link(bulk=True)
    assert (new.tenant_id, new.message, new.origin, new.bulk) == (
        old.tenant_id,
        old.message,
        old.origin,
        True,
    )
    assert new.replay_of == old.key


def test_the_new_entry_begins_a_life_of_its_own() -> None:
    """Nothing is left of what became of the old one, its token for receipts least of all."""
    new = link(
        sid="SM" + "1" * 32,
        provider_status="failed",
        error_code=30003,
        attempts=3,
        repeats=2,
        looks=4,
        correlation="1" * 32,
        started_at=NOON,
        lost_at=NOON,
        guessed=True,
        reason="twilio_30003",
        lease=Lease(token="a", until=NOON),
        replay_of=key_of(ONE, "first"),
    )
    assert new == link()
    assert new.status is Status.ACCEPTED
    assert new.history == (Step(at=NOON, step="steer", decision="accepted", reason="replayed"),)


def test_the_new_entry_may_be_sent_at_once_and_for_a_whole_life() -> None:
    """It counts from now, not from the event."""
    new = link()
    assert (new.created_at, new.generated_at, new.due_at) == (NOON, NOON, NOON)
    assert new.expires_at == NOON + TTL


def test_the_new_entry_is_kept_as_long_as_the_old_one() -> None:
    """The tenant's retention is the span that the old one had."""
    assert link().purge_at == NOON + timedelta(days=90)


def test_the_new_entry_is_kept_at_least_while_it_may_be_sent() -> None:
    """A retention that is shorter than a life gives way."""
    made = NOON - timedelta(days=1)
    assert link(purge_at=made + timedelta(hours=1)).purge_at == NOON + TTL


def test_a_message_of_tomorrow_is_not_sent_today_because_it_is_sent_again() -> None:
    """A restore makes unknown what still waits for its day; its life begins on that day."""
    tomorrow = NOON + timedelta(days=3)
    new = link(not_before=tomorrow, not_after=tomorrow + timedelta(hours=8))
    assert new.not_before == tomorrow
    assert new.deadline == tomorrow + timedelta(hours=8)
    assert new.expires_at == tomorrow + TTL
    assert new.purge_at >= new.expires_at


def test_making_it_twice_gives_one_key() -> None:
    """Whoever is interrupted may do it again."""
    assert link().key == link(status=Status.UNDELIVERED).key == key_of(ONE, f"{GUID}~again")


def test_what_sends_again_can_be_sent_again() -> None:
    """Each has a key of its own, in a chain."""
    first = msgspec.structs.replace(link(), status=Status.FAILED)
    assert objection(first) is None
    second = again(first, now=NOON, ttl=TTL, step="steer", reason="replayed")
    assert second.replay_of == first.key
    assert len({key_of(ONE, GUID), first.key, second.key}) == 3


def test_the_old_entry_is_linked_to_the_new_one_once() -> None:
    """The link is what the next replay is refused by."""
    new = link()
    fact = Fact(kind=Kind.LINKED, at=NOON, link=new.key)
    linked = advance(entry(), fact)
    assert linked is not None
    assert linked.replayed_by == new.key
    assert linked.status is Status.FAILED
    assert linked.history[-1].decision == "replayed"
    assert advance(linked, fact) is None
