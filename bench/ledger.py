"""What a large SQLite ledger costs: the same operations among ever more entries."""

import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bench.child import ROOT, BenchFailed, bench_module, free_port, own_environment
from bench.curve import Curve, quantiles
from bench.figure import Figure
from bench.ledger_fill import fill, guid_of
from bench.ledger_round import Worked
from bench.plan import Plan
from bench.product import Installation, command

_LONGEST_SECONDS = 900.0
_FLAT = "flat"
_GOALS = {
    "trace: open, find by guid, close": "< 50 ms",
    "claim of 32 due": _FLAT,
    "claim of 32 from a queue": _FLAT,
    "claim behind a queue without budget": _FLAT,
    "sweep of what expired": _FLAT,
}


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One ledger; times in seconds, but those of the commands in milliseconds."""

    size: int
    megabytes: float
    filled: float
    worked: Worked
    trace: list[float]
    start: list[float]


def bench_ledger(folder: Path, plan: Plan) -> list[Figure | Curve]:
    """Measure one ledger after the other, the smallest first."""
    ledgers = [_measure(folder / str(size), size, plan) for size in plan.ledger_sizes]
    largest = ledgers[-1]
    figures: list[Figure | Curve] = []
    for name, value, unit in (
        ("made in", largest.filled, "s"),
        ("file", largest.megabytes, "MB"),
    ):
        about = f"ledger of {largest.size:,} entries, {name}"
        figures.append(Figure(name=about, unit=unit, product=(value,)))
    figures.append(
        Figure(
            name=f"trace, whole process, {largest.size:,} entries; of --version",
            unit="ms",
            product=tuple(largest.trace),
            reference=tuple(largest.start),
        )
    )
    return [*figures, *_curves(ledgers)]


def _curves(ledgers: list[Measured]) -> list[Curve]:
    sizes = tuple(one.size for one in ledgers)
    curves = [
        Curve(
            name=name,
            unit="ms",
            sizes=sizes,
            values=tuple(quantiles(one.worked.calls[name]) for one in ledgers),
            goal=_GOALS.get(name, ""),
        )
        for name in ledgers[0].worked.calls
    ]
    memory = tuple((one.worked.ended / 1024, one.worked.opened / 1024) for one in ledgers)
    commands = tuple(quantiles(one.trace) for one in ledgers)
    return [
        *curves,
        Curve(name="trace, whole process", unit="ms", sizes=sizes, values=commands),
        Curve(
            name="memory, at the end / opened", unit="MiB", sizes=sizes, values=memory, goal=_FLAT
        ),
    ]


def _measure(folder: Path, size: int, plan: Plan) -> Measured:
    """Fill a ledger, look into it with the command, then work on it in a process of its own."""
    product = Installation(folder, free_port())
    begin = datetime.now(UTC).replace(microsecond=0)
    began = time.perf_counter()
    fill(product.ledger, size, begin)
    filled = time.perf_counter() - began
    megabytes = product.ledger.stat().st_size / 1e6
    print(f"  {size:,} entries: {megabytes:,.0f} MB, made in {filled:,.0f} s", file=sys.stderr)
    pairs = [_commands(product, size, turn) for turn in range(plan.trace_runs + 1)][1:]
    return Measured(
        size=size,
        megabytes=megabytes,
        filled=filled,
        worked=_work(product.ledger, size, begin),
        trace=[trace for trace, _ in pairs],
        start=[start for _, start in pairs],
    )


def _commands(product: Installation, size: int, turn: int) -> tuple[float, float]:
    """Time ``trace`` of one entry, and a start of the command that does next to nothing."""
    guid = guid_of(size // 5 + turn)
    return _run(product, ["trace", guid]), _run(product, ["--version"])


def _run(product: Installation, arguments: list[str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(
        [*command(), *arguments],
        cwd=product.folder,
        env=product.environment(),
        capture_output=True,
        text=True,
        timeout=_LONGEST_SECONDS,
        check=False,
    )
    took = (time.perf_counter() - began) * 1000
    if done.returncode:
        raise BenchFailed(f"{arguments[0]} ended with {done.returncode}: {done.stderr[-500:]}")
    return took


def _work(ledger: Path, size: int, begin: datetime) -> Worked:
    arguments = ("--ledger", ledger, "--entries", size, "--begin", begin.isoformat())
    done = subprocess.run(
        bench_module("ledger_round", *arguments),
        cwd=ROOT,
        env=own_environment(ledger.parent),
        capture_output=True,
        timeout=_LONGEST_SECONDS,
        check=False,
    )
    if done.returncode:
        raise BenchFailed(f"work on {size:,} entries failed: {done.stderr.decode()[-500:]}")
    return msgspec.json.decode(done.stdout, type=Worked)
