"""How fast the console's pages are among a million entries, and what open pages cost those who send."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench.accept import accepted
from bench.child import Child, bench_module, free_port
from bench.curve import Curve, quantiles
from bench.figure import Figure
from bench.ledger_fill import guid_of, load
from bench.ledger_search import LARGE, number_of, searched
from bench.plan import Plan
from bench.product import Installation
from bench.send import rate, wait_until_all
from bench.visitor import Visitor, command, let_in

CALLS = 20
OPEN_PAGES = 5
"""Start pages that are open at one time: one refreshes itself each second."""
_GOAL = "< 200 ms"


def bench_console(folder: Path, plan: Plan) -> list[Figure | Curve]:
    """Take all figures of the console."""
    curves = _pages(folder / "pages", plan.ledger_sizes[-1])
    return [*curves, *_polling(folder, plan)]


def _pages(folder: Path, size: int) -> list[Curve]:
    """Time each page of a ledger of many entries, first after the server's start and then again."""
    product = Installation(folder, free_port())
    let_in(product.ledger)
    begin = datetime.now(UTC)
    load(product.ledger, searched(size, begin), begin)
    some = size // 3
    asked: dict[str, tuple[str, str, dict[str, str] | None]] = {
        "start page": ("GET", "", None),
        "start page, 7 days": ("GET", "?range=week", None),
        "its refresh": ("GET", "/now", None),
        "newest messages": ("GET", "/messages", None),
        "search by number": ("POST", "/messages", {"find": number_of(some)}),
        "search by identity": ("POST", "/messages", {"find": f"{some % 300_000:08}"}),
        "search, nothing found": ("POST", "/messages", {"find": "+12015559999"}),
        "failed messages": ("GET", "/messages?status=failed", None),
        "messages of a task": ("GET", "/messages?task=TSK_RARE", None),
        "one message": ("GET", f"/messages/{guid_of(some)}?tenant={LARGE}", None),
    }
    with product.server() as server:
        assert server.port is not None
        visitor = Visitor(server.port)
        times = {name: [visitor.timed(*one) for _ in range(CALLS)] for name, one in asked.items()}
    return [
        Curve(
            name=f"console: {name}",
            unit="ms",
            sizes=(size,),
            values=(quantiles(taken),),
            goal=_GOAL,
        )
        for name, taken in times.items()
    ]


def _polling(folder: Path, plan: Plan) -> Iterator[Figure]:
    """Accept and send with and without open pages, in turn."""
    alone: dict[str, list[float]] = {"accepting": [], "sending": []}
    watched: dict[str, list[float]] = {"accepting": [], "sending": []}
    for turn in range(plan.accept_rounds):
        for found, pages in ((alone, 0), (watched, OPEN_PAGES)):
            place = folder / f"{turn}-{pages}"
            found["accepting"].append(_accepting(place / "accept", plan, pages))
            found["sending"].append(_sending(place / "send", plan, pages))
        print(
            f"  round {turn + 1}: "
            + ", ".join(
                f"{name} {watched[name][-1]:,.0f}/s of {alone[name][-1]:,.0f}/s" for name in alone
            ),
            file=sys.stderr,
        )
    for name in alone:
        yield Figure(
            name=f"{name} with {OPEN_PAGES} start pages open",
            unit="/s",
            product=tuple(watched[name]),
            reference=tuple(alone[name]),
            goal=">= 95 %",
        )
        print(f"  {name}: {median(watched[name]) / median(alone[name]):.1%}", file=sys.stderr)


def _accepting(folder: Path, plan: Plan, pages: int) -> float:
    product = Installation(folder, free_port())
    let_in(product.ledger)
    with product.server() as server, _open_pages(server, pages):
        accepted(server, count=plan.warm_up)
        return accepted(server, seconds=plan.accept_seconds).per_second


def _sending(folder: Path, plan: Plan, pages: int) -> float:
    """Send a backlog beside a server whose pages are open."""
    folder.mkdir(parents=True)
    port = free_port()
    product = Installation(folder / "product", port)
    let_in(product.ledger)
    with product.server() as server:
        accepted(server, count=plan.send_messages)
    stub = Child("stub", bench_module("stub", "--port", port), folder, port=port)
    with (
        stub,
        product.server() as server,
        _open_pages(server, pages),
        product.worker() as worker,
    ):
        return rate(wait_until_all(port, plan.send_messages, worker))


@contextmanager
def _open_pages(server: Child, pages: int) -> Iterator[None]:
    """Keep start pages open; without any nobody visits."""
    if not pages:
        yield
        return
    assert server.port is not None
    process = subprocess.Popen(command(server.port, pages))
    try:
        time.sleep(2)  # everybody has signed in
        yield
    finally:
        process.terminate()
        process.wait()
