"""How fast Twilio's status callbacks are settled, beside how fast events are accepted."""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import msgspec

from bench.accept import Round, accepted, closed_loop
from bench.callback_requests import PUBLIC_URL, requests_of, send_accepted
from bench.child import BenchFailed, Child, free_port
from bench.figure import Figure
from bench.load import LoadResult, measure, record
from bench.plan import Plan
from bench.proc import cpu_seconds_of
from bench.product import Installation
from ci360_twilio.core.entry import Entry, Status
from ci360_twilio.stores.sqlite import SqliteStore


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One server: events, then callbacks, then both at once."""

    events: Round
    callbacks: Round
    events_beside: LoadResult
    callbacks_beside: LoadResult


def bench_callbacks(folder: Path, plan: Plan) -> list[Figure]:
    """Take all figures of the settle verb; each server's own accept rate is the reference."""
    turns: list[Turn] = []
    for number in range(plan.callback_rounds):
        turns.append(_turn(folder / f"turn{number}", plan))
        print(
            f"  round {number + 1}: accepted {turns[-1].events.load.per_second:,.0f}/s,"
            f" settled {turns[-1].callbacks.load.per_second:,.0f}/s",
            file=sys.stderr,
        )
    pace = f"{plan.paced_rate:,.0f}/s"
    return [
        _pair("status callbacks, of accepted events", "/s", turns, _rate, ">= 50 %"),
        _pair("server CPU per callback, of an event", "us", turns, lambda one: one.cpu_us),
        _pair("callback p50, of an event", "ms", turns, lambda one: one.load.p50_ms),
        _pair("callback p99, of an event", "ms", turns, lambda one: one.load.p99_ms),
        Figure(
            name=f"accept p99 beside callbacks, {pace}",
            unit="ms",
            product=tuple(turn.events_beside.p99_ms for turn in turns),
            goal="<= 50 ms",
        ),
        Figure(
            name="  callbacks settled meanwhile",
            unit="/s",
            product=tuple(turn.callbacks_beside.per_second for turn in turns),
        ),
    ]


def _rate(one: Round) -> float:
    return one.load.per_second


def _pair(
    name: str, unit: str, turns: Sequence[Turn], value: Callable[[Round], float], goal: str = ""
) -> Figure:
    return Figure(
        name=name,
        unit=unit,
        product=tuple(value(turn.callbacks) for turn in turns),
        reference=tuple(value(turn.events) for turn in turns),
        goal=goal,
    )


def _turn(folder: Path, plan: Plan) -> Turn:
    product = Installation(folder, free_port(), public_url=PUBLIC_URL)
    with product.server() as server, closing(_store(product)) as store:
        events = closed_loop(server, plan)
        sent = send_accepted(store, plan.callback_messages)
        callbacks = _settled(server, folder, sent)
        _check(store, sent, Status.DELIVERED)
        beside = _beside_events(server, folder, sent, callbacks.load.per_second, plan)
        _check(store, sent, Status.READ)
    events_beside, callbacks_beside = beside
    return Turn(
        events=events,
        callbacks=callbacks,
        events_beside=events_beside,
        callbacks_beside=callbacks_beside,
    )


def _store(product: Installation) -> SqliteStore:
    return SqliteStore(product.ledger, hash_key=b"of no worth: nothing is purged")


def _settled(server: Child, folder: Path, sent: Sequence[Entry]) -> Round:
    """Post that each message was sent, then that each was delivered; every one of them is news."""
    requests = requests_of(sent, "sent") + requests_of(sent, "delivered")
    before = cpu_seconds_of(server.pid)
    load = _posted(server, folder, requests)
    spent = cpu_seconds_of(server.pid) - before
    return Round(load=load, cpu_us=spent / load.requests * 1e6)


def _beside_events(
    server: Child, folder: Path, sent: Sequence[Entry], rate: float, plan: Plan
) -> tuple[LoadResult, LoadResult]:
    """Post as fast as can be that each message was read, while events come at a fixed pace."""
    requests = requests_of(sent, "read")
    seconds = len(requests) / rate
    with ThreadPoolExecutor(1) as beside:
        events = beside.submit(accepted, server, seconds=seconds, rate=plan.paced_rate)
        callbacks = _posted(server, folder, requests)
        return events.result(), callbacks


def _posted(server: Child, folder: Path, requests: Sequence[bytes]) -> LoadResult:
    """Post callbacks; a figure counts only if every one of them was taken."""
    if server.port is None:
        raise BenchFailed(f"{server.name} has no port")
    file = folder / "callbacks.msgpack"
    record(requests, file)
    result = measure(server.port, recorded=file)
    if not result.only(204) or result.requests != len(requests):
        words = f"answered {result.statuses}, {result.broken} broken, where 204 was expected"
        raise server.failed(words)
    return result


def _check(store: SqliteStore, sent: Sequence[Entry], status: Status) -> None:
    """See that the callbacks did what they say."""
    now = [entry and entry.status for entry in store.get_many([entry.key for entry in sent])]
    if other := {one for one in now if one is not status}:
        raise BenchFailed(f"callbacks left entries {', '.join(map(str, other))}, not {status}")
