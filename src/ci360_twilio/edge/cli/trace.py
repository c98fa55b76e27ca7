"""``trace``: the whole story of one event, and of what its customer answered."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ci360_twilio.core.advice import advice_on
from ci360_twilio.core.reasons import in_words, reason_words
from ci360_twilio.core.report import Report
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.cli.given import open_ledger, tenant_named
from ci360_twilio.edge.cli.messages import shown
from ci360_twilio.edge.cli.screen import print_json, printable, table
from ci360_twilio.edge.story import Story, find_entries, next_look, standing, tell, waits_since
from ci360_twilio.errors import NotKnown
from ci360_twilio.logs import mask_number
from ci360_twilio.ports import Store
from ci360_twilio.wiring import utc_now

Run = Callable[[argparse.Namespace], int]


def add_trace(command: argparse.ArgumentParser) -> Run:
    """Declare ``trace``."""
    command.add_argument("guid", metavar="GUID", help="the event's guid, or a message's SID")
    command.add_argument("--tenant", help="whose event it is, where several have that guid")
    command.add_argument("--json", action="store_true", help="print it as JSON")
    command.epilog = "Ends with 1 where nothing is known of the event."
    return _trace


def _trace(options: argparse.Namespace) -> int:
    tenant_id = tenant_named(options.tenant)
    store = open_ledger()
    try:
        found = _find(store, options.guid, tenant_id)
    finally:
        store.close()
    if options.json:
        print_json(story(found))
    else:
        _tell(found)
    return 0


def _find(store: Store, name: str, tenant_id: TenantId | None) -> Story:
    """Find the one event that is meant.

    Raises:
        NotKnown: there is none, or there are several.
    """
    found = find_entries(store, name, tenant_id)
    if len(found) > 1:
        tenants = ", ".join(sorted(entry.tenant_id for entry in found))
        raise NotKnown(f"Several tenants have this event ({tenants}); add --tenant.")
    return tell(store, found[0], utc_now())


def story(of: Story) -> dict[str, Any]:
    """Give the story of an event as ``trace --json`` prints it; numbers and texts stay out."""
    entry = of.entry
    return {
        **shown(entry),
        "provider_status": entry.provider_status,
        "error_code": entry.error_code,
        "carrier_done": entry.carrier_done,
        "generated_at": entry.generated_at,
        "waits_since": waits_since(entry),
        "looks": entry.looks,
        "next_look_at": next_look(entry),
        "guessed": entry.guessed,
        "replay_of": entry.replay_of,
        "replayed_by": entry.replayed_by,
        "problems": [{"field": field, "issue": issue} for field, issue in entry.problems],
        "consent": of.consent and {"state": of.consent.state, "since": of.consent.since},
        "reports": [shown_report(report) for report in entry.reports],
        "replies": [
            {
                "sid": one.heard.sid,
                "heard_at": one.heard_at,
                "wish": one.wish,
                "characters": len(one.heard.body),
                "media": one.heard.media_count,
                "reports": [shown_report(report) for report in one.reports],
            }
            for one in of.replies
        ],
        "history": [
            {"at": step.at, "step": step.step, "decision": step.decision, "reason": step.reason}
            for step in entry.history
        ],
        "history_dropped": entry.history_dropped,
    }


def shown_report(report: Report) -> dict[str, Any]:
    """Give what a list in JSON says of a report."""
    return {
        "outcome": report.outcome,
        "key": report.key,
        "state": report.state,
        "at": report.at,
        "due_at": report.due_at,
        "told_at": report.told_at,
        "attempts": report.attempts,
        "said": report.aside,
    }


def _tell(of: Story) -> None:
    entry = of.entry
    print(f"{printable(entry.guid)} of tenant {entry.tenant_id}: {entry.status}")
    print(f"  {in_words(entry)}")
    for field, issue in entry.problems:
        print(f"  - {printable(field)}: {printable(issue)}")
    if advice := advice_on(entry):
        print(f"  What to do: {advice}")
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
    for words in standing(of):
        print(f"  {printable(words)}")
    print()
    rows = [
        (f"{step.at:%Y-%m-%d %H:%M:%S.%f}"[:-3], step.step, step.decision, step.reason)
        for step in entry.history
    ]
    print(table(("WHEN (UTC)", "STEP", "DECISION", "REASON"), rows))
    if entry.history_dropped:
        print(f"({entry.history_dropped} steps in between are left out)")
    told = [*_told(of.reports)]
    if told:
        print()
        print(table(("TOLD TO CI360", "STATE", "CAME ABOUT (UTC)", "ATTEMPTS", "NOTE"), told))


def _told(reports: Iterable[Report]) -> Iterator[tuple[object, ...]]:
    """Give a row for each report."""
    for one in reports:
        note = reason_words(one.aside) if one.aside else None
        if one.told_at:
            note = f"acknowledged {one.told_at:%Y-%m-%d %H:%M:%S}"
        elif one.due_at:
            note = f"sent next {one.due_at:%Y-%m-%d %H:%M:%S}"
        yield one.outcome, one.state, f"{one.at:%Y-%m-%d %H:%M:%S}", one.attempts, note
