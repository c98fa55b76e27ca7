"""``trace``: the whole story of one event, and of what its customer answered."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from ci360_twilio.core.codes import explain
from ci360_twilio.core.consent import EVERY_SENDER, Consent, Subject, person_of
from ci360_twilio.core.due import Work, due, sweep
from ci360_twilio.core.entry import Entry, Status
from ci360_twilio.core.inbound import Inbound
from ci360_twilio.core.pace import is_paced_place
from ci360_twilio.core.pause import Pause, is_paused_place
from ci360_twilio.core.reasons import in_words, reason_words
from ci360_twilio.core.report import Report
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.core.wish import Wish
from ci360_twilio.edge.cli.given import open_ledger, tenant_named
from ci360_twilio.edge.cli.messages import pause_of, shown
from ci360_twilio.edge.cli.screen import print_json, printable, table
from ci360_twilio.errors import NotKnown
from ci360_twilio.flow.decision import target_of
from ci360_twilio.logs import mask_number
from ci360_twilio.ports import InboundQuery, Query, Store
from ci360_twilio.wiring import utc_now

Run = Callable[[argparse.Namespace], int]

MOST_REPLIES = 50


class Story(NamedTuple):
    """All that belongs to one event."""

    entry: Entry
    replies: tuple[Inbound, ...]
    """Oldest first."""
    consent: Consent | None
    """The recipient's wish that decides."""
    pauses: list[Pause]


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
    """Find an event by its guid, by its message's SID, or by the SID of an answer to it.

    Raises:
        NotKnown: there is none, or there are several.
    """
    found = store.find(Query(guid=name, tenant_id=tenant_id, limit=10))
    found = found or store.find(Query(sid=name, tenant_id=tenant_id, limit=10))
    if not found:
        letters = store.find_inbound(InboundQuery(sid=name, tenant_id=tenant_id, limit=10))
        keys = [letter.answers for letter in letters if letter.answers is not None]
        found = [entry for entry in store.get_many(keys) if entry is not None]
        if letters and not found:
            raise NotKnown(
                "That is a text of somebody to whom nothing is known to have been sent from the "
                "number that they wrote to."
            )
    if not found:
        raise NotKnown(
            "Nothing is known of this event: it never passed the door (400, 401, 403 and 413 "
            "leave no entry; the log has them), or its entry was deleted after its retention, "
            "or erased."
        )
    if len(found) > 1:
        tenants = ", ".join(sorted(entry.tenant_id for entry in found))
        raise NotKnown(f"Several tenants have this event ({tenants}); add --tenant.")
    entry = sweep(found[0], utc_now())
    return Story(entry, *_of_the_recipient(store, entry), store.pauses())


def _of_the_recipient(store: Store, entry: Entry) -> tuple[tuple[Inbound, ...], Consent | None]:
    """Give what the recipient answered to this message, and their wish as far as it decides here."""
    if entry.message is None:
        return (), None
    person = person_of(entry.message.to)
    query = InboundQuery(tenant_id=entry.tenant_id, customer=person, limit=MOST_REPLIES)
    replies = (one for one in store.find_inbound(query)[::-1] if one.answers == entry.key)
    groups = dict.fromkeys((EVERY_SENDER, entry.consent_group or EVERY_SENDER))
    subjects = [Subject(entry.tenant_id, person, group) for group in groups]
    consents = [one for one in store.consents(subjects) if one is not None]
    deciding = next((one for one in consents if one.blocked), None)
    return tuple(replies), deciding or next(iter(consents), None)


def story(of: Story) -> dict[str, Any]:
    """Give the story of an event as ``trace --json`` prints it; numbers and texts stay out."""
    entry = of.entry
    return {
        **shown(entry),
        "provider_status": entry.provider_status,
        "error_code": entry.error_code,
        "carrier_done": entry.carrier_done,
        "generated_at": entry.generated_at,
        "waits_since": _waits_since(entry),
        "looks": entry.looks,
        "next_look_at": _next_look(entry),
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
    for words in _state(of):
        print(f"  {printable(words)}")
    print()
    rows = [
        (f"{step.at:%Y-%m-%d %H:%M:%S.%f}"[:-3], step.step, step.decision, step.reason)
        for step in entry.history
    ]
    print(table(("WHEN (UTC)", "STEP", "DECISION", "REASON"), rows))
    if entry.history_dropped:
        print(f"({entry.history_dropped} steps in between are left out)")
    told = [*_told(_reports(of))]
    if told:
        print()
        print(table(("TOLD TO CI360", "STATE", "CAME ABOUT (UTC)", "ATTEMPTS", "NOTE"), told))


def _reports(of: Story) -> Iterator[Report]:
    """Give the reports of an entry, and of what was answered to it."""
    yield from of.entry.reports
    for one in of.replies:
        yield from one.reports


def _told(reports: Iterable[Report]) -> Iterator[tuple[object, ...]]:
    """Give a row for each report."""
    for one in reports:
        note = reason_words(one.aside) if one.aside else None
        if one.told_at:
            note = f"acknowledged {one.told_at:%Y-%m-%d %H:%M:%S}"
        elif one.due_at:
            note = f"sent next {one.due_at:%Y-%m-%d %H:%M:%S}"
        yield one.outcome, one.state, f"{one.at:%Y-%m-%d %H:%M:%S}", one.attempts, note


def _state(of: Story) -> Iterator[str]:
    """Say what an entry waits for, how often it was looked for, and what belongs to it."""
    entry = of.entry
    pause, waits = pause_of(entry, of.pauses), _waits_since(entry)
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
    if entry.carrier_done:
        yield f"The carrier was done with it at {_carrier_words(entry.carrier_done)}."
    for one in of.replies:
        what = f"{len(one.heard.body)} characters, {one.heard.media_count} media"
        wish = "" if one.wish is Wish.NONE else f", read as {one.wish}"
        yield f"Answered at {one.heard_at:%Y-%m-%d %H:%M:%S} UTC by {one.heard.sid}: {what}{wish}."
    if of.consent is not None:
        yield from _wish(of.consent)
    mute = next((one for one in of.pauses if one.silences(entry.tenant_id)), None)
    if mute is not None and any(one.state == "owed" for one in _reports(of)):
        yield f"CI360 is told nothing at present: {reason_words(mute.reason)}"


def _wish(consent: Consent) -> Iterator[str]:
    since = f" since {consent.since:%Y-%m-%d %H:%M:%S} UTC" if consent.since else ""
    if consent.state == "out":
        yield f"The recipient is opted out{since}."
    elif consent.state == "review":
        yield "The recipient is blocked until a person has read a text: ci360-twilio consent review."
    else:
        yield f"The recipient is opted in{since}."


def _carrier_words(done: str) -> str:
    """Write ``YYMMDDhhmm`` as people do, and what else came as it is; the zone is the carrier's own."""
    if len(done) != len("YYMMDDhhmm"):
        return f"{done} by its own clock"
    return f"20{done[:2]}-{done[2:4]}-{done[4:6]} {done[6:8]}:{done[8:10]} by its own clock"


def _waits_since(entry: Entry) -> datetime | None:
    """Tell since when an entry waits in its place."""
    if entry.place is None:
        return None
    return next((step.at for step in entry.history[::-1] if step.decision == "waits"), None)


def _next_look(entry: Entry) -> datetime | None:
    """Tell when Twilio is asked next what became of a message."""
    when = due(entry)
    return when.at if when.work in (Work.FIND, Work.FETCH) else None
