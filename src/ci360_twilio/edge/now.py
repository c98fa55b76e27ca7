"""Send one entry at once and wait for what becomes of it: the direct Lambda and ``send``."""

from __future__ import annotations

import time

from ci360_twilio.core.advance import advance
from ci360_twilio.core.due import sweep
from ci360_twilio.core.entry import Entry, Status
from ci360_twilio.errors import LedgerUnavailable
from ci360_twilio.flow.patience import ATTEMPT_SECONDS
from ci360_twilio.flow.send import Begun
from ci360_twilio.logs import safe_guid
from ci360_twilio.wiring import Parts, utc_now

SHORTEST_ATTEMPT = 1.0
"""An attempt with less time than this is not begun, in seconds."""
LONGEST_WAIT = 5.0
"""A retry that is due later than this is left to others, in seconds."""


def send_now(parts: Parts, entry: Entry, until: float) -> Entry:
    """Make attempts until there is an outcome, no time for another, or another process is at it.

    Args:
        parts: the process's implementations.
        entry: one that is ``accepted``.
        until: when to be back, on the monotonic clock.

    Returns:
        The entry as it stands then; ``accepted`` without a lease where nothing could be made.

    Raises:
        LedgerUnavailable: the ledger cannot write, and nothing was sent.
    """
    wait = 0.0  # whoever asks now is not told to wait for an earlier failure's backoff
    while entry.status is Status.ACCEPTED:
        timeout = min(ATTEMPT_SECONDS, until - time.monotonic() - wait)
        if wait > LONGEST_WAIT or timeout < SHORTEST_ATTEMPT:
            break
        time.sleep(wait)
        begun = parts.sending.begin(parts.sending.claim(1, [entry.key]))
        if not begun:
            entry = parts.store.get_many([entry.key])[0] or entry
            break
        entry = _attempt(parts, begun[0], timeout)
        wait = max((entry.due_at - utc_now()).total_seconds(), 0.0)
    return sweep(entry, utc_now())


def _attempt(parts: Parts, begun: Begun, timeout: float) -> Entry:
    """Make one attempt and write down what came of it.

    Where that cannot be written the caller still hears the truth; the ledger will read
    ``unknown``, and the message is never sent again.
    """
    fact = parts.sending.attempt(begun, timeout=timeout)
    entry = begun.entry
    try:
        return parts.sending.record([(entry.key, fact)])[0] or entry
    except LedgerUnavailable as exc:
        parts.log.error("send.not_recorded", error=exc.code, guid=safe_guid(entry.guid))
        return advance(entry, fact) or entry
