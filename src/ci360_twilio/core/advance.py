"""What a fact makes of an entry: :func:`advance`. Which facts fit which status is in the entry's table."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from ci360_twilio.core.entry import (
    OPEN,
    RECEIPTS,
    TRANSITIONS,
    UNFINISHED,
    Entry,
    Fact,
    Kind,
    Lease,
    Status,
    Step,
)
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.core.report import Outcome, owe, withdrawn

S, K = Status, Kind

FIRST_LOOK = timedelta(seconds=5)
"""How soon after an answer was lost the message is looked for; its callback may come before."""
FIRST_FETCH = timedelta(hours=12)
"""When a message without a final status is asked for (Twilio's advice; facts: docs "Best Practices
for Messaging Delivery Status Logging")."""

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
    if target is not entry.status:
        changed = owing(changed, fact.at)
    if fact.kind is K.MADE and fact.receipt is not None:
        return _ended(changed, fact, fact.receipt)
    return changed


_OUTCOMES: Mapping[Status, Outcome] = {
    status: Outcome(status.value) for status in Status if status.value in {*Outcome}
}


def owing(entry: Entry, at: datetime, outcome: Outcome | None = None) -> Entry:
    """Give an entry that owes CI360 the report of an outcome, if that is told at all.

    Args:
        entry: as it is since ``at``.
        at: when the outcome came about.
        outcome: of its status, unless told.
    """
    outcome = outcome or _OUTCOMES.get(entry.status)
    if outcome is None or outcome not in entry.tells:
        return entry
    reports = owe(
        entry.reports,
        entry.key,
        outcome,
        at,
        sid=entry.sid,
        reason=entry.reason,
        error_code=entry.error_code,
    )
    return msgspec.structs.replace(entry, reports=reports)


def _ended(made: Entry, fact: Fact, receipt: Receipt) -> Entry:
    """Apply what the very answer that names a message says of its end."""
    kind = next((kind for kind in RECEIPTS if kind.value == receipt.status), None)
    if kind is None:
        return made
    end = Fact(kind=kind, at=fact.at, receipt=receipt)
    return advance(msgspec.structs.replace(made, provider_status=None), end) or made


_RETOLD = frozenset({K.REPEATED, K.POSTPONED, K.PLACED, K.LINKED})
"""Facts that leave the status alone and still belong in the history."""


def _counts(entry: Entry, fact: Fact) -> bool:
    lease, kind = entry.lease, fact.kind
    if kind is K.CLAIMED:
        return lease is None or lease.until <= fact.at
    if kind is K.LEASE_ENDED:
        return lease is not None and lease.until <= fact.at
    if kind is K.EXPIRED:
        return entry.deadline <= fact.at and (lease is None or lease.until <= fact.at)
    if kind is K.PLACED:
        return _is_under(lease, fact) or lease is None or lease.until <= fact.at
    if kind is K.SUPPRESSED and entry.status is S.SENDING:
        return _is_under(lease, fact) and lease is not None and fact.at < lease.until
    if kind is K.MADE:
        return _may_be_made(entry, fact)
    if kind is K.DISOWNED:
        return entry.guessed
    if kind is K.LINKED:
        return entry.replayed_by is None
    if kind in _UNDER_LEASE:
        if lease is None or not _is_under(lease, fact):
            return False
        if kind is K.STARTED and fact.at >= entry.deadline:
            return False
        return kind not in _NEEDS_TIME_LEFT or fact.at < lease.until
    if kind is K.ANSWERED:
        return fact.receipt is None or entry.sid == fact.receipt.sid
    return fact.receipt is None or _is_news(entry, fact.receipt)


def _is_news(entry: Entry, receipt: Receipt) -> bool:
    """Tell whether a receipt is of the entry's message, and of a higher rank than the last one."""
    known = Receipt(sid=receipt.sid, status=entry.provider_status or "")
    return entry.sid == receipt.sid and receipt.rank > known.rank


def _is_under(lease: Lease | None, fact: Fact) -> bool:
    """Tell whether a fact comes from the very attempt that a lease is for."""
    return lease is not None and fact.lease is not None and lease.token == fact.lease.token


def _may_be_made(entry: Entry, fact: Fact) -> bool:
    """Tell whether a SID may be taken: the first one, or one that is sure in place of a guess."""
    if entry.sid is None:
        return entry.status in OPEN or (entry.attempts > 0 and not fact.guessed)
    other = fact.receipt is not None and fact.receipt.sid != entry.sid
    return entry.guessed and not fact.guessed and other


def _changes(entry: Entry, fact: Fact, target: Status) -> dict[str, object]:
    """Give what a fact changes besides the history."""
    kind = fact.kind
    if kind is K.REPEATED:
        return {"repeats": entry.repeats + 1}
    if kind is K.CLAIMED:
        return {"lease": fact.lease, "place": None}
    if kind is K.STARTED:
        return _started(entry, fact) | {"status": target} if entry.status is not target else {}
    if kind is K.LOOKED:
        counts = entry.status is S.UNKNOWN  # of what was sent, answers count
        return {"looks": entry.looks + counts, "due_at": fact.due_at or fact.at}
    if kind is K.ANSWERED:
        told = _told(entry, fact.receipt) if fact.receipt and _is_news(entry, fact.receipt) else {}
        return told | {"looks": entry.looks + 1, "due_at": fact.due_at or fact.at}
    if kind is K.LINKED:
        return {"replayed_by": fact.link}
    if kind is K.PLACED:
        return {"place": fact.place, "lease": None, "reason": fact.reason}
    changes: dict[str, object] = {"status": target, "place": None}
    if target is S.UNKNOWN:
        changes |= {"lost_at": fact.at, "due_at": fact.at + FIRST_LOOK, "looks": 0}
    if kind is K.DISOWNED:
        changes |= {"sid": None, "provider_status": None, "error_code": None, "guessed": False}
        changes |= {"via": None, "made": None, "carrier_done": None}
        changes["lost_at"] = entry.lost_at or fact.at
        changes["reports"] = withdrawn(entry.reports, entry.sid)
    if kind is K.MADE:
        changes |= {"guessed": fact.guessed, "due_at": fact.at + FIRST_FETCH, "looks": 0}
    if fact.link is not None:
        changes["replayed_by"] = fact.link
    if kind in (K.POSTPONED, K.RETRIED):
        changes |= {"lease": None, "due_at": fact.due_at or fact.at, "reason": fact.reason}
    elif kind is K.LEASE_ENDED and target is S.ACCEPTED:
        changes |= {"lease": None}
    elif kind is not K.PROGRESSED:
        changes |= {"reason": _reason(fact)}
    if fact.receipt is not None:
        changes |= _told(entry, fact.receipt)
    elif fact.error_code is not None:
        changes["error_code"] = fact.error_code
    if target not in UNFINISHED:
        changes["lease"] = None
    return changes


def _told(entry: Entry, receipt: Receipt) -> dict[str, object]:
    """Give what a receipt changes; what it does not say stays as it was known."""
    chosen = receipt.sender if entry.message and entry.message.is_service else None
    same = entry.sid == receipt.sid
    return {
        "sid": receipt.sid,
        "provider_status": receipt.status,
        "error_code": receipt.error_code,
        "via": chosen or (entry.via if same else None),
        "made": receipt.made or (entry.made if same else None),
        "carrier_done": receipt.carrier_done or (entry.carrier_done if same else None),
    }


def _started(entry: Entry, fact: Fact) -> dict[str, object]:
    return {
        "attempts": entry.attempts + 1,
        "reason": None,
        "correlation": entry.correlation or fact.correlation,
        "started_at": entry.started_at or fact.at,
    }


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
    K.SUPPRESSED: "accept",
    K.DISOWNED: "find",
    **dict.fromkeys((K.PLACED, K.WITHDRAWN, K.CLOSED, K.LINKED), "steer"),
    **dict.fromkeys((*RECEIPTS, K.PROGRESSED), "settle"),
}
_DECISIONS: dict[Kind, str] = {
    K.REPEATED: "duplicate",
    K.POSTPONED: "postponed",
    K.RETRIED: "retry",
    K.PLACED: "waits",
    K.LINKED: "replayed",
}


def _step(fact: Fact, target: Status) -> Step:
    decision = _DECISIONS.get(fact.kind, target.value)
    step = fact.by or _VERBS.get(fact.kind, "send")
    return Step(at=fact.at, step=step, decision=decision, reason=_reason(fact))


_HISTORY_HEAD, _HISTORY_TAIL = 10, 40


def _remembered(entry: Entry, step: Step) -> dict[str, object]:
    """Add a step, dropping from the middle where the history has grown long."""
    history = (*entry.history, step)
    if len(history) <= _HISTORY_HEAD + _HISTORY_TAIL:
        return {"history": history}
    kept = history[:_HISTORY_HEAD] + history[_HISTORY_HEAD + 1 :]
    return {"history": kept, "history_dropped": entry.history_dropped + 1}
