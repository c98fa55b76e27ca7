"""The commands by which people change the ledger: what they say, ask, do and write down."""

from __future__ import annotations

import io
import os
import pwd
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.settings import read_settings
from ci360_twilio.stores.sqlite import SqliteStore
from ci360_twilio.wiring import hash_key_of

if TYPE_CHECKING:
    from tests.conftest import Twilio
    from tests.unit.edge.cli.conftest import Home, Run

TENANT = TenantId("af5af6b8f500013eb0c90001")
TO, OTHER = "+12015550142", "+12015550143"
BRITISH = "TO:+447400123456;\nHello Anna"
ME = pwd.getpwuid(os.getuid()).pw_name
SID = f"SM{'1' * 32}"


class Terminal(io.StringIO):
    """Somebody who answers."""

    def isatty(self) -> bool:
        """Be a terminal."""
        return True


Answer = Callable[[str], None]


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Give a function that lets somebody sit at a terminal and type something."""

    def sit(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", Terminal(text))

    return sit


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody sit at a terminal unless a test says so."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))


def wait(run: Run, home: Home, *guids: str, **event: Any) -> None:
    """Write events that are accepted and not sent."""
    for guid in guids:
        done = run("send", "--wait", "0", home.event(guid=guid, **event))
        assert done.out.startswith("accepted")


def status(run: Run, guid: str) -> str:
    """Give where an event stands."""
    return str(run("trace", guid, "--json").read()["status"])


# pause and resume


def test_what_is_paused_is_not_sent_until_it_is_resumed(
    run: Run, home: Home, twilio: Twilio
) -> None:
    """Nobody is asked before a pause; it says what it covers and how it is lifted."""
    wait(run, home, "a", task_code="TSK_101")
    done = run("pause", "task", "TSK_101")
    assert done.code == 0
    assert done.out.splitlines() == [
        "Paused: task TSK_101. Nothing starts any more that it covers.",
        "To send again: ci360-twilio resume task TSK_101",
        "Covered: 1 message waiting to be sent, 0 just being sent.",
    ]
    assert run("send", home.event(guid="b", task_code="TSK_101")).out == "accepted: paused\n"
    assert run("send", home.event(guid="c", task_code="TSK_102")).out == "sent\n"
    assert twilio.made_for(TO) == 1
    done = run("resume", "task", "TSK_101", "--yes")
    assert done.code == 0
    assert "Behind it: 1 message, 1 can still be sent, 0 have expired." in done.out
    assert done.out.rstrip().endswith("Resumed: task TSK_101.")
    assert run("send", home.event(guid="d", task_code="TSK_101")).out == "sent\n"


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("all",), "everything"),
        (("tenant", TENANT), f"tenant {TENANT}"),
        (("task", "TSK_101"), "task TSK_101"),
        (("task", "TSK_101", "--tenant", TENANT), f"task TSK_101 of tenant {TENANT}"),
        (("task", "two words"), "task two words"),
        (("sender", "+1 (201) 555-0199"), "sender +12015550199"),
        (("sender", "Acme"), "sender Acme"),
        (("country", "gb"), "country GB"),
    ],
    ids=" ".join,
)
def test_anything_can_be_paused_listed_and_resumed(
    run: Run, home: Home, arguments: tuple[str, ...], shown: str
) -> None:
    """The list says who did it, and the words that lift it."""
    run("send", home.event(guid="a"))
    assert f"Paused: {shown}." in run("pause", *arguments).out
    listed = run("pause")
    assert listed.code == 0
    head, _, row, _, _, lift = listed.out.splitlines()
    assert head.split() == ["PAUSED", "CAUSE", "SINCE", "(UTC)", "BY", "WAITING"]
    assert row.startswith(f"{shown} ")
    assert row.split()[-2:] == [ME, "0"]
    assert "person" in row
    assert lift.startswith("  ci360-twilio resume ")
    assert run("resume", *arguments, "--yes").code == 0
    assert run("pause").out == "Nothing is paused.\n"
    assert run("pause", "--json").read() == []


def test_the_list_of_pauses_can_be_read_by_scripts(run: Run, home: Home) -> None:
    """With whatever else keeps messages back."""
    wait(run, home, "a")
    with closing(
        SqliteStore(home.ledger, hash_key=hash_key_of(read_settings(), home.ledger))
    ) as store:
        since = datetime.now(UTC)
        cause, reason = Cause.CONFIG, "twilio_20003"
        store.pause(
            Pause(scope=Scope.TENANT, tenant_id=TENANT, cause=cause, reason=reason, since=since)
        )
    (pause,) = run("pause", "--json").read()
    assert set(pause) == {
        "scope", "tenant", "value", "cause", "reason", "since", "by", "probe_at", "waiting",
    }  # fmt: skip
    assert (pause["cause"], pause["reason"], pause["by"]) == ("config", "twilio_20003", None)
    assert "twilio_20003" in run("pause").out
    done = run("resume", "tenant", TENANT, "--dry-run")
    assert "did not accept the credentials" in done.out


def test_an_equal_pause_changes_nothing_and_says_so(run: Run, home: Home) -> None:
    """Exit code 0: it is as somebody wants it."""
    run("send", home.event(guid="a"))
    run("pause", "all")
    done = run("pause", "all")
    assert done.code == 0
    assert done.out.startswith("Everything is paused already, since ")
    assert f"by {ME}" in done.out
    assert len(run("audit", "--json").read()) == 1


def test_a_pause_that_covers_nothing_may_be_a_slip(run: Run, home: Home) -> None:
    """It stands all the same: the campaign may be yet to come."""
    wait(run, home, "a", task_code="TSK_101")
    done = run("pause", "task", "TSK_1O1")
    assert "Covered: 0 messages" in done.out
    assert "check how it is written" in done.out
    assert len(run("pause", "--json").read()) == 1


def test_a_dry_run_of_a_pause_only_counts(run: Run, home: Home) -> None:
    """As does one of a resume."""
    wait(run, home, "a", "b")
    assert run("pause", "country", "US", "--dry-run").out == (
        "Covered: 2 messages waiting to be sent, 0 just being sent.\n"
    )
    assert run("pause").out == "Nothing is paused.\n"
    run("pause", "all")
    assert run("resume", "all", "--dry-run").code == 0
    assert run("send", home.event(guid="c")).out == "accepted: paused\n"


def test_what_stays_paused_is_told(run: Run, home: Home) -> None:
    """A resume lifts just what it names."""
    run("send", home.event(guid="a"))
    run("pause", "tenant", TENANT)
    run("pause", "country", "GB")
    done = run("resume", "tenant", TENANT, "--yes")
    assert done.out.splitlines()[-1] == "Still paused: country GB."
    done = run("resume", "all", "--yes")
    assert done.code == 1
    assert "Paused: country GB." in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("all", "TSK_101"),
        ("all", "--tenant", "one"),
        ("tenant",),
        ("tenant", "../x"),
        ("tenant", "one", "--tenant", "one"),
        ("task",),
        ("task", " "),
        ("task", "TSK_101", "--tenant", "../x"),
        ("sender",),
        ("sender", "this is no sender at all"),
        ("sender", "+1"),
        ("country",),
        ("country", "UK"),
        ("country", "Germany"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("command", [("pause",), ("resume", "--yes")], ids=" ".join)
def test_a_target_that_cannot_be_read_ends_with_2(
    run: Run, home: Home, command: tuple[str, ...], arguments: tuple[str, ...]
) -> None:
    """Nothing is paused by half a word."""
    run("send", home.event(guid="a"))
    done = run(*command, *arguments)
    assert done.code == 2
    assert done.err.startswith("ci360-twilio: ")
    assert run("pause", "--json").read() == []


@pytest.mark.parametrize("arguments", [("--reason", "x"), ("--tenant", "one"), ("--dry-run",)])
def test_a_pause_of_nothing_named_is_no_list(
    run: Run, home: Home, arguments: tuple[str, ...]
) -> None:
    """Somebody forgot to say what."""
    run("send", home.event(guid="a"))
    assert run("pause", *arguments).code == 2
    assert run("resume").code == 2


def test_no_tenant_need_be_set_up_to_pause(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must be quick, from any shell that knows the ledger."""
    wait(run, home, "a")
    monkeypatch.delenv("CI360_TWILIO_TENANTS")
    assert run("pause", "all").code == 0
    assert run("cancel", "a", "--yes").code == 0
    assert run("resume", "all", "--yes").code == 0
    assert run("replay", "a", "--yes").code == 2


# Asking


CHANGES = [
    (("resume", "task", "TSK_101"), "Send again? [y/N] "),
    (("cancel", "waiting"), "Cancel? [y/N] "),
    (("replay", "refused", "--anyway"), "Send again? [y/N] "),
    (("resolve", "lost", "not-sent"), "Close it as not sent? [y/N] "),
    (("resolve", "lost", "resend"), "Send it again? [y/N] "),
    (("resolve", "lost", "sent", "--sid", SID, "--offline"), "Take it for sent? [y/N] "),
]


@pytest.fixture
def everything(run: Run, home: Home, twilio: Twilio) -> Path:
    """Write something to be changed by each command; gives the ledger."""
    twilio.faults.for_recipient(TO, ["reset", "http_400:21211"])
    assert run("send", home.event(guid="lost")).out.startswith("unknown")
    assert run("send", home.event(guid="refused")).out.startswith("refused")
    wait(run, home, "waiting")
    run("pause", "task", "TSK_101")
    return home.ledger


def content(ledger: Path) -> object:
    """Give what is in a ledger."""
    with closing(SqliteStore(ledger, hash_key=hash_key_of(read_settings(), ledger))) as store:
        from ci360_twilio.ports import Query

        return store.find(Query()), store.pauses(), store.notes(99)


@pytest.mark.parametrize(("arguments", "question"), CHANGES, ids=lambda value: " ".join(value)[:40])
@pytest.mark.parametrize("said", ["n\n", "\n", "", "no way\n"], ids=repr)
def test_whoever_does_not_say_yes_changes_nothing(
    run: Run,
    everything: Path,
    answer: Answer,
    arguments: tuple[str, ...],
    question: str,
    said: str,
) -> None:
    """Exit code 1."""
    before = content(everything)
    answer(said)
    done = run(*arguments)
    assert done.code == 1
    assert question in done.out
    assert done.out.endswith("Nothing was changed.\n")
    assert content(everything) == before


@pytest.mark.parametrize(("arguments", "question"), CHANGES, ids=lambda value: " ".join(value)[:40])
def test_whoever_says_yes_gets_it_done(
    run: Run, everything: Path, answer: Answer, arguments: tuple[str, ...], question: str
) -> None:
    """One line more in the audit, with the name of who did it."""
    answer("y\n")
    done = run(*arguments, "--reason", "as agreed")
    assert done.code == 0
    newest = run("audit", "--json").read()[0]
    assert (newest["by"], newest["action"]) == (ME, arguments[0])
    assert newest["detail"].endswith("as agreed")
    assert "as agreed" not in done.err
    assert f'"steer.{arguments[0]}"' in done.err


@pytest.mark.parametrize(("arguments", "question"), CHANGES, ids=lambda value: " ".join(value)[:40])
def test_where_nobody_can_be_asked_yes_is_needed(
    run: Run, everything: Path, arguments: tuple[str, ...], question: str
) -> None:
    """Exit code 2; standard input is not read."""
    before = content(everything)
    done = run(*arguments)
    assert done.code == 2
    assert "--yes" in done.err
    assert content(everything) == before
    assert run(*arguments, "--yes").code == 0


@pytest.mark.parametrize(("arguments", "question"), CHANGES, ids=lambda value: " ".join(value)[:40])
def test_a_dry_run_asks_nobody_and_changes_nothing(
    run: Run, everything: Path, arguments: tuple[str, ...], question: str
) -> None:
    """Exit code 0, where there would be something to do."""
    before = content(everything)
    done = run(*arguments, "--dry-run")
    assert done.code == 0
    assert question not in done.out
    assert content(everything) == before


# cancel


def test_cancel_takes_back_what_is_named(run: Run, home: Home) -> None:
    """And says what has gone already; then it ends with 1."""
    wait(run, home, "a", "b")
    run("send", home.event(guid="sent"))
    done = run("cancel", "a", "--yes")
    assert done.code == 0
    assert done.out == "1 message can be canceled.\n1 message canceled.\n"
    done = run("cancel", "b", "sent", "--yes")
    assert done.code == 1
    assert "  1 cannot: already sent" in done.out
    assert [status(run, guid) for guid in ("a", "b", "sent")] == ["canceled", "canceled", "sent"]


def test_cancel_takes_back_what_is_chosen(run: Run, home: Home) -> None:
    """Each option narrows."""
    home.write("second")
    wait(run, home, "task", task_code="TSK_7")
    wait(run, home, "british", creative=BRITISH)
    wait(run, home, "second", tenant_id="second")
    wait(run, home, "acme", creative=f"TO:{TO};\nFROM:Acme;\nHello")
    wait(run, home, "plain")
    chosen = {
        "task": ("--task", "TSK_7"),
        "british": ("--country", "gb"),
        "second": ("--tenant", "second"),
        "acme": ("--sender", "Acme", "--since", "1h"),
    }
    for guid, options in chosen.items():
        assert run("cancel", *options, "--yes").out.endswith("1 message canceled.\n")
        assert status(run, guid) == "canceled"
    done = run("cancel", "--task", "TSK_7", "--yes")
    assert (done.code, done.out) == (1, "0 messages can be canceled.\n")
    assert run("cancel", "--all", "--yes").out.endswith("1 message canceled.\n")
    subjects = [note["subject"] for note in run("audit", "--json").read()[::-1]]
    assert subjects[:3] == ["task TSK_7", "country GB", "tenant second"]
    assert subjects[-1] == "all"


def test_one_unknown_guid_keeps_all_from_being_canceled(run: Run, home: Home) -> None:
    """Exit code 1."""
    wait(run, home, "a")
    done = run("cancel", "a", "unheard-of", "--yes")
    assert done.code == 1
    assert "Nothing is known of unheard-of" in done.err
    assert status(run, "a") == "accepted"


@pytest.mark.parametrize(
    "arguments",
    [
        ("cancel",),
        ("cancel", "a", "--task", "TSK_101"),
        ("cancel", "a", "--all"),
        ("cancel", "--all", "--task", "TSK_101"),
        ("cancel", "--sender", "no sender at all, really"),
        ("cancel", "--country", "UK"),
        ("cancel", "--since", "yesterday"),
        ("cancel", "--tenant", "../x"),
        ("replay",),
        ("replay", "--anyway"),
        ("replay", "a", "--status", "failed"),
    ],
    ids=" ".join,
)
def test_nothing_is_canceled_or_replayed_by_half_a_word(
    run: Run, home: Home, arguments: tuple[str, ...]
) -> None:
    """Exit code 2, and it says what to say."""
    wait(run, home, "a")
    done = run(*arguments, "--yes")
    assert done.code == 2
    assert done.err.startswith("ci360-twilio: ")
    assert status(run, "a") == "accepted"


# replay


def test_replay_sends_again_what_is_worth_it(run: Run, home: Home, twilio: Twilio) -> None:
    """The two entries know of each other."""
    twilio.faults.for_recipient(TO, ["http_400:21211"])
    twilio.faults.for_recipient(OTHER, ["http_400:21610"])
    for guid, recipient in (("wrong number", TO), ("opted out", OTHER)):
        run("send", home.event(f"TO:{recipient};See you at nine", guid=guid))
    run("send", home.event(guid="sent"))
    done = run("replay", "--tenant", TENANT, "--yes")
    assert done.code == 1
    assert done.out.splitlines() == [
        "0 messages can be sent again.",
        "  1 cannot: It would fail in the same way again.",
        "  1 cannot: The recipient has opted out.",
        "Add --anyway to send again what would probably fail in the same way.",
    ]
    done = run("replay", "--status", "refused", "--anyway", "--yes")
    assert done.code == 0
    assert done.out.endswith("1 message will be sent again.\n")
    old = run("trace", "wrong number", "--json").read()
    new = run("trace", "wrong number~again", "--json").read()
    assert (old["replayed_by"], new["replay_of"]) == (new["key"], old["key"])
    assert f"sent again by {new['key']}" in run("trace", "wrong number").out
    assert f"sends the message of {old['key']} again" in run("trace", "wrong number~again").out


def test_replay_of_a_named_message_that_cannot_be_ends_with_1(run: Run, home: Home) -> None:
    """With the reason."""
    run("send", home.event(guid="sent"))
    done = run("replay", "sent", "--yes")
    assert done.code == 1
    assert "It is sent, not refused or failed." in done.out


def test_the_limit_of_a_recipient_holds_in_a_replay(run: Run, home: Home, twilio: Twilio) -> None:
    """What it keeps back is told when it is done."""
    home.write(messages_per_recipient_per_day=1)
    twilio.faults.for_recipient(TO, ["http_400:21211"])
    run("send", home.event(guid="a"))
    run("send", home.event(guid="b"))
    done = run("replay", "a", "--anyway", "--yes")
    assert done.code == 1
    assert "1 will not: The recipient has had as many messages" in done.out


# resolve


def test_a_lost_message_is_resolved_by_the_sid_that_twilio_lists(
    run: Run, home: Home, twilio: Twilio
) -> None:
    """It is asked whether the message is to this recipient."""
    twilio.faults.for_recipient(TO, ["reset"])
    run("send", home.event(guid="lost"))
    run("send", home.event(BRITISH, guid="other"))
    ours, other = (message.sid for message in twilio.twin.messages)
    done = run("resolve", "lost", "sent", "--sid", other, "--yes")
    assert done.code == 1
    assert "--offline" in done.err
    done = run("resolve", "lost", "sent", "--sid", SID, "--yes")
    assert done.code == 1
    assert "no message of that SID" in done.err
    assert status(run, "lost") == "unknown"
    done = run("resolve", "lost", "sent", "--sid", ours, "--yes")
    assert done.code == 0
    assert done.out.splitlines()[0] == f"lost of tenant {TENANT}: unknown"
    assert "2015550142" not in done.out
    story = run("trace", "lost", "--json").read()
    assert (story["sid"], story["guessed"]) == (ours, False)


def test_a_sid_of_another_entry_is_not_taken(run: Run, home: Home, twilio: Twilio) -> None:
    """Even where nobody asks Twilio."""
    twilio.faults.for_recipient(TO, ["reset"])
    run("send", home.event(guid="lost"))
    run("send", home.event(guid="other"))
    sid = run("trace", "other", "--json").read()["sid"]
    done = run("resolve", "lost", "sent", "--sid", sid, "--offline", "--yes")
    assert done.code == 1
    assert "left as it is" in done.err
    assert status(run, "lost") == "unknown"


def test_a_lost_message_is_sent_again_with_a_warning(run: Run, home: Home, twilio: Twilio) -> None:
    """It may be a second one."""
    twilio.faults.for_recipient(TO, ["reset"])
    run("send", home.event(guid="lost"))
    done = run("resolve", "lost", "resend", "--yes")
    assert done.code == 0
    assert "this may be a second one" in done.out
    assert done.out.splitlines()[-1] == "It is canceled now, and sent again as lost~again."
    assert status(run, "lost~again") == "accepted"
    done = run("resolve", "lost", "not-sent", "--yes")
    assert done.code == 1
    assert "nothing to resolve" in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("sent",),
        ("sent", "--sid", "SM1"),
        ("sent", "--sid", f"MG{'0' * 32}"),
        ("not-sent", "--sid", SID),
        ("resend", "--sid", SID),
        ("not-sent", "--tenant", "../x"),
    ],
    ids=" ".join,
)
def test_a_resolution_that_cannot_be_read_ends_with_2(
    run: Run, home: Home, twilio: Twilio, arguments: tuple[str, ...]
) -> None:
    """A SID goes with a message that was sent, and with no other."""
    twilio.faults.for_recipient(TO, ["reset"])
    run("send", home.event(guid="lost"))
    assert run("resolve", "lost", *arguments, "--yes").code == 2
    assert status(run, "lost") == "unknown"


def test_an_unknown_event_cannot_be_resolved(run: Run, home: Home) -> None:
    """Exit code 1."""
    run("send", home.event(guid="a"))
    assert run("resolve", "unheard-of", "not-sent", "--yes").code == 1


# audit


def test_the_audit_lists_who_did_what(run: Run, home: Home) -> None:
    """Newest first; for people and for scripts."""
    run("send", home.event(guid="a"))
    assert run("audit").out == "Nobody has changed anything by hand.\n"
    assert run("audit", "--json").read() == []
    run("pause", "task", "TSK_101", "--reason", "wrong \x1b[31mprice")
    run("resume", "task", "TSK_101", "--yes")
    newest, oldest = run("audit", "--json").read()
    assert (newest["action"], oldest["action"]) == ("resume", "pause")
    assert datetime.now(UTC) - datetime.fromisoformat(oldest["at"]) < timedelta(minutes=5)
    head, _, first, second = run("audit").out.splitlines()
    assert head.split() == ["WHEN", "(UTC)", "WHO", "ACTION", "WHAT", "MESSAGES", "DETAIL"]
    assert "resume" in first
    assert second.endswith("wrong [31mprice")
    assert len(run("audit", "--limit", "1", "--json").read()) == 1


@pytest.mark.parametrize(
    "command",
    [
        ("pause",),
        ("pause", "all"),
        ("resume", "all", "--yes"),
        ("cancel", "g", "--yes"),
        ("replay", "g", "--yes"),
        ("resolve", "g", "not-sent", "--yes"),
        ("audit",),
    ],
    ids=" ".join,
)
def test_a_ledger_that_is_not_there_is_not_made(
    run: Run, home: Home, command: tuple[str, ...]
) -> None:
    """Whoever pauses another ledger than the servers' would believe that they stand still."""
    assert run(*command).code == 1
    assert not home.ledger.exists()


@pytest.mark.parametrize("guid", ["\x1b]0;x\x07", "\u202egnp", "a/b", "' OR 1=1 --"])
def test_a_hostile_guid_is_printed_harmless(
    run: Run, home: Home, twilio: Twilio, guid: str
) -> None:
    """In every command; ``run`` looks for what steers a terminal."""
    wait(run, home, guid, task_code=guid)
    assert run("pause", "task", guid).code == 0
    assert run("pause").code == 0
    assert run("messages").code == 0
    assert run("resume", "task", guid, "--yes").code == 0
    assert run("cancel", guid, "--yes").code == 0
    twilio.faults.for_recipient(TO, ["reset"])
    run("send", home.event(guid=guid + "2"))
    assert run("resolve", guid + "2", "resend", "--yes").code == 0
    assert run("trace", guid + "2").code == 0
    assert run("audit").code == 0
    assert run("cancel", guid + "3", "--yes").code == 1
