"""Telephone numbers as people write them -> E.164, by the ``phonenumbers`` library."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

import phonenumbers

PUNCTUATION = re.compile(r"[ ().\-\u00a0\u2010-\u2015]")
"""What people put between digits."""
_BARE = re.compile(r"[1-9][0-9]{7,14}")
E164 = re.compile(r"\+[1-9][0-9]{6,14}")
"""The shape of an E.164 number, with the fewest digits that any country uses."""
_LONGEST = 40


def to_e164(value: str, region: str | None = None) -> str | None:
    """Read a number; ``None`` where it is not a possible one.

    Args:
        value: the number, in any usual form. Letters are refused: the library would read
            ``1-800-FLOWERS`` and ``+1908... ext 4`` as numbers too.
        region: the country of national numbers, such as ``US``. Without one, 8 to 15 digits
            without ``+`` are read as if they had it.
    """
    if len(value) > _LONGEST or any(map(str.isalpha, value)):
        return None
    if region is None and _BARE.fullmatch(bare := PUNCTUATION.sub("", value)):
        value = f"+{bare}"
    if E164.fullmatch(value) and _is_plainly_possible(value):
        return value
    try:
        number = phonenumbers.parse(value, region)
    except phonenumbers.NumberParseException:
        return None
    reason = phonenumbers.is_possible_number_with_reason(number)
    if number.extension or reason != phonenumbers.ValidationResult.IS_POSSIBLE:
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def in_numbering_plan(number: str) -> bool:
    """Tell whether an E.164 number is valid in its country, as far as the library's data know."""
    return phonenumbers.is_valid_number(phonenumbers.parse(number))


class _Plan(NamedTuple):
    """What the library knows of one country calling code, as far as lengths and prefixes go."""

    lengths: frozenset[int]
    prefix: re.Pattern[str] | None


def _is_plainly_possible(number: str) -> bool:
    """Tell whether the library would give this very number back; *no* decides nothing.

    Parsing is the costliest step of taking an event. What it does to a number that is already
    E.164 is to strip a national prefix and to look at the length; both are in its metadata.
    ``tests/property`` compares this with the library.
    """
    for digits in (1, 2, 3):
        plan = _plan(number[1 : 1 + digits])
        if plan is not None:
            national = number[1 + digits :]
            if national[0] == "0" or len(national) not in plan.lengths:
                return False
            return plan.prefix is None or plan.prefix.match(national) is None
    return False


@lru_cache(maxsize=2048)
def _plan(code: str) -> _Plan | None:
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(code))
    if not regions:
        return None
    metadata = phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code(int(code), regions[0])
    if metadata is None or metadata.general_desc is None:
        return None
    prefix = metadata.national_prefix_for_parsing
    return _Plan(
        lengths=frozenset(metadata.general_desc.possible_length),
        prefix=re.compile(prefix) if prefix else None,
    )


def look_up(address: str) -> tuple[str | None, bool]:
    """Give a recipient's country by its two letters (ISO 3166-1), and whether it is a valid number there.

    A channel's prefix is left aside. Where several countries share a calling code and none of them
    knows the number, it is the main one's. Some numbers belong to no country (``+882...``); ids
    that are no numbers have none, and are valid. Parsing costs most, so that both are found at one go.
    """
    number = address.rpartition(":")[2]
    if not E164.fullmatch(number):
        return None, True
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return None, False
    region = phonenumbers.region_code_for_number(parsed)
    is_valid = region is not None and phonenumbers.is_valid_number_for_region(parsed, region)
    return _country(parsed, region), is_valid


def _country(parsed: phonenumbers.PhoneNumber, region: str | None) -> str | None:
    """Give the country of a region, or of the calling code where no region knows the number."""
    region = region or phonenumbers.region_code_for_country_code(parsed.country_code or 0)
    return region if region and region.isalpha() and region != "ZZ" else None
