"""Wishes: what a customer's text asks for, as a whole and in any script."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ci360_twilio.core.wish import (
    HELP_WORDS,
    OPT_IN_WORDS,
    OPT_OUT_WORDS,
    Wish,
    read_wish,
    squeezed,
)

TWILIOS = [
    *((word, Wish.OUT) for word in OPT_OUT_WORDS),
    *((word, Wish.IN) for word in OPT_IN_WORDS),
    *((word, Wish.HELP) for word in HELP_WORDS),
]
"""The words that Twilio obeys by default, and what each asks for."""


@pytest.mark.parametrize(("word", "wish"), TWILIOS)
def test_twilios_own_words_are_wishes(word: str, wish: Wish) -> None:
    """In any case, with whatever punctuation and space stands around them."""
    for text in (
        word,
        word.lower(),
        word.title(),
        f" {word}\r\n",
        f'"{word}!!!"',
        f"\u2026{word}.",
    ):
        assert read_wish(text) is wish


@pytest.mark.parametrize(
    "text",
    [
        "s t o p",
        "S.T.O.P.",
        "Stop :(",
        "STOP \u270b",
        "STOP\u270b\ufe0f",
        "\U0001f6d1 STOP \U0001f6d1",
        "st\u00f3p",
        "\uff33\uff34\uff2f\uff30",
        "\U0001d412\U0001d413\U0001d40e\U0001d40f",
        "\u24c8\u24c9\u24c4\u24c5",
        "\u200bSTOP\u200b",
        "*STOP*",
        "stop all",
        "Stop-All",
        "un-subscribe",
        "opt out",
        "Opt-Out.",
    ],
    ids=ascii,
)
def test_an_opt_out_is_read_whatever_is_between_its_letters(text: str) -> None:
    """Keyboards put in dots, emoji, accents and letters that only look different."""
    assert read_wish(text) is Wish.OUT


@pytest.mark.parametrize(
    "text",
    [
        "please stop texting me",
        "Please stop",
        "pls stop",
        "Stop please",
        "Stop, thanks",
        "Stop now!",
        "STOP IT",
        "stop at once",
        "STOP STOP STOP",
        "Stop texting me",
        "STOP SENDING ME THESE MESSAGES!!!!",
        "stop all of these messages",
        "stop all the texts",
        "Stop calling me",
        "For the last time, stop texting me",
        "Who is this? Please stop",
        "can you please stop",
        "I said STOP",
        "I asked you to stop",
        "I have already texted STOP three times",
        "I've replied STOP and I still get texts",
        "You won't stop texting me",
        "They will not stop texting me",
        "Why won't you stop texting me",
        "How do I stop these messages?",
        "how to unsubscribe",
        "Reply STOP to unsubscribe",
        "Unsubscribe me",
        "please unsubscribe me from this list",
        "unsub",
        "opt me out",
        "I want to opt out",
        "I'd like to be opted out",
        "Remove me from your list",
        "please remove my number",
        "take me off this list",
        "Do not text me again",
        "don't text me",
        "Don\u2019t ever contact me",
        "DO NOT CONTACT",
        "no more texts",
        "I don't want any more messages",
        "I no longer wish to receive these texts",
        "cancel my subscription",
        "I revoke my consent",
        "cease all communication",
        "quit texting me",
        "leave me alone",
        "lose my number",
        "Wrong number",
        "stpo",
        "Stopp",
    ],
)
def test_a_text_that_probably_is_an_opt_out_is_for_a_person(text: str) -> None:
    """It blocks until somebody has read it."""
    assert read_wish(text) is Wish.MAYBE_OUT


@pytest.mark.parametrize(
    "text",
    [
        "can't stop laughing",
        "can\u2019t stop laughing",
        "can\u00b4t stop laughing",
        "I cant stop laughing \U0001f602",
        "Can't stop, won't stop",
        "Don't stop!",
        "never stop",
        "please do not stop sending me your offers",
        "It never stops raining",
        "it stopped working",
        "Bus stop",
        "Where is the bus stop?",
        "Next stop: Paris",
        "Does the shuttle stop at the hotel on Main Street?",
        "I'll stop by tomorrow",
        "stop by the store",
        "one-stop shop",
        "non-stop",
        "Yes please",
        "Yes, start tomorrow",
        "when does it start?",
        "No",
        "no thanks",
        "The end",
        "in the end it was fine",
        "weekend",
        "cancel my order",
        "please cancel my appointment",
        "I quit smoking",
        "help me",
        "more info please",
        "C",
        "1",
    ],
)
def test_what_only_holds_a_word_is_no_wish(text: str) -> None:
    """A wish is a whole text, and some texts say the opposite."""
    assert read_wish(text) is Wish.NONE


@pytest.mark.parametrize(
    "text",
    ["", " ", "\n", "...", "?!", "\U0001f602", "\u2764\ufe0f", "\u200b", "\ud800"],
    ids=ascii,
)
def test_a_text_without_letters_is_no_wish(text: str) -> None:
    """Nor is one word of the tenant's that has none."""
    assert read_wish(text, opt_out_words=["", "?", text]) is Wish.NONE


@pytest.mark.parametrize(
    ("said", "wish"),
    [
        ("STOP", Wish.OUT),
        ("START", Wish.IN),
        ("HELP", Wish.HELP),
        ("stop", Wish.OUT),
        (" Stop ", Wish.OUT),
    ],
)
def test_where_twilio_has_read_the_text_its_word_counts(said: str, wish: Wish) -> None:
    """It knows the words of the account, in every language."""
    for text in ("ARRET", "STOP", "START", "can't stop laughing", ""):
        assert read_wish(text, opt_out_type=said) is wish


@pytest.mark.parametrize("said", ["", " ", "PAUSE", "STOPALL", "\ud800"], ids=ascii)
def test_where_twilio_says_nothing_known_the_text_counts(said: str) -> None:
    """It may say more one day."""
    assert read_wish("STOP", opt_out_type=said) is Wish.OUT
    assert read_wish("hello", opt_out_type=said) is Wish.NONE


@pytest.mark.parametrize(
    ("word", "texts"),
    [
        ("ARR\u00caT", ["arret", "Arr\u00eat!", "arre\u0302t", "ARRET."]),
        ("BAJA", ["baja", "B.A.J.A"]),
        ("Cancelar suscripci\u00f3n", ["CANCELAR SUSCRIPCION", "cancelar   suscripci\u00f3n."]),
        ("Abmelden", ["ABMELDEN", "abmelden :-("]),
        ("Schlu\u00df", ["SCHLUSS", "schlu\u00df!"]),
        ("WY\u0141\u0104CZ", ["wy\u0142\u0105cz", "wylacz", "Wylacz."]),
        ("\u00c7IKI\u015e", ["\u00e7\u0131k\u0131\u015f", "cikis", "CIKIS"]),
        ("\u0130PTAL", ["iptal", "IPTAL", "\u0131ptal"]),
        ("AFMELD NU", ["afmeld nu", "afmeldnu"]),
        ("\u0421\u0422\u041e\u041f", ["\u0441\u0442\u043e\u043f", "\u0421\u0442\u043e\u043f!"]),
        ("\u03a3\u03a4\u039f\u03a0", ["\u03c3\u03c4\u03bf\u03c0", "\u03c3\u03c4\u03cc\u03c0"]),
        ("\u0625\u0644\u063a\u0627\u0621", ["\u0627\u0644\u063a\u0627\u0621", "\u0625\u0650\u0644\u063a\u0627\u0621"]),
        ("\u05d4\u05e1\u05e8", ["\u05d4\u05e1\u05e8.", "\u05d4\u05b8\u05e1\u05b5\u05e8"]),
        ("\u9000\u8ba2", ["\u9000\u8ba2\u3002", "\u9000 \u8ba2", "\u300c\u9000\u8ba2\u300d"]),
        ("\u30b9\u30c8\u30c3\u30d7", ["\uff7d\uff84\uff6f\uff8c\uff9f", "\u30b9\u30c8\u30c3\u30d7\uff01"]),
        ("\uc218\uc2e0\uac70\ubd80", ["\uc218\uc2e0 \uac70\ubd80", "\uc218\uc2e0\uac70\ubd80!"]),
        ("\u0930\u094b\u0915\u094b", ["\u0930\u094b\u0915\u094b", "\u0930\u094b\u0915\u094b\u0964"]),
        ("\u0e2b\u0e22\u0e38\u0e14", ["\u0e2b\u0e22\u0e38\u0e14", "\u0e2b\u0e22\u0e38\u0e14!!"]),
    ],
    ids=ascii,
)  # fmt: skip
def test_a_tenants_own_word_is_an_opt_out_in_any_script(word: str, texts: list[str]) -> None:
    """Written with accents or without, and with any space inside a phrase."""
    assert read_wish(word) is Wish.NONE
    for text in (word, word.lower(), f" {word}. ", *texts):
        assert read_wish(text, opt_out_words=["other", word]) is Wish.OUT


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("\u0930\u094b\u0915\u094b", "\u0930\u0941\u0915\u094b"),  # roko, stop; ruko, wait
        ("\u0e2b\u0e22\u0e38\u0e14", "\u0e2b\u0e22\u0e14"),  # yut, stop; yot, a drop
        ("d\u1eebng", "\u0111\u00fang"),  # stop; correct
        ("\u304b", "\u304c"),
    ],
    ids=ascii,
)
def test_marks_that_make_another_word_are_read(word: str, text: str) -> None:
    """In some scripts a vowel is a mark on a letter, and no accent that people leave out."""
    assert read_wish(text, opt_out_words=[word]) is Wish.NONE


def test_a_tenants_own_word_goes_before_twilios_others() -> None:
    """Who has it as an opt-out means that."""
    assert read_wish("Info", opt_out_words=["info"]) is Wish.OUT


@pytest.mark.parametrize(
    "text",
    [
        "Baja por favor",
        "por favor, dar de baja",
        "ya no quiero mensajes, baja",
        "dar mi numero de baja hoy",
    ],
)
def test_a_short_text_that_holds_a_tenants_own_phrase_is_for_a_person(text: str) -> None:
    """Of up to six words; in a longer one it may mean anything."""
    assert read_wish(text, opt_out_words=["BAJA"]) is Wish.MAYBE_OUT
    assert read_wish(f"{text} y nada de lo que sigue", opt_out_words=["BAJA"]) is Wish.NONE
    assert read_wish(text) is Wish.NONE


def test_a_phrase_of_many_words_is_found_in_a_short_text() -> None:
    """Whatever their number."""
    phrase = "bitte keine weiteren Nachrichten mehr"
    assert read_wish(f"{phrase}!", opt_out_words=[phrase]) is Wish.OUT
    assert read_wish(f"Nein, {phrase}", opt_out_words=[phrase]) is Wish.MAYBE_OUT
    assert read_wish("Nein, bitte keine", opt_out_words=[phrase]) is Wish.NONE


@pytest.mark.parametrize(
    "text",
    [
        f"stop {'all the ' * 1000}x",
        f"stop {'all these your ' * 1000}",
        "stop " * 1000,
        f"cancel {'my the your ' * 1000}",
        f"do not want {'any more ' * 1000}",
        "never ever " * 1000,
        "stop" + "\u0301" * 8000,
        "\ufdfa" * 8192,
        "'" * 8192,
        "\ud800" * 8192,
    ],
    ids=lambda text: ascii(text)[:20],
)
def test_a_long_text_is_read_to_its_end(text: str) -> None:
    """Patterns that try every way to read a list of words would not come back from these."""
    assert read_wish(text, opt_out_words=["all the", "\ufdfa"]) in set(Wish)


def test_only_as_much_is_read_as_a_text_can_hold() -> None:
    """What comes after that changes nothing."""
    assert read_wish("hello " * 300 + "please stop texting me") is Wish.NONE
    assert squeezed("a" * 5000) == "a" * 1600


anything = st.text(st.characters(codec=None))


@given(text=anything, said=anything, words=st.lists(anything, max_size=5))
@example(text="\u0345", said="", words=["\u0345"])
@settings(max_examples=200, deadline=None)
def test_no_text_fails(text: str, said: str, words: list[str]) -> None:
    """Customers write what they like."""
    assert read_wish(text, opt_out_type=said, opt_out_words=words) in set(Wish)
    assert all(letter.isalnum() or unicodedata.category(letter) in ("Mn", "Mc") for letter in squeezed(text))  # fmt: skip


@given(text=anything, words=st.lists(anything, max_size=3))
@settings(max_examples=200, deadline=None)
def test_a_text_that_is_a_tenants_word_is_an_opt_out(text: str, words: list[str]) -> None:
    """Whatever the word, as long as it has a letter."""
    found = read_wish(text, opt_out_words=[*words, text])
    assert found is (Wish.OUT if squeezed(text) else Wish.NONE)


SPOKEN = [
    *("stop", "please", "quit", "all", "the", "these", "of", "texting", "messages", "unsub"),
    *("opt", "out", "me", "remove", "cancel", "my", "don't", "can't", "never", "want", "no"),
    *("more", "wrong", "number", "bus", "by", "at", "it", "now", "say", "end", "yes", "help"),
]


@given(
    words=st.lists(st.sampled_from(SPOKEN), max_size=60),
    between=st.sampled_from([" ", ", ", "\n", "... ", " \u270b "]),
)
@settings(max_examples=200, deadline=None)
def test_a_wish_does_not_depend_on_case_and_punctuation(words: list[str], between: str) -> None:
    """Only on letters and where words end."""
    wish = read_wish(" ".join(words))
    assert read_wish(between.join(words)) is wish
    assert read_wish(" ".join(words).upper()) is wish


@given(text=anything)
@settings(max_examples=200, deadline=None)
def test_composed_and_decomposed_letters_are_the_same(text: str) -> None:
    """Phones differ in how they write an accent."""
    composed, decomposed = (unicodedata.normalize(form, text[:400]) for form in ("NFC", "NFD"))
    assert squeezed(composed) == squeezed(decomposed)
    assert read_wish(composed) is read_wish(decomposed)
