"""A campaign in which customers write back: STOP, START and other texts, to two numbers, at any time.

Twilio's own blocking is off, so that nothing but the connector stops a message. Webhooks are lost,
late, repeated, disordered, and posted again hours later; the ledger fails after it has written. Each
customer gets several events from both numbers, and one more when all is quiet.

The rule that is judged: no request goes to a customer whose second look at their wish began after
their STOP was answered, unless they wrote START after it. And in the end, those whose last word is
START get the last message, and nobody else who has ever written STOP.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from typing import NamedTuple

from ci360_twilio.core.entry import UNFINISHED, Entry, Key, Status, key_of
from ci360_twilio.errors import LedgerUnavailable
from ci360_twilio.flow.addresses import inbound_address
from ci360_twilio.flow.catchup import CatchingUp
from ci360_twilio.flow.dating import Dating
from ci360_twilio.flow.hear import Listening, Taken
from ci360_twilio.flow.webhook import Doorkeeper
from ci360_twilio.twin.account import TwinAccount
from ci360_twilio.twin.callback import Callback, Failing
from ci360_twilio.twin.chaos import (
    ACCOUNT,
    START,
    TENANT,
    Campaign,
    number_of,
    posted,
)
from ci360_twilio.twin.events import outbound_body
from ci360_twilio.twin.message import Message
from ci360_twilio.twin.mortal import PUBLIC_URL
from ci360_twilio.twin.oracle import MADE, Evidence, Verdict
from ci360_twilio.twin.phone import Letter, taken_for
from ci360_twilio.twin.play import Play

NUMBERS = ("+12015550196", "+12015550197")
RATE = 2.0
"""Segments per second of each number: customers write while messages to them wait."""
EVENTS = 6
"""For each customer, besides the last one."""
QUIET_AFTER = timedelta(hours=14)
"""When the last event comes: everything that was written is heard by then."""
WORDS = ("STOP", "Stop.", "START", "start", "Thank you!", "can't stop laughing")
LATER = (10.0, 600.0, 7_200.0, 40_000.0)
"""After how many seconds an answered webhook comes once more."""


PLAY = Play(
    ledger=0.03,
    stalls=0.03,
    freezes=0.01,
    deaths=3.0,
    asking={"http_500": 0.2, "unreachable": 0.1},
    requests={"http_429": 0.15, "http_500_made": 0.02, "reset": 0.02, "slow:20": 0.05},
    weather={"lag:600": 0.2, "lost": 0.3, "repeated": 0.2, "late": 0.2, "disordered": 0.3},
    ci360={"http_500": 0.05, "reset": 0.05},
    forgets=0.02,
)
"""What goes wrong."""


class Broken(NamedTuple):
    """A request that should not have been made."""

    key: Key
    rule: str


class Conversation(Campaign):
    """One campaign with customers who write; everything in it follows from the seed."""

    sender_rates = dict.fromkeys(NUMBERS, RATE)

    def __init__(self, seed: int, customers: int, play: Play | None = None) -> None:
        """Set the stage for that many customers."""
        super().__init__(seed, customers * EVENTS, play or PLAY)
        self.customers = customers
        self._steps = count()
        self.looked: dict[Key, int] = {}
        """When the last look at a wish began, for each entry."""
        self.left: list[tuple[Key, int, datetime]] = []
        """Requests: whose, when the look before it began, and when it was made."""
        self.answered: dict[str, int] = {}
        """When the webhook of a customer's text was answered, by the text's SID."""
        self.recipient_of: dict[Key, str] = {}
        doorkeeper = Doorkeeper(self.tenants, public_url=PUBLIC_URL)
        self.listening = Listening(self.store, doorkeeper, self.clock, self.log)
        self.dating = Dating(self.store, self.twilio, self.tenants, self.clock, self.log)
        self.catching_up = CatchingUp(
            self.store,
            self.twilio,
            self.listening,
            self.tenants,
            self.clock,
            self.log,
            every=600.0,
        )

    def account(self) -> TwinAccount:
        """Give an account whose texts come in, and that leaves opting out to us."""
        return replace(
            super().account(),
            inbound_url=inbound_address(PUBLIC_URL, TENANT),
            blocks=False,
            advanced=self.seed % 2 == 0,
        )

    def look(self, entries: Sequence[Entry]) -> None:
        """Take note that wishes are looked at now."""
        for entry in entries:
            self.looked[entry.key] = next(self._steps)

    def leaves(self, key: Key) -> None:
        """Take note of a request."""
        self.left.append((key, self.looked[key], self.clock.now))

    def judge(self) -> Verdict:
        """Judge by the rules of this play: what is held, another one judges."""
        entries = self.entries()
        told = self.told(entries)
        made = Counter((message.to, message.body) for message in self.twin.messages)
        accepted = [key for key, one in self.evidence.items() if one.accepted]
        lost = [key for key in accepted if key not in entries or _goes_on(entries[key])]
        statuses = Counter(str(entry.status) for entry in entries.values())
        broken = [f"{one.key}: {one.rule}" for one in self._broken(entries)]
        return Verdict(
            seed=self.seed,
            events=len(accepted),
            messages=made.total(),
            duplicates=sum(times - 1 for times in made.values()),
            lost=len(lost),
            unknown=statuses[Status.UNKNOWN],
            held=statuses[Status.HELD],
            mistaken=0,
            reports=told.reports,
            again=told.again,
            statuses=dict(sorted(statuses.items())),
            problems=(*told.problems, *broken),
        )

    def _plan(self) -> None:
        super()._plan()
        span = self.messages / (RATE * len(NUMBERS))
        for customer in range(self.customers):
            for _ in range(self.chance.randint(0, 4)):
                self.after(self.chance.uniform(0.0, 1.5) * span, partial(self._write, customer))
            quiet = QUIET_AFTER.total_seconds() + self.chance.uniform(0, 60)
            self.after(quiet, partial(self._post_last, customer))
        self.after(7.0, partial(self._attend, 20.0))

    def _event(self, index: int) -> tuple[Key, str, bytes]:
        customer, sender = index % self.customers, NUMBERS[index % len(NUMBERS)]
        return self._made(f"event-{index}", customer, sender, START)

    def _post_last(self, customer: int) -> None:
        made = self._made(f"last-{customer}", customer, NUMBERS[customer % 2], self.clock.now)
        self._post(*made)

    def _made(
        self, guid: str, customer: int, sender: str, generated_at: datetime
    ) -> tuple[Key, str, bytes]:
        recipient, key = number_of(customer), key_of(TENANT, guid)
        body = outbound_body(
            guid=guid,
            tenant_id=TENANT,
            creative=f"TO:{recipient};FROM:{sender};\n{guid}: see you soon",
            generated_at=generated_at,
            subject_id=f"customer-{customer}",
            identity_id=f"identity-{customer}",
        )
        self.recipient_of[key] = recipient
        self.evidence[key] = Evidence(recipient)
        return key, recipient, body

    def _write(self, customer: int) -> None:
        """Have a customer write to one of the numbers."""
        letter = Letter(
            sender=number_of(customer),
            to=self.chance.choice(NUMBERS),
            body=self.chance.choice(WORDS),
        )
        self.twin.write(ACCOUNT, letter)

    def _attend(self, pause: float) -> None:
        """Do what a worker does for customers: ask for dates, and list what was missed."""
        with suppress(LedgerUnavailable):
            self.catching_up.add((TENANT, number) for number in NUMBERS)
            self.dating.date_due(100)
            while self.catching_up.list_due():
                pass
        self.after(pause, partial(self._attend, min(pause * 1.1, 300.0)))

    def _deliver(self) -> None:
        due = self.twin.advance(self.clock.now)
        self.settle([one for one in due if "MessageStatus" in one.form])
        for one in due:
            if "MessageStatus" not in one.form:
                self._hear(one)

    def _hear(self, callback: Callback) -> None:
        """Post a customer's text as the server would take it; now and then once more, much later."""
        [answer] = self.listening.hear_many([posted(callback)])
        if not isinstance(answer, Taken):
            self.twin.failed(callback, self.clock.now, Failing.SERVER)
            return
        if answer.consent is not None and answer.consent.undated:
            with suppress(LedgerUnavailable):
                self.dating.date_now([answer.consent], seconds=4.0)
        self.answered.setdefault(callback.form["MessageSid"], next(self._steps))
        if self.chance.random() < 0.3:
            self.after(self.chance.choice(LATER), partial(self._hear, callback))

    def _broken(self, entries: Mapping[Key, Entry]) -> Iterator[Broken]:
        letters = defaultdict[str, list[Message]](list)
        for letter in self.twin.letters:
            letters[letter.sender or ""].append(letter)
        for key, looked, at in self.left:
            written = letters[self.recipient_of[key]]
            heard = [one for one in written if self.answered.get(one.sid, looked) < looked]
            if _is_out(heard, [one for one in written if one.at <= at]):
                yield Broken(key, "it was begun after the customer's STOP was answered")
        for customer in range(self.customers):
            key = key_of(TENANT, f"last-{customer}")
            written = letters[number_of(customer)]
            is_out = _is_out(written, written)
            status = entries[key].status if key in entries else None
            if is_out and status is not Status.SUPPRESSED:
                yield Broken(key, f"the customer has opted out, and it is {status}")
            elif not is_out and status not in {*MADE, Status.HELD}:
                yield Broken(key, f"the customer wants it, and it is {status}")


def _goes_on(entry: Entry) -> bool:
    return entry.status in UNFINISHED - {Status.HELD}


def _is_out(heard: Sequence[Message], written: Sequence[Message]) -> bool:
    """Tell whether somebody has opted out by what was heard, and not back in by what was written.

    Twilio's dates are whole seconds: a START of the same second is no later.
    """
    stops = [_second(one) for one in heard if _kind(one) == "STOP"]
    starts = [_second(one) for one in written if _kind(one) == "START"]
    return bool(stops) and not any(start > max(stops) for start in starts)


def _kind(letter: Message) -> str:
    return taken_for(letter.body.rstrip("."))


def _second(letter: Message) -> datetime:
    return letter.at.replace(microsecond=0)
