"""``messages`` and ``trace``: what happened, and why."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from ci360_twilio.core.codes import explain
from ci360_twilio.core.due import Work, due, sweep
from ci360_twilio.core.entry import Entry, Status
from ci360_twilio.core.pace import is_paced_place
from ci360_twilio.core.pause import Pause, is_paused_place, paused_by
from ci360_twilio.core.reasons import in_words
from ci360_twilio.core.tenant import TenantId, parse_tenant_id
from ci360_twilio.edge.cli.screen import print_json, printable, table
from ci360_twilio.edge.cli.senders import print_senders
from ci360_twilio.errors import BadTenantId, NotKnown, SettingsError
from ci360_twilio.flow.decision import target_of
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
    command.add_argument(
        "--senders",
        action="store_true",
        help="instead: what waits for each sender, and how long sending it takes",
    )
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
    pause = _pause_of(entry, pauses)
    return f"{pause.reason} ({target_of(pause)})" if pause else entry.reason


def _pause_of(entry: Entry, pauses: list[Pause]) -> Pause | None:
    """Give the pause behind which an entry waits, or will when its turn comes."""
    if entry.status is not Status.ACCEPTED:
        return None
    placed = (pause for pause in pauses if pause.place == entry.place)
    return next(placed, None) or paused_by(entry, pauses)


def _shown(entry: Entry) -> dict[str, Any]:
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


def _trace(options: argparse.Namespace) -> int:
    tenant_id = tenant_named(options.tenant)
    store = open_ledger()
    try:
        pauses = store.pauses()
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
        _tell(entry, pauses)
    return 0


def story(entry: Entry) -> dict[str, Any]:
    """Give the story of an entry as ``trace --json`` prints it."""
    return {
        **_shown(entry),
        "provider_status": entry.provider_status,
        "error_code": entry.error_code,
        "generated_at": entry.generated_at,
        "waits_since": _waits_since(entry),
        "looks": entry.looks,
        "next_look_at": _next_look(entry),
        "guessed": entry.guessed,
        "replay_of": entry.replay_of,
        "replayed_by": entry.replayed_by,
        "problems": [{"field": field, "issue": issue} for field, issue in entry.problems],
        "history": [
            {"at": step.at, "step": step.step, "decision": step.decision, "reason": step.reason}
            for step in entry.history
        ],
        "history_dropped": entry.history_dropped,
    }


def _tell(entry: Entry, pauses: list[Pause]) -> None:
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
        if entry.guessed:
            print(
                "  Its SID was found in Twilio's list by looking alike; nothing has confirmed it."
            )
    for words in _state(entry, pauses):
        print(f"  {printable(words)}")
    print()
    rows = [
        (f"{step.at:%Y-%m-%d %H:%M:%S.%f}"[:-3], step.step, step.decision, step.reason)
        for step in entry.history
    ]
    print(table(("WHEN (UTC)", "STEP", "DECISION", "REASON"), rows))
    if entry.history_dropped:
        print(f"({entry.history_dropped} steps in between are left out)")


def _state(entry: Entry, pauses: list[Pause]) -> Iterator[str]:
    """Say what an entry waits for, how often it was looked for, and what it belongs to."""
    pause, waits = _pause_of(entry, pauses), _waits_since(entry)
    since = f", since {waits:%Y-%m-%d %H:%M:%S} UTC" if waits else ""
    if pause is not None:
        yield f"It waits for the end of a pause ({target_of(pause)}){since}."
    elif is_paused_place(entry.place):
        yield f"The pause is gone that it waited behind{since}; its turn comes next."
    elif is_paced_place(entry.place):
        yield f"It waits for its sender's turn{since}."
    if entry.looks or entry.status is Status.UNKNOWN:
        looked, then = _next_look(entry), "it is not asked again"
        if looked:
            then = f"it is asked next at {looked:%Y-%m-%d %H:%M:%S} UTC"
        times = f"{entry.looks} time{'' if entry.looks == 1 else 's'}"
        yield f"Twilio was asked {times} what became of it; {then}."
    if entry.replay_of:
        yield f"It sends the message of {entry.replay_of} again."
    if entry.replayed_by:
        yield f"Its message is sent again by {entry.replayed_by}."


def _waits_since(entry: Entry) -> datetime | None:
    """Tell since when an entry waits in its place."""
    if entry.place is None:
        return None
    return next((step.at for step in entry.history[::-1] if step.decision == "waits"), None)


def _next_look(entry: Entry) -> datetime | None:
    """Tell when Twilio is asked next what became of a message."""
    when = due(entry)
    return when.at if when.work in (Work.FIND, Work.FETCH) else None


def tenant_named(name: str | None) -> TenantId | None:
    """Read a tenant's id as somebody typed it."""
    try:
        return None if name is None else parse_tenant_id(name)
    except BadTenantId as exc:
        raise SettingsError("A tenant's id is 1 to 64 letters, digits, _ or -.") from exc


def age(text: str) -> timedelta:
    """Read an age, such as ``12h``."""
    match = re.fullmatch(r"([0-9]{1,5})([smhd])", text)
    if match is None:
        raise SettingsError("--since takes a number and s, m, h or d, such as 12h.")
    unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[match[2]]
    return timedelta(**{unit: int(match[1])})
