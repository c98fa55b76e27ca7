"""The outbox: entries, what is claimed, recorded and found of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

import msgspec

from ci360_twilio.core.entry import Entry, Fact, Key, Lease, Status
from ci360_twilio.core.pace import Rate
from ci360_twilio.core.pause import Pause
from ci360_twilio.core.tenant import TenantId

NO_LIMITS: Mapping[TenantId, int] = {}

PROBE = timedelta(minutes=5)
"""How long the outcome of a probe is waited for before another is made."""


def unpaced(_entry: Entry) -> Rate | None:
    """Pace nothing."""
    return None


class Inserted(NamedTuple):
    """The entry that now stands under a key, and whether this call wrote it."""

    entry: Entry
    created: bool


class Claimed(NamedTuple):
    """What a claim took, and what it found overtaken by time (now ``unknown`` or ``expired``)."""

    entries: list[Entry]
    swept: list[Entry]
    probes: list[Pause]
    """Pauses of which one of ``entries`` is the probe, as they stand now."""
    placed: int = 0
    """How many entries were put aside; where there were many, there may be more behind them."""


RateOf = Callable[[Entry], Rate | None]
"""Tells what budget an entry is sent from, if its sender is paced."""


class Mark(NamedTuple):
    """What a receipt says of the entry it belongs to."""

    tenant_id: TenantId
    correlation: str | None
    sid: str | None


class Waiting(NamedTuple):
    """Entries that wait in one place, behind a pause or in a sender's queue."""

    place: str
    entries: int
    expired: int
    """How many of them have passed their deadline."""


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries to list, newest first. Absent members do not narrow."""

    tenant_id: TenantId | None = None
    guid: str | None = None
    sid: str | None = None
    recipient: str | None = None
    """A number, on whatever channel; see :func:`core.consent.person_of`."""
    identity: str | None = None
    """The value of any identity of the recipient's."""
    task: str | None = None
    job: str | None = None
    sender: str | None = None
    country: str | None = None
    """Of the recipient, by its two letters; see :func:`core.country.country_of`."""
    statuses: frozenset[Status] = frozenset()
    reason: str | None = None
    error_code: int | None = None
    since: datetime | None = None
    before: datetime | None = None
    limit: int = 100


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the ledger at a glance, from indexes alone."""

    unfinished: dict[Status, int]
    due: int
    """Entries whose time to be sent has come; those that wait in a place are not counted."""
    oldest_due_at: datetime | None
    waiting: int = 0
    """Entries behind a pause or in a sender's queue."""
    restored_at: datetime | None
    """When the ledger was last restored from a backup."""
    pauses: tuple[Pause, ...] = ()
    """What is not sent for now."""
    outdated: bool
    """Whether a newer version has changed the schema: this one still accepts and no longer claims."""
    owed: int = 0
    """Documents that owe CI360 a report."""
    oldest_owed_at: datetime | None = None
    """When the report is due that has been due longest, or is due next."""
    aside: int = 0
    """Documents with a report that was set aside."""
    review: int = 0
    """Recipients who are blocked until a person has read what they wrote."""
    strays: int = 0
    """Messages of which receipts came that belong to no entry."""


class Ledger(Protocol):
    """The outbox: one entry per key, and the only place where the verbs meet.

    Every method is atomic per entry; a batch is one commit where the store can, so that a batch of
    one costs as much as a batch of many. All may raise ``LedgerUnavailable``: then nothing of the
    batch is known to be written, and the same call may be made again. Methods may be called from
    any thread.
    """

    def insert_many(
        self, entries: Sequence[Entry], *, recipient_limits: Mapping[TenantId, int] = NO_LIMITS
    ) -> list[Inserted]:
        """Write entries under keys that are new, durably before returning.

        Where the key is known, also as a tombstone, or earlier in the same batch, nothing is
        overwritten: the ``repeated`` fact is applied to what stands there. Tombstones answer with
        an entry of status ``expired`` and reason ``purged``, which is not kept.

        A new entry in status ``accepted`` that was generated before the ledger's last restore is
        written as ``held`` with reason ``older_than_restore``: the lost part of the ledger may
        have sent it. One whose recipient has had as many messages of the tenant in the last 24
        hours as ``recipient_limits`` allows is written as ``suppressed`` with reason
        ``recipient_limit``; what was refused, suppressed, expired or canceled does not count, and
        what stands before it in the same batch does. Before either, one whose recipient is blocked
        by consent, for all senders or for the entry's ``consent_group``, is written as
        ``suppressed`` with reason ``opted_out``. Facts are dated with the entry's ``created_at``.

        Results come in the order of ``entries``. Idempotent but for ``repeats``.
        """
        ...

    def claim(
        self,
        *,
        now: datetime,
        lease: Lease,
        limit: int,
        keys: Iterable[Key] | None = None,
        rate_of: RateOf = unpaced,
    ) -> Claimed:
        """Take up to ``limit`` entries that may be sent now, each under the lease.

        In this order, until ``limit`` are taken: what waited behind a pause that is gone, what
        waits in senders' queues as far as their budgets allow (single entries before bulk, then by
        due time; every queue gets its turn), single entries that are due, oldest due time first,
        then bulk ones. On the way

        - what time has overtaken is swept (:func:`core.due.sweep`) and told of;
        - what a pause covers gets the fact ``placed`` with the pause's place and reason;
        - what ``rate_of`` gives a budget waits in the budget's place, and is taken from there
          only as far as :func:`core.pace.spend` allows. All processes share a budget. An entry in
          a queue whose sender is no longer paced is taken at once;
        - where a pause that is probed by an entry is due to be, one entry that it covers is taken
          as its probe: ``probe`` names it, and ``probe_at`` is put off by :data:`PROBE`.

        No entry is ever under two leases at one time, whoever claims from wherever. Entries that
        are placed do not count to ``limit``, but one call handles a bounded number of them.
        With ``keys``, those entries are taken whether due or not, if they are ``accepted``, under
        no lease and behind no pause; a ``not_before`` still holds, and no budget is asked.

        Takes nothing where the schema is newer than this code.
        """
        ...

    def record_many(
        self,
        facts: Sequence[tuple[Key, Fact]],
        *,
        hourly_limits: Mapping[TenantId, int] = NO_LIMITS,
    ) -> list[Entry | None]:
        """Apply facts with :func:`core.advance.advance`, in order, in one commit.

        Some things are seen to in the same commit:

        - ``started`` on an entry whose recipient is blocked by consent suppresses it instead, with
          reason ``opted_out``, so that no message starts once an opt-out is written;
        - where Twilio says that the recipient has opted out (21610, 63014), that is evidence for
          it: as of the moment at which Twilio made the message or, if it made none, of the answer.
          An entry that turns a consent in this way owes CI360 the report ``opt_out``;
        - ``started`` on an entry that a pause covers places it behind the pause instead, so that
          nothing starts any more once a pause is written;
        - ``started`` beyond a tenant's ``hourly_limits`` (messages started in the last 60
          minutes) writes a pause of the tenant with cause ``limit``, and places the entry behind
          it. Tenants without a limit are not counted;
        - a SID belongs to one entry. A guess (``fact.guessed``) at one that another entry has
          changes nothing; Twilio's own word takes it from an entry that only guessed it, which
          gets the fact ``disowned``; otherwise the later one changes nothing.

        Returns:
            Per fact the entry after it, or ``None`` where it changed nothing or the key is
            unknown. An entry that was placed or suppressed instead of started is given as it is then.
        """
        ...

    def get_many(self, keys: Sequence[Key]) -> list[Entry | None]:
        """Read entries as they are committed; ``None`` for unknown keys and tombstones."""
        ...

    def marked(self, marks: Sequence[Mark]) -> list[Entry | None]:
        """Find the entries that receipts belong to: by correlation id, else by SID.

        Only entries of the mark's tenant are given.
        """
        ...

    def look(self, *, now: datetime, limit: int) -> list[Entry]:
        """Take up to ``limit`` entries about which Twilio should be asked now, oldest due first.

        These are unknown ones, and sent ones without a final status. Each gets the fact ``looked``
        with :func:`core.due.next_look`, so that no other process asks at the same time, and is
        given as it is then.
        """
        ...


class Foreseen:
    """What a rehearsal would have written so far, as far as it decides about what comes later."""

    def __init__(self, *, knows_keys: bool = True) -> None:
        """Begin; a job's rows are told from each other before, so that it need not know their keys."""
        self.keys: set[Key] | None = set() if knows_keys else None
        self.received: Counter[tuple[TenantId, str]] = Counter()
        """Messages by whose and whom they are to."""


class Foresight(Protocol):
    """What would come of entries, without writing any."""

    def foresee(
        self,
        entries: Sequence[Entry],
        *,
        recipient_limits: Mapping[TenantId, int] = NO_LIMITS,
        so_far: Foreseen | None = None,
    ) -> list[Inserted]:
        """Tell what :meth:`Ledger.insert_many` would give, after all that ``so_far`` tells of.

        Nothing is written; ``so_far`` takes note of these, too, where it is given. A known key's entry is given as it is.
        """
        ...


class Archive(Protocol):
    """What people ask of a ledger, and what it forgets."""

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
        the backup was made; a pause of everything with cause ``restore`` is written.
        """
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...
