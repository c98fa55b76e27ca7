"""Sending a message again: a new entry, linked to the old one; never the old one a second time."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from ci360_twilio.core.codes import CODES
from ci360_twilio.core.entry import Entry, Status, Step, key_of
from ci360_twilio.errors import Failure

REPLAYABLE = frozenset({Status.REFUSED, Status.FAILED, Status.UNDELIVERED})
"""Statuses that a person may replay; what is held is resolved instead."""

_HOPELESS = frozenset(
    {Failure.PERMANENT_RECIPIENT, Failure.PERMANENT_CONTENT, Failure.PERMANENT_REQUEST}
)


class Objection(msgspec.Struct, frozen=True):
    """Why an entry is not replayed; ``final`` where insisting does not help."""

    code: str
    words: str
    final: bool = True


def objection(entry: Entry) -> Objection | None:
    """Tell what speaks against sending a message again by hand."""
    if entry.status not in REPLAYABLE:
        return Objection("not_replayable", f"It is {entry.status}, not refused or failed.")
    if entry.replayed_by is not None:
        return Objection("replayed", "It was replayed before; look at the entry that did.")
    if entry.message is None or entry.problems:
        return Objection("no_message", "Our own gates refused it: there is nothing to send.")
    code = CODES.get(entry.error_code) if entry.error_code is not None else None
    failure = code.failure if code else None
    if failure is Failure.OPTED_OUT:
        return Objection("opted_out", "The recipient has opted out.")
    if failure in _HOPELESS:
        return Objection("hopeless", "It would fail in the same way again.", final=False)
    return None


def again(entry: Entry, *, now: datetime, ttl: timedelta, step: str, reason: str) -> Entry:
    """Make the entry that sends a message again, from now on and for as long as an event lives.

    Its key follows from the old one, so that making it twice gives one entry. The times before and
    after which the message is not to be sent stay as they are.

    Args:
        entry: the old one; it has a message.
        now: when it is made.
        ttl: how long it may be sent, from now or from the time before which it may not.
        step: the verb that asks for it, as the history names it.
        reason: why.
    """
    guid = f"{entry.guid}~again"
    expires_at = max(now, entry.not_before or now) + ttl
    return Entry(
        key=key_of(entry.tenant_id, guid),
        tenant_id=entry.tenant_id,
        guid=guid,
        status=Status.ACCEPTED,
        created_at=now,
        generated_at=now,
        due_at=now,
        expires_at=expires_at,
        purge_at=max(now + (entry.purge_at - entry.created_at), expires_at),
        not_before=entry.not_before,
        not_after=entry.not_after,
        message=entry.message,
        origin=entry.origin,
        bulk=entry.bulk,
        consent_group=entry.consent_group,
        tells=entry.tells,
        replay_of=entry.key,
        history=(Step(at=now, step=step, decision=Status.ACCEPTED.value, reason=reason),),
    )
