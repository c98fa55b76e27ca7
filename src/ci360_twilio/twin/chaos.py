"""A campaign against the twin in process, on a virtual clock, with everything going wrong.

CI360 posts events and repeats some; two workers claim, send, stall, die and come back; Twilio's
answers are lost, late or lies; its list lags and shows a stranger's messages; callbacks are lost,
repeated and disordered; CI360 fails while it is told; the ledger refuses now and then, also after it
has written; credentials break, a country closes, a person pauses and resumes. The product's own flow runs, unchanged, and
all of it follows from one seed. :mod:`ci360_twilio.twin.oracle` then judges.
"""

from __future__ import annotations

import heapq
import io
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from urllib.parse import urlencode, urlsplit

import msgspec

from ci360_twilio.core.entry import Entry, Fact, Key, Kind, key_of
from ci360_twilio.core.match import Listed
from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.core.tenant import Tenant, TenantId, parse_tenant, parse_tenant_id
from ci360_twilio.errors import ConnectorError, LedgerUnavailable
from ci360_twilio.flow.accept import Acceptance, Accepted
from ci360_twilio.flow.arrival import Arrival
from ci360_twilio.flow.find import Finding
from ci360_twilio.flow.settle import Settled, Settlement
from ci360_twilio.flow.webhook import Doorkeeper, Webhook
from ci360_twilio.logs import Log
from ci360_twilio.ports import InboundQuery, Query, Store, Tenants
from ci360_twilio.stores.memory import MemoryStore
from ci360_twilio.twin.account import TwinAccount
from ci360_twilio.twin.callback import Callback, Failing
from ci360_twilio.twin.clock import VirtualClock
from ci360_twilio.twin.events import outbound_body
from ci360_twilio.twin.faults import FaultPlan
from ci360_twilio.twin.flaky import flaky
from ci360_twilio.twin.inside import InsideTwilio
from ci360_twilio.twin.mortal import LEASE_SECONDS, PUBLIC_URL, MortalWorker
from ci360_twilio.twin.oracle import Evidence, Verdict, judge
from ci360_twilio.twin.play import Play
from ci360_twilio.twin.telling import API_URL, NEW_SECRET, SECRET, Telling, Told, judge_told
from ci360_twilio.twin.twilio import TwilioTwin
from ci360_twilio.twin.weather import Weather

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
TENANT = parse_tenant_id("chaos")
ACCOUNT, TOKEN, NEW_TOKEN = f"AC{'c' * 32}", "first-token", "second-token"
SERVICE = f"MG{'c' * 32}"
PACED = "+12015550198"
SENDERS = ("+12015550199", "+12015550199", PACED, SERVICE)
PER_SECOND = 40
"""Events that CI360 posts."""
FREEZES = (20.0, LEASE_SECONDS + 2, LEASE_SECONDS + 10, LEASE_SECONDS + 25, 300.0)
"""For how long a worker stands still, in seconds: worst is when others have just taken over."""
HORIZON = timedelta(hours=60)
"""How long is played: events live a day, and what is unknown is held a day later."""


class OneTenant:
    """The tenant's document, as it stands at the moment."""

    def __init__(self, sender_rates: Mapping[str, float]) -> None:
        self._rates = dict(sender_rates)
        self._secrets = {"ci360_client_secret": SECRET}
        self.write("twilio_auth_token", TOKEN)

    def write(self, name: str, secret: str) -> None:
        """Write another token into it."""
        self._secrets[name] = secret
        document = {
            "twilio_api_url": "https://api.twilio.com",
            "twilio_account_sid": ACCOUNT,
            "twilio_auth_tokens": [TOKEN, NEW_TOKEN],
            "sender_rates": self._rates,
            "ci360_api_url": API_URL,
            "ci360_reply_identity_key": "login_id",
            **self._secrets,
        }
        self._tenant = parse_tenant(msgspec.json.encode(document), TENANT)

    def get(self, _tenant_id: TenantId) -> Tenant:
        """Give it."""
        return self._tenant

    reread = get


class WatchedTwilio(InsideTwilio):
    """Twilio in process, with somebody who notes what its lists have shown."""

    def __init__(
        self,
        twin: TwilioTwin,
        faults: FaultPlan,
        *,
        clock: VirtualClock,
        latency: float,
        seen: Callable[[str, list[Listed]], None],
    ) -> None:
        """Make it; ``seen`` is told of every answer to a search."""
        super().__init__(twin, faults, clock=clock, latency=latency)
        self._seen = seen

    def search(
        self, tenant: Tenant, to: str, *, since: datetime | None = None, timeout: float = 10.0
    ) -> list[Listed]:
        """List messages to a recipient."""
        rows = super().search(tenant, to, since=since, timeout=timeout)
        self._seen(to, rows)
        return rows


class Campaign:
    """One campaign; everything in it follows from the seed."""

    sender_rates: Mapping[str, float] = {PACED: 20}
    """Segments per second of senders, as the tenant's document has them."""
    idle = 30.0
    """Seconds after which a worker that finds nothing looks again, once the campaign is over."""

    def __init__(self, seed: int, messages: int, play: Play | None = None) -> None:
        """Set the stage.

        Args:
            seed: of everything that is left to chance.
            messages: how many events CI360 posts, each for a recipient of its own.
            play: how bad it gets; by default the seed decides.
        """
        self.seed, self.messages = seed, messages
        self.chance = random.Random(f"campaign/{seed}")
        self.play = play or Play.by_chance(self.chance)
        self.clock = VirtualClock(START)
        self.log = Log(io.StringIO(), level="error")
        self.evidence: dict[Key, Evidence] = {}
        self.key_of: dict[str, Key] = {}
        self.token = OneTenant(self.sender_rates)
        self.tenants: Tenants = self.token
        self.store = flaky(self.ledger(), self.play.ledger, self.chance)
        self.twin = TwilioTwin(
            accounts=[self.account()],
            clock=self.clock,
            seed=seed,
            weather=Weather(self.play.weather, seed=seed),
        )
        self.twilio: InsideTwilio = WatchedTwilio(
            self.twin,
            FaultPlan(self.play.requests, asking=self.play.asking, seed=seed),
            clock=self.clock,
            latency=self.play.latency,
            seen=self._listed,
        )
        self._queue: list[tuple[datetime, int, Callable[[], None]]] = []
        self._number = count()
        self.acceptance = Acceptance(self.store, self.tenants, self.clock, self.log)
        doorkeeper = Doorkeeper(self.tenants, public_url=PUBLIC_URL)
        self.settlement = Settlement(self.store, self.store, doorkeeper, self.clock, self.log)
        self.finding = Finding(
            self.store,
            self.twilio,
            self.tenants,
            self.clock,
            self.log,
            unknown_deadline=86_400.0,
            event_ttl=86_400.0,
            lease_seconds=LEASE_SECONDS,
        )
        self.telling = Telling(self, TENANT)
        self.workers = [
            MortalWorker(self, timedelta()),
            MortalWorker(self, timedelta(seconds=self.play.skew)),
        ]

    def run(self) -> Verdict:
        """Play the campaign to its end, and judge."""
        self._plan()
        end = START + HORIZON
        while self._queue and self._queue[0][0] <= end:
            at, number, action = heapq.heappop(self._queue)
            change = self.twin.next_change_at()
            if change is not None and change <= at:
                heapq.heappush(self._queue, (at, number, action))
                self.clock.now = max(change, self.clock.now)
                self._deliver()
            else:
                self.clock.now = max(at, self.clock.now)
                action()
        return self.judge()

    def judge(self) -> Verdict:
        """Compare the books."""
        entries = self.entries()
        accepted = {key: one for key, one in self.evidence.items() if one.accepted}
        return judge(self.seed, accepted, entries, self.twin.messages, self.told(entries))

    def entries(self) -> dict[Key, Entry]:
        """Give the ledger's whole content."""
        return {entry.key: entry for entry in self.store.find(Query(limit=10**9))}

    def told(self, entries: Mapping[Key, Entry]) -> Told:
        """Compare what CI360 has with what it must have."""
        letters = self.store.find_inbound(InboundQuery(limit=10**9))
        return judge_told(entries, letters, self.twin.messages, self.telling.twin.events)

    def ledger(self) -> Store:
        """Give the ledger, which fails now and then."""
        return MemoryStore()

    def account(self) -> TwinAccount:
        """Give the account that the tenant sends by."""
        return TwinAccount(sid=ACCOUNT, auth_token=TOKEN, life=self.play.life)

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Have something happen later."""
        at = self.clock.now + timedelta(seconds=seconds)
        heapq.heappush(self._queue, (at, next(self._number), action))

    def began(self, key: Key) -> None:
        """Take note that bytes of a message may leave now."""
        self.evidence[key].open_attempts += 1

    def look(self, entries: Sequence[Entry]) -> None:
        """Hear that a worker looks now whether these may be sent."""

    def leaves(self, key: Key) -> None:
        """Hear that a request is made."""

    def unheard(self, entries: Sequence[Entry]) -> None:
        """Take note that the ledger did not say whether these may be sent."""
        for entry in entries:
            self.evidence[entry.key].unheard = True

    def recorded(self, facts: Sequence[tuple[Key, Fact]]) -> None:
        """Take note of answers that have been written down."""
        for key, fact in facts:
            evidence = self.evidence[key]
            if fact.kind is Kind.MADE:
                evidence.answered = True
            if fact.kind in (Kind.MADE, Kind.RETRIED, Kind.REFUSED):
                evidence.open_attempts -= 1

    def break_token(self) -> None:
        """Have Twilio take another token from now on."""
        self.twin.rotate(ACCOUNT, NEW_TOKEN)

    def mend_token(self) -> None:
        """Write that token into the tenant's document."""
        self.token.write("twilio_auth_token", NEW_TOKEN)

    def break_secret(self) -> None:
        """Have CI360 take another access point's token from now on."""
        self.telling.twin.change_secret(TENANT, NEW_SECRET)

    def mend_secret(self) -> None:
        """Write its secret into the tenant's document."""
        self.token.write("ci360_client_secret", NEW_SECRET)

    def pause(self) -> None:
        """Pause everything, as a person would, who tries again where that failed."""
        everything = Pause(
            scope=Scope.ALL, cause=Cause.PERSON, reason="paused", since=self.clock.now
        )
        try:
            self.store.pause(everything)
        except LedgerUnavailable:
            self.after(1.0, self.pause)

    def resume(self) -> None:
        """Lift what a person has paused, in the same way."""
        lasting = [one.name for one in self.store.pauses() if one.cause is Cause.PERSON]
        try:
            self.store.resume(lasting)
        except LedgerUnavailable:
            self.after(1.0, self.resume)

    def close_country(self) -> None:
        """Have Twilio refuse British recipients."""
        self.twin.close_country(ACCOUNT, "44")

    def open_country(self) -> None:
        """Have it take them again."""
        self.twin.open_country(ACCOUNT, "44")

    def _plan(self) -> None:
        """Put everything on the calendar that does not follow from something else."""
        for index in range(self.messages):
            posted = index / PER_SECOND + self.chance.random()
            self.after(posted, partial(self._post, *self._event(index)))
        span = self.messages / PER_SECOND
        for worker in self.workers:
            self.after(0.0, partial(self._tick, worker, 0.1))
            self._next_death(worker, span)
        self.after(5.0, partial(self._find, 5.0))
        self.after(1.0, self.telling.tell)
        if self.play.outages:
            self._plan_outages(span)

    def _plan_outages(self, span: float) -> None:
        """Change tokens at Twilio and CI360 first, close a country, pause everything: each for a while."""
        broken, closed, paused, unknown = (self.chance.uniform(0.0, 0.9) * span for _ in range(4))
        self.after(unknown, self.break_secret)
        self.after(unknown + self.chance.uniform(5, 5_000), self.mend_secret)
        self.after(broken, self.break_token)
        self.after(broken + self.chance.uniform(5, 600), self.mend_token)
        self.after(closed, self.close_country)
        self.after(closed + self.chance.uniform(5, 900), self.open_country)
        self.after(paused, self.pause)
        self.after(paused + self.chance.uniform(5, 3_000), self.resume)

    def _event(self, index: int) -> tuple[Key, str, bytes]:
        recipient = number_of(index)
        guid = f"event-{index}"
        sender = SENDERS[index % len(SENDERS)]
        body = outbound_body(
            guid=guid,
            tenant_id=TENANT,
            creative=f"TO:{recipient};FROM:{sender};\nHello number {index}, read https://example.com/{index}",
            generated_at=START,
            task_code=f"TSK_{index % 3}",
            subject_id=f"customer-{index}",
            identity_id=f"identity-{index}",
        )
        key = self.key_of[recipient] = key_of(TENANT, guid)
        self.evidence[key] = Evidence(recipient)
        return key, recipient, body

    def _post(self, key: Key, recipient: str, body: bytes) -> None:
        """Post an event as CI360 does: again after a 503, and now and then though it was taken."""
        answer = self.acceptance.accept_many([Arrival(body=body, trusted=True)])[0]
        again = partial(self._post, key, recipient, body)
        if isinstance(answer, ConnectorError):
            self.after(self.chance.uniform(1, 30), again)
            return
        if isinstance(answer, Accepted):
            self.evidence[key].accepted = True
        if self.chance.random() < self.play.repeats:
            self.after(self.chance.choice((0.01, 2.0, 60.0, 7_200.0)), again)

    def _tick(self, worker: MortalWorker, pause: float) -> None:
        """Let a worker do a round, soon again while there is work, seldom while there is none."""
        busy = worker.work() if worker.up else False
        if self.chance.random() < 0.05:
            worker.keep()
        young = self.clock.now - START < timedelta(seconds=2 * self.messages / PER_SECOND + 60)
        pause = 0.1 if busy else min(pause * 2, 1.0 if young else self.idle)
        if busy and self.chance.random() < self.play.freezes:
            self.after(self.chance.choice(FREEZES), partial(self._tick, worker, pause))
            return
        self.after(pause, partial(self._tick, worker, pause))

    def _next_death(self, worker: MortalWorker, span: float) -> None:
        if self.play.deaths:
            self.after(
                self.chance.expovariate(self.play.deaths / span), partial(self._kill, worker, span)
            )

    def _kill(self, worker: MortalWorker, span: float) -> None:
        worker.up = False
        self.after(self.chance.uniform(0.5, 90.0), worker.start)
        if self.clock.now - START < timedelta(seconds=span):
            self._next_death(worker, span)

    def _find(self, pause: float) -> None:
        with suppress(LedgerUnavailable):
            while self.finding.find_many(100) == 100:
                pass
        self.after(pause, partial(self._find, min(pause * 1.05, 4 * self.idle)))

    def _listed(self, to: str, rows: list[Listed]) -> None:
        key = self.key_of.get(to)
        if key is not None:
            self.evidence[key].listed.append(len({row.receipt.sid for row in rows}))

    def _deliver(self) -> None:
        """Let the twin post what is due; what is not taken it repeats by its rules."""
        self.settle(self.twin.advance(self.clock.now))

    def settle(self, due: Sequence[Callback]) -> None:
        """Post status callbacks."""
        answers = self.settlement.settle_many([posted(one) for one in due]) if due else []
        for callback, answer in zip(due, answers, strict=True):
            if not isinstance(answer, Settled):
                self.twin.failed(callback, self.clock.now, Failing.SERVER)
            elif key := self.key_of.get(callback.form["To"]):
                self.evidence[key].called_back = True


def posted(callback: Callback) -> Webhook:
    """Give a callback as the server would read it."""
    parts = urlsplit(callback.url)
    return Webhook(
        tenant_id=parts.path.rpartition("/")[2],
        query=parts.query,
        body=urlencode(callback.form).encode(),
        headers={
            "content-type": "application/x-www-form-urlencoded",
            "x-twilio-signature": callback.signature,
        },
    )


def number_of(index: int) -> str:
    """Give a fictional number of its own for each event; one of twenty is British."""
    if index % 20 == 7 and index < 20_000:
        return f"+447700900{index // 20:03}"
    return f"+1{201 + index // 10_000}555{index % 10_000:04}"
