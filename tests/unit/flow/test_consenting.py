"""What people do to consents: single wishes, what waits for a reader, and the look at all seals."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from ci360_twilio.core.consent import Consent, Sign, Subject
from ci360_twilio.core.report import Outcome
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.flow.consenting import PAGE, Consenting, Imported, csv_rows, moment_words
from ci360_twilio.logs import CONSENT_CHANGED

if TYPE_CHECKING:
    from tests.unit.flow.conftest import World

ACME, OTHER = TenantId("acme"), TenantId("other")
ONE, TWO, THREE = "+12015550142", "+12015550143", "+12015550144"
LONG_AGO = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
SUBJECT = Subject(ACME, ONE)


@pytest.fixture
def consenting(world: World) -> Consenting:
    """Give what carries decisions out, on the world's store."""
    return Consenting(world.store, world.clock, world.log)


def take(consenting: Consenting, *lines: str, **options: Any) -> Imported:
    """Import the lines of a file."""
    text = (f"{line}\n" for line in lines)
    return consenting.import_rows(ACME, csv_rows(text), **{"by": "anna"} | options)


def numbers(count: int) -> Iterable[str]:
    """Give so many numbers, all of them fictional."""
    return (f"+1{201 + number // 100}55501{number % 100:02}" for number in range(count))


def known(world: World, *people: str, **of: Any) -> list[str | None]:
    """Give the states of recipients."""
    return [world.state(person, **of) for person in people]


# Single wishes


def test_a_wish_is_set_as_of_now(world: World, consenting: Consenting) -> None:
    """By whom is kept, and why is noted; setting it again changes nothing."""
    changed = consenting.set(SUBJECT, Sign.OUT, by="anna", text="by letter")
    assert changed == world.consent()
    assert changed is not None
    assert (changed.state, changed.since, changed.history[-1].by) == (
        "out",
        world.clock.now,
        "anna",
    )
    assert consenting.set(SUBJECT, Sign.OUT, by="anna") is None
    [note] = world.store.notes(10)
    assert (note.action, note.detail, note.entries) == ("consent set out", "by letter", 1)


def test_a_person_may_free_whom_a_text_has_blocked(world: World, consenting: Consenting) -> None:
    """It was said otherwise, and later."""
    world.listen("STOP")
    world.clock.advance(minutes=1)
    consenting.set(SUBJECT, Sign.IN, by="anna")
    assert world.state() == "in"
    world.clock.advance(minutes=1)
    world.listen("STOP")
    assert world.state() == "out"


def test_wishes_of_a_recipient_are_those_for_all_senders_and_for_groups(
    consenting: Consenting,
) -> None:
    """Only those that there are."""
    for group in ("", "offers"):
        consenting.set(Subject(ACME, ONE, group), Sign.OUT, by="anna")
    found = consenting.known(ACME, ONE, ["offers", "news"])
    assert [one.group for one in found] == ["", "offers"]
    assert consenting.known(ACME, TWO, ["offers"]) == []
    assert consenting.known(OTHER, ONE, ["offers"]) == []


def test_all_wishes_are_gone_through_page_by_page(consenting: Consenting) -> None:
    """Each once, in the order in which they were made, whatever their number."""
    take(consenting, *numbers(2 * PAGE), "+442079460000")
    consenting.set(Subject(OTHER, ONE), Sign.OUT, by="anna")
    found = [one.recipient for one in consenting.each(ACME)]
    assert found == [*numbers(2 * PAGE), "+442079460000"]
    assert list(consenting.each(ACME, ("review", "in"))) == []


# What is to be read


MAYBE = "please stop texting me"


def test_what_is_to_be_read_is_given_with_its_text(world: World, consenting: Consenting) -> None:
    """Each text apart; what is sure is not to be read."""
    world.listen(MAYBE)
    world.clock.advance(minutes=1)
    world.listen("pls stop")
    world.listen("STOP", sender=TWO)
    world.listen(MAYBE, sender=THREE, tenant_id=OTHER)
    found = list(consenting.to_review(ACME))
    assert [one.inbound.heard.body for one in found if one.inbound] == [MAYBE, "pls stop"]
    assert {one.consent.recipient for one in found} == {ONE}


@pytest.mark.parametrize(("is_out", "state"), [(True, "out"), (False, "in")])
def test_a_person_judges_a_text(
    world: World, consenting: Consenting, is_out: bool, state: str
) -> None:
    """Once: who comes second changes nothing. An opt-out is told to CI360 by its message."""
    world.listen(MAYBE)
    [found] = consenting.to_review(ACME)
    changed = consenting.judge(found, is_out=is_out, by="anna", text="read it")
    assert (changed, world.state()) == (world.consent(), state)
    assert consenting.judge(found, is_out=not is_out, by="bert") is None
    assert list(consenting.to_review(ACME)) == []
    [note] = world.store.notes(10)
    assert (note.by, note.action, note.detail) == ("anna", "consent review", "read it")
    owed = [one.outcome for one in world.letter.reports]
    assert owed == [Outcome.REPLY, Outcome.OPT_OUT][: 1 + is_out]


def test_a_text_that_is_gone_can_be_judged_all_the_same(
    world: World, consenting: Consenting
) -> None:
    """It was deleted with its time; the recipient waits."""
    world.listen(MAYBE)
    world.clock.advance(days=91)
    world.store.purge(now=world.clock.now, limit=100)
    [found] = consenting.to_review(ACME)
    assert found.inbound is None
    consenting.judge(found, is_out=False, by="anna")
    assert world.state() == "in"


def test_whose_number_was_erased_nobody_can_judge(world: World, consenting: Consenting) -> None:
    """It is not known any more under which hash the wish is kept."""
    world.listen(MAYBE)
    [found] = consenting.to_review(ACME)
    nameless = found._replace(consent=msgspec.structs.replace(found.consent, recipient=None))
    assert consenting.judge(nameless, is_out=True, by="anna") is None
    assert (world.state(), world.store.notes(10)) == ("review", [])


# Seals, words, lines


def test_all_seals_are_checked_page_by_page(world: World, consenting: Consenting) -> None:
    """Those that do not fit are named by tenant and hash, never by number."""
    take(consenting, *numbers(2 * PAGE + 1))
    assert consenting.verify() == (2 * PAGE + 1, [])
    wishes = world.store._rows.wishes
    hashed, consent = list(wishes.items())[PAGE + 1]
    wishes[hashed] = _touched(consent)
    assert consenting.verify() == (2 * PAGE + 1, [f"{ACME}/{hashed.hex()}"])


def _touched(consent: Consent) -> Consent:
    """Change a consent as somebody would who has the ledger and not the key."""
    return msgspec.structs.replace(consent, against=())


def test_where_there_is_no_wish_no_seal_is_broken(consenting: Consenting) -> None:
    """The look ends at once."""
    assert consenting.verify() == (0, [])


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        (LONG_AGO, "2026-01-05T08:00:00Z"),
        (LONG_AGO + timedelta(seconds=0.9), "2026-01-05T08:00:00Z"),
        (None, ""),
    ],
)
def test_lists_name_a_moment_to_the_second(moment: datetime | None, words: str) -> None:
    """As they are read again."""
    assert moment_words(moment) == words


def test_lines_and_notes_tell_of_changes_and_not_of_whom(
    world: World, consenting: Consenting
) -> None:
    """Numbers are nowhere but in the wishes."""
    take(consenting, ONE)
    consenting.set(Subject(ACME, TWO), Sign.OUT, by="anna")
    world.listen(MAYBE, sender=THREE)
    [found] = consenting.to_review(ACME)
    consenting.judge(found, is_out=True, by="anna")
    assert world.told(CONSENT_CHANGED) == ["import", "set out", "review"]
    written = world.stream.getvalue() + str(world.store.notes(10))
    assert [one for one in (ONE, TWO, THREE) if one[1:] in written] == []
