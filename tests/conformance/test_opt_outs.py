"""That nobody gets a message who wants none: at the insert, and at the start. What every ledger does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import Any

import pytest

from ci360_twilio.core.advance import advance
from ci360_twilio.core.consent import EVERY_SENDER, Consent, Evidence, Sign, Source, Subject
from ci360_twilio.core.entry import Entry, Fact, Key, Kind, Lease, Status, key_of
from ci360_twilio.core.message import Message
from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.core.report import Outcome
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import Hearing, Inserted, Query, Store

Make = Callable[..., Entry]
Hear = Callable[..., Hearing]

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
DEMO, OTHER = TenantId("demo"), TenantId("other")
CUSTOMER = "+12015550101"
SUBJECT, SHOP = Subject(DEMO, CUSTOMER), Subject(DEMO, CUSTOMER, "shop")
LEASE = Lease(token="worker", until=NOW + timedelta(days=30))
SID = "SM" + "0" * 32
OPTED_OUT = (Status.SUPPRESSED, "opted_out")
TELLS = (Outcome.SUPPRESSED, Outcome.REFUSED, Outcome.FAILED, Outcome.UNDELIVERED, Outcome.OPT_OUT)
BY_TWILIO = [21610, 63014]


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


def consent(store: Store, subject: Subject = SUBJECT) -> Consent:
    """Read a consent that must be there."""
    [found] = store.consents([subject])
    assert found is not None
    return found


def wish(
    store: Store,
    sign: Sign = Sign.OUT,
    second: float = 0.0,
    subject: Subject = SUBJECT,
    **changes: Any,
) -> None:
    """Have somebody wish something, certainly at that second unless told otherwise."""
    known: dict[str, Any] = {"dated_at": at(second), "sid": f"SM-in-{sign}-{second}"}
    evidence = Evidence(sign=sign, source=Source.TEXT, heard_at=at(second), **known | changes)
    store.attest_many([(subject, evidence)], now=at(second))


def insert(store: Store, *entries: Entry) -> list[tuple[Status, str | None]]:
    """Write entries; give how they were written."""
    inserted = store.insert_many(entries)
    return [(one.entry.status, one.entry.reason) for one in inserted]


def started(second: float, lease: Lease = LEASE, **members: Any) -> Fact:
    """Make the fact that bytes are about to leave."""
    return Fact(kind=Kind.STARTED, at=at(second), lease=lease, **members)


def begin(store: Store, second: float, *guids: str) -> list[Status | None]:
    """Start entries; give what became of them."""
    results = store.record_many([(key(guid), started(second)) for guid in guids or ("g1",)])
    return [one.status if one is not None else None for one in results]


def told(entry: Entry) -> list[str]:
    """Give what CI360 is to be told of an entry."""
    return [report.outcome for report in entry.reports]


# insert_many


def test_an_entry_to_somebody_who_opted_out_is_suppressed(store: Store, entry: Make) -> None:
    """The fact is dated with the entry, which owes the report of it."""
    wish(store)
    late = entry(created_at=at(60), tells=TELLS)
    fact = Fact(kind=Kind.SUPPRESSED, at=at(60), reason="opted_out")
    assert store.insert_many([late]) == [Inserted(advance(late, fact) or late, True)]
    found = read(store)
    assert (found.status, found.reason) == OPTED_OUT
    assert (found.history[-1].at, found.history[-1].step) == (at(60), "accept")
    assert told(found) == ["suppressed"]
    assert (found.reports[0].at, found.reports[0].reason) == (at(60), "opted_out")


@pytest.mark.parametrize(
    ("sign", "blocks"), [(Sign.OUT, True), (Sign.MAYBE, True), (Sign.IN, False)]
)
def test_whoever_is_blocked_gets_nothing(
    store: Store, entry: Make, sign: Sign, blocks: bool
) -> None:
    """Also until a person has read what they wrote."""
    wish(store, sign)
    assert insert(store, entry()) == [OPTED_OUT if blocks else (Status.ACCEPTED, None)]


def test_whoever_wants_messages_again_gets_them(store: Store, entry: Make) -> None:
    """From then on; what was suppressed before stays so."""
    wish(store, Sign.OUT, 1)
    assert insert(store, entry("a")) == [OPTED_OUT]
    wish(store, Sign.IN, 2)
    assert insert(store, entry("b"), entry("a")) == [(Status.ACCEPTED, None), OPTED_OUT]


def test_a_wish_counts_for_the_recipient_and_the_tenant_alone(store: Store, entry: Make) -> None:
    """Others have wishes of their own."""
    wish(store)
    others = [entry("a", to="+12015550142"), entry("b", tenant="other")]
    assert insert(store, *others) == [(Status.ACCEPTED, None)] * 2


@pytest.mark.parametrize("prefix", ["", "whatsapp:", "rcs:"])
def test_a_wish_counts_for_a_number_on_every_channel(
    store: Store, entry: Make, prefix: str
) -> None:
    """Who wants no texts wants no messages by WhatsApp either."""
    wish(store)
    assert insert(store, entry(to=f"{prefix}{CUSTOMER}")) == [OPTED_OUT]


def test_a_wish_for_a_group_counts_for_its_senders(store: Store, entry: Make) -> None:
    """One for all senders counts for every group, and for what is in none."""
    wish(store, subject=SHOP)
    entries = [entry("a", consent_group="shop"), entry("b", consent_group="care"), entry("c")]
    assert insert(store, *entries) == [OPTED_OUT, (Status.ACCEPTED, None), (Status.ACCEPTED, None)]
    wish(store)
    entries = [entry("d", consent_group="shop"), entry("e", consent_group="care"), entry("f")]
    assert insert(store, *entries) == [OPTED_OUT] * 3


def test_an_opt_in_for_a_group_does_not_lift_an_opt_out_for_all(store: Store, entry: Make) -> None:
    """Nor the reverse: either blocks by itself."""
    wish(store, Sign.OUT, 1)
    wish(store, Sign.IN, 2, SHOP)
    assert insert(store, entry("a", consent_group="shop")) == [OPTED_OUT]
    wish(store, Sign.OUT, 3, SHOP)
    wish(store, Sign.IN, 4)
    assert insert(store, entry("b", consent_group="shop"), entry("c")) == [
        OPTED_OUT,
        (Status.ACCEPTED, None),
    ]


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.ACCEPTED}))
def test_what_is_not_to_be_sent_anyway_is_written_as_it_is(
    store: Store, entry: Make, status: Status
) -> None:
    """It has a reason of its own."""
    wish(store)
    one = entry(status=status, tells=TELLS)
    assert store.insert_many([one]) == [Inserted(one, True)]


def test_what_has_no_recipient_is_not_suppressed(store: Store, entry: Make) -> None:
    """There is nobody whose wish it could be."""
    wish(store, subject=Subject(DEMO, ""))
    assert insert(store, entry(message=None)) == [(Status.ACCEPTED, None)]


def test_a_wish_comes_before_a_restore_and_a_limit(store: Store, entry: Make) -> None:
    """What must not be sent at all is not for a person to decide on, and counts for nobody."""
    store.mark_restored(at(10))
    wish(store)
    old = entry("a", created_at=at(20), generated_at=at(5))
    recent = entry("b", created_at=at(20), generated_at=at(15))
    results = store.insert_many([old, recent], recipient_limits={DEMO: 0})
    assert [(one.entry.status, one.entry.reason) for one in results] == [OPTED_OUT] * 2
    wish(store, Sign.IN, 20)
    assert insert(store, entry("c", created_at=at(30), generated_at=at(5))) == [
        (Status.HELD, "older_than_restore")
    ]


def test_what_was_suppressed_counts_for_no_limit(store: Store, entry: Make) -> None:
    """The customer has had nothing."""
    wish(store)
    store.insert_many([entry(f"g{n}") for n in range(3)])
    wish(store, Sign.IN, 5)
    [after] = store.insert_many([entry("a", created_at=at(9))], recipient_limits={DEMO: 1})
    assert after.entry.status is Status.ACCEPTED


def test_a_repeat_is_not_suppressed(store: Store, entry: Make) -> None:
    """What stands under the key has come again, and that is all."""
    insert(store, entry())
    wish(store)
    [again] = store.insert_many([entry(created_at=at(5))])
    assert (again.entry.status, again.entry.repeats) == (Status.ACCEPTED, 1)


def test_everyone_of_a_batch_is_asked_for_their_own_wish(store: Store, entry: Make) -> None:
    """However they are mixed, and whether known before or not."""
    people = [f"+120155501{n:02}" for n in range(12)]
    for person in people[::3]:
        wish(store, subject=Subject(DEMO, person))
    batch = [entry(f"g{n}", to=people[n % 12]) for n in range(24)]
    expected = [OPTED_OUT if n % 3 == 0 else (Status.ACCEPTED, None) for n in range(24)]
    assert insert(store, *batch) == expected


# record_many, a start


def test_an_opt_out_keeps_a_message_from_starting(store: Store, entry: Make) -> None:
    """It was accepted and claimed before; it is given as it is then, and nothing of it is counted."""
    insert(store, entry(lease=LEASE, tells=TELLS))
    wish(store)
    [after] = store.record_many([(key("g1"), started(5, correlation="token"))])
    assert after == read(store)
    assert (after.status, after.reason) == OPTED_OUT
    assert (after.attempts, after.lease, after.correlation) == (0, None, None)
    assert after.started_at is None
    step = after.history[-1]
    assert (step.at, step.step, step.decision) == (at(5), "send", "suppressed")
    assert told(after) == ["suppressed"]
    assert begin(store, 6) == [None]


@pytest.mark.parametrize("group", [None, "shop"])
def test_an_opt_out_from_a_group_keeps_its_messages_from_starting(
    store: Store, entry: Make, group: str | None
) -> None:
    """And no others."""
    insert(store, entry(lease=LEASE, consent_group=group))
    wish(store, subject=SHOP)
    expected = Status.SENDING if group is None else Status.SUPPRESSED
    assert begin(store, 5) == [expected]


def test_a_start_that_is_written_again_is_stopped_by_an_opt_out(store: Store, entry: Make) -> None:
    """The worker did not hear of its first commit and has not sent yet: it must not any more."""
    insert(store, entry(lease=LEASE))
    assert begin(store, 1) == [Status.SENDING]
    wish(store, second=2)
    assert begin(store, 3) == [Status.SUPPRESSED]
    assert (read(store).reason, read(store).lease) == ("opted_out", None)
    assert begin(store, 4) == [None]


def test_another_worker_stops_no_message_that_is_leaving(store: Store, entry: Make) -> None:
    """Only under its own lease, while that lasts, can whoever sends say that nothing has left."""
    insert(store, entry(lease=Lease(token="worker", until=at(60))))
    begin(store, 1)
    wish(store, second=2)
    stranger = started(3, Lease(token="stranger", until=at(60)))
    late = started(60, Lease(token="worker", until=at(60)))
    assert store.record_many([(key("g1"), stranger), (key("g1"), late)]) == [None, None]
    assert read(store).status is Status.SENDING


def test_a_retry_is_stopped_by_an_opt_out(store: Store, entry: Make) -> None:
    """What did not get through the first time does not go out after it."""
    insert(store, entry(lease=LEASE, expires_at=at(999)))
    begin(store, 1)
    retried = Fact(kind=Kind.RETRIED, at=at(2), lease=LEASE, due_at=at(10), reason="busy")
    store.record_many([(key("g1"), retried)])
    wish(store, second=3)
    [claimed] = store.claim(now=at(10), lease=LEASE, limit=9).entries
    assert begin(store, 11, claimed.guid) == [Status.SUPPRESSED]
    assert read(store).attempts == 1


def test_what_was_sent_before_an_opt_out_goes_its_way(store: Store, entry: Make) -> None:
    """A wish takes nothing back; what Twilio says of the message still counts."""
    insert(store, entry(lease=LEASE))
    begin(store, 1)
    wish(store, second=2)
    receipt = Receipt(sid=SID, status="queued")
    made = Fact(kind=Kind.MADE, at=at(3), lease=LEASE, receipt=receipt)
    end = Fact(kind=Kind.DELIVERED, at=at(4), receipt=Receipt(sid=SID, status="delivered"))
    results = store.record_many([(key("g1"), made), (key("g1"), end)])
    assert [one and one.status for one in results] == [Status.SENT, Status.DELIVERED]


def test_a_start_counts_again_once_messages_are_wanted_again(store: Store, entry: Make) -> None:
    """The wish of the moment at which it is written is what counts."""
    insert(store, entry(lease=LEASE))
    wish(store, Sign.OUT, 1)
    wish(store, Sign.IN, 2)
    assert begin(store, 3) == [Status.SENDING]


def test_an_opt_out_comes_before_a_pause_and_a_limit(store: Store, entry: Make) -> None:
    """What is never to be sent waits for nothing, and uses up no limit."""
    insert(store, *[entry(guid, lease=LEASE) for guid in "ab"])
    insert(store, entry("c", lease=LEASE, to="+12015550142"))
    wish(store)
    facts = [(key(guid), started(5)) for guid in "abc"]
    results = store.record_many(facts, hourly_limits={DEMO: 1})
    assert [one and one.status for one in results] == [
        Status.SUPPRESSED,
        Status.SUPPRESSED,
        Status.SENDING,
    ]
    assert store.pauses() == []
    store.insert_many([entry("d", lease=LEASE, to="+12015550143")])
    wish(store, subject=Subject(DEMO, "+12015550143"))
    store.pause(Pause(scope=Scope.ALL, cause=Cause.PERSON, reason="paused", since=at(6)))
    assert begin(store, 7, "d") == [Status.SUPPRESSED]


def test_a_refusal_stops_what_starts_after_it_in_the_same_call(store: Store, entry: Make) -> None:
    """In the order of the facts: what was started before it has started."""
    insert(store, *[entry(guid, lease=LEASE) for guid in "abc"])
    refused = Fact(kind=Kind.REFUSED, at=at(2), lease=LEASE, error_code=21610)
    facts = [("a", started(1)), ("b", started(1)), ("a", refused), ("c", started(2))]
    results = store.record_many([(key(guid), fact) for guid, fact in facts])
    assert [one and one.status for one in results] == [
        Status.SENDING,
        Status.SENDING,
        Status.REFUSED,
        Status.SUPPRESSED,
    ]


# record_many, what Twilio says


def refuse(store: Store, entry: Make, code: int, second: float = 5.0, **changes: Any) -> Entry:
    """Have Twilio refuse a message at once, with a code."""
    store.insert_many([entry(lease=LEASE, tells=TELLS, **changes)])
    begin(store, second)
    reason = f"twilio_{code}"
    fact = Fact(kind=Kind.REFUSED, at=at(second), lease=LEASE, error_code=code, reason=reason)
    [after] = store.record_many([(key("g1"), fact)])
    assert after is not None
    return after


def make(
    store: Store,
    entry: Make,
    second: float = 5.0,
    *,
    made: float | None = None,
    **changes: Any,
) -> None:
    """Have Twilio make a message, telling when by its clock or not."""
    store.insert_many([entry(lease=LEASE, tells=TELLS, **changes)])
    begin(store, second)
    date = None if made is None else f"{at(made):%a, %d %b %Y %H:%M:%S} +0000"
    receipt = Receipt(sid=SID, status="queued", made=date)
    fact = Fact(kind=Kind.MADE, at=at(second + 1), lease=LEASE, receipt=receipt)
    assert store.record_many([(key("g1"), fact)]) != [None]


def end(store: Store, code: int, second: float = 60.0, kind: Kind = Kind.FAILED) -> Entry | None:
    """Have Twilio tell how a message ended, with a code."""
    receipt = Receipt(sid=SID, status=kind.value, error_code=code)
    [after] = store.record_many([(key("g1"), Fact(kind=kind, at=at(second), receipt=receipt))])
    return after


@pytest.mark.parametrize("code", BY_TWILIO)
def test_a_refusal_for_an_opt_out_is_one(store: Store, entry: Make, code: int) -> None:
    """As of the answer: Twilio made no message. The entry owes the report of it, too."""
    after = refuse(store, entry, code)
    assert after == read(store)
    assert after.status is Status.REFUSED
    assert told(after) == ["refused", "opt_out"]
    assert [report.at for report in after.reports] == [at(5), at(5)]
    evidence = Evidence(sign=Sign.OUT, source=Source.TWILIO, heard_at=at(5), dated_at=at(5))
    assert consent(store).against == (evidence,)
    assert (consent(store).state, consent(store).recipient) == ("out", CUSTOMER)
    assert insert(store, entry("next")) == [OPTED_OUT]
    assert store.verify_consents(limit=9).broken == ()


@pytest.mark.parametrize("kind", [Kind.FAILED, Kind.UNDELIVERED])
@pytest.mark.parametrize("code", BY_TWILIO)
def test_a_receipt_of_an_opt_out_is_one(store: Store, entry: Make, code: int, kind: Kind) -> None:
    """As of when Twilio made the message, by its clock; of that message there is one piece."""
    make(store, entry, made=7)
    after = end(store, code, kind=kind)
    assert after == read(store)
    assert after is not None
    assert told(after) == [kind.value, "opt_out"]
    evidence = Evidence(
        sign=Sign.OUT, source=Source.TWILIO, heard_at=at(60), dated_at=at(7), sid=SID
    )
    assert consent(store).against == (evidence,)
    assert insert(store, entry("next")) == [OPTED_OUT]


def test_a_message_that_failed_as_it_was_made_is_an_opt_out(store: Store, entry: Make) -> None:
    """Twilio's answer, or the first receipt, may name it and its end at once."""
    store.insert_many([entry(lease=LEASE, tells=TELLS)])
    begin(store, 5)
    receipt = Receipt(sid=SID, status="failed", error_code=21610)
    made = Fact(kind=Kind.MADE, at=at(6), lease=LEASE, receipt=receipt)
    [after] = store.record_many([(key("g1"), made)])
    assert after is not None
    assert told(after) == ["failed", "opt_out"]
    assert consent(store).blocked


def test_a_message_of_no_date_speaks_as_of_its_start(store: Store, entry: Make) -> None:
    """It was not made before."""
    make(store, entry, second=5)
    end(store, 21610)
    assert consent(store).against[0].dated_at == at(5)


@pytest.mark.parametrize(
    ("start_at", "blocks"), [(6.0, True), (6.999, True), (7.0, True), (8.0, False), (59.0, False)]
)
def test_a_message_made_before_a_later_opt_in_says_nothing(
    store: Store, entry: Make, start_at: float, blocks: bool
) -> None:
    """The customer has opted in since; its failure is told, an opt-out is not."""
    make(store, entry, made=7)
    wish(store, Sign.OUT, 6)
    wish(store, Sign.IN, start_at)
    assert consent(store).blocked is (start_at <= 6)
    after = end(store, 21610)
    assert after is not None
    assert consent(store).blocked is blocks
    turned = blocks and start_at > 6
    assert told(after) == ["failed", "opt_out"] if turned else ["failed"]
    assert insert(store, entry("next"))[0][0] is (Status.SUPPRESSED if blocks else Status.ACCEPTED)


def test_a_refusal_after_an_opt_in_is_an_opt_out_all_the_same(store: Store, entry: Make) -> None:
    """It speaks as of the answer, and so it is the later of the two."""
    wish(store, Sign.OUT, 1)
    wish(store, Sign.IN, 2)
    assert told(refuse(store, entry, 21610)) == ["refused", "opt_out"]
    assert consent(store).blocked


def test_an_opt_out_that_is_known_is_not_told_again(store: Store, entry: Make) -> None:
    """What turns nothing owes nothing."""
    make(store, entry, made=7)
    wish(store, second=30)
    after = end(store, 21610)
    assert after is not None
    assert told(after) == ["failed"]


def test_a_probable_opt_out_that_twilio_knows_of_is_told(store: Store, entry: Make) -> None:
    """It was not sure before."""
    make(store, entry, made=7)
    wish(store, Sign.MAYBE, 30)
    after = end(store, 21610)
    assert after is not None
    assert told(after) == ["failed", "opt_out"]
    assert consent(store).state == "out"


def test_a_receipt_that_comes_twice_is_one_piece_of_evidence(store: Store, entry: Make) -> None:
    """The second changes nothing."""
    make(store, entry, made=7)
    end(store, 21610)
    before, known = read(store), consent(store)
    assert end(store, 21610, 61) is None
    assert (read(store), consent(store)) == (before, known)


def test_an_opt_out_is_told_only_where_the_entry_tells_it(store: Store, entry: Make) -> None:
    """As its tenant wished when it was accepted; the evidence counts in any case."""
    store.insert_many([entry(lease=LEASE, tells=(Outcome.DELIVERED,))])
    begin(store, 5)
    fact = Fact(kind=Kind.REFUSED, at=at(6), lease=LEASE, error_code=21610)
    store.record_many([(key("g1"), fact)])
    assert read(store).reports == ()
    assert consent(store).blocked


@pytest.mark.parametrize("group", ["shop", None])
def test_what_twilio_says_counts_for_the_senders_group(
    store: Store, entry: Make, group: str | None
) -> None:
    """It keeps its list by sender; without groups that is taken for all."""
    refuse(store, entry, 21610, consent_group=group)
    wanted = SHOP if group else SUBJECT
    assert consent(store, wanted).group == (group or EVERY_SENDER)
    everyone = [Subject(DEMO, CUSTOMER, one) for one in (EVERY_SENDER, "shop", "care")]
    known = [one for one, found in zip(everyone, store.consents(everyone), strict=True) if found]
    assert known == [wanted]


def test_what_twilio_says_counts_for_the_number_on_every_channel(store: Store, entry: Make) -> None:
    """The recipient of a message by WhatsApp is its number."""
    refuse(store, entry, 63014, to=f"whatsapp:{CUSTOMER}", sender="whatsapp:+15005550006")
    assert consent(store).recipient == CUSTOMER


@pytest.mark.parametrize("code", [21211, 30003, 30004, 30005, 30007, 63024])
def test_other_errors_say_nothing_of_a_wish(store: Store, entry: Make, code: int) -> None:
    """Not even that a phone or a carrier takes no message."""
    assert told(refuse(store, entry, code)) == ["refused"]
    assert store.consents([SUBJECT]) == [None]


def test_an_attempt_that_is_made_again_says_nothing_of_a_wish(store: Store, entry: Make) -> None:
    """Nor does a receipt that is not final."""
    make(store, entry, made=7)
    receipt = Receipt(sid=SID, status="sent", error_code=21610)
    fact = Fact(kind=Kind.PROGRESSED, at=at(9), receipt=receipt)
    assert store.record_many([(key("g1"), fact)]) != [None]
    assert store.consents([SUBJECT]) == [None]


def test_facts_that_change_nothing_are_no_evidence(store: Store, entry: Make) -> None:
    """Under a lease that is gone, or of a message that is not the entry's."""
    store.insert_many([entry(lease=LEASE)])
    begin(store, 5)
    stale = Lease(token="stale", until=at(999))
    refused = Fact(kind=Kind.REFUSED, at=at(6), lease=stale, error_code=21610)
    strange = Receipt(sid="SM1", status="failed", error_code=21610)
    failed = Fact(kind=Kind.FAILED, at=at(6), receipt=strange)
    unknown = (key("g2"), refused)
    assert store.record_many([(key("g1"), refused), (key("g1"), failed), unknown]) == [None] * 3
    assert store.consents([SUBJECT]) == [None]


def test_a_guess_at_anothers_message_is_no_evidence(store: Store, entry: Make) -> None:
    """What changes no entry changes no consent."""
    make(store, entry, made=7)
    store.insert_many([entry("g2", status=Status.UNKNOWN, attempts=1, to="+12015550142")])
    receipt = Receipt(sid=SID, status="failed", error_code=21610)
    guess = Fact(kind=Kind.MADE, at=at(9), receipt=receipt, guessed=True)
    assert store.record_many([(key("g2"), guess)]) == [None]
    assert store.consents([Subject(DEMO, "+12015550142")]) == [None]


# many at a time


def test_no_message_starts_once_an_opt_out_is_written(
    open_ledger: Callable[[], Store], entry: Make, hearing: Hear
) -> None:
    """Whoever has heard that it is written sees no start after it, whatever races with it."""
    people = [f"+120155501{n:02}" for n in range(24)]
    store = open_ledger()
    store.insert_many(
        [
            entry(f"{person}/{part}", to=person, lease=LEASE)
            for person in people
            for part in range(4)
        ]
    )
    clock = count()
    """Numbers what happens, as one who looked on would."""
    gate = threading.Barrier(6)
    written: dict[str, int] = {}
    begun: list[tuple[str, int]] = []

    def stop(mine: Store) -> None:
        for person in people:
            mine.hear_many([hearing(f"SM{person[1:]}", Sign.OUT, customer=person)], now=NOW)
            written[person] = next(clock)

    def start(mine: Store, number: int) -> None:
        for person in people:
            asked_at = next(clock)
            guid = f"{person}/{number}"
            [after] = mine.record_many([(key(guid), started(1))])
            assert after is not None
            if after.status is Status.SENDING:
                begun.append((person, asked_at))
            else:
                assert (after.status, after.reason) == OPTED_OUT

    def accept(mine: Store) -> None:
        for person in people:
            asked_at = next(clock)
            [inserted] = mine.insert_many([entry(f"{person}/new", to=person)])
            if inserted.entry.status is Status.ACCEPTED:
                begun.append((person, asked_at))

    def work(act: Callable[[Store], None]) -> None:
        mine = open_ledger()
        gate.wait(10)
        act(mine)

    acts = [stop, accept, *[partial(start, number=number) for number in range(4)]]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, acts))
    assert [one for one in begun if one[1] > written[one[0]]] == []
    suppressed = store.find(Query(statuses=frozenset({Status.SUPPRESSED}), limit=999))
    assert len(suppressed) + len(begun) == len(people) * 5


def test_of_many_refusals_of_one_customer_one_tells_of_the_opt_out(
    open_ledger: Callable[[], Store], entry: Make
) -> None:
    """Only one can have turned the consent."""
    store = open_ledger()
    store.insert_many([entry(f"g{n}", lease=LEASE, tells=TELLS) for n in range(8)])
    begin(store, 1, *[f"g{n}" for n in range(8)])
    stores, gate = [open_ledger() for _ in range(8)], threading.Barrier(8)

    def work(number: int) -> Entry | None:
        gate.wait(10)
        fact = Fact(kind=Kind.REFUSED, at=at(5 + number), lease=LEASE, error_code=21610)
        return stores[number].record_many([(key(f"g{number}"), fact)])[0]

    with ThreadPoolExecutor(8) as pool:
        refused = [one for one in pool.map(work, range(8)) if one is not None]
    assert len(refused) == 8
    assert sum("opt_out" in told(one) for one in refused) == 1
    assert store.verify_consents(limit=9).broken == ()


def test_a_message_without_a_text_is_somebodys_all_the_same(store: Store, entry: Make) -> None:
    """What is sent does not matter to the wish."""
    wish(store)
    bare = entry(message=Message(to=CUSTOMER, sender="+15005550006", media_urls=("https://a.b/",)))
    assert insert(store, bare) == [OPTED_OUT]
