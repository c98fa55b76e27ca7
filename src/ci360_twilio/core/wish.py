"""What a customer's text asks for: no more messages, messages again, help, or nothing of the kind.

Twilio's words are those of docs/messaging/tutorials/advanced-opt-out; where Twilio has read the text
itself (``OptOutType``) its word counts. A text is a wish only as a whole: *can't stop laughing* is
none. One that probably is (*please stop texting me*) is left to a person, and counts until then.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache


class Wish(StrEnum):
    """What a text asks for."""

    OUT = "out"
    """No more messages."""
    IN = "in"
    """Messages again."""
    HELP = "help"
    MAYBE_OUT = "maybe_out"
    """Probably no more messages; a person is to read it."""
    NONE = "none"


OPT_OUT_WORDS = ("STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT")
OPT_IN_WORDS = ("START", "UNSTOP", "YES")
HELP_WORDS = ("HELP", "INFO")

_LONGEST = 1_600
"""Characters that are read; an SMS has no more."""
_BY_TYPE = {"STOP": Wish.OUT, "START": Wish.IN, "HELP": Wish.HELP}


def read_wish(text: str, *, opt_out_type: str = "", opt_out_words: Iterable[str] = ()) -> Wish:
    """Read a text.

    Args:
        text: what the customer wrote.
        opt_out_type: what Twilio says it is: ``STOP``, ``START``, ``HELP``, or nothing.
        opt_out_words: the tenant's own words for an opt-out, in any language; several words are
            one phrase.
    """
    if wish := _BY_TYPE.get(opt_out_type.strip().upper()):
        return wish
    whole, own = squeezed(text), _phrases(tuple(opt_out_words))
    if not whole:
        return Wish.NONE
    if whole in own:
        return Wish.OUT
    if known := _WORDS.get(whole):
        return known
    return Wish.MAYBE_OUT if _is_probably_out(text, own) else Wish.NONE


def squeezed(text: str) -> str:
    """Give the letters and digits of a text alone: without case, accents, punctuation and space."""
    return "".join(_spoken(text))


@lru_cache(maxsize=256)
def _phrases(words: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(squeezed, words)) - {""}


def _spoken(text: str) -> list[str]:
    """Give the words of a text, without case and accents; an apostrophe does not part them."""
    decomposed = unicodedata.normalize("NFKD", _APOSTROPHES.sub("", text[:_LONGEST]))
    plain = decomposed.casefold().translate(_STROKES)
    kept = (c for c in plain if _is_letter(c) or not _is_mark(c))
    return "".join(c if _is_letter(c) else " " for c in kept).split()


def _is_letter(c: str) -> bool:
    return c.isalnum() or (_is_mark(c) and _VOWELS.match(c) is not None)


def _is_mark(c: str) -> bool:
    return unicodedata.category(c).startswith("M")


_APOSTROPHES = re.compile(r"['\u2018\u2019\u02bc`\u00b4\uff07]")
_STROKES = str.maketrans("\u0131\u0142\u00f8", "ilo")
"""Letters of which people leave out what Unicode does not take for an accent."""
_VOWELS = re.compile(r"[\u0780-\u07bf\u0900-\u10ff\u1780-\u17ff\u3099\u309a]")
"""Scripts from Thaana to Khmer, and the sound marks of kana: marks tell words apart there."""

_WORDS = {
    **{squeezed(word): Wish.OUT for word in OPT_OUT_WORDS},
    **{squeezed(word): Wish.IN for word in OPT_IN_WORDS},
    **{squeezed(word): Wish.HELP for word in HELP_WORDS},
}

_MISSPELT = frozenset({"stp", "stpo", "sotp", "tsop", "stopp", "stoop", "stopo", "stip", "sto"})
_SHORT = 4
"""Words of a text in which a single *stop* is enough to have a person read it."""
_OWN_SHORT = 6

# What says the opposite, or speaks of another kind of stop, is taken out before the rest is read. Such
# long patterns are compiled by ``re`` when they are first used: few processes read texts.
_NOT_MEANT = (
    r"(?<!why )\b(?:dont|do not|didnt|doesnt)(?: ever)? stop(?:ped|s)?\b"
    r"|(?<!why )\b(?:cant|cannot|can not|couldnt|could not|wont|will not|never|not)(?: ever)?"
    r" stop(?:ped|s)?\b(?! (?:texting|messaging|sending|spamming|bothering|harassing) (?:me|us)\b)"
    r"|\b(?:bus|train|tram|metro|pit|truck|full|non|one|next|last|first|short|rest|whistle) stop\b"
    r"|\bstop(?:ped|ping|s)? (?:by|at(?! once)|in|over|off|sign|watch|light)\b"
)
_THINGS = (
    r"(?:texts?|messages?|msgs?|sms|mms|spam|alerts?|notifications?|ads?|offers?|promos?"
    r"|promotions?|newsletters?|updates?|reminders?|marketing|whatsapps?|communications?)"
)
_DOING = (
    r"(?:texting|messaging|sending|contacting|bothering|spamming|writing|harassing|bugging"
    r"|receiving|getting)"
)
_NUMBER = r"(?:me|us|my (?:phone |mobile |cell )?number|this (?:phone )?number)"
_PROBABLY = "|".join(
    (
        rf"\b(?:stop|quit|cease) (?:all |of |these |those |this |the |your |with |any )*(?:{_DOING}|{_THINGS})\b",
        r"\b(?:please|pls|plz|just|kindly) (?:stop|quit)\b",
        r"\bstop (?:please|pls|plz|now|it|that|this|thanks?|thank you|already|immediately|stop|me)\b",
        r"\bunsub",
        r"\bopt(?:ed|ing)?(?: (?:me|us))? ?out\b",
        rf"\b(?:remove|delete) {_NUMBER}\b",
        rf"\btake {_NUMBER} off\b",
        rf"\b(?:dont|do not|never)(?: ever)? (?:text|message|msg|contact|sms|bother|spam|write)(?: to)?(?: (?:{_NUMBER}|again|any ?more)\b|$)",
        rf"\b(?:dont|do not|never)(?: ever)? send (?:me|us|any ?more|{_THINGS})\b",
        rf"\bno (?:more|further|longer) {_THINGS}\b",
        rf"\b(?:dont|do not|no longer) (?:want|wish)(?: to)?(?: (?:receive|get|any|more|the|these|your))* {_THINGS}\b",
        r"\b(?:say|said|sent|text|texted|type|typed|reply|replied|wrote) stop\b",
        rf"\b(?:cancel|end|revoke|turn off)(?: (?:my|the|these|your|all))* (?:subscription|consent|{_THINGS})\b",
        r"\bto (?:stop|unsubscribe|opt ?out)$",
        r"\b(?:leave me alone|lose my number|wrong (?:number|person)|stop stop)\b",
    )
)


def _is_probably_out(text: str, own: frozenset[str]) -> bool:
    spoken = _spoken(text)
    if "".join(spoken) in _MISSPELT:
        return True
    meant = re.sub(_NOT_MEANT, " ", " ".join(spoken))
    words = meant.split()
    if len(words) <= _OWN_SHORT and _holds(words, own):
        return True
    if len(words) <= _SHORT and not {"stop", "stopall", "unsubscribe", "optout"}.isdisjoint(words):
        return True
    return re.search(_PROBABLY, meant) is not None


def _holds(words: list[str], phrases: frozenset[str]) -> bool:
    """Tell whether some words in a row make a phrase."""
    spans = range(1, len(words) + 1)
    return any(
        "".join(words[start : start + span]) in phrases
        for start in range(len(words))
        for span in spans
    )
