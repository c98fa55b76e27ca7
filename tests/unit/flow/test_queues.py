"""What waits for each sender: added up, timed, and what would be too late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ci360_twilio.core.entry import Entry, Status, key_of
from ci360_twilio.core.message import Message
from ci360_twilio.core.pace import Rate
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.flow.queues import Queue, queues, usual_rate
from ci360_twilio.ports import unpaced
from ci360_twilio.stores.memory import MemoryStore

ONE, TWO = TenantId("one"), TenantId("two")
NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
LONG, SERVICE = "+12015550199", f"MG{'0' * 32}"


@pytest.mark.parametrize(
    ("sender", "rate"),
    [
        ("+12015550199", 1),
        ("+447400123456", 1),
        ("+18005550199", 3),
        ("+18885550199", 3),
        ("20155", 100),
        ("whatsapp:+12015550199", 80),
        (SERVICE, None),
        ("Acme", None),
        ("rcs:acme", None),
    ],
)
def test_twilios_usual_rates_are_known_by_the_kind_of_sender(
    sender: str, rate: float | None
) -> None:
    """Of pools and names nobody can tell."""
    assert usual_rate(sender) == rate


class Office:
    """A ledger in memory, and what waits in it."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self._number = 0

    def add(
        self,
        number: int,
        *,
        sender: str = LONG,
        tenant_id: TenantId = ONE,
        to: str = "+12015550142",
        body: str = "Hello",
        media: tuple[str, ...] = (),
        **changes: Any,
    ) -> None:
        """Write entries that are due, a day before they expire."""
        for _ in range(number):
            self._number += 1
            guid = f"g-{self._number}"
            members: dict[str, Any] = {
                "key": key_of(tenant_id, guid),
                "tenant_id": tenant_id,
                "guid": guid,
                "status": Status.ACCEPTED,
                "created_at": NOW,
                "due_at": NOW,
                "expires_at": NOW + timedelta(days=1),
                "purge_at": NOW + timedelta(days=90),
                "message": Message(to=to, sender=sender, body=body, media_urls=media),
            }
            self.store.insert_many([Entry(**(members | changes))])

    def queues(self, **rates: Rate) -> list[Queue]:
        """Add up, at rates by the tenant's name."""
        return queues(self.store, lambda entry: rates.get(entry.tenant_id), NOW)


@pytest.fixture
def office() -> Office:
    """An office where nothing waits."""
    return Office()


def test_each_sender_has_its_queue_the_fullest_first(office: Office) -> None:
    """What is sent, or has expired, does not wait."""
    office.add(2)
    office.add(3, sender="Acme")
    office.add(1, tenant_id=TWO)
    office.add(4, status=Status.SENT)
    office.add(4, expires_at=NOW)
    assert [(queue.tenant_id, queue.senders, queue.entries) for queue in office.queues()] == [
        (ONE, ("Acme",), 3),
        (ONE, (LONG,), 2),
        (TWO, (LONG,), 1),
    ]


def test_a_queue_lasts_by_its_segments(office: Office) -> None:
    """A text of two is twice as long; media and other channels go as one."""
    office.add(3, body="x" * 161)
    office.add(1, media=("https://example.com/a.png",), body="x" * 161)
    office.add(2, sender="whatsapp:+12015550199", to="whatsapp:+12015550142", body="x" * 161)
    texts, whatsapp = office.queues()
    assert (texts.segments, texts.per_second, texts.lasts) == (7, 1, timedelta(seconds=7))
    assert (whatsapp.segments, whatsapp.per_second) == (2, 80)
    assert not texts.paced


def test_a_rate_of_the_tenants_counts_for_all_senders_that_share_it(office: Office) -> None:
    """They are one queue; another tenant's senders are not in it."""
    office.add(5)
    office.add(5, sender="Acme")
    office.add(5, tenant_id=TWO)
    shared, other = office.queues(one=Rate("one/Acme", 4))
    assert (shared.senders, shared.entries) == ((LONG, "Acme"), 10)
    assert (shared.per_second, shared.paced, shared.lasts) == (4, True, timedelta(seconds=2.5))
    assert (other.tenant_id, other.paced) == (TWO, False)


def test_what_would_expire_before_its_turn_is_late(office: Office) -> None:
    """By the order in which they are due."""
    office.add(20, expires_at=NOW + timedelta(seconds=15))
    office.add(10, due_at=NOW - timedelta(seconds=1))
    (queue,) = office.queues()
    assert queue.late == 15
    assert office.queues(one=Rate("one", 2))[0].late == 0


def test_twilio_keeps_a_queue_for_ten_hours_only(office: Office) -> None:
    """What is paced waits here instead, until its own deadline."""
    office.add(3, body="x" * 1600, expires_at=NOW + timedelta(days=365))
    slow = Rate("one", 0.0005)
    assert office.queues(one=slow)[0].late == 0
    office.add(3, tenant_id=TWO, sender=LONG, body="x" * 1600)
    by_tenant = {queue.tenant_id: queue for queue in office.queues(one=slow)}
    assert by_tenant[ONE].lasts == timedelta(seconds=33 / 0.0005)
    assert by_tenant[TWO].late == 0
    office.add(3_300, tenant_id=TWO, body="x" * 1600)
    assert {queue.tenant_id: queue.late for queue in office.queues(one=slow)}[TWO] == 31


def test_where_the_rate_is_not_known_nothing_is_foretold(office: Office) -> None:
    """A Messaging Service has senders of its own."""
    office.add(3, sender=SERVICE, expires_at=NOW + timedelta(seconds=1))
    (queue,) = queues(office.store, unpaced, NOW)
    assert (queue.per_second, queue.lasts, queue.late) == (None, None, 0)


def test_what_is_paused_is_counted_with_the_rest(office: Office) -> None:
    """It will want to be sent, too."""
    office.add(2)
    office.add(1, place="paused:person:all:*:*")
    (queue,) = office.queues()
    assert (queue.entries, queue.paused) == (3, 1)
