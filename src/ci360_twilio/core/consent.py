"""Whether a recipient wants messages: :class:`Consent`, made of the evidence for and against.

Texts and lists come late, twice and in any order, and often without a date. So nothing is
overwritten: evidence is gathered, and the state follows from it, the same in whatever order it came::

    out ──►────────────x──────► blocked, unless a later *in* overrules it
    in  ──►──x────────────────► earlier than the *out*: changes nothing
    in  ──►──────────────[??]─► when it was given is not known: asked for, and *out* stands

Evidence without a date was given before it was heard of. An *in* overrules an *out* only where it is
certain that it came after it; wherever that is unclear, the *out* stands.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

import msgspec

from ci360_twilio.core.tenant import TenantId

EVERY_SENDER = ""
"""The group of all senders of a tenant."""

LATEST = timedelta(hours=24)
"""How late a webhook may come at most; Twilio repeats it for some minutes."""
MOST = 16
"""Pieces of evidence of each kind that are kept beside each other."""
FIRST_QUESTION, LAST_QUESTION = timedelta(seconds=10), timedelta(hours=1)
"""Waits between questions for the same dates: the first, and the one that they grow to."""
LONGEST = 500
"""Lines of a history from which on only those are written that change the state."""
_NEVER = datetime.min.replace(tzinfo=UTC)


class Subject(NamedTuple):
    """Whose consent it is, and to whose messages: by tenant, recipient and group of senders."""

    tenant_id: TenantId
    recipient: str
    group: str = EVERY_SENDER


def person_of(address: str) -> str:
    """Give the recipient of an address for whom a wish counts: a number on whatever channel."""
    channel, _, number = address.rpartition(":")
    return address if channel == "messenger" else number


class Sign(StrEnum):
    """What a piece of evidence says."""

    OUT = "out"
    IN = "in"
    MAYBE = "maybe"
    """Probably *out*; blocks until a person has read it."""


class Source(StrEnum):
    """Where evidence comes from."""

    TEXT = "text"
    """The customer wrote it."""
    TWILIO = "twilio"
    """Twilio refused a message for it (21610, 63014)."""
    IMPORT = "import"
    CI360 = "ci360"
    PERSON = "person"
    """Somebody decided it here."""


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One thing that speaks for or against."""

    sign: Sign
    source: Source
    heard_at: datetime
    """When we heard of it, by our clock."""
    dated_at: datetime | None = None
    """When it was given, by whoever keeps the date: Twilio, CI360, a list."""
    sid: str | None = None
    """Twilio's message that says so."""
    by: str | None = None

    @property
    def earliest(self) -> datetime:
        """The earliest moment at which it can have been given."""
        if self.dated_at is not None:
            return self.dated_at
        return self.heard_at - LATEST if self.sid else _NEVER

    @property
    def latest(self) -> datetime:
        """The latest moment at which it can have been given."""
        return self.dated_at or self.heard_at


class Line(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One line of a consent's history. Lines are only ever added."""

    at: datetime
    """When it was written."""
    act: str
    """``out``, ``in``, ``maybe``; ``dated``, ``dismissed``."""
    source: Source
    blocked: bool
    """Whether the recipient was blocked from then on."""
    dated_at: datetime | None = None
    sid: str | None = None
    by: str | None = None
    seal: str = ""
    """Keyed hash over this line and the seal before it."""


class Consent(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What is known of one recipient's wish."""

    tenant_id: TenantId
    group: str = EVERY_SENDER
    recipient: str | None = None
    """Gone after an erasure; the wish stays in force by the hash that it is kept under."""
    against: tuple[Evidence, ...] = ()
    favour: tuple[Evidence, ...] = ()
    ask_at: datetime | None = None
    """When Twilio is asked next for the dates that are missing; none where nothing hangs on them."""
    asked: int = 0
    history: tuple[Line, ...] = ()
    seal: str = ""
    """Keyed hash over the evidence and the last line's seal."""

    @property
    def standing(self) -> tuple[Evidence, ...]:
        """What speaks against messages and is not overruled."""
        if not self.favour:
            return self.against
        return tuple(one for one in self.against if not self._is_overruled(one))

    @property
    def blocked(self) -> bool:
        """Whether nothing may be sent."""
        return bool(self.standing)

    @property
    def state(self) -> str:
        """In a word: ``out``, ``review`` (blocked until a person has read a text), or ``in``."""
        standing = self.standing
        if any(one.sign is Sign.OUT for one in standing):
            return "out"
        return "review" if standing else "in"

    @property
    def since(self) -> datetime | None:
        """Since when it is so, as far as is known."""
        deciding = self.standing or self.favour
        return max((one.latest for one in deciding), default=None)

    @property
    def undated(self) -> tuple[Evidence, ...]:
        """The texts whose dates would tell whether an *in* overrules what stands.

        An *in* that is certainly no later than all that stands cannot.
        """
        if not self.favour:
            return ()
        standing = self.standing
        in_doubt = [
            one for one in self.favour if any(one.latest > against.earliest for against in standing)
        ]
        if not in_doubt:
            return ()
        asked = [*in_doubt, *standing]
        return tuple(one for one in asked if one.dated_at is None and one.sid is not None)

    def _is_overruled(self, against: Evidence) -> bool:
        return any(one.earliest > against.latest for one in self.favour)


def attest(
    consent: Consent | None, subject: Subject, evidence: Evidence, now: datetime
) -> Consent | None:
    """Add a piece of evidence.

    Of one message there is one piece: heard again it says nothing new, unless its date is known now.
    Nor does one that was heard and is not kept: it was needless, or a person has read it.

    Returns:
        The consent as it is afterwards, not sealed; ``None`` where that changes nothing.
    """
    if consent is None:
        return _begun(subject, evidence, now)
    known = consent
    before = _of_same_text(known, evidence)
    act = evidence.sign.value
    if before is not None:
        if before.dated_at is not None or evidence.dated_at is None:
            return None
        act = "dated"
        evidence = msgspec.structs.replace(before, dated_at=evidence.dated_at)
    elif _was_heard(known, evidence) or _says_nothing_new(known, evidence):
        return None
    side = known.favour if evidence.sign is Sign.IN else known.against
    several = (*(one for one in side if one is not before), evidence) if side else (evidence,)
    recipient = known.recipient or subject.recipient or None
    if evidence.sign is Sign.IN:
        kept = _kept_in_favour(several)
        changed = msgspec.structs.replace(known, recipient=recipient, favour=kept)
    else:
        kept = _kept_against(several)
        changed = msgspec.structs.replace(known, recipient=recipient, against=kept)
    return _noted(changed, act, evidence, now)


def put_off(consent: Consent, now: datetime) -> Consent:
    """Give a consent whose dates are being asked for: it is asked for again later, if they stay unknown."""
    wait = min(FIRST_QUESTION * (1 << min(consent.asked, 12)), LAST_QUESTION)
    return msgspec.structs.replace(consent, ask_at=now + wait, asked=consent.asked + 1)


def nameless(consent: Consent) -> Consent:
    """Give a consent without its number: it stays in force, and nobody can be asked about it."""
    return msgspec.structs.replace(consent, recipient=None, ask_at=None)


def undated_of(consent: Consent, sid: str) -> tuple[Evidence, ...]:
    """Give the evidence of a message that has no date."""
    evidence = (*consent.against, *consent.favour)
    return tuple(one for one in evidence if one.sid == sid and one.dated_at is None)


def dismiss(consent: Consent, sid: str, now: datetime, by: str) -> Consent | None:
    """Take away what a person has read and found to be no opt-out."""
    read = next((one for one in consent.against if one.sid == sid and one.sign is Sign.MAYBE), None)
    if read is None:
        return None
    left = tuple(one for one in consent.against if one is not read)
    changed = msgspec.structs.replace(consent, against=left)
    return _noted(changed, "dismissed", msgspec.structs.replace(read, by=by), now)


def confirm(consent: Consent, sid: str, now: datetime, by: str) -> Consent | None:
    """Have what a person has read and found to be an opt-out stand as one."""
    read = next((one for one in consent.against if one.sid == sid and one.sign is Sign.MAYBE), None)
    if read is None:
        return None
    sure = msgspec.structs.replace(read, sign=Sign.OUT, by=by)
    left = tuple(one for one in consent.against if one is not read)
    changed = msgspec.structs.replace(consent, against=_kept_against((*left, sure)))
    return _noted(changed, "out", sure, now)


def _begun(subject: Subject, evidence: Evidence, now: datetime) -> Consent | None:
    """Give the consent of somebody of whom nothing was known.

    Lists say of many that they may be written to: that means nothing where nothing else is known.
    """
    tenant_id, recipient, group = subject
    is_in = evidence.sign is Sign.IN
    if is_in and evidence.sid is None:
        return None
    return Consent(
        tenant_id=tenant_id,
        group=group,
        recipient=recipient or None,
        against=() if is_in else (evidence,),
        favour=(evidence,) if is_in else (),
        history=(_line(evidence.sign.value, evidence, now, blocked=not is_in),),
    )


def _line(act: str, evidence: Evidence, now: datetime, *, blocked: bool) -> Line:
    return Line(
        at=now,
        act=act,
        source=evidence.source,
        blocked=blocked,
        dated_at=evidence.dated_at,
        sid=evidence.sid,
        by=evidence.by,
    )


def _noted(consent: Consent, act: str, evidence: Evidence, now: datetime) -> Consent:
    """Write a line of what was done, and when to ask for the dates that are needed now.

    In a history that has grown very long only lines are written that change the state.
    """
    ask_at = now if consent.undated else None
    blocked, history = consent.blocked, consent.history
    if len(history) < LONGEST or history[-1].blocked is not blocked:
        history = (*history, _line(act, evidence, now, blocked=blocked))
    return msgspec.structs.replace(consent, ask_at=ask_at, asked=0, history=history)


def _is_same(one: Evidence, other: Evidence) -> bool:
    return one.sid == other.sid and one.sign is other.sign


def _of_same_text(consent: Consent, evidence: Evidence) -> Evidence | None:
    if evidence.sid is None:
        return None
    every = (*consent.against, *consent.favour)
    return next((one for one in every if _is_same(one, evidence)), None)


def _was_heard(consent: Consent, evidence: Evidence) -> bool:
    said = (evidence.sid, evidence.sign.value)
    return evidence.sid is not None and any((one.sid, one.act) == said for one in consent.history)


def _says_nothing_new(consent: Consent, evidence: Evidence) -> bool:
    """Tell whether what there is says as much already; a text of the customer's is always kept."""
    if evidence.sid is not None:
        return False
    if evidence.sign is Sign.IN:
        undated = evidence.dated_at is None
        known = (one.earliest >= evidence.earliest for one in consent.favour)
        return undated or any(known)
    return any(_outweighs(one, evidence) for one in consent.against)


def _outweighs(one: Evidence, other: Evidence) -> bool:
    """Tell whether whatever overrules one piece against messages overrules the other, too.

    What a person may still dismiss stands in for nothing else, nor does a text by a date that it may
    turn out not to have; what is no text has none to come.
    """
    sure = one.latest if one.sid is None else one.earliest
    return one.sign is Sign.OUT and sure >= other.latest


def _kept_against(evidence: tuple[Evidence, ...]) -> tuple[Evidence, ...]:
    """Leave out what other evidence makes needless.

    Only what is surely later does: two texts without dates may turn out to be in either order. Where
    there are too many of these, one opt-out stands for them all, as late as any of them can be.
    """
    kept = _undominated(evidence, _outweighs)
    if len(kept) <= MOST:
        return kept
    last = max(kept, key=lambda one: one.latest)
    return (msgspec.structs.replace(last, sign=Sign.OUT, dated_at=last.latest),)


def _kept_in_favour(evidence: tuple[Evidence, ...]) -> tuple[Evidence, ...]:
    """Leave out what is surely earlier than other evidence; too many, and the first heard of go."""
    return _undominated(evidence, lambda one, other: one.earliest >= other.latest)[-MOST:]


def _undominated(
    evidence: tuple[Evidence, ...], outdoes: Callable[[Evidence, Evidence], bool]
) -> tuple[Evidence, ...]:
    """Leave out what another piece outdoes; of two that outdo each other, the first one stays."""
    if len(evidence) == 1:
        return evidence
    kept: list[Evidence] = []
    for new in evidence:
        if not any(outdoes(one, new) for one in kept):
            kept = [one for one in kept if not outdoes(new, one)]
            kept.append(new)
    return tuple(kept)
