"""Lists of wishes that people bring: which rows count, from when on, and which are left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ci360_twilio.core.consent import Sign, Source, Subject
from ci360_twilio.core.preference import CI360, EXPORTED, Bad, Layout
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import LedgerUnavailable
from ci360_twilio.flow.consenting import BATCH, SHOWN, Consenting, Imported, csv_rows
from ci360_twilio.logs import CONSENT_CHANGED

if TYPE_CHECKING:
    from tests.unit.flow.conftest import World

ACME, OTHER = TenantId("acme"), TenantId("other")
ONE, TWO, THREE = "+12015550142", "+12015550143", "+12015550144"
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


LISTS: dict[str, tuple[Sequence[str], list[str | None]]] = {
    "numbers alone are opt-outs": ((ONE, TWO), ["out", "out"]),
    "our own export": (
        (",".join(EXPORTED), f"{ONE},out,2026-01-05T08:00:00Z,text,", f"'{TWO},in,,,"),
        ["out", None],
    ),
    "somebody else's": (
        ("Date,Phone,Status", f"2026-01-05,{ONE},STOP", f",{TWO},yes"),
        ["out", None],
    ),
    "CI360's, with a head": (
        (
            "identity_type,identity_value,preference_type,preference_value",
            f"sms_id,{ONE},OPT-OUT,true",
            f"sms_id,{TWO},OPT-OUT,false",
        ),
        ["out", None],
    ),
    "CI360's, without": ((f"sms_id,{ONE},OPT-OUT,true,IMPORT,2026-01-05",), ["out", None]),
    "with empty rows and a mark of the order of bytes": (
        ("\ufeffnumber", "", " , ", ONE),
        ["out", None],
    ),
    "of addresses on channels": ((f"whatsapp:{ONE}", TWO), ["out", "out"]),
}


@pytest.mark.parametrize(("lines", "states"), LISTS.values(), ids=LISTS)
def test_a_list_is_read_by_its_head_or_its_first_row(
    world: World, consenting: Consenting, lines: Sequence[str], states: list[str | None]
) -> None:
    """Whoever wrote it; that somebody may be written to says nothing where nothing else is known."""
    done = take(consenting, *lines)
    assert (known(world, ONE, TWO), done.bad) == (states, {})
    assert done.changed == states.count("out")


BAD: dict[str, tuple[str, Bad]] = {
    "no number": ("call me,out", Bad.NUMBER),
    "a number that is none": ("+1,out", Bad.NUMBER),
    "a national number": ("(0151) 555-0142,out", Bad.NUMBER),
    "neither in nor out": (f"{ONE},perhaps", Bad.STATE),
    "nothing": (f"{ONE},", Bad.STATE),
    "too short": (ONE, Bad.SHORT),
}


@pytest.mark.parametrize(("line", "bad"), BAD.values(), ids=BAD)
def test_a_bad_row_is_left_out_and_named(
    world: World, consenting: Consenting, line: str, bad: Bad
) -> None:
    """By its line in the file; the others count."""
    done = take(consenting, "recipient,state", f"{TWO},out", "", line, f"{THREE},out")
    assert (done.rows, done.bad, done.lines) == (3, {bad: 1}, ((4, bad),))
    assert known(world, ONE, TWO, THREE) == [None, "out", "out"]


@pytest.mark.parametrize(
    "line",
    [f"login_id,{ONE},OPT-OUT,true", f"sms_id,{ONE},OPT-IN,true", f"sms_id,{ONE},P1 OPT-OUT,true"],
)
def test_what_is_no_wish_about_all_text_messages_is_left_out(
    world: World, consenting: Consenting, line: str
) -> None:
    """CI360's files hold other preferences, too."""
    done = take(consenting, f"sms_id,{TWO},OPT-OUT,true", line, layout=CI360)
    assert (done.bad, known(world, ONE, TWO)) == ({Bad.PROGRAM: 1}, [None, "out"])


def test_only_the_first_bad_rows_are_named(consenting: Consenting) -> None:
    """All are counted."""
    done = take(consenting, "recipient,state", *(f"{one},perhaps" for one in numbers(SHOWN + 5)))
    assert (done.rows, done.changed, done.bad) == (SHOWN + 5, 0, {Bad.STATE: SHOWN + 5})
    assert done.lines == tuple((line, Bad.STATE) for line in range(2, SHOWN + 2))


@pytest.mark.parametrize("line", [f'"{"x" * 200_000}"', "+120155501\r42"], ids=["endless", "torn"])
def test_a_row_that_is_no_csv_takes_no_others_with_it(
    world: World, consenting: Consenting, line: str
) -> None:
    """It is one more bad row."""
    done = take(consenting, ONE, line, TWO)
    assert (done.rows, done.bad, known(world, ONE, TWO)) == (3, {Bad.NUMBER: 1}, ["out", "out"])


def test_national_numbers_need_a_region(world: World, consenting: Consenting) -> None:
    """It is told beside the file."""
    assert take(consenting, "(201) 555-0142", region="US").changed == 1
    assert known(world, ONE) == ["out"]


def test_a_layout_that_is_told_makes_the_first_row_a_wish(
    world: World, consenting: Consenting
) -> None:
    """Of a file without a head whose columns are known."""
    take(consenting, f"x,out,{ONE}", f"y,out,{TWO}", layout=Layout(2, 1))
    assert known(world, ONE, TWO) == ["out", "out"]


def test_rows_are_written_in_few_commits(world: World, consenting: Consenting) -> None:
    """Progress is told after each; a line and a note tell of the whole."""
    heard: list[int] = []
    lines = [*numbers(BATCH), "+442079460000"]
    done = take(consenting, *lines, progress=heard.append)
    assert (done.rows, done.changed) == (BATCH + 1, BATCH + 1)
    assert (heard, world.store.commits) == ([BATCH, BATCH + 1], ["attest_many"] * 2)
    [note] = world.store.notes(10)
    assert (note.by, note.action, note.subject) == ("anna", "consent import", f"tenant {ACME}")
    assert (note.entries, note.detail) == (BATCH + 1, f"import of {BATCH + 1:,} rows")
    assert world.told(CONSENT_CHANGED, "consents") == [BATCH + 1]


def test_a_list_that_is_taken_twice_changes_nothing_the_second_time(
    world: World, consenting: Consenting
) -> None:
    """Nothing is noted of it, either."""
    lines = (",".join(EXPORTED), f"{ONE},out,2026-01-05", f"{TWO},in,2026-01-05")
    take(consenting, *lines)
    before = world.consent()
    world.clock.advance(days=1)
    assert take(consenting, *lines).changed == 0
    assert world.consent() == before
    assert len(world.store.notes(10)) == 1


def test_rows_count_by_their_dates_not_by_their_order(world: World, consenting: Consenting) -> None:
    """In whatever order lists come."""
    take(consenting, "recipient,state,since", f"{ONE},in,2026-02-01", f"{TWO},out,2026-01-01")
    take(consenting, "recipient,state,since", f"{ONE},out,2026-01-01", f"{TWO},in,2026-02-01")
    assert known(world, ONE, TWO) == ["out", "in"]
    take(consenting, "recipient,state,since", f"{ONE},in,2026-02-01")
    assert known(world, ONE, TWO) == ["in", "in"]


@pytest.mark.parametrize("date", ["", "soon", "2026-13-01", "2036-03-02"])
def test_without_a_usable_date_an_opt_out_counts_as_of_now_and_an_opt_in_not_at_all(
    world: World, consenting: Consenting, date: str
) -> None:
    """Also where the date is yet to come: it would stand above all that is said until then."""
    consenting.set(Subject(ACME, TWO), Sign.OUT, by="anna")
    world.clock.advance(minutes=1)
    take(consenting, "recipient,state,since", f"{ONE},out,{date}", f"{TWO},in,{date}")
    assert known(world, ONE, TWO) == ["out", "out"]
    world.clock.advance(minutes=1)
    consenting.set(SUBJECT, Sign.IN, by="anna")
    assert known(world, ONE) == ["in"]


@pytest.mark.parametrize(
    ("moment", "state"), [("2026-02-01T23:59:59", "out"), ("2026-02-02", "in")]
)
def test_an_opt_out_of_a_day_counts_to_its_end(
    world: World, consenting: Consenting, moment: str, state: str
) -> None:
    """At what time it was given, nobody knows."""
    take(consenting, "recipient,state,since", f"{ONE},out,2026-02-01", f"{ONE},in,{moment}")
    assert known(world, ONE) == [state]


@pytest.mark.parametrize(
    ("source", "hours", "state"),
    [(Source.CI360, 24, "out"), (Source.CI360, 25, "in"), (Source.IMPORT, 1, "in")],
)
def test_an_opt_in_of_ci360s_overrules_what_is_a_day_older(
    world: World, consenting: Consenting, source: Source, hours: int, state: str
) -> None:
    """It is dated by when CI360 took it over, perhaps from us; other lists know when it was given."""
    given = world.clock.now
    consenting.set(SUBJECT, Sign.OUT, by="anna")
    world.clock.advance(days=2)
    since = f"{given + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}"
    take(consenting, "recipient,state,since", f"{ONE},in,{since}", source=source)
    assert known(world, ONE) == [state]


@pytest.mark.parametrize(
    ("group", "states"), [("", ["out", None, "out"]), ("offers", [None, "out", None])]
)
def test_rows_about_another_group_of_senders_are_left_out(
    world: World, consenting: Consenting, group: str, states: list[str | None]
) -> None:
    """A wish for one group says nothing of the others; a row that ends before is for all."""
    rows = (f"{ONE},out,,text,", f"{TWO},out,,text,offers", f"{THREE},out")
    done = take(consenting, ",".join(EXPORTED), *rows, group=group)
    assert known(world, ONE, TWO, THREE, group=group) == states
    assert done.bad == {Bad.GROUP: states.count(None)}


def test_a_list_is_its_tenants_and_its_groups(world: World, consenting: Consenting) -> None:
    """And says who brought it, and from where."""
    take(consenting, ONE, group="offers", source=Source.CI360, by="worker")
    assert known(world, ONE) == known(world, ONE, tenant_id=OTHER) == [None]
    consent = world.consent(group="offers")
    assert consent is not None
    assert [(one.source, one.by) for one in consent.standing] == [(Source.CI360, "worker")]


def test_an_empty_list_changes_nothing(world: World, consenting: Consenting) -> None:
    """Neither does one with a head alone."""
    assert take(consenting).rows == take(consenting, "recipient,state").rows == 0
    assert (world.store.commits, world.store.notes(10)) == ([], [])


def test_a_ledger_that_cannot_be_written_is_the_callers_to_know(
    world: World, consenting: Consenting
) -> None:
    """Whoever takes the list again loses nothing."""
    world.store.away = {"attest_many"}
    with pytest.raises(LedgerUnavailable):
        take(consenting, ONE)
    world.store.away = set()
    assert take(consenting, ONE).changed == 1
