"""Outcomes that are owed: how CI360 is told of them, again where it must be, and what is set aside."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ci360_twilio.core.entry import Status, key_of
from ci360_twilio.core.report import Outcome, Report
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import Ci360Failed, LedgerUnavailable, Trouble
from ci360_twilio.flow.patience import TELL_SECONDS
from ci360_twilio.flow.report import PUT_OFF
from ci360_twilio.logs import OUTCOME_REPORTED
from ci360_twilio.twin.faults import Fault

if TYPE_CHECKING:
    from tests.unit.flow.conftest import World

ACME, OTHER = TenantId("acme"), TenantId("other")
CUSTOMER, OURS = "+12015550142", "+12015550199"
PICTURE = "https://api.twilio.com/2010-04-01/Accounts/AC1/Messages/MM1/Media/ME1"
KNOWN = ["twilio_sms_delivered", "twilio_sms_reply"]


def owed(world: World, guid: str = "g1", tenant_id: TenantId = ACME) -> Report:
    """Give the only report of an entry."""
    [report] = world.reports(key_of(tenant_id, guid))
    return report


def states(world: World, *guids: str) -> list[str]:
    """Give where entries' reports stand."""
    return [owed(world, guid).state for guid in guids]


def away(**more: Any) -> Ci360Failed:
    """Make the error of a gateway that is not there."""
    return Ci360Failed("Away.", **{"trouble": Trouble.AWAY, "reason": "read_timeout"} | more)


# What CI360 is told


def test_an_outcome_becomes_an_event_and_is_acknowledged(world: World) -> None:
    """It is told once, and then nothing is owed any more."""
    key = world.send(owes=Outcome.DELIVERED, sid=f"SM{'1a' * 16}", status=Status.DELIVERED)
    came = world.clock.now
    world.clock.advance(seconds=3)
    assert [world.reporting.report_all(10), world.reporting.report_all(10)] == [1, 0]
    [event] = world.ci360.events
    assert (event.tenant_id, event.name, event.identity) == (
        ACME,
        "twilio_sms_delivered",
        ("datahub_id", "dh-1"),
    )
    assert event.attributes == {
        "responseTrackingCode": "rtc-1",
        "externalCode": "TSK_1",
        "twilio_report_key": owed(world).key,
        "twilio_at": f"{came:%Y-%m-%dT%H:%M:%SZ}",
        "twilio_message_sid": f"SM{'1a' * 16}",
        "twilio_guid": "g1",
    }
    [report] = world.reports(key)
    assert (report.state, report.told_at, report.attempts) == ("told", world.clock.now, 1)
    assert world.gateway.asked == [(1, TELL_SECONDS)]


def test_a_reply_is_told_as_its_customers(world: World) -> None:
    """With its text, pictures and button, under the identity that CI360 sent the message to."""
    world.send()
    world.listen("Yes, please", media=(PICTURE,), button_text="Yes", button_payload="yes-1")
    world.reporting.report_all(10)
    [event] = world.ci360.events
    assert (event.name, event.identity) == ("twilio_sms_reply", ("datahub_id", "dh-1"))
    told = {name: event.attributes[name] for name in event.attributes if name.startswith("twilio")}
    assert told == {
        "twilio_report_key": told["twilio_report_key"],
        "twilio_at": "2026-03-02T09:30:00Z",
        "twilio_message_sid": world.letter.heard.sid,
        "twilio_sender": OURS,
        "twilio_text": "Yes, please",
        "twilio_media": PICTURE,
        "twilio_media_count": "1",
        "twilio_button_text": "Yes",
        "twilio_button_payload": "yes-1",
    }
    assert event.attributes["responseTrackingCode"] == "rtc-1"


@pytest.mark.parametrize(
    ("form", "number"), [(None, CUSTOMER), ("e164", CUSTOMER), ("digits", CUSTOMER[1:])]
)
def test_a_reply_of_nobody_known_is_told_under_its_number(
    world: World, form: str | None, number: str
) -> None:
    """Where the tenant has named an identity for these; on whatever channel it came."""
    world.papers.write(ACME, ci360_reply_identity_key="login_id", ci360_reply_identity_format=form)
    world.listen("Hello", sender=f"whatsapp:{CUSTOMER}", to=f"whatsapp:{OURS}")
    world.reporting.report_all(10)
    [event] = world.ci360.events
    assert event.identity == ("login_id", number)


def test_a_reply_of_nobody_known_is_else_set_aside(world: World) -> None:
    """With the wish in it; the wish holds. Others are told."""
    world.listen("STOP")
    world.send(owes=Outcome.DELIVERED)
    assert world.reporting.report_all(10) == 3
    assert [one.name for one in world.ci360.events] == ["twilio_sms_delivered"]
    assert {(one.outcome, one.aside) for one in world.letter.reports} == {
        (Outcome.REPLY, "unmatched"),
        (Outcome.OPT_OUT, "unmatched"),
    }
    assert world.state() == "out"


def test_what_nobody_would_be_credited_with_is_set_aside(world: World) -> None:
    """CI360 is asked nothing for it."""
    world.send(owes=Outcome.DELIVERED, datahub_id=None)
    world.reporting.report_all(10)
    assert (owed(world).state, owed(world).aside) == ("aside", "no_identity")
    assert world.gateway.asked == []


@pytest.mark.parametrize(
    "changes",
    [{"ci360_events": {"delivered": None}}, {"ci360_api_url": None}],
    ids=["not this outcome", "no CI360"],
)
def test_what_the_tenant_does_not_want_any_more_is_dropped(
    world: World, changes: dict[str, Any]
) -> None:
    """It was owed while the tenant did."""
    world.papers.write(ACME, **changes)
    world.send(owes=Outcome.DELIVERED)
    world.reporting.report_all(10)
    assert (owed(world).state, world.gateway.asked) == ("dropped", [])


def test_every_report_of_a_document_is_told_under_a_key_of_its_own(world: World) -> None:
    """A STOP is a reply, and an opt-out."""
    world.send()
    world.listen("STOP")
    world.reporting.report_all(10)
    keys = {one.name: one.attributes["twilio_report_key"] for one in world.ci360.events}
    assert keys == {f"twilio_sms_{one.outcome}": one.key for one in world.letter.reports}
    assert len(set(keys.values())) == 2


def test_events_have_the_names_and_the_key_that_the_tenant_gave(world: World) -> None:
    """Each tenant its own, in its own CI360."""
    world.papers.write(
        ACME,
        ci360_events={"delivered": "sms arrived"},
        ci360_rtc_key="rtc",
        ci360_identity_key="customer_id",
    )
    for tenant_id in (ACME, OTHER):
        world.send(owes=Outcome.DELIVERED, tenant_id=tenant_id)
    world.reporting.report_all(10)
    found = {one.tenant_id: (one.name, "rtc" in one.attributes) for one in world.ci360.events}
    assert found == {ACME: ("sms arrived", True), OTHER: ("twilio_sms_delivered", False)}


# What CI360 refuses


def test_what_ci360_refuses_is_set_aside_with_its_words_and_the_others_go_on(
    world: World,
) -> None:
    """Such as an event that nobody has published."""
    world.ci360.publish(KNOWN)
    world.send("g1", owes=Outcome.FAILED)
    world.send("g2", owes=Outcome.DELIVERED)
    world.reporting.report_all(10)
    assert states(world, "g1", "g2") == ["aside", "told"]
    assert owed(world).aside == "there is no published external event twilio_sms_failed"
    assert world.store.pauses() == []
    world.clock.advance(days=1)
    assert world.reporting.report_all(10) == 0


def test_what_was_set_aside_is_told_when_a_person_has_it_owed_again(world: World) -> None:
    """Under its old key, as of its old time."""
    world.ci360.publish(KNOWN)
    world.send(owes=Outcome.FAILED)
    world.reporting.report_all(10)
    before = owed(world)
    world.ci360.publish(None)
    world.clock.advance(days=1)
    assert world.store.owe_again(None, now=world.clock.now) == 1
    world.reporting.report_all(10)
    [event] = world.ci360.events
    assert event.attributes["twilio_report_key"] == before.key
    assert event.attributes["twilio_at"] == f"{before.at:%Y-%m-%dT%H:%M:%SZ}"


def test_a_refusal_without_words_is_set_aside_with_a_code(world: World) -> None:
    """It says at least what the status was."""
    refused = away(trouble=Trouble.REFUSED, reason="ci360_http_400")
    world.gateway.ends = [refused]
    world.send(owes=Outcome.DELIVERED)
    world.reporting.report_all(10)
    assert owed(world).aside == "ci360_http_400"


# Again


WAITS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]


def test_a_report_is_told_again_with_growing_waits_under_the_same_key(world: World) -> None:
    """Until CI360 has it; each attempt is counted."""
    world.send(owes=Outcome.DELIVERED)
    key = owed(world).key
    world.gateway.ends = [away() for _ in WAITS]
    waits = []
    for attempt in range(1, len(WAITS) + 1):
        assert world.reporting.report_all(10) == 1
        report = owed(world)
        assert report.due_at is not None
        assert (report.state, report.attempts, report.key) == ("owed", attempt, key)
        waits.append((report.due_at - world.clock.now).total_seconds())
        world.clock.now = report.due_at - timedelta(seconds=0.5)
        assert world.reporting.report_all(10) == 0
        world.clock.now = report.due_at
    assert waits == WAITS
    assert world.reporting.report_all(10) == 1
    assert (owed(world).state, len(world.ci360.events)) == ("told", 1)


TROUBLES: dict[Fault, tuple[int, str]] = {
    Fault.HTTP_500: (0, "ci360_http_500"),
    Fault.HTTP_503: (0, "ci360_http_503"),
    Fault.HTTP_503_MADE: (1, "ci360_http_503"),
    Fault.RESET: (1, "connection_lost"),
    Fault.HANG: (1, "read_timeout"),
    Fault.UNREACHABLE: (0, "connect_refused"),
}


@pytest.mark.parametrize(("fault", "expected"), TROUBLES.items(), ids=TROUBLES)
def test_where_an_acknowledgement_did_not_come_ci360_may_hear_of_it_twice(
    world: World, fault: Fault, expected: tuple[int, str]
) -> None:
    """Under one key, so that whoever counts can count it once."""
    taken, reason = expected
    world.send(owes=Outcome.DELIVERED)
    world.ci360_faults.burst(fault, requests=1)
    world.reporting.report_all(10)
    assert (owed(world).state, len(world.ci360.events)) == ("owed", taken)
    assert world.told(OUTCOME_REPORTED, "reason") == [reason]
    world.clock.advance(seconds=1)
    world.reporting.report_all(10)
    keys = [one.attributes["twilio_report_key"] for one in world.ci360.events]
    assert keys == [owed(world).key] * (taken + 1)
    assert owed(world).state == "told"


def test_others_are_told_while_one_waits(world: World) -> None:
    """Nothing is in the way of anything."""
    world.gateway.ends = [away()]
    for guid in ("g1", "g2", "g3"):
        world.send(guid, owes=Outcome.DELIVERED)
        world.clock.advance(milliseconds=1)
    assert world.reporting.report_all(10) == 3
    assert states(world, "g1", "g2", "g3") == ["owed", "told", "told"]


def test_a_report_is_never_lost_for_a_mistake_of_ours(world: World) -> None:
    """What nobody has foreseen is told of, and the report is sent again later."""
    world.gateway.ends = [ZeroDivisionError("with +12015550142 in it")]
    world.send(owes=Outcome.DELIVERED)
    world.reporting.report_all(10)
    assert owed(world).state == "owed"
    [line] = [line for line in world.lines if line["event"] == "report.unexpected"]
    assert (line["level"], line["error"], line["tenant"]) == ("error", "ZeroDivisionError", ACME)
    world.clock.advance(seconds=1)
    world.reporting.report_all(10)
    assert owed(world).state == "told"


# Who takes, and who writes


def test_what_was_taken_is_nobody_elses_for_a_while(world: World) -> None:
    """A process that dies with it leaves it to the next, which tells it under the same key."""
    world.send(owes=Outcome.DELIVERED)
    [task] = world.reporting.take(10)
    world.reporting.tell(task)
    other = world.fresh_reporting()
    world.clock.advance(seconds=PUT_OFF.total_seconds() - 1)
    assert (world.reporting.take(10), other.take(10)) == ([], [])
    world.clock.advance(seconds=1)
    assert other.report_all(10) == 1
    keys = [one.attributes["twilio_report_key"] for one in world.ci360.events]
    assert (keys, owed(world).attempts) == ([owed(world).key] * 2, 2)


def test_recording_may_be_done_again_where_the_ledger_was_away(world: World) -> None:
    """And twice, as where its answer was lost."""
    world.send(owes=Outcome.DELIVERED)
    done = [world.reporting.tell(task) for task in world.reporting.take(10)]
    world.store.away = {"answer_reports"}
    with pytest.raises(LedgerUnavailable):
        world.reporting.record(done)
    world.store.away = set()
    world.reporting.record(done)
    before = owed(world)
    world.clock.advance(seconds=9)
    world.reporting.record(done)
    assert owed(world) == before
    assert before.state == "told"


def test_what_comes_back_together_is_one_commit(world: World) -> None:
    """However many tasks it was."""
    for guid in ("g1", "g2", "g3"):
        world.send(guid, owes=Outcome.DELIVERED)
    world.reporting.report_all(10)
    assert world.store.commits == ["answer_reports"]


@pytest.mark.parametrize("limit", [0, -1])
def test_without_a_free_request_nothing_is_taken(world: World, limit: int) -> None:
    """It stays due."""
    world.send(owes=Outcome.DELIVERED)
    assert world.reporting.take(limit) == []
    assert len(world.reporting.take(1)) == 1


def test_an_answer_to_what_was_deleted_meanwhile_changes_nothing(world: World) -> None:
    """The entry was purged while CI360 was told."""
    world.send(owes=Outcome.DELIVERED)
    tasks = world.reporting.take(10)
    world.clock.advance(days=91)
    assert world.store.purge(now=world.clock.now, limit=10) == 1
    world.reporting.record([world.reporting.tell(task) for task in tasks])
    assert world.reports(key_of(ACME, "g1")) == []


def test_lines_tell_ids_and_decisions_and_nothing_of_the_content(world: World) -> None:
    """Neither numbers, texts, identities nor CI360's words."""
    world.ci360.publish(KNOWN)
    world.send("5d0c5a0e-6f43-4a53-9b3c-8f2f4f6c1a77", owes=Outcome.FAILED, datahub_id="dh-secret")
    world.listen("Call me back")
    world.reporting.report_all(10)
    lines = [line for line in world.lines if line["event"] == OUTCOME_REPORTED]
    assert {(one["outcome"], one["decision"], one["attempt"]) for one in lines} == {
        ("failed", "aside", 1),
        ("reply", "told", 1),
    }
    guids = {line.get("guid") for line in lines}
    assert guids == {"5d0c5a0e-6f43-4a53-9b3c-8f2f4f6c1a77", None}
    secrets = (CUSTOMER[1:], OURS[1:], "Call me back", "dh-secret", "no published")
    assert [one for one in secrets if one in world.stream.getvalue()] == []
