"""``try``: one test message to a phone that somebody has at hand, on the way that all messages take."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from ci360_twilio.core.entry import Entry
from ci360_twilio.core.event import Origin
from ci360_twilio.core.message import Message
from ci360_twilio.core.tenant import Tenant
from ci360_twilio.core.verdict import entry_of, judge
from ci360_twilio.flow.accept import Entering

TTL = timedelta(hours=1)
"""How long a test may wait: who looks at their phone does not wait longer."""
EVENT_NAME = "console test"


def try_out(
    ledger: Entering, tenant: Tenant, message: Message, *, guid: str, now: datetime
) -> Entry:
    """Write the entry of a test; a worker sends it as any other, through consent and limits.

    CI360 is told nothing of it: it is about no customer of a task.

    Args:
        ledger: where it is written.
        tenant: whose account sends it.
        message: to the phone that is meant.
        guid: of the test; one that is known sends nothing.
        now: the present moment.

    Raises:
        LedgerUnavailable: it could not be written; nothing is sent.
    """
    untold = msgspec.structs.replace(tenant, ci360=None)
    entry = entry_of(
        judge(message, (), untold, "creative"),
        untold,
        guid,
        Origin(event_name=EVENT_NAME),
        now=now,
        since=now,
        ttl=TTL,
        generated_at=now,
    )
    limit = tenant.messages_per_recipient_per_day
    limits = {} if limit is None else {tenant.id: limit}
    [inserted] = ledger.insert_many([entry], recipient_limits=limits)
    return inserted.entry
