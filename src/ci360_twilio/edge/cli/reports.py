"""``reports``: what CI360 is still to be told, and what it would not hear."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

from ci360_twilio.core.entry import Entry
from ci360_twilio.core.inbound import Inbound
from ci360_twilio.core.reasons import reason_words
from ci360_twilio.core.report import Report
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.cli.asking import add_asking, add_reason, confirmed, counted, steering, who
from ci360_twilio.edge.cli.given import open_ledger, tenant_named
from ci360_twilio.edge.cli.screen import print_json, printable, table
from ci360_twilio.edge.cli.trace import shown_report
from ci360_twilio.ports import Store
from ci360_twilio.wiring import utc_now

Run = Callable[[argparse.Namespace], int]

_MOST = 1_000_000
"""Documents that are counted."""


def add_reports(command: argparse.ArgumentParser) -> Run:
    """Declare ``reports``."""
    command.add_argument("--tenant", help="only this tenant's")
    command.add_argument("--limit", type=int, default=50, help="how many at most (%(default)s)")
    command.add_argument("--json", action="store_true", help="print them as JSON")
    command.add_argument("--retry", action="store_true", help="send once more what CI360 refused")
    add_reason(command)
    add_asking(command)
    command.epilog = (
        "Lists the outcomes that CI360 refused, with its words, and says how much it is still "
        "owed. What is owed is sent by itself until CI360 has acknowledged it."
    )
    return _reports


def _reports(options: argparse.Namespace) -> int:
    tenant_id = tenant_named(options.tenant)
    if options.retry:
        return _retry(options, tenant_id)
    store = open_ledger()
    try:
        aside = store.aside(tenant_id, max(options.limit, 1))
        owed = list(_owed(store))
    finally:
        store.close()
    if options.json:
        print_json([_shown(one.of, report) for one in aside for report in one.reports])
        return 0
    for words in owed:
        print(words)
    if not aside:
        print("CI360 has refused nothing.")
        return 0
    head = ("CAME ABOUT (UTC)", "TENANT", "OUTCOME", "OF", "WHY CI360 WAS NOT TOLD")
    rows = [
        (
            f"{report.at:%Y-%m-%d %H:%M:%S}",
            one.of.tenant_id,
            report.outcome,
            _name(one.of),
            reason_words(report.aside or ""),
        )
        for one in aside
        for report in one.reports
    ]
    print(table(head, rows))
    print("\nWhen the reason is gone: ci360-twilio reports --retry")
    return 1


def _owed(store: Store) -> Iterator[str]:
    now = utc_now()
    summary = store.summary(now)
    owe = "owes" if summary.owed == 1 else "owe"
    words = f"{counted(summary.owed, 'message or text', 'messages and texts')} {owe} CI360 a report"
    oldest = summary.oldest_owed_at
    late = oldest is not None and oldest <= now
    yield words + (
        f"; the next has been due since {oldest:%Y-%m-%d %H:%M:%S} UTC." if late else "."
    )
    for pause in summary.pauses:
        if pause.scope == "reports":
            of = f" of tenant {pause.tenant_id}" if pause.tenant_id else ""
            yield f"Reports{of} wait: {printable(reason_words(pause.reason))}"


def _retry(options: argparse.Namespace, tenant_id: TenantId | None) -> int:
    store = open_ledger()
    try:
        number = sum(len(one.reports) for one in store.aside(tenant_id, _MOST))
    finally:
        store.close()
    print(f"{counted(number, 'report')} can be sent once more.")
    if options.dry_run or not number:
        return 0 if number else 1
    if not confirmed("Send them?", yes=options.yes):
        return 1
    with steering() as steer:
        done = steer.report_again(tenant_id, by=who(), text=options.reason)
        print(f"{counted(done, 'report')} will be sent once more.")
    return 0


def _name(of: Entry | Inbound) -> str:
    return of.guid if isinstance(of, Entry) else of.heard.sid


def _shown(of: Entry | Inbound, report: Report) -> dict[str, Any]:
    return {"tenant": of.tenant_id, "of": _name(of), **shown_report(report)}
