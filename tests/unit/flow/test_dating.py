"""When customers wrote: whom Twilio is asked about, and what its answers make of their wishes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from ci360_twilio.core.consent import FIRST_QUESTION, Consent, Evidence, Sign, Source, Subject
from ci360_twilio.core.report import Outcome
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import LedgerUnavailable, TenantUnavailable
from ci360_twilio.flow.dating import QUESTION_SECONDS, Dating
from ci360_twilio.logs import INBOUND_DATED
from ci360_twilio.twin.faults import Fault

if TYPE_CHECKING:
    from tests.unit.flow.conftest import World

ACME, OTHER = TenantId("acme"), TenantId("other")
CUSTOMER = "+12015550142"
SECONDS = 3_600.0
"""Time enough, however slow the machine is."""


class Office:
    """A dating, with whom it asks."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.dating = Dating(world.store, world.client, world.tenants, world.clock, world.log)

    def listen(self, *bodies: str) -> list[str]:
        """Have a customer write every minute, and hear it; gives the SIDs."""
        for body in bodies:
            self.world.listen(body)
            self.world.clock.advance(minutes=1)
        return [one.heard.sid for one in self.world.inbound[::-1]][-len(bodies) :]

    def ask(self, seconds: float = SECONDS) -> str | None:
        """Ask at once for what the customer's consent hangs on; gives its state afterwards."""
        self.dating.date_now([self.consent], seconds=seconds)
        return self.world.state()

    @property
    def consent(self) -> Consent:
        """What is known of the customer's wish."""
        found = self.world.consent()
        assert found is not None
        return found

    @property
    def sids(self) -> list[str]:
        """The messages that Twilio was asked for."""
        return [sid for sid, _ in self.world.client.fetched]

    @property
    def dates(self) -> dict[str | None, datetime | None]:
        """When each text was written, as far as is known."""
        return {one.sid: one.dated_at for one in (*self.consent.against, *self.consent.favour)}


@pytest.fixture
def office(world: World) -> Office:
    """Give an office at which nobody has written yet."""
    return Office(world)


def test_a_start_frees_once_its_date_is_known(office: Office) -> None:
    """Both are asked for: which came later is what matters."""
    began = office.world.clock.now
    stop, start = office.listen("STOP", "START")
    assert office.world.state() == "out"
    assert office.ask() == "in"
    assert sorted(office.sids) == sorted([stop, start])
    assert office.dates[start] == began + timedelta(minutes=1)
    assert office.world.told(INBOUND_DATED) == ["dated", "dated"]


def test_a_start_that_frees_is_told(office: Office) -> None:
    """The report is owed by the message that turned the consent."""
    office.listen("STOP", "START")
    office.ask()
    owed = {one.heard.body: [each.outcome for each in one.reports] for one in office.world.inbound}
    assert owed["START"] == [Outcome.REPLY, Outcome.OPT_IN]


def test_a_start_that_was_written_before_the_stop_frees_nobody(office: Office) -> None:
    """It came late: webhooks are repeated, and overtake each other."""
    start = office.world.post("START")
    office.world.clock.advance(minutes=1)
    stop = office.world.post("STOP")
    assert office.world.hear(stop, start) == ["taken", "taken"]
    assert office.ask() == "out"
    assert office.consent.undated == ()
    assert office.ask() == "out"


def test_a_start_that_came_before_an_older_stop_frees(office: Office) -> None:
    """The STOP was held up on its way."""
    stop = office.world.post("STOP")
    office.world.clock.advance(minutes=1)
    start = office.world.post("START")
    office.world.hear(start)
    office.world.hear(stop)
    assert office.world.state() == "out"
    assert office.ask() == "in"


def test_within_one_second_the_stop_stands(office: Office) -> None:
    """Twilio's dates are whole seconds: which came first cannot be told."""
    office.world.hear(office.world.post("STOP"), office.world.post("START"))
    assert office.ask() == "out"


def test_an_old_start_that_is_replayed_frees_nobody(office: Office) -> None:
    """Whoever has recorded its webhook posts it after the STOP: its message is known."""
    start = office.world.post("START")
    office.world.hear(start)
    office.world.clock.advance(days=1)
    office.world.listen("STOP")
    office.world.clock.advance(days=1)
    assert office.world.hear(start) == ["duplicate"]
    assert office.ask() == "out"


def test_an_old_start_that_was_never_heard_frees_nobody(office: Office) -> None:
    """Its webhook was kept back by whoever posts it now; Twilio knows when it was written."""
    start = office.world.post("START")
    office.world.clock.advance(hours=2)
    office.world.listen("STOP")
    office.world.clock.advance(minutes=5)
    assert office.world.hear(start) == ["taken"]
    assert office.ask() == "out"


@pytest.mark.parametrize("bodies", [("STOP",), ("START",), ("STOP", "HELP"), ("Hello",)])
def test_where_no_date_decides_nothing_is_asked(office: Office, bodies: tuple[str, ...]) -> None:
    """Neither where there is only one side, nor where there is none."""
    office.listen(*bodies)
    assert office.dating.date_due(10) == 0
    assert office.sids == []


def test_a_probable_opt_out_is_overruled_by_a_later_start(office: Office) -> None:
    """Nobody need read it any more."""
    office.listen("please stop texting me", "START")
    assert office.world.state() == "review"
    assert office.ask() == "in"


def test_what_is_due_is_asked_for_once_and_then_put_off(office: Office) -> None:
    """Another process does not ask at the same time; where Twilio is away it is asked again later."""
    office.listen("STOP", "START")
    office.world.faults.burst(Fault.HTTP_503)
    assert [office.dating.date_due(10), office.dating.date_due(10)] == [1, 0]
    assert office.world.told(INBOUND_DATED) == ["failed", "failed"]
    assert set(office.world.told(INBOUND_DATED, "reason")) == {"twilio_http_503"}
    office.world.faults.end_burst()
    office.world.clock.advance(seconds=FIRST_QUESTION.total_seconds())
    assert [office.dating.date_due(10), office.dating.date_due(10)] == [1, 0]
    assert office.world.state() == "in"


def test_waits_between_questions_grow(office: Office) -> None:
    """From ten seconds to an hour."""
    office.listen("STOP", "START")
    office.world.faults.burst(Fault.UNREACHABLE)
    waits = []
    for _ in range(12):
        assert office.dating.date_due(10) == 1
        assert office.consent.ask_at is not None
        waits.append((office.consent.ask_at - office.world.clock.now).total_seconds())
        office.world.clock.now = office.consent.ask_at
    assert waits == [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600]
    assert office.world.state() == "out"


def test_a_date_that_is_known_is_kept_where_the_other_is_not(office: Office) -> None:
    """The next question is for the rest alone."""
    stop, start = office.listen("STOP", "START")
    office.world.faults.burst(Fault.HTTP_503, requests=1)
    assert office.dating.date_due(10) == 1
    first = office.sids.copy()
    known = [sid for sid, date in office.dates.items() if date is not None]
    assert known == first[1:]
    office.world.clock.advance(minutes=1)
    assert office.dating.date_due(10) == 1
    assert office.sids == [*first, first[0]]
    assert {stop, start} == set(first)
    assert office.world.state() == "in"


@pytest.mark.parametrize(("deleted", "state"), [("STOP", "in"), ("START", "out")])
def test_of_a_message_that_twilio_has_deleted_the_opt_out_stands_in_doubt(
    office: Office, deleted: str, state: str
) -> None:
    """A STOP is as late as it can be, a START as early; it is not asked for for ever."""
    heard_at = office.world.clock.now
    stop, start = office.listen("STOP", "START")
    account = office.world.twilio.authorize(
        office.world.tenant().account, "the-token-of-acme", office.world.tenant().account
    )
    office.world.twilio.delete(account, stop if deleted == "STOP" else start)
    assert office.ask() == state
    later = heard_at + timedelta(minutes=1)
    early = later if deleted == "STOP" else later - timedelta(hours=24)
    assert office.dates == {stop: heard_at, start: early}
    assert sorted(office.world.told(INBOUND_DATED)) == ["dated", "gone"]
    assert office.consent.undated == ()


def test_no_more_than_so_many_are_asked_for_longest_due_first(office: Office) -> None:
    """The rest has its turn in the next call."""
    people = [f"+1201555014{number}" for number in range(3)]
    for person in people:
        office.world.listen("STOP", sender=person)
        office.world.clock.advance(minutes=1)
        office.world.listen("START", sender=person)
    counts = [office.dating.date_due(2)]
    assert [office.world.state(person) for person in people] == ["in", "in", "out"]
    counts += [office.dating.date_due(2), office.dating.date_due(2)]
    assert counts == [2, 1, 0]
    assert {office.world.state(person) for person in people} == {"in"}


def test_no_question_is_waited_for_longer_than_for_the_time_that_is_left(office: Office) -> None:
    """A webhook is answered behind it."""
    office.listen("STOP", "START")
    office.ask(seconds=1.0)
    assert all(0 < timeout <= 1.0 for _, timeout in office.world.client.fetched)
    office.listen("STOP", "START")
    office.ask()
    assert max(timeout for _, timeout in office.world.client.fetched) == QUESTION_SECONDS


def test_without_any_time_nobody_is_asked(office: Office) -> None:
    """It is asked for later, as if nobody had tried."""
    office.listen("STOP", "START")
    assert office.ask(seconds=0.0) == "out"
    assert office.sids == []
    assert office.dating.date_due(10) == 1
    assert office.world.state() == "in"


def test_a_consent_whose_number_was_erased_is_left_alone(office: Office) -> None:
    """The wish holds; whose it is nobody knows any more."""
    office.listen("STOP", "START")
    nameless = Consent(tenant_id=ACME, against=office.consent.against, favour=office.consent.favour)
    office.dating.date_now([nameless], seconds=SECONDS)
    assert office.sids == []


def test_where_a_document_cannot_be_read_others_are_asked_for(office: Office) -> None:
    """One line tells of it; the consent is asked for again later."""
    world = office.world
    for tenant_id in (ACME, OTHER):
        world.listen("STOP", tenant_id=tenant_id)
        world.clock.advance(minutes=1)
        world.listen("START", tenant_id=tenant_id)
    world.papers.errors[ACME] = TenantUnavailable("The document is away.")
    tenants = world.fresh_tenants()
    dating = Dating(world.store, world.client, tenants, world.clock, world.log)
    assert dating.date_due(10) == 2
    assert (world.state(), world.state(tenant_id=OTHER)) == ("out", "in")
    assert world.told(INBOUND_DATED, "reason")[0] == "tenant_unavailable"


@pytest.mark.parametrize(("fault", "reads"), [(Fault.HTTP_401, 2), (Fault.HTTP_503, 1)])
def test_refused_credentials_have_the_tenant_read_again(
    office: Office, fault: Fault, reads: int
) -> None:
    """They may have been changed; the next question uses the new ones."""
    office.listen("STOP", "START")
    office.world.faults.burst(fault)
    assert office.ask() == "out"
    assert office.world.papers.reads == reads


def test_a_document_that_is_gone_by_then_is_no_more_than_a_failure(office: Office) -> None:
    """The consent is asked for again later."""
    office.listen("STOP", "START")
    del office.world.papers.documents[ACME]
    office.world.faults.burst(Fault.HTTP_401)
    assert office.ask() == "out"
    assert set(office.world.told(INBOUND_DATED)) == {"failed"}


def test_a_ledger_that_cannot_be_written_is_the_callers_to_know(office: Office) -> None:
    """The dates are asked for again."""
    office.listen("STOP", "START")
    office.world.store.away = {"attest_many"}
    with pytest.raises(LedgerUnavailable):
        office.dating.date_due(10)
    office.world.store.away = set()
    office.world.clock.advance(minutes=1)
    assert office.dating.date_due(10) == 1
    assert office.world.state() == "in"


def test_what_a_list_says_is_not_asked_for(office: Office) -> None:
    """It names no message: Twilio knows nothing of it."""
    now = office.world.clock.now
    listed = Evidence(sign=Sign.OUT, source=Source.IMPORT, heard_at=now)
    office.world.store.attest_many([(Subject(ACME, CUSTOMER), listed)], now=now)
    office.world.clock.advance(minutes=1)
    [start] = office.listen("START")
    assert office.ask() == "in"
    assert office.sids == [start]


def test_dates_of_a_group_of_senders_are_written_to_its_wish(office: Office) -> None:
    """Each wish is dated for itself."""
    office.world.papers.write(ACME, consent_groups={"offers": [office.world.ours]})
    office.listen("STOP", "START")
    assert office.world.state(group="offers") == "out"
    assert office.dating.date_due(10) == 1
    assert (office.world.state(group="offers"), office.world.state()) == ("in", None)


def test_lines_name_messages_and_nobody(office: Office) -> None:
    """Neither numbers nor texts."""
    office.listen("STOP", "START")
    office.ask()
    written = office.world.stream.getvalue()
    assert [one for one in ("2015550142", "STOP", "START") if one in written] == []
