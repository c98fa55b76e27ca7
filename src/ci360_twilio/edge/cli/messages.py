"""``messages`` and ``trace``: what happened, and why."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from ci360_twilio.core.codes import explain
from ci360_twilio.core.entry import Entry, Status, sweep
from ci360_twilio.core.reasons import in_words
from ci360_twilio.core.tenant import TenantId, parse_tenant_id
from ci360_twilio.edge.cli.screen import print_json, printable, table
from ci360_twilio.errors import NotKnown, SettingsError
from ci360_twilio.logs import mask_number
from ci360_twilio.ports import Query, Store
from ci360_twilio.settings import read_settings
from ci360_twilio.wiring import ledger_path, make_store, utc_now

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
    command.add_argument("--json", action="store_true", help="print them as JSON")
    return _messages


def add_trace(command: argparse.ArgumentParser) -> Run:
    """Declare ``trace``."""
    command.add_argument("guid", metavar="GUID", help="the event's guid, or a message's SID")
    command.add_argument("--tenant", help="whose event it is, where several have that guid")
    command.add_argument("--json", action="store_true", help="print it as JSON")
    command.epilog = "Ends with 1 where nothing is known of the event."
    return _trace


def open_ledger() -> Store:
    """Open the ledger to look into it; one that is not there is not made."""
    settings = read_settings()
    path = ledger_path(settings)
    if settings.ledger == "memory:":
        raise SettingsError("A ledger in memory can be looked into by its own process only.")
    if path is not None and not path.exists():
        raise NotKnown(f"There is no ledger at {path} yet: no event has come in.")
    return make_store(settings)


def _messages(options: argparse.Namespace) -> int:
    now = utc_now()
    query = Query(
        tenant_id=_tenant_id(options.tenant),
        statuses=frozenset(map(Status, options.status)),
        since=now - _age(options.since) if options.since else None,
        limit=max(options.limit, 1),
    )
    store = open_ledger()
    try:
        found = [sweep(entry, now) for entry in store.find(query)]
    finally:
        store.close()
    if options.json:
        print_json(
            [_shown(entry) | {"guid": entry.guid, "tenant": entry.tenant_id} for entry in found]
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
            entry.reason,
            mask_number(entry.message.to) if entry.message else "",
            entry.origin.task_code,
            entry.sid,
        )
        for entry in found
    ]
    print(table(head, rows))
    return 0


def _shown(entry: Entry) -> dict[str, Any]:
    """Give what both lists and stories say of an entry; numbers and texts stay out."""
    return {
        "key": entry.key,
        "status": entry.status,
        "reason": entry.reason,
        "sid": entry.sid,
        "to": mask_number(entry.message.to) if entry.message else None,
        "task": entry.origin.task_code,
        "attempts": entry.attempts,
        "repeats": entry.repeats,
        "accepted_at": entry.created_at,
        "expires_at": entry.expires_at,
    }


def _trace(options: argparse.Namespace) -> int:
    tenant_id = _tenant_id(options.tenant)
    store = open_ledger()
    try:
        found = store.find(Query(guid=options.guid, tenant_id=tenant_id, limit=10))
        found = found or store.find(Query(sid=options.guid, tenant_id=tenant_id, limit=10))
    finally:
        store.close()
    if not found:
        words = (
            "Nothing is known of this event: it never passed the door (400, 401, 403 and 413 "
            "leave no entry; the log has them), or its entry was deleted after its retention."
        )
        raise NotKnown(words)
    if len(found) > 1:
        tenants = ", ".join(sorted(entry.tenant_id for entry in found))
        raise NotKnown(f"Several tenants have this event ({tenants}); add --tenant.")
    entry = sweep(found[0], utc_now())
    if options.json:
        print_json(story(entry))
    else:
        _tell(entry)
    return 0


def story(entry: Entry) -> dict[str, Any]:
    """Give the story of an entry as ``trace --json`` prints it."""
    return {
        **_shown(entry),
        "provider_status": entry.provider_status,
        "error_code": entry.error_code,
        "generated_at": entry.generated_at,
        "problems": [{"field": field, "issue": issue} for field, issue in entry.problems],
        "history": [
            {"at": step.at, "step": step.step, "decision": step.decision, "reason": step.reason}
            for step in entry.history
        ],
        "history_dropped": entry.history_dropped,
    }


def _tell(entry: Entry) -> None:
    print(f"{printable(entry.guid)} of tenant {entry.tenant_id}: {entry.status}")
    print(f"  {in_words(entry)}")
    for field, issue in entry.problems:
        print(f"  - {printable(field)}: {printable(issue)}")
    if entry.error_code:
        print(f"  What to do: {explain(entry.error_code).advice}")
    if entry.message:
        print(
            f"  To {mask_number(entry.message.to)}, from {printable(entry.message.sender)}", end=""
        )
        print(f", {len(entry.message.body)} characters, {len(entry.message.media_urls)} media")
    if entry.sid:
        print(f"  Twilio's message {entry.sid}, last known there as {entry.provider_status}")
    print()
    rows = [
        (f"{step.at:%Y-%m-%d %H:%M:%S.%f}"[:-3], step.step, step.decision, step.reason)
        for step in entry.history
    ]
    print(table(("WHEN (UTC)", "STEP", "DECISION", "REASON"), rows))
    if entry.history_dropped:
        print(f"({entry.history_dropped} steps in between are left out)")


def _tenant_id(name: str | None) -> TenantId | None:
    return None if name is None else parse_tenant_id(name)


def _age(text: str) -> timedelta:
    match = re.fullmatch(r"([0-9]{1,5})([smhd])", text)
    if match is None:
        raise SettingsError("--since takes a number and s, m, h or d, such as 12h.")
    unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[match[2]]
    return timedelta(**{unit: int(match[1])})
