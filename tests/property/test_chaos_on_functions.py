"""Campaigns on the functions of the AWS stack, ended in the middle of batches, over a queue that fails.

The product's own functions run, all five of them, on one table: CI360's events come in by ``receive``,
a queue names them to ``deliver``, callbacks come in by ``webhook``, ``sweep`` and ``report`` have their
schedules. Any number of instances is at work at one time, and each may be ended at any write, request
or nudge: what it knew is gone, and the ledger stays as it is. The queue delivers late, twice, in any
order or not at all.

Of AWS itself nothing is here: the gateway, runtime, queue and table are stood in for, by
:mod:`tests.property.stage`. No customer writes back; that is played on a table alone.
"""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import redirect_stdout
from functools import cache, partial
from typing import Any, NamedTuple, cast
from urllib.parse import parse_qs

import pytest
from tests.property.stage import (
    SECONDS,
    Line,
    Queue,
    Runtime,
    Table,
    Then,
    Together,
    Turns,
    Witnessed,
    write_regardless,
)

from ci360_twilio.clients.nudge import Nudge
from ci360_twilio.clients.tenants import CachedTenants
from ci360_twilio.core.entry import TRANSITIONS, Key, Kind, Status
from ci360_twilio.core.tenant import Tenant
from ci360_twilio.edge.functions import Stack
from ci360_twilio.flow.addresses import STATUS
from ci360_twilio.flow.pausing import Pausing
from ci360_twilio.flow.report import Reporting
from ci360_twilio.logs import Log
from ci360_twilio.ports import Store
from ci360_twilio.settings import Settings
from ci360_twilio.stores.dynamodb import DynamoStore
from ci360_twilio.twin.callback import Callback, Failing
from ci360_twilio.twin.chaos import PER_SECOND, Campaign, OneTenant, posted
from ci360_twilio.twin.ci360_server import InsideCi360
from ci360_twilio.twin.clock import VirtualClock
from ci360_twilio.twin.faults import FaultPlan
from ci360_twilio.twin.flaky import flaky
from ci360_twilio.twin.mortal import PUBLIC_URL
from ci360_twilio.twin.oracle import Verdict
from ci360_twilio.twin.play import Play
from ci360_twilio.wiring import Parts

SEEDS, MESSAGES = range(12), 210
TORN, TWICE = 0.002, 0.25
"""Of writes, and of batches and schedules."""
FOUL = Play(
    ledger=0.01,
    stalls=0.03,
    requests={
        "http_429": 0.08,
        "http_500": 0.02,
        "http_500_made": 0.03,
        "reset": 0.03,
        "hang": 0.01,
        "slow:20": 0.1,
        "http_400:21614": 0.01,
    },
    weather={"lag:100": 0.5, "lost": 0.4, "late": 0.2, "repeated": 0.2, "disordered": 0.2},
    ci360={"http_500": 0.1, "http_503_made": 0.1, "reset": 0.1},
)


class Known(OneTenant):
    """The one tenant."""

    def known(self) -> list[Tenant]:
        """Give it."""
        return [self._tenant]


class OnFunctions(Campaign):
    """A campaign on functions."""

    def __init__(self, seed: int, messages: int = MESSAGES, play: Play = FOUL) -> None:
        super().__init__(seed, messages, play)
        self.lines = io.StringIO()
        self.log = Log(self.lines, level="error")
        self.tenants = self.token = self.known = Known(self.sender_rates)
        self.faults = FaultPlan(play.requests, seed=seed)
        self.ci360_faults = FaultPlan(asking=play.ci360, seed=seed)
        self.queue = Queue(self.runtime)
        self.warm: defaultdict[str, list[Stack]] = defaultdict(list)

    def ledger(self) -> Store:
        """Give a ledger in a table."""
        self.runtime = Runtime(self.clock, self.chance, self.after)
        self.table = Table(clock=self.seconds, chance=self.chance)
        self.table.runtime = self.runtime
        store = self.store_of_one()
        self.table.torn = TORN
        return store

    def seconds(self) -> float:
        """Give seconds since 1970."""
        return self.clock.now.timestamp()

    def store_of_one(self) -> Store:
        """Open the ledger, as each instance does for itself."""
        store = DynamoStore(self.table, hash_key=b"key")
        return flaky(store, self.play.ledger, self.chance)

    def instance(self) -> Stack:
        """Start an instance."""
        clock, log, known, chance = self.clock, self.log, self.known, self.chance
        store, tenants = self.store_of_one(), cast("CachedTenants", known)
        settings = Settings(public_url=PUBLIC_URL)
        parts = Parts(settings, log, store, tenants, trips=True, clock=clock)
        parts.client = line = Line(
            self.twin,
            self.faults,
            clock=cast("VirtualClock", self.runtime),
            latency=self.play.latency,
            seen=self._listed,
        )
        line.runtime, line.stalls = self.runtime, self.play.stalls
        parts.pausing = pausing = Pausing(store, known, clock, log, rng=chance)
        parts.sending = sending = Witnessed(
            store, line, known, pausing, clock, log, public_url=PUBLIC_URL, rng=chance
        )
        sending.stage, sending.table = self, self.table
        parts.ci360 = ci360 = InsideCi360(self.telling.twin, self.ci360_faults, clock=self.runtime)
        parts.reporting = Reporting(store, store, ci360, known, clock, log, rng=chance)
        nudge = Nudge("queue", self.queue)
        stack = Stack(parts, nudge, seconds=self.seconds, sleep=self.runtime.wait)
        stack._pool = Together(self.runtime)
        parts.finding._unsettled._lock = Turns(self.runtime)  # type: ignore[assignment]
        return stack

    def invoke(self, name: str, event: object, then: Then = lambda _: None) -> None:
        """Call a function: in an instance that is warm, or in a new one."""

        def work(context: object) -> Any:
            warm = self.warm[name]
            stack = warm.pop() if warm else self.instance()
            answer = getattr(stack, name)(event, context)
            warm.append(stack)
            return answer

        self.runtime.invoke(name, work, then)

    def _plan(self) -> None:
        for index in range(self.messages):
            at = index / PER_SECOND + self.chance.random()
            self.after(at, partial(self._post, *self._event(index)))
        self.queue.put("{}")  # it names nothing
        self._poll()
        self._schedule("sweep")
        self._schedule("report")
        if self.play.outages:
            self._plan_outages(self.messages / PER_SECOND)

    def _poll(self, pause: float = 0.5) -> None:
        """Have what stands in the queue delivered; now and then twice at one time."""
        if batch := self.queue.taken():
            times = 1 + (self.chance.random() < TWICE)
            self.runtime.tally["twice"] += times == 2
            for _ in range(times):
                self.invoke("deliver", {"Records": batch}, partial(self.queue.done, batch))
        pause = 0.5 if batch else min(2 * pause, 60.0)
        self.after(pause, partial(self._poll, pause))

    def _schedule(self, name: str, pause: float = 60.0) -> None:
        """Call a function every minute, and less often when all is quiet; now and then twice."""
        for _ in range(1 + (self.chance.random() < TWICE)):
            self.invoke(name, {})
        self.after(pause, partial(self._schedule, name, min(pause * 1.08, 1_800.0)))

    def _post(self, key: Key, recipient: str, body: bytes) -> None:
        again = partial(self._post, key, recipient, body)

        def then(answer: dict[str, Any] | None) -> None:
            if answer is None or answer["statusCode"] >= 500:
                self.after(self.chance.uniform(1, 30), again)
                return
            self.evidence[key].accepted = True
            if self.chance.random() < self.play.repeats:
                self.after(self.chance.choice((0.01, 2.0, 60.0, 7_200.0)), again)

        checked = {"identity": {"apiKeyId": "key"}}
        self.invoke("receive", {"requestContext": checked, "body": body.decode()}, then)

    def settle(self, due: Sequence[Callback]) -> None:
        """Post status callbacks."""
        for one in due:
            webhook = posted(one)
            event = {
                "path": f"/prod{STATUS}{webhook.tenant_id}",
                "multiValueQueryStringParameters": parse_qs(webhook.query),
                "headers": webhook.headers,
                "body": webhook.body.decode(),
            }
            self.invoke("webhook", event, partial(self._settled, one))

    def _settled(self, callback: Callback, answer: dict[str, Any] | None) -> None:
        if answer is None or answer["statusCode"] >= 300:
            self.twin.failed(callback, self.clock.now, Failing.SERVER)
        elif key := self.key_of.get(callback.form["To"]):
            self.evidence[key].called_back = True

    def judge(self) -> Verdict:
        """End what is still at work, and compare the books."""
        self.runtime.end_all()
        return super().judge()


class Played(NamedTuple):
    """What came of a campaign, how often what happened in it, and why what was not sent was not."""

    verdict: Verdict
    tally: Counter[str]
    reasons: Counter[tuple[Status, str | None]]
    problems: tuple[str, ...]


def play(seed: int, messages: int = MESSAGES, how: Play = FOUL) -> Played:
    """Play a campaign."""
    campaign = OnFunctions(seed, messages, how)
    with redirect_stdout(io.StringIO()):
        verdict = campaign.run()
    entries = campaign.entries().values()
    reasons = Counter((one.status, one.reason) for one in entries if one.sid is None)
    wrong = [line for line in campaign.lines.getvalue().splitlines() if ".unexpected" in line]
    problems = (*verdict.problems, *campaign.runtime.upset, *wrong)
    return Played(verdict, campaign.runtime.tally, reasons, problems)


played = cache(play)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_promise_is_kept_whatever_is_ended(seed: int) -> None:
    """At most one message for each event, none lost, and each that was not made has its reason."""
    verdict, _, reasons, problems = played(seed)
    assert verdict.good, f"seed {seed}: {verdict.problems[:10]}"
    assert not problems
    assert verdict.events == MESSAGES
    assert set(reasons) <= {(Status.HELD, "not_found"), (Status.REFUSED, "twilio_21614")}


def test_all_of_that_went_wrong_for_two_thousand_messages() -> None:
    """What has not happened has not been borne."""
    verdicts, tallies, _, _ = zip(*map(played, SEEDS), strict=True)
    assert sum(verdict.messages for verdict in verdicts) >= 2_000
    assert sum(verdict.duplicates + verdict.lost for verdict in verdicts) == 0
    total = sum(tallies, Counter[str]())
    ended = {f"{name} ended" for name in SECONDS} | {"deliver ended amid requests"}
    assert ended | {"lost", "twice", "again", "failed", "aside"} <= total.keys(), total
    assert min(tally["at once"] for tally in tallies) > 1


def test_slow_answers_keep_no_sweep_from_what_it_is_for() -> None:
    """It asks many questions at one time, and has time left to send what a lost nudge left."""
    slow = Play(repeats=0.0, latency=2.0, requests={"http_500": 0.4})
    assert play(0, 210, slow).verdict.good


def test_one_seed_is_one_play() -> None:
    """What was seen once can be seen again."""
    assert play(7, 60) == play(7, 60)


def test_whoever_writes_over_what_others_wrote_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A batch that comes twice is two functions that want the same entries."""
    write_regardless(monkeypatch)
    assert sum(play(seed, 80).verdict.duplicates for seed in SEEDS[:4]) > 0


def test_whoever_sends_again_what_had_begun_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that was ended may have sent, though it told nobody."""
    monkeypatch.setitem(
        cast("dict[tuple[Status, Kind], Status]", TRANSITIONS),
        (Status.SENDING, Kind.LEASE_ENDED),
        Status.ACCEPTED,
    )
    assert sum(play(seed, 80).verdict.duplicates for seed in SEEDS[4:9]) > 0


def test_whoever_trusts_in_the_queue_alone_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A nudge that is lost is a message that is lost, where no sweep looks for it."""
    monkeypatch.setattr(Stack, "_send_due", lambda *_: None)
    assert sum(play(seed, 80).verdict.lost for seed in SEEDS[:4]) > 0
