"""The page of a rehearsal: what it tells, that nothing in it steers, and that all can read it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import count, pairwise
from typing import Any

import msgspec
import pytest

from ci360_twilio.edge.rehearsal_page import page
from ci360_twilio.flow.rehearse import Report

INLINE = frozenset({"span", "code", "strong"})
VOID = frozenset({"meta", "br", "hr", "img", "input", "link"})
POLICY = "default-src 'none'; style-src 'unsafe-inline'"

Attributes = dict[str, str | None]


class Parsed(HTMLParser):
    """A page as a browser reads it; tags that are not closed in turn are an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, Attributes]] = []
        self.parts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open a tag."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            assert tag != "p" or "p" not in self._open
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag that holds nothing, as those of SVG do."""
        assert "svg" in self._open
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Close the tag that was opened last."""
        assert self._open.pop() == tag
        if tag not in INLINE:
            self.parts.append(" ")

    def handle_data(self, data: str) -> None:
        """Keep text, other than the style."""
        if "style" not in self._open:
            self.parts.append(data)

    @property
    def text(self) -> str:
        """All that is read, with single spaces."""
        return " ".join("".join(self.parts).split())

    def named(self, tag: str) -> list[Attributes]:
        """Give the attributes of all tags of a name."""
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def shape(self) -> list[tuple[str, list[str]]]:
        """The tags with the names of their attributes."""
        return [(tag, list(attributes)) for tag, attributes in self.tags]


def data(**changes: Any) -> dict[str, Any]:
    """Give a report in which everything occurs, with changes."""
    report = Report(
        kind="audience",
        tenant="demo",
        made_at=datetime(2026, 11, 29, 4, 4, 22, tzinfo=UTC),
        rows=100_000,
        sendable=95_777,
        verdicts={"accepted": 95_777, "invalid_recipient": 4_042, "opted_out": 181},
        reasons=[
            {
                "verdict": "invalid_recipient",
                "rows": 4_042,
                "words": "The recipient is not a possible telephone number.",
                "examples": [{"row": 9_711, "line": 9_712, "words": "TO is not a number."}],
            },
            {
                "verdict": "opted_out",
                "rows": 181,
                "words": "The recipient has opted out.",
                "examples": [],
            },
        ],
        would_stop=None,
        bad=4_042,
        bad_percent=4.04,
        bad_limit_percent=20.0,
        numbers={"valid": 47_107, "outside_numbering_plan": 48_670},
        channels={"sms": 95_000, "whatsapp": 777},
        countries=[
            country("US", 83_308, 691.4564),
            country("DE", 12_400, None),
            country("-", 69, None),
        ],
        encodings={"UCS-2": 60_000, "GSM-7": 35_000},
        segments=131_072,
        segments_per_message={1: 60_000, 2: 30_000, 14: 3_000, 15: 2_000},
        smart_encoding_saves=2_345,
        characters=[
            character("—", "em dash", 50_000, 1_234, "-"),
            character("李", "cjk unified ideograph-674e", 19_368, 567, None),
            character("\u200b", "zero width space", 44, 33, ""),
            character("\u00a0", "no-break space", 43, 32, " "),
        ],
        cost={
            "total": 691.4564,
            "currency": "USD",
            "by_country": {"US": 691.4564},
            "unpriced_messages": 12_469,
            "prices": "Twilio's list price",
        },
        senders=[
            sender("+19085551212", 95_700, 95_777, 1.0, 95_777.0, 9_378),
            sender("MG" + "0123456789abcdef" * 2, 77, 78, None, None, 0),
        ],
        would_expire=9_378,
        pauses=["operator:tenant:demo:*"],
        warnings=["48,670 numbers are possible but outside the numbering plan."],
    )
    built: dict[str, Any] = msgspec.to_builtins(report)
    return built | changes


def country(code: str, messages: int, cost: float | None) -> dict[str, Any]:
    """Give a country as a report has it, with two segments a message."""
    return {
        "country": code,
        "messages": messages,
        "segments": 2 * messages,
        "media_messages": 3,
        "cost": cost,
    }


def character(
    shown: str, name: str, messages: int, more: int, replacement: str | None
) -> dict[str, Any]:
    """Give a character as a report has it."""
    return {
        "character": shown,
        "code_point": f"U+{ord(shown):04X}",
        "name": name,
        "messages": messages,
        "segments_more": more,
        "replacement": replacement,
    }


def sender(
    name: str, messages: int, segments: int, rate: float | None, seconds: float | None, late: int
) -> dict[str, Any]:
    """Give a sender as a report has it."""
    return {
        "sender": name,
        "messages": messages,
        "segments": segments,
        "segments_per_second": rate,
        "paced": False,
        "seconds": seconds,
        "would_expire": late,
    }


def nothing(**changes: Any) -> dict[str, Any]:
    """Give a report of which nothing would be sent, with changes."""
    unsent = data(
        rows=0,
        sendable=0,
        verdicts={},
        reasons=[],
        bad=0,
        bad_percent=0.0,
        numbers={"valid": 0, "outside_numbering_plan": 0},
        channels={},
        countries=[],
        encodings={},
        segments=0,
        segments_per_message={},
        smart_encoding_saves=0,
        characters=[],
        senders=[],
        would_expire=0,
        pauses=[],
        warnings=[],
    )
    free = {"total": 0.0, "by_country": {}, "unpriced_messages": 0}
    return unsent | {"cost": unsent["cost"] | free} | changes


def read(**changes: Any) -> str:
    """Give what a reader reads of a report with changes."""
    return Parsed(page(data(**changes))).text


STOP = {"reason": "too_many_bad_rows", "message": "30 % of the rows cannot be sent to."}
REPORTS = {
    "all": data(),
    "stopped": data(would_stop=STOP),
    "events": data(kind="events", bad_limit_percent=None),
    "no rows": nothing(would_stop={"reason": "empty_file", "message": "It holds no rows."}),
    "none sendable": nothing(rows=3, verdicts={"opted_out": 3}),
    "many": data(countries=[country(f"{n:02}", 60 - n, None) for n in range(60)]),
}
PAGES = pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS.keys())


@PAGES
def test_a_page_is_well_formed(report: dict[str, Any]) -> None:
    """Every tag is closed in its turn, ids are unique and there is one first heading."""
    parsed = Parsed(page(report))
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch(r"h[1-6]", tag)]
    assert len(ids) == len(set(ids))
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


@PAGES
def test_a_page_fetches_and_runs_nothing(report: dict[str, Any]) -> None:
    """There is no script, no handler, no address and no import, and its policy forbids them."""
    html = page(report)
    parsed = Parsed(html)
    assert html.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert {"http-equiv": "Content-Security-Policy", "content": POLICY} in parsed.named("meta")
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & {
        tag for tag, _ in parsed.tags
    }
    names = {name for _, attributes in parsed.tags for name in attributes}
    assert not {name for name in names if name in ("src", "href", "style") or name[:2] == "on"}
    assert not re.search(r"https?:|//|url\(|@import|@font-face", html)


@PAGES
def test_tables_and_charts_can_be_heard(report: dict[str, Any]) -> None:
    """Heads have a scope, tables a caption, and a chart a text or a table in its stead."""
    parsed = Parsed(page(report))
    assert all(one.get("scope") in ("col", "row") for one in parsed.named("th"))
    assert len(parsed.named("caption")) == len(parsed.named("table"))
    for chart in parsed.named("svg"):
        assert chart.get("aria-hidden") == "true" or (
            chart["role"] == "img" and chart["aria-label"]
        )
    for box in (one for one in parsed.named("div") if one.get("class") == "scroll"):
        assert box["tabindex"] == "0"
        assert box["aria-label"]


def marked(value: Any, mark: str, number: count[int]) -> Any:
    """Put a mark of its own into every text of a value, and into the names that are data."""
    if isinstance(value, str):
        return f"{mark}{next(number):03}"
    if isinstance(value, list):
        return [marked(one, mark, number) for one in value]
    if isinstance(value, dict):
        return {key: marked(one, mark, number) for key, one in value.items()}
    return value


def marked_report(mark: str) -> tuple[dict[str, Any], list[str]]:
    """Give a report whose every text bears a mark, and the texts."""
    number = count()
    report = marked(data(would_stop=STOP), mark, number)
    for name in ("verdicts", "channels", "encodings"):
        report[name] = {f"{mark}{next(number):03}": one for one in report[name].values()}
    return report, [f"{mark}{one:03}" for one in range(next(number))]


@pytest.mark.parametrize(
    "mark",
    [
        "<script>alert(1)</script>",
        "</style></title></svg></table><b onclick=x>",
        "\"' onload='x' style=\"x",
        "&lt;b&gt;&amp;&#60;",
        "<!--",
        "]]>$title${body}",
    ],
)
def test_hostile_text_stays_text(mark: str) -> None:
    """Whatever the report holds, the page has the same tags, and shows every text as it is."""
    hostile, texts = marked_report(mark)
    harmless, _ = marked_report("Plain")
    parsed = Parsed(page(hostile))
    said = f"{parsed.text} {[one.get('aria-label') for one in parsed.named('svg')]}"
    assert parsed.shape == Parsed(page(harmless)).shape
    assert len(texts) > 40
    folded = said.lower()
    assert [text for text in texts if " ".join(text.split()).lower() not in folded] == []


def test_characters_that_steer_are_left_out() -> None:
    """Direction, controls and lone surrogates would change how a reader's screen shows the rest."""
    html = page(data(tenant="de\u202emo\x00\x1b[1m\ud800\u2028"))
    assert "demo[1m" in html
    assert html.encode()
    assert not re.search("[\x00\x1b\u202e\u2028]", html)


def test_the_headline_tells_messages_cost_and_segments() -> None:
    """The first sentence is what a launch is decided by; what it leaves out comes next."""
    text = read()
    assert (
        "95,777 of 100,000 rows would get a message, for at least 691.46 USD, in 131,072 segments."
        in text
    )
    assert "The cost leaves out 12,469 messages that the price table has no price for." in text
    assert "9,378 messages would expire before their turn comes." in text


def test_every_figure_is_on_the_page() -> None:
    """Counts have separators, money its currency and two decimals, shares a decimal."""
    text = read()
    for figure in (
        "Messages 95,777 95.8 % of 100,000 rows",
        "Segments 131,072 1.37 for each message",
        "Time to send 26 h 36 min 9,378 messages would expire",
        "Would get a message 95,777 95.8 %",
        "Invalid recipient 4,042 4.0 %",
        "4,042 rows (4.04 %) cannot be sent to; beyond 20 % nothing would be sent at all.",
        "The recipient is not a possible telephone number. invalid_recipient",
        "9,711 9,712 TO is not a number.",
        "83,308 messages would cost 691.46 USD.",
        "12,469 messages have no price in the table.",
        "United States US 83,308 87.0 % 691.46 USD",
        "Germany DE 12,400 12.9 % no price",
        "No country 69 < 0.1 % no price",
        "United States US 83,308 166,616 3 691.46 USD",
        "UCS-2: 60,000 texts, 63.2 %",
        "GSM-7: 35,000 texts, 36.8 %",
        "2 segments 30,000 31.6 %",
        "11 or more segments 5,000 5.3 %",
        "would save 2,345 segments (1.8 %)",
        "— U+2014 em dash 50,000 1,234 writes -",
        "李 U+674E cjk unified ideograph-674e 19,368 567 keeps it",
        "not seen U+200B zero width space 44 33 leaves it out",
        "not seen U+00A0 no-break space 43 32 a space",
        "+19085551212 takes 26 h 36 min for 95,777 segments at about 1 a second.",
        "+19085551212 95,700 95,777 about 1/s 26 h 36 min 9,378",
        "abcdef 77 78 not known not known 0",
        "numbering plan 47,107 49.2 % Outside it 48,670 50.8 %",
        "SMS and MMS 95,000 99.2 % WhatsApp 777 0.8 %",
        "29 November 2026 at 04:04 UTC",
        "Twilio's list price, in USD",
        "operator:tenant:demo:*",
        "48,670 numbers are possible but outside the numbering plan.",
    ):
        assert figure in text


def test_the_keys_of_json_make_the_same_page() -> None:
    """A report that was written as JSON has text where the counts by length have numbers."""
    lengths = {str(length): number for length, number in data()["segments_per_message"].items()}
    assert page(data(segments_per_message=lengths)) == page(data())


def test_a_job_that_would_stop_says_so_first() -> None:
    """The headline and a notice before all other parts tell that nothing would be sent, and why."""
    text = read(would_stop=STOP)
    assert "Nothing would be sent, though 95,777 of 100,000 rows could get a message." in text
    assert "30 % of the rows cannot be sent to." in text
    assert text.index("too_many_bad_rows") < text.index("Warnings")
    assert "Nothing would be sent" not in read()


def test_no_rows_is_a_short_page() -> None:
    """There is no chart of nothing."""
    parsed = Parsed(page(nothing()))
    assert "There are no rows, so nothing would be sent." in parsed.text
    assert not parsed.named("table")
    assert not parsed.named("svg")


def test_rows_of_which_none_can_be_sent_have_verdicts_alone() -> None:
    """Without a message there are no cost, no time and no segments."""
    text = Parsed(page(nothing(rows=3, verdicts={"opted_out": 3}))).text
    assert "None of 3 rows would get a message." in text
    assert "100.0 %" in text
    assert "As nothing would be sent, it costs nothing." in text
    assert "Senders" not in text


def test_a_cost_that_is_not_known_is_not_zero() -> None:
    """Where no message has a price, none is told."""
    cost = data()["cost"] | {"total": 0.0, "by_country": {}, "unpriced_messages": 95_777}
    text = read(cost=cost, countries=[country("DE", 95_777, None)])
    assert "95,777 of 100,000 rows would get a message, in 131,072 segments." in text
    assert "What it costs is not known" in text
    assert "0.00" not in text


def test_a_cost_that_is_known_whole_is_told_by_the_thousand_too() -> None:
    """Then it is no least."""
    text = read(cost=data()["cost"] | {"unpriced_messages": 0})
    assert "for 691.46 USD, in" in text
    assert "7.22 USD for 1,000 messages" in text
    assert "at least" not in text


def test_texts_without_a_costly_character_say_so() -> None:
    """An empty table would look like a fault."""
    assert "No text holds a character that GSM-7 lacks." in read(characters=[])


def test_messages_that_are_no_texts_have_no_lengths() -> None:
    """Media and other channels count as one segment each."""
    text = read(encodings={}, segments_per_message={}, characters=[], smart_encoding_saves=0)
    assert "No message is a plain SMS; each counts as one segment." in text


def test_a_pace_that_is_not_known_gives_no_time() -> None:
    """A Messaging Service's pace depends on its set-up."""
    text = read(senders=[sender("MG1", 95_777, 95_777, None, None, 0)], would_expire=0)
    assert "How long it takes is not known" in text
    assert "would expire before" not in text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (957.8, "15 min 57 s"), (95_777.0, "26 h 36 min"), (1e7, "115 days 17 h")],
)
def test_durations_are_words(seconds: float, words: str) -> None:
    """From seconds to days."""
    assert f"takes {words} for" in read(
        senders=[sender("+19085551212", 9, 9, 1.0, seconds, 0)], would_expire=0
    )


def test_countries_beyond_the_twelfth_are_added_up() -> None:
    """The chart stays short, and the table below has them all."""
    many = [country(f"{n:02}", 100, 1.0 if n < 20 else None) for n in range(60)]
    text = read(countries=many, sendable=6_000)
    assert "48 other countries" in text
    assert "at least 8.00 USD" in text
    assert "All 60 countries, with segments and media" in text
    assert all(f"{n:02} 100 200 3" in text for n in range(60))


def test_events_are_called_events() -> None:
    """A rehearsal of events has no rows."""
    text = read(kind="events", bad_limit_percent=None)
    assert "95,777 of 100,000 events would get a message" in text
    assert "beyond" not in text


def test_shares_never_round_to_none_or_all() -> None:
    """One row in ten million is not 0.0 %."""
    text = read(rows=10_000_000, verdicts={"accepted": 9_999_999, "opted_out": 1})
    assert "< 0.1 %" in text
    assert "> 99.9 %" in text


def luminance(colour: str) -> float:
    """Give the relative luminance of WCAG of ``#rgb`` or ``#rrggbb``."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Give the contrast of two colours, from 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_colours_have_the_contrast_of_wcag(mode: int) -> None:
    """4.5 for text on every ground that it stands on, 3 for bars and borders that mean something."""
    roots = re.findall(r":root \{(.*?)\}", page(data()), re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#\w+)", roots[mode]))
    grounds = ("paper", "tint", "alarm-tint", "warn-tint")
    texts = [("ink", *grounds), ("quiet", *grounds), ("alarm", "alarm-tint"), ("main", "paper")]
    assert len(roots) == 2
    for text, *under in texts:
        assert all(contrast(colours[text], colours[ground]) >= 4.5 for ground in under), text
    for shape in ("main", "second", "rest", "alarm", "warn"):
        assert contrast(colours[shape], colours["paper"]) >= 3, shape
