"""Seals: whoever has the ledger alone can neither find a number in it, nor rewrite what happened."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import combinations, product

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci360_twilio.core.consent import (
    EVERY_SENDER,
    Consent,
    Evidence,
    Line,
    Sign,
    Source,
    Subject,
    attest,
)
from ci360_twilio.core.seal import (
    BROKEN,
    SIZE,
    is_intact,
    keyed_hash,
    sealed,
    subject_hash,
)
from ci360_twilio.core.tenant import TenantId

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
KEY, OTHER_KEY = b"k" * 32, b"o" * 32
SUBJECT = Subject(TenantId("demo"), "+12015550142")
HASH = subject_hash(SUBJECT, KEY)


def written(numbers: range, start: Consent | None = None) -> Consent:
    """Give a consent with sealed lines of these numbers, a stop and a start by turns."""
    known = start
    for number in numbers:
        at = NOW + number * MINUTE
        sign = Sign.IN if number % 2 else Sign.OUT
        one = Evidence(sign=sign, source=Source.TEXT, heard_at=at, dated_at=at, sid=f"SM{number}")
        added = attest(known, SUBJECT, one, at)
        assert added is not None
        known = sealed(added, known, HASH, KEY)
    assert known is not None
    return known


CONSENT = written(range(4))


# Hashes


def test_a_keyed_hash_says_nothing_without_the_key() -> None:
    """The same text and key give the same one; another of either gives another."""
    hashes = {keyed_hash(text, key) for text, key in product(("a", "b"), (KEY, OTHER_KEY))}
    assert len(hashes) == 4
    assert keyed_hash("a", KEY) == keyed_hash("a", KEY)
    assert {len(one) for one in hashes} == {SIZE}


@given(text=st.text(st.characters(codec=None)), key=st.binary(min_size=1, max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_text_and_any_key_make_a_hash(text: str, key: bytes) -> None:
    """Keys longer than the algorithm takes are cut."""
    assert len(keyed_hash(text, key)) == SIZE


def test_subjects_have_hashes_of_their_own() -> None:
    """Nothing that belongs to one member can be taken for another's."""
    members = ("demo", "de", "mo", "", "+12015550142", "demo\n", "\n", "a\nb")
    subjects = [
        Subject(TenantId(tenant), number, group)
        for tenant in ("demo", "de", "a-b_C9")
        for number in members
        for group in (EVERY_SENDER, "demo", "ads", "mo")
    ]
    assert len({subject_hash(subject, KEY) for subject in subjects}) == len(subjects)


def test_the_hash_of_a_subject_is_no_other_hash() -> None:
    """Whatever else is hashed with the key."""
    assert keyed_hash(SUBJECT.recipient, KEY) != HASH
    assert keyed_hash("\n".join(SUBJECT), KEY) != HASH


# Seals


def test_a_consent_is_intact_as_it_was_sealed() -> None:
    """And as it is read again; sealing once more changes nothing."""
    assert is_intact(CONSENT, HASH, KEY)
    assert len({line.seal for line in CONSENT.history}) == 4
    assert sealed(CONSENT, CONSENT, HASH, KEY) == CONSENT
    again = msgspec.json.decode(msgspec.json.encode(CONSENT), type=Consent)
    assert is_intact(again, HASH, KEY)


def test_a_seal_needs_no_history() -> None:
    """An empty consent has one, too."""
    empty = sealed(Consent(tenant_id=TenantId("demo")), None, HASH, KEY)
    assert is_intact(empty, HASH, KEY)
    assert not is_intact(msgspec.structs.replace(empty, seal=""), HASH, KEY)


def test_older_lines_keep_their_seals() -> None:
    """Lines are only ever added."""
    more = written(range(4, 6), start=CONSENT)
    assert is_intact(more, HASH, KEY)
    assert more.history[:4] == CONSENT.history


def test_what_is_no_part_of_the_wish_may_change() -> None:
    """A number is erased, and a date asked for, without anybody touching what was said."""
    for changes in ({"recipient": None}, {"ask_at": NOW, "asked": 3}):
        assert is_intact(msgspec.structs.replace(CONSENT, **changes), HASH, KEY)


def test_another_key_and_another_subject_make_other_seals() -> None:
    """Nobody's history can be given to somebody else."""
    assert not is_intact(CONSENT, HASH, OTHER_KEY)
    assert not is_intact(CONSENT, subject_hash(Subject(*SUBJECT[:2], "ads"), KEY), KEY)
    assert not is_intact(CONSENT, b"", KEY)


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize(
    "changes",
    [
        {"at": NOW - MINUTE},
        {"act": "maybe"},
        {"source": Source.PERSON},
        {"blocked": None},
        {"dated_at": None},
        {"dated_at": NOW - MINUTE},
        {"sid": "SMx"},
        {"sid": None},
        {"by": "ann"},
        {"seal": ""},
        {"seal": BROKEN},
        {"seal": "0" * 2 * SIZE},
    ],
    ids=str,
)
def test_a_line_that_was_changed_is_found_out(number: int, changes: dict[str, object]) -> None:
    """Any of its members."""
    line = CONSENT.history[number]
    if "blocked" in changes:
        changes = {"blocked": not line.blocked}
    touched = with_lines(
        [msgspec.structs.replace(one, **changes) if one is line else one for one in CONSENT.history]
    )
    assert not is_intact(touched, HASH, KEY)


def with_lines(lines: list[Line]) -> Consent:
    """Give the consent with other lines."""
    return msgspec.structs.replace(CONSENT, history=tuple(lines))


def test_lines_that_were_left_out_added_or_moved_are_found_out() -> None:
    """At either end, or in between."""
    lines = list(CONSENT.history)
    for count in range(4):
        for some in combinations(lines, count):
            assert not is_intact(with_lines(list(some)), HASH, KEY)
    for number in range(4):
        assert not is_intact(with_lines([*lines, lines[number]]), HASH, KEY)
        assert not is_intact(with_lines([lines[number], *lines]), HASH, KEY)
    assert not is_intact(with_lines(lines[::-1]), HASH, KEY)
    assert not is_intact(with_lines([lines[1], lines[0], *lines[2:]]), HASH, KEY)


def test_evidence_that_was_touched_is_found_out() -> None:
    """It is what blocks, whatever the history says."""
    (out,), (into,) = CONSENT.against, CONSENT.favour
    for against, favour in [
        ((), (into,)),
        ((out,), ()),
        ((into,), (out,)),
        ((out, out), (into,)),
        ((out,), (msgspec.structs.replace(into, dated_at=NOW + 9 * MINUTE),)),
        ((msgspec.structs.replace(out, sign=Sign.MAYBE),), (into,)),
    ]:
        touched = msgspec.structs.replace(CONSENT, against=against, favour=favour)
        assert not is_intact(touched, HASH, KEY)


def test_an_older_consent_is_intact_by_itself_and_does_not_mix_with_a_newer_one() -> None:
    """Whoever puts the whole of an older one back is not found out by its seals alone."""
    newer = written(range(4, 6), start=CONSENT)
    assert is_intact(CONSENT, HASH, KEY)
    for changes in (
        {"history": newer.history},
        {"seal": newer.seal},
        {"against": newer.against, "favour": newer.favour},
        {"history": newer.history, "seal": newer.seal},
    ):
        assert not is_intact(msgspec.structs.replace(CONSENT, **changes), HASH, KEY)


@pytest.mark.parametrize(
    "touched",
    [
        with_lines([*CONSENT.history[:3], msgspec.structs.replace(CONSENT.history[3], seal="")]),
        with_lines(
            [*CONSENT.history[:3], msgspec.structs.replace(CONSENT.history[3], seal="", act="x")]
        ),
        with_lines([*CONSENT.history[:3]]),
        msgspec.structs.replace(CONSENT, against=()),
        msgspec.structs.replace(CONSENT, seal=""),
        msgspec.structs.replace(CONSENT, seal=BROKEN),
    ],
    ids=["bare", "changed", "shortened", "evidence", "unsealed", "broken"],
)
def test_what_was_touched_is_not_made_whole_by_what_is_added(touched: Consent) -> None:
    """Neither by the next line, nor by any after it."""
    assert not is_intact(touched, HASH, KEY)
    more = written(range(4, 5), start=touched)
    assert more.seal == BROKEN
    assert not is_intact(more, HASH, KEY)
    assert not is_intact(written(range(5, 7), start=more), HASH, KEY)
