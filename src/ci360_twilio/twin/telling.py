"""CI360 in a campaign: a twin that fails at random, whoever tells it, and what it must know at the end."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple, Protocol

from ci360_twilio.core.ci360 import default_name
from ci360_twilio.core.entry import Entry, Key
from ci360_twilio.core.inbound import Inbound
from ci360_twilio.core.receipt import is_final
from ci360_twilio.core.report import Outcome, Report
from ci360_twilio.errors import LedgerUnavailable
from ci360_twilio.flow.report import Reporting
from ci360_twilio.logs import Log
from ci360_twilio.ports import Store, Tenants
from ci360_twilio.twin.ci360 import Ci360Twin, TakenEvent
from ci360_twilio.twin.ci360_server import InsideCi360
from ci360_twilio.twin.clock import VirtualClock
from ci360_twilio.twin.faults import FaultPlan
from ci360_twilio.twin.message import Message, MessageStatus
from ci360_twilio.twin.play import Play

API_URL = "https://extapigwservice-demo.ci360.sas.com/marketingGateway/events"
SECRET, NEW_SECRET = "first-secret", "second-secret"
AT_ONCE = 64
KEY = "twilio_report_key"


class Stage(Protocol):
    """What a teller needs of the campaign that it works in."""

    seed: int
    chance: random.Random
    clock: VirtualClock
    log: Log
    play: Play
    store: Store
    tenants: Tenants

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Have something happen later."""


class Telling:
    """Tells a CI360 of its own of everything that is owed, and dies now and then before writing so."""

    def __init__(self, stage: Stage, tenant_id: str) -> None:
        self._stage = stage
        self.twin = Ci360Twin(tenants={tenant_id: SECRET}, clock=stage.clock)
        faults = FaultPlan(asking=stage.play.ci360, seed=stage.seed)
        self._client = InsideCi360(self.twin, faults, clock=stage.clock)
        self._reporting = self._started()

    def _started(self) -> Reporting:
        """Come (back) to life with nothing in memory."""
        stage = self._stage
        return Reporting(
            stage.store,
            stage.store,
            self._client,
            stage.tenants,
            stage.clock,
            stage.log,
            rng=stage.chance,
        )

    def tell(self, pause: float = 1.0) -> None:
        """Do one round, and plan the next."""
        stage = self._stage
        busy = True
        with suppress(LedgerUnavailable):
            tasks = self._reporting.take(AT_ONCE)
            busy = bool(tasks)
            done = [self._reporting.tell(task) for task in tasks]
            if done and stage.chance.random() < stage.play.forgets:
                self._reporting = self._started()
            elif done:
                self._reporting.record(done)
        pause = 1.0 if busy else min(pause * 1.5, 60.0)
        stage.after(pause, partial(self.tell, pause))


class Told(NamedTuple):
    """What CI360 was told, at the end of a campaign."""

    reports: int
    again: int
    """Events that came a second time."""
    problems: tuple[str, ...]


def judge_told(
    entries: Mapping[Key, Entry],
    letters: Iterable[Inbound],
    messages: Sequence[Message],
    events: Sequence[TakenEvent],
) -> Told:
    """Compare what CI360 has with what it must have.

    The final status of every message is in the ledger. Every outcome that is owed by it was told,
    with the customer's identity and under one key; what came twice came with the same key and the
    same words; and nothing was told that is no outcome of anything.
    """
    documents: dict[Key, Entry | Inbound] = {**entries, **{one.key: one for one in letters}}
    by_key = defaultdict[str, list[TakenEvent]](list)
    for event in events:
        by_key[event.attributes.get(KEY, "")].append(event)
    problems = list(_unsettled(entries, messages))
    known: set[str] = set()
    for document in documents.values():
        for report in document.reports:
            known.add(report.key)
            problem = _untold(document, report, by_key[report.key])
            if problem:
                problems.append(f"{document.key}: {problem} ({report.outcome})")
    problems += [f"{name}: nothing knows of this event" for name in _foreign(by_key, known)]
    return Told(len(known), sum(len(told) - 1 for told in by_key.values() if told), tuple(problems))


def _unsettled(entries: Mapping[Key, Entry], messages: Sequence[Message]) -> Iterator[str]:
    """Tell of messages whose final status is not in the ledger, or is there and was never owed."""
    by_sid = {entry.sid: entry for entry in entries.values() if entry.sid}
    for message in messages:
        entry = by_sid.get(message.sid)
        if entry is None or not is_final(message.status):
            continue
        seen = {MessageStatus.READ: {"read", "delivered"}}.get(message.status, {message.status})
        if entry.status not in seen:
            yield f"{entry.key}: Twilio's last word is {message.status}, the ledger's {entry.status}"
        elif Outcome(entry.status) in entry.tells and not any(
            (one.outcome, one.sid) == (Outcome(entry.status), entry.sid) for one in entry.reports
        ):
            yield f"{entry.key}: nobody owes CI360 that it is {entry.status}"


def _untold(document: Entry | Inbound, report: Report, events: Sequence[TakenEvent]) -> str | None:
    if report.state != "told":
        return f"a report is {report.state}"
    if not events:
        return "a report is said to be told, and CI360 has no such event"
    said = {(one.name, one.identity, tuple(sorted(one.attributes.items()))) for one in events}
    if len(said) > 1:
        return "a report that came twice was not the same"
    [event] = events[:1]
    if event.name != default_name(report.outcome):
        return "a report came under another name"
    known = {*document.origin.identities.values()}
    if isinstance(document, Inbound) and not known:
        known = {document.heard.sender}
    return None if event.identity[1] in known else "a report came for somebody else"


def _foreign(by_key: Mapping[str, Sequence[TakenEvent]], known: set[str]) -> list[str]:
    names = Counter(told[0].name for key, told in by_key.items() if told and key not in known)
    return [f"{name} ({number} times)" for name, number in names.items()]
