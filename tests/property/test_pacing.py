"""How fast senders send, on a virtual clock: two workers on one ledger, the product's own flow.

What counts is when the twin took how many segments of a sender. A window of :data:`SHORTEST`
seconds or more holds what the rate yields in it, give or take a twentieth, and what one bucket
holds; while there is a backlog it holds no less, but for one message that is too long for the rest.
"""

from __future__ import annotations

import heapq
import io
import json
import random
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import accumulate, count
from pathlib import Path

import pytest

from ci360_twilio.core.entry import Entry, Fact, Key, Status, key_of
from ci360_twilio.core.message import Message
from ci360_twilio.core.tenant import Tenant, TenantId, parse_tenant
from ci360_twilio.logs import Log
from ci360_twilio.ports import Store, Tenants
from ci360_twilio.stores.memory import MemoryStore
from ci360_twilio.stores.sqlite import SqliteStore
from ci360_twilio.twin.account import TwinAccount
from ci360_twilio.twin.clock import VirtualClock
from ci360_twilio.twin.inside import InsideTwilio
from ci360_twilio.twin.life import Life
from ci360_twilio.twin.message import Message as Made
from ci360_twilio.twin.mortal import MortalWorker
from ci360_twilio.twin.play import Play
from ci360_twilio.twin.twilio import TwilioTwin

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
TENANT = TenantId("paced")
ACCOUNT, TOKEN = f"AC{'d' * 32}", "a-token"
PACED, ALSO_PACED, FREE = "+12015550198", "+12015550197", "+12015550199"
IDLE_SECONDS = 0.1
"""How often a worker that finds nothing looks again, as the worker at the edge does."""
SHORTEST = 20.0
TEXTS = ("Hello", "Hello" * 45, "Hello" * 80)
"""One, two and three segments."""


class Documents:
    """The tenant's document."""

    def __init__(self, rates: dict[str, float]) -> None:
        document = {
            "twilio_api_url": "https://api.twilio.com",
            "twilio_account_sid": ACCOUNT,
            "twilio_auth_token": TOKEN,
            "sender_rates": rates,
        }
        self._tenant = parse_tenant(json.dumps(document), TENANT)

    def get(self, _tenant_id: TenantId) -> Tenant:
        """Give it."""
        return self._tenant

    reread = get


class Stage:
    """Two workers on one ledger, and a twin, on one virtual clock."""

    def __init__(
        self, stores: Sequence[Store], rates: dict[str, float], life: Life | None = None
    ) -> None:
        """Set it; each store is one worker's own way to the same ledger."""
        self.chance = random.Random(4711)
        self.clock = VirtualClock(START)
        self.log = Log(io.StringIO(), level="error")
        self.play = Play()
        self.tenants: Tenants = Documents(rates)
        account = TwinAccount(sid=ACCOUNT, auth_token=TOKEN, life=life)
        self.twin = TwilioTwin(accounts=[account], clock=self.clock)
        self.twilio = InsideTwilio(self.twin, clock=self.clock, latency=0.1)
        self._queue: list[tuple[datetime, int, Callable[[], None]]] = []
        self._number, self._guid = count(), count()
        for number, store in enumerate(stores):
            self.store = store
            worker = MortalWorker(self, timedelta())
            self.after(number * 0.031, partial(self._tick, worker))

    def look(self, entries: Sequence[Entry]) -> None:
        """Take no note of a look."""

    def leaves(self, key: Key) -> None:
        """Take no note of a request."""

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Have something happen later."""
        at = self.clock.now + timedelta(seconds=seconds)
        heapq.heappush(self._queue, (at, next(self._number), action))

    def began(self, key: Key) -> None:
        """Take no note."""

    def unheard(self, entries: Sequence[Entry]) -> None:
        """Take no note."""

    def recorded(self, facts: Sequence[tuple[Key, Fact]]) -> None:
        """Take no note."""

    def take(self, sender: str, texts: Iterable[str], *, bulk: bool = False) -> None:
        """Accept messages, due now."""
        now = self.clock.now
        self.store.insert_many([self._entry(sender, text, now, bulk=bulk) for text in texts])

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.clock.now + timedelta(seconds=seconds)
        while self._queue and self._queue[0][0] <= end:
            at, _, action = heapq.heappop(self._queue)
            self.clock.now = max(at, self.clock.now)
            action()
        self.clock.now = end

    def made(self, *senders: str) -> list[Made]:
        """List the messages of senders, oldest first."""
        return [message for message in self.twin.messages if message.sender in senders]

    def _tick(self, worker: MortalWorker) -> None:
        """Let a worker do a round: at once again while it finds something, else after a while."""
        busy = worker.work()
        self.after(
            0.002 if busy else IDLE_SECONDS + 0.01 * self.chance.random(),
            partial(self._tick, worker),
        )

    def _entry(self, sender: str, text: str, now: datetime, *, bulk: bool) -> Entry:
        number = next(self._guid)
        guid = f"event-{number}"
        return Entry(
            key=key_of(TENANT, guid),
            tenant_id=TENANT,
            guid=guid,
            status=Status.ACCEPTED,
            created_at=now,
            due_at=now,
            expires_at=now + timedelta(days=1),
            purge_at=now + timedelta(days=90),
            message=Message(
                to=f"+1{202 + number // 10_000}555{number % 10_000:04}", sender=sender, body=text
            ),
            bulk=bulk,
        )


SetStage = Callable[..., Stage]


@pytest.fixture(params=["memory", "sqlite"])
def set_stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SetStage]:
    """Give a function that sets a stage; it takes what :class:`Stage` takes besides stores."""
    with ExitStack() as opened:

        def make(rates: dict[str, float], *, life: Life | None = None) -> Stage:
            if request.param == "memory":
                return Stage([MemoryStore()] * 2, rates, life)
            path = tmp_path / "ledger.db"
            stores = [SqliteStore(path, hash_key=b"k" * 32) for _ in range(2)]
            for store in stores:
                opened.enter_context(closing(store))
            return Stage(stores, rates, life)

        yield make


def mixed(segments: int) -> list[str]:
    """Give texts of one to three segments, that many in all."""
    texts = [TEXTS[number % 3] for number in range(segments // 6 * 3)]
    random.Random(segments).shuffle(texts)
    return texts


class Flow:
    """When how many segments went out."""

    def __init__(self, messages: Sequence[Made]) -> None:
        self.times = [(message.at - START).total_seconds() for message in messages]
        self.sums = [0, *accumulate(message.segments for message in messages)]

    def between(self, start: float, end: float) -> int:
        """Count the segments from a time on, until before another."""
        first, last = bisect_left(self.times, start), bisect_left(self.times, end)
        return self.sums[last] - self.sums[first]

    def most(self, span: float) -> int:
        """Give the most segments in any window; the fullest one begins with a message."""
        return max(self.between(start, start + span) for start in self.times)

    def least(self, span: float, end: float) -> int:
        """Give the fewest segments in any window until an end; such a one begins behind a message."""
        starts = [start + 1e-6 for start in self.times if start + span < end]
        return min(self.between(start, start + span) for start in starts)


LONGEST_MESSAGE = 3


def assert_paced(messages: Sequence[Made], rate: float, end: float | None = None) -> None:
    """Assert that messages went out at a rate, from the first one until an end, or the last one."""
    flow = Flow(messages)
    end = flow.times[-1] if end is None else end
    burst = max(rate, LONGEST_MESSAGE)
    spans = [span for span in (SHORTEST, 30.0, 60.0, 150.0) if span < end - flow.times[0]]
    assert spans
    for span in spans:
        assert flow.most(span) <= rate * span * 1.05 + burst
        assert flow.least(span, end) >= 0.95 * rate * span - LONGEST_MESSAGE


@pytest.mark.parametrize(("rate", "seconds"), [(1.0, 150), (3.0, 90), (20.0, 40), (80.0, 25)])
def test_a_rate_is_kept_whoever_sends(set_stage: SetStage, rate: float, seconds: int) -> None:
    """A campaign is sent as fast as its sender may send, by two workers together."""
    stage = set_stage({PACED: rate})
    texts = mixed(round(rate * seconds))
    stage.take(PACED, texts)
    stage.run(seconds * 1.1)
    messages = stage.made(PACED)
    assert sorted(message.body for message in messages) == sorted(texts)
    assert_paced(messages, rate)


SHORT_QUEUE = Life(rate=5.0, queue_seconds=10.0)


@pytest.mark.parametrize("rates", [{PACED: 5.0}, {}], ids=["paced", "unpaced"])
def test_only_what_is_not_paced_overflows_twilios_queue(
    set_stage: SetStage, rates: dict[str, float]
) -> None:
    """The campaign is ten times as long as the queue that Twilio keeps for its sender."""
    stage = set_stage(rates, life=SHORT_QUEUE)
    texts = mixed(500)
    stage.take(PACED, texts)
    stage.run(110.0 if rates else 5.0)
    if rates:
        assert stage.twin.overflows == {}
        assert len(stage.made(PACED)) == len(texts)
    else:
        assert stage.twin.overflows[PACED] > 0


def test_nobody_waits_for_another_senders_turn(set_stage: SetStage) -> None:
    """A long queue, a quick one and none at all: each goes at its own pace."""
    stage = set_stage({PACED: 3.0, ALSO_PACED: 20.0})
    stage.take(PACED, mixed(600))
    stage.take(ALSO_PACED, mixed(600))
    stage.take(FREE, [TEXTS[0]] * 200)
    stage.run(25.0)
    free = stage.made(FREE)
    assert len(free) == 200
    assert free[-1].at < START + timedelta(seconds=5)
    assert_paced(stage.made(PACED), 3.0, end=25.0)
    assert_paced(stage.made(ALSO_PACED), 20.0, end=25.0)


def test_single_messages_go_before_an_audiences(set_stage: SetStage) -> None:
    """Those of an audience's file that are claimed by then may still go first, and no others."""
    stage = set_stage({PACED: 3.0})
    stage.take(PACED, [TEXTS[0]] * 120, bulk=True)
    stage.run(10.0)
    before = len(stage.made(PACED))
    stage.take(PACED, [TEXTS[1]] * 6)
    stage.run(10.0)
    bodies = [message.body for message in stage.made(PACED)[before:]]
    assert bodies.count(TEXTS[1]) == 6
    assert TEXTS[0] not in bodies[1 : bodies.index(TEXTS[1]) + 6]
    assert bodies[-1] == TEXTS[0]


def test_senders_that_share_a_budget_stay_within_it_together(set_stage: SetStage) -> None:
    """Two numbers of one registered campaign, say: what counts is what both send."""
    stage = set_stage({f"{PACED}, {ALSO_PACED}": 10.0})
    for text in mixed(180):
        stage.take(PACED, [text])
        stage.take(ALSO_PACED, [text])
    stage.run(33.0)
    assert_paced(stage.made(PACED, ALSO_PACED), 10.0, end=33.0)
    assert min(len(stage.made(PACED)), len(stage.made(ALSO_PACED))) > 70
