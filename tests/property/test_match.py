"""What Twilio does to a text never hides whose it is, and no text takes long to compare."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci360_twilio.core.match import same_text
from ci360_twilio.core.segments import smart_encode

SHORT = "https://l.example/Ab3dEf"

texts = st.text(max_size=60) | st.text(
    alphabet="aeno \t\n\u0300\u0301\u0302\u0303\u0313\u0338\u0343\u037e\u00b4\u00e9\u1e69\u1fef"
    "\u200b\u2000\u2019\u2026\u3000\ufeff\uff0e\u0323\uac00\u1100\u1161./:-",
    max_size=12,
)


def compose(text: str) -> str:
    """Compose characters."""
    return unicodedata.normalize("NFC", text)


ALTERATIONS: dict[str, Callable[[str], str]] = {
    "none": str,
    "encoded": smart_encode,
    "composed": compose,
    "composed, encoded": lambda text: smart_encode(compose(text)),
    "encoded, composed": lambda text: compose(smart_encode(text)),
    "stripped": str.strip,
    "on trial": "Sent from your Twilio trial account - {}".format,
}


@pytest.mark.parametrize("alteration", ALTERATIONS)
@given(text=texts)
@settings(max_examples=300, deadline=None)
def test_an_altered_text_is_known_again(alteration: str, text: str) -> None:
    """In whatever order Twilio does things."""
    assert same_text(text, ALTERATIONS[alteration](text))


@given(before=texts, after=texts, path=st.text(alphabet="abc/?&=-%", max_size=20))
@settings(max_examples=300, deadline=None)
def test_a_shortened_link_is_known_again(before: str, after: str, path: str) -> None:
    """Wherever it stands, with text around it."""
    assert same_text(
        f"{before} https://www.example.com/{path} {after}", f"{before} {SHORT} {after}"
    )


@given(
    ours=st.text(alphabet=st.characters(min_codepoint=48, max_codepoint=122), min_size=1),
    place=st.integers(0, 1_000),
)
@settings(max_examples=300, deadline=None)
def test_a_text_with_another_digit_in_it_is_another(ours: str, place: int) -> None:
    """Codes and prices are what differs between messages to one recipient."""
    at = place % (len(ours) + 1)
    assert not same_text(f"{ours[:at]} 1 {ours[at:]}", f"{ours[:at]} 2 {ours[at:]}")


@pytest.mark.parametrize(
    "piece",
    ["a", "a.", "a-", "a.bb", "a.bb/", "https://", "http", " ", "*", "* ", "\u0301", "\u0323\u0301",
     "\u200b", "\u2026", "\ud800", "redacted"],
    ids=ascii,
)  # fmt: skip
def test_hostile_texts_end(piece: str) -> None:
    """A megabyte of anything, on either side; the test would not end if it took quadratic time."""
    text = piece * (1_000_000 // len(piece))
    same_text(text, text + "x")
    same_text("x" + text, text)
