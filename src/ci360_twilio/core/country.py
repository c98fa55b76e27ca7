"""The country of a recipient, told without parsing the number.

Every entry is counted by its recipient's country, and parsing would take longer than all else that is
done to write an entry. What the library does with a number in E.164 is to strip a national prefix,
which few have, and to try the patterns of the countries that share its calling code, one after the
other; they are compiled into one here. A property test compares this with
:func:`ci360_twilio.core.e164.look_up`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import phonenumbers

from ci360_twilio.core.e164 import E164, look_up

_KINDS = (
    *("fixed_line", "mobile", "toll_free", "premium_rate", "shared_cost", "voip"),
    *("personal_number", "pager", "uan", "voicemail"),
)
"""Of numbers, as the library's metadata names them; a region knows a number that is of any."""


class _Plan(NamedTuple):
    """What numbers of one length that begin alike have in common."""

    country: str | None
    """The only one, or the one whose number it is where none knows it."""
    start: int = 0
    """Where the national number begins, if several share the calling code."""
    prefix: re.Pattern[str] = re.compile("(?!)")
    known: re.Pattern[str] = re.compile("(?!)")
    """Names the country that knows a national number."""


def country_of(address: str) -> str | None:
    """Give the country of a recipient, as :func:`ci360_twilio.core.e164.look_up` does."""
    number = address.rpartition(":")[2]
    if not E164.fullmatch(number):
        return None
    plan = _plan(number[1:4], len(number))
    if not plan.start:
        return plan.country
    if plan.prefix.match(number, plan.start):
        return look_up(address)[0]
    found = plan.known.fullmatch(number, plan.start)
    return found.lastgroup if found else plan.country


@lru_cache(maxsize=8192)
def _plan(first: str, length: int) -> _Plan:
    """Give the plan of numbers by their first three digits and their length with the plus."""
    for digits in (1, 2, 3):
        regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(first[:digits]))
        if regions:
            break
    else:
        return _Plan(None)
    main = regions[0] if regions[0].isalpha() else None
    if len(regions) == 1:
        return _Plan(main)
    start = 1 + digits
    prefix = _metadata(regions[0]).national_prefix_for_parsing
    known = [f"(?P<{one}>{text})" for one in regions if (text := _pattern(one, length - start))]
    return _Plan(
        main, start, re.compile(f"0|{prefix or '(?!)'}"), re.compile("|".join(known) or "(?!)")
    )


def _pattern(region: str, length: int) -> str | None:
    """Give the pattern of national numbers of a length that the library takes for a region's."""
    metadata = _metadata(region)
    if metadata.leading_digits is not None:
        return rf"(?:{metadata.leading_digits})\d*"
    general = list(_patterns(metadata.general_desc, length))
    kinds = [text for kind in _KINDS for text in _patterns(getattr(metadata, kind), length)]
    return rf"(?={general[0]}\Z)(?:{'|'.join(kinds)})" if general and kinds else None


def _metadata(region: str) -> phonenumbers.PhoneMetadata:
    metadata = phonenumbers.PhoneMetadata.metadata_for_region(region)
    assert metadata is not None  # noqa: S101 - the region was found by its calling code
    return metadata


def _patterns(kind: phonenumbers.PhoneNumberDesc | None, length: int) -> Iterator[str]:
    """Give the pattern of a kind of numbers, if the region has any of the length."""
    if kind is None or not kind.national_number_pattern:
        return
    if not kind.possible_length or length in kind.possible_length:
        yield f"(?:{kind.national_number_pattern})"
