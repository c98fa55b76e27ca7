"""What must have become of every event, told by the twin's own log and by what reached the connector.

The oracle knows nothing of how the connector decides. It knows which messages the twin made, which
answers, callbacks and lists were handed over, and what may follow from them:

- an event has at most one message;
- an event that was answered 202 has an entry, and at the end of the play one with an end;
- where bytes left and no answer was written down, a callback, or a list that showed exactly one
  message that looks like it, must have settled it; without either nobody can know, and it must be
  ``held``. Held entries that could have been known are failures as much as unknown ones;
- every message's final status is in the ledger, and CI360 was told of every outcome: see
  :mod:`ci360_twilio.twin.telling`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from ci360_twilio.core.entry import UNFINISHED, Entry, Key, Status
from ci360_twilio.twin.message import Message
from ci360_twilio.twin.telling import Told

MADE = frozenset({Status.SENT, Status.DELIVERED, Status.READ, Status.UNDELIVERED, Status.FAILED})


@dataclass(slots=True)
class Evidence:
    """What of one event's message reached the connector."""

    recipient: str
    accepted: bool = False
    """CI360 was told that its event was taken."""
    answered: bool = False
    """The answer that named the SID was written down."""
    called_back: bool = False
    """A callback with its correlation id was taken."""
    open_attempts: int = 0
    """Attempts that were begun, less those whose answer said that nothing was made."""
    unheard: bool = False
    """Whether a commit that lets bytes leave was not heard of: the worker knows that none have
    left, and the ledger does not."""
    listed: list[int] = field(default_factory=list)
    """How many messages that look like it each list showed, in their order."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a campaign. ``problems`` names keys and rules, never a recipient."""

    seed: int
    events: int
    messages: int
    duplicates: int
    lost: int
    unknown: int
    held: int
    mistaken: int
    """Entries that took a stranger's equal message for theirs, as nobody could tell them apart."""
    reports: int
    """Outcomes that CI360 was to be told."""
    again: int
    """How many of these came to it a second time, each under the same key."""
    statuses: dict[str, int]
    problems: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return not (self.duplicates or self.lost or self.unknown or self.problems)


def judge(
    seed: int,
    accepted: Mapping[Key, Evidence],
    entries: Mapping[Key, Entry],
    messages: Sequence[Message],
    told: Told,
) -> Verdict:
    """Compare what was made with what is written.

    Args:
        seed: of the campaign.
        accepted: the evidence of every event that was answered 202.
        entries: the ledger's whole content.
        messages: every message of the twin, strangers' too.
        told: what came of telling CI360.
    """
    ours = Counter(message.to for message in messages if not message.stranger)
    listed = _plainly_listed(messages)
    by_sid = {message.sid: message for message in messages}
    problems: list[str] = []
    lost = mistaken = 0
    for key, evidence in accepted.items():
        entry = entries.get(key)
        if entry is None:
            lost += 1
            problems.append(f"{key}: answered 202, and there is no entry")
            continue
        made = by_sid.get(entry.sid or "")
        stranger = made is not None and made.stranger
        mistaken += stranger
        known = _could_be_known(evidence) or evidence.recipient in listed
        made_for = ours[evidence.recipient]
        problem = _problem(entry, evidence, made_for, stranger=stranger, known=known)
        if problem:
            lost += problem in _LOSSES
            problems.append(f"{key}: {problem}")
    sids = Counter(entry.sid for entry in entries.values() if entry.sid)
    problems.extend(f"{sid}: adopted twice" for sid, times in sids.items() if times > 1)
    statuses = Counter(str(entry.status) for entry in entries.values())
    return Verdict(
        seed=seed,
        events=len(accepted),
        messages=sum(ours.values()),
        duplicates=sum(times - 1 for times in ours.values() if times > 1),
        lost=lost,
        unknown=statuses[Status.UNKNOWN],
        held=statuses[Status.HELD],
        mistaken=mistaken,
        reports=told.reports,
        again=told.again,
        statuses=dict(sorted(statuses.items())),
        problems=(*problems, *told.problems),
    )


_NOT_SENT = "a message exists, and the entry says that it was never sent"
_NOT_MADE = "the entry says that it was sent, and there is no message"
_NO_END = "it has come to no end"
_LOSSES = frozenset({_NOT_MADE, _NO_END})


def _problem(
    entry: Entry, evidence: Evidence, made: int, *, stranger: bool, known: bool
) -> str | None:
    status = entry.status
    if status in UNFINISHED and status is not Status.HELD:
        return _NO_END
    if status in MADE:
        return None if made or stranger else _NOT_MADE
    if status is Status.HELD:
        return "it is held, and could have been known" if known else None
    if made:
        return _NOT_SENT
    return "nobody can know, and it is not held" if evidence.open_attempts > 0 else None


def _could_be_known(evidence: Evidence) -> bool:
    seen = next((number for number in evidence.listed if number), 0)
    known = evidence.answered or evidence.called_back or seen == 1
    return known or (evidence.open_attempts == 0 and not evidence.unheard)


_HOURS = range(2, 23)


def _plainly_listed(messages: Sequence[Message]) -> set[str]:
    """Give the recipients whose list shows one message, for all of the day in which it is sought."""
    times = Counter(message.to for message in messages)
    return {
        message.to
        for message in messages
        if times[message.to] == 1 and all(message.lot.is_seen(hour * 3600.0) for hour in _HOURS)
    }
