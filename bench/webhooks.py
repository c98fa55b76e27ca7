"""How fast Twilio's webhooks are taken, beside how fast events are accepted.

Status callbacks settle what became of messages; texts are what customers answer.
"""

import sqlite3
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import msgspec

from bench.accept import Round, accepted, closed_loop, sent_at, wait_until_sending
from bench.child import BenchFailed, Child, bench_module, free_port
from bench.figure import Figure
from bench.load import LoadResult, measure, record
from bench.plan import Plan
from bench.proc import cpu_seconds_of
from bench.product import HASH_KEY, Installation
from bench.webhook_requests import PUBLIC_URL, callbacks_of, send_accepted, texts_of
from ci360_twilio.core.entry import Entry, Status
from ci360_twilio.stores.sqlite import SqliteStore

_TAKEN = {"callbacks": 204, "texts": 200}


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One server: events, then callbacks, then callbacks and events at once, then texts."""

    events: Round
    callbacks: Round
    events_beside: LoadResult
    callbacks_beside: LoadResult
    texts: Round


def bench_webhooks(folder: Path, plan: Plan) -> list[Figure]:
    """Take all figures of webhooks; each server's own accept rate is the reference."""
    turns: list[Turn] = []
    for number in range(plan.webhook_rounds):
        turns.append(_turn(folder / f"turn{number}", plan))
        print(
            f"  round {number + 1}: accepted {turns[-1].events.load.per_second:,.0f}/s,"
            f" settled {turns[-1].callbacks.load.per_second:,.0f}/s,"
            f" heard {turns[-1].texts.load.per_second:,.0f}/s",
            file=sys.stderr,
        )
    pace = f"{plan.paced_rate:,.0f}/s"
    return [
        *_pairs("status callbacks", turns, lambda turn: turn.callbacks),
        *_pairs("customers' texts", turns, lambda turn: turn.texts),
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
        *_while_sending(folder / "sending", plan),
    ]


def _pairs(what: str, turns: Sequence[Turn], of: Callable[[Turn], Round]) -> list[Figure]:
    def pair(name: str, unit: str, value: Callable[[Round], float], goal: str = "") -> Figure:
        return Figure(
            name=name,
            unit=unit,
            product=tuple(value(of(turn)) for turn in turns),
            reference=tuple(value(turn.events) for turn in turns),
            goal=goal,
        )

    return [
        pair(f"{what}, of accepted events", "/s", lambda one: one.load.per_second, ">= 50 %"),
        pair("  server CPU for one, of an event", "us", lambda one: one.cpu_us),
        pair("  p50, of an event", "ms", lambda one: one.load.p50_ms),
        pair("  p99, of an event", "ms", lambda one: one.load.p99_ms),
    ]


def _turn(folder: Path, plan: Plan) -> Turn:
    product = Installation(folder, free_port(), public_url=PUBLIC_URL)
    with product.server() as server, closing(_store(product)) as store:
        events = closed_loop(server, plan)
        sent = send_accepted(store, plan.webhook_messages)
        callbacks = _settled(server, folder, sent)
        _check(store, sent, Status.DELIVERED)
        events_beside, callbacks_beside = _beside_events(
            server, folder, sent, callbacks.load.per_second, plan
        )
        _check(store, sent, Status.READ)
        texts = _taken(server, folder, "texts", texts_of(sent))
        _check_heard(product, len(sent))
    return Turn(
        events=events,
        callbacks=callbacks,
        events_beside=events_beside,
        callbacks_beside=callbacks_beside,
        texts=texts,
    )


def _store(product: Installation) -> SqliteStore:
    return SqliteStore(product.ledger, hash_key=HASH_KEY)


def _settled(server: Child, folder: Path, sent: Sequence[Entry]) -> Round:
    """Post that each message was sent, then that each was delivered; every one of them is news."""
    requests = callbacks_of(sent, "sent") + callbacks_of(sent, "delivered")
    return _taken(server, folder, "callbacks", requests)


def _taken(server: Child, folder: Path, what: str, requests: Sequence[bytes]) -> Round:
    before = cpu_seconds_of(server.pid)
    load = _posted(server, folder, what, requests)
    spent = cpu_seconds_of(server.pid) - before
    return Round(load=load, cpu_us=spent / load.requests * 1e6)


def _beside_events(
    server: Child, folder: Path, sent: Sequence[Entry], rate: float, plan: Plan
) -> tuple[LoadResult, LoadResult]:
    """Post as fast as can be that each message was read, while events come at a fixed pace."""
    requests = callbacks_of(sent, "read")
    seconds = len(requests) / rate
    with ThreadPoolExecutor(1) as beside:
        events = beside.submit(accepted, server, seconds=seconds, rate=plan.paced_rate)
        callbacks = _posted(server, folder, "callbacks", requests)
        return events.result(), callbacks


def _while_sending(folder: Path, plan: Plan) -> list[Figure]:
    """Offer callbacks, then texts, at a fixed pace while the worker sends a campaign."""
    port = free_port()
    product = Installation(folder, port, public_url=PUBLIC_URL)
    stub = Child("stub", bench_module("stub", "--port", port), folder, port=port)
    count = int(plan.paced_rate * plan.accept_seconds)
    with product.server() as server, closing(_store(product)) as store:
        backlog = accepted(server, count=count + 6 * plan.send_messages).requests - count
        sent = send_accepted(store, count)
    figures = []
    with stub, product.server(worker=True) as server:
        wait_until_sending(port, server)
        for what, requests in (
            ("callbacks", callbacks_of(sent, "delivered")),
            ("texts", texts_of(sent)),
        ):
            begun = sent_at(port)
            load = _posted(server, folder, what, requests, rate=plan.paced_rate)
            made = sent_at(port) - begun
            figures += [
                Figure(
                    name=f"{what} p99 while sending, {plan.paced_rate:,.0f}/s",
                    unit="ms",
                    product=(load.p99_ms,),
                    goal="<= 50 ms",
                ),
                Figure(name="  messages sent meanwhile", unit="/s", product=(made / load.seconds,)),
            ]
        left = backlog - sent_at(port)
    if left <= 0:
        raise BenchFailed("the campaign was over before the webhooks were")
    print(f"  messages still to be sent at the end: up to {left:,}", file=sys.stderr)
    return figures


def _posted(
    server: Child, folder: Path, what: str, requests: Sequence[bytes], *, rate: float = 0.0
) -> LoadResult:
    """Post webhooks; a figure counts only if every one of them was taken."""
    if server.port is None:
        raise BenchFailed(f"{server.name} has no port")
    file = folder / "webhooks.msgpack"
    record(requests, file)
    result = measure(server.port, recorded=file, rate=rate)
    if not result.only(_TAKEN[what]) or result.requests != len(requests):
        words = f"answered {result.statuses}, {result.broken} broken, to {len(requests)} {what}"
        raise server.failed(words)
    return result


def _check(store: SqliteStore, sent: Sequence[Entry], status: Status) -> None:
    """See that the callbacks did what they say."""
    now = [entry and entry.status for entry in store.get_many([entry.key for entry in sent])]
    if other := {one for one in now if one is not status}:
        raise BenchFailed(f"callbacks left entries {', '.join(map(str, other))}, not {status}")


def _check_heard(product: Installation, count: int) -> None:
    """See that the texts are there, each with the message that it answers, and opt-outs in force."""
    with closing(sqlite3.connect(product.ledger)) as db:
        sql = "SELECT count(*), count(json_extract(data, '$.answers')) FROM inbound"
        texts, answers = db.execute(sql).fetchone()
        (out,) = db.execute("SELECT count(*) FROM consents WHERE state = 'out'").fetchone()
    if (texts, answers) != (count, count) or not out:
        words = f"{texts} of {count} texts are there, {answers} with a message, {out} opt-outs"
        raise BenchFailed(words)
