"""Contact preferences: the files of CI360's jobs, what is taken of them, and what is pushed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ci360_twilio.clients.ci360 import Ci360Client
from ci360_twilio.clients.signed import SignedAddresses
from ci360_twilio.core.consent import Evidence, Sign, Source, Subject
from ci360_twilio.core.preference import PREFERENCES, Bad
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import Ci360Failed, Trouble
from ci360_twilio.flow.consenting import Imported
from ci360_twilio.flow.preferences import IMPORT, STEP, Preferences, Progress, Stage
from ci360_twilio.logs import CONSENT_CHANGED
from ci360_twilio.ports import Note
from ci360_twilio.twin.ci360 import Ci360Twin
from ci360_twilio.twin.ci360_server import Ci360Server

if TYPE_CHECKING:
    from tests.unit.flow.conftest import World

ACME, OTHER = TenantId("acme"), TenantId("other")
ONE, TWO, THREE = "+12015550142", "+12015550143", "+12015550144"
HOURS = 6.0
HEAD = ",".join(PREFERENCES)


def take(
    world: World, preferences: Preferences, *files: str | bytes, head: str | None = None
) -> list[Imported]:
    """Take the files of a job, perhaps with one that holds nothing but the head."""
    given = []
    for number, file in enumerate(([] if head is None else [head]) + [*files]):
        path = f"part-{number}.csv" if head is None or number else "sms_header.csv"
        world.gateway.files[f"address-{number}"] = (
            file if isinstance(file, bytes) else file.encode()
        )
        given.append({"path": path, "url": f"address-{number}"})
    return preferences.take(world.tenant(), given, by="anna")


def pull(world: World, preferences: Preferences) -> None:
    """Pull once, step by step."""
    preferences.schedule(world.tenant())
    while preferences.pull_due():
        world.clock.advance(seconds=STEP.total_seconds())


@pytest.fixture
def preferences(world: World) -> Preferences:
    """Give what pulls and pushes."""
    world.papers.write(ACME, ci360_preferences_hours=HOURS)
    return Preferences(world.store, world.gateway, world.tenants, world.clock, world.log)


# What is taken


def test_wishes_are_taken_with_their_dates(world: World, preferences: Preferences) -> None:
    """So that a customer's later START holds, and an older one does not."""
    world.ci360.prefer(ONE, opted_out=True)
    world.clock.advance(minutes=1)
    for number, person in enumerate((ONE, TWO)):
        now = world.clock.now
        start = Evidence(
            sign=Sign.IN, source=Source.TEXT, heard_at=now, dated_at=now, sid=f"SM{number}"
        )
        world.store.attest_many([(Subject(ACME, person), start)], now=now)
    world.clock.advance(minutes=1)
    world.ci360.prefer(TWO, opted_out=True)
    world.ci360.prefer(THREE, opted_out=False)
    pull(world, preferences)
    assert world.states(ONE, TWO, THREE) == ["in", "out", None]
    consent = world.consent(TWO)
    assert consent is not None
    assert [(one.source, one.by) for one in consent.standing] == [(Source.CI360, "worker")]


def test_a_pull_of_what_is_known_changes_nothing(world: World, preferences: Preferences) -> None:
    """Every file is read, and nothing is noted."""
    for person in (ONE, TWO, THREE):
        world.ci360.prefer(person, opted_out=True)
    pull(world, preferences)
    before = [world.consent(person) for person in (ONE, TWO, THREE)]
    world.clock.advance(hours=HOURS)
    pull(world, preferences)
    assert [world.consent(person) for person in (ONE, TWO, THREE)] == before
    pulled = [line for line in world.lines if line.get("decision") == "pulled"]
    assert [(line["rows"], line["consents"]) for line in pulled] == [(3, 3), (3, 0)]


@pytest.mark.parametrize(
    ("head", "row"),
    [
        (None, f"sms_id,{ONE},OPT-OUT,true"),
        (HEAD, f"sms_id,{ONE},OPT-OUT,true"),
        ("preference_value,preference_type,identity_value", f"true,OPT-OUT,{ONE}"),
        ("\ufeffIDENTITY_VALUE, Preference_Value", f"{ONE},out"),
        ("something,else", f"sms_id,{ONE},opt-out,TRUE"),
        ("", f"sms_id,{ONE},OPT-OUT,true"),
    ],
    ids=["no head", "as it is", "in another order", "fewer columns", "no head of ours", "empty"],
)
def test_the_head_comes_in_a_file_of_its_own(
    world: World, preferences: Preferences, head: str | None, row: str
) -> None:
    """What it does not tell is where CI360 has it."""
    [done] = take(world, preferences, f"{row}\n", head=head)
    assert (done.changed, done.bad, world.states(ONE)) == (1, {}, ["out"])


def test_the_head_counts_wherever_it_is_listed(world: World, preferences: Preferences) -> None:
    """CI360 names the files in an order of its own."""
    head = "preference_value,preference_type,identity_value"
    world.gateway.files = {"a": f"true,OPT-OUT,{ONE}\n".encode(), "b": head.encode()}
    files = [{"path": "part-0.csv", "url": "a"}, {"path": "sms/Header-1.csv", "url": "b"}]
    [done] = preferences.take(world.tenant(), files, by="anna")
    assert (done.rows, done.changed, world.states(ONE)) == (1, 1, ["out"])


def test_every_part_is_read_in_its_order(world: World, preferences: Preferences) -> None:
    """With what is wrong in each; a part with a head of its own has one bad row more."""
    parts = [f"{HEAD}\nsms_id,{ONE},OPT-OUT,true\n", f"sms_id,{TWO},OPT-OUT,maybe\n", ""]
    done = take(world, preferences, *parts)
    assert [(one.rows, one.changed) for one in done] == [(2, 1), (1, 0), (0, 0)]
    assert [dict(one.bad) for one in done] == [{Bad.PROGRAM: 1}, {Bad.STATE: 1}, {}]


def test_a_file_may_hold_what_is_no_text(world: World, preferences: Preferences) -> None:
    """The rows around it count."""
    rows = f"sms_id,{ONE},OPT-OUT,true\r\n".encode() + b"\xff\xfe\0,x\r\n"
    [done] = take(
        world, preferences, b"\xef\xbb\xbf" + rows + f"sms_id,{TWO},OPT-OUT,true".encode()
    )
    assert (done.changed, done.bad.total()) == (2, 1)


def test_national_numbers_are_read_as_the_tenants(world: World, preferences: Preferences) -> None:
    """By its default region."""
    world.papers.write(ACME, default_region="US")
    take(world, preferences, "sms_id,(201) 555-0142,OPT-OUT,true\n")
    assert world.states(ONE) == ["out"]


def test_progress_is_told_of_every_file(world: World, preferences: Preferences) -> None:
    """By how many of its rows were read."""
    heard: list[int] = []
    world.gateway.files = {"a": f"sms_id,{ONE},OPT-OUT,true\n".encode() * 3}
    preferences.take(world.tenant(), [{"url": "a"}, {"url": "a"}], by="anna", progress=heard.append)
    assert heard == [3, 3]


# How a job is doing


@pytest.mark.parametrize(
    ("said", "progress"),
    [
        ({"status": "Queued"}, Progress(Stage.UNDER_WAY, "Queued")),
        ({"status": "Processing Identities"}, Progress(Stage.UNDER_WAY, "Processing Identities")),
        ({"status": " EXPORTED "}, Progress(Stage.DONE, " EXPORTED ")),
        ({"status": "Imported"}, Progress(Stage.DONE, "Imported")),
        (
            {"status": "Failed Validation", "statusDescription": "row 3"},
            Progress(Stage.FAILED, "Failed Validation: row 3"),
        ),
        ({"status": "Queued", "statusDescription": ""}, Progress(Stage.UNDER_WAY, "Queued")),
        ({"status": "Queued", "statusDescription": 7}, Progress(Stage.UNDER_WAY, "Queued")),
        ({"status": "Something new"}, Progress(Stage.UNDER_WAY, "Something new")),
        ({"status": 7, "downloadItemList": "x"}, Progress(Stage.UNDER_WAY, "")),
        ({}, Progress(Stage.UNDER_WAY, "")),
        (
            {"status": "exported", "downloadItemList": [{"url": "a"}, None, "b"]},
            Progress(Stage.DONE, "exported", ({"url": "a"},)),
        ),
    ],
    ids=str,
)
def test_what_ci360_says_of_a_job_is_a_stage_and_its_words(
    world: World, preferences: Preferences, said: dict[str, Any], progress: Progress
) -> None:
    """A word that is not known is no end."""
    job = preferences.start_pull(world.tenant())
    world.gateway.says = [said]
    assert preferences.ask(world.tenant(), job) == progress


def test_another_tenants_job_cannot_be_asked_for(world: World, preferences: Preferences) -> None:
    """CI360 knows no such job."""
    job = preferences.start_pull(world.tenant(ACME))
    with pytest.raises(Ci360Failed) as failed:
        preferences.ask(world.tenant(OTHER), job)
    assert failed.value.trouble is Trouble.REFUSED


# What is pushed


def pushed(preferences: Preferences) -> list[tuple[str, ...]]:
    """Give the rows that would be pushed."""
    return [row for page in preferences.to_push(ACME) for row in page]


def test_wishes_that_are_sure_are_pushed(world: World, preferences: Preferences) -> None:
    """Not those that wait for a reader, nor those of whom only a hash is left."""
    people = {ONE: "STOP", TWO: "START", THREE: "please stop texting me"}
    for person, body in people.items():
        world.listen(body, sender=person)
    world.listen("STOP", sender="+12015550145", tenant_id=OTHER)
    assert pushed(preferences) == [
        ("sms_id", ONE, "OPT-OUT", "true"),
        ("sms_id", TWO, "OPT-OUT", "false"),
    ]
    note = Note(at=world.clock.now, by="anna", action="erase", subject="a person")
    world.store.erase(ACME, entries=[], inbound=[], recipients=[ONE], words=[], note=note)
    assert pushed(preferences) == [("sms_id", TWO, "OPT-OUT", "false")]


def test_where_there_are_no_wishes_there_is_no_file(world: World, preferences: Preferences) -> None:
    """Nothing is asked of CI360 for it."""
    assert list(preferences.to_push(ACME)) == []


def test_ci360_takes_pushed_wishes_over(world: World, preferences: Preferences) -> None:
    """When its job is done."""
    for person, body in ((ONE, "STOP"), (TWO, "START")):
        world.listen(body, sender=person)
    tenant = world.tenant()
    [page] = preferences.to_push(ACME)
    job = preferences.start_push(tenant, page)
    assert [kind for _, kind, _ in world.gateway.started] == [IMPORT]
    stages = [preferences.ask(tenant, job).stage for _ in range(4)]
    assert stages == [Stage.UNDER_WAY] * 3 + [Stage.DONE]
    known = world.ci360.preferences
    assert {person: one.opted_out for person, one in known.items()} == {ONE: True, TWO: False}


def test_a_file_that_ci360_finds_wrong_is_told_in_its_words(
    world: World, preferences: Preferences
) -> None:
    """The job fails; nothing is taken over."""
    tenant = world.tenant()
    job = preferences.start_push(tenant, [("sms_id", ONE, "OPT-OUT", "perhaps")])
    found = [preferences.ask(tenant, job) for _ in range(4)][-1]
    assert found == Progress(Stage.FAILED, "Failed Validation: row 1 is not valid")
    assert world.ci360.preferences == {}


def test_what_was_pushed_comes_back_and_changes_nothing(
    world: World, preferences: Preferences
) -> None:
    """Whoever opted out here is known there by the next pull."""
    world.listen("STOP")
    [page] = preferences.to_push(ACME)
    preferences.start_push(world.tenant(), page)
    pull(world, preferences)
    assert (world.states(ONE), pushed(preferences)) == (["out"], page)


def test_over_http_wishes_go_both_ways(world: World) -> None:
    """As CI360's gateway has it: with signed addresses for the files."""
    twin = Ci360Twin(
        tenants={ACME: "the-secret-of-acme"}, clock=world.clock, base=lambda: server.url
    )
    server = Ci360Server(twin)
    with server:
        world.papers.write(ACME, ci360_api_url=f"{server.url}/marketingGateway/events")
        client = Ci360Client(SignedAddresses((server.authority,)))
        tenants = world.fresh_tenants(server.authority)
        preferences = Preferences(world.store, client, tenants, world.clock, world.log)
        tenant = tenants.get(ACME)
        preferences.start_push(tenant, [("sms_id", ONE, "OPT-OUT", "true")])
        job = preferences.start_pull(tenant)
        found = [preferences.ask(tenant, job) for _ in range(3)][-1]
        preferences.take(tenant, found.files, by="anna")
        client.close()
    assert (found.stage, world.state(ONE)) == (Stage.DONE, "out")


def test_lines_tell_how_many_and_not_who(world: World, preferences: Preferences) -> None:
    """Numbers are nowhere but in the wishes."""
    world.ci360.prefer(ONE, opted_out=True)
    pull(world, preferences)
    assert world.told(CONSENT_CHANGED) == ["import", "pulled"]
    written = world.stream.getvalue() + str(world.store.notes(10))
    assert ONE[1:] not in written
