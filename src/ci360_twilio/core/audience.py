"""The file of a bulk task: its columns, and the template that each of its rows fills: :class:`Filling`.

CI360 hands over a data file without a header and a metadata file that names its columns, either as a
line of CSV or as JSON (both are seen in sassoftware/ci360-extensions: ``ci360-braze``,
``ci360-mailchimp``). What is sent is said by the task's ``sendParameters``, in the words of a creative's
directives, with ``{{column}}`` wherever a cell is to stand. The template is read once, before any cell
is known: whatever a cell holds, it is never a directive or a merge tag.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from ci360_twilio.core.creative import (
    MERGE_TAG,
    Creative,
    Directive,
    Problem,
    control_problems,
    length_problems,
    media_problems,
    parse_creative,
    split_media,
)
from ci360_twilio.core.event import IDENTITIES
from ci360_twilio.core.message import DEFAULT_NAMES, AttributeNames
from ci360_twilio.errors import AudienceBroken, Issue

IDENTITY_ID = "identity_id"
"""CI360's own name of the column with a customer's ``datahub_id``."""
BAD_ROWS_PERCENT = 20.0
"""The share of bad rows that stops a job, where the task does not say."""
BODY, CREATIVE = "body", "creative"
IDENTITY, DUPLICATES, LIMIT = "identity", "duplicates", "bad_rows_limit"

_IDENTITY_TYPES = {
    IDENTITY_ID: "datahub_id",
    "datahub_id": "datahub_id",
    **{name: name for name in IDENTITIES},
}
_NAME = re.compile(r"[A-Za-z_]\w{0,63}", re.ASCII)
_SHOWN = 20
"""Columns that are named in words."""


class Columns:
    """The names of a file's columns, in their order."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(name.strip() for name in names)
        self._exact = _places(self.names, str.lower)
        self._loose = _places(self.names, _bare)

    def find(self, name: str) -> int | None:
        """Give the place of a column: whatever its case, with or without underscores at its end.

        CI360 reserves some names, so that who means ``city`` has to call it ``city_``.

        Raises:
            AudienceBroken: several columns have that name.
        """
        name = name.strip()
        places = self._exact.get(name.lower()) or self._loose.get(_bare(name)) or [None]
        if len(places) > 1:
            raise AudienceBroken("ambiguous_column", f"Several columns are called {_shown(name)}.")
        return places[0]

    def __str__(self) -> str:
        """Name them, if they look like names: a data file in their place holds customers."""
        if not all(map(_NAME.fullmatch, self.names)):
            return f"{len(self.names)} columns, not all of which look like names"
        more = len(self.names) - _SHOWN
        listed = ", ".join(map(_shown, self.names[:_SHOWN]))
        return f"{listed} and {more} more" if more > 0 else listed


def _places(names: Sequence[str], spell: Callable[[str], str]) -> dict[str, list[int | None]]:
    found: dict[str, list[int | None]] = {}
    for place, name in enumerate(names):
        found.setdefault(spell(name), []).append(place)
    return found


def _bare(name: str) -> str:
    return name.lower().rstrip("_")


def _shown(name: str) -> str:
    return repr(name[:64])


def parse_columns(document: bytes) -> Columns:
    """Read a metadata file: a CSV header line, or JSON ``[{"columnName": ...}, ...]``.

    Raises:
        AudienceBroken: it is neither, or names no column.
    """
    if reason := foreign(document):
        raise AudienceBroken(reason, f"The metadata file is {_FOREIGN_WORDS[reason]}.")
    try:
        text = document.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise AudienceBroken("metadata_unreadable", "The metadata file is not UTF-8.") from None
    names = _json_names(text) if text.startswith("[") else _csv_names(text)
    if not names or not all(map(str.strip, names)):
        words = "The metadata file names no columns, or one without a name."
        raise AudienceBroken("metadata_unreadable", words)
    return Columns(names)


def _csv_names(text: str) -> list[str]:
    try:
        return next(csv.reader(text.splitlines()), [])
    except csv.Error:
        return []


def _json_names(text: str) -> list[str]:
    try:
        return [one.name for one in _decode_columns(text)]
    except (msgspec.DecodeError, RecursionError):
        words = 'The metadata file is no list of {"columnName": ...}.'
        raise AudienceBroken("metadata_unreadable", words) from None


class _Column(msgspec.Struct, frozen=True):
    name: str = msgspec.field(name="columnName")


_decode_columns = msgspec.json.Decoder(list[_Column]).decode


def foreign(start: bytes) -> str | None:
    """Tell by its first bytes what a file is that is certainly no CSV: the reason of a refusal."""
    if start.startswith((b"\x1f\x8b", b"PK\x03\x04")):
        return "compressed"
    if _MARKUP.match(start):
        return "not_csv"
    return None


_MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|head|body|\?xml|error)\b", re.I)
_FOREIGN_WORDS = {"compressed": "compressed", "not_csv": "an HTML or XML page, not CSV"}


def foreign_words(reason: str) -> str:
    """Say in words what :func:`foreign` found."""
    return f"The data file is {_FOREIGN_WORDS[reason]}."


class Options(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a task says of its audience besides the message."""

    identity: str | None = None
    """The column that tells customers apart; ``identity_id`` or the first one where it says nothing."""
    duplicates: Literal["one", "all"] = "one"
    """Whether a number that stands there several times gets one message, or one for each customer."""
    bad_rows_limit: float = BAD_ROWS_PERCENT
    """The share of bad rows, in percent, beyond which nothing is sent."""


def parse_options(parameters: Mapping[str, str], issues: list[Issue]) -> Options:
    """Read the options among ``sendParameters``, names in lower case; ``issues`` gets what is wrong."""
    limit = BAD_ROWS_PERCENT
    try:
        limit = float(parameters.get(LIMIT, limit))
    except ValueError:
        limit = -1.0
    if not 0 <= limit <= 100:
        issues.append(Issue(f"sendParameters.{LIMIT}", "must be a number from 0 to 100"))
    duplicates = parameters.get(DUPLICATES, "one").strip().lower()
    if duplicates not in ("one", "all"):
        issues.append(Issue(f"sendParameters.{DUPLICATES}", "must be one or all"))
    return Options(
        identity=parameters.get(IDENTITY, "").strip() or None,
        duplicates="all" if duplicates == "all" else "one",
        bad_rows_limit=limit,
    )


def parse_template(
    parameters: Mapping[str, str], names: AttributeNames = DEFAULT_NAMES
) -> Creative:
    """Read the template among ``sendParameters``, names in lower case, merge tags left in it.

    ``creative`` holds a whole creative; ``to``, ``from``, ``media_urls`` and ``body`` its parts. What
    the creative says wins. Nothing is refused here: what is wrong stands in ``problems``.
    """
    creative = parse_creative(parameters.get(CREATIVE, ""), merged=False)

    def part(name: str) -> str | None:
        return parameters.get(name.lower(), "").strip() or None

    media = part(names.media_urls)
    body = (part(BODY) or "").replace("\r\n", "\n").replace("\r", "\n")
    return Creative(
        to=creative.to or part(names.to),
        sender=creative.sender or part(names.sender),
        media_urls=creative.media_urls or ((media,) if media else ()),
        body=creative.body or body,
        body_line=creative.body_line,
        lines=creative.lines,
        problems=creative.problems,
    )


class Identified(NamedTuple):
    """Who a row is about."""

    identity: str
    """What tells the customer apart from others in the file."""
    identities: dict[str, str]
    """By the type of identity, as CI360 knows them."""


class Filling:
    """A template and the columns of a file. Safe for many threads; :meth:`fill` takes one row."""

    def __init__(
        self,
        template: Creative,
        columns: Columns,
        identity: str | None = None,
        names: AttributeNames = DEFAULT_NAMES,
    ) -> None:
        """Find the column of every merge tag.

        Args:
            template: as :func:`parse_template` gives it.
            columns: of the file.
            identity: the name of the column that tells customers apart.
            names: under which of them a recipient goes that no creative names.

        Raises:
            AudienceBroken: a merge tag names no column.
        """
        unknown: list[str] = []
        self._template = template
        self._to_name = None if Directive.TO in template.lines else names.to.lower()
        self._to = _Text(template.to or "", columns, unknown)
        self._sender = _Text(template.sender or "", columns, unknown)
        self._media = _Text(" ".join(template.media_urls), columns, unknown)
        self._body = _Text(template.body, columns, unknown)
        self._media_line = template.lines.get(Directive.MEDIA_URLS)
        self._known = [
            (kind, place)
            for name, kind in _IDENTITY_TYPES.items()
            if (place := columns.find(name)) is not None
        ]
        if identity is not None:
            place = columns.find(identity)
            if place is None:
                unknown.append(identity)
            else:
                kind = _IDENTITY_TYPES.get(_bare(identity), _bare(identity))
                self._known.insert(0, (kind, place))
        self._identity = self._known[0][1] if self._known else 0
        self._known = self._known or [("datahub_id", 0)]
        if unknown:
            named = ", ".join(dict.fromkeys(map(_shown, unknown)))
            words = f"No column is called {named}. There are: {columns}."
            raise AudienceBroken("unknown_column", words)

    def fill(self, cells: Sequence[str]) -> tuple[Creative, dict[str, str]]:
        """Put a row's cells where the merge tags stand; gives a creative and a task's attributes."""
        template = self._template
        body = _clean(self._body(cells))
        media: tuple[str, ...] = ()
        problems = list(template.problems)
        if self._media.text or self._media.parts:
            media = split_media(self._media(cells))
            problems.extend(media_problems(media, self._media_line))
        to, sender = self._to(cells).strip(), self._sender(cells).strip()
        problems.extend(self._told_apart(to, sender, body, media))
        attributes: dict[str, str] = {}
        if self._to_name is not None:
            attributes[self._to_name] = to  # a tenant may take recipients from attributes alone
            to = ""
        problems.extend(length_problems(body, template.body_line))
        creative = Creative(
            to=to or None,
            sender=sender or None,
            media_urls=media,
            body=body,
            body_line=template.body_line,
            lines=template.lines,
            problems=tuple(problems),
        )
        return creative, attributes

    def identified(self, cells: Sequence[str]) -> Identified:
        """Tell who a row is about."""
        identities: dict[str, str] = {}
        for kind, place in self._known:
            if (value := cells[place].strip()) and kind not in identities:
                identities[kind] = value
        return Identified(cells[self._identity].strip(), identities)

    def _told_apart(
        self, to: str, sender: str, body: str, media: tuple[str, ...]
    ) -> Iterator[Problem]:
        """Yield control characters, and what looks like a merge tag where an address should be."""
        lines = self._template.lines
        if "{{" in to and MERGE_TAG.search(to):
            words = "TO is not a possible telephone number; write it like +19085551212."
            yield Problem("invalid_recipient", words, lines.get(Directive.TO))
        if "{{" in sender and MERGE_TAG.search(sender):
            yield Problem("invalid_sender", "FROM is no sender.", lines.get(Directive.FROM))
        named = (to,) if self._to_name is None else ()  # an attribute is looked through by itself
        for text in (body, *named, sender, *media):
            if not text.isprintable():
                yield from control_problems(text, None)


class _Text:
    """A text with places for cells."""

    def __init__(self, text: str, columns: Columns, unknown: list[str]) -> None:
        self.text = ""
        """Where no cell stands in it."""
        self.parts: list[str | int] = []
        for number, part in enumerate(MERGE_TAG.split(text)):
            if number % 2 == 0:
                if part:
                    self.parts.append(part)
                continue
            place = columns.find(part)
            if place is None:
                unknown.append(part.strip())
            else:
                self.parts.append(place)
        if not any(isinstance(part, int) for part in self.parts):
            self.text, self.parts = "".join(map(str, self.parts)), []

    def __call__(self, cells: Sequence[str]) -> str:
        """Fill it."""
        if not self.parts:
            return self.text
        return "".join([part if isinstance(part, str) else cells[part] for part in self.parts])


def _clean(text: str) -> str:
    """Write line breaks as a creative has them; a file may bring others."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.strip()
