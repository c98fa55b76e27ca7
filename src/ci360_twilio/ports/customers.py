"""What customers write to us, and what they wish."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

import msgspec

from ci360_twilio.core.consent import Consent, Evidence, Subject
from ci360_twilio.core.entry import Entry, Key
from ci360_twilio.core.inbound import Inbound
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports.controls import Note


class Conversation(NamedTuple):
    """Who wrote to whom: a customer, to a number of ours or the services that it may belong to."""

    tenant_id: TenantId
    customer: str
    """The customer's address, as messages have it."""
    ours: Collection[str]


class Hearing(NamedTuple):
    """An inbound message, and the wish in it."""

    inbound: Inbound
    subject: Subject
    evidence: Evidence | None = None


class Received(NamedTuple):
    """What came of a hearing."""

    inbound: Inbound
    """As it stands now."""
    created: bool
    consent: Consent | None = None
    """As it is now, where the wish changed it."""


class InboundQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which inbound messages to list, latest heard first. Absent members do not narrow."""

    tenant_id: TenantId | None = None
    sid: str | None = None
    customer: str | None = None
    """A number, on whatever channel; see :func:`core.consent.person_of`."""
    limit: int = 100


class Inbox(Protocol):
    """Inbound messages. May raise ``LedgerUnavailable``, and be called from any thread."""

    def conversations(self, asked: Sequence[Conversation]) -> list[Entry | None]:
        """Find what each customer answers: the latest entry between the two that was begun.

        That is the newest by ``created_at`` of the tenant's, to the customer's address, and from one
        of ``ours`` or sent via one of them.
        """
        ...

    def is_heard(self, keys: Sequence[Key]) -> list[bool]:
        """Tell which inbound messages are known, also as tombstones."""
        ...

    def hear_many(self, hearings: Sequence[Hearing], *, now: datetime) -> list[Received]:
        """Write inbound messages that are new, and what they say of consent, in one commit.

        One that is known, also as a tombstone, is not written again and changes no consent; its
        ``repeats`` is counted. A wish that turns a consent owes the message the report ``opt_out``
        or ``opt_in``, as far as the message ``tells`` it. Idempotent but for ``repeats``; a store
        without transactions writes consents first, so that a repetition completes the rest.
        """
        ...

    def find_inbound(self, query: InboundQuery) -> list[Inbound]:
        """List inbound messages."""
        ...


class Verified(NamedTuple):
    """What a look at a part of the consents found."""

    checked: int
    broken: tuple[str, ...]
    """By tenant and hash, those whose history or evidence is not what was sealed."""
    after: int | None
    """Where to go on; none at the end."""


class Consents(Protocol):
    """Recipients' wishes, kept under keyed hashes. Every change is one commit."""

    def consents(self, subjects: Sequence[Subject]) -> list[Consent | None]:
        """Read consents as they are committed."""
        ...

    def attest_many(
        self, changes: Sequence[tuple[Subject, Evidence]], *, now: datetime
    ) -> list[Consent | None]:
        """Add evidence with :func:`core.consent.attest`, in order, in one commit, and seal it.

        Where evidence of an inbound message turns the consent, that message owes CI360 the report.

        Returns:
            Per change the consent after it, or ``None`` where it changed nothing.
        """
        ...

    def date_many(
        self, changes: Sequence[tuple[Subject, Evidence]], *, now: datetime
    ) -> list[Consent | None]:
        """Write the dates of evidence that is there without one, as :meth:`attest_many` would.

        Evidence that is not there, or has a date, changes nothing.
        """
        ...

    def judge(
        self, subject: Subject, sid: str, *, is_out: bool, now: datetime, by: str
    ) -> Consent | None:
        """Write what a person found in a text that blocks until it is read; ``None`` if none does."""
        ...

    def take_undated(self, *, now: datetime, limit: int) -> list[Consent]:
        """Take consents that hang on dates which Twilio should be asked for now, longest due first.

        Each is put off with :func:`core.consent.put_off`, so that no other process asks meanwhile.
        """
        ...

    def list_consents(
        self, tenant_id: TenantId, *, states: Collection[str] = (), after: int = 0, limit: int
    ) -> tuple[list[Consent], int | None]:
        """List a tenant's consents in the order in which they were made, a page at a time.

        Returns:
            The page, and where to go on; ``None`` at the end.
        """
        ...

    def verify_consents(self, *, after: int = 0, limit: int) -> Verified:
        """Check the seals of a part of all consents."""
        ...


class About(NamedTuple):
    """All that names a person."""

    entries: list[Entry]
    inbound: list[Inbound]
    consents: list[Consent]


class Erased(NamedTuple):
    """How much was erased."""

    entries: int
    inbound: int
    consents: int
    """Whose number is gone; the wish stays in force."""
    notes: int
    """Lines of the audit from which a text was taken."""
    busy: int = 0
    """Entries that are left, as their messages are being sent at this moment."""


class Privacy(Protocol):
    """What is known of a person, and its erasure."""

    def about(
        self,
        tenant_id: TenantId,
        *,
        recipients: Collection[str] = (),
        identities: Collection[tuple[str, str]] = (),
    ) -> About:
        """Find all that names one of these numbers (on whatever channel) or identities.

        May read the whole ledger.
        """
        ...

    def erase(
        self,
        tenant_id: TenantId,
        *,
        entries: Iterable[Key],
        inbound: Iterable[Key],
        recipients: Collection[str],
        words: Collection[str],
        note: Note,
    ) -> Erased:
        """Replace documents by tombstones and take numbers from consents, in one commit.

        What was deleted is overwritten, in the store's logs and free pages, too. An entry that is
        ``sending``, under a lease that lasts, is left: its answer would find nothing.

        Args:
            tenant_id: whose they are.
            entries: the keys of entries.
            inbound: the keys of inbound messages.
            recipients: numbers whose consents lose them; the wish stays in force.
            words: numbers and identities; a note whose text holds one of them loses the text.
            note: what is written into the audit.
        """
        ...
