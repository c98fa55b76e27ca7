"""``check``: the ledger, and all that waits in it for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.core.reasons import reason_words
from ci360_twilio.edge.cli.finding import Finding
from ci360_twilio.edge.cli.pause import resume_words
from ci360_twilio.edge.cli.senders import lasts_words, rate_words, read_queues
from ci360_twilio.errors import ConnectorError
from ci360_twilio.flow.decision import target_of
from ci360_twilio.flow.queues import Queue
from ci360_twilio.ports import Store, Summary
from ci360_twilio.settings import Settings
from ci360_twilio.wiring import ledger_path, make_store, utc_now

LATE = timedelta(minutes=15)
"""How long a report may be due; the longest wait between two attempts is as long."""
MOST_ASIDE, MOST_SHOWN = 10_000, 5
"""Documents with refused reports that are counted, and kinds of refusal that are shown."""


def look_at_ledger(settings: Settings) -> Iterator[Finding]:
    """Look at the ledger and all that waits in it for a person."""
    subject = f"ledger {ledger_path(settings) or settings.ledger}"
    try:
        store = make_store(settings)
        try:
            findings = list(_look_into(store, subject, settings))
        finally:
            store.close()
    except ConnectorError as exc:
        advice = "Check the path, its owner, and the free space."
        findings = [Finding(False, subject, exc.message, advice)]
    yield from findings


def _look_into(store: Store, subject: str, settings: Settings) -> Iterator[Finding]:
    now = utc_now()
    store.probe()
    summary = store.summary(now)
    if summary.outdated:
        yield Finding(False, subject, "belongs to a newer version", "Update this installation.")
        return
    counts = ", ".join(f"{count:,} {status}" for status, count in summary.unfinished.items())
    yield Finding(True, subject, f"can be written; unfinished: {counts or 'none'}")
    waiting = {one.place: one for one in store.waiting(now)}
    for pause in summary.pauses:
        place = waiting.get(pause.place)
        yield _paused(pause, place.entries - place.expired if place else 0)
    yield from (_late(queue) for queue in read_queues(store, settings, now) if queue.late)
    yield from _owed(store, summary, now)
    yield from _of_customers(summary)


def _paused(pause: Pause, waiting: int) -> Finding:
    count = f"{waiting:,} waiting"
    if pause.cause is Cause.RESTORE:
        advice = "Look through the unknown ones, then: ci360-twilio ledger restore --resume"
        return Finding(False, "ledger", f"was restored and sends nothing; {count}", advice)
    by = f" by {pause.by}" if pause.by else ""
    words = f"since {pause.since:%Y-%m-%d %H:%M} UTC{by}; {count}. {reason_words(pause.reason)}"
    subject = f"pause of {target_of(pause)}"
    if pause.scope is Scope.REPORTS:
        words = words.replace(f"; {count}", "; messages are sent all the same")
    if pause.probe_at is not None:
        whose = "CI360" if pause.scope is Scope.REPORTS else "Twilio"
        advice = f"Put right what {whose} objects to; it is lifted by itself then."
        return Finding(False, subject, words, advice)
    return Finding(False, subject, words, f"To send again: {resume_words(pause)}")


def _late(queue: Queue) -> Finding:
    words = (
        f"{queue.late:,} of the {queue.entries:,} messages that wait would expire before their "
        f"turn: they last {lasts_words(queue.lasts)} at {rate_words(queue)}"
    )
    advice = "Send from more senders, such as a Messaging Service, or cancel what matters less."
    return Finding(False, f"sender {', '.join(queue.senders)}", words, advice)


def _owed(store: Store, summary: Summary, now: datetime) -> Iterator[Finding]:
    """Tell what CI360 has not heard: what is late, and what it refused, in its own words."""
    oldest = summary.oldest_owed_at
    if oldest is not None and now - oldest > LATE:
        words = f"{summary.owed:,} outcomes are owed, the first since {oldest:%Y-%m-%d %H:%M} UTC"
        advice = "Is a worker running, and can it reach CI360? Its log has outcome.reported."
        yield Finding(False, "reports", words, advice)
    refused = Counter(
        (one.of.tenant_id, report.outcome, report.aside or "")
        for one in store.aside(None, MOST_ASIDE)
        for report in one.reports
    )
    for (tenant_id, outcome, said), number in refused.most_common(MOST_SHOWN):
        words = f"CI360 was not told of {number:,}: {reason_words(said)}"
        advice = "Publish the event, or correct the document; then: ci360-twilio reports --retry"
        yield Finding(False, f"reports of {outcome} of tenant {tenant_id}", words, advice)


def _of_customers(summary: Summary) -> Iterator[Finding]:
    if summary.review:
        words = f"{summary.review:,} recipients are blocked until a person reads what they wrote"
        advice = "Read it: ci360-twilio consent review --tenant ..."
        yield Finding(False, "consents", words, advice)
    if summary.strays:
        words = (
            f"{summary.strays:,} messages that are not known here sent receipts: another program's "
            "with our address, or erased ones"
        )
        yield Finding(True, "receipts", words)
