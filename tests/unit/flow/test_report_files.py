"""Many reports at one time: they go to CI360 as a file, and one by one where it will not have one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ci360_twilio.core.ci360 import FILE_REPORTS
from ci360_twilio.core.entry import key_of
from ci360_twilio.core.pause import Scope
from ci360_twilio.core.report import Outcome
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import Ci360Failed, Trouble
from ci360_twilio.flow.patience import TELL_SECONDS
from ci360_twilio.flow.report import FILE_SECONDS, NO_FILES
from ci360_twilio.logs import OUTCOME_REPORTED
from ci360_twilio.ports import Query
from ci360_twilio.twin.faults import Fault

if TYPE_CHECKING:
    from tests.unit.flow.conftest import World

ACME, OTHER = TenantId("acme"), TenantId("other")
MANY = 5


@pytest.fixture(autouse=True)
def _threshold(world: World) -> None:
    """Have few reports be many."""
    world.papers.write(ACME, ci360_bulk_threshold=MANY)


def owe(world: World, count: int, *, tenant_id: TenantId = ACME, **changes: Any) -> list[str]:
    """Write entries that owe a report; gives their guids."""
    first = len(world.store.find(Query(limit=10_000)))
    guids = [f"g{first + number}" for number in range(count)]
    for guid in guids:
        world.send(guid, owes=Outcome.DELIVERED, tenant_id=tenant_id, **changes)
    return guids


def states(world: World, guids: list[str]) -> set[str]:
    """Tell where the reports of entries stand."""
    return {report.state for guid in guids for report in world.reports(key_of(ACME, guid))}


def refused(**more: Any) -> Ci360Failed:
    """Make the error of a file that CI360 will not have."""
    return Ci360Failed("No.", **{"trouble": Trouble.REFUSED, "reason": "http_400"} | more)


def test_many_reports_go_as_one_file(world: World) -> None:
    """With all that single events have, whatever number of requests is free."""
    guids = owe(world, MANY + 2)
    assert world.reporting.report_all(1) == MANY + 2
    assert world.gateway.asked == [(MANY + 2, FILE_SECONDS)]
    events = world.ci360.events
    assert [one.by_file for one in events] == [True] * len(guids)
    assert sorted(one.attributes["twilio_guid"] for one in events) == sorted(guids)
    [first] = world.reports(key_of(ACME, guids[0]))
    told = next(one for one in events if one.attributes["twilio_guid"] == guids[0])
    assert (told.name, told.identity) == ("twilio_sms_delivered", ("datahub_id", "dh-1"))
    assert told.attributes["twilio_report_key"] == first.key
    assert states(world, guids) == {"told"}
    assert world.store.commits == ["answer_reports"]
    assert set(world.told(OUTCOME_REPORTED, "file")) == {True}


def test_few_reports_go_one_by_one(world: World) -> None:
    """A file has nothing of CI360's words for each."""
    guids = owe(world, MANY - 1)
    world.reporting.report_all(10)
    assert world.gateway.asked == [(1, TELL_SECONDS)] * (MANY - 1)
    assert states(world, guids) == {"told"}


@pytest.mark.parametrize("tells", [{"ci360_bulk_threshold": 0}, {"ci360_api_url": None}])
def test_a_tenant_that_wants_no_files_gets_none(world: World, tells: dict[str, Any]) -> None:
    """Nor one that has no CI360."""
    world.papers.write(ACME, **tells)
    owe(world, MANY * 2)
    world.reporting.report_all(100)
    assert {events for events, _ in world.gateway.asked} <= {1}


def test_a_file_has_no_more_rows_than_it_may_and_the_rest_comes_after(world: World) -> None:
    """In a second one, or one by one where few are left."""
    owe(world, FILE_REPORTS + 2)
    assert [world.reporting.report_all(1) for _ in range(3)] == [FILE_REPORTS, 1, 1]
    assert len(world.ci360.events) == FILE_REPORTS + 2


def test_a_file_is_one_request_among_others(world: World) -> None:
    """Other tenants' reports go beside it."""
    owe(world, MANY)
    owe(world, 3, tenant_id=OTHER)
    tasks = world.reporting.take(3)
    assert [(task.tenant.id, task.is_file) for task in tasks] == [
        (ACME, True),
        (OTHER, False),
        (OTHER, False),
    ]


def test_what_cannot_be_told_is_left_out_of_the_file(world: World) -> None:
    """It is set aside, or dropped, and the others go."""
    guids = owe(world, MANY)
    nobody = owe(world, 2, datahub_id=None)
    world.reporting.report_all(1)
    assert world.gateway.asked[0][0] == MANY
    assert (states(world, guids), states(world, nobody)) == ({"told"}, {"aside"})


def test_where_nothing_of_a_file_can_be_told_none_is_sent(world: World) -> None:
    """CI360 is asked nothing."""
    nobody = owe(world, MANY, datahub_id=None)
    world.reporting.report_all(1)
    assert (world.gateway.asked, states(world, nobody)) == ([], {"aside"})


def test_a_file_that_ci360_will_not_have_goes_one_by_one_at_once(world: World) -> None:
    """So that each report gets CI360's own words; for an hour no file is tried."""
    world.ci360.publish([])
    guids = owe(world, MANY)
    world.gateway.ends = [refused()]
    world.reporting.report_all(10)
    assert states(world, guids) == {"owed"}
    world.reporting.report_all(10)
    assert states(world, guids) == {"aside"}
    world.ci360.publish(None)
    world.clock.advance(seconds=NO_FILES.total_seconds() - 1)
    owe(world, MANY)
    world.reporting.report_all(1)
    assert world.gateway.asked[-1] == (1, TELL_SECONDS)
    world.clock.advance(seconds=1)
    owe(world, MANY)
    world.reporting.report_all(1)
    assert world.gateway.asked[-1][1] == FILE_SECONDS


@pytest.mark.parametrize("fault", [Fault.HTTP_503, Fault.UNREACHABLE, Fault.RESET, Fault.CUT])
def test_a_file_that_did_not_get_through_is_sent_again(world: World, fault: Fault) -> None:
    """Each report under its key and after its own wait; nobody's are lost."""
    guids = owe(world, MANY)
    keys = {report.key for guid in guids for report in world.reports(key_of(ACME, guid))}
    world.ci360_faults.burst(fault, requests=1)
    world.reporting.report_all(1)
    assert states(world, guids) == {"owed"}
    assert world.reporting.report_all(1) == 0
    world.clock.advance(seconds=1)
    world.reporting.report_all(1)
    assert {one.attributes["twilio_report_key"] for one in world.ci360.events} == keys
    assert states(world, guids) == {"told"}


def test_a_file_with_a_broken_token_pauses_the_reports(world: World) -> None:
    """Then a single one tries, however many wait."""
    world.ci360.change_secret(ACME, "the-new-secret")
    guids = owe(world, MANY)
    world.reporting.report_all(1)
    [pause] = world.store.pauses()
    assert (pause.scope, states(world, guids)) == (Scope.REPORTS, {"owed"})
    world.papers.write(ACME, ci360_client_secret="the-new-secret")
    world.clock.advance(seconds=301)
    assert [world.reporting.report_all(1), world.reporting.report_all(1)] == [1, 1]
    assert [one.by_file for one in world.ci360.events] == [False, False]
    owe(world, MANY)
    world.reporting.report_all(1)
    assert (states(world, guids), world.store.pauses()) == ({"told"}, [])


def test_a_file_may_be_too_much_at_a_time(world: World) -> None:
    """The tenant's CI360 is left alone for a while, files are not given up."""
    guids = owe(world, MANY)
    world.ci360_faults.burst(Fault.HTTP_429, requests=1)
    world.reporting.report_all(1)
    world.clock.advance(seconds=14)
    assert world.reporting.report_all(1) == 0
    world.clock.advance(seconds=1)
    world.reporting.report_all(1)
    assert [one.by_file for one in world.ci360.events] == [True] * MANY
    assert states(world, guids) == {"told"}


def test_every_report_of_a_document_goes_into_the_file(world: World) -> None:
    """A STOP is a reply, and an opt-out."""
    for number in range(MANY):
        person = f"+1201555014{number}"
        world.send(f"g{number}", to=person)
        world.listen("STOP", sender=person)
    world.reporting.report_all(1)
    assert world.gateway.asked == [(2 * MANY, FILE_SECONDS)]
    names = [one.name for one in world.ci360.events]
    assert sorted(set(names)) == ["twilio_sms_opt_out", "twilio_sms_reply"]
    assert len(names) == 2 * MANY


def test_what_customers_write_cannot_break_a_row(world: World) -> None:
    """Quotes, commas and line breaks stay in their field, and what a table would reckon is text."""
    texts = ['a "quoted", text', "two\r\nlines", "=1+1", ",,,", "Grüße 👍"]
    world.send()
    for text in texts:
        world.listen(text)
    world.reporting.report_all(1)
    found = {one.attributes["twilio_text"] for one in world.ci360.events}
    assert found == {'a "quoted", text', "two  lines", "=1+1", ",,,", "Grüße 👍"}
    assert [one.by_file for one in world.ci360.events] == [True] * len(texts)
