"""What the flow needs from the world. Each docstring is the contract that an implementation keeps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

import msgspec

from ci360_twilio.core.entry import Entry, Fact, Key, Lease, Status
from ci360_twilio.core.message import Message
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.core.tenant import Tenant, TenantId


class Inserted(NamedTuple):
    """The entry that now stands under a key, and whether this call wrote it."""

    entry: Entry
    created: bool


class Claimed(NamedTuple):
    """What a claim took, and what it found overtaken by time (now ``unknown`` or ``expired``)."""

    entries: list[Entry]
    swept: list[Entry]


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries to list, newest first. Absent members do not narrow."""

    tenant_id: TenantId | None = None
    guid: str | None = None
    sid: str | None = None
    statuses: frozenset[Status] = frozenset()
    since: datetime | None = None
    before: datetime | None = None
    limit: int = 100


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the ledger at a glance, from indexes alone."""

    unfinished: dict[Status, int]
    due: int
    """Entries whose time to be sent has come."""
    oldest_due_at: datetime | None
    restored_at: datetime | None
    """When the ledger was last restored from a backup."""
    paused: bool
    """Whether claims are refused until ``ledger restore --resume``."""
    outdated: bool
    """Whether a newer version has changed the schema: this one still accepts and no longer claims."""


class Ledger(Protocol):
    """The outbox: one entry per key, and the only place where the verbs meet.

    Every method is atomic per entry; a batch is one commit where the store can, so that a batch of
    one costs as much as a batch of many. All may raise ``LedgerUnavailable``: then nothing of the
    batch is known to be written, and the same call may be made again. Methods may be called from
    any thread.
    """

    def insert_many(self, entries: Sequence[Entry]) -> list[Inserted]:
        """Write entries under keys that are new, durably before returning.

        Where the key is known, also as a tombstone, or earlier in the same batch, nothing is
        overwritten: the ``repeated`` fact is applied to what stands there. Tombstones answer with
        an entry of status ``expired`` and reason ``purged``, which is not kept.

        A new entry in status ``accepted`` that was generated before the ledger's last restore is
        written as ``held`` with reason ``older_than_restore``: the lost part of the ledger may
        have sent it. The fact is dated with the entry's ``created_at``.

        Results come in the order of ``entries``. Idempotent but for ``repeats``.
        """
        ...

    def claim(
        self, *, now: datetime, lease: Lease, limit: int, keys: Iterable[Key] | None = None
    ) -> Claimed:
        """Take up to ``limit`` entries that are due to be sent, oldest due time first.

        Due entries are first swept (:func:`core.entry.sweep`); what is then ``accepted`` gets the
        lease. No entry is ever under two leases at one time, whoever claims from wherever.
        With ``keys``, those entries are taken whether due or not, if they are ``accepted`` and
        under no lease; a ``not_before`` still holds.

        Takes nothing where the ledger is paused after a restore, or its schema is newer than this
        code.
        """
        ...

    def record_many(self, facts: Sequence[tuple[Key, Fact]]) -> list[Entry | None]:
        """Apply facts with :func:`core.entry.advance`, in order, in one commit.

        Returns:
            Per fact the entry after it, or ``None`` where it changed nothing or the key is unknown.
        """
        ...

    def get_many(self, keys: Sequence[Key]) -> list[Entry | None]:
        """Read entries as they are committed; ``None`` for unknown keys and tombstones."""
        ...

    def find(self, query: Query) -> list[Entry]:
        """List entries, newest ``created_at`` first, at most ``query.limit``."""
        ...

    def purge(self, *, now: datetime, limit: int) -> int:
        """Replace finished entries past their ``purge_at`` by tombstones; give their number.

        A tombstone is a keyed hash of the key and nothing else.
        """
        ...


class Vitals(Protocol):
    """How a ledger is doing; every store has it beside :class:`Ledger`."""

    def probe(self) -> None:
        """Write and commit something, or raise ``LedgerUnavailable``."""
        ...

    def summary(self, now: datetime) -> Summary:
        """Count what is unfinished and due, without reading finished entries."""
        ...

    def mark_restored(self, at: datetime) -> None:
        """Mark the ledger as just restored from a backup, in one commit.

        What is ``accepted`` or ``sending`` becomes ``unknown``, since it may have gone out after
        the backup was made; claims are refused until :meth:`resume`.
        """
        ...

    def resume(self) -> None:
        """Allow claims again after a restore."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


class Store(Ledger, Vitals, Protocol):
    """A whole store."""


class Sender(Protocol):
    """Twilio, as far as sending goes."""

    def send(self, message: Message, tenant: Tenant, *, validity: int, timeout: float) -> Receipt:
        """Ask Twilio once to make a message.

        Never repeats a request and follows no redirect. May be called from many threads.

        Args:
            message: what to send.
            tenant: whose account sends it.
            validity: seconds after which Twilio gives the message up.
            timeout: seconds for connecting and waiting for the answer together.

        Raises:
            NotReached: no request reached Twilio; nothing was made.
            TwilioRefused: Twilio answered with an error, of the kind that ``failure`` says.
            AnswerLost: the message may or may not have been made.
        """
        ...


class Tenants(Protocol):
    """The tenants' documents."""

    def get(self, tenant_id: TenantId) -> Tenant:
        """Give a tenant, from a cache of bounded age where there is one.

        Raises:
            TenantUnknown: there is no such document; remembered for a while.
            TenantUnavailable: it cannot be read just now.
            TenantBroken: it cannot be used; the issues name its fields.
        """
        ...

    def reread(self, tenant_id: TenantId) -> Tenant:
        """Give a tenant as its document is now, after Twilio refused its credentials.

        Limited in rate: called again within seconds, it gives what the last call gave.
        Raises as :meth:`get`; where the document cannot be read the cached one stays in use.
        """
        ...


class Clock(Protocol):
    """The time."""

    def __call__(self) -> datetime:
        """Give the present moment, aware, in UTC."""
        ...
