"""Lists of wishes: the rows of a CSV file -> evidence, whoever wrote the file.

Three kinds are read: our own export (``recipient,state,since,...``; a column such as ``opted_out`` may
say yes or no instead of a state), CI360's contact preferences
(``identity_type,identity_value,preference_type,preference_value``, perhaps with a source and a time;
sassoftware/ci360-extensions, ``ci-360-manage-contact-preferences``), and numbers alone, which are
opt-outs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from ci360_twilio.core.consent import EVERY_SENDER, Consent, Sign, person_of
from ci360_twilio.core.e164 import E164
from ci360_twilio.core.message import parse_recipient

EXPORTED = ("recipient", "state", "since", "source", "group")
"""The head of our own export."""
PREFERENCES = ("identity_type", "identity_value", "preference_type", "preference_value")
"""The head of CI360's files."""

_RECIPIENTS = ("recipient", "number", "phone", "phone_number", "to", "mobile", "sms_id")
_STATES = ("state", "status", "consent", "wish")
_DATES = ("since", "date", "dated_at", "timestamp", "time", "datetime", "updated", "last_updated")
_OUT = frozenset({"out", "opt-out", "optout", "opt_out", "stop", "unsubscribed", "no", "n"})
_IN = frozenset({"in", "opt-in", "optin", "opt_in", "start", "subscribed", "yes", "y"})
_TRUE, _FALSE = frozenset({"true", "1", "yes", "y"}), frozenset({"false", "0", "no", "n"})
_SAYS_OUT = ("opted_out", "opt_out", "optout", "opt-out", "unsubscribed", "do_not_contact")
"""Columns that say whether an opt-out holds."""
_SAYS_IN = ("opted_in", "opt_in", "optin", "opt-in", "subscribed")
"""Columns that say whether it does not."""
_EPOCH_SECONDS = 100_000_000_000
"""Larger numbers are milliseconds."""
_EARLIEST, _LATEST = 100_000_000, int(datetime(2100, 1, 1, tzinfo=UTC).timestamp())
"""Seconds between which a number is taken for a date; ``20260302`` is smaller, and ISO 8601."""


_DAY = re.compile(r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}")
_TO_ITS_END = timedelta(hours=23, minutes=59, seconds=59)


class Bad(StrEnum):
    """Why a row is left out."""

    NUMBER = "number"
    """What should be a number is none."""
    STATE = "state"
    """It says neither in nor out."""
    PROGRAM = "program"
    """It is about one program of CI360's, or about something else than SMS."""
    GROUP = "group"
    """It is about another group of senders than the list is taken for."""
    SHORT = "short"
    """It has too few fields."""


class Wished(NamedTuple):
    """One row: whose wish, which, and since when, if it says."""

    person: str
    sign: Sign
    dated_at: datetime | None


class Layout(NamedTuple):
    """Where in a row things stand; ``None`` where they do not."""

    recipient: int
    state: int | None = None
    date: int | None = None
    kind: int | None = None
    """CI360's type of identity."""
    preference: int | None = None
    """CI360's type of preference: then the state says whether it holds."""
    group: int | None = None
    holds: Sign | None = None
    """What the state says to hold, or not to hold; none where it names the wish itself."""


NUMBERS = Layout(0)
CI360 = Layout(1, 3, 5, 0, 2)
"""CI360's columns where the file has no head."""


def read_head(fields: Sequence[str]) -> Layout | None:
    """Read the first row; ``None`` where it is no head, as one that holds a number."""
    if any(parse_recipient(field.strip()) is not None for field in fields):
        return None  # ``sms_id`` is a name in heads, and a value in CI360's rows
    names = {field.strip().lower().lstrip("\ufeff"): index for index, field in enumerate(fields)}
    kind, value = names.get("identity_type"), names.get("identity_value")
    date = _first(names, _DATES)
    if date is None:
        date = next((at for name, at in names.items() if "timestamp" in name), None)
    if value is not None:
        preference = names.get("preference_type", names.get("preference_type_cd"))
        return Layout(value, names.get("preference_value"), date, kind, preference)
    recipient = _first(names, _RECIPIENTS)
    if recipient is None:
        return None
    found = Layout(recipient, _first(names, _STATES), date, group=names.get("group"))
    for columns, sign in ((_SAYS_OUT, Sign.OUT), (_SAYS_IN, Sign.IN)):
        column = _first(names, columns)
        if found.state is None and column is not None:
            return found._replace(state=column, holds=sign)
    return found


def guess_layout(fields: Sequence[str]) -> Layout:
    """Give the layout of a file without a head by its first row."""
    return CI360 if len(fields) >= len(PREFERENCES) else NUMBERS


def read_row(
    layout: Layout, fields: Sequence[str], region: str | None, group: str = EVERY_SENDER
) -> Wished | Bad:
    """Read a row.

    An opt-out of a day was given at its end, as far as anybody knows.

    Args:
        layout: of the file.
        fields: of the row.
        region: the country of national numbers.
        group: of senders that the list is taken for.
    """
    if (
        layout.group is not None
        and "".join(fields[layout.group : layout.group + 1]).strip() != group
    ):
        return Bad.GROUP
    try:
        if layout.kind is not None and fields[layout.kind].strip().lower() != "sms_id":
            return Bad.PROGRAM
        if layout.preference is not None and fields[layout.preference].strip().upper() != "OPT-OUT":
            return Bad.PROGRAM
        number = fields[layout.recipient].strip().lstrip("'")
        state = "out" if layout.state is None else fields[layout.state].strip().lower()
    except IndexError:
        return Bad.SHORT
    sign = _sign(state, layout.holds if layout.preference is None else Sign.OUT)
    if sign is None:
        return Bad.STATE
    recipient = parse_recipient(number, region)
    if recipient is None:
        return Bad.NUMBER
    return Wished(person_of(recipient), sign, _dated(layout, fields, sign))


def _dated(layout: Layout, fields: Sequence[str], sign: Sign) -> datetime | None:
    if layout.date is None or layout.date >= len(fields):
        return None
    text = fields[layout.date].strip()
    moment = read_date(text)
    if moment is None or sign is Sign.IN or not _DAY.fullmatch(text):
        return moment
    return moment + _TO_ITS_END


def preference_row(consent: Consent) -> tuple[str, ...] | None:
    """Give the row by which CI360 takes over a wish; ``None`` where there is none to take over.

    CI360 knows one wish for each number: none for a group of senders, nor for an id of Messenger's.
    """
    if consent.recipient is None or not E164.fullmatch(consent.recipient):
        return None
    if consent.group != EVERY_SENDER or consent.state == "review":
        return None
    return ("sms_id", consent.recipient, "OPT-OUT", "true" if consent.blocked else "false")


def read_date(text: str) -> datetime | None:
    """Read a date: ISO 8601, or seconds or milliseconds since 1970; without a zone it is in UTC."""
    text = text.strip()
    number = 0.0
    if text[4:5] != "-":  # most dates are ISO 8601 with hyphens
        with suppress(ValueError):
            number = float(text)
    try:
        if number >= _EARLIEST:
            seconds = number / 1000 if number > _EPOCH_SECONDS else number
            return datetime.fromtimestamp(seconds, UTC) if seconds < _LATEST else None
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _sign(state: str, holds: Sign | None) -> Sign | None:
    """Read a state: the wish itself, or whether a wish holds."""
    if holds is None:
        return Sign.OUT if state in _OUT else Sign.IN if state in _IN else None
    if state in _TRUE:
        return holds
    if state in _FALSE:
        return Sign.IN if holds is Sign.OUT else Sign.OUT
    return None


def _first(names: Mapping[str, int], wanted: Sequence[str]) -> int | None:
    return next((names[name] for name in wanted if name in names), None)
