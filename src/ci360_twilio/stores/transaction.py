"""What the steps of a ledger need of a store within one commit.

The steps themselves (:mod:`claiming`, :mod:`recording`, :mod:`steering`, :mod:`attesting`,
:mod:`reporting`) are written once for all stores. Lists are in order of time, to the millisecond;
what is of one time, single entries before bulk and else as it was written.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

from ci360_twilio.core.consent import Consent, Subject
from ci360_twilio.core.due import Work
from ci360_twilio.core.entry import Entry, Key
from ci360_twilio.core.inbound import Inbound
from ci360_twilio.core.pause import Pause
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import Note


class Consenting(Protocol):
    """What recipients wish, as it stands in the transaction."""

    def has_consents(self) -> bool:
        """Tell whether there is any consent at all."""
        ...

    def consent(self, subject: Subject) -> Consent | None:
        """Read a consent."""
        ...


class Admitting(Consenting, Protocol):
    """What decides about an entry that is new."""

    def received(self, tenant_id: TenantId, recipient: str, at: datetime, most: int, /) -> int:
        """Count a tenant's messages to a recipient in the 24 hours before a moment.

        Those of the rest of its day (UTC) count, too: they were written by a clock that is ahead.
        More than ``most`` need not be counted.
        """
        ...


class Entries(Protocol):
    """The entries, as they stand in the transaction."""

    def get(self, key: Key) -> Entry | None:
        """Read an entry."""
        ...

    def write(self, entry: Entry) -> None:
        """Write an entry that was read in this transaction."""
        ...

    def due(self, work: Work, now: datetime, limit: int) -> list[Entry]:
        """List what waits for some work and is due, oldest due time first."""
        ...

    def ended(self, work: Work, now: datetime, limit: int) -> list[Entry]:
        """List what waits for some work and has reached its end meanwhile, see ``Columns``."""
        ...

    def places(self, work: Work) -> list[str]:
        """List the places in which something waits for some work, in the order of their names."""
        ...

    def parked(self, place: str, limit: int) -> list[Entry]:
        """List what waits behind a pause: single entries first, then by their deadlines."""
        ...

    def queued(self, place: str, now: datetime, limit: int) -> list[Entry]:
        """List what waits in a sender's queue and is due: single entries first, then by due time."""
        ...

    def with_sid(self, sid: str) -> list[Entry]:
        """List the entries that have a SID: one at most, in what these steps have written."""
        ...


class Rules(Protocol):
    """What decides whether and how fast is sent, as it stands in the transaction."""

    def pauses(self) -> list[Pause]:
        """List the pauses, oldest first."""
        ...

    def keep_pause(self, pause: Pause) -> None:
        """Write a pause, over another of its name."""
        ...

    def drop_pause(self, name: str) -> bool:
        """Remove a pause; tells whether there was one."""
        ...

    def write_note(self, note: Note) -> None:
        """Add a line to the audit."""
        ...

    def budget(self, place: str) -> datetime | None:
        """Tell when a queue's budget is full again; ``None`` where it was never used."""
        ...

    def set_budget(self, place: str, full_at: datetime) -> None:
        """Write when a queue's budget is full again."""
        ...

    def started(self, tenant_id: TenantId, since: int) -> int:
        """Count the messages that a tenant has started since a minute, counted from 1970."""
        ...

    def count_start(self, tenant_id: TenantId, minute: int) -> None:
        """Count one message that a tenant started in a minute."""
        ...


class Wishes(Consenting, Protocol):
    """What customers wrote and wish, as it stands in the transaction."""

    def keep_consent(self, subject: Subject, consent: Consent) -> Consent:
        """Seal and write a consent, new or over what stands there; gives it as it is sealed."""
        ...

    def inbound(self, key: Key) -> Inbound | None:
        """Read an inbound message."""
        ...

    def add_inbound(self, inbound: Inbound) -> None:
        """Write an inbound message that is new."""
        ...

    def keep_inbound(self, inbound: Inbound) -> None:
        """Write an inbound message over what stands under its key."""
        ...

    def heard_again(self, inbound: Inbound) -> Inbound | None:
        """Count that a message came again; ``None`` where it is new.

        One of which only a tombstone is left is given back as it came.
        """
        ...


class Owing(Protocol):
    """What CI360 is owed, as it stands in the transaction."""

    def due_reports(self, tenant_id: TenantId, now: datetime, limit: int) -> list[Entry | Inbound]:
        """List a tenant's documents with reports that are due, longest due first."""
        ...

    def documents(self, keys: Sequence[Key]) -> list[Entry | Inbound | None]:
        """Read documents of either kind."""
        ...

    def keep(self, document: Entry | Inbound) -> None:
        """Write a document that was read in this transaction."""
        ...


class Erasing(Protocol):
    """What names a person, as it stands in the transaction."""

    def bury_document(self, key: Key) -> None:
        """Delete a document of either kind, leaving a tombstone."""
        ...

    def forget_number(self, tenant_id: TenantId, person: str) -> int:
        """Take a person's number from all consents to a tenant; gives how many lose it."""
        ...

    def clear_notes(self, words: Collection[str]) -> int:
        """Take texts that hold one of these words from the audit; gives how many there were."""
        ...


class Transaction(Admitting, Entries, Rules, Wishes, Owing, Erasing, Protocol):
    """One commit."""


class Inserting(Transaction, Protocol):
    """What writes entries that are new, where a store does not see to that in its own way."""

    def add(self, entry: Entry) -> None:
        """Write an entry under a new key."""
        ...

    def is_buried(self, key: Key) -> bool:
        """Tell whether a tombstone stands for a key."""
        ...
