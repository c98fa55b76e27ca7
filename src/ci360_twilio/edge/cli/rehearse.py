"""``rehearse``: what a campaign would do and cost."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from ci360_twilio.core.event import MAX_BYTES
from ci360_twilio.core.prices import LIST_PRICES, Prices, parse_prices
from ci360_twilio.edge.cli.asking import counted
from ci360_twilio.edge.cli.given import tenant_named
from ci360_twilio.edge.cli.jobs import span
from ci360_twilio.edge.cli.screen import new_file, print_json, printable, table
from ci360_twilio.edge.cli.send import read_input
from ci360_twilio.edge.rehearsal import Asked, rehearse_audience, rehearse_bulk, rehearse_events
from ci360_twilio.errors import SettingsError
from ci360_twilio.flow.rehearse import Report
from ci360_twilio.settings import read_settings

Run = Callable[[argparse.Namespace], int]

WIDTH = 30
"""Of the longest bar, in characters."""


def add_rehearse(command: argparse.ArgumentParser) -> Run:
    """Declare ``rehearse``."""
    command.add_argument("--tenant", help="whose campaign it is")
    command.add_argument(
        "--creative", metavar="FILE", help="a creative with {{merge tags}}; - for standard input"
    )
    command.add_argument(
        "--audience", metavar="FILE.csv", type=Path, help="customers; the first line names columns"
    )
    command.add_argument("--bulk", metavar="BODY.json", help="instead: a bulk task of CI360's")
    command.add_argument("--events", metavar="FILE.jsonl", help="instead: an event on every line")
    command.add_argument(
        "--prices", metavar="FILE.csv", type=Path, help="a price table: country,sms,mms,currency"
    )
    command.add_argument(
        "--no-ledger",
        action="store_true",
        help="do not ask the ledger who has opted out and what was sent",
    )
    command.add_argument("--json", action="store_true", help="print it as JSON")
    command.add_argument(
        "--html", metavar="FILE", type=Path, help="write it as a page, too, into a new file"
    )
    command.add_argument(
        "--progress", action="store_true", help="tell on standard error how many rows were counted"
    )
    command.epilog = (
        "Nothing is sent and nothing is written, whatever it finds; ends with 0 whenever there is "
        "a report."
    )
    return _rehearse


def _rehearse(options: argparse.Namespace) -> int:
    asked = Asked(
        settings=read_settings(),
        tenant_id=tenant_named(options.tenant),
        prices=_prices(options.prices),
        with_ledger=not options.no_ledger,
        progress=_progress_of(options),
    )
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda signum, _: sys.exit(128 + signum))  # temporary files go then
    report = _rehearsed(options, asked)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    if options.html is not None:
        from ci360_twilio.edge.rehearsal_page import page

        with new_file(options.html) as file:
            file.write(page(msgspec.to_builtins(report)))
    if options.json:
        print_json(msgspec.to_builtins(report, str_keys=True))
    else:
        _print(report)
        if options.html is not None:
            print(f"\nThe page is {options.html}.")
    return 0


def _rehearsed(options: argparse.Namespace, asked: Asked) -> Report:
    given = [name for name in ("audience", "bulk", "events") if getattr(options, name) is not None]
    if len(given) != 1:
        raise SettingsError(
            "Say what is rehearsed: --audience with --creative, --bulk or --events."
        )
    if (options.creative is not None) is not (given == ["audience"]):
        raise SettingsError("--creative and --audience belong together.")
    if options.bulk is not None:
        return rehearse_bulk(asked, read_input(options.bulk))
    if options.events is not None:
        return rehearse_events(asked, _lines(options.events))
    try:
        creative = read_input(options.creative).decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise SettingsError(f"{options.creative} is not text in UTF-8.") from exc
    if not options.audience.is_file():
        raise SettingsError(f"{options.audience} is not there, or is no file.")
    return rehearse_audience(asked, creative, options.audience)


def _lines(name: str) -> Iterator[bytes]:
    try:
        with nullcontext(sys.stdin.buffer) if name == "-" else Path(name).open("rb") as file:
            while line := file.readline(MAX_BYTES + 2):
                while not line.endswith(b"\n") and (more := file.readline(MAX_BYTES)):
                    line = line[:MAX_BYTES] + b" " + more[-1:]  # it is too large, however large
                yield line
    except OSError as exc:
        raise SettingsError(f"{name} cannot be read: {exc.strerror}.") from exc


def _prices(path: Path | None) -> Prices:
    if path is None:
        return LIST_PRICES
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return parse_prices(file, path.name)
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{path} cannot be read as a price table.") from exc


def _progress_of(options: argparse.Namespace) -> Callable[[int], None]:
    """Choose how progress is told: over and over on one line of a terminal, or line by line."""
    if sys.stderr.isatty():
        return lambda rows: print(f"\r{rows:,} rows", end="", file=sys.stderr, flush=True)
    if options.progress:
        return lambda rows: print(rows, file=sys.stderr, flush=True)
    return lambda _: None


def _print(report: Report) -> None:
    title = f"{counted(report.rows, 'row')}, of which {report.sendable:,} would get a message"
    print(f"Rehearsal for tenant {report.tenant}: {title}.")
    if report.would_stop:
        print(f"\nNOTHING WOULD BE SENT: {printable(report.would_stop['message'])}")
    print()
    print(_bars(report.verdicts))
    for reason in report.reasons:
        print(f"\n{reason['verdict']}: {printable(reason['words'])}")
        for one in reason["examples"]:
            print(f"  row {one['row']:,}, line {one['line']:,}: {printable(one['words'])}")
    if report.sendable:
        _print_sendable(report)
    for warning in report.warnings:
        print(f"\nWarning: {printable(warning)}")


def _print_sendable(report: Report) -> None:
    cost = report.cost
    mean = report.segments / report.sendable
    print(f"\nSegments   {report.segments:,}, {mean:.2f} for each message", end="")
    print(f" ({', '.join(f'{n:,} in {name}' for name, n in report.encodings.items())})")
    if report.smart_encoding_saves:
        print(f"           Smart Encoding would save {report.smart_encoding_saves:,} of them")
    print(f"Cost       {cost['total']:,.2f} {cost['currency']} ({printable(cost['prices'])})")
    if cost["unpriced_messages"]:
        words = counted(cost["unpriced_messages"])
        print(f"           without {words} that the table has no price for; see --prices")
    print()
    countries = [
        (
            one["country"],
            f"{one['messages']:,}",
            f"{one['segments']:,}",
            f"{one['media_messages']:,}",
            "-" if one["cost"] is None else f"{one['cost']:,.2f}",
        )
        for one in report.countries
    ]
    print(table(("COUNTRY", "MESSAGES", "SEGMENTS", "MEDIA", "COST"), countries))
    print()
    senders = [_sender(one) for one in report.senders]
    print(table(("SENDER", "MESSAGES", "SEGMENTS", "RATE", "TAKES", "EXPIRE"), senders))
    if report.characters:
        print("\nCharacters that make a text UCS-2, with 70 instead of 160 characters a segment:")
        characters = [_character(one) for one in report.characters]
        print(table(("CHARACTER", "NAME", "MESSAGES", "MORE SEGMENTS", "REPLACE BY"), characters))


def _sender(one: dict[str, Any]) -> tuple[str, ...]:
    rate = one["segments_per_second"]
    about = "" if one["paced"] else "about "
    return (
        one["sender"],
        f"{one['messages']:,}",
        f"{one['segments']:,}",
        "-" if rate is None else f"{about}{rate:g}/s",
        "-" if one["seconds"] is None else span(timedelta(seconds=one["seconds"])),
        f"{one['would_expire']:,}",
    )


def _character(one: dict[str, Any]) -> tuple[str, ...]:
    replacement = one["replacement"]
    return (
        f"{printable(one['character'])} {one['code_point']}",
        one["name"],
        f"{one['messages']:,}",
        f"{one['segments_more']:,}",
        "-" if replacement is None else repr(replacement),
    )


def _bars(counts: dict[str, int]) -> str:
    most = max(counts.values(), default=1)
    rows = [
        (name, f"{number:,}", "#" * max(round(number * WIDTH / most), 1) if number else "")
        for name, number in counts.items()
    ]
    return table(("VERDICT", "ROWS", ""), rows)
