"""Somebody who has the console open: signs in, loads pages, and lets start pages refresh themselves."""

import argparse
import http.client
import re
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode

from bench.child import BenchFailed, bench_module
from ci360_twilio.core.person import Person, Role
from ci360_twilio.edge.console.accounts import Accounts

NAME, PASSWORD = "bench", "a password of no worth"
EVERY = 5.0
"""Seconds after which a start page refreshes itself."""
_CSRF = re.compile(r'name="csrf" value="([^"]+)"')


def let_in(ledger: Path) -> None:
    """Make the person who signs in, beside a ledger."""
    accounts = Accounts(ledger.with_name(f"{ledger.name}.people"))
    accounts.add(Person(name=NAME, role=Role.ADMINISTRATOR), PASSWORD)


class Visitor:
    """One browser, on one connection that is kept."""

    def __init__(self, port: int) -> None:
        """Sign in."""
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._cookie = ""
        self._csrf = ""
        self.ask("GET", "/sign-in")
        self.ask("POST", "/sign-in", {"name": NAME, "password": PASSWORD})

    def ask(self, method: str, path: str, form: dict[str, str] | None = None) -> str:
        """Load a page."""
        headers = {"Cookie": self._cookie, "Content-Type": "application/x-www-form-urlencoded"}
        body = urlencode({"csrf": self._csrf, **form}) if form is not None else None
        try:
            self._connection.request(method, f"/console{path}", body, headers)
            answer = self._connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError):  # it has rested for too long
            self._connection.close()
            self._connection.request(method, f"/console{path}", body, headers)
            answer = self._connection.getresponse()
        page = answer.read().decode()
        if answer.status not in (200, 303):
            raise BenchFailed(f"the console answered {answer.status} to {method} {path}")
        self._cookie = (answer.getheader("set-cookie") or self._cookie).partition(";")[0]
        found = _CSRF.search(page)
        self._csrf = found[1] if found else self._csrf
        return page

    def timed(self, method: str, path: str, form: dict[str, str] | None = None) -> float:
        """Load a page; gives how many milliseconds that took."""
        began = time.perf_counter()
        self.ask(method, path, form)
        return (time.perf_counter() - began) * 1000


def command(port: int, pages: int) -> list[str]:
    """Return the command of a process that keeps so many start pages open."""
    return bench_module("visitor", "--port", port, "--pages", pages)


def main(arguments: Sequence[str] | None = None) -> int:
    """Keep start pages open until it is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pages", type=int, required=True)
    options = parser.parse_args(arguments)
    threads = [
        threading.Thread(target=_stay, args=(options.port, EVERY * page / options.pages))
        for page in range(options.pages)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 0


def _stay(port: int, begin: float) -> None:
    visitor = Visitor(port)
    visitor.ask("GET", "")
    time.sleep(begin)
    while True:
        visitor.ask("GET", "/now")
        time.sleep(EVERY)


if __name__ == "__main__":
    sys.exit(main())
