"""How fast CI360 is told: of a backlog, one by one and in files, and while outcomes come."""

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bench.accept import accepted
from bench.child import BenchFailed, Child, bench_module, free_port
from bench.figure import Figure
from bench.load import measure, record
from bench.plan import Plan
from bench.proc import cpu_seconds_of
from bench.product import HASH_KEY, Installation
from bench.send import LATENCY_MS, Sent, rate, wait_until_all
from bench.webhook_requests import PUBLIC_URL, callbacks_of, send_accepted
from ci360_twilio.core.entry import Fact, Kind
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.stores.sqlite import SqliteStore
from ci360_twilio.wiring import REPORTS_AT_ONCE

OFFERED = 500.0
LIMIT = REPORTS_AT_ONCE * 1000 / LATENCY_MS


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Outcomes that came at a pace: how fast they were told, and how long after the last one."""

    per_second: float
    behind: float
    """Seconds from the last callback's answer until CI360 had acknowledged everything."""


def bench_reports(folder: Path, plan: Plan) -> list[Figure]:
    """Take all figures of the report verb; CI360 answers after 100 ms."""
    alone: list[Sent] = []
    files: list[Sent] = []
    paces: list[Pace] = []
    for turn in range(plan.report_rounds):
        place = folder / f"turn{turn}"
        alone.append(_backlog(place / "alone", plan, threshold=0))
        files.append(_backlog(place / "files", plan, threshold=1_000))
        paces.append(_pace(place / "pace", plan))
        print(
            f"  round {turn + 1}: one by one {alone[-1].per_second:,.0f}/s, in files"
            f" {files[-1].per_second:,.0f}/s, {OFFERED:,.0f}/s coming: told"
            f" {paces[-1].behind:.1f} s after the last",
            file=sys.stderr,
        )
    return [
        Figure(
            name="reports one by one, 100 ms, of the limit",
            unit="/s",
            product=tuple(one.per_second for one in alone),
            reference=(LIMIT,),
            goal=">= 500/s",
        ),
        Figure(name="  worker CPU for one", unit="us", product=tuple(one.cpu_us for one in alone)),
        Figure(
            name="reports in files, 100 ms",
            unit="/s",
            product=tuple(one.per_second for one in files),
        ),
        Figure(name="  worker CPU for one", unit="us", product=tuple(one.cpu_us for one in files)),
        Figure(
            name=f"reports while {OFFERED:,.0f} outcomes/s come",
            unit="/s",
            product=tuple(one.per_second for one in paces),
            reference=(OFFERED,),
            goal="about 100 %",
        ),
        Figure(
            name="  all are told after the last",
            unit="s",
            product=tuple(one.behind for one in paces),
        ),
    ]


@contextmanager
def _stub(folder: Path, name: str, port: int, latency: float = 0.0) -> Iterator[Child]:
    command = bench_module(name, "--port", port, "--latency-ms", latency)
    with Child(name, command, folder, port=port) as stub:
        yield stub


def _backlog(folder: Path, plan: Plan, *, threshold: int) -> Sent:
    """Have many messages delivered, then let the worker tell of them."""
    folder.mkdir(parents=True)
    port, ci360 = free_port(), free_port()
    product = _installation(folder, port, ci360, ci360_bulk_threshold=threshold)
    count = plan.report_outcomes
    with product.server() as server, closing(_store(product)) as store:
        accepted(server, count=count)
        now = datetime.now(UTC)
        facts = [
            (
                entry.key,
                Fact(
                    kind=Kind.DELIVERED,
                    at=now,
                    receipt=Receipt(sid=entry.sid or "", status="delivered"),
                ),
            )
            for entry in send_accepted(store, count)
        ]
        for start in range(0, count, 500):
            store.record_many(facts[start : start + 500])
    with (
        _stub(folder, "stub", port),
        _stub(folder, "ci360_stub", ci360, LATENCY_MS),
        product.worker() as worker,
    ):
        seen = wait_until_all(ci360, count, worker)
        spent = cpu_seconds_of(worker.pid)
    return Sent(per_second=rate(seen), cpu_us=spent / seen.count * 1e6)


def _pace(folder: Path, plan: Plan) -> Pace:
    """Have Twilio tell of deliveries at a pace, and CI360 told of them meanwhile."""
    folder.mkdir()
    port, ci360 = free_port(), free_port()
    product = _installation(folder, port, ci360)
    count = int(OFFERED * plan.report_seconds)
    with product.server() as server, closing(_store(product)) as store:
        accepted(server, count=count)
        requests = callbacks_of(send_accepted(store, count), "delivered")
    file = folder / "callbacks.msgpack"
    record(requests, file)
    with (
        _stub(folder, "stub", port),
        _stub(folder, "ci360_stub", ci360, LATENCY_MS),
        product.server(worker=True) as server,
    ):
        if server.port is None:
            raise BenchFailed(f"{server.name} has no port")
        load = measure(server.port, recorded=file, rate=OFFERED)
        if not load.only(204) or load.requests != count:
            raise server.failed(f"answered {load.statuses}, {load.broken} broken")
        seen = wait_until_all(ci360, count, server)
    return Pace(per_second=rate(seen), behind=max(seen.last - load.ended, 0.0))


def _installation(folder: Path, port: int, ci360: int, **members: object) -> Installation:
    return Installation(
        folder / "product", port, public_url=PUBLIC_URL, ci360_port=ci360, **members
    )


def _store(product: Installation) -> SqliteStore:
    return SqliteStore(product.ledger, hash_key=HASH_KEY)
