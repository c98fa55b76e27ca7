"""What is seen to when a ledger is written to: wishes, pauses, limits, whose a SID is. For all stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from ci360_twilio.core.advance import advance
from ci360_twilio.core.due import admit, purged
from ci360_twilio.core.entry import Entry, Fact, Key, Kind, Status
from ci360_twilio.core.pause import Cause, Pause, Scope, paused_by
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import Foreseen, Inserted
from ci360_twilio.stores import attesting
from ci360_twilio.stores.columns import recipient_of
from ci360_twilio.stores.transaction import Admitting, Inserting, Transaction

MINUTES = 60
"""How far back messages count against a tenant's limit of an hour."""
NOTES_KEPT = timedelta(days=400)
"""How long a line of the audit is kept."""
STRAYS_KEPT = timedelta(days=30)
"""How long a receipt is kept that belongs to nothing."""


def admitted(
    tx: Admitting, entry: Entry, restored_at: datetime | None, limits: Mapping[TenantId, int]
) -> Entry:
    """Give a new entry as it is to be written: held or suppressed, where it must not be sent."""
    if entry.status is Status.ACCEPTED and attesting.is_blocked(tx, entry):
        wish = Fact(kind=Kind.SUPPRESSED, at=entry.created_at)
        return attesting.suppressed(entry, wish) or entry
    entry = admit(entry, restored_at)
    limit = limits.get(entry.tenant_id)
    if limit is None or entry.status is not Status.ACCEPTED or entry.message is None:
        return entry
    if tx.received(entry.tenant_id, entry.message.to, entry.created_at, limit) < limit:
        return entry
    fact = Fact(kind=Kind.SUPPRESSED, at=entry.created_at, reason="recipient_limit")
    return advance(entry, fact) or entry


def inserted(
    tx: Inserting, entry: Entry, restored_at: datetime | None, limits: Mapping[TenantId, int]
) -> Inserted:
    """Write an entry under its key, if that is new; see :meth:`ci360_twilio.ports.Ledger.insert_many`."""
    known = tx.get(entry.key)
    if known is not None:
        known = advance(known, Fact(kind=Kind.REPEATED, at=entry.created_at)) or known
        tx.write(known)
        return Inserted(known, created=False)
    if tx.is_buried(entry.key):
        return Inserted(purged(entry), created=False)
    entry = admitted(tx, entry, restored_at, limits)
    tx.add(entry)
    return Inserted(entry, created=True)


class _Trial:
    """What decides about a new entry, with what a rehearsal would have written before it."""

    def __init__(self, tx: Admitting, so_far: Foreseen) -> None:
        self._so_far = so_far
        self._tx = tx
        self.has_consents = tx.has_consents
        self.consent = tx.consent

    def received(self, tenant_id: TenantId, recipient: str, at: datetime, most: int, /) -> int:
        earlier = self._so_far.received[tenant_id, recipient]
        return earlier + self._tx.received(tenant_id, recipient, at, most)


def foreseen(
    tx: Admitting,
    entry: Entry,
    known: Entry | None,
    restored_at: datetime | None,
    limits: Mapping[TenantId, int],
    so_far: Foreseen | None,
) -> Inserted:
    """Tell what would come of an entry; see :meth:`ci360_twilio.ports.Foresight.foresee`.

    Args:
        tx: is read only.
        entry: new, or as new as it seems.
        known: what stands under its key, or stood there before it was deleted.
        restored_at: when the ledger was last restored.
        limits: as :meth:`ci360_twilio.ports.Ledger.insert_many` takes them.
        so_far: what would have been written before, if that matters.
    """
    if known is not None:
        return Inserted(known, created=False)
    if so_far is None:
        return Inserted(admitted(tx, entry, restored_at, limits), created=True)
    if so_far.keys is not None:
        if entry.key in so_far.keys:
            return Inserted(entry, created=False)
        so_far.keys.add(entry.key)
    entry = admitted(_Trial(tx, so_far), entry, restored_at, limits)
    recipient = recipient_of(entry)
    if recipient is not None and entry.tenant_id in limits:
        so_far.received[entry.tenant_id, recipient] += 1
    return Inserted(entry, created=True)


def record(
    tx: Transaction, facts: Sequence[tuple[Key, Fact]], hourly_limits: Mapping[TenantId, int]
) -> list[Entry | None]:
    """Apply facts; see :meth:`ci360_twilio.ports.Ledger.record_many`."""
    recording = _Recording(tx, hourly_limits)
    return [recording.apply(key, fact) for key, fact in facts]


def kept_from_starting(tx: Transaction, entry: Entry, start: Fact) -> Entry | None:
    """Give an entry as what keeps it from starting leaves it: a wish, a pause; ``None`` if nothing does."""
    return _Recording(tx, {}).kept(entry, start)


def restored(at: datetime) -> tuple[Fact, Pause]:
    """Give what a restore does to what was under way, and the pause it sets."""
    fact = Fact(kind=Kind.RESTORED, at=at, reason="restored")
    return fact, Pause(scope=Scope.ALL, cause=Cause.RESTORE, reason="restored", since=at)


def minute_of(moment: datetime) -> int:
    """Give the minute of a moment, counted from 1970."""
    return int(moment.timestamp() // 60)


def oldest_minute(now: datetime) -> int:
    """Give the first minute of which messages still count."""
    return minute_of(now) - MINUTES


class _Recording:
    """One batch of facts."""

    def __init__(self, tx: Transaction, hourly_limits: Mapping[TenantId, int]) -> None:
        self._tx = tx
        self._limits = hourly_limits
        self._known_pauses: list[Pause] | None = None

    def apply(self, key: Key, fact: Fact) -> Entry | None:
        entry = self._tx.get(key)
        changed = advance(entry, fact) if entry is not None else None
        if entry is None or changed is None:
            return None
        if fact.kind is Kind.STARTED:
            changed = self.kept(entry, fact) or changed
        elif changed.sid not in (None, entry.sid) and not self._may_have(changed, fact):
            return None
        changed = attesting.opted_out_at_twilio(self._tx, entry, changed, fact)
        self._tx.write(changed)
        return changed

    def kept(self, entry: Entry, fact: Fact) -> Entry | None:
        """Give the entry as what keeps it from starting leaves it, if anything does.

        The recipient's wish is looked at here a second time, in the commit after which bytes leave.
        """
        if attesting.is_blocked(self._tx, entry):
            return attesting.suppressed(entry, fact)
        pause = paused_by(entry, self._pauses()) or self._over_limit(entry, fact.at)
        if pause is None:
            return None
        placed = Fact(
            kind=Kind.PLACED, at=fact.at, lease=fact.lease, place=pause.place, reason=pause.reason
        )
        return advance(entry, placed)

    def _pauses(self) -> list[Pause]:
        if self._known_pauses is None:
            self._known_pauses = self._tx.pauses()
        return self._known_pauses

    def _over_limit(self, entry: Entry, at: datetime) -> Pause | None:
        """Count a message that starts for the first time; give the pause that is set beyond the limit.

        Messages are counted by the minute, so that up to 61 minutes count.
        """
        limit = self._limits.get(entry.tenant_id)
        if limit is None or entry.started_at is not None:
            return None
        if self._tx.started(entry.tenant_id, oldest_minute(at)) < limit:
            self._tx.count_start(entry.tenant_id, minute_of(at))
            return None
        pause = Pause(
            scope=Scope.TENANT,
            tenant_id=entry.tenant_id,
            cause=Cause.LIMIT,
            reason="hourly_limit",
            since=at,
        )
        self._tx.keep_pause(pause)
        self._pauses().append(pause)
        return pause

    def _may_have(self, changed: Entry, fact: Fact) -> bool:
        """Tell whether an entry may have the SID it gets; whoever only guessed it gives it up."""
        others = [one for one in self._tx.with_sid(changed.sid or "") if one.key != changed.key]
        if others and (fact.guessed or not all(other.guessed for other in others)):
            return False
        for other in others:
            disowned = Fact(kind=Kind.DISOWNED, at=fact.at, reason="sid_of_another")
            if given_up := advance(other, disowned):
                self._tx.write(given_up)
        return True
