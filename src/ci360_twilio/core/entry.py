"""The life of a message: :class:`Entry`, the facts that change it, and the one table that says how.

An entry is one document. Its history and, later, the reports it owes are part of it, so that a
store needs no transaction over several rows: it reads an entry, applies :func:`advance`, and writes
the result if nobody wrote in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, NewType

import msgspec

from ci360_twilio.core.event import Origin
from ci360_twilio.core.message import Message
from ci360_twilio.core.receipt import RANKS, Receipt
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
    PROGRESSED = "progressed"
    """A receipt that is not final."""
    DELIVERED = "delivered"
    READ = "read"
    UNDELIVERED = "undelivered"
    FAILED = "failed"
    CANCELED = "canceled"


S, K = Status, Kind

_AFTER_SID = (S.SENT, S.DELIVERED, S.READ, S.UNDELIVERED, S.FAILED)
_RECEIPTS: dict[Kind, Status] = {
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
    # Receipts never lower a status, however late they come.
    **{(status, K.PROGRESSED): status for status in _AFTER_SID},
    **{
        (status, kind): target
        for status in _AFTER_SID
        for kind, target in _RECEIPTS.items()
        if RANKS[target] > RANKS[status]
    },
}
"""Every (status, fact): the status that follows, or ``None`` where the fact changes nothing."""


class Step(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One line of an entry's history."""

    at: datetime
    step: str
    """Which verb acted: ``accept``, ``send``, ``settle``, ``sweep``, ``restore``."""
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


_UNDER_LEASE = frozenset({K.POSTPONED, K.STARTED, K.RETRIED, K.REFUSED, K.LOST})
"""Facts that count only under the lease of the attempt they come from."""

_NEEDS_TIME_LEFT = frozenset({K.POSTPONED, K.STARTED})
"""Facts that count only before the lease has run out: another worker may own the entry since."""


def advance(entry: Entry, fact: Fact) -> Entry | None:
    """Apply a fact.

    Returns:
        The entry as it is afterwards, or ``None`` where the fact changes nothing: it came late,
        twice, under a lease that is gone, or it does not fit the status.
    """
    target = TRANSITIONS[entry.status, fact.kind]
    if target is None or not _counts(entry, fact):
        return None
    changes = _changes(entry, fact, target)
    if target is not entry.status or fact.kind in _RETOLD:
        changes |= _remembered(entry, _step(fact, target))
    changed = msgspec.structs.replace(entry, **changes)
    if fact.kind is K.MADE and fact.receipt is not None:
        return _ended(changed, fact, fact.receipt)
    return changed


def _ended(made: Entry, fact: Fact, receipt: Receipt) -> Entry:
    """Apply what the very answer that names a message says of its end."""
    try:
        end = Fact(kind=Kind(receipt.status), at=fact.at, receipt=receipt)
    except ValueError:
        return made
    return advance(msgspec.structs.replace(made, provider_status=None), end) or made


_RETOLD = frozenset({K.REPEATED, K.POSTPONED})
"""Facts that leave the status alone and still belong in the history."""


def _counts(entry: Entry, fact: Fact) -> bool:
    lease, kind = entry.lease, fact.kind
    if kind is K.CLAIMED:
        return lease is None or lease.until <= fact.at
    if kind is K.LEASE_ENDED:
        return lease is not None and lease.until <= fact.at
    if kind is K.EXPIRED:
        return entry.deadline <= fact.at and (lease is None or lease.until <= fact.at)
    if kind in _UNDER_LEASE:
        if lease is None or fact.lease is None or lease.token != fact.lease.token:
            return False
        if kind is K.STARTED and fact.at >= entry.deadline:
            return False
        return kind not in _NEEDS_TIME_LEFT or fact.at < lease.until
    if fact.receipt is not None and kind is not K.MADE:
        same = entry.sid == fact.receipt.sid
        known = Receipt(sid=fact.receipt.sid, status=entry.provider_status or "")
        return same and fact.receipt.rank > known.rank
    return True


def _changes(entry: Entry, fact: Fact, target: Status) -> dict[str, object]:
    """Give what a fact changes besides the history."""
    kind = fact.kind
    if kind is K.REPEATED:
        return {"repeats": entry.repeats + 1}
    if kind is K.CLAIMED:
        return {"lease": fact.lease}
    if kind is K.STARTED:
        return {"status": target, "attempts": entry.attempts + 1, "reason": None}
    changes: dict[str, object] = {"status": target}
    if kind in (K.POSTPONED, K.RETRIED):
        changes |= {"lease": None, "due_at": fact.due_at or fact.at, "reason": fact.reason}
    elif kind is K.LEASE_ENDED and target is S.ACCEPTED:
        changes |= {"lease": None}
    elif kind is not K.PROGRESSED:
        changes |= {"reason": _reason(fact)}
    if fact.receipt is not None:
        changes |= {
            "sid": fact.receipt.sid,
            "provider_status": fact.receipt.status,
            "error_code": fact.receipt.error_code,
        }
    elif fact.error_code is not None:
        changes["error_code"] = fact.error_code
    if target not in UNFINISHED:
        changes["lease"] = None
    return changes


def _reason(fact: Fact) -> str | None:
    if fact.reason is None and fact.receipt is not None and fact.receipt.error_code:
        return f"twilio_{fact.receipt.error_code}"
    return fact.reason


_VERBS: dict[Kind, str] = {
    K.REPEATED: "accept",
    K.LEASE_ENDED: "sweep",
    K.EXPIRED: "sweep",
    K.RESTORED: "restore",
    K.HELD: "restore",
    **dict.fromkeys((*_RECEIPTS, K.PROGRESSED), "settle"),
}
_DECISIONS: dict[Kind, str] = {
    K.REPEATED: "duplicate",
    K.POSTPONED: "postponed",
    K.RETRIED: "retry",
}


def _step(fact: Fact, target: Status) -> Step:
    decision = _DECISIONS.get(fact.kind, target.value)
    step = _VERBS.get(fact.kind, "send")
    return Step(at=fact.at, step=step, decision=decision, reason=_reason(fact))


_HISTORY_HEAD, _HISTORY_TAIL = 10, 40


def _remembered(entry: Entry, step: Step) -> dict[str, object]:
    """Add a step, dropping from the middle where the history has grown long."""
    history = (*entry.history, step)
    if len(history) <= _HISTORY_HEAD + _HISTORY_TAIL:
        return {"history": history}
    kept = history[:_HISTORY_HEAD] + history[_HISTORY_HEAD + 1 :]
    return {"history": kept, "history_dropped": entry.history_dropped + 1}


class Work(StrEnum):
    """What an entry waits for; stores index entries by it and by the time."""

    SEND = "send"
    FIND = "find"
    """What became of it, where the answer was lost."""
    DECIDE = "decide"
    """A person."""
    PURGE = "purge"


class Due(NamedTuple):
    """What an entry waits for, and since or until when."""

    work: Work
    at: datetime


def due(entry: Entry) -> Due:
    """Tell what an entry waits for, and when it must be looked at again."""
    if entry.status in (S.ACCEPTED, S.SENDING) and entry.lease is not None:
        return Due(Work.SEND, entry.lease.until)
    if entry.status in (S.ACCEPTED, S.SENDING):
        wanted = max(entry.due_at, entry.not_before) if entry.not_before else entry.due_at
        return Due(Work.SEND, min(wanted, entry.deadline))
    if entry.status is S.UNKNOWN:
        return Due(Work.FIND, entry.due_at)
    if entry.status is S.HELD:
        return Due(Work.DECIDE, entry.due_at)
    return Due(Work.PURGE, entry.purge_at)


def sweep(entry: Entry, now: datetime) -> Entry:
    """Apply what the passing of time alone has done: a lease that ended, an expiry.

    Used when claiming, and when reading an entry that nobody sweeps (the direct Lambda).
    """
    for kind in (K.LEASE_ENDED, K.EXPIRED):
        reason = "lease_ended" if entry.status is S.SENDING else kind.value
        entry = advance(entry, Fact(kind=kind, at=now, reason=reason)) or entry
    return entry


def take(entry: Entry, now: datetime, lease: Lease) -> Entry | None:
    """Give the entry under a lease, or ``None`` where it is not to be sent now or already taken."""
    if entry.status is not S.ACCEPTED or (entry.not_before and entry.not_before > now):
        return None
    return advance(entry, Fact(kind=K.CLAIMED, at=now, lease=lease))


def admit(entry: Entry, restored_at: datetime | None) -> Entry:
    """Hold a new entry whose event may have been sent by the part of a ledger that a restore lost.

    An event without a time of its own counts as older for as long as it could be delivered twice:
    the span in which it would be sent.
    """
    if restored_at is None or entry.status is not Status.ACCEPTED:
        return entry
    span = entry.expires_at - entry.created_at
    made = entry.generated_at or entry.created_at - span
    if made >= restored_at:
        return entry
    fact = Fact(kind=Kind.HELD, at=entry.created_at, reason="older_than_restore")
    return advance(entry, fact) or entry


def purged(entry: Entry) -> Entry:
    """Give what stands for an entry that was deleted, where its event comes again."""
    return msgspec.structs.replace(
        entry, status=Status.EXPIRED, reason="purged", message=None, history=(), repeats=1
    )


def validity(entry: Entry, now: datetime, most: int = 36_000) -> int:
    """Give Twilio's ``ValidityPeriod``: the whole seconds left, 1 to ``most``."""
    left = (entry.deadline - now) // timedelta(seconds=1)
    return max(1, min(most, left))
