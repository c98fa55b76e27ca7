"""What CI360 is owed: written with what it tells of, taken, answered. What every ledger does about it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from ci360_twilio.core.advance import owing as owing_entry
from ci360_twilio.core.consent import Sign
from ci360_twilio.core.entry import Entry, Fact, Key, Kind, Lease, Status, key_of
from ci360_twilio.core.inbound import Inbound, inbound_key
from ci360_twilio.core.inbound import owing as owing_inbound
from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.core.report import Answer, Outcome, Report, Verdict, report_key
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import Hearing, InboundQuery, Owed, Owing, Store

Make = Callable[..., Entry]
Hear = Callable[..., Hearing]

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
DEMO, OTHER = TenantId("demo"), TenantId("other")
LEASE = Lease(token="worker", until=NOW + timedelta(days=30))
SID = "SM" + "0" * 32
TELLS = tuple(Outcome)
PUT_OFF = 600.0


def at(seconds: float) -> datetime:
    """Give the moment that many seconds after the morning at which every test starts."""
    return NOW + timedelta(seconds=seconds)


def key(guid: str) -> Key:
    """Give the key of an entry."""
    return key_of(DEMO, guid)


def read(store: Store, guid: str = "g1") -> Entry:
    """Read an entry that must be there."""
    [found] = store.get_many([key(guid)])
    assert found is not None
    return found


def letter(store: Store, sid: str = "SM1") -> Inbound:
    """Read an inbound message that must be there."""
    [found] = store.find_inbound(InboundQuery(tenant_id=DEMO, sid=sid))
    return found


def owes(entry: Entry, second: float, *outcomes: Outcome) -> Entry:
    """Give an entry that owes reports of outcomes since that second."""
    telling = msgspec.structs.replace(entry, tells=TELLS)
    for outcome in outcomes or (Outcome.DELIVERED,):
        telling = owing_entry(telling, at(second), outcome)
    return telling


def replied(hearing: Hearing, second: float) -> Hearing:
    """Give a message that owes the report of a reply since that second."""
    return hearing._replace(inbound=owing_inbound(hearing.inbound, Outcome.REPLY, at(second)))


def finished(entry: Make, guid: str = "g1", second: float = 0.0, **changes: Any) -> Entry:
    """Make an entry that has reached its end and owes the report of it since that second."""
    return owes(entry(guid, status=Status.DELIVERED, **changes), second)


def take(store: Store, second: float, *, limit: int = 99, tenant: TenantId = DEMO) -> list[Owed]:
    """Take reports as a worker would at that second."""
    until = at(second + PUT_OFF)
    return store.take_reports(tenant, now=at(second), until=until, limit=limit)


def keys(taken: Iterable[Owed]) -> list[Key]:
    """Give the keys of documents, in order."""
    return [one.of.key for one in taken]


def answer(
    store: Store, taken: Owed, verdict: Verdict, second: float = 9.0, **members: Any
) -> None:
    """Answer all of a document's reports that were taken."""
    said = Answer(verdict, at(second), **members)
    store.answer_reports([(taken.of.key, report.key, said) for report in taken.reports])


# reports are written with the fact


LIFE: dict[Outcome, list[Kind]] = {
    Outcome.SENT: [Kind.MADE],
    Outcome.DELIVERED: [Kind.MADE, Kind.DELIVERED],
    Outcome.READ: [Kind.MADE, Kind.READ],
    Outcome.UNDELIVERED: [Kind.MADE, Kind.UNDELIVERED],
    Outcome.FAILED: [Kind.MADE, Kind.FAILED],
    Outcome.CANCELED: [Kind.MADE, Kind.CANCELED],
    Outcome.REFUSED: [Kind.REFUSED],
    Outcome.EXPIRED: [Kind.RETRIED, Kind.EXPIRED],
    Outcome.HELD: [Kind.LOST, Kind.HELD],
}


def live(store: Store, entry: Make, outcome: Outcome, tells: tuple[Outcome, ...]) -> list[Entry]:
    """Have a message come to an outcome, each fact in a call of its own; give it after each."""
    store.insert_many([entry(lease=LEASE, tells=tells, expires_at=at(50))])
    after: list[Entry | None] = []
    for second, kind in enumerate([Kind.STARTED, *LIFE[outcome]], start=1):
        receipt = None
        if Kind.MADE in LIFE[outcome] and kind is not Kind.STARTED:
            word = "queued" if kind is Kind.MADE else kind.value
            receipt = Receipt(
                sid=SID, status=word, error_code=30003 if kind is Kind.FAILED else None
            )
        late = at(55) if kind is Kind.EXPIRED else at(second)
        fact = Fact(kind=kind, at=late, lease=LEASE, receipt=receipt, reason="because")
        after += store.record_many([(key("g1"), fact)])
        assert after[-1] == read(store)
    return [one for one in after if one is not None]


@pytest.mark.parametrize("outcome", LIFE)
def test_an_outcome_is_owed_in_the_commit_of_its_fact(
    store: Store, entry: Make, outcome: Outcome
) -> None:
    """With what was known then; before it nothing is owed."""
    steps = live(store, entry, outcome, (outcome,))
    assert [one.reports for one in steps[:-1]] == [()] * (len(steps) - 1)
    [report] = steps[-1].reports
    moment = steps[-1].history[-1].at
    sid = SID if Kind.MADE in LIFE[outcome] else None
    assert report == Report(
        outcome=outcome,
        key=report_key(key("g1"), outcome, sid),
        at=moment,
        due_at=moment,
        sid=sid,
        reason="because",
        error_code=30003 if outcome is Outcome.FAILED else None,
    )
    assert store.owing(at(60), most=9) == [Owing(DEMO, 1)]


@pytest.mark.parametrize("outcome", LIFE)
def test_an_outcome_that_is_not_told_is_not_owed(
    store: Store, entry: Make, outcome: Outcome
) -> None:
    """As the tenant wished when the event came."""
    live(store, entry, outcome, tuple(one for one in Outcome if one is not outcome))
    assert outcome not in {report.outcome for report in read(store).reports}


def test_every_outcome_on_the_way_is_owed_once(store: Store, entry: Make) -> None:
    """In its order, each with a key of its own; a receipt that comes again owes nothing more."""
    live(store, entry, Outcome.READ, TELLS)
    outcomes = [report.outcome for report in read(store).reports]
    assert outcomes == [Outcome.SENT, Outcome.READ]
    before = read(store).reports
    again = Fact(kind=Kind.READ, at=at(99), receipt=Receipt(sid=SID, status="read"))
    assert store.record_many([(key("g1"), again)]) == [None]
    assert read(store).reports == before
    assert len({report.key for report in before}) == 2


def test_an_outcome_that_comes_again_keeps_its_report(store: Store, entry: Make) -> None:
    """A person may hold what was lost a second time; CI360 hears of it once, by one key."""
    store.insert_many([entry(status=Status.UNKNOWN, lease=LEASE, attempts=1, tells=TELLS)])
    held = Fact(kind=Kind.HELD, at=at(1), reason="not_found")
    store.record_many([(key("g1"), held)])
    [taken] = take(store, 2)
    answer(store, taken, Verdict.TOLD, 3)
    receipt = Receipt(sid=SID, status="delivered")
    guess = Fact(kind=Kind.MADE, at=at(4), receipt=receipt, guessed=True)
    disowned = Fact(kind=Kind.DISOWNED, at=at(5))
    facts = [guess, disowned, msgspec.structs.replace(held, at=at(6))]
    store.record_many([(key("g1"), fact) for fact in facts])
    reports = read(store).reports
    assert read(store).status is Status.HELD
    assert [(one.outcome, one.told_at) for one in reports] == [(Outcome.HELD, at(3))]
    assert take(store, 9) == []


def test_what_is_owed_of_a_message_that_is_anothers_is_owed_no_more(
    store: Store, entry: Make
) -> None:
    """What CI360 has heard of it by then stays written."""
    store.insert_many([entry(status=Status.UNKNOWN, attempts=1, tells=TELLS)])
    receipt = Receipt(sid=SID, status="sent")
    facts = [
        Fact(kind=Kind.MADE, at=at(1), receipt=receipt, guessed=True),
        Fact(kind=Kind.DELIVERED, at=at(2), receipt=Receipt(sid=SID, status="delivered")),
    ]
    store.record_many([(key("g1"), fact) for fact in facts])
    [taken] = take(store, 3)
    store.answer_reports([(key("g1"), taken.reports[0].key, Answer(Verdict.TOLD, at(4)))])
    store.record_many([(key("g1"), Fact(kind=Kind.DISOWNED, at=at(5)))])
    assert [one.state for one in read(store).reports] == ["told"]
    assert store.owing(at(9_999), most=9) == []


def test_another_message_of_an_entry_is_another_outcome(store: Store, entry: Make) -> None:
    """A guess that gave way had an end of its own."""
    store.insert_many([entry(status=Status.UNKNOWN, attempts=1, tells=TELLS)])
    wrong, right = (Receipt(sid=sid, status="delivered") for sid in ("SM1", "SM2"))
    facts = [
        Fact(kind=Kind.MADE, at=at(1), receipt=wrong, guessed=True),
        Fact(kind=Kind.MADE, at=at(2), receipt=right),
    ]
    store.record_many([(key("g1"), fact) for fact in facts])
    told = [(one.outcome, one.sid) for one in read(store).reports]
    assert told == [(o, sid) for sid in ("SM1", "SM2") for o in (Outcome.SENT, Outcome.DELIVERED)]
    assert len({one.key for one in read(store).reports}) == len(told)


def test_what_is_written_with_reports_owes_them(store: Store, entry: Make, hearing: Hear) -> None:
    """An event that our gates refused, and a reply."""
    refused = owes(entry("g1", status=Status.REFUSED, message=None), 1, Outcome.REFUSED)
    store.insert_many([refused])
    store.hear_many([replied(hearing(), 2)], now=at(2))
    assert keys(take(store, 2)) == [key("g1"), inbound_key(DEMO, "SM1")]


def test_a_sweep_owes_the_report_of_what_expired(store: Store, entry: Make) -> None:
    """Whoever claims writes it with the sweep."""
    store.insert_many([entry(tells=TELLS, expires_at=at(5))])
    store.claim(now=at(6), lease=LEASE, limit=9)
    [taken] = take(store, 6)
    assert [(one.outcome, one.at) for one in taken.reports] == [(Outcome.EXPIRED, at(6))]


# owing


def test_tenants_are_listed_of_whom_something_is_due(
    store: Store, entry: Make, hearing: Hear
) -> None:
    """By name, with as many documents as owe it, of either kind, counted up to the limit."""
    store.insert_many([finished(entry, f"g{n}", 5) for n in range(3)])
    store.insert_many([finished(entry, "later", 60), entry("nothing", tells=TELLS)])
    store.hear_many([replied(hearing(f"SM{n}"), 6) for n in range(2)], now=at(6))
    store.hear_many([replied(hearing("SM9", tenant="b"), 7)], now=at(7))
    assert store.owing(at(4.999), most=99) == []
    assert store.owing(at(5), most=99) == [Owing(DEMO, 3)]
    assert store.owing(at(6), most=99) == [Owing(DEMO, 5)]
    assert store.owing(at(7), most=99) == [Owing(TenantId("b"), 1), Owing(DEMO, 5)]
    assert store.owing(at(60), most=4) == [Owing(TenantId("b"), 1), Owing(DEMO, 4)]


def test_tenants_whose_reports_are_all_put_off_are_not_listed(store: Store, entry: Make) -> None:
    """However many tenants there are."""
    tenants = [f"t{n:02}" for n in range(30)]
    batch = [finished(entry, tenant=tenant, second=n % 3) for n, tenant in enumerate(tenants)]
    store.insert_many(batch)
    assert [one.tenant_id for one in store.owing(at(0), most=9)] == tenants[0::3]
    for tenant in tenants[::2]:
        take(store, 3, tenant=TenantId(tenant))
    assert [one.tenant_id for one in store.owing(at(3), most=9)] == tenants[1::2]


def test_a_document_with_several_reports_is_one(store: Store, entry: Make) -> None:
    """It is taken as one."""
    store.insert_many([owes(entry("g1"), 1, Outcome.HELD, Outcome.REFUSED, Outcome.OPT_OUT)])
    assert store.owing(at(9), most=9) == [Owing(DEMO, 1)]


# take_reports


def test_due_reports_are_put_off_and_their_attempts_counted(store: Store, entry: Make) -> None:
    """Given as they are then, with the document, which holds them so from now on."""
    store.insert_many([finished(entry)])
    before = read(store)
    [taken] = take(store, 5)
    [report] = before.reports
    put_off = msgspec.structs.replace(report, due_at=at(5 + PUT_OFF), attempts=1)
    assert taken == Owed(read(store), (put_off,))
    assert read(store) == msgspec.structs.replace(before, reports=(put_off,))


def test_inbound_messages_are_taken_like_entries(store: Store, hearing: Hear) -> None:
    """With the report as it is then."""
    store.hear_many([replied(hearing(), 1)], now=at(1))
    [taken] = take(store, 5)
    assert taken == Owed(letter(store), letter(store).reports)
    assert (taken.reports[0].due_at, taken.reports[0].attempts) == (at(5 + PUT_OFF), 1)


def test_a_report_is_due_at_its_time_and_not_before(store: Store, entry: Make) -> None:
    """To the millisecond; what was taken comes again when its time comes."""
    store.insert_many([finished(entry, second=5)])
    assert take(store, 4.999) == []
    assert len(take(store, 5)) == 1
    assert take(store, 5 + PUT_OFF - 0.001) == []
    [again] = take(store, 5 + PUT_OFF)
    assert again.reports[0].attempts == 2
    assert again.reports[0].key == report_key(key("g1"), Outcome.DELIVERED, None)


def test_only_due_reports_of_a_document_are_taken(store: Store, entry: Make) -> None:
    """The others stay as they are, and are taken in their time."""
    both = owes(owes(entry(), 1, Outcome.HELD), 20, Outcome.REFUSED)
    store.insert_many([both])
    [taken] = take(store, 5)
    assert [one.outcome for one in taken.reports] == [Outcome.HELD]
    assert read(store).reports == (taken.reports[0], both.reports[1])
    assert [one.outcome for one in take(store, 20)[0].reports] == [Outcome.REFUSED]


def test_all_due_reports_of_a_document_are_taken_together(store: Store, entry: Make) -> None:
    """In the order in which they came about."""
    store.insert_many([owes(owes(entry(), 3, Outcome.SENT), 1, Outcome.READ)])
    [taken] = take(store, 5)
    assert [one.outcome for one in taken.reports] == [Outcome.SENT, Outcome.READ]


def test_those_are_taken_first_that_are_due_longest(
    store: Store, entry: Make, hearing: Hear
) -> None:
    """Of either kind; no more documents than the limit, and the next call takes the next."""
    for second in random.Random(7).sample(range(10), k=10):
        if second % 2:
            store.hear_many([replied(hearing(f"SM{second}"), second)], now=at(second))
        else:
            store.insert_many([finished(entry, f"g{second}", second)])
    taken = [keys(take(store, 60, limit=4)) for _ in range(4)]
    wanted = [inbound_key(DEMO, f"SM{n}") if n % 2 else key(f"g{n}") for n in range(10)]
    assert taken == [wanted[:4], wanted[4:8], wanted[8:], []]


def test_a_tenants_reports_are_taken_for_it_alone(store: Store, entry: Make, hearing: Hear) -> None:
    """Others' wait for their turn, however long they are due."""
    store.insert_many([finished(entry, tenant="other"), finished(entry, second=5)])
    store.hear_many([replied(hearing(tenant="other"), 1)], now=at(1))
    assert keys(take(store, 9)) == [key("g1")]
    theirs = [key_of(OTHER, "g1"), inbound_key(OTHER, "SM1")]
    assert keys(take(store, 9, tenant=OTHER)) == theirs
    assert take(store, 9, tenant=TenantId("third")) == []


def test_taking_reports_leaves_the_entry_to_its_life(store: Store, entry: Make) -> None:
    """It is due, leased and found as before, and its next fact adds to what it owes."""
    store.insert_many([owes(entry(due_at=at(3)), 1, Outcome.HELD)])
    take(store, 5)
    [claimed] = store.claim(now=at(6), lease=LEASE, limit=9).entries
    start = Fact(kind=Kind.STARTED, at=at(7), lease=LEASE)
    made = Fact(kind=Kind.MADE, at=at(8), lease=LEASE, receipt=Receipt(sid=SID, status="queued"))
    store.record_many([(claimed.key, start), (claimed.key, made)])
    outcomes = [report.outcome for report in read(store).reports]
    assert outcomes == [Outcome.HELD, Outcome.SENT]
    assert [one.outcome for one in take(store, 9)[0].reports] == [Outcome.SENT]


# answer_reports


def test_what_was_told_is_owed_no_more(store: Store, entry: Make) -> None:
    """When it was acknowledged is kept with it."""
    store.insert_many([finished(entry)])
    [taken] = take(store, 5)
    answer(store, taken, Verdict.TOLD, 7)
    [report] = read(store).reports
    told = msgspec.structs.replace(taken.reports[0], due_at=None, told_at=at(7))
    assert (report, report.state) == (told, "told")
    assert (store.owing(at(10**7), most=9), take(store, 10**7)) == ([], [])


def test_what_is_to_be_told_again_is_due_when_the_answer_says(store: Store, entry: Make) -> None:
    """Sooner or later than it was put off for, or at once; its key stays the same."""
    store.insert_many([finished(entry)])
    for second, due in ((5.0, 30.0), (30.0, 9000.0), (9000.0, None)):
        [taken] = take(store, second)
        moment = None if due is None else at(due)
        answer(store, taken, Verdict.AGAIN, second + 1, due_at=moment)
        [report] = read(store).reports
        assert report.due_at == (at(second + 1) if moment is None else moment)
        assert (report.state, report.key) == ("owed", taken.reports[0].key)
    assert take(store, 9000.999) == []
    assert take(store, 9001)[0].reports[0].attempts == 4


def test_what_was_refused_is_set_aside_with_the_words(store: Store, hearing: Hear) -> None:
    """And not sent any more by itself."""
    store.hear_many([replied(hearing(), 1)], now=at(1))
    [taken] = take(store, 5)
    answer(store, taken, Verdict.ASIDE, 7, words="unknown event: Zoë")
    [report] = letter(store).reports
    assert (report.aside, report.state, report.told_at) == ("unknown event: Zoë", "aside", None)
    assert take(store, 10**7) == []
    assert store.aside(DEMO, 9) == [Owed(letter(store), (report,))]


def test_what_nobody_wants_to_hear_is_dropped(store: Store, entry: Make) -> None:
    """It is neither owed nor set aside."""
    store.insert_many([finished(entry)])
    [taken] = take(store, 5)
    answer(store, taken, Verdict.DROPPED, 7)
    [report] = read(store).reports
    assert (report.state, report.due_at) == ("dropped", None)
    assert (take(store, 10**7), store.aside(None, 9)) == ([], [])


def test_answers_go_to_the_reports_that_they_name(store: Store, entry: Make, hearing: Hear) -> None:
    """Of many documents in one call, of one document several, in any order."""
    store.insert_many([owes(entry(), 1, Outcome.HELD, Outcome.REFUSED), finished(entry, "g2")])
    store.hear_many([replied(hearing(), 1)], now=at(1))
    of = {one.of.key: one.reports for one in take(store, 5)}
    mine, letters = key("g1"), inbound_key(DEMO, "SM1")
    store.answer_reports(
        [
            (mine, of[mine][1].key, Answer(Verdict.ASIDE, at(6), words="no")),
            (letters, of[letters][0].key, Answer(Verdict.TOLD, at(7))),
            (mine, of[mine][0].key, Answer(Verdict.TOLD, at(8))),
        ]
    )
    assert [one.state for one in read(store).reports] == ["told", "aside"]
    assert [one.state for one in letter(store).reports] == ["told"]
    assert [one.state for one in read(store, "g2").reports] == ["owed"]
    assert read(store).reports[0].told_at == at(8)


def test_answers_to_what_is_not_owed_change_nothing(store: Store, entry: Make) -> None:
    """It was told meanwhile, or is unknown, or its document is gone; others' answers count."""
    gone = finished(entry, "gone", purge_at=at(1))
    store.insert_many([finished(entry), finished(entry, "g2"), gone])
    first, second, third = take(store, 5)
    store.purge(now=at(6), limit=9)
    answer(store, first, Verdict.TOLD, 7)
    before = read(store)
    name = first.reports[0].key
    late = Answer(Verdict.AGAIN, at(8), at(9))
    store.answer_reports(
        [
            (first.of.key, name, late),
            (first.of.key, "0" * 32, late),
            (key("unknown"), name, late),
            (inbound_key(DEMO, "SM404"), name, late),
            (third.of.key, third.reports[0].key, late),
            (second.of.key, second.reports[0].key, Answer(Verdict.TOLD, at(8))),
        ]
    )
    assert read(store) == before
    assert store.get_many([gone.key]) == [None]
    assert read(store, "g2").reports[0].told_at == at(8)
    store.answer_reports([])


def test_the_first_of_two_answers_counts_where_it_ends_the_report(
    store: Store, entry: Make
) -> None:
    """As where two processes told it, since one of them was thought dead."""
    store.insert_many([finished(entry)])
    [taken] = take(store, 5)
    name = taken.reports[0].key
    answers = [Answer(Verdict.TOLD, at(6)), Answer(Verdict.ASIDE, at(7), words="no")]
    store.answer_reports([(key("g1"), name, one) for one in answers])
    assert (read(store).reports[0].state, read(store).reports[0].told_at) == ("told", at(6))


# aside, owe_again


def set_aside(store: Store, entry: Make, hearing: Hear) -> None:
    """Have reports of two tenants set aside: of two entries and a message, and of an entry."""
    store.insert_many([finished(entry, "a"), finished(entry, "b"), finished(entry, "c")])
    store.insert_many([finished(entry, "a", tenant="other")])
    store.hear_many([replied(hearing(), 0)], now=NOW)
    for tenant in (DEMO, OTHER):
        for taken in take(store, 1, tenant=tenant):
            told = taken.of.key == key("c")
            answer(store, taken, Verdict.TOLD if told else Verdict.ASIDE, 2, words="not published")


def test_what_was_set_aside_is_listed(store: Store, entry: Make, hearing: Hear) -> None:
    """Of a tenant or of all, no more documents than the limit, with the reports that were."""
    set_aside(store, entry, hearing)
    mine = store.aside(DEMO, 99)
    assert set(keys(mine)) == {key("a"), key("b"), inbound_key(DEMO, "SM1")}
    assert [one.reports[0].aside for one in mine] == ["not published"] * 3
    assert keys(store.aside(OTHER, 99)) == [key_of(OTHER, "a")]
    assert {*keys(store.aside(None, 99))} == {*keys(mine), key_of(OTHER, "a")}
    assert len(store.aside(None, 2)) == len(store.aside(DEMO, 2)) == 2
    assert store.aside(TenantId("third"), 9) == []


def test_only_the_reports_that_were_set_aside_are_listed(store: Store, entry: Make) -> None:
    """Not the document's others."""
    store.insert_many([owes(entry(), 1, Outcome.HELD, Outcome.REFUSED)])
    [taken] = take(store, 5)
    said = Answer(Verdict.ASIDE, at(6), words="no")
    store.answer_reports([(key("g1"), taken.reports[1].key, said)])
    [listed] = store.aside(None, 9)
    assert listed == Owed(read(store), read(store).reports[1:])


def test_what_was_set_aside_can_be_owed_again(store: Store, entry: Make, hearing: Hear) -> None:
    """At once, with the key that it had: as after the event was published in CI360."""
    set_aside(store, entry, hearing)
    before = {one.of.key: one.reports[0].key for one in store.aside(DEMO, 9)}
    assert store.owe_again(DEMO, now=at(50)) == 3
    assert store.aside(DEMO, 9) == []
    assert take(store, 49.999) == []
    taken = take(store, 50)
    assert {one.of.key: one.reports[0].key for one in taken} == before
    assert {(one.reports[0].attempts, one.reports[0].aside) for one in taken} == {(2, None)}
    assert len(store.aside(OTHER, 9)) == 1
    assert store.owe_again(DEMO, now=at(60)) == 0


def test_everybodys_reports_can_be_owed_again(store: Store, entry: Make, hearing: Hear) -> None:
    """What was told, dropped or is owed anyway stays as it is."""
    set_aside(store, entry, hearing)
    told = read(store, "c")
    assert store.owe_again(None, now=at(50)) == 4
    assert read(store, "c") == told
    assert store.owing(at(50), most=9) == [Owing(DEMO, 3), Owing(OTHER, 1)]


def test_reports_are_counted_that_are_owed_again_not_documents(store: Store, entry: Make) -> None:
    """One may have several set aside."""
    store.insert_many([owes(entry(), 1, Outcome.HELD, Outcome.REFUSED, Outcome.OPT_OUT)])
    [taken] = take(store, 5)
    said = Answer(Verdict.ASIDE, at(6), words="no")
    store.answer_reports([(key("g1"), one.key, said) for one in taken.reports[:2]])
    assert store.owe_again(DEMO, now=at(9)) == 2


# pauses


def test_a_pause_of_reports_keeps_no_message_from_being_sent(store: Store, entry: Make) -> None:
    """It is listed and probed like others; whoever tells CI360 looks at it."""
    known: dict[str, Any] = {
        "scope": Scope.REPORTS,
        "tenant_id": DEMO,
        "cause": Cause.CONFIG,
        "reason": "denied",
    }
    pause = Pause(since=NOW, probe_at=at(30), **known)
    store.insert_many([entry("taken", lease=LEASE), entry("waits")])
    assert store.pause(pause)
    assert store.pauses() == [pause]
    claimed = store.claim(now=at(1), lease=LEASE, limit=9)
    assert [one.guid for one in claimed.entries] == ["waits"]
    assert claimed.probes == []
    started = Fact(kind=Kind.STARTED, at=at(2), lease=LEASE)
    results = store.record_many([(key(guid), started) for guid in ("taken", "waits")])
    assert [one and one.status for one in results] == [Status.SENDING] * 2
    assert store.waiting(at(3)) == []
    assert store.take_probe(pause.name, now=at(29), until=at(60)) is None
    assert store.take_probe(pause.name, now=at(30), until=at(60)) is not None


# summary, purge


def test_the_summary_counts_documents_that_owe(store: Store, entry: Make, hearing: Hear) -> None:
    """Those with a report set aside, too, and since when the first is due, or when the next will be."""
    empty = store.summary(NOW)
    assert (empty.owed, empty.oldest_owed_at, empty.aside) == (0, None, 0)
    store.insert_many([owes(entry(), 7, Outcome.HELD, Outcome.REFUSED), finished(entry, "g2", 9)])
    store.hear_many([replied(hearing(), 5)], now=at(5))
    full = store.summary(NOW)
    assert (full.owed, full.oldest_owed_at, full.aside) == (3, at(5), 0)
    letters, *_ = take(store, 5)
    assert store.summary(NOW).oldest_owed_at == at(7)
    answer(store, letters, Verdict.ASIDE, 6, words="no")
    _, second = take(store, 10)
    answer(store, second, Verdict.TOLD, 11)
    last = store.summary(NOW)
    assert (last.owed, last.oldest_owed_at, last.aside) == (1, at(10 + PUT_OFF), 1)


def test_what_is_purged_owes_nothing(store: Store, entry: Make, hearing: Hear) -> None:
    """Told or not, after all the time that it was kept."""
    store.insert_many([finished(entry, purge_at=at(5))])
    store.hear_many([replied(hearing(purge_at=at(5)), 1)], now=at(1))
    assert store.purge(now=at(5), limit=9) == 2
    assert (take(store, 9), store.owing(at(9), most=9)) == ([], [])
    assert store.summary(at(9)).owed == 0


def test_a_repeat_neither_owes_nor_forgets_anything(
    store: Store, entry: Make, hearing: Hear
) -> None:
    """An event or a message that comes again finds the reports as they are."""
    store.insert_many([finished(entry)])
    store.hear_many([replied(hearing(), 1)], now=at(1))
    take(store, 5)
    before = (read(store).reports, letter(store).reports)
    store.insert_many([finished(entry, second=6)])
    store.hear_many([replied(hearing(sign=Sign.OUT), 6)], now=at(6))
    assert (read(store).reports, letter(store).reports) == before


# many at a time


def test_eight_that_take_reports_share_none(
    open_ledger: Callable[[], Store], entry: Make, hearing: Hear
) -> None:
    """As processes do: every report is sent by one of them, once."""
    store = open_ledger()
    store.insert_many([finished(entry, f"g{n}", n / 10) for n in range(80)])
    store.hear_many([replied(hearing(f"SM{n}"), n / 10) for n in range(40)], now=NOW)
    stores, gate = [open_ledger() for _ in range(8)], threading.Barrier(8)

    def work(number: int) -> list[Key]:
        gate.wait(10)
        mine = stores[number]
        taken = iter(lambda: take(mine, 60, limit=7), [])
        return [one for part in taken for one in keys(part)]

    with ThreadPoolExecutor(8) as pool:
        taken = [one for part in pool.map(work, range(8)) for one in part]
    assert len(taken) == len(set(taken)) == 120
    later = take(store, 60 + PUT_OFF, limit=200)
    assert {one.reports[0].attempts for one in later} == {2}


def test_no_answer_is_lost_while_the_document_changes(
    open_ledger: Callable[[], Store], entry: Make
) -> None:
    """A message is settled while what became of it before is told; both are kept."""
    store = open_ledger()
    receipt = Receipt(sid=SID, status="queued")
    batch = [
        owes(
            entry(f"g{n}", status=Status.SENT, sid=f"SM{n}", provider_status="queued"),
            1,
            Outcome.SENT,
        )
        for n in range(20)
    ]
    store.insert_many(batch)
    taken = take(store, 5)
    gate = threading.Barrier(2)

    def tell(mine: Store) -> None:
        gate.wait(10)
        for one in taken:
            answer(mine, one, Verdict.TOLD, 6)

    def settle(mine: Store) -> None:
        gate.wait(10)
        for n in range(20):
            told = msgspec.structs.replace(receipt, sid=f"SM{n}", status="delivered")
            mine.record_many([(key(f"g{n}"), Fact(kind=Kind.DELIVERED, at=at(7), receipt=told))])

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(tell, open_ledger()), pool.submit(settle, open_ledger())]:
            done.result()
    states = [[report.state for report in read(store, f"g{n}").reports] for n in range(20)]
    assert states == [["told", "owed"]] * 20
