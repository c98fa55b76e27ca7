"""What is seen to where a recipient's wish may change: the consent, its seals, and who is told.

For all stores, over what :class:`Wishes` gives them of a commit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import takewhile

import msgspec

from ci360_twilio.core.advance import advance
from ci360_twilio.core.advance import owing as entry_owing
from ci360_twilio.core.codes import CODES
from ci360_twilio.core.consent import (
    EVERY_SENDER,
    Consent,
    Evidence,
    Line,
    Sign,
    Source,
    Subject,
    attest,
    confirm,
    dismiss,
    person_of,
    undated_of,
)
from ci360_twilio.core.entry import Entry, Fact, Kind
from ci360_twilio.core.inbound import Inbound, inbound_key, owing
from ci360_twilio.core.receipt import moment_of
from ci360_twilio.core.report import Outcome
from ci360_twilio.errors import Failure
from ci360_twilio.ports import Hearing, Received
from ci360_twilio.stores.transaction import Consenting, Wishes

OPTED_OUT = "opted_out"
"""The reason of an entry that its recipient's wish keeps from being sent."""
_OPT_OUT_CODES = frozenset(
    number for number, code in CODES.items() if code.failure is Failure.OPTED_OUT
)


def subjects_of(entry: Entry) -> list[Subject]:
    """Give the consents that an entry needs: for all senders, and for its group where it has one."""
    if entry.message is None:
        return []
    person = person_of(entry.message.to)
    groups = (EVERY_SENDER, entry.consent_group)
    return [Subject(entry.tenant_id, person, group) for group in groups if group is not None]


def is_blocked(tx: Consenting, entry: Entry) -> bool:
    """Tell whether the recipient's wish keeps an entry from being sent."""
    if not tx.has_consents():
        return False
    consents = map(tx.consent, subjects_of(entry))
    return any(consent is not None and consent.blocked for consent in consents)


def suppressed(entry: Entry, fact: Fact) -> Entry | None:
    """Give an entry as its recipient's wish leaves it; ``None`` where that comes too late."""
    by = "send" if fact.kind is Kind.STARTED else fact.by
    wish = Fact(kind=Kind.SUPPRESSED, at=fact.at, lease=fact.lease, reason=OPTED_OUT, by=by)
    return advance(entry, wish)


def attested(tx: Wishes, subject: Subject, evidence: Evidence, now: datetime) -> Consent | None:
    """Add evidence; an inbound message that turns the consent owes the report of it."""
    before = tx.consent(subject)
    after = attest(before, subject, evidence, now)
    if after is None:
        return None
    kept = tx.keep_consent(subject, after)
    _tell_turn(tx, before, after, now)
    return kept


def dated(tx: Wishes, subject: Subject, evidence: Evidence, now: datetime) -> Consent | None:
    """Write the date of evidence that is there without one, whatever a person has made of it."""
    before = tx.consent(subject)
    if before is None or evidence.dated_at is None or evidence.sid is None:
        return None
    after = None
    for one in undated_of(before, evidence.sid):
        sure = msgspec.structs.replace(one, dated_at=evidence.dated_at)
        after = attested(tx, subject, sure, now) or after
    return after


def judged(
    tx: Wishes, subject: Subject, sid: str, now: datetime, *, is_out: bool, by: str
) -> Consent | None:
    """Write what a person found in a text that blocks until it is read."""
    before = tx.consent(subject)
    if before is None:
        return None
    after = (confirm if is_out else dismiss)(before, sid, now, by)
    if after is None:
        return None
    kept = tx.keep_consent(subject, after)
    _tell_turn(tx, before, after, now)
    return kept


def opted_out_at_twilio(tx: Wishes, before: Entry, after: Entry, fact: Fact) -> Entry:
    """Take note of what Twilio says of a recipient's wish; gives the entry, perhaps with a report.

    A message that Twilio made speaks as of when it was made: a later *in* overrules it.
    """
    news = after.status is not before.status and after.error_code in _OPT_OUT_CODES
    if not news or after.message is None:
        return after
    made = moment_of(after.made) or after.started_at if after.sid else fact.at
    evidence = Evidence(
        sign=Sign.OUT,
        source=Source.TWILIO,
        heard_at=fact.at,
        dated_at=made or fact.at,
        sid=after.sid,
    )
    subject = subjects_of(after)[-1]
    known = tx.consent(subject)
    turned = attest(known, subject, evidence, fact.at)
    if turned is not None:
        tx.keep_consent(subject, turned)
        outcome = _turn(known, turned)
    elif known is not None:  # perhaps by an attempt that wrote the wish and broke off
        outcome = _turn_written(known, lambda line: _is_of(line, evidence))
    if outcome is not Outcome.OPT_OUT:
        return after
    return entry_owing(after, fact.at, Outcome.OPT_OUT)


def _is_of(line: Line, evidence: Evidence) -> bool:
    """Tell whether a line tells of what Twilio said then."""
    said = (line.source, line.sid, line.at)
    return said == (Source.TWILIO, evidence.sid, evidence.heard_at)


def hear(tx: Wishes, hearings: Sequence[Hearing], now: datetime) -> list[Received]:
    """Write inbound messages; see :meth:`ci360_twilio.ports.Inbox.hear_many`."""
    return [_heard(tx, hearing, now) for hearing in hearings]


def _heard(tx: Wishes, hearing: Hearing, now: datetime) -> Received:
    inbound, subject, evidence = hearing
    known = tx.heard_again(inbound)
    if known is not None:
        return Received(known, created=False)
    tx.add_inbound(inbound)
    consent = None
    if evidence is not None:
        consent = attested(tx, subject, evidence, now) or _completed(tx, inbound, subject, now)
    return Received(tx.inbound(inbound.key) or inbound, created=True, consent=consent)


def _completed(tx: Wishes, inbound: Inbound, subject: Subject, now: datetime) -> Consent | None:
    """Complete what an attempt began that wrote the wish and broke off, where stores do that."""
    known, sid = tx.consent(subject), inbound.heard.sid
    if known is None or all(line.sid != sid for line in known.history):
        return None
    if outcome := _turn_written(known, lambda line: line.sid == sid):
        tx.keep_inbound(owing(inbound, outcome, now))
    return known


def _tell_turn(tx: Wishes, before: Consent | None, after: Consent, now: datetime) -> None:
    """Have the inbound message that turned a consent tell CI360 so."""
    outcome = _turn(before, after)
    if outcome is None or not any(one.sid for one in (*after.against, *after.favour)):
        return  # nothing that came by itself speaks in it
    decisive = _decisive(before, after, outcome)
    inbound = tx.inbound(inbound_key(after.tenant_id, decisive.sid)) if decisive.sid else None
    if inbound is not None:
        tx.keep_inbound(owing(inbound, outcome, now))


def _decisive(before: Consent | None, after: Consent, outcome: Outcome) -> Evidence:
    """Give the evidence that turned a consent: what is new in it, else the latest that says so."""
    known = (*before.against, *before.favour) if before is not None else ()
    wanted = Sign.IN if outcome is Outcome.OPT_IN else Sign.OUT
    says_so = [one for one in (*after.standing, *after.favour) if one.sign is wanted]
    return max([one for one in says_so if one not in known] or says_so, key=lambda one: one.latest)


def _turn(before: Consent | None, after: Consent) -> Outcome | None:
    """Tell whether a consent has become an opt-out, or ceased to be one, perhaps by way of a review."""
    was_out, is_out = before is not None and before.state == "out", after.state == "out"
    if is_out and not was_out:
        return Outcome.OPT_OUT
    back_in = before is not None and before.blocked and not after.blocked
    return (
        Outcome.OPT_IN if back_in and before is not None and _has_been_out(before.history) else None
    )


def _has_been_out(history: Sequence[Line]) -> bool:
    """Tell whether an opt-out was known at any time since a recipient is blocked."""
    since = takewhile(lambda line: line.blocked, reversed(history))
    return any(line.act == Sign.OUT for line in since)


def _turn_written(consent: Consent, is_it: Callable[[Line], bool]) -> Outcome | None:
    """Tell how a consent has turned by a line of its history."""
    for number, line in enumerate(consent.history):
        if is_it(line):
            was_out = _has_been_out(consent.history[:number])
            if line.blocked:
                return Outcome.OPT_OUT if line.act == Sign.OUT and not was_out else None
            return Outcome.OPT_IN if was_out else None
    return None
