"""``phone``: a customer's phone in a terminal, on a running twin."""

from __future__ import annotations

import argparse
import http.client
import io
import json
import queue
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from ci360_twilio.core.message import parse_recipient
from ci360_twilio.edge.cli.screen import printable
from ci360_twilio.edge.cli.twin import ACCOUNT
from ci360_twilio.errors import SettingsError
from ci360_twilio.twin.loopback import names_loopback

EVERY = 0.5
"""Seconds between two looks for new messages."""


def add_phone(command: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Declare ``phone``."""
    command.add_argument("number", metavar="NUMBER", help="whose phone it is, as +12015550123")
    command.add_argument(
        "--twin", default="http://127.0.0.1:8365", help="where the twin listens (%(default)s)"
    )
    command.add_argument("--account", default=ACCOUNT, help="the twin's account (%(default)s)")
    command.add_argument("--to", default="", help="write to this number; to the last sender if not")
    command.epilog = (
        "Shows what arrives, as it arrives, and sends each line that you type: STOP, START, or any "
        "text. It belongs to a twin: use numbers that nobody has."
    )
    return _phone


def _phone(options: argparse.Namespace) -> int:
    phone = Phone(options.twin, options.account, options.number)
    shown = phone.new()
    print(f"This is the phone of {phone.number}. Type a text and Enter; Ctrl-D puts it away.")
    _show(shown)
    typed: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(typed,), daemon=True).start()
    ended = False
    while not ended:
        try:
            line = typed.get(timeout=EVERY)
            ended = line is None
            if line:
                print(phone.write(line, to=options.to), flush=True)
        except queue.Empty:
            pass
        _show(phone.new())
    return 0


def _read(typed: queue.SimpleQueue[str | None]) -> None:
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # a terminal may speak something else than we think
    for line in sys.stdin:
        typed.put(line.strip())
    typed.put(None)


def _show(messages: list[str]) -> None:
    for words in messages:
        print(words, flush=True)


class Phone:
    """One number of a twin's.

    Args:
        twin: the twin's address; on this machine only.
        account: whose messages are shown.
        number: whose phone it is.
    """

    def __init__(self, twin: str, account: str, number: str) -> None:
        recipient = parse_recipient(number)
        try:
            parts = urlsplit(twin)
            is_here = parts.scheme == "http" and names_loopback(parts.netloc) and parts.port != 0
        except ValueError:
            is_here = False
        if not is_here:
            raise SettingsError("A twin is on this machine: --twin http://127.0.0.1:8365")
        if recipient is None:
            raise SettingsError("That is no number; write it with its country, as +12015550123.")
        self._host = parts.netloc
        self._account = account
        self.number = recipient
        self._seen: set[str] = set()

    def new(self) -> list[str]:
        """Give what arrived since the last look, in words."""
        status, known = self._call("GET", "/twin/messages", None)
        if status != 200 or "messages" not in known:
            raise self._not_there()
        arrived = [message for message in known["messages"] if self._is_new(message)]
        self._seen |= {message["sid"] for message in arrived}
        return [_shown(message) for message in arrived]

    def _is_new(self, message: Mapping[str, Any]) -> bool:
        mine = (message["account"], message["to"]) == (self._account, self.number)
        arrived = message["status"] in ("delivered", "read", "sent")
        return mine and arrived and message["sid"] not in self._seen

    def write(self, text: str, *, to: str = "") -> str:
        """Send a text; gives what came of it, in words."""
        order = {"account": self._account, "from": self.number, "to": to, "body": text}
        status, said = self._call("POST", "/twin/letters", order)
        if status == 201:
            return f"  you -> {printable(said['to'])}: {printable(text)}"
        return f"  not sent: {printable(said.get('error', status))}"

    def _call(self, method: str, path: str, order: object) -> tuple[int, dict[str, Any]]:
        body = None if order is None else json.dumps(order)
        try:
            with closing(http.client.HTTPConnection(self._host, timeout=10)) as caller:
                caller.request(method, path, body)
                answer = caller.getresponse()
                said: dict[str, Any] = json.loads(answer.read() or b"{}")
                return answer.status, said
        except (OSError, http.client.HTTPException, ValueError) as exc:
            raise self._not_there() from exc

    def _not_there(self) -> SettingsError:
        words = f"No twin answers at http://{self._host}; start one with: ci360-twilio twin"
        return SettingsError(f"{words} --deliver")


def _shown(message: Mapping[str, Any]) -> str:
    media = "".join(f" [{url}]" for url in message["media"])
    at = str(message["at"])[11:19]
    return f"{at}  {printable(message['from'])}: {printable(message['body'] + media)}"
