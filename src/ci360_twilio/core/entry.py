"""A message and everything that is known of it: :class:`Entry`, and the facts that change it.

An entry is one document. Its history and the reports that it owes are part of it, so that a store
needs no transaction over several rows: it reads an entry, applies a fact
(:func:`ci360_twilio.core.advance.advance`), and writes the result if nobody wrote in between. One table,
:data:`TRANSITIONS`, says what follows from what.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import NewType

import msgspec

from ci360_twilio.core.event import Origin
from ci360_twilio.core.message import Message
from ci360_twilio.core.receipt import RANKS, Receipt
from ci360_twilio.core.report import Outcome, Report
from ci360_twilio.core.tenant import TenantId

Key = NewType("Key", str)
"""``<tenant id>/<guid>``; a tenant id holds no slash."""


def key_of(tenant_id: TenantId, guid: str) -> Key:
    """Give the key of an event; CI360 may deliver the same one twice."""
    return Key(f"{tenant_id}/{guid}")


class Status(StrEnum):
    """Where an entry stands."""

    ACCEPTED = "accepted"
    """Written, not yet sent."""
    SENDING = "sending"
    """Bytes may be leaving."""
    UNKNOWN = "unknown"
    """The answer was lost: a message may or may not exist."""
    HELD = "held"
    """A person must decide."""
    SENT = "sent"
    """Twilio made the message; its SID is known."""
    DELIVERED = "delivered"
    READ = "read"
    UNDELIVERED = "undelivered"
    FAILED = "failed"
    REFUSED = "refused"
    """Never got a SID: our gates or Twilio's permanent error."""
    EXPIRED = "expired"
    SUPPRESSED = "suppressed"
    CANCELED = "canceled"


UNFINISHED = frozenset({Status.ACCEPTED, Status.SENDING, Status.UNKNOWN, Status.HELD})
"""Statuses from which an entry still has to reach an end."""


class Kind(StrEnum):
    """What can happen to an entry."""

    REPEATED = "repeated"
    """The same event came again."""
    CLAIMED = "claimed"
    """A worker took it for the time of a lease."""
    POSTPONED = "postponed"
    """Its worker gave it back before anything was sent."""
    STARTED = "started"
    """Bytes are about to leave."""
    MADE = "made"
    """Twilio made the message."""
    RETRIED = "retried"
    """The attempt made nothing; there will be another."""
    REFUSED = "refused"
    """Twilio will not make it."""
    LOST = "lost"
    """The answer did not come, or said nothing."""
    LEASE_ENDED = "lease_ended"
    """Its worker has not been heard of in time."""
    EXPIRED = "expired"
    """Its time was over before it was sent."""
    RESTORED = "restored"
    """The ledger was restored from a backup in which it had no end."""
    HELD = "held"
    """It must not go out before a person has looked."""
    PLACED = "placed"
    """It waits in a place: behind a pause, or in its sender's queue."""
    SUPPRESSED = "suppressed"
    """A limit, or the recipient's wish, keeps it from being sent."""
    LOOKED = "looked"
    """Twilio is about to be asked what became of it."""
    ANSWERED = "answered"
    """Twilio said that it has no end yet, or does not know it: it has been asked."""
    DISOWNED = "disowned"
    """The SID that was found for it has turned out to be another's."""
    WITHDRAWN = "withdrawn"
    """A person took it back before it was sent."""
    CLOSED = "closed"
    """A person, or the tenant's rule, ended what could not be found out."""
    LINKED = "linked"
    """A new entry sends its message again."""
    PROGRESSED = "progressed"
    """A receipt that is not final."""
    DELIVERED = "delivered"
    READ = "read"
    UNDELIVERED = "undelivered"
    FAILED = "failed"
    CANCELED = "canceled"


S, K = Status, Kind

OPEN = frozenset({S.SENDING, S.UNKNOWN, S.HELD})
"""Statuses in which a message may exist whose SID is not known."""
_AFTER_SID = (S.SENT, S.DELIVERED, S.READ, S.UNDELIVERED, S.FAILED)
RECEIPTS: dict[Kind, Status] = {
    K.DELIVERED: S.DELIVERED,
    K.READ: S.READ,
    K.UNDELIVERED: S.UNDELIVERED,
    K.FAILED: S.FAILED,
    K.CANCELED: S.CANCELED,
}

TRANSITIONS: Mapping[tuple[Status, Kind], Status | None] = {
    **{(status, kind): None for status in Status for kind in Kind},
    **{(status, K.REPEATED): status for status in Status},
    (S.ACCEPTED, K.CLAIMED): S.ACCEPTED,
    (S.ACCEPTED, K.POSTPONED): S.ACCEPTED,
    (S.ACCEPTED, K.STARTED): S.SENDING,
    (S.ACCEPTED, K.LEASE_ENDED): S.ACCEPTED,
    (S.ACCEPTED, K.EXPIRED): S.EXPIRED,
    (S.ACCEPTED, K.RESTORED): S.UNKNOWN,
    (S.ACCEPTED, K.HELD): S.HELD,
    # A start whose commit was not heard of may be written again by the worker that has not sent yet.
    (S.SENDING, K.STARTED): S.SENDING,
    (S.SENDING, K.MADE): S.SENT,
    (S.SENDING, K.RETRIED): S.ACCEPTED,
    (S.SENDING, K.REFUSED): S.REFUSED,
    (S.SENDING, K.LOST): S.UNKNOWN,
    (S.SENDING, K.LEASE_ENDED): S.UNKNOWN,
    (S.SENDING, K.RESTORED): S.UNKNOWN,
    # An answer that arrives after the lease still settles the attempt it belongs to.
    (S.UNKNOWN, K.MADE): S.SENT,
    (S.UNKNOWN, K.RETRIED): S.ACCEPTED,
    (S.UNKNOWN, K.REFUSED): S.REFUSED,
    (S.UNKNOWN, K.HELD): S.HELD,
    (S.HELD, K.MADE): S.SENT,
    # A message may turn up that Twilio was taken not to have made, that was given up, or in whose
    # place another's was found.
    **{
        (status, K.MADE): S.SENT
        for status in (S.ACCEPTED, S.REFUSED, S.EXPIRED, S.CANCELED, S.SUPPRESSED)
    },
    **{(status, K.MADE): S.SENT for status in _AFTER_SID},
    **{(status, K.DISOWNED): S.UNKNOWN for status in (*_AFTER_SID, S.CANCELED)},
    # Waiting, looking, and what people do.
    (S.ACCEPTED, K.PLACED): S.ACCEPTED,
    (S.ACCEPTED, K.SUPPRESSED): S.SUPPRESSED,
    # By the worker that would start it again, and so has not sent it.
    (S.SENDING, K.SUPPRESSED): S.SUPPRESSED,
    (S.ACCEPTED, K.WITHDRAWN): S.CANCELED,
    (S.UNKNOWN, K.LOOKED): S.UNKNOWN,
    (S.SENT, K.LOOKED): S.SENT,
    (S.SENT, K.ANSWERED): S.SENT,
    (S.UNKNOWN, K.CLOSED): S.CANCELED,
    (S.HELD, K.CLOSED): S.CANCELED,
    **{(status, K.LINKED): status for status in (S.REFUSED, S.UNDELIVERED, S.FAILED)},
    # Receipts never lower a status, however late they come.
    **{(status, K.PROGRESSED): status for status in _AFTER_SID},
    **{
        (status, kind): target
        for status in _AFTER_SID
        for kind, target in RECEIPTS.items()
        if RANKS[target] > RANKS[status]
    },
}
"""Every (status, fact): the status that follows, or ``None`` where the fact changes nothing."""


class Step(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One line of an entry's history."""

    at: datetime
    step: str
    """Which verb acted: ``accept``, ``send``, ``settle``, ``find``, ``sweep``, ``steer``, ``restore``."""
    decision: str
    reason: str | None = None


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The right to work on an entry, until a time."""

    token: str
    until: datetime


class Entry(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One message and everything that is known of it. All times are aware, UTC."""

    key: Key
    tenant_id: TenantId
    guid: str
    status: Status
    reason: str | None = None
    created_at: datetime
    generated_at: datetime | None = None
    """When CI360 made the event; unknown where the event does not say."""
    due_at: datetime
    expires_at: datetime
    purge_at: datetime
    """When an entry that has reached its end may be deleted."""
    not_before: datetime | None = None
    not_after: datetime | None = None
    lease: Lease | None = None
    attempts: int = 0
    """Requests to Twilio that may have left."""
    repeats: int = 0
    """How often the same event came again."""
    message: Message | None = None
    origin: Origin = Origin()
    sid: str | None = None
    provider_status: str | None = None
    error_code: int | None = None
    problems: tuple[tuple[str, str], ...] = ()
    """What our gates found wrong: field and words, without content."""
    bulk: bool = False
    """Whether it belongs to an audience's file; single events go first."""
    job: str | None = None
    """The bulk job that brought it."""
    place: str | None = None
    """Where an accepted entry waits that could be sent by its time alone."""
    correlation: str | None = None
    """The random token by which a status callback finds the entry."""
    started_at: datetime | None = None
    """When bytes may have left for the first time."""
    lost_at: datetime | None = None
    """When it became unknown."""
    looks: int = 0
    """How often Twilio was asked what became of it, since it was lost or made."""
    guessed: bool = False
    """Whether the SID was found by looking alike, not by Twilio naming it for this entry."""
    replay_of: Key | None = None
    """The entry whose message this one sends again."""
    replayed_by: Key | None = None
    consent_group: str | None = None
    """The group of senders that its sender belongs to, where the tenant keeps consents by groups."""
    via: str | None = None
    """The sender that its Messaging Service has chosen, as far as Twilio told."""
    made: str | None = None
    """When Twilio made the message, by its own clock, as it writes dates."""
    carrier_done: str | None = None
    """When the carrier was done with it, ``YYMMDDhhmm``; in which zone, nobody says."""
    tells: tuple[Outcome, ...] = ()
    """What of it CI360 is told, as the tenant wished when it was accepted."""
    reports: tuple[Report, ...] = ()
    """What CI360 is to be told of it, and has been; oldest first."""
    history: tuple[Step, ...] = ()
    history_dropped: int = 0
    """Steps left out of the middle of the history, so that it stays short."""

    @property
    def finished(self) -> bool:
        """Whether nothing more is to be sent or found out."""
        return self.status not in UNFINISHED

    @property
    def deadline(self) -> datetime:
        """The last moment at which the message may still be sent."""
        return min(self.expires_at, self.not_after) if self.not_after else self.expires_at


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to an entry, with what belongs to that kind of fact."""

    kind: Kind
    at: datetime
    lease: Lease | None = None
    """The lease taken, or the one under which the fact came about."""
    due_at: datetime | None = None
    reason: str | None = None
    error_code: int | None = None
    receipt: Receipt | None = None
    place: str | None = None
    correlation: str | None = None
    guessed: bool = False
    """Whether the receipt is one that looks alike."""
    link: Key | None = None
    """The entry that sends the message again."""
    by: str | None = None
    """Which verb tells it, where the kind alone does not say."""
