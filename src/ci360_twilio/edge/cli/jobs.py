"""``jobs``: bulk tasks of CI360."""

from __future__ import annotations

import argparse
import csv
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

import msgspec

from ci360_twilio.core.job import Job, state_of
from ci360_twilio.core.reasons import reason_words
from ci360_twilio.edge.cli.asking import (
    add_asking,
    add_reason,
    confirmed,
    counted,
    steering_of,
    who,
)
from ci360_twilio.edge.cli.given import open_ledger, tenant_named
from ci360_twilio.edge.cli.screen import cell, new_file, print_json, printable, table
from ci360_twilio.edge.cli.serve import join_metrics, make_log
from ci360_twilio.edge.supervised import when_left_alone
from ci360_twilio.edge.workshop import Helpers, make_chunks, prepare, work_on_jobs
from ci360_twilio.errors import NotKnown, SettingsError
from ci360_twilio.flow.jobs import Foreman, Result, find_job, results
from ci360_twilio.ports import Store
from ci360_twilio.settings import read_settings
from ci360_twilio.wiring import make_files, utc_now, wire

Run = Callable[[argparse.Namespace], int]

WIDTH = 24
"""Of a progress bar, in characters."""
WATCH_SECONDS = 1.0
COLUMNS = (
    "row",
    "line",
    "identity",
    "to",
    "status",
    "reason",
    "sid",
    "error_code",
    "guid",
    "words",
)


def add_jobs(command: argparse.ArgumentParser) -> Run:
    """Declare ``jobs`` and what can be done with one."""
    _add_list(command)
    actions = command.add_subparsers(metavar="ACTION", dest="action")
    show = _action(actions, "show", "Tell all about one job.", _show)
    show.add_argument("--json", action="store_true", help="print it as JSON")
    show.add_argument("--watch", action="store_true", help="go on telling until it has ended")
    pause = _action(actions, "pause", "Send nothing more of a job for now.", _pause)
    add_reason(pause)
    resume = _action(actions, "resume", "Send a job's messages again.", _resume)
    add_reason(resume)
    cancel = _action(actions, "cancel", "Take back what is not sent of a job.", _cancel)
    add_reason(cancel)
    add_asking(cancel)
    result = _action(actions, "result", "Write what became of every row, as CSV.", _result)
    result.add_argument(
        "--output", metavar="FILE", type=Path, help="a new file; without it to standard output"
    )
    work = actions.add_parser("work", help="Work on jobs until there are none; `serve` uses it.")
    work.add_argument(
        "--supervised", action="store_true", help="stop when standard input ends; `serve` uses it"
    )
    work.set_defaults(act=_work)
    command.set_defaults(act=_list)
    return lambda options: int(options.act(options))


def _add_list(command: argparse.ArgumentParser) -> None:
    command.add_argument("--tenant", help="only this tenant's")
    command.add_argument("--open", action="store_true", help="only those that have not ended")
    command.add_argument("--limit", type=int, default=20, help="how many at most (%(default)s)")
    command.add_argument("--json", action="store_true", help="print them as JSON")


def _action(actions: Any, name: str, words: str, run: Run) -> argparse.ArgumentParser:
    action: argparse.ArgumentParser = actions.add_parser(name, help=words, description=words)
    action.add_argument(
        "job", metavar="JOB", help="its id, the beginning of that, or CI360's occurrence id"
    )
    action.add_argument("--tenant", help="whose job it is, where several are called so")
    action.set_defaults(act=run)
    return action


@contextmanager
def _foreman() -> Iterator[tuple[Foreman, Store]]:
    store = open_ledger()
    try:
        settings = read_settings()
        log = make_log(settings, "jobs")
        yield Foreman(store, steering_of(store, settings, log), utc_now, log), store
    finally:
        store.close()


def _list(options: argparse.Namespace) -> int:
    with _foreman() as (foreman, store):
        found = store.jobs(
            tenant_id=tenant_named(options.tenant),
            is_open=options.open,
            limit=max(options.limit, 1),
        )
        paused = {job.key for job in found if not job.ended and foreman.pauses(job)}
    if options.json:
        print_json([shown(job, is_paused=job.key in paused) for job in found])
    elif not found:
        print("There are no jobs.")
    else:
        head = ("JOB", "TASK", "STATE", "ROWS", "BAD", "PROGRESS", "LEFT", "RECEIVED")
        print(table(head, [_row(job, is_paused=job.key in paused) for job in found]))
    return 0


def _row(job: Job, *, is_paused: bool) -> list[object]:
    return [
        job.id,
        job.origin.task_code or job.task_name or "-",
        state_of(job, is_paused=is_paused) + (f" ({job.reason})" if job.reason else ""),
        f"{job.rows:,}" if job.rows else "-",
        f"{job.bad:,}" if job.rows else "-",
        bar(job),
        span(job.left()) if not is_paused else "-",
        f"{job.created_at:%Y-%m-%d %H:%M}",
    ]


def bar(job: Job) -> str:
    """Draw how many of a job's rows have come to their end."""
    if not job.rows or job.running_at is None:
        return "-"
    share = job.settled_rows / job.rows
    full = int(share * WIDTH)
    return f"[{'#' * full}{'.' * (WIDTH - full)}] {int(share * 100)} %"


def span(left: timedelta | None) -> str:
    """Say how long something takes."""
    if left is None:
        return "-"
    minutes, seconds = divmod(int(left.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"


def shown(job: Job, *, is_paused: bool) -> dict[str, Any]:
    """Give what is told of a job as JSON; addresses and what CI360 sent with it are left out."""
    left = job.left()
    return {
        "job": job.id,
        "tenant": job.tenant_id,
        "occurrence": job.occurrence_id,
        "task": job.origin.task_code,
        "task_name": job.task_name,
        "state": state_of(job, is_paused=is_paused),
        "reason": job.reason,
        "message": job.words,
        "received": job.created_at,
        "ended": job.ended_at,
        "rows": job.rows,
        "bad": job.bad,
        "checked": job.checked,
        "bad_rows": [msgspec.structs.asdict(one) for one in job.bad_rows],
        "entered_chunks": job.entered,
        "chunks": job.chunks,
        "settled": job.settled_rows,
        "outcomes": job.outcomes,
        "rows_per_second": round(job.rate(), 1),
        "seconds_left": None if left is None or is_paused else round(left.total_seconds()),
        "repeats": job.repeats,
        "canceled_by": job.canceled_by,
    }


def _show(options: argparse.Namespace) -> int:
    with _foreman() as (foreman, store):
        job = foreman.find(options.job, tenant_named(options.tenant))
        while options.watch and not job.ended:
            paused = bool(foreman.pauses(job))
            _tell_again(job, is_paused=paused)
            time.sleep(WATCH_SECONDS)
            job = store.job(job.key) or job
        if options.watch and sys.stderr.isatty():
            print(file=sys.stderr)
        pauses = foreman.pauses(job) if not job.ended else []
    if options.json:
        print_json(shown(job, is_paused=bool(pauses)))
    else:
        _print(job, is_paused=bool(pauses))
    return 0


def _tell_again(job: Job, *, is_paused: bool) -> None:
    words = f"{state_of(job, is_paused=is_paused)}  {bar(job)}  left {span(job.left())}"
    end = "" if sys.stderr.isatty() else "\n"
    print(f"\r\x1b[K{words}" if not end else words, end=end, file=sys.stderr, flush=True)


def _print(job: Job, *, is_paused: bool) -> None:
    task = " ".join(filter(None, (job.origin.task_code, job.task_name)))
    print(f"Job        {job.id} of tenant {job.tenant_id}")
    print(f"Task       {printable(task) or '-'}, occurrence {printable(job.occurrence_id)}")
    print(f"State      {state_of(job, is_paused=is_paused)}", end="")
    print(f", by {printable(job.canceled_by)}" if job.canceled_by else "")
    if job.words or job.reason:
        print(f"Why        {printable(job.words or job.reason)}")
    print(f"Received   {job.created_at:%Y-%m-%d %H:%M:%S} UTC", end="")
    print(f", posted again {counted(job.repeats, 'time')}" if job.repeats else "")
    if job.ended_at:
        print(f"Ended      {job.ended_at:%Y-%m-%d %H:%M:%S} UTC")
    if job.rows:
        print(f"Rows       {job.rows:,}, of which {job.bad:,} cannot be sent to")
    if job.running_at:
        rate = f"{job.rate():,.0f} rows/s, left {span(job.left())}" if not job.ended else ""
        print(f"Progress   {bar(job)} {rate}".rstrip())
    for title, counts in (("Checked", job.checked), ("Settled", job.outcomes)):
        if counts:
            print(f"\n{title}:")
            rows = [(name, f"{number:,}", _words(name)) for name, number in _ordered(counts)]
            print(table(("WHAT", "ROWS", ""), rows))
    if job.bad_rows:
        print(f"\nRows that cannot be sent to ({counted(job.bad, 'row')}; all are in the result):")
        listed = [(one.row, one.line, one.reason, one.words) for one in job.bad_rows]
        print(table(("ROW", "LINE", "REASON", "WHY"), listed))


def _ordered(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def _words(name: str) -> str:
    words = reason_words(name)
    return "" if words == name else words


def _pause(options: argparse.Namespace) -> int:
    with _foreman() as (foreman, _):
        job = foreman.find(options.job, tenant_named(options.tenant))
        if job.ended:
            raise NotKnown(f"Job {job.id} is {job.state}: there is nothing to pause.")
        new = foreman.pause(job, by=who(), text=options.reason)
        print(f"Job {job.id} is paused{'' if new else ' already'}. Nothing of it starts any more.")
        print(f"To send again: ci360-twilio jobs resume {job.id}")
    return 0


def _resume(options: argparse.Namespace) -> int:
    with _foreman() as (foreman, _):
        job = foreman.find(options.job, tenant_named(options.tenant))
        lifted = foreman.resume(job, by=who(), text=options.reason)
        waiting = sum(one.valid for one in lifted)
        print(f"Job {job.id} goes on; {counted(waiting)} waited.")
    return 0


def _cancel(options: argparse.Namespace) -> int:
    with _foreman() as (foreman, _):
        job = foreman.find(options.job, tenant_named(options.tenant))
        if job.ended:
            raise NotKnown(f"Job {job.id} is {job.state}: there is nothing to cancel.")
        left = job.rows - job.settled_rows
        print(f"Job {job.id}: of {counted(job.rows, 'row')} {left:,} may not be sent yet.")
        if options.dry_run or not confirmed("Cancel?", yes=options.yes):
            return 0 if options.dry_run else 1
        foreman.cancel(job, by=who(), text=options.reason)
        print("Canceled: nothing of it starts any more, and what waits is taken back.")
    return 0


def _result(options: argparse.Namespace) -> int:
    files = make_files(read_settings())
    store = open_ledger()
    try:
        jobs = store.jobs(tenant_id=tenant_named(options.tenant), limit=1000)
        job = find_job(jobs, options.job)
        if options.output is None:
            _write(sys.stdout, results(store, files, job))
        else:
            with new_file(options.output) as file:
                number = _write(file, results(store, files, job))
            print(f"{counted(number, 'row')} written to {options.output}.")
    finally:
        store.close()
    if job.entered < job.chunks or (not job.ended and not job.chunks):
        print("Rows that are not entered yet are missing.", file=sys.stderr)
    return 0


def _write(file: IO[str], found: Iterator[Result]) -> int:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    number = 0
    for number, one in enumerate(found, 1):  # noqa: B007 - counted for the caller
        writer.writerow([cell(value) for value in _cells(one)])
    return number


def _cells(one: Result) -> tuple[object, ...]:
    mark, entry, _ = one
    if entry is None or mark.reason is not None:
        status = mark.reason or "erased"
        return (mark.row, mark.line, "", "", status, mark.reason, "", "", mark.guid, mark.words)
    words = "; ".join(text for _, text in entry.problems) or (
        reason_words(entry.reason) if entry.reason else ""
    )
    return (
        mark.row,
        mark.line,
        next(iter(entry.origin.identities.values()), ""),
        entry.message.to if entry.message else "",
        entry.status,
        entry.reason,
        entry.sid,
        entry.error_code,
        mark.guid,
        words,
    )


def _work(options: argparse.Namespace) -> int:
    settings = read_settings()
    if settings.ledger == "memory:":
        raise SettingsError("A ledger in memory belongs to one process: `serve` works on its jobs.")
    prepare()
    helpers = Helpers(make_chunks)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    if options.supervised:
        when_left_alone(stopping.set)
    log = make_log(settings, "jobs")
    join_metrics(log)
    parts = wire(settings, log, writes_many=True)
    parts.fan = helpers
    try:
        work_on_jobs(parts, stopping.is_set)
    finally:
        helpers.close()
        parts.close()
    return 0
