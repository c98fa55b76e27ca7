"""How a text travels as SMS: its encoding, its segments, and what Smart Encoding would save.

A text of GSM-7 characters alone takes 160 septets in one SMS, or 153 in each segment of several; any
other character turns the whole text to UCS-2, with 70 or 67 UTF-16 code units (3GPP TS 23.038 and
23.040; Twilio: docs/glossary/what-sms-character-limit).

What the standards leave open is settled as in Twilio's calculator, the npm package
``sms-segments-calculator`` 1.3.0; ``tests/vectors`` holds what it answers. An escape pair, a
surrogate pair and, in UCS-2, a grapheme stay in one segment. Its oddities are kept:

- an empty text counts as one segment;
- CR and LF are two characters and may be parted;
- a grapheme that is longer than a segment is not broken: it overflows, and where it comes first an
  empty segment goes before it;
- graphemes follow Unicode 10, so that a newer ZWJ sequence may be parted at a border.

One difference is known: the rare marks that Unicode added after version 10 stay with their letter
here, as far as this Python's tables know them, where the calculator may part the two. Only texts
of several UCS-2 segments can show it.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cache, lru_cache
from itertools import accumulate
from typing import NamedTuple

import msgspec


class Encoding(StrEnum):
    """How the characters of an SMS are written."""

    GSM_7 = "GSM-7"
    UCS_2 = "UCS-2"


class Capacity(NamedTuple):
    """Units that fit one segment: ``alone``, or ``joined`` by a header to others."""

    alone: int
    joined: int


CAPACITIES: Mapping[Encoding, Capacity] = {
    Encoding.GSM_7: Capacity(160, 153),
    Encoding.UCS_2: Capacity(70, 67),
}


class Ucs2Character(NamedTuple):
    """A character that GSM-7 lacks, and the code-point offset where it first stands."""

    character: str
    offset: int


class Replacement(NamedTuple):
    """A character that Smart Encoding replaces; ``replacement`` may be empty or several."""

    character: str
    replacement: str


class Segments(msgspec.Struct, frozen=True, kw_only=True):
    """How one text is sent.

    With ``smart_encoding`` everything but ``replacements`` describes the text after replacement,
    which is :func:`smart_encode` of the one given.
    """

    encoding: Encoding
    count: int
    characters: int
    """Code points."""
    units: int
    """Septets of GSM-7, or UTF-16 code units of UCS-2."""
    borders: tuple[int, ...] = ()
    """Code-point offsets at which the second and later segments start."""
    ucs2_characters: tuple[Ucs2Character, ...] = ()
    """What forces UCS-2, each character once, in order of appearance."""
    replacements: tuple[Replacement, ...] = ()
    """What Smart Encoding replaces, each character once, in order of appearance."""
    smart_count: int
    """The count with Smart Encoding on."""

    @property
    def saving(self) -> int:
        """Segments that Smart Encoding would save; negative where replacements are longer."""
        return self.count - self.smart_count


_BASIC = frozenset(
    "\n\r !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
    "¡£¤¥§¿ÄÅÆÇÉÑÖØÜßàäåæèéìñòöøùüΓΔΘΛΞΠΣΦΨΩ"
)
_EXTENDED = frozenset("\f[\\]^{|}~€")
"""GSM-7 characters written as an escape and another septet."""
_GSM_7 = _BASIC | _EXTENDED


def count_segments(text: str, *, smart_encoding: bool = False) -> Segments:
    """Count the segments a text is sent in.

    Args:
        text: the body as it goes to Twilio.
        smart_encoding: whether the Messaging Service replaces characters before it sends
            (docs/messaging/services#smart-encoding).
    """
    if _GSM_7.issuperset(text):
        return _gsm_7(text)
    replacements = _replacements(text)
    if smart_encoding:
        smart = count_segments(smart_encode(text))
        return msgspec.structs.replace(smart, replacements=replacements, smart_count=smart.count)
    return _ucs_2(text, replacements)


def doubled(text: str) -> str:
    """Give the characters of a text that count twice in GSM-7, each once, in order of appearance."""
    return "".join(character for character in dict.fromkeys(text) if character in _EXTENDED)


def smart_encode(text: str) -> str:
    """Replace what Twilio's Smart Encoding replaces, even where the text stays UCS-2."""
    return text if _GSM_7.issuperset(text) else text.translate(_smart_map())


def replacement_of(character: str) -> str | None:
    """Give what Smart Encoding writes for a character; ``None`` where it leaves it."""
    return _smart_map().get(ord(character))


def _gsm_7(text: str) -> Segments:
    if _BASIC.issuperset(text):
        units = len(text)
        borders = tuple(range(153, units, 153)) if units > 160 else ()
    else:
        sizes = [2 if character in _EXTENDED else 1 for character in text]
        units, borders = sum(sizes), _pack(sizes, CAPACITIES[Encoding.GSM_7])
    count = len(borders) + 1
    return Segments(
        encoding=Encoding.GSM_7,
        count=count,
        characters=len(text),
        units=units,
        borders=borders,
        smart_count=count,
    )


def _ucs_2(text: str, replacements: tuple[Replacement, ...]) -> Segments:
    borders = _ucs_2_borders(text)
    count = len(borders) + 1
    return Segments(
        encoding=Encoding.UCS_2,
        count=count,
        characters=len(text),
        units=_utf_16(text),
        borders=borders,
        ucs2_characters=tuple(
            Ucs2Character(character, text.index(character))
            for character in dict.fromkeys(text)
            if character not in _GSM_7
        ),
        replacements=replacements,
        smart_count=count_segments(smart_encode(text)).count if replacements else count,
    )


def _ucs_2_borders(text: str) -> tuple[int, ...]:
    units, capacity = _utf_16(text), CAPACITIES[Encoding.UCS_2]
    if units <= capacity.alone:
        return ()
    graphemes = _graphemes(text)
    lengths = [*map(len, graphemes)]
    sizes = lengths if units == len(text) else [*map(_utf_16, graphemes)]
    starts = [*accumulate(lengths, initial=0)]
    return tuple(starts[index] for index in _pack(sizes, capacity))


def _utf_16(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _pack(sizes: Sequence[int], capacity: Capacity) -> tuple[int, ...]:
    """Give the indexes of the items that open the second and later segments.

    The header comes with the first item that one segment cannot hold: what it pushes out of that
    segment and the item itself go into the second, without a look at the space there. It
    matters only to graphemes of nearly a segment's length.
    """
    ends = [*accumulate(sizes)]
    beyond = bisect_right(ends, capacity.alone)
    if beyond == len(ends):
        return ()
    second = bisect_right(ends, capacity.joined)
    starts, used = [second], sum(sizes[second : beyond + 1])
    for index in range(beyond + 1, len(sizes)):
        if used + sizes[index] > capacity.joined:
            starts.append(index)
            used = 0
        used += sizes[index]
    return tuple(starts)


def _code_points(ranges: str) -> Iterator[int]:
    """Yield the numbers of ``"00AB 201C-201F"``."""
    for part in ranges.split():
        first, _, last = part.partition("-")
        yield from range(int(first, 16), int(last or first, 16) + 1)


# Graphemes: every character becomes the letter of its class, so that the rules can be one pattern.
# What the general category tells (control, mark, spacing mark) is listed only where it misleads.
_CLASSES: Mapping[str, str] = {
    # Not assigned, and alone as controls are.
    "c": "2065 FFF0-FFF8",
    # Extends the character before it.
    "e": "09BE 09D7 0B3E 0B57 0BBE 0BD7 0CC2 0CD5-0CD6 0D3E 0D57 0DCF 0DDF 1734 200C 302E-302F "
    "FF9E-FF9F 1133E 11357 114B0 114BD 115AF 1D165 1D16E-1D172 E0020-E007F",
    # Stands beside the character before it: vowels of Thai and Lao, and signs.
    "s": "0E33 0EB3 1CF2-1CF3 A9BD 11A07-11A08",
    # Category "spacing mark", and yet an own character: Myanmar, Tai Tham and others.
    "o": "102B-102C 1038 1062-1064 1067-106D 1083 1087-108C 108F 109A-109C 1A61 1A63-1A64 AA7B "
    "AA7D",
    # Stands before a character and stays with it.
    "p": "0600-0605 06DD 070F 08E2 0D4E 110BD 111C2-111C3 11A3A 11A86-11A89 11D46",
    # Zero width joiner, and regional indicator: two make a flag.
    "z": "200D",
    "r": "1F1E6-1F1FF",
    # Hangul jamo: leading, vowel, trailing; whole syllables are computed.
    "l": "1100-115F A960-A97C",
    "v": "1160-11A7 D7B0-D7C6",
    "t": "11A8-11FF D7CB-D7FB",
    # Emoji that take a skin tone.
    "b": "261D 26F9 270A-270D 1F385 1F3C2-1F3C4 1F3C7 1F3CA-1F3CC 1F442-1F443 1F446-1F450 1F46E "
    "1F470-1F478 1F47C 1F481-1F483 1F485-1F487 1F4AA 1F574-1F575 1F57A 1F590 1F595-1F596 "
    "1F645-1F647 1F64B-1F64F 1F6A3 1F6B4-1F6B6 1F6C0 1F6CC 1F918-1F91C 1F91E-1F91F 1F926 "
    "1F930-1F939 1F93D-1F93E 1F9D1-1F9DD",
    # Skin tone.
    "m": "1F3FB-1F3FF",
    # Emoji that a joiner ties to the one before: hearts, signs, tools of a trade.
    "g": "2640 2642 2695-2696 2708 2764 1F308 1F33E 1F373 1F393 1F3A4 1F3A8 1F3EB 1F3ED 1F48B "
    "1F4BB-1F4BC 1F527 1F52C 1F5E8 1F680 1F692",
    # Both: boy, girl, man, woman.
    "u": "1F466-1F469",
}
_CATEGORIES = {"Mn": "e", "Me": "e", "Mc": "s"} | dict.fromkeys(("Cc", "Cf", "Cs", "Zl", "Zp"), "c")

# The rules of Unicode 10 (UAX 29, revision 31) as the calculator's splitter (grapheme-splitter
# 1.0.4) reads them. They differ from the standard: a flag takes only one extending character, and a
# skin tone joins nothing that had an extending character before it, other than its own.
_GRAPHEME = re.compile(
    r"""
    c                                           # control, CR, LF: alone
  | rr[esz]?                                    # flag
  | p*
    (?: [bu]em                                  # emoji, variation selector, skin tone
      | (?: l*(?:v+|av*|x)t* | l+ | t+          # Hangul; a: syllable without, x: with a tail
          | [bu]m                               # emoji, skin tone
          | [^cepsz] )?                         # any other base
        (?: z(?!uem)(?:um|[gu])? | s )* )       # joined emoji, before any extending character
    (?: z(?:uem|[gu])? | [es] )*                # and after one
    """,
    re.VERBOSE,
)


def _graphemes(text: str) -> Sequence[str]:
    classes = "".join(map(_class_of, text))
    if set(classes) <= {"c", "o"}:
        return text  # most languages: every character is one
    spans = (found.span() for found in _GRAPHEME.finditer(classes))
    return [text[start:end] for start, end in spans if start < end]


@lru_cache(maxsize=4096)
def _class_of(character: str) -> str:
    number = ord(character)
    if 0xAC00 <= number <= 0xD7A3:
        return "x" if (number - 0xAC00) % 28 else "a"
    return _special_classes().get(number) or _CATEGORIES.get(unicodedata.category(character), "o")


@cache
def _special_classes() -> dict[int, str]:
    return {number: name for name, ranges in _CLASSES.items() for number in _code_points(ranges)}


# Smart Encoding: what the calculator replaces (recorded over all of the BMP; nothing beyond it).
_SMART: Mapping[str, str] = {
    "": "0000 0003-0004 0010-0014 0017 0019 200B-200C 2060 FEFF",
    " ": "2001 2028-2029",
    "  ": "0080 008D 0090 009B 009F-00A0 2000 2002-200A 202F 205F 3000",
    "       ": "0009",
    "!": "01C3 FE15 FE57",
    "!!": "203C",
    '"': "00AB 00BB 02BA 02EE 201C-201F 275D-275E 301D-301E",
    "#": "FE5F",
    "$": "FE69",
    "%": "FE6A",
    "&": "FE60",
    "'": "0060 00B4 02B9 02BB-02BD 02C8 02CA-02CB 0313-0314 2018-2019 201B 275B-275C FE10-FE11",
    "(": "2768 276A 27EE 2985 FE59",
    ")": "2769 276B 27EF 2986 FE5A",
    "*": "204E 2217 229B 2722-2725 2731-2733 273A-273D 2743 2749-274B 29C6 FE61",
    "+": "02D6 FE62",
    ",": "0326 201A 3001 FE50-FE51 FF64",
    "-": "2010 2013-2015 2022 2043 23BC-23BD FE63",
    ".": "3002 FE52 FF61",
    "...": "2026",
    "/": "00F7 0337-0338 2044 2215 29F8",
    "1/4": "00BC",
    "1/2": "00BD",
    "3/4": "00BE",
    ":": "02D0 02F8 2982 A789 FE13",
    ";": "204F FE14 FE54",
    "<": "2039 FE64",
    "=": "0347 A78A FE66",
    ">": "203A FE65",
    "?": "FE16 FE56",
    "@": "FE6B",
    "\\": "20E5 29F5 29F9 FE68",
    "^": "02C6 0302 1DCD",
    "_": "0332 2017",
    "{": "2774 FE5B",
    "|": "20D2-20D3 2223 239C 239F 23B8-23B9 23D0",
    "}": "2775 FE5C",
    "~": "02DC 02F7 0303 0330 0334 223C",
}
_SMALL_CAPITALS = ("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ", "ABCDEFGHIJKLMNOPRSTUVWYZ")
_WIDE = "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_{|}~"
"""Replaces its full-width forms; the calculator leaves small full-width letters as they are."""


@cache
def _smart_map() -> dict[int, str]:
    plain = {number: text for text, ranges in _SMART.items() for number in _code_points(ranges)}
    small = {ord(form): letter for form, letter in zip(*_SMALL_CAPITALS, strict=True)}
    return plain | small | {ord(character) + 0xFEE0: character for character in _WIDE}


def _replacements(text: str) -> tuple[Replacement, ...]:
    known = _smart_map()
    return tuple(
        Replacement(character, known[ord(character)])
        for character in dict.fromkeys(text)
        if ord(character) in known
    )
