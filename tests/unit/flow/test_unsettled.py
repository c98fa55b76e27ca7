"""Open entries by recipient: who stands beside an entry, and how often all are listed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ci360_twilio.core.entry import Entry, Fact, Kind, Lease, Status, key_of
from ci360_twilio.core.message import Message
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.flow.unsettled import OPEN, PAGE, REST, Unsettled
from ci360_twilio.ports import Query
from ci360_twilio.stores.memory import MemoryStore

if TYPE_CHECKING:
    from tests.conftest import SetClock

ONE, TWO = TenantId("one"), TenantId("two")
TO = "+12015550142"


class Ledger(MemoryStore):
    """A ledger in memory whose listing takes time."""

    def __init__(self, clock: SetClock) -> None:
        super().__init__()
        self.listed: list[Query] = []
        self.seconds = 0.0
        self._clock = clock

    def find(self, query: Query) -> list[Entry]:
        """List, and take as long as is said."""
        self.listed.append(query)
        self._clock.advance(seconds=self.seconds)
        return super().find(query)


def entry(guid: str, at: datetime, **changes: Any) -> Entry:
    """Give an unknown entry."""
    tenant_id = changes.get("tenant_id", ONE)
    members: dict[str, Any] = {
        "key": key_of(tenant_id, guid),
        "tenant_id": tenant_id,
        "guid": guid,
        "status": Status.UNKNOWN,
        "created_at": at,
        "due_at": at,
        "expires_at": at + timedelta(days=1),
        "purge_at": at + timedelta(days=90),
        "message": Message(to=TO, sender="+12015550199", body="Hello Anna"),
    }
    return Entry(**(members | changes))


@pytest.fixture
def ledger(clock: SetClock) -> Ledger:
    """Give an empty ledger."""
    return Ledger(clock)


@pytest.fixture
def unsettled(ledger: Ledger, clock: SetClock) -> Unsettled:
    """Give what knows the ledger's open entries."""
    return Unsettled(ledger, clock)


def beside(unsettled: Unsettled, one: Entry) -> list[str]:
    """Give the guids of those beside an entry."""
    return sorted(other.guid for other in unsettled.beside(one))


def test_open_entries_of_the_tenant_to_the_recipient_stand_beside_each_other(
    ledger: Ledger, unsettled: Unsettled, clock: SetClock
) -> None:
    """Not those that are settled, another tenant's, or another recipient's."""
    one = entry("a", clock.now)
    elsewhere = Message(to="+12015550143", sender="+12015550199", body="Hello Anna")
    lease = Lease(token="t", until=clock.now + timedelta(seconds=60))
    ledger.insert_many(
        [
            one,
            entry("unknown", clock.now),
            entry("sending", clock.now, status=Status.SENDING, lease=lease),
            entry("elsewhere", clock.now, message=elsewhere),
            entry("nothing", clock.now, message=None),
            entry("theirs", clock.now, tenant_id=TWO),
            *(entry(status, clock.now, status=status) for status in set(Status) - OPEN),
        ]
    )
    assert beside(unsettled, one) == ["sending", "unknown"]


def test_an_entry_without_a_message_has_nobody_beside_it(
    ledger: Ledger, unsettled: Unsettled, clock: SetClock
) -> None:
    """And nothing is listed for it."""
    one = entry("a", clock.now, message=None)
    ledger.insert_many([one, entry("b", clock.now, message=None)])
    assert beside(unsettled, one) == []
    assert ledger.listed == []


def test_the_oldest_of_thousands_is_listed(
    ledger: Ledger, unsettled: Unsettled, clock: SetClock
) -> None:
    """All pages are read, also where many entries are of one time at the edge of a page."""
    old, edge = clock.now, clock.now + timedelta(minutes=1)
    crowd = [
        entry(f"{number}", edge, message=Message(to=f"+1201556{number:04}", sender="X", body="Hi"))
        for number in range(40)
    ]
    rest = [
        entry(f"n{number}", edge + timedelta(seconds=number), message=None)
        for number in range(1, PAGE - 19)
    ]
    twin = entry("twin", edge)
    ledger.insert_many([entry("old", old), twin, *crowd, *rest])
    assert beside(unsettled, twin) == ["old"]
    assert len(ledger.listed) == 2


def test_a_page_of_one_moment_does_not_last_for_ever(
    ledger: Ledger, unsettled: Unsettled, clock: SetClock
) -> None:
    """A whole file may have been accepted at once; what is older is listed all the same."""
    crowd = [entry(f"{number}", clock.now, message=None) for number in range(PAGE + 5)]
    one, other = (entry(guid, clock.now - timedelta(seconds=1)) for guid in ("one", "other"))
    ledger.insert_many([one, other, *crowd])
    assert beside(unsettled, one) == ["other"]


def test_a_listing_that_was_quick_is_made_anew(
    ledger: Ledger, unsettled: Unsettled, clock: SetClock
) -> None:
    """So that nothing is missed."""
    one = entry("a", clock.now)
    ledger.insert_many([one, entry("b", clock.now)])
    assert beside(unsettled, one) == ["b"]
    ledger.insert_many([entry("c", clock.now)])
    assert beside(unsettled, one) == ["b", "c"]


def test_a_listing_that_took_long_is_used_for_a_while(
    ledger: Ledger, unsettled: Unsettled, clock: SetClock
) -> None:
    """In proportion: so it takes a small part of the time, however much is open."""
    ledger.seconds = 3
    one, other = entry("a", clock.now), entry("b", clock.now)
    ledger.insert_many([one, other])
    assert beside(unsettled, one) == ["b"]
    clock.advance(seconds=3 * REST - 1)
    assert beside(unsettled, other) == ["a"]
    assert len(ledger.listed) == 1
    clock.advance(seconds=1)
    beside(unsettled, one)
    assert len(ledger.listed) == 2


def test_what_is_settled_since_the_listing_does_not_count(
    ledger: Ledger, unsettled: Unsettled, clock: SetClock
) -> None:
    """Entries are read as they are now."""
    ledger.seconds = 3
    one, other = entry("a", clock.now), entry("b", clock.now)
    ledger.insert_many([one, other])
    unsettled.beside(one)
    ledger.record_many([(other.key, Fact(kind=Kind.HELD, at=clock.now, reason="not_found"))])
    assert beside(unsettled, one) == []


def test_a_clock_that_is_set_back_has_all_listed_anew(
    ledger: Ledger, unsettled: Unsettled, clock: SetClock
) -> None:
    """A listing would be used for hours otherwise."""
    ledger.seconds = 3
    one = entry("a", clock.now)
    ledger.insert_many([one, entry("b", clock.now)])
    unsettled.beside(one)
    clock.advance(hours=-5)
    unsettled.beside(one)
    assert len(ledger.listed) == 2


def test_an_attempt_whose_lease_is_over_counts_as_unknown(
    ledger: Ledger, unsettled: Unsettled, clock: SetClock
) -> None:
    """Nobody has swept it yet."""
    lease = Lease(token="t", until=clock.now)
    one = entry("a", clock.now)
    ledger.insert_many([one, entry("b", clock.now, status=Status.SENDING, lease=lease)])
    assert [other.status for other in unsettled.beside(one)] == [Status.UNKNOWN]
