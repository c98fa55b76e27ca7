"""What people look for in a large SQLite ledger, and the counts of a start page."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from bench.child import BenchFailed
from bench.curve import Curve, quantiles
from bench.ledger_fill import BODY, guid_of, load, sid_of, token_of
from bench.plan import Plan
from bench.product import HASH_KEY
from ci360_twilio.core.entry import UNFINISHED, Entry, Status, Step, key_of
from ci360_twilio.core.event import Origin
from ci360_twilio.core.message import Message
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import Query
from ci360_twilio.stores.sqlite import SqliteStore

DAYS = 30
"""How far back entries go."""
JOBS = 12
"""Bulk jobs, which have half of all entries, each within ten minutes."""
LARGE, SMALL, RARE = TenantId("large"), TenantId("small"), TenantId("rare")
SHOWN = 50
CALLS = 20

Look = Callable[[SqliteStore], bool]
"""Looks for something; tells whether it has found what it should."""

_GOAL = "< 200 ms"
_STARTS = ("+1201555", "+1201555", "+1201555", "+44770090", "+491510000", "+3361200", "+479000")
"""How recipients' numbers begin."""
_ENDS: tuple[tuple[int, Status, str | None, int | None], ...] = (
    (890, Status.DELIVERED, None, None),
    (930, Status.SENT, None, None),
    (960, Status.UNDELIVERED, None, 30003),
    (970, Status.UNDELIVERED, None, 30006),
    (985, Status.SUPPRESSED, "opted_out", None),
    (990, Status.REFUSED, "invalid_recipient", None),
    (995, Status.REFUSED, "refused", 21610),
    (1000, Status.EXPIRED, "expired", None),
)
"""Up to which of a thousand entries became what."""


def bench_search(folder: Path, plan: Plan) -> list[Curve]:
    """Look for this and that in one ledger after the other, the smallest first."""
    begin = datetime.now(UTC).replace(microsecond=0)
    found = [_measure(folder / f"{size}.db", size, begin) for size in plan.ledger_sizes]
    return [
        Curve(
            name=name,
            unit="ms",
            sizes=plan.ledger_sizes,
            values=tuple(quantiles(one[name]) for one in found),
            goal=_GOAL,
        )
        for name in found[0]
    ]


def _measure(path: Path, size: int, begin: datetime) -> dict[str, list[float]]:
    began = time.perf_counter()
    load(path, searched(size, begin), begin)
    took, megabytes = time.perf_counter() - began, path.stat().st_size / 1e6
    print(f"  {size:,} entries: {megabytes:,.0f} MB, made in {took:,.0f} s", file=sys.stderr)
    return {name: list(_timed(path, name, look)) for name, look in looks(size, begin).items()}


def _timed(path: Path, name: str, look: Look) -> Iterator[float]:
    """Look into a ledger that is opened anew, so that the first time nothing of it is in memory."""
    with closing(SqliteStore(path, hash_key=HASH_KEY)) as store:
        for _ in range(CALLS):
            began = time.perf_counter()
            is_right = look(store)
            yield (time.perf_counter() - began) * 1000
            if not is_right:
                raise BenchFailed(f"{name}: what is there was not found, or what is not")


def looks(size: int, begin: datetime) -> dict[str, Look]:
    """Give what is looked for."""
    some, early = size // 3, begin - timedelta(days=DAYS - 5)
    job = f"job-{JOBS // 2}"
    queries = {
        "newest": Query(),
        "guid": Query(guid=guid_of(some)),
        "SID": Query(sid=sid_of(some)),
        "recipient": Query(recipient=number_of(some)),
        "identity": Query(identity=token_of("identity", some % 300_000)),
        "task, of many": Query(task="TSK_JOB_3"),
        "task, of few and long ago": Query(task="TSK_RARE"),
        "job": Query(job=job),
        "job, what was not delivered": Query(job=job, statuses=frozenset({Status.UNDELIVERED})),
        "sender": Query(sender="+19085550104"),
        "country": Query(country="NO"),
        "tenant, of most": Query(tenant_id=LARGE),
        "tenant, of few": Query(tenant_id=RARE),
        "status delivered": Query(statuses=frozenset({Status.DELIVERED})),
        "status failed": Query(statuses=frozenset({Status.FAILED})),
        "status accepted": Query(statuses=frozenset({Status.ACCEPTED})),
        "reason": Query(reason="opted_out"),
        "error code": Query(error_code=30006),
        "a day long ago": Query(since=early, before=early + timedelta(days=1)),
        "country and status, long ago": Query(
            country="NO", before=early, statuses=frozenset({Status.DELIVERED})
        ),
    }
    absent = {
        "no such recipient": Query(recipient="+12015559999999"),
        "no such identity": Query(identity="nobody"),
        "no such task": Query(task="TSK_NONE"),
        "no such reason": Query(reason="none"),
    }
    return {
        **{name: _finding(query, is_there=True) for name, query in queries.items()},
        **{name: _finding(query, is_there=False) for name, query in absent.items()},
        "counts of a day": _counting(begin, 1),
        "counts of 7 days": _counting(begin, 7),
    }


def _finding(query: Query, *, is_there: bool) -> Look:
    asked = msgspec.structs.replace(query, limit=SHOWN)
    return lambda store: bool(store.find(asked)) == is_there


def _counting(begin: datetime, days: int) -> Look:
    since = begin - timedelta(days=days)
    return lambda store: bool(store.counts(since=since, before=begin).counted)


def number_of(number: int) -> str:
    """Give the recipient of an entry; each has had several."""
    return f"{_STARTS[number % len(_STARTS)]}{number * 7_919 % 10_000:04}"


def searched(size: int, begin: datetime) -> Iterator[Entry]:
    """Yield the entries of a month, oldest first."""
    between, share = timedelta(days=DAYS) / size, size // JOBS
    for number in range(size):
        job, place = divmod(number, share)
        at = begin + timedelta(minutes=-1, days=-DAYS) + number * between
        is_bulk = place < share // 2
        if is_bulk:  # of a job that took ten minutes
            at += timedelta(minutes=10) * place / share - place * between
        task = f"TSK_JOB_{job % 5}" if is_bulk else f"TSK_{number * 31 % 200}"
        if number % (size // 10) == size // 11 and number < size // 2:
            task = "TSK_RARE"
        yield _searched(number, size, at, task, f"job-{job}" if is_bulk else None)


def _searched(number: int, size: int, at: datetime, task: str, job: str | None) -> Entry:
    rank = number * 7_919 % 1_000
    _, status, reason, error_code = next(end for end in _ENDS if rank < end[0])
    if number % (size // 20) == 7:
        status, reason, error_code = Status.FAILED, None, 30008
    if number > size - size // 100:
        status, reason, error_code = Status.ACCEPTED, None, None
    tenant = SMALL if number % 10 == 0 else LARGE
    if number % (size // 20) == 9:
        tenant = RARE
    is_made = status not in (*UNFINISHED, Status.SUPPRESSED, Status.REFUSED, Status.EXPIRED)
    guid = guid_of(number)
    identities = {
        "datahub_id": token_of("identity", number % 300_000),
        "subject_id": f"{number % 300_000:08}",
    }
    return Entry(
        key=key_of(tenant, guid),
        tenant_id=tenant,
        guid=guid,
        status=status,
        reason=reason,
        error_code=error_code,
        created_at=at,
        due_at=at,
        expires_at=at + timedelta(days=1),
        purge_at=at + timedelta(days=90),
        started_at=at if is_made else None,
        attempts=int(is_made),
        message=Message(to=number_of(number), sender=f"+1908555010{number * 13 % 5}", body=BODY),
        origin=Origin(task_code=task, identities=identities),
        sid=sid_of(number) if is_made else None,
        provider_status=str(status) if is_made else None,
        bulk=job is not None,
        job=job,
        history=(
            Step(at=at, step="accept", decision="accepted"),
            Step(at=at, step="settle", decision=str(status), reason=reason),
        ),
    )
