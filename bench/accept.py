"""How fast events are accepted, how evenly, and what that costs in memory."""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import msgspec

from bench.child import READY_SECONDS, BenchFailed, Child, bench_module, free_port, get
from bench.figure import Figure
from bench.load import LoadResult, measure
from bench.plan import Plan
from bench.proc import Memory, cpu_seconds_of, memory_of
from bench.product import Installation, row_bytes
from bench.reference import ROW_BYTES
from bench.stub import Count


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One server under a closed loop; ``cpu_us`` is the server's processor time per event."""

    load: LoadResult
    cpu_us: float


def bench_accept(folder: Path, plan: Plan) -> list[Figure]:
    """Take all figures of the accept verb."""
    size = _probe_row_bytes(folder / "probe", plan)
    print(f"  a row of the product's ledger holds {size:,} bytes", file=sys.stderr)
    figures = _against_reference(folder, plan, size)
    figures += _while_sending(folder / "sending", plan)
    return figures + _memory(folder / "memory", plan)


def _probe_row_bytes(folder: Path, plan: Plan) -> int:
    """Let the product write some rows, and see how large they are."""
    product = Installation(folder, free_port())
    with product.server() as server:
        accepted(server, count=plan.warm_up)
    return row_bytes(product.ledger) or ROW_BYTES


def _against_reference(folder: Path, plan: Plan, size: int) -> list[Figure]:
    """Measure reference and product in turn; the least of servers shows the generator's own limit."""
    limits: list[float] = []
    ours: list[Round] = []
    theirs: list[Round] = []
    for turn in range(plan.accept_rounds):
        limits.append(_generator_limit(folder, plan))
        theirs.append(_reference_round(folder / f"reference{turn}", plan, size))
        ours.append(_product_round(folder / f"product{turn}", plan))
        print(
            f"  round {turn + 1}: generator {limits[-1]:,.0f}/s, reference"
            f" {theirs[-1].load.per_second:,.0f}/s, product {ours[-1].load.per_second:,.0f}/s",
            file=sys.stderr,
        )
    return [
        Figure(
            name="load generator, trivial server", unit="/s", product=tuple(limits), goal="> 25,000"
        ),
        _pair("accepted events", "/s", ours, theirs, lambda one: one.load.per_second, ">= 45 %"),
        _pair("server CPU per event", "us", ours, theirs, lambda one: one.cpu_us, ""),
        _pair("accept p50", "ms", ours, theirs, lambda one: one.load.p50_ms, ""),
        _pair("accept p99", "ms", ours, theirs, lambda one: one.load.p99_ms, "<= 50 ms"),
    ]


def _pair(
    name: str,
    unit: str,
    ours: Sequence[Round],
    theirs: Sequence[Round],
    value: Callable[[Round], float],
    goal: str,
) -> Figure:
    product, reference = tuple(map(value, ours)), tuple(map(value, theirs))
    return Figure(name=name, unit=unit, product=product, reference=reference, goal=goal)


def _generator_limit(folder: Path, plan: Plan) -> float:
    port = free_port()
    with Child("trivial", bench_module("trivial", port), folder, port=port):
        return measure(port, seconds=plan.accept_seconds / 2).per_second


def _reference_round(folder: Path, plan: Plan, size: int) -> Round:
    folder.mkdir()
    port = free_port()
    arguments = ("--port", port, "--ledger", folder / "ledger.db", "--row-bytes", size)
    command = bench_module("reference", *arguments)
    with Child("reference", command, folder, port=port) as server:
        return closed_loop(server, plan)


def _product_round(folder: Path, plan: Plan) -> Round:
    with Installation(folder, free_port()).server() as server:
        return closed_loop(server, plan)


def closed_loop(server: Child, plan: Plan) -> Round:
    """Post events as fast as they are answered, after some that do not count."""
    accepted(server, count=plan.warm_up)
    before = cpu_seconds_of(server.pid)
    load = accepted(server, seconds=plan.accept_seconds)
    spent = cpu_seconds_of(server.pid) - before
    return Round(load=load, cpu_us=spent / load.requests * 1e6)


def accepted(
    server: Child, *, count: int = 10_000_000, seconds: float = 300.0, rate: float = 0.0
) -> LoadResult:
    """Post events; a figure counts only if every one of them was accepted."""
    if server.port is None:
        raise BenchFailed(f"{server.name} has no port")
    result = measure(server.port, count=count, seconds=seconds, rate=rate)
    if not result.only(202):
        words = f"answered {result.statuses}, {result.broken} broken, where 202 was expected"
        raise server.failed(words)
    return result


def _while_sending(folder: Path, plan: Plan) -> list[Figure]:
    """Measure the server while its worker sends a backlog as fast as it can."""
    folder.mkdir()
    port = free_port()
    product = Installation(folder / "product", port)
    stub = Child("stub", bench_module("stub", "--port", port), folder, port=port)
    with product.server() as server:
        backlog = accepted(server, count=plan.send_messages)
    with stub, product.server(worker=True) as server:
        wait_until_sending(port, server)
        start = sent_at(port)
        closed = accepted(server, seconds=plan.accept_seconds)
        middle = sent_at(port)
        paced = accepted(server, seconds=plan.accept_seconds, rate=plan.paced_rate)
        end = sent_at(port)
    left = backlog.requests + closed.requests + paced.requests - end
    print(f"  messages still to be sent when the paced round ended: {left:,}", file=sys.stderr)
    pace = f"{plan.paced_rate:,.0f}/s"
    return [
        _single("accept p99 while sending", "ms", closed.p99_ms, "<= 50 ms"),
        _single("  events accepted meanwhile", "/s", closed.per_second),
        _single("  messages sent meanwhile", "/s", (middle - start) / closed.seconds),
        _single(f"accept p99 while sending, {pace}", "ms", paced.p99_ms, "<= 50 ms"),
        _single("  messages sent meanwhile", "/s", (end - middle) / paced.seconds),
    ]


def _single(name: str, unit: str, value: float, goal: str = "") -> Figure:
    return Figure(name=name, unit=unit, product=(value,), goal=goal)


def sent_at(stub_port: int) -> int:
    """Ask the stub for how many messages it was asked."""
    return msgspec.json.decode(get(stub_port, "/count"), type=Count).count


def wait_until_sending(stub_port: int, server: Child) -> None:
    """Wait until the worker, which starts beside the server, has sent something."""
    until = time.monotonic() + READY_SECONDS
    while not sent_at(stub_port):
        server.check_running()
        if time.monotonic() > until:
            raise server.failed("has a worker that sends nothing")
        time.sleep(0.05)


def _memory(folder: Path, plan: Plan) -> list[Figure]:
    """Sample the server's memory after each portion of many events."""
    portion = plan.memory_events // plan.memory_samples
    samples: list[tuple[int, Memory]] = []
    with Installation(folder, free_port()).server() as server:
        for turn in range(1, plan.memory_samples + 1):
            accepted(server, count=portion)
            samples.append((turn * portion, memory_of(server.pid)))
    resident = [(events / 1000, float(one.resident)) for events, one in samples]
    anonymous = [(events / 1000, float(one.anonymous)) for events, one in samples]
    half = len(samples) // 2
    return [
        _single(f"server memory after {samples[0][0]:,} events", "MiB", resident[0][1] / 1024),
        _single(f"server memory after {samples[-1][0]:,} events", "MiB", resident[-1][1] / 1024),
        _single("  median of the samples", "MiB", median(y for _, y in resident) / 1024),
        _single("  growth per 1,000 events, all", "KiB", slope(resident)),
        _single("  growth per 1,000 events, 2nd half", "KiB", slope(resident[half:])),
        _single("  the same, anonymous only", "KiB", slope(anonymous[half:]), "about 0"),
    ]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the least-squares slope of (x, y) points."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
