"""``check``: what waits in the ledger for a person, and what CI360 has not heard."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from ci360_twilio.core.report import Answer, Verdict
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.cli.asking import who
from ci360_twilio.edge.cli.check_ledger import LATE, MOST_SHOWN
from ci360_twilio.ports import Stray
from ci360_twilio.wiring import utc_now

if TYPE_CHECKING:
    from tests.unit.edge.cli.conftest import Connect, Gateway, Hear, Home, Run

TENANT = TenantId("af5af6b8f500013eb0c90001")
OTHER = "+12015550143"


def found(run: Run, word: str) -> list[str]:
    """Give what is found of one subject; no number is in it."""
    done = run("check", "--offline")
    assert "201555014" not in done.out
    return [line for line in done.out.splitlines() if line[5:].startswith(word)]


def put_off(connect: Connect, age: timedelta) -> None:
    """Have all reports be due since then."""
    with connect() as parts:
        now = utc_now()
        taken = parts.store.take_reports(TENANT, now=now, until=now + timedelta(1), limit=99)
        again = Answer(Verdict.AGAIN, now, due_at=now - age)
        parts.store.answer_reports([(one.of.key, one.reports[0].key, again) for one in taken])


def test_what_ci360_refused_is_counted_with_its_words(
    run: Run, home: Home, gateway: Gateway, connect: Connect
) -> None:
    """By outcome and tenant, with what to do."""
    gateway.twin.publish([])
    for guid in ("a", "b"):
        run("send", home.event("no recipient", guid=guid))
    run("send", home.event(control_group=True))
    with connect() as parts:
        assert parts.reporting.report_all(64) == 3
    done = run("check", "--offline")
    assert done.code == 1
    said = "there is no published external event twilio_sms_"
    assert (
        f"FIX  reports of refused of tenant {TENANT}: CI360 was not told of 2: {said}refused"
        in done.out
    )
    assert (
        f"FIX  reports of suppressed of tenant {TENANT}: CI360 was not told of 1: {said}suppressed"
        in done.out
    )
    assert (
        done.out.count(
            "Publish the event, or correct the document; then: ci360-twilio reports --retry"
        )
        == 2
    )
    run("reports", "--retry", "--yes")
    assert found(run, "reports of") == []


def test_only_the_most_frequent_refusals_are_shown(
    run: Run, home: Home, gateway: Gateway, connect: Connect
) -> None:
    """A list of thousands would hide the rest."""
    for number in range(MOST_SHOWN + 2):
        run("send", home.event("no recipient", guid=f"g{number}"))
    with connect() as parts:
        now = utc_now()
        taken = parts.store.take_reports(TENANT, now=now, until=now + timedelta(1), limit=99)
        parts.store.answer_reports(
            [
                (
                    one.of.key,
                    one.reports[0].key,
                    Answer(Verdict.ASIDE, now, words=f"no {max(n, 1)}"),
                )
                for n, one in enumerate(taken)
            ]
        )
    lines = found(run, "reports of")
    assert len(lines) == MOST_SHOWN
    assert lines[0].endswith("CI360 was not told of 2: no 1")


@pytest.mark.parametrize("late", [True, False])
def test_reports_that_nobody_sends_are_told(
    run: Run, home: Home, gateway: Gateway, connect: Connect, late: bool
) -> None:
    """Once they are due for longer than any wait between two attempts."""
    for guid in ("a", "b"):
        run("send", home.event("no recipient", guid=guid))
    put_off(connect, LATE * (2 if late else 0.5))
    lines = found(run, "reports")
    assert len(lines) == (1 if late else 0)
    if late:
        assert lines[0].startswith("FIX  reports: 2 outcomes are owed, the first since 2")
        assert "Is a worker running, and can it reach CI360?" in run("check", "--offline").out


def test_texts_that_wait_for_a_reader_are_told(run: Run, home: Home, hear: Hear) -> None:
    """With the command to read them by."""
    hear("please stop texting me")
    hear("please stop texting me", sender=OTHER)
    assert found(run, "consents") == [
        "FIX  consents: 2 recipients are blocked until a person reads what they wrote"
    ]
    assert "Read it: ci360-twilio consent review" in run("check", "--offline").out


def test_receipts_of_strangers_are_told_and_are_no_fault(
    run: Run, home: Home, connect: Connect
) -> None:
    """Another program may have our address, or they are of somebody who was erased."""
    now = utc_now()
    with connect() as parts:
        stray = Stray(
            tenant_id=TENANT, sid=f"SM{'1' * 32}", status="sent", first_at=now, last_at=now
        )
        parts.store.keep_strays([stray])
    done = run("check", "--offline")
    assert done.code == 0
    [line] = found(run, "receipts")
    assert line.startswith("ok   receipts: 1 messages that are not known here sent receipts")


def test_reports_that_a_person_paused_are_told(run: Run, home: Home) -> None:
    """By whom, that messages are sent all the same, and what lifts it."""
    run("send", home.event())
    run("pause", "reports", "--tenant", TENANT)
    run("pause", "reports")
    done = run("check", "--offline")
    assert done.code == 1
    assert f"FIX  pause of reports of tenant {TENANT}: since 2" in done.out
    assert (
        done.out.count(f"UTC by {who()}; messages are sent all the same. Somebody has paused it.")
        == 2
    )
    assert f"     To send again: ci360-twilio resume reports --tenant {TENANT}\n" in done.out
    assert "     To send again: ci360-twilio resume reports\n" in done.out


def test_a_ledger_that_holds_nothing_to_do_is_well(run: Run, home: Home, hear: Hear) -> None:
    """Sent messages, replies and opt-outs are no work for anybody."""
    run("send", home.event())
    hear("Stop")
    hear("Hello", sender=OTHER)
    done = run("check", "--offline")
    assert done.code == 0
    assert done.out.endswith("\nAll is well.\n")
    assert "unfinished: none" in done.out


def test_what_is_unfinished_is_counted(run: Run, home: Home) -> None:
    """By its status."""
    run("send", "--wait", "0", home.event())
    [line] = found(run, "ledger")
    assert line.endswith("can be written; unfinished: 1 accepted")
