"""``preview``: what a creative would send."""

from __future__ import annotations

import argparse
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

from ci360_twilio.core.creative import Problem, parse_creative
from ci360_twilio.core.message import Message, compose
from ci360_twilio.core.segments import Segments, count_segments
from ci360_twilio.core.tenant import Tenant, parse_tenant_id
from ci360_twilio.edge.cli.screen import print_json, printable
from ci360_twilio.edge.cli.send import read_input
from ci360_twilio.errors import SettingsError
from ci360_twilio.settings import Settings, read_settings
from ci360_twilio.wiring import make_tenants


def add_preview(command: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Declare ``preview``."""
    command.add_argument(
        "creative", metavar="FILE", help="the creative's text; - for standard input"
    )
    command.add_argument("--json", action="store_true", help="print it as JSON")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="fill the merge tag {{NAME}}; may be given several times",
    )
    command.add_argument(
        "--attribute",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an attribute of the custom task, such as to=+19085551212",
    )
    command.add_argument("--tenant", help="use this tenant's default sender, region and checks")
    command.epilog = "Ends with 0 if the message could be sent, with 1 if not."
    return _preview


def _preview(options: argparse.Namespace) -> int:
    try:
        text = read_input(options.creative).decode()
    except UnicodeDecodeError as exc:
        raise SettingsError(f"{options.creative} is not text in UTF-8.") from exc
    settings = read_settings()
    for name, value in _pairs(options.set):
        tag = re.compile(r"\{\{\s*" + re.escape(name) + r"\s*\}\}")
        text = value.join(tag.split(text))
    attributes = {name.lower(): value for name, value in _pairs(options.attribute)}
    message, problems = compose(
        parse_creative(text),
        attributes,
        _tenant(options.tenant, settings),
        default_sender=settings.default_sender,
        names=settings.attribute_names,
        warn=True,
    )
    message = message or Message(to="", sender="")
    counted = count_segments(message.body)
    shown = _shown(message, problems, counted)
    if options.json:
        print_json(shown)
    else:
        _print(shown, counted)
    return 1 if shown["problems"] else 0


def _tenant(name: str | None, settings: Settings) -> Tenant:
    if name is not None:
        return make_tenants(settings).get(parse_tenant_id(name))
    return Tenant(id=parse_tenant_id("preview"), messages_url="", account="", user="", password="")


def _pairs(options: list[str]) -> list[tuple[str, str]]:
    if wrong := [option for option in options if "=" not in option]:
        raise SettingsError(f"{printable(wrong[0])!r} is not NAME=VALUE.")
    return [
        (name.strip(), value) for name, _, value in (option.partition("=") for option in options)
    ]


def _shown(message: Message, problems: tuple[Problem, ...], counted: Segments) -> dict[str, Any]:
    def listed(*, error: bool) -> list[dict[str, Any]]:
        return [
            {"code": problem.code, "message": problem.message, "line": problem.line}
            for problem in problems
            if problem.error is error
        ]

    return {
        "to": message.to or None,
        "from": message.sender or None,
        "body": message.body,
        "media_urls": list(message.media_urls),
        "encoding": str(counted.encoding),
        "segments": counted.count if message.body else 0,
        "characters": counted.characters,
        "problems": listed(error=True),
        "warnings": listed(error=False),
    }


def _print(shown: dict[str, Any], counted: Segments) -> None:
    print(f"To        {printable(shown['to']) or '-'}")
    print(f"From      {printable(shown['from']) or '-'}")
    for url in shown["media_urls"]:
        print(f"Media     {printable(url)}")
    print(f"Text      {shown['characters']} characters, {shown['encoding']}, ", end="")
    print(f"{shown['segments']} segment{'' if shown['segments'] == 1 else 's'}\n")
    for line in str(shown["body"]).split("\n"):
        print(f"  | {printable(line)}")
    print()
    for hint in _hints(counted):
        print(f"Hint: {hint}")
    for kind in ("problems", "warnings"):
        for problem in shown[kind]:
            where = f"line {problem['line']}: " if problem["line"] else ""
            print(f"{kind[:-1].capitalize()}: {where}{problem['message']}")
    print("This would be sent." if not shown["problems"] else "This would be refused.")


def _hints(counted: Segments) -> Iterator[str]:
    """Say which characters cost, and what would cost less."""
    if counted.ucs2_characters:
        listed = ", ".join(_named(found.character) for found in counted.ucs2_characters[:5])
        more = len(counted.ucs2_characters) - 5
        yield f"Not in GSM-7, so that a segment holds 70 instead of 160 characters: {listed}" + (
            f" and {more} more" if more > 0 else ""
        )
    if counted.saving > 0:
        swaps = ", ".join(
            f"{_named(swap.character)} by {swap.replacement!r}" for swap in counted.replacements[:5]
        )
        words = f"{counted.smart_count} instead of {counted.count} segments"
        yield f"Smart Encoding in Twilio, or replacing by hand ({swaps}), makes it {words}"


def _named(character: str) -> str:
    name = unicodedata.name(character, "unnamed").lower()
    return f"{printable(character)} (U+{ord(character):04X} {name})"
