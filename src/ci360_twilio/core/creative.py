"""The text of a creative -> :class:`Creative`.

A creative is a block of directives followed by the body::

    TO:{{phone}};
    FROM:+19085551212;
    MEDIA_URLS:https://www.example.com/images/logo.jpg;
    {{firstname}}, thank you for registering; see you there!

It is the convention of SAS's published sample, whose reading is kept wherever it yields the whole message.
The rules are in ``docs/creative.md``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import urlsplit

MAX_BODY = 1600
"""Code points; Twilio refuses longer bodies with 21617."""
MAX_MEDIA = 10
"""Media of one message; Twilio refuses more with 21623."""


class Directive(StrEnum):
    """What a creative can say besides its text."""

    TO = "to"
    FROM = "from"
    MEDIA_URLS = "media_urls"


NAMES: Mapping[str, Directive] = {
    "TO": Directive.TO,
    "FROM": Directive.FROM,
    "MEDIA_URLS": Directive.MEDIA_URLS,
    "MEDIAL_URLS": Directive.MEDIA_URLS,  # as the sample's page prints it
    "MEDIA_URL": Directive.MEDIA_URLS,
}


class Problem(NamedTuple):
    """Something a marketer should know; an *error* keeps the message from being sent."""

    code: str
    message: str
    line: int | None = None
    error: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Creative:
    """What a creative says. Absent directives are ``None``; ``lines`` tells where each stands."""

    to: str | None = None
    sender: str | None = None
    media_urls: tuple[str, ...] = ()
    body: str = ""
    body_line: int = 1
    lines: Mapping[Directive, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


_KNOWN = re.compile(
    rf"(?P<name>{'|'.join(sorted(NAMES, key=len, reverse=True))})[ \t]*:", re.IGNORECASE | re.ASCII
)
_UNKNOWN = re.compile(r"(?P<name>[A-Z][A-Z0-9_]*)[ \t]*:[^;\n]*;")
_GAP = re.compile(r";*[ \t]*(?:\n[ \t]*)?")
"""White space behind a directive; ``TO:...;;`` ends an empty directive on the same line."""
_STRAY = re.compile(r"(?:[ \t]*;[ \t]*(?:\n[ \t]*)?)+")
_LEADING = re.compile(r"[\s\ufeff]*")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
MERGE_TAG = re.compile(r"\{\{([^{}\n]*)\}\}")
_HTML = re.compile(r"<(?:!doctype\s+html|/?(?:html|head|body)\b)[^<>]*>", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SOME_ADDRESS = "https://www.example.com"
_MEDIA_BREAK = re.compile(r"\s*,\s*(?=https?://)|\s+", re.IGNORECASE)


def parse_creative(text: str, *, merged: bool = True) -> Creative:
    """Read a creative.

    Args:
        text: what the marketer wrote.
        merged: whether merge tags were filled in. Where not they may stand anywhere, and what they
            stand for is looked at once it is known (:mod:`ci360_twilio.core.audience`).

    Never raises: what is wrong with it stands in ``problems``, each with the line it is found on.
    Whether there is a recipient, a sender and something to send is decided by
    :func:`ci360_twilio.core.message.compose`, since the event's attributes may supply them.
    """
    text = _normalise(text)
    if "<" in text and _HTML.search(text):
        problem = Problem("html_creative", "This is an HTML page; use a plain text creative.", 1)
        return Creative(problems=(problem,))
    return _Reader(text, merged=merged).read()


def split_media(value: str) -> tuple[str, ...]:
    """Split a list of media addresses at white space, or at a comma before ``http(s)://``."""
    return tuple(part for part in _MEDIA_BREAK.split(value.strip()) if part)


def media_problems(urls: tuple[str, ...], line: int | None) -> Iterator[Problem]:
    """Yield what Twilio would not fetch."""
    if len(urls) > MAX_MEDIA:
        words = f"{len(urls)} media addresses; a message takes at most {MAX_MEDIA}."
        yield Problem("too_many_media", words, line)
    if not all(_is_web_address(url) for url in urls):
        words = "MEDIA_URLS holds something that is not an http:// or https:// address."
        yield Problem("invalid_media_url", words, line)


def length_problems(body: str, line: int | None) -> Iterator[Problem]:
    """Yield that a body is too long for Twilio."""
    if len(body) > MAX_BODY:
        words = f"The text has {len(body):,} characters; Twilio takes at most {MAX_BODY:,}."
        yield Problem("body_too_long", words, line)


def value_problems(value: str, line: int | None) -> Iterator[Problem]:
    """Yield left-over merge tags and control characters of any part of a creative."""
    if tag := MERGE_TAG.search(value):
        words = "A merge tag was not filled in: CI360 had no such attribute."
        yield Problem("merge_tag", words, _line_of(value, tag.start(), line))
    yield from control_problems(value, line)


def control_problems(value: str, line: int | None) -> Iterator[Problem]:
    """Yield control characters of any part of a creative."""
    if control := _CONTROL.search(value):
        words = f"A control character (U+{ord(control[0]):04X}) cannot be sent."
        yield Problem("control_character", words, _line_of(value, control.start(), line))


def has_merge_tag(value: str) -> bool:
    """Tell whether a merge tag was left in a value."""
    return MERGE_TAG.search(value) is not None


def _line_of(text: str, offset: int, first: int | None) -> int | None:
    return None if first is None else first + text.count("\n", 0, offset)


def _normalise(text: str) -> str:
    if "&" in text:
        text = _ENTITY.sub(_character, text)
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip()


def _character(entity: re.Match[str]) -> str:
    """Give the character of an entity; a name that is none stays as it is."""
    import html  # two milliseconds of a start, for what few creatives hold
    from html.entities import html5

    if entity[0][1] == "#":
        # the standard drops control characters; here they are kept, to be refused
        return html.unescape(entity[0]) or "\x00"
    return html5.get(entity[0][1:], entity[0])


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme.lower() in ("http", "https") and bool(
            parts.hostname and parts.port != 0
        )
    except ValueError:
        return False


class _Reader:
    """One pass over the text; ``self.at`` is where reading goes on."""

    def __init__(self, text: str, *, merged: bool) -> None:
        self.text = text
        self.merged = merged
        self.at = 0
        self.found: dict[Directive, str] = {}
        self.lines: dict[Directive, int] = {}
        self.value_lines: dict[Directive, int] = {}
        self.repeated: set[Directive] = set()
        self.problems: list[Problem] = []

    def read(self) -> Creative:
        self.at = _past(_LEADING, self.text, 0)
        while self._directive():
            pass
        if unknown := _UNKNOWN.match(self.text, self.at):
            self._unknown_directive(unknown)
        body = self.text[self.at :]
        start = self.at + len(body) - len(body.lstrip())
        body = body.strip()
        body_line = self._line(start)
        media: tuple[str, ...] = ()
        if listed := self.found.get(Directive.MEDIA_URLS):
            media = split_media(listed) if self.merged else (listed,)
        if self.merged:
            self._look_through(media, body, body_line)
        return Creative(
            to=self.found.get(Directive.TO),
            sender=self.found.get(Directive.FROM),
            media_urls=media,
            body=body,
            body_line=body_line,
            lines=self.lines,
            problems=tuple(self.problems),
        )

    def _look_through(self, media: tuple[str, ...], body: str, body_line: int) -> None:
        """Find what is wrong with the parts."""
        if media:
            self.problems.extend(media_problems(media, self.lines[Directive.MEDIA_URLS]))
        if "{{" in self.text or _CONTROL.search(self.text):
            for name, value in self.found.items():
                self.problems.extend(value_problems(value, self.value_lines[name]))
            self.problems.extend(value_problems(body, body_line))
        self.problems.extend(length_problems(body, body_line))

    def _directive(self) -> bool:
        """Read one directive with the gap behind it; false where the body starts."""
        text = self.text
        known = _KNOWN.match(text, self.at) or self._past_stray()
        if known is None:
            return False
        end = text.find(";", known.end())
        if end < 0:
            if "\n" in text[known.end() :]:
                self._not_terminated(known)
            return False  # what follows the last semicolon is the body
        name, value = NAMES[known["name"].upper()], text[known.end() : end]
        filled = value if self.merged else MERGE_TAG.sub(_SOME_ADDRESS, value)
        if "\n" in value and not (name is Directive.MEDIA_URLS and _all_web(filled)):
            self._not_terminated(known)
            return False
        self._keep(name, value, known)
        self.at = _past(_GAP, text, end + 1)
        return not text.startswith("\n", self.at)  # a blank line ends the directives

    def _keep(self, name: Directive, value: str, known: re.Match[str]) -> None:
        stripped = value.strip()
        if stripped and name not in self.found:
            line = self._line(known.start())
            self.found[name], self.lines[name] = stripped, line
            leading = value[: len(value) - len(value.lstrip())]
            self.value_lines[name] = line + leading.count("\n")
        elif stripped and name not in self.repeated:
            self.repeated.add(name)
            words = f"{name.upper()} stands here a second time; keep one."
            line = self._line(known.start())
            self.problems.append(Problem("duplicate_directive", words, line))

    def _past_stray(self) -> re.Match[str] | None:
        """Look past semicolons that end nothing, for a directive behind them."""
        stray = _STRAY.match(self.text, self.at)
        return _KNOWN.match(self.text, stray.end()) if stray else None

    def _not_terminated(self, known: re.Match[str]) -> None:
        words = f"{known['name'].upper()} is not ended by a semicolon on its line."
        self.problems.append(Problem("directive_not_terminated", words, self._line(known.start())))

    def _unknown_directive(self, first: re.Match[str]) -> None:
        """Refuse ``SENDER:x;`` before a known directive: the text would start in the wrong place."""
        at = self.at
        while (unknown := _UNKNOWN.match(self.text, at)) and not _KNOWN.match(self.text, at):
            at = _past(_GAP, self.text, unknown.end())
        known = _KNOWN.match(self.text, at)
        if at > self.at and known and ";" in self.text[known.end() :]:
            words = f"{first['name'][:40]} is not a directive; known are TO, FROM and MEDIA_URLS."
            self.problems.append(Problem("unknown_directive", words, self._line(first.start())))

    def _line(self, offset: int) -> int:
        return self.text.count("\n", 0, offset) + 1


def _past(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Step over what a pattern matches, if anything."""
    found = pattern.match(text, at)
    return found.end() if found else at


def _all_web(value: str) -> bool:
    return all(_is_web_address(part) for part in split_media(value))
