"""``send``: one event from a file, through all gates, sent now."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ci360_twilio.core.entry import Status
from ci360_twilio.edge.cli.screen import print_json, printable
from ci360_twilio.edge.cli.serve import make_log
from ci360_twilio.edge.http import respond
from ci360_twilio.edge.now import send_now
from ci360_twilio.errors import SettingsError
from ci360_twilio.flow.accept import Accepted, Ignored
from ci360_twilio.flow.arrival import Arrival
from ci360_twilio.settings import read_settings
from ci360_twilio.wiring import wire

_HAPPY = frozenset({Status.SENT, Status.DELIVERED, Status.READ})


def add_send(command: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Declare ``send``."""
    command.add_argument(
        "event", metavar="EVENT.json", help="the body CI360 posts; - for standard input"
    )
    command.add_argument("--json", action="store_true", help="print the answer as JSON")
    command.add_argument(
        "--wait", type=float, default=60.0, help="seconds to wait for an outcome (%(default)s)"
    )
    command.epilog = "Ends with 0 if the message was sent, else with 1."
    return _send


def read_input(name: str) -> bytes:
    """Read a file, or standard input for ``-``."""
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as exc:
        raise SettingsError(f"{printable(name)} cannot be read: {exc.strerror}.") from exc


def _send(options: argparse.Namespace) -> int:
    body = read_input(options.event)
    settings = read_settings()
    parts = wire(settings, make_log(settings, "send"), trips=False)
    try:
        # whoever may read the tenants' documents may send for them
        answer = parts.acceptance.accept_many([Arrival(body=body, trusted=True)])[0]
        if isinstance(answer, Accepted):
            entry = send_now(parts, answer.entry, time.monotonic() + options.wait)
            answer = Accepted(entry=entry, duplicate=answer.duplicate)
    finally:
        parts.close()
    if options.json:
        print_json(json.loads(respond(answer, "send").body))
    elif isinstance(answer, Accepted):
        again = " (the event was known)" if answer.duplicate else ""
        reason = f": {answer.entry.reason}" if answer.entry.reason else ""
        print(f"{answer.entry.status}{printable(reason)}{again}")
        for field, words in answer.entry.problems:
            print(f"  {field}: {printable(words)}")
    elif isinstance(answer, Ignored):
        print(f"ignored: {answer.reason}")
    else:
        raise answer
    return 0 if isinstance(answer, Accepted) and answer.entry.status in _HAPPY else 1
