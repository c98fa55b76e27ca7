"""What is known of a person, and its erasure. What every ledger does about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ci360_twilio.core.advance import owing as owing_entry
from ci360_twilio.core.consent import Consent, Evidence, Sign, Source, Subject
from ci360_twilio.core.due import purged
from ci360_twilio.core.entry import Entry, Fact, Key, Kind, Lease, Status, key_of
from ci360_twilio.core.event import Origin
from ci360_twilio.core.inbound import Inbound, inbound_key
from ci360_twilio.core.report import Answer, Outcome, Verdict
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import (
    About,
    Conversation,
    Erased,
    Hearing,
    InboundQuery,
    Note,
    Query,
    Received,
    Store,
)

Make = Callable[..., Entry]
Hear = Callable[..., Hearing]

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
DEMO, OTHER = TenantId("demo"), TenantId("other")
CUSTOMER, NEIGHBOUR = "+12015550101", "+12015550142"
SUBJECT = Subject(DEMO, CUSTOMER)
IDENTITY = ("datahub_id", "d-101")


def at(seconds: float) -> datetime:
    """Give the moment that many seconds after the morning at which every test starts."""
    return NOW + timedelta(seconds=seconds)


def key(guid: str) -> Key:
    """Give the key of an entry."""
    return key_of(DEMO, guid)


def note(second: float = 0.0, **members: Any) -> Note:
    """Give the line of the audit that an erasure writes."""
    return Note(at=at(second), by="ada", action="erase", subject="demo", **members)


def erase(store: Store, tenant: TenantId = DEMO, **what: Any) -> Erased:
    """Erase, and nothing that is not told."""
    nothing: dict[str, Any] = {"entries": [], "inbound": [], "recipients": [], "words": []}
    return store.erase(tenant, note=note(9), **nothing | what)


def opt_out(
    store: Store, person: str = CUSTOMER, group: str = "", tenant: TenantId = DEMO
) -> Consent | None:
    """Have somebody opt out."""
    evidence = Evidence(sign=Sign.OUT, source=Source.IMPORT, heard_at=NOW, dated_at=NOW)
    subject = Subject(tenant, person, group)
    [after] = store.attest_many([(subject, evidence)], now=NOW)
    return after


def consent(store: Store, subject: Subject = SUBJECT) -> Consent:
    """Read a consent that must be there."""
    [found] = store.consents([subject])
    assert found is not None
    return found


def guids(entries: Iterable[Entry]) -> set[str]:
    """Give the guids of entries."""
    return {one.guid for one in entries}


def sids(letters: Iterable[Inbound]) -> set[str]:
    """Give the SIDs of messages."""
    return {one.heard.sid for one in letters}


def whose(consents: Iterable[Consent]) -> set[tuple[str | None, str]]:
    """Give whose consents they are, and for which group."""
    return {(one.recipient, one.group) for one in consents}


def known_as(value: str, name: str = "datahub_id") -> Origin:
    """Give an origin that names a customer by one identity."""
    return Origin(task_code="TSK_1", identities={name: value})


# about


def fill(store: Store, entry: Make, hearing: Hear) -> None:
    """Write what names a customer by number and by identity, and as much of others."""
    whatsapp = {"to": f"whatsapp:{CUSTOMER}", "sender": "whatsapp:+15005550006"}
    store.insert_many(
        [
            entry("sms"),
            entry("whatsapp", **whatsapp),
            entry("done", status=Status.DELIVERED, origin=known_as("d-101")),
            entry("identity", to=NEIGHBOUR, origin=known_as("d-101")),
            entry("bare", message=None, status=Status.REFUSED, origin=known_as("d-101")),
            entry("neighbour", to=NEIGHBOUR, origin=known_as("d-142")),
            entry("other name", to=NEIGHBOUR, origin=known_as("d-101", "login_id")),
            entry("told of", to=NEIGHBOUR, body=f"Call {CUSTOMER}, d-101"),
            entry("longer", to=f"{CUSTOMER}0"),
            entry("sms", tenant="other"),
        ]
    )
    letters = [
        hearing("SM1"),
        hearing("SM2", customer=f"whatsapp:{CUSTOMER}"),
        hearing("SM3", customer=NEIGHBOUR, origin=known_as("d-101")),
        hearing("SM4", customer=NEIGHBOUR, body=f"I am {CUSTOMER}"),
        hearing("SM5", tenant="other"),
        hearing("SM6", customer=f"{CUSTOMER}0"),
    ]
    store.hear_many(letters, now=NOW)
    for person, group in (
        (CUSTOMER, ""),
        (CUSTOMER, "shop"),
        (NEIGHBOUR, ""),
        (f"{CUSTOMER}0", ""),
    ):
        opt_out(store, person, group)
    opt_out(store, tenant=OTHER)


def test_all_that_names_a_number_is_found(store: Store, entry: Make, hearing: Hear) -> None:
    """As recipient or sender, on whatever channel, finished or not; not where a text holds it."""
    fill(store, entry, hearing)
    found = store.about(DEMO, recipients=[CUSTOMER])
    assert guids(found.entries) == {"sms", "whatsapp", "done"}
    assert sids(found.inbound) == {"SM1", "SM2"}
    assert whose(found.consents) == {(CUSTOMER, ""), (CUSTOMER, "shop")}
    assert found.entries[0] in store.get_many([key("sms"), key("whatsapp"), key("done")])


def test_all_that_names_an_identity_is_found(store: Store, entry: Make, hearing: Hear) -> None:
    """By its name and its value; consents know no identities."""
    fill(store, entry, hearing)
    found = store.about(DEMO, identities=[IDENTITY])
    assert guids(found.entries) == {"done", "identity", "bare"}
    assert sids(found.inbound) == {"SM3"}
    assert found.consents == []


def test_numbers_and_identities_are_looked_for_together(
    store: Store, entry: Make, hearing: Hear
) -> None:
    """Whatever names one of them, once."""
    fill(store, entry, hearing)
    both = store.about(
        DEMO, recipients={CUSTOMER, NEIGHBOUR}, identities=[IDENTITY, ("login_id", "x")]
    )
    assert len(both.entries) == 8
    assert guids(both.entries) == {
        *("sms", "whatsapp", "done", "identity", "bare", "neighbour", "other name", "told of")
    }
    assert sids(both.inbound) == {"SM1", "SM2", "SM3", "SM4"}
    assert len(both.consents) == 3


def test_another_tenant_knows_of_its_own_alone(store: Store, entry: Make, hearing: Hear) -> None:
    """One asks for its customer; who else's it is, is nobody's business."""
    fill(store, entry, hearing)
    found = store.about(OTHER, recipients=[CUSTOMER], identities=[IDENTITY])
    assert [one.key for one in found.entries] == [key_of(OTHER, "sms")]
    assert [one.key for one in found.inbound] == [inbound_key(OTHER, "SM5")]
    assert [(one.tenant_id, one.recipient) for one in found.consents] == [(OTHER, CUSTOMER)]


def test_about_nobody_nothing_is_found(store: Store, entry: Make, hearing: Hear) -> None:
    """Nor about somebody unknown."""
    fill(store, entry, hearing)
    assert store.about(DEMO) == About([], [], [])
    strangers = store.about(DEMO, recipients=["+12015550199"], identities=[("datahub_id", "d")])
    assert strangers == About([], [], [])
    assert store.about(TenantId("third"), recipients=[CUSTOMER]) == About([], [], [])


@pytest.mark.parametrize(
    "value",
    ["Zoë", "日本 👩‍👩‍👧", "a\"b'c", "back\\slash", "tab\tnew\nline", "\u2028", "%_*?", "\x7f\x01"],
)
def test_identities_of_every_script_are_found(store: Store, entry: Make, value: str) -> None:
    """However the store writes them down."""
    other = entry("b", to=NEIGHBOUR, origin=known_as(f"{value}x"))
    store.insert_many([entry("a", to=NEIGHBOUR, origin=known_as(value)), other])
    found = store.about(DEMO, identities=[("datahub_id", value)])
    assert guids(found.entries) == {"a"}


# erase


def test_what_is_erased_is_gone(store: Store, entry: Make, hearing: Hear) -> None:
    """Nobody finds it any more, by whatever it was found by; others' stay."""
    store.insert_many(
        [entry("a", status=Status.SENT, sid="SM9", started_at=NOW), entry("b", to=NEIGHBOUR)]
    )
    store.hear_many([hearing("SM1"), hearing("SM2", customer=NEIGHBOUR)], now=NOW)
    letter = inbound_key(DEMO, "SM1")
    assert erase(store, entries=[key("a")], inbound=[letter]) == Erased(1, 1, 0, 0)
    assert store.get_many([key("a"), key("b")])[0] is None
    assert guids(store.find(Query())) == {"b"}
    assert store.find(Query(sid="SM9")) == []
    assert sids(store.find_inbound(InboundQuery())) == {"SM2"}
    assert store.conversations([Conversation(DEMO, CUSTOMER, ["+15005550006"])]) == [None]
    assert store.about(DEMO, recipients=[CUSTOMER]) == About([], [], [])


def test_a_tombstone_is_left_of_what_was_erased(store: Store, entry: Make, hearing: Hear) -> None:
    """An event or a message that comes again is not written anew."""
    store.insert_many([entry()])
    store.hear_many([hearing("SM1")], now=NOW)
    erase(store, entries=[key("g1")], inbound=[inbound_key(DEMO, "SM1")])
    again = entry(created_at=at(20))
    assert store.insert_many([again]) == [(purged(again), False)]
    heard = hearing("SM1", Sign.OUT)
    assert store.hear_many([heard], now=at(20)) == [Received(heard.inbound, created=False)]
    assert (store.find(Query()), store.find_inbound(InboundQuery())) == ([], [])
    assert store.is_heard([inbound_key(DEMO, "SM1")]) == [True]


@pytest.mark.parametrize("status", Status)
def test_an_entry_is_erased_whatever_its_status(store: Store, entry: Make, status: Status) -> None:
    """Nothing more is sent or written of it."""
    lease = Lease(token="worker", until=at(9))
    store.insert_many([entry(status=status, lease=lease)])
    assert erase(store, entries=[key("g1")]).entries == 1
    lost = Fact(kind=Kind.LOST, at=at(10), lease=lease)
    started = Fact(kind=Kind.STARTED, at=at(10), lease=lease)
    assert store.record_many([(key("g1"), lost), (key("g1"), started)]) == [None, None]
    assert store.claim(now=at(99), lease=lease, limit=9).entries == []
    assert store.summary(at(99)).unfinished == {}


def test_what_is_being_sent_is_left(store: Store, entry: Make) -> None:
    """Its answer would find nothing; it is counted, and goes when the lease has ended."""
    lease = Lease(token="worker", until=at(60))
    store.insert_many([entry(status=Status.SENDING, lease=lease), entry(guid="g2")])
    assert erase(store, entries=[key("g1"), key("g2")]) == Erased(1, 0, 0, 0, busy=1)
    [left] = store.find(Query())
    assert left.guid == "g1"


def test_another_tenants_document_is_left(store: Store, entry: Make) -> None:
    """Whatever keys are given, one tenant cannot erase what is another's."""
    store.insert_many([entry()])
    assert erase(store, OTHER, entries=[key("g1")]) == Erased(0, 0, 0, 0)
    assert store.find(Query()) != []


def test_what_was_erased_owes_nothing(store: Store, entry: Make, hearing: Hear) -> None:
    """An answer that comes late changes nothing."""
    store.insert_many([owing_entry(entry(tells=(Outcome.HELD,)), NOW, Outcome.HELD)])
    [taken] = store.take_reports(DEMO, now=at(1), until=at(600), limit=9)
    erase(store, entries=[key("g1")])
    assert store.summary(at(999)).owed == 0
    assert store.owing(at(999), most=9) == []
    said = Answer(Verdict.ASIDE, at(2), words="no")
    store.answer_reports([(key("g1"), taken.reports[0].key, said)])
    assert (store.aside(None, 9), store.get_many([key("g1")])) == ([], [None])


def test_a_wish_outlives_the_number(store: Store, entry: Make) -> None:
    """It stays in force, in every group, and sound; a tenant's other recipients keep theirs."""
    for person, group in ((CUSTOMER, ""), (CUSTOMER, "shop"), (NEIGHBOUR, "")):
        opt_out(store, person, group)
    before = consent(store)
    assert erase(store, recipients=[CUSTOMER]) == Erased(0, 0, 2, 0)
    after = consent(store)
    assert after.recipient is None
    assert (after.against, after.history, after.seal) == (
        before.against,
        before.history,
        before.seal,
    )
    assert consent(store, Subject(DEMO, CUSTOMER, "shop")).recipient is None
    assert consent(store, Subject(DEMO, NEIGHBOUR)).recipient == NEIGHBOUR
    assert store.verify_consents(limit=9).broken == ()
    assert store.about(DEMO, recipients=[CUSTOMER]).consents == []
    [inserted] = store.insert_many([entry()])
    assert (inserted.entry.status, inserted.entry.reason) == (Status.SUPPRESSED, "opted_out")


def test_a_wish_is_found_again_once_the_number_is_heard_of_again(store: Store) -> None:
    """New evidence joins what there is, and the number is known from then on."""
    opt_out(store)
    erase(store, recipients=[CUSTOMER])
    later = Evidence(sign=Sign.IN, source=Source.CI360, heard_at=at(99), dated_at=at(99))
    [after] = store.attest_many([(SUBJECT, later)], now=at(99))
    assert after is not None
    assert (after.recipient, after.state, len(after.history)) == (CUSTOMER, "in", 2)
    assert len(store.list_consents(DEMO, limit=9)[0]) == 1


def test_another_tenants_wishes_keep_their_numbers(store: Store) -> None:
    """Each erases for itself."""
    opt_out(store, tenant=OTHER)
    assert erase(store, recipients=[CUSTOMER]).consents == 0
    assert consent(store, Subject(OTHER, CUSTOMER)).recipient == CUSTOMER


def test_notes_lose_a_text_that_names_somebody(store: Store) -> None:
    """The rest of the line stays: who did what, and when. The new line comes last."""
    details = [f"answers {CUSTOMER}, who called", "of d-101", "of d-142", None, "d-1010 too"]
    for second, detail in enumerate(details):
        members: dict[str, Any] = {"by": "bob", "action": "resolve", "subject": "demo/g1"}
        store.write_note(Note(at=at(second), detail=detail, entries=second, **members))
    before = store.notes(9)[::-1]
    erased = erase(store, words=[CUSTOMER, "d-101"])
    assert erased == Erased(0, 0, 0, 3)
    after = store.notes(9)[::-1]
    assert [one.detail for one in after] == [None, None, "of d-142", None, None, None]
    assert [(one.at, one.entries) for one in after[:-1]] == [
        (one.at, one.entries) for one in before
    ]
    assert after[-1] == note(9)


def test_the_erasures_own_line_keeps_its_text(store: Store) -> None:
    """Whoever writes it sees to what is in it."""
    line = note(9, detail="by request 4711")
    empty: list[Key] = []
    for _ in range(2):
        store.erase(DEMO, entries=empty, inbound=empty, recipients=[], words=["4711"], note=line)
    assert [one.detail for one in store.notes(9)] == ["by request 4711", None]


def test_what_is_not_there_is_not_erased(store: Store, entry: Make, hearing: Hear) -> None:
    """Unknown keys, what was erased before, and a key twice: counted once or not at all."""
    store.insert_many([entry()])
    store.hear_many([hearing("SM1")], now=NOW)
    opt_out(store)
    what: dict[str, Any] = {
        "entries": [key("g1"), key("g1"), key("unknown")],
        "inbound": [inbound_key(DEMO, "SM1"), inbound_key(DEMO, "SM404")],
        "recipients": [CUSTOMER, "+12015550199"],
        "words": ["nothing"],
    }
    assert erase(store, **what) == Erased(1, 1, 1, 0)
    assert erase(store, **what) == Erased(0, 0, 0, 0)
    assert len(store.notes(9)) == 2


def test_keys_may_come_from_anything_that_can_be_gone_through(
    store: Store, entry: Make, hearing: Hear
) -> None:
    """Also only once, and more than a few."""
    store.insert_many([entry(f"g{n}") for n in range(300)])
    store.hear_many([hearing(f"SM{n}") for n in range(300)], now=NOW)
    erased = erase(
        store,
        entries=(key(f"g{n}") for n in range(300)),
        inbound=(inbound_key(DEMO, f"SM{n}") for n in range(300)),
    )
    assert erased == Erased(300, 300, 0, 0)
    assert store.about(DEMO, recipients=[CUSTOMER]) == About([], [], [])


def test_an_erasure_is_seen_by_whoever_opens_the_ledger(
    open_ledger: Callable[[], Store], entry: Make, hearing: Hear
) -> None:
    """Also by those who had it open before."""
    store, other = open_ledger(), open_ledger()
    store.insert_many([entry()])
    store.hear_many([hearing("SM1", Sign.OUT)], now=NOW)
    assert other.get_many([key("g1")]) != [None]
    erase(store, entries=[key("g1")], inbound=[inbound_key(DEMO, "SM1")], recipients=[CUSTOMER])
    for one in (other, open_ledger()):
        assert one.get_many([key("g1")]) == [None]
        assert one.find_inbound(InboundQuery()) == []
        assert (consent(one).recipient, consent(one).blocked) == (None, True)
        assert one.notes(9) == [note(9)]
