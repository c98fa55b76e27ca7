"""Senders whose messages end badly are paused, and tried again one message at a time."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from ci360_twilio.core.entry import Entry, Key, Status, key_of
from ci360_twilio.core.message import Message
from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.core.trip import LEAST
from ci360_twilio.errors import LedgerUnavailable
from ci360_twilio.flow.tripping import End, Tripping
from ci360_twilio.logs import PAUSE_LIFTED, PAUSE_TRIPPED, Log
from ci360_twilio.stores.memory import MemoryStore

if TYPE_CHECKING:
    from tests.conftest import SetClock

TENANT, OTHER = TenantId("acme"), TenantId("other")
SENDER, SECOND = "+12015550199", "+12015550198"
FILTERED, DEAD_HANDSET = 30007, 30003


class Controls(MemoryStore):
    """Pauses in memory, that can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.away: set[str] = set()

    def _open(self, verb: str) -> None:
        if verb in self.away:
            raise LedgerUnavailable("The ledger is away.")

    def pauses(self) -> list[Pause]:
        """List, unless away."""
        self._open("pauses")
        return super().pauses()

    def pause(self, pause: Pause, **options: Any) -> bool:
        """Write, unless away."""
        self._open("pause")
        return super().pause(pause, **options)

    def resume(self, names: Iterable[str], **options: Any) -> int:
        """Lift, unless away."""
        self._open("resume")
        return super().resume(names, **options)


class Watch:
    """A tripping with its pauses, log and clock."""

    def __init__(self, clock: SetClock) -> None:
        self.clock = clock
        self.controls = Controls()
        self.stream = io.StringIO()
        self.tripping = Tripping(self.controls, Log(self.stream))
        self._numbers = itertools.count()

    def end(
        self,
        word: str = "undelivered",
        code: int | None = FILTERED,
        *,
        sender: str = SENDER,
        tenant_id: TenantId = TENANT,
    ) -> End:
        """Make the end of a message, at a filter unless told."""
        now, guid = self.clock.now, f"guid-{next(self._numbers)}"
        entry = Entry(
            key=key_of(tenant_id, guid),
            tenant_id=tenant_id,
            guid=guid,
            status=Status(word),
            created_at=now,
            due_at=now,
            expires_at=now,
            purge_at=now,
            message=Message(to="+12015550142", sender=sender, body="Hello"),
        )
        return End(entry, Receipt(sid=f"SM{guid}", status=word, error_code=code))

    def see(self, *ends: End) -> None:
        """Watch some ends as one batch."""
        self.tripping.watch(ends, self.clock.now)

    def filter(self, number: int = LEAST, **more: Any) -> None:
        """See messages that end at a filter, one by one."""
        for _ in range(number):
            self.see(self.end(**more))

    def probe(self, word: str, code: int | None = None) -> None:
        """See the end of the probe of the pause that there is."""
        end = self.end(word, code)
        self.let_through(end.entry.key)
        self.see(end)

    def let_through(self, key: Key) -> None:
        """Have a claim take an entry as the probe of the pause that there is."""
        probed = msgspec.structs.replace(self.pause, probe=key)
        assert self.controls.pause(probed, replace=True)

    @property
    def pause(self) -> Pause:
        """The one pause that there is."""
        (found,) = self.controls.pauses()
        return found

    def told(self, *names: str) -> list[dict[str, Any]]:
        """Give the lines of some events."""
        lines = map(json.loads, self.stream.getvalue().splitlines())
        return [line for line in lines if line["event"] in names]


@pytest.fixture
def watch(clock: SetClock) -> Watch:
    """A watch that has seen nothing yet."""
    return Watch(clock)


# Tripping


def test_nothing_is_no_work(watch: Watch) -> None:
    """Not even a look at the pauses."""
    watch.controls.away = {"pauses"}
    watch.see()
    assert watch.stream.getvalue() == ""


def test_a_sender_that_is_filtered_is_paused_for_its_tenant(watch: Watch) -> None:
    """With the most frequent code as the reason; only receipts will lift it."""
    watch.filter(LEAST - 1)
    assert watch.controls.pauses() == []
    watch.filter(1)
    assert watch.pause == Pause(
        scope=Scope.SENDER,
        tenant_id=TENANT,
        value=SENDER,
        cause=Cause.CONFIG,
        reason="twilio_30007",
        since=watch.clock.now,
        probe_at=watch.clock.now + timedelta(minutes=15),
        by_receipt=True,
    )
    assert watch.pause.needs_entry
    (line,) = watch.told(PAUSE_TRIPPED)
    assert (line["level"], line["tenant"], line["reason"]) == ("error", TENANT, "twilio_30007")
    assert SENDER not in watch.stream.getvalue()


def test_senders_and_tenants_are_counted_apart(watch: Watch) -> None:
    """One sender's filter says nothing of another, nor of another tenant's."""
    watch.filter(LEAST - 1)
    watch.filter(LEAST - 1, sender=SECOND)
    watch.filter(LEAST - 1, tenant_id=OTHER)
    assert watch.controls.pauses() == []
    watch.filter(1, tenant_id=OTHER)
    assert (watch.pause.tenant_id, watch.pause.value) == (OTHER, SENDER)


def test_a_batch_pauses_each_sender_once(watch: Watch) -> None:
    """However many of its messages are in it."""
    watch.see(*(watch.end(sender=sender) for _ in range(60) for sender in (SENDER, SECOND)))
    assert {pause.value for pause in watch.controls.pauses()} == {SENDER, SECOND}
    assert len(watch.told(PAUSE_TRIPPED)) == 2


def test_a_sender_that_works_is_not_paused(watch: Watch) -> None:
    """Half of its messages may end badly, and any number for another's sake."""
    for _ in range(50):
        watch.see(watch.end("delivered", None), watch.end())
    watch.filter(100, code=DEAD_HANDSET)
    assert watch.controls.pauses() == []


def test_the_count_is_of_the_last_hour(watch: Watch) -> None:
    """Messages of yesterday say nothing of today's."""
    watch.filter(LEAST - 1)
    watch.clock.advance(minutes=61)
    watch.filter(LEAST - 1)
    assert watch.controls.pauses() == []


def test_an_entry_without_a_message_has_no_sender(watch: Watch) -> None:
    """It is left out."""
    end = watch.end()
    bare = End(msgspec.structs.replace(end.entry, message=None), end.receipt)
    watch.see(*[bare] * LEAST)
    assert watch.controls.pauses() == []


def test_a_restart_begins_to_count_anew(watch: Watch) -> None:
    """It is a rule of thumb, kept in memory."""
    watch.filter(LEAST - 1)
    watch.tripping = Tripping(watch.controls, Log(watch.stream))
    watch.filter(LEAST - 1)
    assert watch.controls.pauses() == []


def test_senders_heard_of_longest_ago_are_forgotten(watch: Watch) -> None:
    """Creatives may name any number of them; memory has an end."""
    watch.tripping = Tripping(watch.controls, Log(watch.stream), most_senders=2)
    for sender in ("one", "two", "three"):
        watch.filter(LEAST - 2, sender=sender)
    watch.filter(1, sender="two")
    watch.filter(LEAST - 1, sender="one")
    assert watch.controls.pauses() == []
    watch.filter(1, sender="two")
    assert watch.pause.value == "two"


# A pause that others have to do with


def test_a_pause_that_refusals_have_set_is_left_alone(watch: Watch) -> None:
    """It has its own probe."""
    refused = Pause(
        scope=Scope.SENDER,
        tenant_id=TENANT,
        value=SENDER,
        cause=Cause.CONFIG,
        reason="twilio_21606",
        since=watch.clock.now,
    )
    watch.controls.pause(refused)
    watch.filter(LEAST * 3)
    watch.see(*(watch.end() for _ in range(LEAST * 3)))
    assert watch.pause == refused
    assert watch.told(PAUSE_TRIPPED) == []


def test_a_pause_of_a_persons_stands_beside_it(watch: Watch) -> None:
    """When the person lifts theirs, the sender is still in trouble."""
    watch.controls.pause(
        Pause(
            scope=Scope.TENANT,
            tenant_id=TENANT,
            cause=Cause.PERSON,
            reason="paused",
            since=watch.clock.now,
        )
    )
    watch.filter()
    assert {pause.cause for pause in watch.controls.pauses()} == {Cause.PERSON, Cause.CONFIG}


def test_a_pause_that_a_person_lifts_is_set_again_by_new_ends_only(watch: Watch) -> None:
    """What led to it is forgotten."""
    watch.filter()
    watch.controls.resume([watch.pause.name])
    watch.filter(LEAST - 1)
    assert watch.controls.pauses() == []
    watch.filter(1)
    assert watch.pause.failures == 0


def test_what_was_on_its_way_when_the_sender_was_paused_does_not_count(watch: Watch) -> None:
    """Else it would be paused again as soon as it works; nor does it lift the pause."""
    watch.filter(LEAST + LEAST - 1)
    watch.see(watch.end("delivered", None))
    before = watch.pause
    watch.probe("delivered")
    assert watch.controls.pauses() == []
    watch.filter(LEAST - 1)
    assert watch.controls.pauses() == []
    assert before.probe is None


# Probes


@pytest.mark.parametrize("word", ["delivered", "read"])
def test_a_probe_that_arrives_lifts_the_pause(watch: Watch, word: str) -> None:
    """And the log says so."""
    watch.filter()
    watch.probe(word)
    assert watch.controls.pauses() == []
    (line,) = watch.told(PAUSE_LIFTED)
    assert (line["tenant"], line["reason"]) == (TENANT, "twilio_30007")


def test_after_a_probe_what_else_is_in_the_batch_counts_anew(watch: Watch) -> None:
    """The pause is gone for it, too."""
    watch.filter()
    end = watch.end("delivered", None)
    watch.let_through(end.entry.key)
    watch.see(end, *(watch.end() for _ in range(LEAST - 1)))
    assert watch.controls.pauses() == []
    watch.filter(1)
    assert watch.pause.probe is None


def test_a_probe_that_is_filtered_puts_the_next_one_off(watch: Watch) -> None:
    """A quarter of an hour at first, then twice as long each time, up to four hours."""
    watch.filter()
    waits = []
    for _ in range(6):
        watch.clock.advance(hours=5)
        watch.probe("failed", FILTERED)
        assert watch.pause.probe is None
        assert watch.pause.probe_at is not None
        waits.append((watch.pause.failures, watch.pause.probe_at - watch.clock.now))
    minutes = [30, 60, 120, 240, 240, 240]
    assert waits == [(n, timedelta(minutes=m)) for n, m in enumerate(minutes, start=1)]
    assert watch.pause.reason == "twilio_30007"


@pytest.mark.parametrize(("word", "code"), [("undelivered", DEAD_HANDSET), ("canceled", None)])
def test_a_probe_that_fails_for_a_reason_of_its_own_tells_nothing(
    watch: Watch, word: str, code: int | None
) -> None:
    """The recipient's handset was off; another message will be let through."""
    watch.filter()
    end = watch.end(word, code)
    watch.let_through(end.entry.key)
    before = watch.pause
    watch.see(end)
    assert watch.pause == before


def test_a_probe_of_a_pause_that_a_person_lifted_meanwhile_writes_none(watch: Watch) -> None:
    """A person's word goes before a probe's."""
    watch.filter()
    end = watch.end()
    watch.let_through(end.entry.key)
    watch.controls.resume([watch.pause.name])
    watch.see(end)
    assert watch.controls.pauses() == []


# The ledger away


@pytest.mark.parametrize("verb", ["pauses", "pause"])
def test_where_a_pause_cannot_be_written_a_later_end_sets_it(watch: Watch, verb: str) -> None:
    """Nothing is raised: the receipts are written already."""
    watch.filter(LEAST - 1)
    watch.controls.away = {verb}
    watch.filter(1)
    watch.controls.away = set()
    assert watch.controls.pauses() == []
    watch.filter(2)
    assert watch.pause.reason == "twilio_30007"


@pytest.mark.parametrize(("word", "verb"), [("delivered", "resume"), ("failed", "pause")])
def test_where_a_probes_end_cannot_be_written_the_pause_stands(
    watch: Watch, word: str, verb: str
) -> None:
    """Another probe follows by itself."""
    watch.filter()
    end = watch.end(word)
    watch.let_through(end.entry.key)
    before = watch.pause
    watch.controls.away = {verb}
    watch.see(end)
    watch.controls.away = set()
    assert watch.pause == before
    assert watch.told(PAUSE_LIFTED) == []
