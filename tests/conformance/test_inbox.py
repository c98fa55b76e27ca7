"""What customers write, and which message of ours they answer. What every ledger does about it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ci360_twilio.core.consent import Consent, Sign, Subject
from ci360_twilio.core.entry import Entry, Fact, Key, Kind, Lease, Status, key_of
from ci360_twilio.core.event import Origin
from ci360_twilio.core.inbound import Heard, Inbound, Medium, inbound_key, owing
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.core.report import Outcome
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.core.wish import Wish
from ci360_twilio.ports import Conversation, Hearing, InboundQuery, Note, Received, Store

Make = Callable[..., Entry]
Hear = Callable[..., Hearing]

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
DEMO, OTHER = TenantId("demo"), TenantId("other")
CUSTOMER, OURS, OURS_TOO = "+12015550101", "+15005550006", "+15005550007"
SERVICE = "MG" + "0" * 32
SUBJECT = Subject(DEMO, CUSTOMER)
DAY = 86_400


def at(seconds: float) -> datetime:
    """Give the moment that many seconds after the morning at which every test starts."""
    return NOW + timedelta(seconds=seconds)


def key(guid: str) -> Key:
    """Give the key of an entry."""
    return key_of(DEMO, guid)


def asked(*ours: str, customer: str = CUSTOMER, tenant: TenantId = DEMO) -> Conversation:
    """Ask what a customer answers who wrote to one of ours."""
    return Conversation(tenant, customer, frozenset(ours or (OURS,)))


def answered(store: Store, *of: Conversation) -> list[str | None]:
    """Give the guids of what customers answer."""
    found = store.conversations(of)
    return [one.guid if one is not None else None for one in found]


def hear(store: Store, *hearings: Hearing, second: float = 0.0) -> list[Received]:
    """Hear messages at some second."""
    return store.hear_many(hearings, now=at(second))


def created(received: Iterable[Received]) -> list[bool]:
    """Tell which messages were new."""
    return [one.created for one in received]


def sids(found: Iterable[Inbound]) -> list[str]:
    """Give the SIDs of messages, in order."""
    return [one.heard.sid for one in found]


def listed(store: Store) -> list[Inbound]:
    """List all inbound messages."""
    return store.find_inbound(InboundQuery(limit=10_000))


def read(store: Store, sid: str = "SM1") -> Inbound:
    """Read an inbound message that must be there, once."""
    [found] = store.find_inbound(InboundQuery(tenant_id=DEMO, sid=sid))
    return found


def consent(store: Store, subject: Subject = SUBJECT) -> Consent | None:
    """Read a consent."""
    [found] = store.consents([subject])
    return found


def outcomes(inbound: Inbound) -> list[Outcome]:
    """Give what CI360 is to be told of a message."""
    return [report.outcome for report in inbound.reports]


# conversations


def begun(entry: Make, guid: str, second: float = 0.0, **changes: Any) -> Entry:
    """Make an entry whose message was begun and made."""
    members = {"status": Status.SENT, "started_at": at(second), "created_at": at(second)}
    return entry(guid, **members | changes)


def test_a_customer_answers_the_latest_message_between_the_two(store: Store, entry: Make) -> None:
    """By when it was accepted, to the millisecond, not by when it was written."""
    seconds = [5.0, 99.0, 98.999, -40.0 * DAY, -0.5]
    store.insert_many([begun(entry, f"g{second}", second) for second in seconds])
    assert answered(store, asked()) == ["g99.0"]
    assert store.conversations([asked()]) == store.get_many([key("g99.0")])


def test_a_message_that_was_not_begun_is_not_answered(store: Store, entry: Make) -> None:
    """The customer has not seen what waits, was suppressed, or never got past our gates."""
    statuses = [entry(f"not-{one}", status=one, created_at=at(60)) for one in Status]
    store.insert_many([begun(entry, "seen"), *statuses])
    assert answered(store, asked()) == ["seen"]


BEGUN: dict[str, list[Kind]] = {
    "sending": [],
    "unknown": [Kind.LOST],
    "refused": [Kind.REFUSED],
    "to be tried again": [Kind.RETRIED],
    "expired": [Kind.RETRIED, Kind.EXPIRED],
    "taken back": [Kind.RETRIED, Kind.WITHDRAWN],
    "sent": [Kind.MADE],
    "delivered": [Kind.MADE, Kind.DELIVERED],
    "read": [Kind.MADE, Kind.READ],
    "undelivered": [Kind.MADE, Kind.UNDELIVERED],
    "failed": [Kind.MADE, Kind.FAILED],
}
TOLD = (Kind.MADE, Kind.DELIVERED, Kind.READ, Kind.UNDELIVERED, Kind.FAILED)
"""What Twilio tells with a receipt."""


@pytest.mark.parametrize("became", BEGUN)
def test_a_message_is_answered_from_its_start_on(store: Store, entry: Make, became: str) -> None:
    """The customer may have seen it, whatever we hear of it afterwards."""
    lease = Lease(token="worker", until=at(60))
    store.insert_many([entry(lease=lease, expires_at=at(50))])
    assert answered(store, asked()) == [None]
    store.record_many([(key("g1"), Fact(kind=Kind.STARTED, at=at(1), lease=lease))])
    for kind in BEGUN[became]:
        words = {Kind.MADE: "queued"}.get(kind, kind.value)
        receipt = Receipt(sid="SM1", status=words) if kind in TOLD else None
        fact = Fact(kind=kind, at=at(55), lease=lease, receipt=receipt)
        assert store.record_many([(key("g1"), fact)]) != [None]
    assert answered(store, asked()) == ["g1"]


def test_another_customers_message_is_not_answered(store: Store, entry: Make) -> None:
    """The address counts, with its prefix: a text by WhatsApp answers no SMS."""
    store.insert_many(
        [
            begun(entry, "sms", 1),
            begun(entry, "theirs", 9, to="+12015550142"),
            begun(entry, "whatsapp", 5, to=f"whatsapp:{CUSTOMER}", sender=f"whatsapp:{OURS}"),
        ]
    )
    by_whatsapp = asked(f"whatsapp:{OURS}", customer=f"whatsapp:{CUSTOMER}")
    somebody = asked(f"whatsapp:{OURS}", OURS, customer="+12015550199")
    assert answered(store, asked(), by_whatsapp, somebody) == ["sms", "whatsapp", None]


def test_another_tenants_message_is_not_answered(store: Store, entry: Make) -> None:
    """Though the two numbers be the same."""
    store.insert_many([begun(entry, "mine"), begun(entry, "theirs", 9, tenant="other")])
    assert answered(store, asked(), asked(tenant=OTHER)) == ["mine", "theirs"]
    assert answered(store, asked(tenant=TenantId("third"))) == [None]


def test_a_message_from_another_number_is_not_answered(store: Store, entry: Make) -> None:
    """The customer wrote to one of ours; what came from the others is another conversation."""
    store.insert_many([begun(entry, "a", 1), begun(entry, "b", 2, sender=OURS_TOO)])
    assert answered(store, asked(OURS), asked(OURS_TOO)) == ["a", "b"]
    assert answered(store, asked(OURS, OURS_TOO)) == ["b"]
    assert answered(store, asked("+15005550008")) == [None]


def test_a_service_is_answered_through_the_number_that_it_chose(store: Store, entry: Make) -> None:
    """Or by its own name, which Twilio may tell with the customer's text."""
    store.insert_many(
        [
            begun(entry, "not told", 1, sender=SERVICE),
            begun(entry, "chosen", 2, sender=SERVICE, via=OURS),
            begun(entry, "other", 3, sender=SERVICE, via=OURS_TOO),
        ]
    )
    assert answered(store, asked(OURS), asked(OURS, SERVICE)) == ["chosen", "other"]
    assert answered(store, asked("MG" + "1" * 32)) == [None]


def test_a_message_of_months_ago_can_be_answered(store: Store, entry: Make) -> None:
    """Until it is purged."""
    others = [begun(entry, f"g{n}", n, to=f"+120155501{n:02}") for n in range(2, 40)]
    store.insert_many([begun(entry, "old", -300 * DAY, purge_at=at(DAY), due_at=at(DAY)), *others])
    assert answered(store, asked()) == ["old"]
    store.purge(now=at(2 * DAY), limit=9)
    assert answered(store, asked()) == [None]


def test_conversations_come_in_the_order_in_which_they_are_asked_for(
    store: Store, entry: Make
) -> None:
    """Each for itself; asking for none is no error."""
    people = [f"+120155501{n:02}" for n in range(10)]
    store.insert_many([begun(entry, to, to=to) for to in people])
    order = random.Random(3).sample([*people, "+12015550199"], k=11)
    expected = [to if to in people else None for to in order]
    assert answered(store, *[asked(customer=to) for to in order]) == expected
    assert store.conversations([]) == []


def test_in_an_empty_ledger_nobody_answers_anything(store: Store) -> None:
    """Nor is that an error."""
    assert store.conversations([asked(), asked()]) == [None, None]


# hear_many


def test_a_new_message_is_written_and_given_back(store: Store, hearing: Hear) -> None:
    """As it is, and so it is read."""
    one = hearing(body="Can I come at ten?")
    assert hear(store, one) == [Received(one.inbound, created=True)]
    assert listed(store) == [one.inbound]


def test_every_member_of_a_message_is_kept(store: Store) -> None:
    """Texts of every script, times to the microsecond, pictures, buttons, and what it answers."""
    heard = Heard(
        sid="MM" + "0" * 32,
        sender=f"whatsapp:{CUSTOMER}",
        to=f"whatsapp:{OURS}",
        service=SERVICE,
        body="Zoë – 日本 👩‍👩‍👧 \t\n\"'\\ €\0",
        media=(Medium("https://api.example.com/1?a=1&b=%20", "image/jpeg"), Medium("x" * 2000, "")),
        media_count=12,
        button_text="Yes, please",
        button_payload='{"yes": 1}',
        opt_out_type="HELP",
        dated_at=at(-0.000001),
    )
    whole = Inbound(
        key=inbound_key(DEMO, heard.sid),
        tenant_id=DEMO,
        heard=heard,
        heard_at=at(0.123456),
        purge_at=at(99_999.9),
        wish=Wish.MAYBE_OUT,
        answers=key("a guid / with a slash"),
        origin=Origin(event_name="Ünïcode", task_code="TSK_1", identities={"datahub_id": "d'1"}),
        repeats=3,
        tells=(Outcome.REPLY, Outcome.OPT_OUT),
    )
    whole = owing(whole, Outcome.REPLY, at(0.5))
    hear(store, Hearing(whole, SUBJECT))
    assert listed(store) == [whole]
    assert outcomes(whole) == [Outcome.REPLY]


def test_a_message_is_seen_by_whoever_opens_the_ledger(
    open_ledger: Callable[[], Store], hearing: Hear
) -> None:
    """With the consent: both are durable before the call returns."""
    hear(open_ledger(), hearing(sign=Sign.OUT))
    store = open_ledger()
    assert outcomes(read(store)) == [Outcome.OPT_OUT]
    assert consent(store) is not None


def test_a_message_that_is_known_is_not_written_again(store: Store, hearing: Hear) -> None:
    """What stands there has come again; that is counted."""
    hear(store, hearing(body="Hello"))
    other = hearing(body="Another", heard_at=at(5), purge_at=at(6))
    [again] = hear(store, other, second=5)
    assert (again.created, again.inbound.repeats, again.consent) == (False, 1, None)
    assert again.inbound == read(store)
    assert (read(store).heard.body, read(store).heard_at) == ("Hello", NOW)


def test_a_message_that_is_known_changes_no_consent(store: Store, hearing: Hear) -> None:
    """Neither one that there is, nor one that there is not."""
    hear(store, hearing("SM1"), hearing("SM2", Sign.OUT))
    before = consent(store)
    again = hear(store, hearing("SM1", Sign.OUT), hearing("SM2", Sign.IN, dated_at=at(60)))
    assert [one.consent for one in again] == [None, None]
    assert consent(store) == before
    hear(store, hearing("SM1", Sign.OUT, group="shop"))
    assert consent(store, Subject(DEMO, CUSTOMER, "shop")) is None


def test_a_message_twice_in_a_batch_is_written_once(store: Store, hearing: Hear) -> None:
    """The first of them; the others count as repeats, and what they say as nothing."""
    batch = [hearing("SM1", Sign.OUT), hearing("SM1", body="x"), hearing("SM2"), hearing("SM1")]
    received = hear(store, *batch)
    assert created(received) == [True, False, True, False]
    assert [one.inbound.repeats for one in received] == [0, 1, 0, 2]
    assert (read(store).heard.body, read(store).repeats) == ("", 2)


@pytest.mark.parametrize("way", ["purged", "erased"])
def test_a_message_of_which_a_tombstone_is_left_is_not_written_again(
    store: Store, hearing: Hear, way: str
) -> None:
    """It is given back as it came, however often, and changes no consent."""
    gone = hearing(purge_at=at(1))
    hear(store, gone)
    if way == "purged":
        assert store.purge(now=at(2), limit=9) == 1
    else:
        note = Note(at=at(2), by="ada", action="erase", subject="demo")
        keys = [gone.inbound.key]
        store.erase(DEMO, entries=[], inbound=keys, recipients=[], words=[], note=note)
    again = hearing(sign=Sign.OUT, body="again", heard_at=at(3))
    assert hear(store, again, again) == [Received(again.inbound, created=False)] * 2
    assert listed(store) == []
    assert consent(store) is None


def test_tenants_do_not_share_messages(store: Store, hearing: Hear) -> None:
    """A SID that two of them hear of is two messages, of two customers."""
    received = hear(store, hearing(sign=Sign.OUT), hearing(sign=Sign.IN, tenant="other"))
    assert created(received) == [True, True]
    assert {one.tenant_id for one in listed(store)} == {DEMO, OTHER}
    mine, theirs = store.consents([SUBJECT, Subject(OTHER, CUSTOMER)])
    assert mine is not None
    assert theirs is not None
    assert (mine.blocked, theirs.blocked) == (True, False)


def test_a_message_and_an_entry_do_not_share_keys(store: Store, hearing: Hear, entry: Make) -> None:
    """Were the event's guid a message's SID."""
    store.insert_many([entry("SM1", status=Status.SENT, purge_at=at(1))])
    assert created(hear(store, hearing("SM1"))) == [True]
    store.purge(now=at(2), limit=9)
    assert sids(listed(store)) == ["SM1"]
    assert hear(store, hearing("SM1"))[0].inbound.repeats == 1


def test_what_is_received_comes_in_the_order_of_the_hearings(store: Store, hearing: Hear) -> None:
    """New, known and purged ones mixed."""
    hear(store, hearing("gone", purge_at=at(1)), hearing("known"))
    store.purge(now=at(2), limit=9)
    batch = [hearing(sid) for sid in ("c", "gone", "a", "known", "b")]
    received = hear(store, *batch)
    assert sids(one.inbound for one in received) == ["c", "gone", "a", "known", "b"]
    assert created(received) == [True, False, True, False, True]
    assert hear(store) == []


def test_a_wish_is_written_with_its_message(store: Store, hearing: Hear) -> None:
    """The consent is given as it stands, and the message as it owes the report of it."""
    [received] = hear(store, hearing(sign=Sign.OUT), second=1)
    assert received.inbound == read(store)
    assert received.consent == consent(store)
    assert received.consent is not None
    assert (received.consent.state, received.consent.recipient) == ("out", CUSTOMER)
    [report] = received.inbound.reports
    assert (report.outcome, report.sid, report.at) == (Outcome.OPT_OUT, "SM1", at(1))
    assert report.due_at == at(1)


def test_a_wish_that_turns_nothing_owes_no_report(store: Store, hearing: Hear) -> None:
    """A second STOP tells nothing new; nor does a START of somebody who gets messages."""
    first = hear(store, hearing("SM1", Sign.OUT), hearing("SM2", Sign.OUT))
    start = hearing("SM3", Sign.IN, customer="+12015550142")
    received = [*first, *hear(store, start)]
    assert [outcomes(one.inbound) for one in received] == [[Outcome.OPT_OUT], [], []]
    assert received[-1].consent is not None


def test_a_probable_wish_owes_no_report(store: Store, hearing: Hear) -> None:
    """A person is to read it; until then it blocks, and that is all."""
    [received] = hear(store, hearing(sign=Sign.MAYBE))
    assert outcomes(received.inbound) == []
    assert received.consent is not None
    assert received.consent.state == "review"
    assert store.summary(NOW).review == 1


def test_a_wish_for_messages_again_owes_a_report(store: Store, hearing: Hear) -> None:
    """If it is certain that it came after the opt-out."""
    hear(store, hearing("SM1", Sign.OUT, dated_at=at(-60)))
    undated, late = hear(
        store, hearing("SM2", Sign.IN), hearing("SM3", Sign.IN, dated_at=at(-30)), second=5
    )
    assert (outcomes(undated.inbound), outcomes(late.inbound)) == ([], [Outcome.OPT_IN])
    assert late.consent is not None
    assert not late.consent.blocked
    assert outcomes(read(store, "SM1")) == [Outcome.OPT_OUT]


def test_wishes_of_a_batch_count_in_their_order(store: Store, hearing: Hear) -> None:
    """Each turns the consent as the one before has left it."""
    batch = [
        hearing("SM1", Sign.OUT, dated_at=at(1)),
        hearing("SM2", Sign.IN, dated_at=at(2)),
        hearing("SM3", Sign.OUT, dated_at=at(3)),
    ]
    received = hear(store, *batch, second=9)
    turns = [Outcome.OPT_OUT, Outcome.OPT_IN, Outcome.OPT_OUT]
    assert [outcomes(one.inbound) for one in received] == [[turn] for turn in turns]
    assert [one.consent and one.consent.state for one in received] == ["out", "in", "out"]
    found = consent(store)
    assert found is not None
    assert [line.blocked for line in found.history] == [True, False, True]


@pytest.mark.parametrize("sign", [Sign.OUT, Sign.IN])
def test_a_message_owes_only_what_it_tells(store: Store, hearing: Hear, sign: Sign) -> None:
    """As its tenant wished when it came."""
    if sign is Sign.IN:
        hear(store, hearing("SM0", Sign.OUT, dated_at=at(-60)))
    telling = (Outcome.REPLY, Outcome.OPT_IN if sign is Sign.OUT else Outcome.OPT_OUT)
    [received] = hear(store, hearing("SM1", sign, dated_at=NOW, tells=telling))
    assert received.consent is not None
    assert received.consent.blocked is (sign is Sign.OUT)
    assert read(store).reports == ()


def test_what_a_message_owes_already_stays(store: Store, hearing: Hear) -> None:
    """A reply that is an opt-out, too, is told as both."""
    stop = hearing(sign=Sign.OUT)
    stop = stop._replace(inbound=owing(stop.inbound, Outcome.REPLY, NOW))
    hear(store, stop, second=2)
    assert outcomes(read(store)) == [Outcome.REPLY, Outcome.OPT_OUT]
    assert len({report.key for report in read(store).reports}) == 2


def test_a_message_without_a_wish_leaves_the_consent_alone(store: Store, hearing: Hear) -> None:
    """One is not even made."""
    [received] = hear(store, hearing(body="Thanks!"))
    assert received.consent is None
    assert consent(store) is None
    assert store.list_consents(DEMO, limit=9) == ([], None)


def test_a_wish_for_a_group_of_senders_is_kept_for_the_group(store: Store, hearing: Hear) -> None:
    """Others may go on."""
    hear(store, hearing(sign=Sign.OUT, group="shop"))
    shop = Subject(DEMO, CUSTOMER, "shop")
    found = consent(store, shop)
    assert found is not None
    assert (found.group, found.blocked) == ("shop", True)
    assert store.consents([SUBJECT, Subject(DEMO, CUSTOMER, "care")]) == [None, None]


def test_hearing_a_batch_again_changes_nothing_but_repeats(store: Store, hearing: Hear) -> None:
    """So the same call may be made again when its answer was lost."""
    batch = [hearing("SM1", Sign.OUT), hearing("SM2"), hearing("SM3", Sign.IN, dated_at=at(60))]
    first = hear(store, *batch, second=1)
    before = consent(store)
    again = hear(store, *batch, second=9)
    assert [one.inbound.reports for one in again] == [one.inbound.reports for one in first]
    assert [one.inbound.repeats for one in again] == [1, 1, 1]
    assert consent(store) == before


# is_heard


def test_a_message_is_known_once_it_was_heard(store: Store, hearing: Hear) -> None:
    """And stays so when only a tombstone is left of it; an entry is no such message."""
    asked_for = [inbound_key(DEMO, sid) for sid in ("SM1", "SM2", "SM3", "SM1")]
    assert store.is_heard(asked_for) == [False] * 4
    hear(store, hearing("SM1"), hearing("SM2", purge_at=at(1)), hearing("SM3", tenant="other"))
    store.purge(now=at(2), limit=9)
    assert store.is_heard(asked_for) == [True, True, False, True]
    assert store.is_heard([inbound_key(OTHER, "SM3"), inbound_key(OTHER, "SM1")]) == [True, False]
    assert store.is_heard([]) == []
    assert read(store).repeats == 0


# find_inbound


def test_the_latest_heard_come_first(store: Store, hearing: Hear) -> None:
    """In whatever order they were written, and no more than the limit."""
    seconds = random.Random(7).sample(range(150), k=150)
    hear(store, *[hearing(f"SM{second}", heard_at=at(second)) for second in seconds])
    newest_first = [f"SM{second}" for second in reversed(range(150))]
    assert sids(listed(store)) == newest_first
    assert sids(store.find_inbound(InboundQuery(limit=3))) == newest_first[:3]
    assert sids(store.find_inbound(InboundQuery())) == newest_first[:100]


def test_a_query_narrows_by_each_of_its_members(store: Store, hearing: Hear) -> None:
    """And by all of them together."""
    hear(
        store,
        hearing("SM1", heard_at=at(4)),
        hearing("SM1", tenant="other", heard_at=at(3)),
        hearing("SM2", customer="+12015550142", heard_at=at(2)),
        hearing("SM3", customer=f"whatsapp:{CUSTOMER}", heard_at=at(1)),
    )

    def found(**members: Any) -> list[tuple[str, str]]:
        queried = store.find_inbound(InboundQuery(**members))
        return [(one.tenant_id, one.heard.sid) for one in queried]

    assert found(sid="SM1") == [("demo", "SM1"), ("other", "SM1")]
    assert found(tenant_id=OTHER) == [("other", "SM1")]
    assert found(customer="+12015550142") == [("demo", "SM2")]
    assert found(customer=CUSTOMER) == [("demo", "SM1"), ("other", "SM1"), ("demo", "SM3")]
    assert found(customer=CUSTOMER, tenant_id=DEMO, sid="SM3") == [("demo", "SM3")]
    assert found(customer="+12015550142", tenant_id=OTHER) == []
    assert found(sid="SM") == []


def test_a_customer_on_a_channel_without_numbers_is_found_by_its_address(
    store: Store, hearing: Hear
) -> None:
    """Messenger knows no numbers; the whole address is who it is."""
    hear(store, hearing(customer="messenger:12015550101"))
    query = InboundQuery(customer="messenger:12015550101")
    assert sids(store.find_inbound(query)) == ["SM1"]
    assert store.find_inbound(InboundQuery(customer="12015550101")) == []


# purge


def test_a_message_is_purged_when_its_time_is_over(store: Store, hearing: Hear) -> None:
    """To the millisecond, told or not; its wish stays in force."""
    batch = [hearing(f"SM{second}", Sign.OUT, purge_at=at(second)) for second in (1, 2, 3)]
    hear(store, *batch)
    assert store.purge(now=at(1.999), limit=9) == 1
    assert sids(listed(store)) == ["SM3", "SM2"]
    assert store.purge(now=at(99), limit=9) == 2
    assert listed(store) == []
    assert store.owing(at(99), most=9) == []
    found = consent(store)
    assert found is not None
    assert found.blocked


def test_a_purge_in_parts_comes_to_an_end(store: Store, hearing: Hear, entry: Make) -> None:
    """Of messages and entries together."""
    hear(store, *[hearing(f"SM{n}", purge_at=at(n)) for n in range(7)])
    store.insert_many([entry(f"g{n}", status=Status.SENT, purge_at=at(n)) for n in range(5)])
    assert sum(iter(lambda: store.purge(now=at(60), limit=2), 0)) == 12
    assert (listed(store), store.get_many([key("g1")])) == ([], [None])


# many at a time


def test_of_many_that_hear_one_message_one_writes_it(
    open_ledger: Callable[[], Store], hearing: Hear
) -> None:
    """As processes do: the others are repeats, all of which count, and the wish is written once."""
    stores, gate = [open_ledger() for _ in range(8)], threading.Barrier(8)

    def work(number: int) -> list[Received]:
        gate.wait(10)
        one = hearing(sign=Sign.OUT, heard_at=at(number))
        return [*hear(stores[number], one, second=number), *hear(stores[number], one)]

    with ThreadPoolExecutor(8) as pool:
        received = [one for found in pool.map(work, range(8)) for one in found]
    assert sum(one.created for one in received) == 1
    assert sorted(one.inbound.repeats for one in received) == list(range(16))
    assert sum(one.consent is not None for one in received) == 1
    assert (read(stores[0]).repeats, outcomes(read(stores[0]))) == (15, [Outcome.OPT_OUT])
    found = consent(stores[0])
    assert found is not None
    assert len(found.history) == len(found.against) == 1


def test_many_messages_of_one_customer_are_all_heard(
    open_ledger: Callable[[], Store], hearing: Hear
) -> None:
    """Each adds its line to the one consent, though they come at once."""
    stores, gate = [open_ledger() for _ in range(6)], threading.Barrier(6)

    def work(number: int) -> None:
        gate.wait(10)
        for part in range(2):
            hear(stores[number], hearing(f"SM{number}-{part}", Sign.OUT))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    found = consent(stores[0])
    assert found is not None
    assert {line.sid for line in found.history} == set(sids(listed(stores[0])))
    assert len(found.history) == 12
    assert stores[0].verify_consents(limit=9).broken == ()
    assert sum(map(len, map(outcomes, listed(stores[0])))) == 1
