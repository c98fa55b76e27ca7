"""How fast the worker sends: against what latency allows, and against nothing at all."""

import sys
import time
from pathlib import Path

import msgspec

from bench.child import BenchFailed, Child, bench_module, free_port, get
from bench.figure import Figure
from bench.load import measure
from bench.plan import Plan
from bench.proc import cpu_seconds_of
from bench.product import Installation
from bench.stub import Count

CONNECTIONS = 100
LATENCY_MS = 100.0
LIMIT = CONNECTIONS * 1000 / LATENCY_MS
_STALL_SECONDS = 30.0
_LONGEST_SECONDS = 300.0


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """One backlog sent; ``cpu_us`` is the worker's processor time per message."""

    per_second: float
    cpu_us: float


def bench_send(folder: Path, plan: Plan) -> list[Figure]:
    """Take all figures of the send verb; a bare client shows what the stub itself can do."""
    bare: dict[float, list[float]] = {LATENCY_MS: [], 0.0: []}
    ours: dict[float, list[Sent]] = {LATENCY_MS: [], 0.0: []}
    for turn in range(plan.send_rounds):
        for latency in bare:
            place = folder / f"{latency:.0f}ms{turn}"
            place.mkdir()
            bare[latency].append(_bare_round(place, latency, plan))
            ours[latency].append(_worker_round(place, latency, plan))
            print(
                f"  round {turn + 1}, {latency:.0f} ms: bare client {bare[latency][-1]:,.0f}/s,"
                f" worker {ours[latency][-1].per_second:,.0f}/s",
                file=sys.stderr,
            )
    return _figures(bare, ours)


def _figures(bare: dict[float, list[float]], ours: dict[float, list[Sent]]) -> list[Figure]:
    slow, fast = (tuple(one.per_second for one in ours[latency]) for latency in (LATENCY_MS, 0.0))
    cpu = tuple(one.cpu_us for one in ours[0.0])
    name = f"messages sent, {LATENCY_MS:.0f} ms"
    client = tuple(bare[LATENCY_MS])
    return [
        Figure(
            name=f"{name}, of the limit",
            unit="/s",
            product=slow,
            reference=(LIMIT,),
            goal=">= 85 %",
        ),
        Figure(name=f"{name}, of a bare client", unit="/s", product=slow, reference=client),
        Figure(name="messages sent, 0 ms", unit="/s", product=fast, goal=">= 700"),
        Figure(name="  of a bare client", unit="/s", product=fast, reference=tuple(bare[0.0])),
        Figure(name="worker CPU per message, 0 ms", unit="us", product=cpu),
    ]


def _stub(folder: Path, latency: float) -> tuple[Child, int]:
    port = free_port()
    command = bench_module("stub", "--port", port, "--latency-ms", latency)
    return Child("stub", command, folder, port=port), port


def _bare_round(folder: Path, latency: float, plan: Plan) -> float:
    """Post the same number of forms with the load generator."""
    stub, port = _stub(folder, latency)
    with stub:
        measure(port, kind="form", connections=CONNECTIONS, count=plan.send_messages)
        return rate(_seen(port))


def _worker_round(folder: Path, latency: float, plan: Plan) -> Sent:
    """Fill a ledger over HTTP, then let the worker send it all."""
    stub, port = _stub(folder, latency)
    product = Installation(folder / "product", port)
    with product.server() as server:
        _preload(server, plan.send_messages)
    with stub, product.worker() as worker:
        seen = wait_until_all(port, plan.send_messages, worker)
        spent = cpu_seconds_of(worker.pid)
    return Sent(per_second=rate(seen), cpu_us=spent / seen.count * 1e6)


def _preload(server: Child, count: int) -> None:
    if server.port is None:
        raise BenchFailed(f"{server.name} has no port")
    result = measure(server.port, count=count)
    if not result.only(202) or result.requests != count:
        raise server.failed(
            f"answered {result.statuses}, {result.broken} broken, to {count} events"
        )


def wait_until_all(stub_port: int, count: int, worker: Child) -> Count:
    """Wait for the last request; one more than there should be is a failure, not a figure."""
    until, moved, before = time.monotonic() + _LONGEST_SECONDS, time.monotonic(), 0
    while (seen := _seen(stub_port)).answered < count:
        worker.check_running()
        now = time.monotonic()
        moved, before = (now, seen.count) if seen.count > before else (moved, before)
        if now > until or now - moved > _STALL_SECONDS:
            raise worker.failed(f"sent {seen.count} of {count} and no more")
        time.sleep(0.05)
    time.sleep(0.5)
    if (total := _seen(stub_port).count) != count:
        raise worker.failed(f"sent {total} where {count} were to be sent")
    return seen


def rate(seen: Count) -> float:
    """Return messages per second from the first request to the last answer."""
    return seen.answered / max(seen.last - seen.first, 1e-9)


def _seen(stub_port: int) -> Count:
    return msgspec.json.decode(get(stub_port, "/count"), type=Count)
