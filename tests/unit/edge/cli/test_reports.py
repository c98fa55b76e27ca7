"""What CI360 would not hear: listed with its words, sent once more; and reports that are paused."""

from __future__ import annotations

import os
import pwd
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from ci360_twilio.core.report import Answer, Verdict
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.wiring import utc_now

if TYPE_CHECKING:
    from tests.unit.edge.cli.conftest import Connect, Gateway, Hear, Home, Run, Type

TENANT = TenantId("af5af6b8f500013eb0c90001")
ME = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def refused(run: Run, home: Home, gateway: Gateway, connect: Connect) -> None:
    """Two outcomes that CI360 refused, as their event is not published, and one that it took."""
    gateway.twin.publish(["twilio_sms_expired"])
    run("send", home.event("no recipient", guid="a"))
    run("send", home.event(guid="b", control_group=True))
    run("send", home.event(guid="c", age=90_000))
    with connect() as parts:
        assert parts.reporting.report_all(64) == 3


def report(connect: Connect) -> int:
    """Tell CI360 what is due; gives how much that was."""
    with connect() as parts:
        return parts.reporting.report_all(64)


# The list


def test_where_nothing_is_owed_or_refused_it_says_so(run: Run, home: Home, pipe: Type) -> None:
    """Exit code 0; without a ledger 1."""
    assert run("reports").code == 1
    run("send", home.event())
    done = run("reports")
    assert done.code == 0
    assert done.out == "0 messages and texts owe CI360 a report.\nCI360 has refused nothing.\n"
    assert run("reports", "--json").read() == []


def test_what_is_owed_is_counted(
    run: Run, home: Home, gateway: Gateway, hear: Hear, connect: Connect
) -> None:
    """With the moment since when it is due, as long as nobody has told it."""
    run("send", home.event("no recipient"))
    assert run("reports").out.startswith("1 message or text owes CI360 a report; ")
    hear("Hello")
    first, second = run("reports").out.splitlines()
    assert first.startswith(
        "2 messages and texts owe CI360 a report; the next has been due since 2"
    )
    assert first.endswith(" UTC.")
    assert second == "CI360 has refused nothing."
    assert report(connect) == 2
    assert run("reports").out.startswith("0 messages and texts owe CI360 a report.\n")


def test_what_ci360_refused_is_listed_with_its_words(run: Run, refused: None) -> None:
    """And what to do; exit code 1, as there is something to do."""
    done = run("reports")
    assert done.code == 1
    owed, head, _, *rows, blank, advice = done.out.splitlines()
    assert owed == "0 messages and texts owe CI360 a report."
    assert head.split()[:4] == ["CAME", "ABOUT", "(UTC)", "TENANT"]
    assert [row.split()[2:5] for row in rows] == [
        [TENANT, "refused", "a"],
        [TENANT, "suppressed", "b"],
    ]
    assert rows[0].endswith("there is no published external event twilio_sms_refused")
    assert (blank, advice) == ("", "When the reason is gone: ci360-twilio reports --retry")


def test_the_list_can_be_narrowed_and_read_by_scripts(run: Run, refused: None) -> None:
    """By tenant and number; it holds the key under which CI360 counts."""
    rows = run("reports", "--json").read()
    assert [(row["tenant"], row["of"], row["outcome"]) for row in rows] == [
        (TENANT, "a", "refused"),
        (TENANT, "b", "suppressed"),
    ]
    assert set(rows[0]) == {
        *("tenant", "of", "outcome", "key", "state", "at", "due_at", "told_at", "attempts", "said")
    }
    assert (rows[0]["state"], rows[0]["attempts"], len(rows[0]["key"])) == ("aside", 1, 32)
    assert len(run("reports", "--json", "--limit", "1").read()) == 1
    assert len(run("reports", "--json", "--limit", "-3").read()) == 1
    assert run("reports", "--json", "--tenant", "second").read() == []
    assert run("reports", "--tenant", "../x").code == 2


def test_a_text_of_somebody_unknown_is_named_by_its_sid(
    run: Run, gateway: Gateway, hear: Hear, connect: Connect
) -> None:
    """Why CI360 was not told is said in words of ours."""
    sid = hear("Hello")
    report(connect)
    done = run("reports")
    assert f"reply    {sid}  Nobody knows who wrote" in done.out
    assert "2015550142" not in done.out
    [row] = run("reports", "--json").read()
    assert (row["of"], row["said"]) == (sid, "unmatched")


def test_an_event_of_nobody_known_is_told_in_words(
    run: Run, home: Home, gateway: Gateway, connect: Connect
) -> None:
    """In the list and in the event's story."""
    run("send", home.event("no recipient", guid="g", datahub_id=""))
    report(connect)
    words = "The event named no customer that CI360 could be told of."
    assert words in run("reports").out
    assert words in run("trace", "g").out


@pytest.mark.parametrize("words", ["no \x1b[31m\x9b31m\nlicence\u202e\u2028", "\x1b]0;x\x07"])
def test_ci360s_words_cannot_steer_the_terminal(
    run: Run, home: Home, gateway: Gateway, connect: Connect, words: str
) -> None:
    """Nor can a guid; in the list, as JSON, in the event's story and in what ``check`` finds."""
    run("send", home.event("no recipient", guid="\x1b[2Jg", task_code="\x1b[2J"))
    with connect() as parts:
        now = utc_now()
        [owed] = parts.store.take_reports(TENANT, now=now, until=now + timedelta(1), limit=9)
        answer = Answer(Verdict.ASIDE, now, words=words)
        parts.store.answer_reports([(owed.of.key, owed.reports[0].key, answer)])
    assert "[2Jg" in run("reports").out
    assert run("reports", "--json").read()[0]["said"] == words
    assert "aside" in run("trace", "\x1b[2Jg").out
    assert run("trace", "\x1b[2Jg", "--json").read()["reports"][0]["said"] == words
    assert "FIX  reports of refused" in run("check", "--offline").out


# --retry


def test_what_was_refused_is_sent_once_more(
    run: Run, refused: None, gateway: Gateway, connect: Connect
) -> None:
    """When the event is published; what was taken is not sent twice."""
    gateway.twin.publish(None)
    done = run("reports", "--retry", "--yes", "--reason", "published now")
    assert done.code == 0
    assert done.out.splitlines() == [
        "2 reports can be sent once more.",
        "2 reports will be sent once more.",
    ]
    assert "published now" not in done.err
    [note] = run("audit", "--json").read()
    assert (note["by"], note["action"], note["entries"]) == (ME, "report again", 2)
    assert note["detail"] == "published now"
    assert run("reports").out.startswith("2 messages and texts owe CI360 a report")
    assert report(connect) == 2
    names = [event.name for event in gateway.twin.events]
    assert names == ["twilio_sms_expired", "twilio_sms_refused", "twilio_sms_suppressed"]
    assert run("reports").code == 0


def test_only_one_tenants_may_be_sent_once_more(run: Run, refused: None) -> None:
    """Another's are left; where there are none it ends with 1."""
    done = run("reports", "--retry", "--yes", "--tenant", "second")
    assert (done.code, done.out) == (1, "0 reports can be sent once more.\n")
    assert run("reports", "--retry", "--yes", "--tenant", TENANT).code == 0
    assert run("reports", "--retry", "--yes").code == 1


def test_a_dry_run_only_counts(run: Run, refused: None) -> None:
    """Nobody is asked."""
    done = run("reports", "--retry", "--dry-run")
    assert (done.code, done.out) == (0, "2 reports can be sent once more.\n")
    assert run("audit", "--json").read() == []
    assert run("reports").code == 1


@pytest.mark.parametrize("typed", ["n\n", "\n", "", "now\n"], ids=repr)
def test_whoever_does_not_say_yes_sends_nothing(
    run: Run, refused: None, terminal: Type, typed: str
) -> None:
    """Exit code 1."""
    terminal(typed)
    done = run("reports", "--retry")
    assert done.code == 1
    assert "Send them? [y/N] " in done.out
    assert done.out.endswith("Nothing was changed.\n")
    assert len(run("reports", "--json").read()) == 2


def test_where_nobody_can_be_asked_yes_is_needed(
    run: Run, refused: None, pipe: Type, terminal: Type
) -> None:
    """Exit code 2; who says yes at a terminal gets it done."""
    pipe("y\n")
    assert run("reports", "--retry").code == 2
    assert len(run("reports", "--json").read()) == 2
    terminal("y\n")
    assert run("reports", "--retry").code == 0
    assert run("reports", "--json").read() == []


# pause reports, resume reports


def test_reports_can_be_paused_while_messages_go_on(
    run: Run, home: Home, gateway: Gateway, connect: Connect
) -> None:
    """Nothing is lost: CI360 hears all of it once they are resumed."""
    run("send", home.event("no recipient", guid="a"))
    done = run("pause", "reports")
    assert done.code == 0
    assert done.out.splitlines() == [
        "Paused: reports. CI360 is told nothing more, and hears all of it later; messages are sent as ever.",
        "To send again: ci360-twilio resume reports",
    ]
    assert run("send", home.event(guid="b")).out == "sent\n"
    assert report(connect) == 0
    assert "Reports wait: Somebody has paused it." in run("reports").out
    assert "CI360 is told nothing at present: Somebody has paused it." in run("trace", "a").out
    assert "CI360 is told nothing" not in run("trace", "b").out
    assert run("pause", "reports").out.startswith("Reports are paused already, since 2")
    done = run("resume", "reports", "--yes")
    assert done.out.startswith("Reports are paused since 2")
    assert done.out.splitlines()[-1] == "Resumed: reports."
    assert report(connect) == 1


def test_one_tenants_reports_can_be_paused(
    run: Run, home: Home, gateway: Gateway, connect: Connect
) -> None:
    """Another's go on; the list says how it is lifted."""
    run("send", home.event("no recipient"))
    assert run("pause", "reports", "--tenant", "second").code == 0
    listed = run("pause")
    assert listed.out.splitlines()[2].startswith("reports of tenant second ")
    assert "  ci360-twilio resume reports --tenant second" in listed.out
    [shown] = run("pause", "--json").read()
    assert (shown["scope"], shown["tenant"], shown["cause"]) == ("reports", "second", "person")
    assert report(connect) == 1
    assert run("pause", "reports", "--tenant", TENANT, "--dry-run").out == ""
    assert "reports of tenant second is paused already" not in run("pause", "reports").out
    assert run("resume", "reports", "--tenant", TENANT, "--yes").code == 1
    assert run("resume", "reports", "--tenant", "second", "--yes").code == 0
    assert run("resume", "reports", "--yes").code == 0
    assert run("pause").out == "Nothing is paused.\n"


def test_a_pause_after_a_wrong_token_is_told_and_can_be_lifted(
    run: Run, home: Home, gateway: Gateway, connect: Connect
) -> None:
    """With CI360's answer, in every place where somebody may look."""
    run("send", home.event("no recipient", guid="a"))
    gateway.twin.change_secret(TENANT, "another")
    assert report(connect) == 1
    assert f"Reports of tenant {TENANT} wait: CI360 answered 401." in run("reports").out
    assert "CI360 is told nothing at present: CI360 answered 401." in run("trace", "a").out
    done = run("check", "--offline")
    assert f"FIX  pause of reports of tenant {TENANT}: since 2" in done.out
    assert "messages are sent all the same. CI360 answered 401." in done.out
    assert "Put right what CI360 objects to; it is lifted by itself then." in done.out
    assert run("resume", "reports", "--tenant", TENANT, "--yes").code == 0


@pytest.mark.parametrize("command", [("pause",), ("resume", "--yes")], ids=" ".join)
def test_reports_are_paused_whole(run: Run, home: Home, command: tuple[str, ...]) -> None:
    """Not those of a task, say; exit code 2."""
    run("send", home.event())
    assert run(*command, "reports", "TSK_101").code == 2
    assert run(*command, "reports", "--tenant", "../x").code == 2
    assert run("pause").out == "Nothing is paused.\n"
