"""Any creative: nothing fails, nothing is lost, and what SAS's parser reads right reads the same."""

from __future__ import annotations

import html
import re
from html.entities import html5
from typing import NamedTuple

import phonenumbers
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ci360_twilio.core.creative import parse_creative
from ci360_twilio.core.e164 import to_e164
from ci360_twilio.core.message import Message, compose, parse_recipient, parse_sender
from ci360_twilio.core.tenant import Tenant, TenantId

SENDER = "+12015550100"
TENANT = Tenant(id=TenantId("demo"), messages_url="", account="", user="", password="")
LOGO, COMMAS = "https://www.example.com/logo.jpg", "http://cdn.example.com/w_1,h_2/a?b=c:d"

PIECES = [
    *("TO:", "to :", "From:", "MEDIA_URLS:", "MEDIAL_URLS:", "MED\u0130A_URLS:", "SENDER:", "A:b;"),
    *(";", ";;", ":", " ", "\t", "\n", "\n\n", "\r\n", "\r", "\ufeff", "\u00a0", "\x0b", "\x00"),
    *("+12015550123", SENDER, LOGO, COMMAS, ",", "Hi", "é", "😀", "x" * 200),
    *("{{", "}}", "{{name}}", "&amp;", "&#39;", "&#10;", "&#59;", "&", "&lt;", "&nosuch;"),
    *("<html>", "</body>", "<", ">", "<!doctype html>"),
]
pieces = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=25).map("".join)
texts = st.text() | pieces


def sendable(text: str) -> Message | None:
    """Give the message of a creative, or ``None`` where it is refused."""
    message, problems = compose(parse_creative(text), {}, TENANT, default_sender=SENDER)
    return None if any(problem.error for problem in problems) else message


# Nothing fails


@given(text=texts)
@settings(max_examples=200, deadline=None)
@example("MED\u0130A_URLS:x;")
@example("TO:tel:{{phone}};Hi")
def test_no_text_fails(text: str) -> None:
    """Problems have words, and a line of the text; a preview's warnings are no harm either."""
    creative = parse_creative(text)
    lines = len(re.split(r"\r\n|\r|\n", html.unescape(text)))
    _, problems = compose(creative, {}, TENANT, warn=True)
    assert 1 <= creative.body_line <= lines
    for problem in problems:
        assert problem.code.isidentifier()
        assert problem.message.endswith(".")
        assert problem.line is None or 1 <= problem.line <= lines


@given(piece=st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join))
@settings(max_examples=60, deadline=None)
def test_a_hundred_kilobytes_are_read_in_no_time(piece: str) -> None:
    """Whatever is repeated: no pattern of ours goes back over what it has read."""
    text = piece * (100_000 // len(piece))
    parse_creative(text)


@given(
    text=texts.map(lambda text: text.replace("\r", "").replace("&", "")),
    end=st.sampled_from(["\r\n", "\r"]),
)
@settings(max_examples=200, deadline=None)
def test_line_ends_make_no_difference(text: str, end: str) -> None:
    """Nor to the lines of the problems."""
    assert parse_creative(text.replace("\n", end)) == parse_creative(text)


# The published parser


class Reading(NamedTuple):
    """What the published parser reads."""

    to: str
    sender: str
    media: tuple[str, ...]
    body: str


def published(text: str) -> Reading | None:
    """Read a creative as the parser of SAS's sample is described to do.

    It cuts at semicolons. The last piece, stripped, is the text; every other is cut at its first
    colon, and its name counts in upper case as it stands, white space and all. Of two with one
    name the later wins.

    Returns:
        The reading, or ``None`` where it drops a piece of the text, or lacks a part without which
        there is no message.
    """
    *heads, body = text.split(";")
    said = {"FROM": SENDER, "MEDIA_URLS": ""}
    for head in filter(None, heads):
        name, colon, value = head.partition(":")
        if not colon or name.upper() not in ("TO", "FROM", "MEDIA_URLS"):
            return None
        said[name.upper()] = value
    to, sender = parse_recipient(said.get("TO", "").strip()), parse_sender(said["FROM"].strip())
    media = (
        tuple(url.strip() for url in said["MEDIA_URLS"].split(",")) if said["MEDIA_URLS"] else ()
    )
    if any(not re.fullmatch(r"https?://[^\s,]+", url) for url in media):
        return None
    if not to or not sender or not (media or body.strip()):
        return None
    return Reading(to, sender, media, body.strip())


def mostly(good: st.SearchStrategy[str], other: list[str]) -> st.SearchStrategy[str]:
    """Give something good, and one time in twelve something else."""
    return st.sampled_from([True] * 11 + [False]).flatmap(
        lambda well: good if well else st.sampled_from(other)
    )


def directive(name: str, *values: str) -> st.SearchStrategy[str]:
    """Give a directive as people write it."""
    names = mostly(st.sampled_from([name, name.lower(), name.title()]), [f" {name}", f"{name} "])
    padding = mostly(st.sampled_from(["", " ", "\t "]), ["\n"])
    value = mostly(st.sampled_from(values), ["", "{{x}}", "x\ny"])
    return st.builds("{}:{}{}{}".format, names, padding, value, padding)


heads = st.tuples(
    directive("TO", "+12015550123", "1 (201) 555-0123", "+44 7700 900123", "rcs:+12015550123"),
    directive("FROM", SENDER, "Acme", "12345", "whatsapp:+12015550100") | st.just(""),
    directive("MEDIA_URLS", LOGO, f"{LOGO},{LOGO}?2", f"{LOGO} , {LOGO}", COMMAS) | st.just(""),
    mostly(st.just(""), ["SENDER:x", "FROM:Acme", "Hi", "\n"]),
).flatmap(st.permutations)
WORDS = [
    "TO:",
    "From: me",
    "SENDER:x",
    ":",
    " ",
    "\n",
    "\n\n",
    "\r\n",
    "Hi",
    "é",
    "&amp",
    "<b>",
    "😀",
]
words = st.lists(st.sampled_from(WORDS) | st.text("ab:,\n {}\u00a0", max_size=5), max_size=12)
bodies = st.one_of(*[words.map("".join)] * 5, texts.map(lambda text: text.replace(";", "")))


@given(heads=heads, body=bodies)
@settings(max_examples=200, deadline=None)
@example(["", "TO:+12015550123", "", "FROM:Acme", ""], "From: us\t")
@example(["TO:+12015550123", "FROM:", "from:Acme"], "\n\nMEDIA_URLS: soon")
@example(["TO:+12015550123", f"MEDIA_URLS:{LOGO}"], " \n")
def test_what_the_published_parser_reads_right_reads_the_same(heads: list[str], body: str) -> None:
    """Wherever it yields a whole message and we do not refuse, ours is that message."""
    text = ";".join([*heads, body])
    reading, message = published(text), sendable(text)
    if reading is None or message is None:
        return
    assert (message.to, message.sender) == (reading.to, reading.sender)
    assert message.media_urls == reading.media
    assert message.body == reading.body.replace("\r\n", "\n").replace("\r", "\n")


def test_the_published_parser_is_described_as_its_pitfalls_are() -> None:
    """The model reads a creative of one line; of the documented one it drops what it reads wrong."""
    assert published(f"TO:+12015550123;FROM:Acme;MEDIA_URLS:{LOGO};Hi Ann") == Reading(
        "+12015550123", "Acme", (LOGO,), "Hi Ann"
    )
    assert published("TO:+12015550123;\nFROM:Acme;\nHi") is None
    assert published("TO:+12015550123;Hi; reply STOP; bye") is None
    assert published("TO:+12015550123;Hi;") is None
    assert published("\nTO:+12015550123;Hi") is None


# Nothing is lost


blocks = st.lists(
    st.sampled_from([f"FROM:{SENDER};", f"MEDIA_URLS:{LOGO};", "media_url: ;", "TO:;"]),
    max_size=3,
    unique=True,
).flatmap(lambda some: st.permutations([*some, "TO:+12015550123;"]))
separators = st.sampled_from(["", " ", "\n", "\r\n", " \n\t"])
LIKE_A_DIRECTIVE = re.compile(r"\s*(;|(to|from|medial?_urls|media_url)\s*:)", re.IGNORECASE)


def as_text(written: str) -> str:
    """Give a text as it should be sent: entities resolved once, line ends alike, ends stripped."""

    def resolved(entity: re.Match[str]) -> str:
        known = entity[1].startswith("#") or f"{entity[1]};" in html5
        return html.unescape(entity[0]) if known else entity[0]

    text = re.sub(r"&(#[0-9]+|#[xX][0-9a-fA-F]+|\w+);", resolved, written)
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


@given(block=blocks, separator=separators, text=texts)
@settings(max_examples=200, deadline=None)
@example(["TO:+12015550123;"], "\n", "one; two;\n\n; three;")
def test_a_text_behind_a_blank_line_is_sent_whole_or_refused(
    block: list[str], separator: str, text: str
) -> None:
    """Whatever it looks like."""
    message = sendable(f"{separator.join(block)}\n\n{text}")
    assert message is None or message.body == as_text(text)


@given(block=blocks, separator=separators, text=texts)
@settings(max_examples=200, deadline=None)
@example(["TO:+12015550123;"], "", "one; two;\n\n; three;")
def test_a_text_that_begins_like_none_is_sent_whole_or_refused(
    block: list[str], separator: str, text: str
) -> None:
    """Right behind the directives, on their line or on the next."""
    assume(not LIKE_A_DIRECTIVE.match(as_text(text)))
    message = sendable(separator.join([*block, text]))
    assert message is None or message.body == as_text(text)


@given(text=texts)
@settings(max_examples=200, deadline=None)
def test_a_text_without_directives_is_sent_whole_or_refused(text: str) -> None:
    """The task's attributes then say to whom."""
    assume("\ufeff" not in text and not LIKE_A_DIRECTIVE.match(as_text(text)))
    attributes = {"to": "+12015550123"}
    message, problems = compose(parse_creative(text), attributes, TENANT, default_sender=SENDER)
    assert problems or (message and message.body == as_text(text))


# Telephone numbers


@given(
    code=st.sampled_from(sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)) | st.integers(1, 999),
    national=st.text("0123456789", min_size=3, max_size=13),
)
@settings(max_examples=200, deadline=None)
@example(code=1, national="2015550123")
@example(code=44, national="07700900123")
@example(code=39, national="0600000000")
@example(code=54, national="91100000000")
def test_a_number_is_read_as_the_library_reads_it(code: int, national: str) -> None:
    """Also one that looks ready and is not parsed for that reason."""
    written = f"+{code}{national}"
    try:
        number = phonenumbers.parse(written, None)
    except phonenumbers.NumberParseException:
        assert to_e164(written) is None
        return
    expected = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    possible = phonenumbers.is_possible_number_with_reason(number)
    good = possible == phonenumbers.ValidationResult.IS_POSSIBLE
    assert to_e164(written) == (expected if good else None)
