"""Run the benches and print their figures: ``python -m bench [NAME]``.

Figures are shown, never asserted: the exit code is 1 only where one could not be taken.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from bench.accept import bench_accept
from bench.billed import bench_billed
from bench.bulk import bench_bulk
from bench.chaos import bench_chaos
from bench.child import BenchFailed
from bench.cold import bench_cold
from bench.consent import bench_consent
from bench.console import bench_console
from bench.curve import Curve, curve_table
from bench.figure import Figure, table
from bench.ledger import bench_ledger
from bench.ledger_search import bench_search
from bench.machine import Machine, this_machine
from bench.plan import Plan, quick_plan
from bench.reports import bench_reports
from bench.send import bench_send
from bench.webhooks import bench_webhooks

Taken = list[Figure | Curve]
Bench = Callable[[Path, Plan], Sequence[Figure | Curve]]

BENCHES: dict[str, Bench] = {
    "accept": bench_accept,
    "webhooks": bench_webhooks,
    "send": bench_send,
    "reports": bench_reports,
    "consent": bench_consent,
    "bulk": bench_bulk,
    "cold": bench_cold,
    "billed": bench_billed,
    "ledger": bench_ledger,
    "search": bench_search,
    "console": bench_console,
    "chaos": bench_chaos,
}
_QUIET_LOAD = 0.5


def main() -> int:
    """Take the figures that were asked for."""
    options = _options()
    plan = quick_plan(imports=options.imports) if options.quick else Plan(imports=options.imports)
    machine = this_machine()
    if machine.load > _QUIET_LOAD:
        print(f"The machine is not quiet: its load average is {machine.load}.", file=sys.stderr)
    figures: dict[str, Taken] = {}
    failures: dict[str, str] = {}
    for name in BENCHES if options.bench == "all" else (options.bench,):
        print(f"{name} ...", file=sys.stderr)
        try:
            figures[name] = _in_own_folder(BENCHES[name], plan)
        except (BenchFailed, OSError, subprocess.SubprocessError, msgspec.MsgspecError) as exc:
            failures[name] = str(exc)
            print(f"{name} failed: {exc}", file=sys.stderr)
    _print(machine, figures, failures)
    if options.json:
        options.json.write_bytes(_record(machine, figures, failures))
    return 1 if failures else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("bench", nargs="?", default="all", choices=(*BENCHES, "all"))
    parser.add_argument("--quick", action="store_true", help="few and short rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rounds to FILE too")
    parser.add_argument("--imports", action="store_true", help="cold: print where import time goes")
    return parser.parse_args()


def _in_own_folder(bench: Bench, plan: Plan) -> Taken:
    with tempfile.TemporaryDirectory(prefix="ci360-twilio-bench-") as folder:
        return list(bench(Path(folder), plan))


def _print(machine: Machine, figures: dict[str, Taken], failures: dict[str, str]) -> None:
    print(f"{machine.cores} cores, {machine.cpu}, {machine.python}, {machine.kernel}")
    print(f"load average {machine.load} at the start, {os.getloadavg()[0]:.2f} at the end\n")
    taken = [one for group in figures.values() for one in group]
    if simple := [one for one in taken if isinstance(one, Figure)]:
        print(table(simple))
    if curves := [one for one in taken if isinstance(one, Curve)]:
        for sizes in dict.fromkeys(one.sizes for one in curves):
            print(f"\n{curve_table([one for one in curves if one.sizes == sizes])}")
    for name in failures:
        print(f"{name}: no figures, see above")


def _record(machine: Machine, figures: dict[str, Taken], failures: dict[str, str]) -> bytes:
    record = {
        "machine": msgspec.structs.asdict(machine),
        "figures": {name: [one.as_record() for one in group] for name, group in figures.items()},
        "failures": failures,
    }
    return msgspec.json.format(msgspec.json.encode(record)) + b"\n"


if __name__ == "__main__":
    sys.exit(main())
