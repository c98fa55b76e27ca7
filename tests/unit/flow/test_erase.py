"""All that is known of one person: how it is found, forgotten, and handed out."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ci360_twilio.core.consent import Evidence, Sign, Source, Subject
from ci360_twilio.core.entry import Lease, Status, key_of
from ci360_twilio.core.event import Origin
from ci360_twilio.core.report import Answer, Outcome, Verdict
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import LedgerUnavailable, NotKnown
from ci360_twilio.flow.erase import Erasing, Person, dossier
from ci360_twilio.logs import PERSON_ERASED
from ci360_twilio.ports import About, Erased, Note
from ci360_twilio.stores.memory import MemoryStore

if TYPE_CHECKING:
    from tests.unit.flow.conftest import World

ACME, OTHER = TenantId("acme"), TenantId("other")
CUSTOMER, SECOND, THIRD, NEIGHBOUR = "+12015550142", "+12015550143", "+12015550144", "+12015550145"


@pytest.fixture
def erasing(world: World) -> Erasing:
    """The verb."""
    return Erasing(world.store, world.clock, world.log)


def known_as(*values: str) -> Origin:
    """Give an origin that names a customer by identities of several kinds."""
    kinds = ("datahub_id", "subject_id", "login_id")
    return Origin(identities=dict(zip(kinds, values, strict=False)))


def guids(person: Person) -> set[str]:
    """Give the guids of a person's messages."""
    return {entry.guid for entry in person.known.entries}


# find


@pytest.fixture
def chain(world: World) -> None:
    """A person whose numbers and identities lead from one to the next, and a neighbour."""
    world.send("a", to=CUSTOMER, origin=known_as("d-1"))
    world.send("b", to=f"whatsapp:{SECOND}", origin=known_as("d-1", "s-1"))
    world.send("c", message=None, status=Status.REFUSED, origin=known_as("d-2", "s-1"))
    world.send("d", to=THIRD, origin=known_as("d-2"))
    world.send("e", to=NEIGHBOUR, origin=known_as("d-9"))
    world.send("f", to=CUSTOMER, tenant_id=OTHER, origin=known_as("d-9"))


@pytest.mark.parametrize(
    "asked",
    [
        {"number": CUSTOMER},
        {"number": f"whatsapp:{SECOND}"},
        {"number": THIRD},
        {"identity": ("datahub_id", "d-2")},
        {"identity": ("subject_id", "s-1")},
    ],
    ids=str,
)
def test_a_person_is_found_from_either_end(
    chain: None, erasing: Erasing, asked: dict[str, Any]
) -> None:
    """Over as many steps as there are, and no farther."""
    person = erasing.find(ACME, **asked)
    assert guids(person) == {"a", "b", "c", "d"}
    assert person.numbers == {CUSTOMER, SECOND, THIRD}
    assert person.identities == {
        *(("datahub_id", "d-1"), ("datahub_id", "d-2"), ("subject_id", "s-1"))
    }


def test_only_what_was_asked_for_is_found_where_that_is_wanted(
    chain: None, erasing: Erasing
) -> None:
    """Somebody else may have had the number before."""
    person = erasing.find(ACME, number=SECOND, widely=False)
    assert (guids(person), person.numbers) == ({"b"}, frozenset({SECOND}))
    assert not person.identities
    person = erasing.find(ACME, identity=("datahub_id", "d-2"), widely=False)
    assert guids(person) == {"c", "d"}
    assert not person.numbers


def test_a_kind_is_part_of_an_identity(world: World, erasing: Erasing) -> None:
    """The same value under another kind is somebody else, and an empty one nobody."""
    world.send("a", origin=known_as("x", ""))
    world.send("b", to=SECOND, origin=known_as("y", "x"))
    world.send("c", to=THIRD, origin=known_as("z", ""))
    assert guids(erasing.find(ACME, identity=("datahub_id", "x"))) == {"a"}


def test_texts_and_wishes_lead_on_too(world: World, erasing: Erasing) -> None:
    """A text is its sender's, and the customer's whose message it answers."""
    world.send("a", origin=known_as("d-1"))
    world.listen("Stop")
    world.send("b", to=SECOND, origin=known_as("d-1"))
    world.listen("Hello", sender=SECOND)
    world.listen("Not me", sender=NEIGHBOUR)
    person = erasing.find(ACME, number=SECOND)
    assert {one.heard.body for one in person.known.inbound} == {"Stop", "Hello"}
    assert [one.recipient for one in person.known.consents] == [CUSTOMER]


@pytest.mark.parametrize(
    "asked",
    [
        {"number": "+12015550199"},
        {"identity": ("datahub_id", "d-3")},
        {"identity": ("login_id", "d-1")},
        {},
    ],
    ids=str,
)
def test_of_nobody_nothing_is_known(chain: None, erasing: Erasing, asked: dict[str, Any]) -> None:
    """As of somebody who was erased."""
    with pytest.raises(NotKnown, match="or it was erased before"):
        erasing.find(ACME, **asked)


def test_one_tenants_customer_is_not_anothers(chain: None, erasing: Erasing) -> None:
    """Whatever they have in common."""
    assert guids(erasing.find(OTHER, number=CUSTOMER)) == {"f"}
    with pytest.raises(NotKnown):
        erasing.find(TenantId("third"), number=CUSTOMER)


# What is told of a person before


def test_a_person_has_been_known_since_the_first_of_all(world: World, erasing: Erasing) -> None:
    """Message, text or wish."""
    first = world.clock.now
    evidence = Evidence(sign=Sign.OUT, source=Source.IMPORT, heard_at=first)
    world.store.attest_many([(Subject(ACME, CUSTOMER), evidence)], now=first)
    world.clock.advance(hours=1)
    world.listen("Hello")
    world.clock.advance(hours=1)
    world.send("a")
    assert erasing.find(ACME, number=CUSTOMER).since == first
    nobody = Person(ACME, frozenset(), frozenset(), About([], [], []))
    assert nobody.since is None


def test_what_will_never_be_sent_or_told_is_counted(world: World, erasing: Erasing) -> None:
    """Only what waits, and what CI360 has not acknowledged."""
    world.send("a", status=Status.ACCEPTED, started_at=None)
    world.send("b", owes=Outcome.DELIVERED)
    world.send("c", owes=Outcome.DELIVERED)
    world.send("d", owes=Outcome.DELIVERED)
    world.listen("Hello")
    now = world.clock.now
    taken = world.store.take_reports(ACME, now=now, until=now + timedelta(hours=1), limit=9)
    keys = {one.of.key: one.reports[0].key for one in taken}
    answers = {"b": Answer(Verdict.TOLD, now), "c": Answer(Verdict.ASIDE, now, words="no")}
    world.store.answer_reports(
        [(key_of(ACME, guid), keys[key_of(ACME, guid)], one) for guid, one in answers.items()]
    )
    person = erasing.find(ACME, number=CUSTOMER)
    assert person.waiting == 1
    assert person.untold == 3


def test_the_words_are_what_a_file_may_hold(chain: None, erasing: Erasing) -> None:
    """Numbers with and without their plus, and identities' values."""
    assert erasing.find(ACME, number=SECOND, widely=False).words == {SECOND, SECOND[1:]}
    words = erasing.find(ACME, number=SECOND).words
    assert {"d-1", "d-2", "s-1", THIRD[1:], CUSTOMER} <= words
    assert "datahub_id" not in words


# erase


def test_a_person_is_forgotten_and_the_wish_stays(
    world: World, chain: None, erasing: Erasing
) -> None:
    """With all that was found; the neighbour and the other tenant keep theirs."""
    world.listen("Stop")
    person = erasing.find(ACME, number=THIRD)
    assert erasing.erase(person, by="ada") == Erased(4, 1, 1, 0)
    with pytest.raises(NotKnown):
        erasing.find(ACME, number=CUSTOMER)
    assert world.state() == "out"
    assert guids(erasing.find(ACME, number=NEIGHBOUR)) == {"e"}
    assert guids(erasing.find(OTHER, number=CUSTOMER)) == {"f"}


def test_what_came_after_the_look_is_left(world: World, erasing: Erasing) -> None:
    """It was not among what somebody agreed to; the next look finds it."""
    world.send("a")
    person = erasing.find(ACME, number=CUSTOMER)
    world.send("b")
    assert erasing.erase(person, by="ada").entries == 1
    assert guids(erasing.find(ACME, number=CUSTOMER)) == {"b"}


def test_what_is_being_sent_is_left(world: World, erasing: Erasing) -> None:
    """Its answer would find nothing; with its lease over it goes like the others."""
    lease = Lease(token="t", until=world.clock.now + timedelta(minutes=1))
    world.send("a", status=Status.SENDING, lease=lease)
    world.send("b")
    person = erasing.find(ACME, number=CUSTOMER)
    assert erasing.erase(person, by="ada") == Erased(1, 0, 0, 0, busy=1)
    world.clock.advance(minutes=2)
    person = erasing.find(ACME, number=CUSTOMER)
    assert erasing.erase(person, by="ada") == Erased(1, 0, 0, 0)


def test_the_audit_gets_one_line(world: World, chain: None, erasing: Erasing) -> None:
    """By whom, whose customer, how many messages, and why."""
    person = erasing.find(ACME, number=CUSTOMER)
    world.clock.advance(hours=1)
    erasing.erase(person, by="ada", text="a letter of the 2nd")
    [note] = world.store.notes(9)
    assert note == Note(
        at=world.clock.now,
        by="ada",
        action="erase",
        subject="tenant acme",
        entries=4,
        detail="a letter of the 2nd",
        tenant_id=ACME,
    )


@pytest.mark.parametrize(
    "text", [CUSTOMER, f"Call from {CUSTOMER[1:]}.", "customer d-1", f"({SECOND})"]
)
def test_a_reason_that_names_the_person_is_not_written(
    world: World, chain: None, erasing: Erasing, text: str
) -> None:
    """It would put into the ledger what is taken out of it; of others it may speak."""
    for detail in (text, f"as {NEIGHBOUR} wishes"):
        world.store.write_note(
            Note(at=world.clock.now, by="bob", action="pause", subject="all", detail=detail)
        )
    done = erasing.erase(erasing.find(ACME, number=CUSTOMER), by="ada", text=text)
    assert done.notes == 1
    assert [note.detail for note in world.store.notes(9)] == [
        *(None, f"as {NEIGHBOUR} wishes", None)
    ]


def test_the_log_hears_that_somebody_was_erased_and_never_who(
    world: World, chain: None, erasing: Erasing
) -> None:
    """With what it came to."""
    erasing.erase(erasing.find(ACME, number=CUSTOMER), by="ada", text="why")
    [line] = [line for line in world.lines if line["event"] == PERSON_ERASED]
    assert {name: line[name] for name in ("tenant", "by", "entries", "busy")} == {
        "tenant": "acme",
        "by": "ada",
        "entries": 4,
        "busy": 0,
    }
    for secret in ("2015550142", "2015550143", "d-1", "s-1", "why"):
        assert secret not in world.stream.getvalue()


class Halfway(MemoryStore):
    """A ledger whose log still holds what was erased."""

    def erase(self, *_: object, **__: object) -> Erased:
        """Fail."""
        raise LedgerUnavailable("erase again")


def test_an_erasure_that_fails_is_not_told_as_done(world: World) -> None:
    """Neither to whoever asked nor to the log."""
    person = Person(ACME, frozenset({CUSTOMER}), frozenset(), About([], [], []))
    with pytest.raises(LedgerUnavailable):
        Erasing(Halfway(), world.clock, world.log).erase(person, by="ada")
    assert world.lines == []


# dossier


def test_all_that_is_known_is_handed_out_as_json(
    world: World, chain: None, erasing: Erasing
) -> None:
    """In an order that does not change, and whole: it is for the person to read."""
    world.listen("Stop")
    person = erasing.find(ACME, number=CUSTOMER)
    known = json.loads(json.dumps(dossier(person, world.clock.now)))
    assert known["tenant"] == "acme"
    assert known["exported_at"] == "2026-03-02T09:30:00Z"
    assert known["numbers"] == [CUSTOMER, SECOND, THIRD]
    assert known["identities"] == [
        {"kind": "datahub_id", "value": "d-1"},
        {"kind": "datahub_id", "value": "d-2"},
        {"kind": "subject_id", "value": "s-1"},
    ]
    assert [one["guid"] for one in known["messages"]] == ["a", "b", "c", "d"]
    assert known["messages"][0]["message"]["body"] == "Hello"
    [reply], [consent] = known["replies"], known["consents"]
    assert reply["heard"]["body"] == "Stop"
    assert (consent["recipient"], consent["state"], consent["blocked"]) == (CUSTOMER, "out", True)
    assert consent["history"][0]["act"] == "out"


def test_an_event_without_a_message_is_handed_out_too(world: World, erasing: Erasing) -> None:
    """It names the person by an identity alone."""
    world.send("a", message=None, status=Status.REFUSED, origin=known_as("d-1"))
    person = erasing.find(ACME, identity=("datahub_id", "d-1"))
    assert [one["guid"] for one in dossier(person, world.clock.now)["messages"]] == ["a"]
