"""What functions stand on in a campaign: a runtime, a queue, a table, a line to Twilio, and a witness.

Lambda's runtime and SQS are as bad as their documents let them be, and worse. Any number of functions is
at work at one time, each in threads of its own; but only one thread goes on at any moment, in virtual
time, so that one seed is one play.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import pytest
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

from ci360_twilio.core.entry import Entry, Fact, Key, Status
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.errors import LedgerUnavailable
from ci360_twilio.flow.send import Begun, Sending
from ci360_twilio.stores.dynamodb_items import decode
from ci360_twilio.stores.dynamodb_table import Row
from ci360_twilio.twin.chaos import WatchedTwilio
from ci360_twilio.twin.clock import VirtualClock
from ci360_twilio.twin.mortal import Stage
from ci360_twilio.twin.table import TwinTable

SECONDS = {"receive": 29.0, "deliver": 60.0, "webhook": 29.0, "report": 300.0, "sweep": 300.0}
"""How long each function may take (infra/template.yaml)."""
ENDS = {"receive": 0.002, "deliver": 0.003, "webhook": 0.001, "report": 0.001, "sweep": 0.0005}
WAITING, LETS_OTHERS = 4.0, 0.2
"""How often a step is a process's last, and a wait by comparison; and how often others go on before."""
LOST, UNANSWERED, UNDELETED = 0.05, 0.05, 0.05
"""Of nudges, of requests to the queue, and of messages that were dealt with."""
BATCH, HIDDEN_SECONDS, MOST_RECEIVES = 25, 360.0, 5

After = Callable[[float, Callable[[], None]], None]
Then = Callable[[Any], None]


class Ended(BaseException):
    """The process is no more."""


class Runtime:
    """What functions run in."""

    def __init__(self, clock: VirtualClock, chance: random.Random, after: After) -> None:
        """Make it; ``after`` has something happen some seconds later."""
        self.clock, self.chance, self.after = clock, chance, after
        self.tasks: dict[int, Task] = {}
        self.current: Task | None = None
        """The thread that goes on just now; none where the campaign itself does."""
        self.upset: list[str] = []
        """What functions raised."""
        self.tally: Counter[str] = Counter()

    def invoke(self, name: str, work: Callable[[object], Any], then: Then) -> None:
        """Call a function; ``then`` hears its answer, or ``None`` of one that was ended."""
        self.tally[name] += 1
        context = Context(self.clock, SECONDS[name])
        task = Task(self, name, partial(work, context), then)
        at_work = {one.root for one in self.tasks.values() if one.name in ("deliver", "sweep")}
        self.tally["at once"] = max(self.tally["at once"], len(at_work))
        self.after(SECONDS[name], partial(self.end, task))

    def end(self, task: Task) -> None:
        """End a process, if it is at work."""
        if not task.is_over and not task.is_ended:
            task.is_ended = True
            self.tally[f"{task.name} ended"] += 1
            threads = sum(one.root is task for one in self.tasks.values())
            self.tally[f"{task.name} ended amid requests"] += threads > 1

    def end_all(self) -> None:
        """Let no thread go on."""
        for task in list(self.tasks.values()):
            task.root.is_ended = True
            task.resume()

    def step(self, times: float = 1.0) -> None:
        """End the process that is at it, let others go on before, or neither."""
        if (task := self.current) is None:
            return
        if self.chance.random() < times * ENDS[task.name]:
            self.end(task.root)
        if task.root.is_ended:
            raise Ended
        if self.chance.random() < LETS_OTHERS:
            task.rest(self.chance.uniform(0.0, 0.1))

    def wait(self, seconds: float) -> None:
        """Let whoever is at it wait, as others go on."""
        if self.current is not None:
            self.current.rest(seconds)
            self.step(WAITING)


class Task:
    """A thread of an invocation."""

    def __init__(
        self,
        runtime: Runtime,
        name: str,
        work: Callable[[], Any],
        then: Then,
        root: Task | None = None,
    ) -> None:
        """Begin it; ``root`` is the thread that was called, and by which all of the process end."""
        self.name, self.root = name, root or self
        self.answer: Any = None
        self.is_ended = self.is_over = False
        self._runtime, self._work, self._then = runtime, work, then
        self._goes_on, self._rests = threading.Semaphore(0), threading.Semaphore(0)
        runtime.tasks[id(self)] = self
        threading.Thread(target=self._run, daemon=True).start()
        runtime.after(0.0, self.resume)

    def resume(self) -> None:
        """Let it go on until it rests, or is over."""
        self._runtime.current = self
        self._goes_on.release()
        assert self._rests.acquire(timeout=60.0), "a thread waits for one that rests"
        self._runtime.current = None
        if self.is_over:
            del self._runtime.tasks[id(self)]
            self._then(self.answer)

    def rest(self, seconds: float | None = None) -> None:
        """Let others go on for some seconds, or until somebody resumes it."""
        if seconds is not None:
            self._runtime.after(seconds, self.resume)
        self._rests.release()
        self._goes_on.acquire()
        if self.root.is_ended:
            raise Ended

    def _run(self) -> None:
        self._goes_on.acquire()
        try:
            self.answer = self._work()
        except Ended:
            pass
        except BaseException as exc:  # noqa: BLE001 - told where it is judged
            self._runtime.upset.append(f"{self.name}: {exc!r}")
        self.is_over = True
        self._rests.release()


class Turns:
    """A lock for whose holder the threads of an instance wait as time passes."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._is_held = False

    def __enter__(self) -> None:
        while self._is_held:
            self._runtime.wait(0.001)
        self._is_held = True

    def __exit__(self, *_: object) -> None:
        self._is_held = False


class Together(ThreadPoolExecutor):
    """The threads of one instance."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(1)
        self._runtime = runtime

    def map(self, fn: Callable[..., Any], *some: Iterable[Any], **_: Any) -> Iterator[Any]:
        """Do something for each item, all at one time; ends with the process."""
        runtime, parent = self._runtime, self._runtime.current
        assert parent is not None
        tasks: list[Task] = []

        def then(_: object) -> None:
            if all(task.is_over for task in tasks):
                runtime.after(0.0, parent.resume)

        works = [partial(fn, *items) for items in zip(*some, strict=True)]
        tasks += [Task(runtime, parent.name, work, then, parent.root) for work in works]
        if tasks:
            parent.rest()
        return iter([task.answer for task in tasks])


class Context:
    """What the runtime hands to a function."""

    aws_request_id = "one"

    def __init__(self, clock: VirtualClock, seconds: float) -> None:
        self._clock, self._until = clock, clock.now + timedelta(seconds=seconds)

    def get_remaining_time_in_millis(self) -> int:
        """Give what is left."""
        return int((self._until - self._clock.now).total_seconds() * 1000)


class Waiting(NamedTuple):
    """A message in the queue: what it says, from when on it is seen, and how often it was."""

    body: str
    seen_at: datetime
    receives: int = 0


class Queue:
    """A queue, with as much of botocore's client as is used."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._waiting: dict[str, Waiting] = {}

    def send_message_batch(self, **request: Any) -> dict[str, Any]:
        """Take messages, all or some of them, or fail before or after; and lose one now and then."""
        runtime, failed = self._runtime, []
        runtime.step()
        dice = runtime.chance.random()
        if dice < UNANSWERED / 2:
            runtime.tally["lost"] += len(request["Entries"])
            raise EndpointConnectionError(endpoint_url="queue")
        for one in request["Entries"]:
            fate = runtime.chance.random()
            if fate >= LOST:
                self.put(one["MessageBody"], one["DelaySeconds"])
                continue
            runtime.tally["lost"] += 1
            failed += [{"Id": one["Id"]}] if fate < LOST / 2 else []
        runtime.step()
        if dice < UNANSWERED:
            raise ReadTimeoutError(endpoint_url="queue")
        return {"Failed": failed}

    def put(self, body: str, delay: float = 0.0) -> None:
        """Have a message seen after some seconds."""
        at = self._runtime.clock.now + timedelta(seconds=delay)
        self._waiting[f"{self._runtime.chance.getrandbits(64):x}"] = Waiting(body, at)

    def taken(self) -> list[dict[str, str]]:
        """Take some of what is seen, in any order, and hide it for a while; set aside what fails."""
        now, chance, tally = self._runtime.clock.now, self._runtime.chance, self._runtime.tally
        seen = [name for name, one in self._waiting.items() if one.seen_at <= now]
        chance.shuffle(seen)
        batch = []
        for name in seen[: chance.randint(1, BATCH)]:
            body, _, receives = self._waiting.pop(name)
            if receives == MOST_RECEIVES:
                tally["aside"] += 1
                continue
            hidden = now + timedelta(seconds=HIDDEN_SECONDS)
            self._waiting[name] = Waiting(body, hidden, receives + 1)
            tally["again"] += receives > 0
            batch.append({"messageId": name, "body": body})
        return batch

    def done(self, batch: Sequence[dict[str, str]], answer: dict[str, Any] | None) -> None:
        """Delete what was dealt with, as a rule; nothing, where the function was ended."""
        if answer is None:
            return
        failed = {one["itemIdentifier"] for one in answer["batchItemFailures"]}
        self._runtime.tally["failed"] += len(failed)
        for one in batch:
            if one["messageId"] not in failed and self._runtime.chance.random() >= UNDELETED:
                self._waiting.pop(one["messageId"], None)


class Table(TwinTable):
    """A table, before and after whose writes a function may end, or others go on."""

    runtime: Runtime

    def read(self, pks: Collection[str]) -> dict[str, Row | None]:
        """Read rows."""
        self.runtime.step()
        return super().read(pks)

    def write(self, row: Row, *, before: int | None) -> bool:
        """Write a row."""
        self.runtime.step()
        is_written = super().write(row, before=before)
        self.runtime.step()
        return is_written


class Line(WatchedTwilio):
    """A function's way to Twilio."""

    runtime: Runtime
    stalls: float

    def send(self, *args: Any, **members: Any) -> Receipt:
        """Post a message, now or after a while."""
        self.runtime.step()
        if self.runtime.chance.random() < self.stalls:
            self.runtime.wait(self.runtime.chance.choice((5.0, 20.0, 50.0)))
        return super().send(*args, **members)


class Witnessed(Sending):
    """A function's attempts, of which the campaign hears."""

    stage: Stage
    table: Table

    def __init__(self, *args: Any, **members: Any) -> None:
        super().__init__(*args, **members)
        self._told: set[tuple[Key, str]] = set()

    def begin(self, entries: Sequence[Entry], also: Sequence[tuple[Key, Fact]] = ()) -> list[Begun]:
        """Commit that bytes are about to leave."""
        try:
            begun = super().begin(entries, also)
        except (LedgerUnavailable, Ended):
            self.stage.unheard(entries)
            raise
        for one in begun:
            self.stage.began(one.entry.key)
        return begun

    def record(self, facts: Sequence[tuple[Key, Fact]]) -> list[Entry | None]:
        """Write what came of attempts; where that is broken off some of it may be written."""
        try:
            results = super().record(facts)
        except (LedgerUnavailable, Ended):
            self._tell([pair for pair in facts if self._is_written(pair[0])])
            raise
        self._tell(facts)
        return results

    def _tell(self, facts: Sequence[tuple[Key, Fact]]) -> None:
        """Tell what is written down, of each attempt once."""
        for key, fact in facts:
            attempt = key, fact.lease.token if fact.lease else ""
            if attempt not in self._told:
                self._told.add(attempt)
                self.stage.recorded([(key, fact)])

    def _is_written(self, key: Key) -> bool:
        row = TwinTable.read(self.table, [f"E#{key}"])[f"E#{key}"]
        return row is not None and decode(row).status not in (Status.SENDING, Status.UNKNOWN)


def write_regardless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every write of the table go over what others wrote meanwhile."""
    write = TwinTable.write

    def over(self: TwinTable, row: Row, *, before: int | None) -> bool:
        known = self.read([row.pk])[row.pk]
        return write(self, row, before=known.version if known else None) or before is None

    monkeypatch.setattr(TwinTable, "write", over)
