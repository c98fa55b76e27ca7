"""Encoding and segments of texts, as Twilio's calculator counts them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci360_twilio.core.segments import (
    CAPACITIES,
    Encoding,
    Replacement,
    Segments,
    Ucs2Character,
    count_segments,
    smart_encode,
)

VECTORS: dict[str, list[list[Any]]] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "segments.json").read_bytes()
)
ESCAPED = "\f[\\]^{|}~€"
GRAPHEMES = ["e\u0301", "👍🏽", "🇩🇪", "👩\u200d🚀", "각", "नि", "中", "a", " "]

gsm_7 = st.text(st.sampled_from("aB 9\n\r@_£éÄΔ" + ESCAPED), max_size=700)
ucs_2 = st.text(st.sampled_from("a€中ж\n\u0301\u200d\ufe0f\u0903🇩🇪👍🏽♀👩각가각𠮷“…"), max_size=400)
texts = gsm_7 | ucs_2 | st.text(max_size=400)


def pieces(text: str, segments: Segments) -> list[str]:
    """Cut a text at the borders of its segments."""
    return [text[start:end] for start, end in pairwise([0, *segments.borders, len(text)])]


def size(text: str, encoding: Encoding) -> int:
    """Measure a text by the codec, or by the list of two-septet characters."""
    if encoding is Encoding.UCS_2:
        return len(text.encode("utf-16-be", "surrogatepass")) // 2
    return len(text) + sum(map(text.count, ESCAPED))


def answers(group: str) -> Iterator[tuple[str, bool, list[Any]]]:
    """Yield text, Smart Encoding, and the calculator's [text, encoding, sizes]."""
    for text, encoding, sizes, *smart in VECTORS[group]:
        yield text, False, [text, encoding, sizes]
        yield text, True, smart[0] if smart else [text, encoding, sizes]


@pytest.mark.parametrize("group", VECTORS)
def test_every_recorded_text_is_split_as_the_calculator_splits_it(group: str) -> None:
    """Encoding, count and the size of each segment agree, with Smart Encoding and without."""
    for text, smart, (sent, encoding, sizes) in answers(group):
        found = count_segments(text, smart_encoding=smart)
        cut = [size(piece, found.encoding) for piece in pieces(sent, found)]
        assert (found.encoding, cut) == (encoding, sizes), ascii(text)
        assert (found.count, found.units) == (len(sizes), sum(sizes)), ascii(text)
        assert found.characters == len(sent)


@pytest.mark.parametrize("group", VECTORS)
def test_every_recorded_text_is_smart_encoded_as_the_calculator_does_it(group: str) -> None:
    """The text after replacement agrees, and so does the count that is told beforehand."""
    for text, smart, (sent, _, sizes) in answers(group):
        if smart:
            assert smart_encode(text) == sent
            assert count_segments(text).smart_count == len(sizes), ascii(text)


@given(texts)
def test_the_borders_cut_a_text_into_as_many_pieces_as_it_has_segments(text: str) -> None:
    """The pieces together are the text, and every character is in one of them."""
    found = count_segments(text)
    cut = pieces(text, found)
    assert "".join(cut) == text
    assert len(cut) == found.count
    assert sum(size(piece, found.encoding) for piece in cut) == found.units
    assert all(cut[1:])


@given(gsm_7 | st.text(st.characters(exclude_categories=("Mn", "Mc", "Me", "Cf", "Lo", "So"))))
def test_no_segment_holds_more_than_it_can(text: str) -> None:
    """Only graphemes that hardly fit a segment overflow one; here there are none."""
    found = count_segments(text)
    capacity = CAPACITIES[found.encoding]
    most = capacity.alone if found.count == 1 else capacity.joined
    assert all(size(piece, found.encoding) <= most for piece in pieces(text, found))


@given(gsm_7)
def test_gsm_7_segments_are_full_but_for_a_pair_that_is_kept_whole(text: str) -> None:
    """A segment ends one septet early at most, and then an escape pair follows."""
    found = count_segments(text)
    for piece, following in pairwise(pieces(text, found)):
        free = 153 - size(piece, Encoding.GSM_7)
        assert free == 0 or (free == 1 and following[0] in ESCAPED)


@given(st.lists(st.sampled_from(GRAPHEMES), min_size=25, max_size=150))
def test_graphemes_are_kept_whole(graphemes: list[str]) -> None:
    """In UCS-2 a border never stands within what a reader sees as one character."""
    text = "".join(["中", *graphemes])
    starts, at = set(), 1
    for grapheme in graphemes:
        starts.add(at)
        at += len(grapheme)
    assert starts.issuperset(count_segments(text).borders)


@given(texts)
def test_smart_encoding_is_told_and_done_alike(text: str) -> None:
    """Counting with it equals counting the replaced text, and a second pass changes nothing."""
    sent, on, off = (
        smart_encode(text),
        count_segments(text, smart_encoding=True),
        count_segments(text),
    )
    again = count_segments(sent)
    assert (on.encoding, on.count, on.borders) == (again.encoding, again.count, again.borders)
    assert on.count == on.smart_count == off.smart_count
    assert on.replacements == off.replacements
    assert on.saving == 0
    assert smart_encode(sent) == sent


@given(texts)
def test_ucs_2_is_used_only_where_a_character_forces_it(text: str) -> None:
    """The forcing characters are named once each, with the place of the first."""
    found = count_segments(text)
    assert (found.encoding is Encoding.UCS_2) == bool(found.ucs2_characters)
    for character, offset in found.ucs2_characters:
        assert text.index(character) == offset
        assert count_segments(character).encoding is Encoding.UCS_2
    rest = text.translate({ord(character): None for character, _ in found.ucs2_characters})
    assert count_segments(rest).encoding is Encoding.GSM_7


def test_an_empty_text_counts_as_one_segment() -> None:
    """As with the calculator: there is nothing in it, and yet it is one."""
    assert count_segments("") == Segments(
        encoding=Encoding.GSM_7, count=1, characters=0, units=0, smart_count=1
    )


def test_160_septets_fit_one_segment_and_161_take_two() -> None:
    """The header of the parts takes seven septets of each."""
    assert count_segments("a" * 160).borders == ()
    assert count_segments("a" * 161).borders == (153,)
    assert count_segments("a" * 307).borders == (153, 306)


def test_70_units_of_ucs_2_fit_one_segment_and_71_take_two() -> None:
    """The header of the parts takes three units of each."""
    assert count_segments("ж" * 70).borders == ()
    assert count_segments("ж" * 71).borders == (67,)


def test_an_escape_pair_moves_to_the_next_segment() -> None:
    """The 153rd septet stays free where the second half of a pair would be the 154th."""
    assert count_segments("a" * 152 + "€" + "a" * 20).borders == (152,)
    assert count_segments("€" * 80).borders == ()
    assert count_segments("€" * 81).borders == (76,)


def test_a_surrogate_pair_moves_to_the_next_segment() -> None:
    """The 67th unit stays free where the second half of a pair would be the 68th."""
    assert count_segments("中" * 66 + "𠮷" + "中" * 10).borders == (66,)


def test_a_family_moves_to_the_next_segment_as_a_whole() -> None:
    """Eleven units, seven code points, one picture."""
    family = "👨\u200d👩\u200d👧\u200d👦"
    assert count_segments("a" * 60 + family).borders == (60,)


def test_a_grapheme_longer_than_a_segment_overflows_it() -> None:
    """The calculator neither breaks it nor removes the empty segment in front of it."""
    assert count_segments("e" + "\u0301" * 99).borders == (0,)


def test_carriage_return_and_line_feed_are_two_characters_that_may_be_parted() -> None:
    """They are not one grapheme here, whatever Unicode says."""
    assert count_segments("ж" * 66 + "\r\n" + "ж" * 9).borders == (67,)
    assert count_segments("a\r\nb").units == 4


def test_one_curly_quote_costs_a_second_segment_that_smart_encoding_saves() -> None:
    """The preview can say what to replace, by what, and what it saves."""
    text = "It’s here… and it’s ready for you. " + "See you soon at the shop. " * 2
    found = count_segments(text)
    assert (found.encoding, found.count, found.smart_count, found.saving) == ("UCS-2", 2, 1, 1)
    assert found.replacements == (Replacement("’", "'"), Replacement("…", "..."))
    assert found.ucs2_characters == (Ucs2Character("’", 2), Ucs2Character("…", 9))


def test_with_smart_encoding_the_replaced_text_is_described() -> None:
    """Units and characters are those of what is sent."""
    found = count_segments("Soon…", smart_encoding=True)
    assert (found.encoding, found.units, found.characters) == (Encoding.GSM_7, 7, 7)
    assert found.replacements == (Replacement("…", "..."),)
    assert found.ucs2_characters == ()


def test_smart_encoding_can_cost_a_segment() -> None:
    """Where another character keeps the text UCS-2, longer replacements only add to it."""
    assert count_segments("中" + "…" * 60).saving == -2


def test_the_cedilla_is_gsm_7_only_as_a_capital() -> None:
    """The lower-case letter looks as if it belonged to the alphabet and does not."""
    assert count_segments("Ç").encoding is Encoding.GSM_7
    assert count_segments("ç").encoding is Encoding.UCS_2


def test_lone_surrogates_are_counted_and_not_refused() -> None:
    """A broken text is refused where texts are checked; counting must not fail."""
    assert count_segments("\ud800" * 71).borders == (67,)
