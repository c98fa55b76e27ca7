"""What entries have in common by which they are counted and listed; for all stores."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple

from ci360_twilio.core.consent import person_of
from ci360_twilio.core.country import country_of
from ci360_twilio.core.entry import Entry, Status
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import SLOT, Counted, Query
from ci360_twilio.stores.columns import ms

SLOT_MS = SLOT // timedelta(milliseconds=1)


class Traits(NamedTuple):
    """An entry as far as it is counted: where it comes from, whom it goes to, where it stands."""

    tenant_id: TenantId
    task: str | None
    job: str | None
    sender: str | None
    country: str | None
    status: Status
    reason: str | None
    error_code: int | None


def traits_of(entry: Entry) -> Traits:
    """Give what an entry is counted by."""
    message = entry.message
    return Traits(
        entry.tenant_id,
        entry.origin.task_code,
        entry.job,
        (message.sender or None) if message else None,
        country_of(message.to) if message else None,
        entry.status,
        entry.reason,
        entry.error_code,
    )


def is_alike(entry: Entry, other: Entry) -> bool:
    """Tell whether two states of one entry have the same traits: its message and origin never change."""
    return (
        entry.status is other.status
        and entry.reason == other.reason
        and entry.error_code == other.error_code
    )


def slot_of(moment: datetime) -> int:
    """Give the slot of a moment, counted from 1970."""
    return ms(moment) // SLOT_MS


def slots(since: datetime, before: datetime) -> tuple[int, int]:
    """Give the first slot that is asked for, and the one after the last."""
    return slot_of(since), -(-ms(before) // SLOT_MS)


class Tally:
    """Entries by their slots and by what is told of their traits: not what jobs they are of."""

    def __init__(self, step: timedelta = SLOT) -> None:
        """Begin; what was created within a step is added up."""
        self.step = step // SLOT
        """In slots."""
        self._told: dict[Traits, int] = {}
        self._slots: defaultdict[int, defaultdict[int, int]] = defaultdict(
            partial(defaultdict, int)
        )
        """By slot, then by the number of what is told: to hash traits again and again takes long."""

    def number(self, traits: Traits) -> int:
        """Give the number of what is told of traits."""
        return self._told.setdefault(traits._replace(job=None), len(self._told))

    def add(self, slot: int, number: int, entries: int) -> None:
        """Count entries."""
        self._slots[slot - slot % self.step][number] += entries

    def add_entries(
        self,
        entries: Iterable[Entry],
        since: datetime,
        before: datetime,
        tenant_id: TenantId | None,
    ) -> None:
        """Count those entries that are asked for; see :meth:`ci360_twilio.ports.Counts.counts`."""
        first, end = slots(since, before)
        for entry in entries:
            slot = slot_of(entry.created_at)
            if tenant_id in (None, entry.tenant_id) and first <= slot < end:
                self.add(slot, self.number(traits_of(entry)), 1)

    def counted(self) -> list[Counted]:
        """Give what was counted."""
        told = [(*one[:2], *one[3:]) for one in self._told]
        return [
            tuple.__new__(Counted, (at, *told[number], messages))  # many; a call each takes long
            for at, found in ((_start(slot), found) for slot, found in self._slots.items())
            for number, messages in found.items()
        ]


def _start(slot: int) -> datetime:
    return datetime.fromtimestamp(slot * SLOT_MS // 1000, UTC)


def matches(entry: Entry, query: Query) -> bool:
    """Tell whether a query asks for an entry."""
    message = entry.message
    return (
        query.tenant_id in (None, entry.tenant_id)
        and query.guid in (None, entry.guid)
        and query.sid in (None, entry.sid)
        and query.task in (None, entry.origin.task_code)
        and query.job in (None, entry.job)
        and (query.sender is None or (message is not None and message.sender == query.sender))
        and (not query.statuses or entry.status in query.statuses)
        and query.reason in (None, entry.reason)
        and query.error_code in (None, entry.error_code)
        and (query.since is None or entry.created_at >= query.since)
        and (query.before is None or entry.created_at < query.before)
        and (query.identity is None or query.identity in entry.origin.identities.values())
        and _is_to(query, message.to if message else None)
    )


def _is_to(query: Query, address: str | None) -> bool:
    if address is None:
        return query.recipient is None and query.country is None
    return query.recipient in (None, person_of(address)) and (
        query.country is None or query.country == country_of(address)
    )
