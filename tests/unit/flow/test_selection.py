"""Which entries a person means: by name, or by what they have in common; in pages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ci360_twilio.core.entry import Entry, Fact, Key, Kind, Status, key_of
from ci360_twilio.core.event import Origin
from ci360_twilio.core.message import Message
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import NotKnown
from ci360_twilio.flow.selection import PAGE, Chosen, Named, Selection, named, pages
from ci360_twilio.ports import Query
from ci360_twilio.stores.memory import MemoryStore

ONE, TWO = TenantId("one"), TenantId("two")
NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
ACCEPTED = frozenset({Status.ACCEPTED})
SENDER = "+12015550199"


class Store(MemoryStore):
    """A ledger in memory that tells how much was read at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.limits: list[int] = []

    def find(self, query: Query) -> list[Entry]:
        """List, and remember the limit."""
        self.limits.append(query.limit)
        return super().find(query)

    def add(
        self,
        guid: str,
        tenant_id: TenantId = ONE,
        *,
        age: timedelta = timedelta(0),
        task: str | None = None,
        to: str = "+12015550142",
        sender: str = SENDER,
        **changes: Any,
    ) -> Key:
        """Write an entry."""
        key = key_of(tenant_id, guid)
        members: dict[str, Any] = {
            "key": key,
            "tenant_id": tenant_id,
            "guid": guid,
            "status": Status.ACCEPTED,
            "created_at": NOW - age,
            "due_at": NOW,
            "expires_at": NOW + timedelta(days=1),
            "purge_at": NOW + timedelta(days=90),
            "message": Message(to=to, sender=sender, body="Hello"),
            "origin": Origin(task_code=task),
        }
        self.insert_many([Entry(**(members | changes))])
        return key

    def chosen(self, chosen: Chosen, statuses: frozenset[Status] = ACCEPTED) -> list[str]:
        """Give the guids of all pages."""
        return [entry.guid for page in pages(self, chosen, statuses) for entry in page]


@pytest.fixture
def store() -> Store:
    """An empty ledger."""
    return Store()


@pytest.mark.parametrize(
    ("selection", "guids"),
    [
        (Selection(), ["a", "b", "c"]),
        (Selection(tenant_id=TWO), ["b"]),
        (Selection(task="TSK_1"), ["a"]),
        (Selection(sender="Acme"), ["b"]),
        (Selection(country="GB"), ["c"]),
        (Selection(since=NOW - timedelta(minutes=90)), ["a", "b"]),
        (Selection(task="TSK_1", country="GB"), []),
        (Selection(statuses=frozenset({Status.SENT})), []),
    ],
    ids=str,
)
def test_a_selection_takes_what_fits_in_everything(
    store: Store, selection: Selection, guids: list[str]
) -> None:
    """Newest first, and of the statuses that may be meant only."""
    store.add("a", task="TSK_1")
    store.add("b", TWO, sender="Acme", age=timedelta(hours=1))
    store.add("c", to="whatsapp:+447400123456", age=timedelta(hours=2))
    store.add("sent", status=Status.SENT, task="TSK_1")
    assert store.chosen(selection) == guids


def test_the_pages_of_a_long_list_are_bounded(store: Store) -> None:
    """Each entry comes once, however the times lie."""
    for index in range(3 * PAGE + 7):
        store.add(str(index), age=timedelta(milliseconds=index // 3))
    found = list(pages(store, Selection(), ACCEPTED, read=2 * PAGE))
    assert [len(page) for page in found][:2] == [PAGE, PAGE]
    guids = [entry.guid for page in found for entry in page]
    assert guids == sorted(map(str, range(3 * PAGE + 7)), key=_by_age)
    assert store.limits == [2 * PAGE] * 2


def _by_age(guid: str) -> tuple[int, int]:
    return int(guid) // 3, -int(guid)


@pytest.mark.parametrize("read", [1, 2, 3, 7, 10, 100])
def test_every_entry_is_found_once_however_many_are_of_one_moment(store: Store, read: int) -> None:
    """More are read at one time for them, and fewer again behind them."""
    number = 0
    for hours, count in enumerate((1, 20, 20, 3, 1, 9)):
        for _ in range(count):
            store.add(f"g-{number}", age=timedelta(hours=hours))
            number += 1
    found = [entry for page in pages(store, Selection(), ACCEPTED, read=read) for entry in page]
    assert len(found) == len({entry.key for entry in found}) == number
    assert found == sorted(found, key=lambda entry: entry.created_at, reverse=True)
    assert max(store.limits) <= max(read, 80)


def test_what_leaves_the_list_meanwhile_hides_nothing(store: Store) -> None:
    """As when every page is canceled before the next is read."""
    for index in range(2 * PAGE + 1):
        store.add(str(index))
    found = []
    for page in pages(store, Selection(), ACCEPTED, read=PAGE):
        found += page
        fact = Fact(kind=Kind.WITHDRAWN, at=NOW)
        store.record_many([(entry.key, fact) for entry in page])
    assert len(found) == 2 * PAGE + 1
    assert store.chosen(Selection()) == []


def test_named_entries_are_given_whatever_their_status(store: Store) -> None:
    """In the order in which they are named, each once; also by SID."""
    store.add("a", status=Status.SENDING)
    store.add("b", status=Status.REFUSED)
    receipt = Receipt(sid=f"SM{'0' * 32}", status="queued")
    store.record_many([(key_of(ONE, "a"), Fact(kind=Kind.MADE, at=NOW, receipt=receipt))])
    assert store.chosen(Named(guids=("b", "a", "b", receipt.sid))) == ["b", "a"]


def test_one_unknown_name_among_known_ones_is_told(store: Store) -> None:
    """Before anything is given, so that nothing is done to the others."""
    store.add("a")
    with pytest.raises(NotKnown, match="Nothing is known of x, y") as raised:
        store.chosen(Named(guids=("x", "a", "y")))
    assert "a," not in raised.value.message


def test_a_guid_of_two_tenants_needs_the_tenant(store: Store) -> None:
    """A guid is unique within its tenant only."""
    store.add("a")
    store.add("a", TWO)
    with pytest.raises(NotKnown, match=r"one, two.*--tenant"):
        named(store, Named(guids=("a",)))
    (entry,) = named(store, Named(guids=("a",), tenant_id=TWO))
    assert entry.tenant_id == TWO
    with pytest.raises(NotKnown):
        named(store, Named(guids=("a",), tenant_id=TenantId("three")))


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (Selection(), "all"),
        (
            Selection(task="TSK_1", tenant_id=ONE, statuses=frozenset({Status.FAILED}), since=NOW),
            "tenant one task TSK_1 status failed since 2026-03-02T09:30:00Z",
        ),
        (Named(guids=("a",)), "a"),
        (Named(guids=("a", "b", "c", "d", "e"), tenant_id=ONE), "a, b, c and 2 more of tenant one"),
    ],
)
def test_what_is_chosen_can_be_said(chosen: Chosen, words: str) -> None:
    """For the audit."""
    assert str(chosen) == words
