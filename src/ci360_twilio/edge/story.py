"""The whole story of one event, and of what its customer answered, in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from ci360_twilio.core.consent import EVERY_SENDER, Consent, Subject, person_of
from ci360_twilio.core.due import Work, due, sweep
from ci360_twilio.core.entry import Entry, Status, Step
from ci360_twilio.core.inbound import Inbound
from ci360_twilio.core.pace import is_paced_place
from ci360_twilio.core.pause import Pause, is_paused_place, paused_by
from ci360_twilio.core.reasons import STATUS_WORDS, reason_words
from ci360_twilio.core.report import Report
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.core.wish import Wish
from ci360_twilio.errors import NotKnown
from ci360_twilio.flow.decision import target_of
from ci360_twilio.ports import InboundQuery, Query, Store

MOST_REPLIES = 50


class Story(NamedTuple):
    """All that belongs to one event."""

    entry: Entry
    replies: tuple[Inbound, ...]
    """Oldest first."""
    consent: Consent | None
    """The recipient's wish that decides."""
    pauses: list[Pause]

    @property
    def reports(self) -> list[Report]:
        """The reports of the entry, and of what was answered to it."""
        return [*self.entry.reports, *(report for one in self.replies for report in one.reports)]


def find_entries(store: Store, name: str, tenant_id: TenantId | None) -> list[Entry]:
    """Find an event by its guid, by its message's SID, or by the SID of an answer to it.

    Raises:
        NotKnown: there is none.
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
    return found


def tell(store: Store, entry: Entry, now: datetime) -> Story:
    """Give the story of an entry, as it stands now."""
    entry = sweep(entry, now)
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


def pause_of(entry: Entry, pauses: list[Pause]) -> Pause | None:
    """Give the pause behind which an entry waits, or will when its turn comes."""
    if entry.status is not Status.ACCEPTED:
        return None
    placed = (pause for pause in pauses if pause.place == entry.place)
    return next(placed, None) or paused_by(entry, pauses)


def standing(of: Story) -> Iterator[str]:
    """Say what an entry waits for, how often it was looked for, and what belongs to it."""
    entry = of.entry
    pause, waits = pause_of(entry, of.pauses), waits_since(entry)
    since = f", since {waits:%Y-%m-%d %H:%M:%S} UTC" if waits else ""
    if pause is not None:
        yield f"It waits for the end of a pause ({target_of(pause)}){since}."
    elif is_paused_place(entry.place):
        yield f"The pause is gone that it waited behind{since}; its turn comes next."
    elif is_paced_place(entry.place):
        yield f"It waits for its sender's turn{since}."
    if entry.looks or entry.status is Status.UNKNOWN:
        looked, then = next_look(entry), "it is not asked again"
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
        yield _wish(of.consent)
    mute = next((one for one in of.pauses if one.silences(entry.tenant_id)), None)
    if mute is not None and any(one.state == "owed" for one in of.reports):
        yield f"CI360 is told nothing at present: {reason_words(mute.reason)}"


def _wish(consent: Consent) -> str:
    since = f" since {consent.since:%Y-%m-%d %H:%M:%S} UTC" if consent.since else ""
    if consent.state == "out":
        return f"The recipient is opted out{since}."
    if consent.state == "review":
        return "The recipient is blocked until a person has read a text, under Consents in the console or by: ci360-twilio consent review."
    return f"The recipient is opted in{since}."


def _carrier_words(done: str) -> str:
    """Write ``YYMMDDhhmm`` as people do, and what else came as it is; the zone is the carrier's own."""
    if len(done) != len("YYMMDDhhmm"):
        return f"{done} by its own clock"
    return f"20{done[:2]}-{done[2:4]}-{done[4:6]} {done[6:8]}:{done[8:10]} by its own clock"


def waits_since(entry: Entry) -> datetime | None:
    """Tell since when an entry waits in its place."""
    if entry.place is None:
        return None
    return next((step.at for step in entry.history[::-1] if step.decision == "waits"), None)


def next_look(entry: Entry) -> datetime | None:
    """Tell when Twilio is asked next what became of a message."""
    when = due(entry)
    return when.at if when.work in (Work.FIND, Work.FETCH) else None


class Gate(NamedTuple):
    """One gate that an event passes on its way in, and what it said."""

    name: str
    verdict: str
    """``passed``, ``stopped``, or ``not asked``, where one before it decided."""
    words: str


_GATES: tuple[tuple[str, str, frozenset[str]], ...] = (
    ("The event's fields", "Its guid, type and time can be used.", frozenset({"invalid_event"})),
    ("Control group", "The customer is none of a control group.", frozenset({"control_group"})),
    ("Age", "It came in time.", frozenset({"expired"})),
    ("Creative, recipient, sender, media", "They make a message.", frozenset()),
    ("Country", "The tenant sends to this country.", frozenset({"country_not_allowed"})),
    ("Restore", "No restored ledger may have sent it.", frozenset({"older_than_restore"})),
    ("Consent", "The recipient had not opted out.", frozenset({"opted_out"})),
    ("Recipient's limit", "The recipient had room for another.", frozenset({"recipient_limit"})),
)
"""Each gate in its order, what it says to who passes, and the reasons that it gives."""
_CREATIVE = 3


def gates(entry: Entry) -> list[Gate]:
    """Give each gate's verdict on an event, from the first step of its history."""
    first = entry.history[0] if entry.history else None
    stopped = len(_GATES)
    if first is not None and first.step == "accept" and first.decision != Status.ACCEPTED:
        reasons = (place for place, gate in enumerate(_GATES) if first.reason in gate[2])
        stopped = next(reasons, _CREATIVE)
    found = []
    for place, (name, words, _) in enumerate(_GATES):
        if place < stopped:
            found.append(Gate(name, "passed", words))
        elif place == stopped:
            why = reason_words(first.reason) if first and first.reason else ""
            found.append(Gate(name, "stopped", why))
        else:
            found.append(Gate(name, "not asked", "The decision had been made."))
    return found


_STEPS: Mapping[tuple[str, str], str] = {
    ("accept", "accepted"): "The event passed all gates and was written down.",
    ("accept", "duplicate"): "The same event came again; nothing is sent for it a second time.",
    ("accept", "suppressed"): "A gate kept it from being sent, on purpose.",
    ("accept", "refused"): "A gate refused it.",
    ("accept", "expired"): "It was too old when it came.",
    ("accept", "held"): "It was put aside until a person has looked.",
    ("send", "accepted"): "A worker took it, to send it.",
    ("send", "sending"): "It was handed to Twilio.",
    ("send", "sent"): "Twilio took it and gave it a SID.",
    ("send", "retry"): "Nothing was made; it is tried again later.",
    ("send", "postponed"): "The worker gave it back unsent.",
    ("send", "refused"): "Twilio refused it.",
    ("send", "unknown"): "Twilio's answer was lost; it is looked for and not sent again.",
    ("steer", "waits"): "It waits: something is paused, or it is not its sender's turn.",
    ("steer", "replayed"): "Its message is sent again by a new entry.",
    ("steer", "canceled"): "A person took it back, or closed it.",
    ("settle", "sent"): "A receipt says that it is on its way.",
    ("settle", "delivered"): "A receipt says that it arrived.",
    ("settle", "read"): "A receipt says that it was read.",
    ("settle", "undelivered"): "A receipt says that it did not arrive.",
    ("settle", "failed"): "A receipt says that Twilio could not send it.",
    ("find", "sent"): "It was found at Twilio, or asked for there.",
    ("find", "unknown"): "It was looked for at Twilio.",
    ("find", "held"): "It was not found in time; a person must decide.",
    ("sweep", "expired"): "Its time was over before its turn came.",
    ("sweep", "unknown"): "Its worker was not heard of again; it is looked for and not sent again.",
    ("sweep", "accepted"): "Its worker was not heard of again; another will take it.",
}


def step_words(step: Step) -> str:
    """Say in a sentence what a step of a history was."""
    words = _STEPS.get((step.step, step.decision))
    if words is None:
        known = step.decision in {*Status}
        words = STATUS_WORDS[Status(step.decision)] if known else f"{step.step}: {step.decision}."
    return f"{words} {reason_words(step.reason)}" if step.reason else words
