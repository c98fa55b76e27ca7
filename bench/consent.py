"""How fast a list of wishes is taken over, and that its length costs no memory."""

import random
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from bench.child import BenchFailed, free_port, last_lines
from bench.event import TENANT
from bench.figure import Figure
from bench.plan import Plan
from bench.proc import peak_of
from bench.product import Installation, command

_OUT = 0.9
"""The share of rows that say that somebody must not be written to."""


_NUMBERS = 8_000_000
_SCRAMBLE = 4_999_999
"""Shares no factor with how many numbers there are, so that none comes twice."""


class Import(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the command: its time, and its memory at the most."""

    seconds: float
    mebibytes: float


def bench_consent(folder: Path, plan: Plan) -> list[Figure]:
    """Take all figures of ``consent import``; a file of either size goes into a ledger of its own."""
    figures: list[Figure] = []
    for rows in plan.import_rows:
        place = folder / str(rows)
        product = Installation(place, free_port())
        file = place / "list.csv"
        write_list(file, rows)
        first = _imported(product, file)
        again = _imported(product, file)
        print(
            f"  {rows:,} rows: {first.seconds:.1f} s, again {again.seconds:.1f} s", file=sys.stderr
        )
        goal = "< 60 s" if rows == 1_000_000 else ""
        figures += [
            _single(f"consent import, {rows:,} rows", "s", first.seconds, goal),
            _single("  memory at the most", "MiB", first.mebibytes),
            _single("  the same list again", "s", again.seconds),
            _single("  memory at the most", "MiB", again.mebibytes),
        ]
    return figures


def write_list(file: Path, rows: int) -> None:
    """Write a list with a wish of as many people, whose numbers are in no order."""
    chance = random.Random(rows)
    with file.open("w") as out:
        out.write("recipient,state,date\n")
        for row in range(rows):
            area, rest = divmod(row * _SCRAMBLE % _NUMBERS, 10_000)
            state = "out" if chance.random() < _OUT else "in"
            date = f"2026-{chance.randint(1, 9):02}-{chance.randint(1, 28):02}T10:00:00Z"
            out.write(f"+1{200 + area}555{rest:04},{state},{date}\n")


def _imported(product: Installation, file: Path) -> Import:
    """Run the command as a process of its own, and watch its memory."""
    whole = [*command(), "consent", "import", "--tenant", TENANT, str(file)]
    log = product.folder / "import.log"
    begun, peak = time.monotonic(), 0
    with log.open("ab") as out:
        process = subprocess.Popen(
            whole, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=product.environment()
        )
        while process.poll() is None:
            peak = max(peak, peak_of(process.pid))
            time.sleep(0.02)
    seconds = time.monotonic() - begun
    if process.returncode:
        words = f"ended with {process.returncode}; its last lines:\n{last_lines(log)}"
        raise BenchFailed(f"consent import {words}")
    return Import(seconds=seconds, mebibytes=peak / 1024)


def _single(name: str, unit: str, value: float, goal: str = "") -> Figure:
    return Figure(name=name, unit=unit, product=(value,), goal=goal)
