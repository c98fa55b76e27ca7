"""How long the rehearsal takes in which everything goes wrong: ``ci360-twilio chaos``."""

import subprocess
import sys
import time
from pathlib import Path

import msgspec

from bench.child import BenchFailed, own_environment
from bench.figure import Figure
from bench.plan import Plan
from bench.proc import children_cpu_seconds
from bench.product import command

_LONGEST_SECONDS = 900.0


class Played(msgspec.Struct, frozen=True, kw_only=True):
    """One campaign, as a whole process, in seconds."""

    wall: float
    cpu: float


def bench_chaos(folder: Path, plan: Plan) -> list[Figure]:
    """Play one campaign after the other, each from a seed of its own."""
    played: list[Played] = []
    for seed in range(plan.chaos_rounds):
        played.append(_play(folder, seed, plan.chaos_messages))
        print(f"  seed {seed}: {played[-1].wall:,.1f} s", file=sys.stderr)
    walls, cpus = tuple(one.wall for one in played), tuple(one.cpu for one in played)
    name = f"chaos of {plan.chaos_messages:,} events"
    # the goal is of 10,000; a shorter play is held to its share
    goal = f"<= {120 * plan.chaos_messages / 10_000:,.0f} s"
    return [
        Figure(name=f"{name}, wall time", unit="s", product=walls, goal=goal),
        Figure(name="  processor time", unit="s", product=cpus),
        Figure(
            name="  processor time per event",
            unit="us",
            product=tuple(cpu / plan.chaos_messages * 1e6 for cpu in cpus),
        ),
    ]


def _play(folder: Path, seed: int, messages: int) -> Played:
    words = [*command(), "chaos", "--seed", str(seed), "--messages", str(messages)]
    before, began = children_cpu_seconds(), time.perf_counter()
    done = subprocess.run(
        words,
        cwd=folder,
        env=own_environment(folder),
        capture_output=True,
        text=True,
        timeout=_LONGEST_SECONDS,
        check=False,
    )
    wall, cpu = time.perf_counter() - began, children_cpu_seconds() - before
    if done.returncode:
        raise BenchFailed(
            f"chaos ended with {done.returncode}: {(done.stdout + done.stderr)[-800:]}"
        )
    return Played(wall=wall, cpu=cpu)
