"""A rehearsal as one self-contained HTML page.

It is written for the one who launches the campaign and may be mailed to others: one file without script
or anything fetched, so that it shows the same everywhere. Whatever comes from the report is text, and
stays text; see :func:`_text`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from html import escape
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from phonenumbers.geodata.locale import LOCALE_DATA

from ci360_twilio.core.segments import CAPACITIES, Encoding
from ci360_twilio.edge.cli.asking import counted
from ci360_twilio.edge.cli.jobs import span
from ci360_twilio.edge.cli.screen import printable
from ci360_twilio.flow.tally import NOWHERE

SHOWN_COUNTRIES = 12
"""Countries with a bar of their own."""
SHOWN_LENGTHS = 10
"""The most segments of a message that have a bar of their own."""

Data = dict[str, Any]


def page(report: Data) -> str:
    """Give the page of a report; see :class:`ci360_twilio.flow.rehearse.Report`.

    Args:
        report: as built-in values; the keys of ``segments_per_message`` may be text, as in JSON.
    """
    template = Template(_TEMPLATE.read_text(encoding="utf-8"))
    return template.substitute(
        title=f"Rehearsal for {_text(report['tenant'])}",
        head=_head(report),
        body="\n".join(_parts(report)),
        foot=_about(report),
    )


_TEMPLATE = Path(__file__).with_suffix(".html")


def _parts(report: Data) -> Iterator[str]:
    if report["would_stop"]:
        yield _stop(report["would_stop"])
    if report["warnings"]:
        yield _warnings(report["warnings"])
    if report["rows"]:
        yield _verdicts(report)
    if report["sendable"]:
        yield _cost(report)
        yield _segments(report)
        yield _characters(report)
        yield _senders(report)
        yield _numbers(report)
    elif report["rows"]:
        yield _part("Cost and segments", "", _none("As nothing would be sent, it costs nothing."))


# What stands on top


def _head(report: Data) -> str:
    lines = [
        f'<p class="over">Rehearsal for {_text(report["tenant"])}, {_text(_day(report["made_at"]))}</p>',
        f"<h1>{_headline(report)}</h1>",
    ]
    if lede := " ".join(_lede(report)):
        lines.append(f'<p class="lede">{lede}</p>')
    if report["sendable"]:
        lines.append(_figures(report))
    return "\n".join(lines)


def _headline(report: Data) -> str:
    rows, sendable = report["rows"], report["sendable"]
    if not rows:
        return f"There are no {_rows(report)}, so nothing would be sent."
    if not sendable:
        return f"None of {counted(rows, _row(report))} would get a message."
    among = f"{sendable:,} of {counted(rows, _row(report))}"
    if report["would_stop"]:
        return f"Nothing would be sent, though {among} could get a message."
    price = f", for {_total(report)}" if _is_priced(report) else ""
    return f"{among} would get a message{price}, in {counted(report['segments'], 'segment')}."


def _lede(report: Data) -> Iterator[str]:
    unpriced, late = report["cost"]["unpriced_messages"], report["would_expire"]
    if not report["sendable"]:
        return
    if not _is_priced(report):
        yield "What it costs is not known: the price table has no price for these messages."
    elif unpriced:
        yield f"The cost leaves out {counted(unpriced)} that the price table has no price for."
    if late:
        yield f"{counted(late)} would expire before their turn comes."


def _figures(report: Data) -> str:
    sendable, segments = report["sendable"], report["segments"]
    share = f"{_percent(sendable, report['rows'])} of {counted(report['rows'], _row(report))}"
    figures = [
        ("Messages", f"{sendable:,}", share),
        ("Cost", *_cost_figure(report)),
        ("Segments", f"{segments:,}", f"{segments / sendable:.2f} for each message"),
        ("Time to send", *_time_figure(report)),
    ]
    return _tag("dl", "figures", map(_figure, figures))


def _figure(figure: tuple[str, str, str]) -> str:
    name, big, small = figure
    return f'<div><dt>{name}</dt><dd class="big">{big}</dd><dd class="small">{small}</dd></div>'


def _cost_figure(report: Data) -> tuple[str, str]:
    cost = report["cost"]
    if not _is_priced(report):
        return "not known", "there is no price for these"
    if cost["unpriced_messages"]:
        words = f"at least; without {counted(cost['unpriced_messages'])}"
    else:
        words = f"{_price(cost['total'] * 1000 / report['sendable'], cost)} for 1,000 messages"
    unit = f'<span class="unit">{_text(cost["currency"])}</span>'
    return f"{cost['total']:,.2f} {unit}", words


def _time_figure(report: Data) -> tuple[str, str]:
    known = [one["seconds"] for one in report["senders"] if one["seconds"] is not None]
    if not known:
        return "not known", "it depends on how the sender is set up"
    many = len(report["senders"])
    words = "from one sender" if many == 1 else f"for the slowest of {counted(many, 'sender')}"
    if report["would_expire"]:
        words = f"{counted(report['would_expire'])} would expire"
    elif len(known) < many:
        words = f"at least; not known for {counted(many - len(known), 'sender')}"
    return _span(max(known)), words


# The parts


def _stop(stop: dict[str, str]) -> str:
    return (
        '<section class="notice" aria-labelledby="stop"><h2 id="stop">Nothing would be sent</h2>'
        f"<p>{_text(stop['message'])}</p>"
        f'<p class="note">The reason is <code>{_text(stop["reason"])}</code>.</p></section>'
    )


def _warnings(warnings: Sequence[str]) -> str:
    lines = (f"<li>{_text(words)}</li>" for words in warnings)
    return _part("Warnings", "", _tag("ul", "warnings", lines))


def _verdicts(report: Data) -> str:
    row, rows = _row(report), _rows(report)
    title = f"What becomes of the {rows}"
    bars = [
        _Bar(
            _text(_verdict(verdict)),
            number,
            (_percent(number, report["rows"]),),
            "main" if verdict == "accepted" else "second",
        )
        for verdict, number in report["verdicts"].items()
    ]
    heads = ("Verdict", rows.capitalize(), "Share")
    body = [_bars(f"{rows.capitalize()} by verdict", heads, bars), _bad(report)]
    if report["reasons"]:
        body.append(_tag("div", "", (_reason(one, row) for one in report["reasons"])))
    return _part(title, f"{counted(report['rows'], row)}, each with one verdict.", *body)


def _bad(report: Data) -> str:
    limit = report["bad_limit_percent"]
    words = (
        f"{counted(report['bad'], _row(report))} ({report['bad_percent']:g} %) cannot be sent to"
    )
    if limit is not None:
        words += f"; beyond {limit:g} % nothing would be sent at all"
    return _note(f"{words}.")


def _reason(reason: Data, row: str) -> str:
    name = _verdict(reason["verdict"])
    number = f'<span class="count">{counted(reason["rows"], row)}</span>'
    lines = [
        f"<h3>{_text(name)} {number}</h3>",
        f"<p>{_text(reason['words'])} <code>{_text(reason['verdict'])}</code></p>",
    ]
    if reason["examples"]:
        cells = [
            (f"{one['row']:,}", f"{one['line']:,}", _text(one["words"]))
            for one in reason["examples"]
        ]
        heads = (row.capitalize(), "Line", "What was found")
        lines.append(_table(f"Examples: {name}", heads, cells, numbers=()))
    return _tag("div", "reason", lines)


def _cost(report: Data) -> str:
    cost, countries = report["cost"], report["countries"]
    bars = [_country_bar(report, one) for one in countries[:SHOWN_COUNTRIES]]
    if others := countries[SHOWN_COUNTRIES:]:
        bars.append(_other_bar(report, others))
    number = counted(len(countries), "country", "countries")
    table = _table(
        "Every country",
        ("Country", "Messages", "Segments", "With media", "Cost"),
        [
            (
                _country(one["country"]),
                *(f"{one[key]:,}" for key in ("messages", "segments", "media_messages")),
                _price(one["cost"], cost),
            )
            for one in countries
        ],
        numbers=(1, 2, 3, 4),
    )
    return _part(
        "Cost and countries",
        f"Prices: {_text(cost['prices'])}.",
        f"<p>{_cost_words(report)}</p>",
        _bars("Messages by country", ("Country", "Messages", "Share", "Cost"), bars),
        f"<details><summary>All {number}, with segments and media</summary>"
        f"{_scroll('Every country', table)}</details>",
    )


def _country_bar(report: Data, one: Data) -> _Bar:
    share = _percent(one["messages"], report["sendable"])
    return _Bar(
        _country(one["country"]), one["messages"], (share, _price(one["cost"], report["cost"]))
    )


def _other_bar(report: Data, others: Sequence[Data]) -> _Bar:
    """Add up the countries that have no bar of their own."""
    messages = sum(one["messages"] for one in others)
    priced = [one["cost"] for one in others if one["cost"] is not None]
    price = _price(sum(priced) if priced else None, report["cost"])
    if 0 < len(priced) < len(others):
        price = f"at least {price}"
    name = counted(len(others), "other country", "other countries")
    return _Bar(name, messages, (_percent(messages, report["sendable"]), price), "rest")


def _country(code: str) -> str:
    """Give a country's name with its two letters."""
    if code == NOWHERE:
        return "No country"
    name = _country_name(code)
    tag = f'<span class="tag">{_text(code)}</span>'
    return f"{_text(name)} {tag}" if name else _text(code)


def _country_name(code: str) -> str | None:
    """Look a name up where ``phonenumbers`` keeps it: ``*`` and a language is short for that one's."""
    names = LOCALE_DATA.get(code, {})
    name: str | None = names.get("en")
    return names.get(name[1:]) if name and name.startswith("*") else name


def _cost_words(report: Data) -> str:
    cost, words = report["cost"], ""
    if _is_priced(report):
        priced = counted(report["sendable"] - cost["unpriced_messages"])
        words = f"{priced} would cost {_text(_money(cost['total'], cost))}. "
    if cost["unpriced_messages"]:
        is_one = cost["unpriced_messages"] == 1
        words += (
            f"{counted(cost['unpriced_messages'])} {'has' if is_one else 'have'} no price in the"
            ' table. With <code class="option">--prices</code> you give one with the prices of your'
            " contract."
        )
    return words.strip()


def _segments(report: Data) -> str:
    encodings, lengths = report["encodings"], report["segments_per_message"]
    if not lengths:
        return _part(
            "Segments", "", _none("No message is a plain SMS; each counts as one segment.")
        )
    gsm, ucs = CAPACITIES[Encoding.GSM_7].alone, CAPACITIES[Encoding.UCS_2].alone
    saved = report["smart_encoding_saves"]
    share = f" ({_percent(saved, report['segments'])})" if saved else ""
    words = f"<strong>{counted(saved, 'segment')}</strong>{share}" if saved else "no segment"
    return _part(
        "Segments",
        f"Texts are paid by segment: {gsm} characters of GSM-7 fit one, or {ucs} of UCS-2.",
        _shares(encodings),
        _bars("Messages by length", ("Length", "Messages", "Share"), _length_bars(lengths)),
        f"<p>Smart Encoding of the Messaging Service would save {words}.</p>",
    )


def _shares(encodings: dict[str, int]) -> str:
    """Draw how many texts are in each encoding as one bar of two colours, with its legend."""
    total, start = sum(encodings.values()), 0.0
    rects, legend, said = [], [], []
    for name, number in encodings.items():
        kind = "main" if name == Encoding.GSM_7 else "second"
        width = number * 100 / total if total else 0.0
        rects.append(f'<rect class="{kind}" x="{start:.3f}%" width="{width:.3f}%" height="100%"/>')
        start += width
        words = f"{_text(name)}: {counted(number, 'text')}, {_percent(number, total)}"
        said.append(words)
        legend.append(f'<li><span class="key {kind}"></span>{words}</li>')
    return (
        f'<div class="share"><svg role="img" aria-label="{"; ".join(said)}">{"".join(rects)}</svg>'
        f"<ul>{''.join(legend)}</ul></div>"
    )


def _length_bars(lengths: dict[Any, int]) -> list[_Bar]:
    counts: dict[int, int] = {}
    for length, number in lengths.items():
        place = min(int(length), SHOWN_LENGTHS + 1)
        counts[place] = counts.get(place, 0) + number
    total = sum(counts.values())
    return [
        _Bar(
            counted(place, "segment") if place <= SHOWN_LENGTHS else f"{place} or more segments",
            number,
            (_percent(number, total),),
        )
        for place, number in sorted(counts.items())
    ]


def _characters(report: Data) -> str:
    title = "Characters that cost most"
    if not report["characters"]:
        return _part(title, "", _none("No text holds a character that GSM-7 lacks."))
    table = _table(
        title,
        ("Character", "Code point", "Name", "Messages", "More segments", "Smart Encoding"),
        [_character(one) for one in report["characters"]],
        numbers=(3, 4),
    )
    return _part(
        title,
        "One of these is enough to turn a whole text to UCS-2, so that less fits a segment.",
        _scroll(title, table),
    )


def _character(one: Data) -> tuple[str, ...]:
    shown = _text(one["character"]).strip()
    replacement = one["replacement"]
    if replacement is None:
        instead = '<span class="none">keeps it</span>'
    elif not replacement:
        instead = "leaves it out"
    elif replacement.isspace():
        instead = "a space" if len(replacement) == 1 else f"{len(replacement)} spaces"
    else:
        instead = f"writes <code>{_text(replacement)}</code>"
    return (
        f'<span class="glyph">{shown}</span>' if shown else '<span class="none">not seen</span>',
        _text(one["code_point"]),
        _text(one["name"]),
        f"{one['messages']:,}",
        f"{one['segments_more']:,}",
        instead,
    )


def _senders(report: Data) -> str:
    table = _table(
        "Senders",
        ("Sender", "Messages", "Segments", "Rate", "Takes", "Would expire"),
        [_sender(one) for one in report["senders"]],
        numbers=(1, 2, 3, 4, 5),
    )
    return _part(
        "Senders and time",
        "How long each takes, alone at its work. What waits longer than its time to live expires.",
        f"<p>{_time_words(report)}</p>",
        _scroll("Senders", table),
    )


def _time_words(report: Data) -> str:
    known = [one for one in report["senders"] if one["seconds"] is not None]
    late = report["would_expire"]
    words = "How long it takes is not known: it depends on how the sender is set up at Twilio."
    if known:
        slowest = max(known, key=lambda one: float(one["seconds"]))
        words = (
            f"{_text(slowest['sender'])} takes <strong>{_span(slowest['seconds'])}</strong> for"
            f" {counted(slowest['segments'], 'segment')} at {_rate(slowest)}."
        )
    if late:
        return f"{words} <strong>{counted(late)}</strong> would expire before their turn comes."
    return f"{words} No message would expire." if len(known) == len(report["senders"]) else words


def _sender(one: Data) -> tuple[str, ...]:
    unknown = '<span class="none">not known</span>'
    return (
        f'<span class="wide">{_text(one["sender"])}</span>',
        f"{one['messages']:,}",
        f"{one['segments']:,}",
        unknown if one["segments_per_second"] is None else _rate(one, "/s"),
        unknown if one["seconds"] is None else _span(one["seconds"]),
        f"{one['would_expire']:,}",
    )


def _rate(one: Data, unit: str = " a second") -> str:
    return f"{'' if one['paced'] else 'about '}{one['segments_per_second']:,g}{unit}"


def _numbers(report: Data) -> str:
    total, numbers = report["sendable"], report["numbers"]
    named = (
        ("In their country’s numbering plan", numbers["valid"], "main"),
        ("Outside it", numbers["outside_numbering_plan"], "second"),
    )
    plan = [_Bar(name, number, (_percent(number, total),), kind) for name, number, kind in named]
    channels = [
        _Bar(_text(_CHANNELS.get(name, name)), number, (_percent(number, total),))
        for name, number in report["channels"].items()
    ]
    return _part(
        "Numbers and channels",
        "Twilio may refuse numbers outside the numbering plan of their country.",
        _bars("Messages by number", ("Number", "Messages", "Share"), plan),
        _bars("Messages by channel", ("Channel", "Messages", "Share"), channels),
    )


_CHANNELS = {"sms": "SMS and MMS", "whatsapp": "WhatsApp", "rcs": "RCS", "messenger": "Messenger"}


def _about(report: Data) -> str:
    facts = [
        ("Made", _moment(report["made_at"])),
        ("For tenant", report["tenant"]),
        ("Of", _KINDS.get(report["kind"], report["kind"])),
        ("Prices", f"{report['cost']['prices']}, in {report['cost']['currency']}"),
    ]
    if report["pauses"]:
        facts.append(("Paused then", ", ".join(report["pauses"])))
    lines = (f"<dt>{name}</dt><dd>{_text(words)}</dd>" for name, words in facts)
    return _part(
        "About this rehearsal",
        "Nothing was sent and nothing was written.",
        _tag("dl", "facts", lines),
    )


_KINDS = {"audience": "an audience and a creative", "bulk": "a bulk task", "events": "events"}


# How things are written


def _row(report: Data) -> str:
    return "event" if report["kind"] == "events" else "row"


def _rows(report: Data) -> str:
    return f"{_row(report)}s"


def _verdict(name: str) -> str:
    if name == "accepted":
        return "Would get a message"
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def _percent(part: int, whole: int) -> str:
    """Give a share; one that is not none or all is never written as such."""
    share = part * 100 / whole if whole else 0.0
    if 0 < share < 0.1:
        return "&lt;\u202f0.1\u00a0%"
    if 99.9 < share < 100:
        return "&gt;\u202f99.9\u00a0%"
    return f"{share:.1f}\u00a0%"


def _is_priced(report: Data) -> bool:
    """Tell whether any message has a price."""
    return bool(report["cost"]["unpriced_messages"] < report["sendable"])


def _total(report: Data) -> str:
    cost = report["cost"]
    least = "at least " if cost["unpriced_messages"] else ""
    return f"{least}{_text(_money(cost['total'], cost))}"


def _money(amount: float, cost: Data) -> str:
    return f"{amount:,.2f} {cost['currency']}"


def _price(amount: float | None, cost: Data) -> str:
    return (
        '<span class="none">no\u00a0price</span>' if amount is None else _text(_money(amount, cost))
    )


def _span(seconds: float) -> str:
    """Say how long something takes; more than three days in days."""
    if seconds < 3 * 86_400:
        return span(timedelta(seconds=seconds))
    days, rest = divmod(int(seconds), 86_400)
    return f"{days:,} days {rest // 3600} h"


def _time(value: str) -> datetime | None:
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except ValueError:
        return None


def _day(value: str) -> str:
    time = _time(value)
    return f"{time.day} {time:%B %Y}" if time else value


def _moment(value: str) -> str:
    time = _time(value)
    return f"{_day(value)} at {time:%H:%M} UTC" if time else value


def _text(value: object) -> str:
    """Give a value as text of the page, or of an attribute in double quotes: nothing in it steers."""
    return escape(printable(value))


# What the page is made of; the words it is given are HTML, so :func:`_text` was there before


class _Bar(NamedTuple):
    """A line of a bar chart."""

    label: str
    number: int
    cells: tuple[str, ...] = ()
    """What stands behind the number."""
    kind: str = "main"
    """The class that colours it."""


def _bars(caption: str, heads: Sequence[str], bars: Sequence[_Bar]) -> str:
    """Draw a bar chart as a table with the numbers beside, which is its own alternative."""
    most = max((one.number for one in bars), default=0)
    rows = []
    for one in bars:
        width = max(one.number * 100 / most, 0.5) if one.number else 0.0
        rect = f'<rect class="{one.kind}" width="{width:.2f}%" height="100%" rx="2"/>'
        svg = f'<svg aria-hidden="true" focusable="false">{rect}</svg>'
        label = f'<div class="bar"><span>{one.label}</span>{svg}</div>'
        rows.append((label, f"{one.number:,}", *one.cells))
    return _table(caption, heads, rows, numbers=range(1, len(heads)), kind="bars")


def _table(
    caption: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: Iterable[int],
    kind: str = "",
) -> str:
    """Lay out rows under a head; the first cell of each names it.

    Args:
        caption: what the table shows, for those who hear it; unlike all else, not yet HTML.
        heads: of the columns.
        rows: their cells.
        numbers: the columns that are set to the right.
        kind: the table's class.
    """
    right = dict.fromkeys(numbers, ' class="number"')
    lines = [f'<table class="{kind}">' if kind else "<table>"]
    lines.append(f'<caption class="unseen">{_text(caption)}</caption>')
    columns = (f'<th scope="col"{right.get(at, "")}>{name}</th>' for at, name in enumerate(heads))
    lines.append(f"<thead><tr>{''.join(columns)}</tr></thead>")
    lines.append("<tbody>")
    for first, *others in rows:
        cells = (f"<td{right.get(at, '')}>{cell}</td>" for at, cell in enumerate(others, 1))
        lines.append(f'<tr><th scope="row">{first}</th>{"".join(cells)}</tr>')
    lines.append("</tbody></table>")
    return "\n".join(lines)


def _scroll(name: str, table: str) -> str:
    """Put a wide table in a box of its own, which a keyboard can scroll, too."""
    return f'<div class="scroll" role="region" aria-label="{name}" tabindex="0">{table}</div>'


def _part(title: str, aside: str, *body: str) -> str:
    below = f'<p class="aside">{aside}</p>' if aside else ""
    content = "\n".join(filter(None, body))
    return (
        f'<section class="part"><div><h2>{title}</h2>{below}</div>\n'
        f'<div class="body">\n{content}\n</div></section>'
    )


def _tag(name: str, kind: str, lines: Iterable[str]) -> str:
    attribute = f' class="{kind}"' if kind else ""
    return "\n".join((f"<{name}{attribute}>", *lines, f"</{name}>"))


def _note(words: str) -> str:
    return f'<p class="note">{words}</p>'


def _none(words: str) -> str:
    return f'<p class="none">{words}</p>'
