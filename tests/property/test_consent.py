"""Any evidence, in any order: what a consent says is what all of it together says, or is safer.

The model keeps every piece of evidence with its true date, and nothing else. It is asked after each
step, so that nothing that was left out on the way is missed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from ci360_twilio.core.consent import (
    LATEST,
    MOST,
    Consent,
    Evidence,
    Sign,
    Source,
    Subject,
    attest,
    confirm,
    dismiss,
)
from ci360_twilio.core.seal import is_intact, sealed, subject_hash
from ci360_twilio.core.tenant import TenantId

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
SUBJECT = Subject(TenantId("demo"), "+12015550142")
KEY = b"k" * 32
HASH = subject_hash(SUBJECT, KEY)


class Piece(NamedTuple):
    """One thing that somebody said, and when it really was."""

    sign: Sign
    true: datetime
    heard: datetime
    sid: str | None
    is_dated: bool
    """Whether its date is told when it is heard of."""

    @property
    def first(self) -> Evidence:
        """It, as it is heard of."""
        return Evidence(
            sign=self.sign,
            source=Source.TEXT if self.sid else Source.IMPORT,
            heard_at=self.heard,
            dated_at=self.true if self.is_dated else None,
            sid=self.sid,
        )

    @property
    def whole(self) -> Evidence:
        """It, with its date."""
        return msgspec.structs.replace(self.first, dated_at=self.true)


@st.composite
def a_story(draw: st.DrawFn, most: int = MOST, *, rows: bool = False) -> list[Piece]:
    """Draw texts, each with its own SID, and perhaps rows of lists, in the order of hearing.

    Dates are few, so that many are the same; the farthest are more than a day apart.
    """
    minutes = st.sampled_from([0, 1, 2, 3, 5, 60, 720, 1439, 1440, 1441, 3000])
    late = st.sampled_from([0, 1, 2, 60, 1439, 1440])
    pieces = list[Piece]()
    for number in range(draw(st.integers(0, most))):
        sign = draw(st.sampled_from([Sign.OUT, Sign.IN, Sign.IN, Sign.MAYBE]))
        true = NOON + timedelta(minutes=draw(minutes))
        heard = true + timedelta(minutes=draw(late))
        sid = None if rows and sign is not Sign.MAYBE and draw(st.booleans()) else f"SM{number}"
        pieces.append(Piece(sign, true, heard, sid, draw(st.booleans())))
    return draw(st.permutations(pieces))


@st.composite
def a_crowd(draw: st.DrawFn) -> list[Piece]:
    """Draw more texts of one day than are kept, none of them with a date."""
    minutes = st.lists(st.integers(0, 1440), min_size=MOST + 1, max_size=2 * MOST, unique=True)
    sign = st.sampled_from([Sign.OUT, Sign.MAYBE])
    heard = NOON + timedelta(days=1)
    return [
        Piece(draw(sign), NOON + timedelta(minutes=at), heard, f"SM{at}", is_dated=False)
        for at in draw(minutes)
    ]


def is_blocked(pieces: Sequence[Piece]) -> bool:
    """Ask the model: no *in* is later than the last *out*."""
    outs = [one.true for one in pieces if one.sign is not Sign.IN]
    ins = [one.true for one in pieces if one.sign is Sign.IN]
    return bool(outs) and max(outs) >= max(ins, default=datetime.min.replace(tzinfo=UTC))


def after(consent: Consent | None, evidence: Evidence) -> Consent | None:
    """Add evidence; what says nothing new leaves the consent."""
    return attest(consent, SUBJECT, evidence, evidence.heard_at) or consent


def blocked(consent: Consent | None) -> bool:
    """Tell whether a consent blocks; none does not."""
    return consent is not None and consent.blocked


def grown(pieces: Sequence[Piece]) -> Iterator[tuple[list[Piece], Consent | None]]:
    """Give the pieces that were heard so far, and the consent, after each of them."""
    consent: Consent | None = None
    for number, piece in enumerate(pieces, 1):
        consent = after(consent, piece.first)
        yield [*pieces[:number]], consent


def told(consent: Consent | None, pieces: Sequence[Piece]) -> Consent | None:
    """Have all dates told, in the order of the pieces."""
    for piece in pieces:
        if piece.sid is not None and not piece.is_dated:
            consent = after(consent, piece.whole)
    return consent


def state(consent: Consent | None) -> tuple[str, datetime | None]:
    """Give what is shown of a consent."""
    return (consent.state, consent.since if consent.blocked else None) if consent else ("in", None)


JUDGES = [None, dismiss, confirm]
OLD = Piece(Sign.OUT, NOON - timedelta(days=9), NOON - timedelta(days=9), "SM", is_dated=True)
"""A stop of long ago: a row that somebody may be written to says nothing of who is not known yet."""

many = settings(max_examples=200, deadline=None)


@given(pieces=a_story(rows=True))
@many
def test_nobody_is_unblocked_whom_all_the_evidence_blocks(pieces: list[Piece]) -> None:
    """Not at any time, whatever dates are not known yet."""
    for heard, consent in grown(pieces):
        assert blocked(consent) or not is_blocked(heard)


@given(pieces=a_story(most=4 * MOST, rows=True) | a_crowd(), data=st.data())
@many
def test_nor_is_anybody_who_writes_without_end(pieces: list[Piece], data: st.DataObject) -> None:
    """What is left out for want of room leaves a recipient blocked at worst."""
    consent: Consent | None = None
    for heard, known in grown(pieces):
        assert blocked(known) or not is_blocked(heard)
        consent = known
    consent = told(consent, data.draw(st.permutations(pieces)))
    assert blocked(consent) or not is_blocked(pieces)
    if consent is not None:
        assert len(consent.against) <= MOST
        assert len(consent.favour) <= MOST
    for piece in pieces:
        at = piece.true + timedelta(seconds=1)
        start = Piece(Sign.IN, at, at, "SMx", is_dated=True)
        assert blocked(after(consent, start.whole)) or not is_blocked([*pieces, start])


@given(pieces=a_story(), data=st.data())
@many
def test_once_all_dates_are_known_it_is_what_all_the_evidence_says(
    pieces: list[Piece], data: st.DataObject
) -> None:
    """In whatever order texts are heard, and dates become known."""
    consent: Consent | None = None
    for _, consent in grown(pieces):  # noqa: B007 - the last one is wanted
        pass
    assert blocked(told(consent, data.draw(st.permutations(pieces)))) is is_blocked(pieces)


@given(pieces=a_story(), data=st.data())
@many
def test_dates_may_become_known_between_texts(pieces: list[Piece], data: st.DataObject) -> None:
    """At each step no less is blocked than should be, and in the end just that."""
    waiting, heard = [*pieces], list[Piece]()
    undated, consent = list[Piece](), None
    while waiting or undated:
        if waiting and (not undated or data.draw(st.booleans())):
            piece = waiting.pop()
            heard.append(piece)
            consent = after(consent, piece.first)
            if not piece.is_dated:
                undated.append(piece)
        else:
            piece = undated.pop(data.draw(st.integers(0, len(undated) - 1)))
            consent = after(consent, piece.whole)
        assert blocked(consent) or not is_blocked(heard)
    assert blocked(consent) is is_blocked(pieces)


@given(pieces=a_story(rows=True), data=st.data())
@many
def test_the_order_in_which_dated_evidence_is_heard_does_not_matter(
    pieces: list[Piece], data: st.DataObject
) -> None:
    """Neither for whether somebody is blocked, nor for what is shown."""
    consents = list[Consent | None]()
    for order in (pieces, data.draw(st.permutations(pieces))):
        consent = after(None, OLD.whole)
        for piece in order:
            consent = after(consent, piece.whole)
        consents.append(consent)
    assert state(consents[0]) == state(consents[1])
    assert blocked(consents[0]) is is_blocked([OLD, *pieces])


@given(pieces=a_story(rows=True), data=st.data())
@many
def test_evidence_that_is_heard_again_changes_nothing(
    pieces: list[Piece], data: st.DataObject
) -> None:
    """With its date or without, even a month later; of a row without one, nobody could tell."""
    for heard, consent in grown([OLD, *pieces]):
        piece = data.draw(st.sampled_from(heard))
        late = piece.heard + timedelta(days=30) if piece.sid or piece.is_dated else piece.heard
        again, whole = (
            msgspec.structs.replace(one, heard_at=late) for one in (piece.first, piece.whole)
        )
        assert attest(consent, SUBJECT, again, late) is None
        dated = after(consent, whole) if piece.sid else consent
        assert attest(dated, SUBJECT, again, late) is None
        assert piece.sid is None or attest(dated, SUBJECT, whole, late) is None


@given(pieces=a_story(rows=True), sid=st.sampled_from(["SMx", None]), data=st.data())
@many
def test_a_start_that_may_have_come_before_a_stop_unblocks_nobody(
    pieces: list[Piece], sid: str | None, data: st.DataObject
) -> None:
    """A text is at most a day old when it is heard of; a row of a list, nobody knows."""
    heard = NOON + timedelta(days=9)
    start = Piece(Sign.IN, heard, heard, sid, is_dated=False)
    stop = Piece(Sign.OUT, heard - LATEST, heard, "SMy", is_dated=True)
    against = [one for one in pieces if one.sign is not Sign.IN]
    for known, consent in grown(data.draw(st.permutations([*against, start, stop]))):
        assert blocked(consent) or stop not in known


@given(pieces=a_story(), data=st.data())
@many
def test_what_people_dismiss_counts_no_more_and_the_rest_does(
    pieces: list[Piece], data: st.DataObject
) -> None:
    """And what they confirm is an opt-out of its date; all texts are heard twice."""
    consent: Consent | None = None
    heard, dismissed = list[Piece](), set[str | None]()
    for piece in [*pieces, *data.draw(st.permutations(pieces))]:
        consent = after(consent, piece.whole if piece in heard else piece.first)
        heard.append(piece)
        read, judge = data.draw(st.sampled_from(heard)), data.draw(st.sampled_from(JUDGES))
        found = judge(consent, read.sid or "", NOON, "ann") if judge and consent else None
        if found is not None:
            consent = found
            dismissed |= {read.sid} if judge is dismiss else set()
        assert blocked(consent) or not is_blocked([p for p in heard if p.sid not in dismissed])
    true = {piece.sid: piece.true for piece in pieces}
    for one in consent.undated if consent else ():
        consent = after(consent, msgspec.structs.replace(one, dated_at=true[one.sid]))
    assert blocked(consent) is is_blocked([p for p in pieces if p.sid not in dismissed])


@given(pieces=a_story(rows=True))
@many
def test_a_consent_can_be_written_and_sealed_at_every_step(pieces: list[Piece]) -> None:
    """And read again as it was."""
    before: Consent | None = None
    for piece in pieces:
        consent = attest(before, SUBJECT, piece.first, piece.heard)
        if consent is None:
            continue
        whole = sealed(consent, before, HASH, KEY)
        before = msgspec.json.decode(msgspec.json.encode(whole), type=Consent)
        assert before == whole
        assert is_intact(before, HASH, KEY)
        assert before.history[-1].blocked is before.blocked
        assert before.ask_at is None or before.blocked
        assert (before.ask_at is not None) is bool(before.undated)
