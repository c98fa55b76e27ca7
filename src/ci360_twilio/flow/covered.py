"""What a pause covers: how much waits, how much is just leaving, how much it has let expire."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

import msgspec

from ci360_twilio.core.entry import Entry, Status
from ci360_twilio.core.pause import Pause, Scope
from ci360_twilio.flow.selection import Selection, pages
from ci360_twilio.ports import Archive

_UNDER_WAY = frozenset({Status.ACCEPTED, Status.SENDING})
_EXPIRED = frozenset({Status.EXPIRED})


def count_covered(archive: Archive, pause: Pause) -> Counter[Status]:
    """Count what a pause keeps from being sent, and what is being sent at this moment."""
    found: Counter[Status] = Counter()
    for page in pages(archive, _selection(pause), _UNDER_WAY):
        found.update(entry.status for entry in page if pause.covers(entry))
    return found


def count_expired(archive: Archive, pause: Pause, ttl: timedelta) -> int:
    """Count what has expired behind a pause and was swept; nothing lives longer than ``ttl``."""
    selection = msgspec.structs.replace(_selection(pause), since=pause.since - ttl)
    return sum(
        pause.covers(entry) and _expired_since(entry, pause.since)
        for page in pages(archive, selection, _EXPIRED)
        for entry in page
    )


def _selection(pause: Pause) -> Selection:
    """Give what narrows the search."""
    return Selection(
        tenant_id=pause.tenant_id,
        task=pause.value if pause.scope is Scope.TASK else None,
        sender=pause.value if pause.scope is Scope.SENDER else None,
    )


def _expired_since(entry: Entry, since: datetime) -> bool:
    """Tell whether an entry expired while it waited; not one that was too old as it came."""
    return any(
        step.step == "sweep" and step.decision == Status.EXPIRED and step.at >= since
        for step in entry.history
    )
