"""What recipients wish, and what is known of it. What every ledger does about it.

What evidence makes of a consent is decided by :mod:`ci360_twilio.core.consent`, which has tests of
its own; here it is kept, sealed, read, and told of.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from ci360_twilio.core.consent import (
    EVERY_SENDER,
    Consent,
    Evidence,
    Sign,
    Source,
    Subject,
    attest,
    confirm,
    dismiss,
    put_off,
)
from ci360_twilio.core.inbound import Inbound
from ci360_twilio.core.report import Outcome
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import Hearing, InboundQuery, Store, Verified

Hear = Callable[..., Hearing]

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
DEMO, OTHER = TenantId("demo"), TenantId("other")
CUSTOMER = "+12015550101"
SUBJECT = Subject(DEMO, CUSTOMER)
DAY = 86_400


def at(seconds: float) -> datetime:
    """Give the moment that many seconds after the morning at which every test starts."""
    return NOW + timedelta(seconds=seconds)


def subject(number: int, group: str = EVERY_SENDER, tenant: TenantId = DEMO) -> Subject:
    """Give one of many people."""
    return Subject(tenant, f"+120155501{number:02}", group)


def evidence(sign: Sign = Sign.OUT, second: float = 0.0, **changes: Any) -> Evidence:
    """Make evidence of that second, as a person gives it, unless told."""
    known: dict[str, Any] = {"source": Source.PERSON, "heard_at": at(second), "by": "ada"}
    if "dated" in changes:
        changes["dated_at"] = at(changes.pop("dated"))
    if "sid" in changes:
        known |= {"source": Source.TEXT, "by": None}
    return Evidence(sign=sign, **known | changes)


def attested(
    store: Store, *of: Evidence, second: float = 0.0, subject: Subject = SUBJECT
) -> list[Consent | None]:
    """Add evidence to one consent."""
    return store.attest_many([(subject, one) for one in of], now=at(second))


def read(store: Store, subject: Subject = SUBJECT) -> Consent:
    """Read a consent that must be there."""
    [found] = store.consents([subject])
    assert found is not None
    return found


def bare(consent: Consent | None) -> Consent | None:
    """Give a consent without its seals."""
    if consent is None:
        return None
    lines = tuple(msgspec.structs.replace(line, seal="") for line in consent.history)
    return msgspec.structs.replace(consent, history=lines, seal="")


def letter(store: Store, sid: str) -> Inbound:
    """Read an inbound message that must be there."""
    [found] = store.find_inbound(InboundQuery(tenant_id=DEMO, sid=sid))
    return found


def owed(store: Store, *of: str) -> dict[str, list[str]]:
    """Give what messages are to tell CI360, by SID."""
    return {sid: [one.outcome for one in letter(store, sid).reports] for sid in of}


def states(consents: Iterable[Consent | None]) -> list[str | None]:
    """Give the states of consents."""
    return [one.state if one is not None else None for one in consents]


def people(consents: Iterable[Consent]) -> list[str | None]:
    """Give whose consents they are."""
    return [one.recipient for one in consents]


# consents


def test_of_whom_nothing_is_known_there_is_no_consent(store: Store) -> None:
    """Nor is one made by asking."""
    assert store.consents([SUBJECT, subject(7)]) == [None, None]
    assert store.consents([]) == []
    assert store.list_consents(DEMO, limit=9) == ([], None)


def test_a_consent_is_whose_it_is(store: Store) -> None:
    """By tenant, recipient and group; none of them stands in for another."""
    attested(store, evidence())
    others = [
        Subject(OTHER, CUSTOMER),
        Subject(DEMO, "+12015550102"),
        Subject(DEMO, CUSTOMER, "shop"),
        Subject(DEMO, f"whatsapp:{CUSTOMER}"),
        Subject(DEMO, CUSTOMER[1:]),
        Subject(DEMO, "", CUSTOMER),
        Subject(TenantId(""), CUSTOMER),
    ]
    assert store.consents(others) == [None] * len(others)
    assert store.consents([SUBJECT]) != [None]


def test_consents_come_in_the_order_in_which_they_are_asked_for(store: Store) -> None:
    """Known and unknown ones mixed, and one that is asked for twice twice."""
    store.attest_many([(subject(n), evidence()) for n in range(5)], now=NOW)
    order = [4, 9, 0, 4, 2, 7]
    found = store.consents([subject(n) for n in order])
    wanted = [subject(n).recipient if n < 5 else None for n in order]
    assert [one and one.recipient for one in found] == wanted


def test_a_consent_is_seen_by_whoever_opens_the_ledger(open_ledger: Callable[[], Store]) -> None:
    """It is durable before the call returns."""
    [after] = attested(open_ledger(), evidence())
    assert open_ledger().consents([SUBJECT]) == [after]


# attest_many


def test_evidence_is_added_as_the_core_adds_it(store: Store) -> None:
    """And what comes back is what stands there, with its seals."""
    steps = [
        evidence(second=1),
        evidence(Sign.IN, 2, dated=1.5),
        evidence(second=3, sid="SM1", dated=0.5),
        evidence(Sign.MAYBE, 4.000001, sid="SM2"),
        evidence(Sign.IN, 5, sid="SM3", source=Source.CI360, by="Zoë 日本"),
    ]
    expected: Consent | None = None
    for second, step in enumerate(steps):
        expected = attest(expected, SUBJECT, step, at(second)) or expected
        [after] = attested(store, step, second=second)
        assert bare(after) == expected
        assert after == read(store)
    assert all(line.seal for line in read(store).history)
    assert read(store).seal


def test_evidence_is_added_in_its_order_in_one_call(store: Store) -> None:
    """Each to what the one before has left, of one person or of many."""
    changes = [
        (SUBJECT, evidence(dated=1)),
        (subject(7), evidence(Sign.MAYBE, sid="SM7")),
        (SUBJECT, evidence(Sign.IN, dated=2)),
        (SUBJECT, evidence(dated=3)),
    ]
    after = store.attest_many(changes, now=at(9))
    assert states(after) == ["out", "review", "in", "out"]
    assert store.consents([SUBJECT, subject(7)]) == [after[3], after[1]]
    assert [line.act for line in read(store).history] == ["out", "in", "out"]
    assert store.attest_many([], now=NOW) == []


def test_evidence_that_says_nothing_new_changes_nothing(store: Store) -> None:
    """Not even a line of the history; the answer says so."""
    attested(store, evidence(second=5), evidence(sid="SM1"))
    before = read(store)
    again = attested(store, evidence(second=1), evidence(sid="SM1"), evidence(second=5), second=9)
    assert again == [None, None, None]
    assert read(store) == before


def test_a_consent_that_nobody_gave_reasons_against_is_one_all_the_same(store: Store) -> None:
    """An opt-in of somebody who never opted out is kept: a later list may say otherwise."""
    [after] = attested(store, evidence(Sign.IN, sid="SM1"))
    assert states([after]) == ["in"]
    assert states(store.consents([SUBJECT])) == ["in"]


def test_every_member_of_evidence_is_kept(store: Store) -> None:
    """Times to the microsecond, texts of every script."""
    whole = Evidence(
        sign=Sign.OUT,
        source=Source.IMPORT,
        heard_at=at(0.000001),
        dated_at=at(-0.000001),
        sid="SM" + "f" * 32,
        by="Zoë – 日本 \t\n\"'\\",
    )
    attested(store, whole, second=0.123456)
    assert read(store).against == (whole,)
    assert read(store).history[0].at == at(0.123456)


def test_an_inbound_message_owes_the_report_of_a_turn(store: Store, hearing: Hear) -> None:
    """As where a list tells what a text said that the webhook's reader did not take for a wish."""
    store.hear_many([hearing("SM1"), hearing("SM2")], now=NOW)
    attested(store, evidence(sid="SM1", dated=1), second=5)
    assert owed(store, "SM1", "SM2") == {"SM1": ["opt_out"], "SM2": []}
    attested(store, evidence(Sign.IN, sid="SM2", dated=2), second=6)
    assert owed(store, "SM1", "SM2") == {"SM1": ["opt_out"], "SM2": ["opt_in"]}
    [report] = letter(store, "SM2").reports
    assert (report.at, report.due_at, report.sid) == (at(6), at(6), "SM2")


def test_what_turns_by_other_evidence_owes_no_report(store: Store, hearing: Hear) -> None:
    """CI360 said so itself, or a list or a person here did; no message did."""
    store.hear_many([hearing("SM1", Sign.MAYBE), hearing("SM2", Sign.IN)], now=NOW)
    turned = attested(
        store,
        evidence(second=1, source=Source.IMPORT, dated=-5),
        evidence(Sign.IN, 2, source=Source.CI360, dated=2),
        evidence(second=3, dated=3),
        second=5,
    )
    assert states(turned) == ["out", "in", "out"]
    assert owed(store, "SM1", "SM2") == {"SM1": [], "SM2": []}


def test_the_message_that_turns_a_consent_owes_the_report_not_the_latest_one(
    store: Store, hearing: Hear
) -> None:
    """A text that was heard later, and is not surely a wish or of no known date, is not told."""
    store.hear_many([hearing("SM1", Sign.MAYBE, heard_at=at(60)), hearing("SM2")], now=NOW)
    attested(store, evidence(sid="SM2", dated=1), second=61)
    assert owed(store, "SM1", "SM2") == {"SM1": [], "SM2": ["opt_out"]}
    third, fourth = hearing("SM3", Sign.IN, heard_at=at(99)), hearing("SM4")
    store.hear_many([third, fourth], now=at(99))
    store.judge(SUBJECT, "SM1", is_out=False, now=at(100), by="ada")
    attested(store, evidence(Sign.IN, sid="SM4", dated=2), second=101)
    assert owed(store, "SM3", "SM4") == {"SM3": [], "SM4": ["opt_in"]}


def test_a_wish_that_leaves_the_recipient_blocked_turns_nothing(
    store: Store, hearing: Hear
) -> None:
    """Another text still waits to be read: nobody is told that messages go on."""
    store.hear_many([hearing("SM1", Sign.OUT, dated_at=at(-9)), hearing("SM2")], now=NOW)
    attested(store, evidence(Sign.MAYBE, sid="SM3", dated=9), second=9)
    [after] = attested(store, evidence(Sign.IN, sid="SM2", dated=5), second=10)
    assert states([after]) == ["review"]
    assert owed(store, "SM1", "SM2") == {"SM1": ["opt_out"], "SM2": []}


def test_a_turn_by_a_message_that_is_not_known_is_written(store: Store, hearing: Hear) -> None:
    """It was purged, or never heard: there is no document that could owe anything."""
    store.hear_many([hearing("SM1", purge_at=at(1))], now=NOW)
    store.purge(now=at(2), limit=9)
    after = attested(store, evidence(sid="SM1"), evidence(Sign.IN, sid="SM2", dated=9), second=9)
    assert states(after) == ["out", "in"]
    assert store.owing(at(99), most=9) == []


# date_many


def dated(store: Store, *of: Evidence, second: float = 9.0) -> list[Consent | None]:
    """Write dates of evidence in one consent."""
    return store.date_many([(SUBJECT, one) for one in of], now=at(second))


def test_a_date_is_written_to_the_evidence_that_lacks_it(store: Store) -> None:
    """As other evidence is added: with a line, sealed, and given as it stands."""
    attested(store, evidence(sid="SM1"), evidence(Sign.IN, 5, sid="SM2"))
    expected = attest(bare(read(store)), SUBJECT, evidence(Sign.IN, 5, sid="SM2", dated=4), at(9))
    [after] = dated(store, evidence(Sign.IN, 8, sid="SM2", dated=4))
    assert bare(after) == expected
    assert after == read(store)
    assert states([after]) == ["in"]
    assert read(store).history[-1].act == "dated"
    assert read(store).favour[0].heard_at == at(5)
    assert store.verify_consents(limit=9).broken == ()


def test_a_date_that_turns_a_consent_is_told(store: Store, hearing: Hear) -> None:
    """By the message that asked for messages again, whichever date it is that shows it."""
    store.hear_many([hearing("SM1", Sign.OUT), hearing("SM2", Sign.IN, heard_at=at(5))], now=NOW)
    dated(store, evidence(Sign.IN, sid="SM2", dated=-9))
    assert owed(store, "SM1", "SM2") == {"SM1": ["opt_out"], "SM2": []}
    dated(store, evidence(sid="SM1", dated=-10))
    assert owed(store, "SM1", "SM2") == {"SM1": ["opt_out"], "SM2": ["opt_in"]}


def test_dates_of_what_is_not_there_change_nothing(store: Store) -> None:
    """Of a consent or of a message that is not known, or has a date; nor does evidence without one."""
    assert dated(store, evidence(sid="SM1", dated=1)) == [None]
    assert store.consents([SUBJECT]) == [None]
    attested(store, evidence(sid="SM1", dated=1), evidence(sid="SM2"), evidence())
    before = read(store)
    nothing = [
        evidence(sid="SM1", dated=2),
        evidence(sid="SM3", dated=2),
        evidence(sid="SM2"),
        evidence(dated=2),
    ]
    assert dated(store, *nothing) == [None] * 4
    assert read(store) == before
    assert store.date_many([], now=NOW) == []


def test_a_date_belongs_to_the_message_whatever_its_text_is_read_as_now(store: Store) -> None:
    """A person has decided since, or the tenant's words are others: no evidence comes by a date."""
    attested(store, evidence(Sign.MAYBE, sid="SM1"), evidence(Sign.MAYBE, sid="SM2"))
    store.judge(SUBJECT, "SM1", is_out=True, now=at(1), by="ada")
    after = dated(
        store, evidence(Sign.MAYBE, sid="SM1", dated=-5), evidence(Sign.OUT, sid="SM2", dated=-4)
    )
    assert states(after) == ["out", "out"]
    found = {one.sid: (one.sign, one.dated_at) for one in read(store).against}
    assert found == {"SM1": (Sign.OUT, at(-5)), "SM2": (Sign.MAYBE, at(-4))}


# judge


def test_a_text_that_was_found_to_be_an_opt_out_is_one(store: Store, hearing: Hear) -> None:
    """From then on; who said so is in the history, and CI360 is told by the text."""
    store.hear_many([hearing("SM1", Sign.MAYBE)], now=NOW)
    known = bare(read(store))
    assert known is not None
    after = store.judge(SUBJECT, "SM1", is_out=True, now=at(5), by="ada")
    assert bare(after) == confirm(known, "SM1", at(5), "ada")
    assert after == read(store)
    assert (read(store).state, read(store).history[-1].by) == ("out", "ada")
    assert owed(store, "SM1") == {"SM1": ["opt_out"]}
    assert store.verify_consents(limit=9) == Verified(1, (), None)


def test_a_text_that_was_found_to_be_none_blocks_no_more(store: Store, hearing: Hear) -> None:
    """Nor is it asked about again, though it be heard again."""
    store.hear_many([hearing("SM1", Sign.MAYBE)], now=NOW)
    known = bare(read(store))
    assert known is not None
    after = store.judge(SUBJECT, "SM1", is_out=False, now=at(5), by="ada")
    assert bare(after) == dismiss(known, "SM1", at(5), "ada")
    assert after == read(store)
    assert (read(store).state, store.summary(NOW).review) == ("in", 0)
    assert owed(store, "SM1") == {"SM1": []}
    assert attested(store, evidence(Sign.MAYBE, sid="SM1"), second=6) == [None]


def test_each_text_is_judged_for_itself(store: Store, hearing: Hear) -> None:
    """The others go on blocking; the one that is an opt-out tells so, were others heard later."""
    batch = [hearing(f"SM{n}", Sign.MAYBE, heard_at=at(n)) for n in range(3)]
    store.hear_many(batch, now=NOW)
    assert states([store.judge(SUBJECT, "SM0", is_out=False, now=at(5), by="a")]) == ["review"]
    assert states([store.judge(SUBJECT, "SM1", is_out=True, now=at(6), by="b")]) == ["out"]
    assert owed(store, "SM0", "SM1", "SM2") == {"SM0": [], "SM1": ["opt_out"], "SM2": []}
    assert states([store.judge(SUBJECT, "SM2", is_out=False, now=at(7), by="c")]) == ["out"]


def test_nothing_is_judged_that_does_not_wait_for_it(store: Store) -> None:
    """Of somebody unknown, of an unknown text, of a sure opt-out, or a second time."""
    assert store.judge(SUBJECT, "SM1", is_out=True, now=NOW, by="ada") is None
    attested(store, evidence(sid="SM1"), evidence(Sign.MAYBE, sid="SM2"))
    shop = Subject(DEMO, CUSTOMER, "shop")
    assert store.judge(shop, "SM2", is_out=True, now=NOW, by="ada") is None
    assert store.judge(SUBJECT, "SM1", is_out=False, now=NOW, by="ada") is None
    assert store.judge(SUBJECT, "SM9", is_out=False, now=NOW, by="ada") is None
    assert store.judge(SUBJECT, "SM2", is_out=False, now=NOW, by="ada") is not None
    before = read(store)
    for is_out in (True, False):
        assert store.judge(SUBJECT, "SM2", is_out=is_out, now=at(9), by="bob") is None
    assert read(store) == before


# take_undated


def in_doubt(store: Store, *numbers: int, second: float = 0.0) -> None:
    """Write consents that hang on dates: an opt-out and an opt-in within a minute of each other."""
    changes = [
        (subject(n), evidence(sign, second + place, sid=f"SM{n}-{sign}"))
        for n in numbers
        for place, sign in enumerate((Sign.OUT, Sign.IN))
    ]
    store.attest_many(changes, now=at(second))


def take(store: Store, second: float, limit: int = 9) -> list[str | None]:
    """Take what hangs on dates; give whose it is."""
    return people(store.take_undated(now=at(second), limit=limit))


def test_a_consent_that_hangs_on_dates_is_taken(store: Store) -> None:
    """As it is put off, and so it stands; nothing else of it changes."""
    in_doubt(store, 1)
    before = read(store, subject(1))
    [taken] = store.take_undated(now=at(5), limit=9)
    assert taken == put_off(before, at(5))
    assert taken == read(store, subject(1))
    assert (taken.asked, taken.history) == (1, before.history)
    assert store.verify_consents(limit=9).broken == ()


def test_what_hangs_on_no_date_is_not_taken(store: Store) -> None:
    """Nothing waits to be overruled, or nobody can date it."""
    attested(store, evidence(sid="SM1"))
    attested(store, evidence(Sign.IN, sid="SM2"), subject=subject(2))
    attested(store, evidence(), evidence(Sign.IN, 5), subject=subject(3))
    assert take(store, 99) == []


def test_a_consent_is_not_taken_again_before_its_time(store: Store) -> None:
    """In growing intervals, each as the core gives it, to the millisecond."""
    in_doubt(store, 1)
    for _ in range(3):
        asked_at = read(store, subject(1)).ask_at
        assert asked_at is not None
        assert store.take_undated(now=asked_at - timedelta(milliseconds=1), limit=9) == []
        assert len(store.take_undated(now=asked_at, limit=9)) == 1
    assert read(store, subject(1)).asked == 3


def test_those_are_taken_first_that_are_due_longest(store: Store) -> None:
    """No more than the limit; the next call takes the next."""
    numbers = random.Random(5).sample(range(8), k=8)
    for number in numbers:
        in_doubt(store, number, second=number)
    taken = [take(store, 60, limit=3) for _ in range(4)]
    wanted = [subject(n).recipient for n in range(8)]
    assert taken == [wanted[:3], wanted[3:6], wanted[6:], []]


def test_a_consent_is_not_taken_once_its_dates_are_known(store: Store) -> None:
    """And at once where new evidence makes it hang on a date again."""
    in_doubt(store, 1)
    assert len(take(store, 5)) == 1
    known = evidence(Sign.IN, 1, sid=f"SM1-{Sign.IN}", dated=1)
    store.date_many([(subject(1), known)], now=at(6))
    assert read(store, subject(1)).state == "in"
    assert take(store, 30 * DAY) == []
    attested(store, evidence(second=2, sid="SM9"), second=7, subject=subject(1))
    assert take(store, 7) == [subject(1).recipient]
    assert read(store, subject(1)).asked == 1


def test_consents_of_all_tenants_are_taken(store: Store) -> None:
    """Each is asked for with its own account; whose it is stands in it."""
    pair = (evidence(sid="SM1"), evidence(Sign.IN, 1, sid="SM2"))
    for tenant in (DEMO, OTHER):
        attested(store, *pair, subject=Subject(tenant, CUSTOMER, "shop"))
    taken = store.take_undated(now=at(2), limit=9)
    assert {(one.tenant_id, one.group) for one in taken} == {(DEMO, "shop"), (OTHER, "shop")}


def test_eight_that_take_undated_consents_share_none(open_ledger: Callable[[], Store]) -> None:
    """As processes do."""
    in_doubt(open_ledger(), *range(40))
    stores, gate = [open_ledger() for _ in range(8)], threading.Barrier(8)

    def work(number: int) -> list[str | None]:
        gate.wait(10)
        return [one for part in iter(lambda: take(stores[number], 5, limit=3), []) for one in part]

    with ThreadPoolExecutor(8) as pool:
        taken = [one for part in pool.map(work, range(8)) for one in part]
    assert sorted(map(str, taken)) == [subject(n).recipient for n in range(40)]


# list_consents


def pages(store: Store, tenant: TenantId = DEMO, *, limit: int, **of: Any) -> list[list[Consent]]:
    """List consents page by page, to the end."""
    found: list[list[Consent]] = []
    after: int | None = 0
    while after is not None:
        page, after = store.list_consents(tenant, after=after, limit=limit, **of)
        found.append(page)
        assert len(found) < 99
    return [page for page in found if page]


def fill(store: Store, number: int) -> list[str]:
    """Write consents of each state in turn; give whose they are."""
    signs = [Sign.OUT, Sign.MAYBE, Sign.IN]
    changes = [(subject(n), evidence(signs[n % 3], sid=f"SM{n}")) for n in range(number)]
    store.attest_many(changes, now=NOW)
    return [subject(n).recipient for n in range(number)]


@pytest.mark.parametrize("limit", [1, 3, 4, 10, 11])
def test_consents_are_listed_page_by_page(store: Store, limit: int) -> None:
    """In the order in which they were made, each once, and none left out."""
    wanted = fill(store, 10)
    found = pages(store, limit=limit)
    assert [one for page in found for one in people(page)] == wanted
    assert all(len(page) == limit for page in found[:-1])
    assert [one for page in found for one in page] == store.consents(
        [subject(n) for n in range(10)]
    )


def test_a_consent_keeps_its_place_when_it_changes(store: Store) -> None:
    """So that whoever goes through the pages misses none and sees none twice."""
    wanted = fill(store, 4)
    first, after = store.list_consents(DEMO, limit=2)
    attested(store, evidence(second=9), second=9, subject=subject(0))
    attested(store, evidence(second=9), second=9, subject=subject(3))
    attested(store, evidence(), subject=subject(9))
    assert after is not None
    rest, _ = store.list_consents(DEMO, after=after, limit=9)
    assert people([*first, *rest]) == [*wanted, subject(9).recipient]


def test_consents_are_listed_by_their_states(store: Store) -> None:
    """Of one, or of several together; none is all."""
    wanted = fill(store, 9)
    found = {
        state: [one for page in pages(store, limit=2, states=[state]) for one in people(page)]
        for state in ("out", "review", "in")
    }
    assert found == {"out": wanted[0::3], "review": wanted[1::3], "in": wanted[2::3]}
    blocked, _ = store.list_consents(DEMO, states={"out", "review"}, limit=99)
    assert people(blocked) == [one for n, one in enumerate(wanted) if n % 3 < 2]
    assert store.list_consents(DEMO, states=["other"], limit=9) == ([], None)
    store.judge(subject(1), "SM1", is_out=False, now=at(1), by="ada")
    assert people(store.list_consents(DEMO, states=["in"], limit=9)[0])[0] == wanted[1]


def test_a_tenant_sees_its_own_consents_only(store: Store) -> None:
    """However they are mixed."""
    for number in range(6):
        mine = number % 2 == 0
        attested(store, evidence(), subject=subject(number, tenant=DEMO if mine else OTHER))
    assert [len(page) for page in pages(store, OTHER, limit=2)] == [2, 1]
    assert pages(store, TenantId("third"), limit=2) == []


# verify_consents


def test_sound_consents_are_checked_in_parts(store: Store) -> None:
    """Of all tenants, to the end."""
    fill(store, 7)
    attested(store, evidence(), subject=subject(1, "shop", OTHER))
    assert store.verify_consents(limit=99) == Verified(8, (), None)
    after: int | None = 0
    checked = 0
    while after is not None:
        part = store.verify_consents(after=after, limit=3)
        assert part.broken == ()
        checked, after = checked + part.checked, part.after
    assert checked == 8


def test_where_there_are_no_consents_none_is_broken(store: Store) -> None:
    """Nor is that an error."""
    assert store.verify_consents(limit=9) == Verified(0, (), None)


def test_whatever_is_done_to_a_consent_leaves_it_sound(store: Store) -> None:
    """Evidence, dates, judgements, questions; and a history that has grown long."""
    for number in range(30):
        sign = (Sign.OUT, Sign.IN, Sign.MAYBE)[number % 3]
        attested(store, evidence(sign, number, sid=f"SM{number}"), second=number)
        store.take_undated(now=at(number), limit=9)
        dated(store, evidence(sign, sid=f"SM{number - 4}", dated=number - 4.5), second=number)
        if number % 7 == 6:
            sid = f"SM{number - number % 3 - 1}"
            store.judge(SUBJECT, sid, is_out=number % 2 == 0, now=at(number), by="ada")
        assert store.verify_consents(limit=9).broken == ()
    assert len(read(store).history) > 40


# summary


def test_the_summary_counts_those_who_wait_to_be_read(store: Store) -> None:
    """Recipients, not texts."""
    fill(store, 7)
    attested(store, evidence(Sign.MAYBE, sid="SM1-2"), subject=subject(1))
    assert store.summary(NOW).review == 2
    attested(store, evidence(second=1), subject=subject(1), second=1)
    assert store.summary(NOW).review == 1


# many at a time


def test_no_evidence_is_lost_while_others_add_to_the_same_consent(
    open_ledger: Callable[[], Store],
) -> None:
    """As processes do; each line follows on the one before."""
    stores, gate = [open_ledger() for _ in range(6)], threading.Barrier(6)

    def work(number: int) -> int:
        gate.wait(10)
        sids = [f"SM{number}-{part}" for part in range(2)]
        return sum(attested(stores[number], evidence(sid=sid)) != [None] for sid in sids)

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(work, range(6))) == 12
    assert len(read(stores[0]).against) == len(read(stores[0]).history) == 12
    assert stores[0].verify_consents(limit=9) == Verified(1, (), None)


def test_of_eight_that_judge_one_text_one_decides(
    open_ledger: Callable[[], Store], hearing: Hear
) -> None:
    """The others hear that there is nothing left to decide, and CI360 hears of it once at most."""
    store = open_ledger()
    store.hear_many([hearing("SM1", Sign.MAYBE)], now=NOW)
    stores, gate = [open_ledger() for _ in range(8)], threading.Barrier(8)

    def work(number: int) -> Consent | None:
        gate.wait(10)
        is_out = number % 2 == 0
        return stores[number].judge(SUBJECT, "SM1", is_out=is_out, now=at(number), by=str(number))

    with ThreadPoolExecutor(8) as pool:
        decided = [one for one in pool.map(work, range(8)) if one is not None]
    assert decided == [read(store)]
    wanted = [Outcome.OPT_OUT] if read(store).state == "out" else []
    assert owed(store, "SM1") == {"SM1": wanted}
