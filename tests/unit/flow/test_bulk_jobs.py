"""Bulk jobs from their body to the last of their messages, in one process and in virtual time."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from tests.audience import PARAMETERS, TENANT, Workplace, written

from ci360_twilio.core.consent import Evidence, Sign, Source, Subject
from ci360_twilio.core.entry import Fact, Kind, Status
from ci360_twilio.core.job import Chunk, Job, State
from ci360_twilio.core.pause import Cause
from ci360_twilio.errors import Ci360Failed, LedgerUnavailable, NotKnown, Trouble
from ci360_twilio.flow import bulk as module
from ci360_twilio.flow.chunks import one_by_one
from ci360_twilio.flow.jobs import Foreman, results
from ci360_twilio.flow.steer import Steering
from ci360_twilio.ports import Note, Query
from ci360_twilio.stores.memory import MemoryStore

R = TypeVar("R")


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """Make a workplace with a ledger in memory."""
    return Workplace(tmp_path, MemoryStore())


def number(index: int) -> str:
    """Give a fictional number."""
    return f"+1201555{index:04}"


def people(count: int, start: int = 0) -> list[list[str]]:
    """Give rows of so many customers, each with a number of their own."""
    return [[f"id-{n}", f"Robin {n}", number(n)] for n in range(start, start + count)]


def foreman(place: Workplace) -> Foreman:
    """Make what carries out what people decide."""
    steering = Steering(place.store, place.tenants, place.clock, place.log)
    return Foreman(place.store, steering, place.clock, place.log)


def parts_of(place: Workplace, job: Job) -> list[str]:
    """Name the files that a job has left."""
    root = place.folder / "jobs" / job.folder
    return sorted(str(one.relative_to(root)) for one in root.rglob("*") if one.is_file())


def test_each_row_becomes_one_message_and_the_file_is_deleted(place: Workplace) -> None:
    """What is left of a job says which entries its rows have, and nothing of customers."""
    job = place.run(place.task(people(5)))
    assert job.state is State.DONE
    assert (job.rows, job.bad, job.outcomes) == (5, 0, {"sent": 5})
    assert sorted(place.sent_to) == [number(n) for n in range(5)]
    assert {one.body for one in place.twin.messages} == {f"Hello Robin {n}!" for n in range(5)}
    assert parts_of(place, job) == ["parts/000000"]
    left = (place.folder / "jobs" / job.folder / "parts/000000").read_text()
    assert "1201555" not in left
    assert "Robin" not in left
    assert job.data_url is None


def test_many_chunks_are_settled_in_their_order(place: Workplace) -> None:
    """Counts add up over chunks; the result lists every row once, in order."""
    job = place.run(place.task(people(45)))
    assert (job.chunks, job.entered, job.settled, job.settled_rows) == (3, 3, 3, 45)
    assert job.outcomes == {"sent": 45}
    rows = [one.mark.row for one in results(place.store, place.files, job)]
    assert rows == list(range(1, 46))


def test_the_same_number_gets_one_message_for_the_first_row(place: Workplace) -> None:
    """Who is named later is told why; the same customer again has no entry of their own."""
    rows = [
        ["id-1", "Ann", number(1)],
        ["id-2", "Bob", number(1)],
        ["id-1", "Ann", "+1 (201) 555-0001"],
        ["id-3", "Cy", number(2)],
    ]
    job = place.run(place.task(rows))
    assert place.sent_to == [number(1), number(2)]
    assert place.twin.messages[0].body == "Hello Ann!"
    assert job.outcomes == {"sent": 2, "duplicate_number": 1, "duplicate": 1}
    assert job.checked == {"accepted": 2, "duplicate": 2}


def test_a_task_may_want_a_message_for_each_customer_of_a_number(place: Workplace) -> None:
    """Two customers of one telephone get two messages; one customer twice gets one."""
    rows = [["id-1", "Ann", number(1)], ["id-2", "Bob", number(1)], ["id-1", "Ann", number(1)]]
    parameters = {"to": "{{mobile}}", "body": "Hello {{first_name}}!", "duplicates": "all"}
    job = place.run(place.task(rows, parameters=parameters))
    assert place.sent_to == [number(1), number(1)]
    assert job.outcomes == {"sent": 2, "duplicate": 1}


def test_bad_rows_are_listed_and_good_ones_sent(place: Workplace) -> None:
    """Each row that cannot be read or sent to has its line and its reason."""
    data = written(people(20)) + b"\n".join(
        [b"id-a,Ann", b"id-b,\xff,+12015550101", b"id-c,Cy,12", b'id-d,"Di,+12015550102', b""]
    )
    job = place.run(place.task(data))
    assert job.state is State.DONE
    assert len(place.sent_to) == 20
    assert job.outcomes == {
        "sent": 20,
        "wrong_column_count": 1,
        "bad_encoding": 1,
        "invalid_recipient": 1,
        "quote_not_closed": 1,
    }
    assert [(one.line, one.reason) for one in job.bad_rows] == [
        (21, "wrong_column_count"),
        (22, "bad_encoding"),
        (23, "invalid_recipient"),
        (24, "quote_not_closed"),
    ]
    assert "12015550101" not in repr(job)


@pytest.mark.parametrize(("limit", "state"), [(None, "failed"), ("50", "done"), ("49.9", "failed")])
def test_too_many_bad_rows_stop_a_job_before_anything_is_sent(
    place: Workplace, limit: str | None, state: str
) -> None:
    """The limit is the task's, or 20 %; the file is checked to its end first."""
    rows = [*people(5), *([["id-x", "Nobody", ""]] * 5)]
    parameters = {"to": "{{mobile}}", "body": "Hi {{first_name}}"}
    if limit is not None:
        parameters["bad_rows_limit"] = limit
    job = place.run(place.task(rows, parameters=parameters))
    assert job.state == state
    assert len(place.sent_to) == (5 if state == "done" else 0)
    if state == "failed":
        assert job.reason == "too_many_bad_rows"
        assert "line 6" in (job.words or "")
        assert not place.store.find(Query())


BROKEN: dict[str, tuple[bytes, bytes, str]] = {
    "no rows": (b"", b"identity_id,first_name,mobile", "empty_file"),
    "blank lines alone": (b"\n\n", b"identity_id,first_name,mobile", "empty_file"),
    "a page": (b"<!DOCTYPE html><html>", b"identity_id,first_name,mobile", "not_csv"),
    "S3's error": (b"<?xml version='1.0'?><Error>", b"identity_id,first_name,mobile", "not_csv"),
    "a compressed file": (b"\x1f\x8b\x08rest", b"identity_id,first_name,mobile", "compressed"),
    "a page as metadata": (b"1,2,3\n", b"<html>", "not_csv"),
    "no metadata": (b"1,2,3\n", b"", "metadata_unreadable"),
    "another file's columns": (b"1,2,3\n", b"identity_id,name,phone", "unknown_column"),
    "JSON of another kind": (b"1,2,3\n", b'[{"name": "x"}]', "metadata_unreadable"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_files_that_cannot_be_used_fail_their_job_with_a_reason(
    place: Workplace, case: str
) -> None:
    """Nothing is sent, nothing is left, and the words say what is wrong."""
    data, head, reason = BROKEN[case]
    job = place.run(place.task(data, columns=head))
    assert (job.state, job.reason) == (State.FAILED, reason)
    assert job.words
    assert not place.sent_to
    assert not parts_of(place, job)


def test_metadata_may_be_json_and_data_may_repeat_the_columns(place: Workplace) -> None:
    """A byte order mark and a header line in the data are no row."""
    head = (
        b'\xef\xbb\xbf [{"columnName": "identity_id", "dataType": "Character"},'
        b' {"columnName": "FIRST_NAME_"}, {"columnName": "Mobile"}]'
    )
    data = b"\xef\xbb\xbfidentity_id,first_name_,mobile\r\n" + written(people(2)).replace(
        b"\n", b"\r\n"
    )
    job = place.run(place.task(data, columns=head))
    assert (job.state, job.rows, job.outcomes) == (State.DONE, 2, {"sent": 2})


def test_a_cell_is_never_read_as_a_directive_or_a_tag(place: Workplace) -> None:
    """What a customer calls himself changes neither the recipient nor the text around it."""
    names = ["TO:+12015550999;", "{{mobile}}", "FROM:x;\nTO:y;", "&amp;", "=HYPERLINK(1)"]
    rows = [[f"id-{n}", name, number(n)] for n, name in enumerate(names)]
    parameters = {"creative": "TO:{{mobile}};FROM:+12015550177;\n{{first_name}}, hello"}
    job = place.run(place.task(rows, parameters=parameters))
    assert job.outcomes == {"sent": 5}
    assert [(one.to, one.sender, one.body) for one in place.twin.messages] == [
        (number(n), "+12015550177", f"{name}, hello") for n, name in enumerate(names)
    ]


def test_opt_outs_and_limits_hold_for_rows_as_for_events(tmp_path: Path) -> None:
    """Who has opted out, or had enough today, is suppressed with that reason."""
    place = Workplace(tmp_path, MemoryStore(), messages_per_recipient_per_day=1, countries=["US"])
    out = Evidence(
        sign=Sign.OUT, source=Source.PERSON, heard_at=place.clock(), dated_at=place.clock()
    )
    place.store.attest_many([(Subject(TENANT, number(1)), out)], now=place.clock())
    place.run(place.task(people(1, start=2), occurrence="before"))
    rows = [*people(4), ["id-gb", "Di", "+447911123456"]]
    job = place.run(place.task(rows))
    assert job.outcomes == {
        "sent": 2,
        "opted_out": 1,
        "recipient_limit": 1,
        "country_not_allowed": 1,
    }


def test_the_same_task_again_sends_nobody_anything(place: Workplace) -> None:
    """Repeated while it runs, when it is done, in another order, and after an erasure."""
    rows = people(30)
    job = place.run(place.task(rows), until=lambda job: job.entered > 0)
    again = place.take(place.task(rows))
    assert (again.duplicate, again.job.id) == (True, job.id)
    place.run(place.task(rows))
    random.Random(1).shuffle(rows)
    done = place.run(place.task(rows))
    assert done.state is State.DONE
    found = place.store.about(TENANT, recipients=[number(3)])
    note = Note(at=place.clock(), by="test", action="erase", subject="someone")
    place.store.erase(
        TENANT,
        entries=[one.key for one in found.entries],
        inbound=[],
        recipients=[number(3)],
        words=[],
        note=note,
    )
    place.run(place.task(rows))
    assert Counter(place.sent_to) == Counter(number(n) for n in range(30))
    outcomes = Counter(one.outcome for one in results(place.store, place.files, done))
    assert outcomes == {"sent": 29, "erased": 1}


def test_a_job_that_failed_before_it_sent_begins_anew(place: Workplace) -> None:
    """CI360 signs new addresses, and the same task runs with them."""
    task = place.task(b"<html>")
    assert place.run(task).state is State.FAILED
    fresh = place.take(place.task(people(2)))
    assert not fresh.duplicate
    job = place.run(place.task(people(2)))
    assert (job.state, job.outcomes) == (State.DONE, {"sent": 2})


class Killed(BaseException):
    """The process is no more."""


class Deadly:
    """A store, or files, at whose n-th write the process dies: before it is done, or after."""

    def __init__(self, inner: Any, steps: Iterable[int]) -> None:
        self._inner = inner
        self._counter = itertools.count()
        self._deadly = set(steps)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in ("insert_many", "keep_job", "adopt", "drop", "end_chore", "record_many"):
            return found

        def call(*args: Any, **members: Any) -> Any:
            step = next(self._counter)
            if 2 * step in self._deadly:
                raise Killed
            done = found(*args, **members)
            if 2 * step + 1 in self._deadly:
                raise Killed
            return done

        return call


@pytest.mark.parametrize("step", range(44))
def test_a_process_that_dies_at_any_write_loses_and_repeats_nothing(
    tmp_path: Path, step: int
) -> None:
    """Whoever goes on finds the job where its record says, however far it had come."""
    place = Workplace(tmp_path, MemoryStore())
    rows = [*people(45), ["id-1", "Again", number(1)], ["id-bad", "Bad", "12"]]
    key = place.take(place.task(rows)).job.key
    deadly = Deadly(place.store, [step])
    bulk = place.make_bulk(store=deadly, files=Deadly(place.files, [step + 11]))
    try:
        for _ in range(30):
            place.turn(bulk)
    except Killed:
        place.clock.wait(module.LEASE.total_seconds() + 1)
    while not place.job(key).ended:
        place.turn(place.make_bulk())
    job = place.job(key)
    assert job.state is State.DONE
    assert job.outcomes == {"sent": 45, "duplicate_number": 1, "invalid_recipient": 1} or (
        job.outcomes == {"sent": 45, "duplicate": 1, "invalid_recipient": 1}
    )
    assert Counter(place.sent_to) == Counter(number(n) for n in range(45))


class Weak:
    """A fetcher that fails some times before it brings a file."""

    def __init__(self, place: Workplace, failures: Iterable[Ci360Failed]) -> None:
        self._place = place
        self._failures = iter(failures)

    def resume(self, url: object, into: Path, *, timeout: float, going: Callable[[], None]) -> int:
        """Fail, or fetch."""
        for failure in self._failures:
            raise failure
        return self._place.fetcher.resume(url, into, timeout=timeout, going=going)


def away(reason: str) -> Ci360Failed:
    """Give an error of the fetcher's."""
    return Ci360Failed("The file could not be moved.", trouble=Trouble.AWAY, reason=reason)


def test_fetching_is_tried_again_with_growing_waits(place: Workplace) -> None:
    """A server that is away for a while costs time and nothing else."""
    bulk = place.make_bulk(fetcher=Weak(place, [away("http_503"), away("connection_lost")] * 3))
    key = place.take(place.task(people(1))).job.key
    while not place.job(key).ended:
        place.turn(bulk)
    assert place.job(key).outcomes == {"sent": 1}


@pytest.mark.parametrize(
    ("failures", "reason"),
    [([away("address_expired")], "address_expired"), ([away("dns")] * 20, "dns")],
)
def test_a_file_that_does_not_come_fails_the_job(
    place: Workplace, failures: list[Ci360Failed], reason: str
) -> None:
    """An address that has expired is not tried again; another trouble is, for some minutes."""
    bulk = place.make_bulk(fetcher=Weak(place, failures))
    key = place.take(place.task(people(1))).job.key
    while not place.job(key).ended:
        place.turn(bulk)
    job = place.job(key)
    assert (job.state, job.reason) == (State.FAILED, reason)
    assert place.clock.now - job.created_at < timedelta(minutes=10)


def test_a_paused_job_starts_nothing_and_goes_on_when_it_is_resumed(place: Workplace) -> None:
    """Rows are entered meanwhile, and wait."""
    key = place.take(place.task(people(10))).job.key
    boss = foreman(place)
    assert boss.pause(place.job(key), by="test")
    assert not boss.pause(place.job(key), by="test")
    for _ in range(20):
        place.turn()
    assert not place.sent_to
    assert place.job(key).state is State.RUNNING
    assert [pause.cause for pause in boss.pauses(place.job(key))] == [Cause.PERSON]
    boss.resume(place.job(key), by="test")
    assert place.run(place.task(people(10))).outcomes == {"sent": 10}


@pytest.mark.parametrize("when", ["received", "checking", "running", "entered"])
def test_a_canceled_job_takes_back_what_is_not_sent(place: Workplace, when: str) -> None:
    """What was sent stays sent; every other row has the reason."""
    task = place.task(people(45))
    key = place.take(task).job.key
    boss = foreman(place)
    if when == "running":
        place.run(task, until=lambda job: job.state is State.RUNNING)
    elif when == "checking":
        place.run(task, until=lambda job: job.state is State.CHECKING)
    elif when == "entered":
        place.run(task, until=lambda job: job.entered > 0)
    before = len(place.sent_to)
    boss.cancel(place.job(key), by="test", text="wrong audience")
    for _ in range(20):
        place.turn()
    job = place.job(key)
    assert job.state is State.CANCELED
    assert len(place.sent_to) == before
    assert not boss.pauses(job)
    assert not place.store.pauses()
    if job.running_at is not None:
        assert job.outcomes.get("sent", 0) == before
        assert job.outcomes.get("canceled", 0) == 45 - before
    assert not place.store.find(Query(statuses=frozenset({Status.ACCEPTED})))


def test_jobs_take_turns(place: Workplace) -> None:
    """A small job does not wait until a large one is done."""
    ticks = itertools.count(step=6)
    bulk = place.make_bulk(seconds=lambda: float(next(ticks)))
    large = place.take(place.task(people(200), occurrence="large")).job.key
    small = place.take(place.task(people(1, start=9_500), occurrence="small")).job.key
    while not place.job(small).ended:
        place.turn(bulk)
        place.clock.wait(0.3)
    assert place.job(large).state is State.RUNNING


def test_a_ledger_that_is_away_leaves_the_job_for_later(place: Workplace) -> None:
    """Nothing is lost when a commit fails."""

    class Away:
        def __init__(self, inner: Any) -> None:
            self._inner, self.fails = inner, 1

        def __getattr__(self, name: str) -> Any:
            if name == "insert_many" and self.fails:
                self.fails -= 1
                raise LedgerUnavailable("locked")
            return getattr(self._inner, name)

    key = place.take(place.task(people(3))).job.key
    bulk = place.make_bulk(store=Away(place.store))

    def work() -> None:
        for _ in range(10):
            place.turn(bulk)

    with pytest.raises(LedgerUnavailable):
        work()
    place.clock.wait(module.LEASE.total_seconds() + 1)
    while not place.job(key).ended:
        place.turn(bulk)
    assert place.job(key).outcomes == {"sent": 3}


def test_an_old_job_leaves_only_that_it_was_there(place: Workplace) -> None:
    """After the retention its task is still known, and nothing else of it."""
    rows = people(2)
    job = place.run(place.task(rows))
    place.clock.now = job.purge_at + timedelta(seconds=1)
    place.bulk.work()
    bare = place.job(job.key)
    assert (bare.parameters, bare.bad_rows, parts_of(place, job)) == ({}, (), [])
    assert place.take(place.task(rows)).duplicate
    for _ in range(5):
        place.turn()
    assert len(place.sent_to) == 2


def test_chunks_may_be_worked_on_in_any_order(tmp_path: Path) -> None:
    """What comes of a job does not depend on who works on which chunk when."""

    def backwards(
        work: Callable[[Job, Chunk], R], job: Job, chunks: Iterable[Chunk]
    ) -> Generator[R, None, None]:
        taken = list(chunks)
        done = {chunk.number: work(job, chunk) for chunk in reversed(taken)}
        yield from (done[chunk.number] for chunk in taken)

    rows = [*people(95), ["id-7", "Again", number(7)], ["id-other", "Other", number(7)]]
    outcomes = []
    for number_, fan in enumerate((one_by_one, backwards)):
        (folder := tmp_path / str(number_)).mkdir()
        place = Workplace(folder, MemoryStore(), fan=fan)
        job = place.run(place.task(rows))
        outcomes.append((job.outcomes, sorted(place.sent_to)))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] == {"sent": 95, "duplicate": 1, "duplicate_number": 1}


def test_another_process_that_was_faster_is_given_way(place: Workplace) -> None:
    """A process that was frozen does not undo what was done meanwhile."""
    task = place.task(people(10))
    key = place.take(task).job.key
    before = place.job(key)
    place.run(task)
    assert place.store.keep_job(msgspec.structs.replace(before, state=State.FETCHING)) is None
    assert place.job(key).state is State.DONE


def test_what_is_entered_after_a_restore_is_held(place: Workplace) -> None:
    """The part of the ledger that is lost may have sent it."""
    place.store.mark_restored(place.clock())
    place.clock.wait(1.0)
    job = place.run(place.task(people(3)))
    assert job.outcomes == {"held": 3}
    assert not place.sent_to


def test_a_job_whose_file_is_gone_fails_and_sends_no_more(place: Workplace) -> None:
    """What was entered is sent; the rest cannot be, and the reason says so."""
    ticks = itertools.count(step=6)
    bulk = place.make_bulk(seconds=lambda: float(next(ticks)))
    key = place.take(place.task(people(100))).job.key
    while not place.job(key).entered:
        place.turn(bulk)
    place.files.drop(place.job(key).folder, keep="parts")
    while not place.job(key).ended:
        place.turn(bulk)
    job = place.job(key)
    assert (job.state, job.reason) == (State.FAILED, "file_lost")
    place.send()
    assert 0 < len(place.sent_to) < 100
    assert place.take(place.task(people(100))).duplicate


def test_a_file_that_is_here_already_is_not_fetched_again(place: Workplace) -> None:
    """Its address may have expired since a process died just behind the transfer."""
    deadly = Deadly(place.store, [2])  # before it is written that both are here
    key = place.take(place.task(people(2))).job.key
    bulk = place.make_bulk(store=deadly)
    with pytest.raises(Killed):
        bulk.work()
    assert place.job(key).state is State.FETCHING
    place.clock.wait(module.LEASE.total_seconds() + 1)
    expired = place.make_bulk(fetcher=Weak(place, [away("address_expired")]))
    while not place.job(key).ended:
        place.turn(expired)
    assert place.job(key).outcomes == {"sent": 2}


def test_an_unbalanced_quote_never_gives_one_customer_anothers_data(place: Workplace) -> None:
    """The line with the quote is bad, and whoever stands on the next gets their own message."""
    data = b'1,"Bob,+12015550001\n2,"Ann",+12015550002\n3,"Kim, Jr",+12015550003\n'
    task = place.task(data, parameters={**PARAMETERS, "bad_rows_limit": "50"})
    job = place.run(task)
    assert job.outcomes == {"quote_not_closed": 1, "sent": 2}
    assert [one.body for one in place.twin.messages] == ["Hello Ann!", "Hello Kim, Jr!"]


def test_a_job_that_begins_anew_is_judged_by_what_is_new(place: Workplace) -> None:
    """Template and columns are those of the task that was posted last."""
    bad = place.task([["id-1", "Robin", "12"]])
    assert place.run(bad).state is State.FAILED
    fresh = place.task(
        [[number(1), "Robin", "id-1"]],
        columns="mobile,first_name,identity_id",
        parameters={"to": "{{mobile}}", "body": "Welcome {{first_name}}"},
    )
    assert place.run(fresh).outcomes == {"sent": 1}
    assert [one.body for one in place.twin.messages] == ["Welcome Robin"]


def test_a_canceled_job_is_not_resumed(place: Workplace) -> None:
    """Also before all that waits is taken back."""
    task = place.task(people(45))
    place.run(task, until=lambda job: job.entered > 0)
    before = len(place.sent_to)
    key = place.take(task).job.key
    boss = foreman(place)
    boss.cancel(place.job(key), by="test")
    with pytest.raises(NotKnown, match="canceled"):
        boss.resume(place.job(key), by="test")
    while not place.job(key).ended:
        place.turn()
    assert len(place.sent_to) == before


def test_what_an_attempt_gives_back_of_a_canceled_job_is_taken_back_too(place: Workplace) -> None:
    """A message that was on its way when it was canceled, and was not made, is not waited for."""
    key = place.take(place.task(people(5))).job.key
    while not place.job(key).entered:
        place.bulk.work()
    begun = place.sending.begin(place.sending.claim(5))
    foreman(place).cancel(place.job(key), by="test")
    for _ in range(5):
        place.bulk.work()
    back = [
        (
            one.entry.key,
            Fact(
                kind=Kind.RETRIED,
                at=place.clock(),
                lease=one.entry.lease,
                due_at=place.clock(),
                reason="connect_refused",
            ),
        )
        for one in begun
    ]
    place.sending.record(back)
    for _ in range(40):
        place.turn()
    assert (place.job(key).state, place.job(key).outcomes) == (State.CANCELED, {"canceled": 5})


class Freezing:
    """Files that stop once, before something is read, and let others go on meanwhile."""

    def __init__(self, inner: Any, at: str, meanwhile: Callable[[], None]) -> None:
        self._inner, self._at, self._meanwhile = inner, at, meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def reading(self, name: str, *rest: Any) -> Any:
        """Read, perhaps much later."""
        if self._at and name.endswith(self._at):
            self._at = ""
            self._meanwhile()
        return self._inner.reading(name, *rest)


@pytest.mark.parametrize("at", ["metadata", "data", "plan"])
def test_a_process_that_wakes_up_late_undoes_nothing(place: Workplace, at: str) -> None:
    """Others have ended the job while it was frozen; what it finds missing says nothing."""
    task = place.task(people(45))
    key = place.take(task).job.key

    def meanwhile() -> None:
        place.clock.wait(module.LEASE.total_seconds() + 1)
        place.run(task)

    frozen = place.make_bulk(files=Freezing(place.files, at, meanwhile))
    for _ in range(6):
        frozen.work()
    assert (place.job(key).state, place.job(key).outcomes) == (State.DONE, {"sent": 45})
    assert len(place.sent_to) == 45


def test_a_late_check_does_not_fail_a_job_that_has_begun_anew(place: Workplace) -> None:
    """The file that it has read is another's by now."""
    bad = place.task([["id-1", "Robin", "12"]])
    key = place.take(bad).job.key

    def meanwhile() -> None:
        place.clock.wait(module.LEASE.total_seconds() + 1)
        assert place.run(bad).state is State.FAILED
        place.clock.wait(1.0)
        assert place.run(place.task(people(7))).outcomes == {"sent": 7}

    frozen = place.make_bulk(files=Freezing(place.files, "plan", meanwhile))
    frozen_at_data = place.make_bulk(files=Freezing(place.files, "metadata", meanwhile))
    for _ in range(3):
        frozen_at_data.work()
    frozen.work()
    assert (place.job(key).state, place.job(key).outcomes) == (State.DONE, {"sent": 7})


def test_a_task_that_is_posted_while_its_job_ends_is_taken_up_at_once(place: Workplace) -> None:
    """Between the commit and the chore that says when the job is looked at again."""
    bad, good = place.task([["id-1", "Robin", "12"]]), place.task(people(3))
    key = place.take(bad).job.key

    class Posting:
        def __init__(self, inner: Any) -> None:
            self._inner, self.is_done = inner, False

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def end_chore(self, name: str, **members: Any) -> None:
            if place.job(key).state is State.FAILED and not self.is_done:
                self.is_done = True
                place.take(good)
            self._inner.end_chore(name, **members)

    bulk = place.make_bulk(store=Posting(place.store))
    for _ in range(10):
        place.turn(bulk)
        place.clock.wait(1.0)
    assert place.job(key).outcomes == {"sent": 3}


def test_a_job_that_is_canceled_while_it_fails_does_not_begin_anew(place: Workplace) -> None:
    """Who canceled it was told that nothing of it starts any more."""
    task = place.task([["id-1", "Robin", "12"]])
    key = place.take(task).job.key
    place.run(task, until=lambda job: job.state is State.CHECKING)
    boss = foreman(place)
    files = Freezing(place.files, "data", lambda: (boss.cancel(place.job(key), by="eve"), None)[1])
    frozen = place.make_bulk(files=files)
    for _ in range(3):
        frozen.work()
    assert place.job(key).state is State.CANCELED
    assert place.take(place.task(people(3))).duplicate
    for _ in range(5):
        place.turn()
    assert not place.sent_to
    assert not place.store.pauses()


def test_a_metadata_file_that_is_no_such_thing_is_not_read(place: Workplace) -> None:
    """It is as long as a data file, and names customers."""
    job = place.run(place.task(people(3), columns=b"x," * (1 << 20)))
    assert (job.state, job.reason) == (State.FAILED, "metadata_unreadable")
    swapped = place.task(
        b"identity_id,first_name,mobile", columns=b"id-1,Robin,+12015550101", occurrence="2"
    )
    job = place.run(swapped)
    assert (job.state, job.reason) == (State.FAILED, "unknown_column")
    assert "Robin" not in (job.words or "")


def test_a_paused_job_that_fails_midway_stays_paused(place: Workplace) -> None:
    """What was entered of it waits behind the pause, until a person resumes or cancels it."""
    ticks = itertools.count(step=6)
    bulk = place.make_bulk(seconds=lambda: float(next(ticks)))
    key = place.take(place.task(people(100))).job.key
    foreman(place).pause(place.job(key), by="test")
    while not place.job(key).entered:
        place.turn(bulk)
    place.files.drop(place.job(key).folder, keep="parts")
    for _ in range(10):
        place.turn(bulk)
    assert place.job(key).state is State.FAILED
    assert [pause.value for pause in place.store.pauses()] == [key.partition("/")[2]]
    assert not place.sent_to
