"""What an instance of a function takes until its first message is on its way, in Lambda's emulator.

The emulator's own report of the first invocation counts: the start of Python, imports and the call.
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bench.child import BenchFailed
from bench.figure import Figure
from bench.lambdas import DIRECT, RECEIVE, SAMPLE, Lambdas
from bench.plan import Plan


def bench_cold(folder: Path, plan: Plan) -> list[Figure]:
    """Start each in turn; the first start of each writes byte code and does not count."""
    taken: dict[str, list[float]] = {one: [] for one in (SAMPLE, DIRECT, RECEIVE)}
    with Lambdas(folder) as world:
        for number in range(plan.cold_runs + 1):
            for handler, times in taken.items():
                with world.instance(handler) as instance:
                    instance.invoke(world.request())
                    [billed] = instance.billed()
                if number:
                    times.append(billed.ms)
        if plan.imports:
            for handler in (DIRECT, RECEIVE):
                _print_imports(handler)
    return [
        Figure(
            name=f"cold start in the emulator, {name}",
            unit="ms",
            product=tuple(taken[handler]),
            reference=tuple(taken[SAMPLE]),
            goal=goal,
        )
        for name, handler, goal in (
            ("direct", DIRECT, "<= 110 %"),
            ("receive", RECEIVE, "<= 120 %"),
        )
    ]


def _print_imports(handler: str) -> None:
    """Print which packages and modules a function spends its import time on, in this environment."""
    module = handler.rpartition(".")[0]
    command = [sys.executable, "-X", "importtime", "-c", f"import {module}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise BenchFailed(f"{module} cannot be imported")
    modules, packages = Counter[str](), Counter[str]()
    for name, own in import_times(done.stderr):
        modules[name] += own
        packages[name.partition(".")[0]] += own
    for title, counter in (("packages", packages), ("modules", modules)):
        print(f"  {module}, top 10 {title} (own time, of {counter.total() / 1000:.0f} ms):")
        for name, own in counter.most_common(10):
            print(f"    {own / 1000:7.1f} ms  {name}")


def import_times(text: str) -> Iterator[tuple[str, int]]:
    """Yield each module and its own microseconds from the words of ``-X importtime``."""
    for line in text.splitlines():
        label, _, rest = line.partition(":")
        own, *_, name = rest.split("|") if label == "import time" else ("", "")
        if own.strip().isdigit():
            yield name.strip(), int(own)
