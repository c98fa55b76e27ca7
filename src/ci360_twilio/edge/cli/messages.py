"""``messages``: what happened."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import datetime
from typing import Any

from ci360_twilio.core.due import sweep
from ci360_twilio.core.entry import Entry, Status
from ci360_twilio.core.pause import Pause
from ci360_twilio.edge.cli.given import age, open_ledger, tenant_named
from ci360_twilio.edge.cli.screen import print_json, table
from ci360_twilio.edge.cli.senders import print_senders
from ci360_twilio.edge.story import pause_of
from ci360_twilio.errors import SettingsError
from ci360_twilio.flow.decision import target_of
from ci360_twilio.logs import mask_number
from ci360_twilio.ports import Query
from ci360_twilio.settings import read_settings
from ci360_twilio.wiring import utc_now

Run = Callable[[argparse.Namespace], int]


def add_messages(command: argparse.ArgumentParser) -> Run:
    """Declare ``messages``."""
    command.add_argument("--tenant", help="only this tenant's")
    command.add_argument(
        "--status",
        action="append",
        default=[],
        choices=[str(s) for s in Status],
        metavar="STATUS",
        help=f"only this status; may be given several times: {', '.join(Status)}",
    )
    command.add_argument("--since", metavar="AGE", help="only from the last 30m, 12h or 7d")
    command.add_argument("--limit", type=int, default=50, help="how many at most (%(default)s)")
    command.add_argument(
        "--senders",
        action="store_true",
        help="instead: what waits for each sender, and how long sending it takes",
    )
    command.add_argument("--json", action="store_true", help="print them as JSON")
    return _messages


def _messages(options: argparse.Namespace) -> int:
    now = utc_now()
    if options.senders:
        return _senders(options, now)
    query = Query(
        tenant_id=tenant_named(options.tenant),
        statuses=frozenset(map(Status, options.status)),
        since=now - age(options.since) if options.since else None,
        limit=max(options.limit, 1),
    )
    store = open_ledger()
    try:
        found = [sweep(entry, now) for entry in store.find(query)]
        pauses = store.pauses()
    finally:
        store.close()
    if options.json:
        print_json(
            [shown(entry) | {"guid": entry.guid, "tenant": entry.tenant_id} for entry in found]
        )
        return 0
    if not found:
        print("No messages.")
        return 0
    head = ("ACCEPTED (UTC)", "GUID", "STATUS", "REASON", "TO", "TASK", "SID")
    rows = [
        (
            f"{entry.created_at:%Y-%m-%d %H:%M:%S}",
            entry.guid,
            entry.status,
            _reason(entry, pauses),
            mask_number(entry.message.to) if entry.message else "",
            entry.origin.task_code,
            entry.sid,
        )
        for entry in found
    ]
    print(table(head, rows))
    return 0


def _senders(options: argparse.Namespace, now: datetime) -> int:
    if options.status or options.since:
        raise SettingsError("--senders shows what waits now; leave out --status and --since.")
    tenant_id = tenant_named(options.tenant)
    store = open_ledger()
    try:
        print_senders(store, read_settings(), now, tenant_id, as_json=options.json)
    finally:
        store.close()
    return 0


def _reason(entry: Entry, pauses: list[Pause]) -> str | None:
    """Give the reason, and for what waits behind a pause what is paused."""
    pause = pause_of(entry, pauses)
    return f"{pause.reason} ({target_of(pause)})" if pause else entry.reason


def shown(entry: Entry) -> dict[str, Any]:
    """Give what both lists and stories say of an entry; numbers and texts stay out."""
    return {
        "key": entry.key,
        "status": entry.status,
        "reason": entry.reason,
        "place": entry.place,
        "sid": entry.sid,
        "to": mask_number(entry.message.to) if entry.message else None,
        "task": entry.origin.task_code,
        "attempts": entry.attempts,
        "repeats": entry.repeats,
        "accepted_at": entry.created_at,
        "expires_at": entry.expires_at,
    }
