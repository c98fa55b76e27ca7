"""The commands, run in process: what they print, and the codes they end with."""

from __future__ import annotations

import io
import os
import socket
import sqlite3
import subprocess
import sys
import uuid
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ci360_twilio import __version__
from ci360_twilio.core.entry import Fact, Kind, Status, key_of
from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.cli import COMMANDS
from ci360_twilio.edge.cli.asking import who
from ci360_twilio.settings import read_settings
from ci360_twilio.stores.sqlite import SqliteStore
from ci360_twilio.twin.faults import FaultPlan
from ci360_twilio.twin.server import TwinServer
from ci360_twilio.twin.twilio import TwilioTwin, TwinAccount
from ci360_twilio.wiring import hash_key_of

if TYPE_CHECKING:
    from tests.conftest import Twilio
    from tests.unit.edge.cli.conftest import Home, Run

TENANT = TenantId("af5af6b8f500013eb0c90001")
TO = "+12015550142"


# Help


def test_help_names_every_command(run: Run) -> None:
    """With a line for each."""
    done = run("--help")
    assert done.code == 0
    assert all(name in done.out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(run: Run, name: str) -> None:
    """It says what the list of commands says."""
    done = run(name, "--help")
    assert done.code == 0
    assert COMMANDS[name].help in " ".join(done.out.split())


@pytest.mark.parametrize("action", ["backup", "restore", "check"])
def test_every_action_of_the_ledger_has_help(run: Run, action: str) -> None:
    """``ledger backup --help``."""
    assert run("ledger", action, "--help").code == 0


def test_the_version_is_told(run: Run) -> None:
    """``--version``."""
    assert run("--version").out == f"ci360-twilio {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nonsense",),
        ("preview",),
        ("send",),
        ("trace",),
        ("ledger",),
        ("ledger", "burn"),
        ("messages", "--status", "gone"),
        ("messages", "--limit", "many"),
        ("pause", "customers"),
        ("resume", "tasks", "TSK_1"),
        ("replay", "--status", "sent"),
        ("resolve", "g"),
        ("resolve", "g", "perhaps"),
        ("serve", "--port", "http"),
        ("twin", "--seed", "x"),
    ],
)
def test_a_command_that_cannot_be_read_ends_with_2(run: Run, arguments: tuple[str, ...]) -> None:
    """And says how it is used."""
    done = run(*arguments)
    assert done.code == 2
    assert "usage: ci360-twilio" in done.err


NEEDS_SETTINGS = [
    ("serve",),
    ("worker",),
    ("send", "-"),
    ("messages",),
    ("trace", "g"),
    ("pause",),
    ("pause", "all"),
    ("resume", "all"),
    ("cancel", "g"),
    ("replay", "g"),
    ("resolve", "g", "not-sent"),
    ("audit",),
    ("ledger", "check"),
    ("ledger", "backup", "x"),
    ("preview", "-"),
]


@pytest.mark.parametrize("arguments", NEEDS_SETTINGS)
def test_wrong_settings_are_all_told_and_end_with_2(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    """Without a value in them."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    monkeypatch.setenv("CI360_TWILIO_LEASE", "s3cr3t")
    monkeypatch.setenv("CI360_TWILIO_LEDGER", "s3cr3t")
    done = run(*arguments)
    assert done.code == 2
    assert "CI360_TWILIO_LEASE" in done.err
    assert "CI360_TWILIO_LEDGER" in done.err
    assert "s3cr3t" not in done.err


@pytest.mark.parametrize("arguments", [("serve", "--no-worker"), ("worker",), ("send", "-")])
def test_without_tenants_nothing_starts(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    """The words say what to set."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"{}")))
    done = run(*arguments)
    assert done.code == 2
    assert "CI360_TWILIO_TENANTS" in done.err


def test_serve_without_its_extra_says_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base install has the command all the same."""
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = run("serve")
    assert done.code == 2
    assert "ci360-twilio-connector[server]" in done.err


# send


def test_send_takes_an_event_through_all_gates_and_sends_it(
    run: Run, home: Home, twilio: Twilio
) -> None:
    """Exit code 0; the log holds nothing personal."""
    done = run("send", home.event())
    assert (done.code, done.out) == (0, "sent\n")
    assert twilio.made_for(TO) == 1
    for secret in ("2015550142", "Hello", twilio.token):
        assert secret not in done.err


def test_send_prints_the_answer_as_json(run: Run, home: Home) -> None:
    """As the server would give it."""
    file = home.event(guid="g-1")
    assert set(run("send", "--json", file).read()) == {"status", "guid", "sid"}
    again = run("send", "--json", file)
    assert again.code == 0
    assert again.read()["duplicate"] is True


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"creative": "no recipient"}, "refused: no_recipient"),
        ({"control_group": True}, "suppressed: control_group"),
        ({"age": 90_000}, "expired: expired"),
    ],
    ids=["refused", "suppressed", "expired"],
)
def test_send_ends_with_1_where_nothing_was_sent(
    run: Run, home: Home, event: dict[str, Any], said: str
) -> None:
    """And says why."""
    done = run("send", home.event(**event))
    assert done.code == 1
    assert done.out.startswith(said)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "ignored: test"),
        (b"[]", "not one JSON object"),
        (b'{"externalTenantId":"../x"}', "externalTenantId"),
        (b'{"externalTenantId":"nobody","guid":"g"}', "credential"),
        (b'{"externalTenantId":"\x1b[31m"}', "not one JSON object"),
    ],
)
def test_send_tells_what_was_turned_away(
    run: Run, home: Home, tmp_path: Path, content: bytes, words: str
) -> None:
    """Exit code 1."""
    file = tmp_path / "body"
    file.write_bytes(content)
    done = run("send", file)
    assert done.code == 1
    assert words in done.out + done.err
    assert run("send", "--json", file).code == 1


def test_send_waits_no_longer_than_it_is_told(run: Run, home: Home, twilio: Twilio) -> None:
    """Nothing is begun without time for an answer."""
    done = run("send", "--wait", "0", home.event())
    assert (done.code, done.out) == (1, "accepted\n")
    assert twilio.faults.attempts == {}


def test_send_tells_an_answer_that_was_lost(run: Run, home: Home, twilio: Twilio) -> None:
    """Exit code 1; a second time sends nothing."""
    twilio.faults.for_recipient(TO, ["reset"])
    file = home.event()
    assert run("send", file).out == "unknown: connection_lost\n"
    done = run("send", file)
    assert (done.code, done.out) == (1, "unknown: connection_lost (the event was known)\n")
    assert twilio.faults.attempts == {TO: 1}


def test_send_needs_no_credential(run: Run, home: Home) -> None:
    """Whoever reads the documents may send for them."""
    home.write("guarded", api_keys=["k"])
    assert run("send", home.event(tenant_id="guarded")).code == 0


def test_a_file_that_is_not_there_is_told(run: Run, home: Home) -> None:
    """Exit code 2."""
    done = run("send", "/nonexistent/event.json")
    assert done.code == 2
    assert "/nonexistent/event.json" in done.err


# trace and messages


def test_trace_tells_the_whole_story_as_json(run: Run, home: Home, twilio: Twilio) -> None:
    """Numbers and texts stay out."""
    guid = str(uuid.uuid4())
    twilio.faults.for_recipient(TO, ["http_429"])
    run("send", home.event(guid=guid, task_code="TSK_539"))
    story = run("trace", guid, "--json").read()
    assert set(story) == {
        "key", "status", "reason", "place", "sid", "provider_status", "error_code", "attempts",
        "repeats", "accepted_at", "generated_at", "expires_at", "to", "task", "waits_since", "looks",
        "next_look_at", "guessed", "replay_of", "replayed_by", "problems", "history",
        "history_dropped", "carrier_done", "consent", "reports", "replies",
    }  # fmt: skip
    assert story["key"] == f"{TENANT}/{guid}"
    assert (story["status"], story["attempts"], story["repeats"]) == ("sent", 2, 0)
    assert (story["to"], story["task"]) == ("+*********42", "TSK_539")
    assert story["sid"] == twilio.twin.messages[0].sid
    assert [(step["step"], step["decision"]) for step in story["history"]] == [
        ("accept", "accepted"),
        ("send", "sending"),
        ("send", "retry"),
        ("send", "sending"),
        ("send", "sent"),
    ]
    assert story["history"][2]["reason"] == "twilio_20429"
    assert all(set(step) == {"at", "step", "decision", "reason"} for step in story["history"])
    assert datetime.fromisoformat(story["accepted_at"]).tzinfo is not None
    assert run("trace", story["sid"], "--json").read() == story


def test_trace_tells_it_in_words(run: Run, home: Home, twilio: Twilio) -> None:
    """What became of it, why, and what to do."""
    guid = str(uuid.uuid4())
    twilio.faults.for_recipient(TO, ["http_400:21610"])
    run("send", home.event(guid=guid))
    done = run("trace", guid)
    assert done.code == 0
    for words in (guid, "refused", "21610", "What to do:", "+*********42", "WHEN (UTC)"):
        assert words in done.out
    assert "2015550142" not in done.out
    assert "Hello" not in done.out


def test_trace_names_each_problem(run: Run, home: Home) -> None:
    """With its line in the creative."""
    run("send", home.event("TO:{{phone}};\nHi", guid="g-1"))
    assert "line 1: A merge tag was not filled in" in run("trace", "g-1").out


def test_trace_of_an_unknown_event_ends_with_1(run: Run, home: Home) -> None:
    """Also where there is no ledger yet, and that makes none."""
    assert run("trace", "nothing").code == 1
    assert not home.ledger.exists()
    run("send", home.event())
    done = run("trace", "nothing", "--json")
    assert (done.code, done.out) == (1, "")
    assert "Nothing is known" in done.err


def test_trace_of_an_event_of_two_tenants_asks_which(run: Run, home: Home) -> None:
    """A guid is unique within its tenant only."""
    home.write("second")
    for tenant_id in (TENANT, "second"):
        run("send", home.event(guid="same", tenant_id=tenant_id))
    done = run("trace", "same")
    assert done.code == 1
    assert f"{TENANT}, second" in done.err
    assert run("trace", "same", "--tenant", "second", "--json").read()["key"] == "second/same"


@pytest.mark.parametrize("guid", ["\x1b]0;x\x07", "\u202egnp", "\x9b31m", "a/b", "' OR 1=1 --"])
def test_a_hostile_guid_is_printed_harmless(run: Run, home: Home, guid: str) -> None:
    """In every command; ``run`` looks for what steers a terminal."""
    assert run("send", "--json", home.event(guid=guid, task_code=guid)).read()["guid"] == guid
    assert run("trace", guid).code == 0
    assert run("trace", guid, "--json").read()["status"] == "sent"
    assert run("messages").code == 0
    (row,) = run("messages", "--json").read()
    assert row["guid"] == guid
    assert run("trace", guid + "x").code == 1


def test_messages_lists_newest_first_without_numbers(run: Run, home: Home) -> None:
    """As a table."""
    for guid in ("g-1", "g-2", "g-3"):
        run("send", home.event(guid=guid))
    done = run("messages")
    assert done.code == 0
    head, _, *rows = done.out.splitlines()
    assert head.split()[:3] == ["ACCEPTED", "(UTC)", "GUID"]
    assert [row.split()[2] for row in rows] == ["g-3", "g-2", "g-1"]
    assert "+*********42" in done.out
    assert "2015550142" not in done.out


def test_messages_can_be_narrowed(run: Run, home: Home) -> None:
    """By tenant, status, age and number."""
    home.write("second")
    run("send", home.event(guid="sent"))
    run("send", home.event("nobody", guid="refused"))
    run("send", home.event(guid="other", tenant_id="second"))

    def listed(*options: str) -> list[str]:
        return [row["guid"] for row in run("messages", "--json", *options).read()]

    assert listed() == ["other", "refused", "sent"]
    assert listed("--tenant", "second") == ["other"]
    assert listed("--status", "refused") == ["refused"]
    assert listed("--status", "refused", "--status", "sent", "--tenant", TENANT) == [
        "refused",
        "sent",
    ]
    assert listed("--limit", "1") == ["other"]
    assert listed("--limit", "-5") == ["other"]
    assert listed("--since", "1h") == ["other", "refused", "sent"]
    assert listed("--since", "0s") == []
    assert listed("--tenant", "third") == []


def test_messages_says_so_where_there_are_none(run: Run, home: Home) -> None:
    """Exit code 0 with a ledger, 1 without one."""
    assert run("messages").code == 1
    run("send", home.event())
    done = run("messages", "--status", "held")
    assert (done.code, done.out) == (0, "No messages.\n")
    assert run("messages", "--status", "held", "--json").read() == []


def test_messages_tells_what_is_paused(run: Run, home: Home) -> None:
    """Whether a worker has met it yet or not."""
    run("send", "--wait", "0", home.event(guid="waiting", task_code="TSK_7"))
    run("pause", "task", "TSK_7")
    run("send", home.event(guid="placed", task_code="TSK_7"))
    shown = run("messages").out
    assert shown.count("paused (task TSK_7)") == 2
    places = {row["guid"]: row["place"] for row in run("messages", "--json").read()}
    assert places == {"waiting": None, "placed": "paused:person:task:*:TSK_7"}


def test_trace_tells_what_an_entry_waits_for(run: Run, home: Home) -> None:
    """Since when, and whether its turn comes next."""
    run("send", home.event(guid="g-1"))
    run("pause", "all")
    run("send", home.event(guid="g-2"))
    done = run("trace", "g-2")
    assert "It waits for the end of a pause (everything), since 2" in done.out
    story = run("trace", "g-2", "--json").read()
    assert story["waits_since"] == story["history"][-1]["at"]
    run("resume", "all", "--yes")
    assert "its turn comes next" in run("trace", "g-2").out


def test_trace_tells_how_often_a_lost_message_was_looked_for(
    run: Run, home: Home, twilio: Twilio
) -> None:
    """And when Twilio is asked next."""
    twilio.faults.for_recipient(TO, ["reset"])
    run("send", home.event(guid="g-1"))
    assert "asked 0 times what became of it; it is asked next at 2" in run("trace", "g-1").out
    with closing(
        SqliteStore(home.ledger, hash_key=hash_key_of(read_settings(), home.ledger))
    ) as store:
        store.look(now=datetime.now(UTC) + timedelta(minutes=1), limit=1)
    assert "asked 1 time what became of it" in run("trace", "g-1").out
    story = run("trace", "g-1", "--json").read()
    assert (story["looks"], story["guessed"]) == (1, False)
    assert datetime.fromisoformat(story["next_look_at"]) > datetime.now(UTC)


def test_trace_tells_a_sid_that_was_only_guessed(run: Run, home: Home, twilio: Twilio) -> None:
    """Nothing has confirmed it yet."""
    twilio.faults.for_recipient(TO, ["reset"])
    run("send", home.event(guid="g-1"))
    sid = twilio.twin.messages[0].sid
    guess = Fact(
        kind=Kind.MADE,
        at=datetime.now(UTC),
        receipt=Receipt(sid=sid, status="queued"),
        guessed=True,
    )
    with closing(
        SqliteStore(home.ledger, hash_key=hash_key_of(read_settings(), home.ledger))
    ) as store:
        store.record_many([(key_of(TENANT, "g-1"), guess)])
    assert "nothing has confirmed it" in run("trace", "g-1").out
    assert run("trace", "g-1", "--json").read()["guessed"] is True


def test_messages_tells_what_waits_for_each_sender(run: Run, home: Home) -> None:
    """How long it lasts, at the tenant's rate or about Twilio's."""
    home.write("paced", sender_rates={"Acme": 0.5})
    assert run("messages", "--senders").code == 1
    run("send", "--wait", "0", home.event(guid="g-1"))
    for guid in ("g-2", "g-3"):
        creative = f"TO:{TO};\nFROM:Acme;\n{'x' * 161}"
        run("send", "--wait", "0", home.event(creative, guid=guid, tenant_id="paced"))
    done = run("messages", "--senders")
    assert done.code == 0
    head, _, first, second, *_ = done.out.splitlines()
    assert head.split()[:3] == ["SENDER", "TENANT", "WAITING"]
    assert first.split() == ["Acme", "paced", "2", "0", "4", "0.5/s", "8", "s", "0"]
    assert second.split()[2:] == ["1", "0", "1", "about", "1/s", "1", "s", "0"]
    assert run("messages", "--senders", "--tenant", "third").out == "Nothing waits to be sent.\n"
    (row,) = run("messages", "--senders", "--tenant", "paced", "--json").read()
    assert row == {
        "tenant": "paced",
        "senders": ["Acme"],
        "waiting": 2,
        "paused": 0,
        "segments": 4,
        "segments_per_second": 0.5,
        "paced": True,
        "seconds": 8.0,
        "late": 0,
    }


def test_what_waits_for_each_sender_is_told_without_tenants_too(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At Twilio's usual rates: none set up, or one that is gone."""
    run("send", "--wait", "0", home.event(guid="g-1"))
    (home.tenants / f"{TENANT}.json").unlink()
    assert "about 1/s" in run("messages", "--senders").out
    monkeypatch.delenv("CI360_TWILIO_TENANTS")
    assert "about 1/s" in run("messages", "--senders").out


@pytest.mark.parametrize("options", [("--status", "sent"), ("--since", "1h")], ids=" ".join)
def test_what_waits_cannot_be_narrowed_by_what_was(
    run: Run, home: Home, options: tuple[str, ...]
) -> None:
    """Exit code 2."""
    run("send", home.event())
    assert run("messages", "--senders", *options).code == 2


@pytest.mark.parametrize("since", ["yesterday", "1", "h", "-1h", "1.5h", "1w", "9999999d"])
def test_an_age_that_cannot_be_used_ends_with_2(run: Run, home: Home, since: str) -> None:
    """A number and s, m, h or d."""
    run("send", home.event())
    done = run("messages", f"--since={since}")
    assert done.code == 2
    assert "--since" in done.err


def test_an_age_from_before_time_began_is_no_accident(run: Run, home: Home) -> None:
    """Everything is younger, or it cannot be used."""
    run("send", home.event())
    assert run("messages", "--since", "999999d").code in (0, 2)


@pytest.mark.parametrize("command", [("messages",), ("trace", "g")])
def test_a_tenant_id_that_is_none_is_told(run: Run, home: Home, command: tuple[str, ...]) -> None:
    """Before it touches a query."""
    run("send", home.event())
    done = run(*command, "--tenant", "../\x1b[31m")
    assert done.code in (1, 2)
    assert done.err.startswith("ci360-twilio: ")


def test_a_ledger_in_memory_cannot_be_looked_into(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It belongs to another process."""
    monkeypatch.setenv("CI360_TWILIO_LEDGER", "memory:")
    for command in (
        ("messages",),
        ("messages", "--senders"),
        ("trace", "g"),
        ("pause", "all"),
        ("audit",),
        ("ledger", "check"),
        ("ledger", "backup", "x"),
    ):
        assert run(*command).code == 2


def test_a_damaged_ledger_is_told(run: Run, home: Home) -> None:
    """Exit code 1."""
    home.ledger.write_bytes(b"this is no database at all, but a note somebody left here" * 50)
    for command in (("messages",), ("trace", "g"), ("send", home.event())):
        done = run(*command)
        assert done.code == 1
        assert "damaged" in done.err


# check


def test_check_finds_a_good_set_up_good(run: Run, home: Home, twilio: Twilio) -> None:
    """Twilio is asked, and nothing is sent."""
    done = run("check")
    assert done.code == 0
    assert done.out.rstrip().endswith("All is well.")
    assert "FIX" not in done.out
    assert "Twilio lets it in" in done.out
    assert twilio.faults.attempts == {}


def test_check_lists_everything_that_is_to_be_done(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch, twilio: Twilio
) -> None:
    """Each with its advice; no value of a document is printed."""
    home.write("wrong-token", twilio_auth_token="s3cr3t-token")
    home.write("wrong-host", twilio_api_url="https://s3cr3t.example.com")
    home.write("wrong-sender", default_sender="this is no sender at all")
    (home.tenants / "no json.json").write_text("s3cr3t")
    monkeypatch.setenv("CI360_TWILIO_TENNANTS", "s3cr3t")
    monkeypatch.setenv("default_sender", "s3cr3t is no sender at all")
    done = run("check")
    assert done.code == 1
    fixes = [line for line in done.out.splitlines() if line.startswith("FIX")]
    assert [line.split(":")[0] for line in fixes] == [
        "FIX  CI360_TWILIO_TENNANTS",
        "FIX  default_sender",
        "FIX  tenant no json",
        "FIX  tenant wrong-host",
        "FIX  tenant wrong-sender",
        "FIX  tenant wrong-token",
        "FIX  tenants",
    ]
    assert "7 things to do." in done.out
    assert "s3cr3t" not in done.out
    assert f"ok   tenant {TENANT}: Twilio lets it in" in done.out


def test_check_tells_wrong_settings(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them."""
    monkeypatch.setenv("CI360_TWILIO_LEASE", "s3cr3t")
    monkeypatch.setenv("CI360_TWILIO_CONNECTIONS", "s3cr3t")
    done = run("check")
    assert done.code == 1
    assert done.out.count("FIX") == 2
    assert "s3cr3t" not in done.out


def test_check_tells_an_outage_and_need_not_ask(run: Run, home: Home, twilio: Twilio) -> None:
    """``--offline`` leaves Twilio alone."""
    twilio.server.stop()
    done = run("check")
    assert done.code == 1
    assert "could not be reached" in done.out
    assert run("check", "--offline").code == 0


def test_check_looks_at_the_tenants_that_are_named(run: Run, home: Home) -> None:
    """Also at one that is not there, or whose name cannot be one."""
    home.write("broken", twilio_account_sid="x")
    assert run("check", "--tenant", TENANT).code == 0
    done = run("check", "--tenant", "nobody", "--tenant", "../\x1b[31mx")
    assert done.code == 1
    assert done.out.count("FIX") == 2


def test_check_tells_where_there_are_no_tenants(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """None set up, and an empty folder."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("CI360_TWILIO_TENANTS", str(empty))
    assert run("check").code == 1
    monkeypatch.delenv("CI360_TWILIO_TENANTS")
    assert run("check").code == 1


@pytest.mark.parametrize(
    ("url", "good", "words"),
    [
        (None, True, "asked for 12 h after it was sent"),
        (None, True, "waits for a person where it is not there after 24 h"),
        ("https://sms.example.com/x", True, "Twilio reports to sms.example.com"),
        ("http://127.0.0.1:8360", True, "only a twin on this machine"),
        ("http://sms.example.com", False, "is not https"),
        ("https://my_sms.example.com", False, "21609"),
    ],
)
def test_check_looks_at_the_public_address(
    run: Run,
    home: Home,
    monkeypatch: pytest.MonkeyPatch,
    url: str | None,
    good: bool,
    words: str,
) -> None:
    """What Twilio would make of it, and what it costs to have none."""
    home.write(api_keys=["k"])
    if url:
        monkeypatch.setenv("CI360_TWILIO_PUBLIC_URL", url)
    done = run("check", "--offline")
    line = next(line for line in done.out.splitlines() if "public_url" in line)
    assert line.startswith("ok " if good else "FIX ")
    assert words in line
    assert done.code == (0 if good else 1)


def test_check_tells_that_a_public_server_would_turn_ci360_away(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless a gateway in front checks callers, or callers have something to present."""
    monkeypatch.setenv("CI360_TWILIO_PUBLIC_URL", "https://sms.example.com")
    assert "so that it is answered 401" in run("check", "--offline").out
    monkeypatch.setenv("CI360_TWILIO_AUTHENTICATED_UPSTREAM", "yes")
    assert run("check", "--offline").code == 0


def test_check_lists_what_is_paused(run: Run, home: Home) -> None:
    """With the words that lift it, unless it is lifted by itself."""
    run("send", home.event(guid="g-1"))
    run("pause", "task", "TSK_101")
    run("send", home.event(guid="g-2"))
    since = datetime.now(UTC)
    with closing(
        SqliteStore(home.ledger, hash_key=hash_key_of(read_settings(), home.ledger))
    ) as store:
        store.pause(
            Pause(
                scope=Scope.TENANT,
                tenant_id=TENANT,
                cause=Cause.CONFIG,
                reason="twilio_20003",
                since=since,
                probe_at=since,
            )
        )
    done = run("check", "--offline")
    assert done.code == 1
    assert "FIX  pause of task TSK_101: since 2" in done.out
    assert f"UTC by {who()}; 1 waiting." in done.out
    assert "ci360-twilio resume task TSK_101" in done.out
    assert f"FIX  pause of tenant {TENANT}:" in done.out
    assert "lifted by itself" in done.out


def test_check_tells_a_queue_that_outlasts_its_messages(run: Run, home: Home) -> None:
    """They would expire before their turn came."""
    home.write(sender_rates={"Acme": 0.01})
    for guid in ("g-1", "g-2"):
        creative = f"TO:{TO};\nFROM:Acme;\n{'x' * 1600}"
        run("send", "--wait", "0", home.event(creative, guid=guid, age=86_000))
    done = run("check", "--offline")
    assert done.code == 1
    assert "FIX  sender Acme: 2 of the 2 messages that wait would expire" in done.out
    assert "they last 36 min at 0.01/s" in done.out


def test_check_looks_at_the_senders_of_a_tenant(
    run: Run, home: Home, twilio: Twilio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their spelling, and whether the account has them; of names and services nobody can tell."""
    rates = {"+12015550178, Acme": 1, f"MG{'0' * 32}": 1}
    home.write("odd", sender_rates={"this is no sender at all": 1})
    account = TwinAccount(
        sid=twilio.account, auth_token=twilio.token, numbers=("+12015550178", "Acme")
    )
    twin = TwilioTwin(accounts=[account], clock=lambda: datetime.now(UTC))
    with TwinServer(twin, FaultPlan()) as server:
        monkeypatch.setenv(
            "CI360_TWILIO_TWILIO_HOSTS", f"{twilio.host},{server.url.removeprefix('http://')}"
        )
        home.write(
            "foreign",
            twilio_api_url=server.url,
            default_sender="+12015550177",
            sender_rates=rates,
        )
        done = run("check", "--tenant", "odd", "--tenant", "foreign")
    assert done.code == 1
    assert "FIX  tenant odd: its sender_rates name what is no sender" in done.out
    asked = [line for line in done.out.splitlines() if "none of the account's numbers" in line]
    (line,) = asked
    assert "tenant foreign: sender +12015550177 is none" in line
    assert "this is no sender at all" not in done.out
    assert "none of the account's numbers" not in run("check", "--offline").out


def test_check_tells_a_ledger_that_cannot_be_used(run: Run, home: Home) -> None:
    """Damaged, restored, or of a newer version."""
    home.ledger.write_bytes(b"no database" * 500)
    assert "damaged" in run("check", "--offline").out
    home.ledger.unlink()
    run("send", home.event())
    with closing(sqlite3.connect(home.ledger)) as db:
        db.execute("PRAGMA user_version = 99")
    assert "newer version" in run("check", "--offline").out


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:99999", "nonsense", "socks5://127.0.0.1:9"])
def test_check_tells_a_proxy_that_cannot_be_used(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    """It is what the advice names."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setenv("CI360_TWILIO_TWILIO_HOSTS", host)
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        monkeypatch.delenv("https_proxy", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        home.write(twilio_api_url=f"https://{host}")
        listener.close()
        done = run("check")
    assert done.code == 1
    assert "HTTPS_PROXY" in done.out


# ledger


def test_a_ledger_is_backed_up_checked_and_restored(
    run: Run, home: Home, tmp_path: Path, twilio: Twilio
) -> None:
    """What was under way is unknown afterwards, and nothing is sent until it is resumed."""
    run("send", home.event(guid="before"))
    run("send", "--wait", "0", home.event(guid="waiting"))
    copy = tmp_path / "copy.backup"
    assert run("ledger", "backup", copy).code == 0
    assert copy.stat().st_mode & 0o777 == 0o600
    checked = run("ledger", "check", copy)
    assert checked.code == 0
    assert "2 entries" in checked.out
    run("send", home.event(guid="after"))
    assert run("ledger", "restore", copy, "--yes").code == 0
    assert run("trace", "after").code == 1
    assert run("trace", "waiting", "--json").read()["status"] == "unknown"
    assert "was restored and sends nothing" in run("check", "--offline").out
    assert run("send", home.event(guid="paused", age=-1)).out == "accepted: restored\n"
    assert run("ledger", "restore", "--resume").out == "The ledger sends again.\n"
    assert run("send", home.event(guid="resumed", age=-1)).code == 0
    assert list(tmp_path.glob("ledger.db.before-restore-*"))


def test_an_older_event_is_held_after_a_restore(run: Run, home: Home, tmp_path: Path) -> None:
    """The part of the ledger that is lost may have sent it."""
    run("send", home.event())
    run("ledger", "backup", tmp_path / "copy")
    run("ledger", "restore", tmp_path / "copy", "--yes")
    run("ledger", "restore", "--resume")
    done = run("send", home.event(guid="older", age=60))
    assert (done.code, done.out) == (1, "held: older_than_restore\n")


def test_a_restore_that_nobody_confirmed_changes_nothing(
    run: Run, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal ``--yes`` is needed."""
    run("send", home.event(guid="before"))
    run("ledger", "backup", tmp_path / "copy")
    run("send", home.event(guid="after"))
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    done = run("ledger", "restore", tmp_path / "copy")
    assert done.code == 2
    assert "--yes" in done.err
    assert run("trace", "after").code == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("backup", "{there}"), 1),
        (("backup", "/nonexistent/folder/copy"), 1),
        (("restore",), 2),
        (("restore", "/nonexistent/copy", "--yes"), 1),
        (("restore", "{there}", "--yes"), 1),
        (("check", "/nonexistent/copy"), 1),
        (("check", "{there}"), 1),
        (("check", "{folder}"), 1),
        (("check", "/nonexistent/\x1b[31m"), 1),
        (("backup", "/nonexistent/\x1b[31m"), 1),
        (("restore", "/nonexistent/\x1b[31m", "--yes"), 1),
    ],
)
def test_files_that_cannot_be_used_are_told(
    run: Run, home: Home, tmp_path: Path, arguments: tuple[str, ...], code: int
) -> None:
    """There already, not there, or no ledger; the ledger stays as it is."""
    run("send", home.event(guid="g-1"))
    there = tmp_path / "there"
    there.write_text("no ledger")
    named = [argument.format(there=there, folder=tmp_path) for argument in arguments]
    assert run("ledger", *named).code == code
    assert there.read_text() == "no ledger"
    assert run("trace", "g-1").code == 0


@pytest.mark.parametrize("command", [("backup", "x"), ("check",)])
def test_a_ledger_that_is_not_there_is_told(
    run: Run, home: Home, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """None is made, nor an empty copy of it."""
    copy = tmp_path / "x"
    done = run("ledger", *(str(copy) if part == "x" else part for part in command))
    assert done.code == 1
    assert not home.ledger.exists()
    assert not copy.exists()


def test_a_backup_that_failed_leaves_no_file(run: Run, home: Home, tmp_path: Path) -> None:
    """Somebody would take it for one, and a second try would find it in its way."""
    home.ledger.write_bytes(b"no database" * 500)
    assert run("ledger", "backup", tmp_path / "copy").code == 1
    assert not (tmp_path / "copy").exists()


def test_resuming_a_ledger_that_was_not_restored_is_told(run: Run, home: Home) -> None:
    """A person's pause is not lifted by it."""
    run("send", home.event())
    run("pause", "all")
    assert run("ledger", "restore", "--resume").code == 1
    assert len(run("pause", "--json").read()) == 1


def test_what_else_is_paused_is_told_after_a_restore(run: Run, home: Home, tmp_path: Path) -> None:
    """The restore's own pause is over."""
    run("send", home.event())
    run("ledger", "backup", tmp_path / "copy")
    run("ledger", "restore", tmp_path / "copy", "--yes")
    run("pause", "country", "GB")
    done = run("ledger", "restore", "--resume")
    assert done.code == 0
    assert "ci360-twilio pause" in done.out
    assert [pause["scope"] for pause in run("pause", "--json").read()] == ["country"]
    did = [note["action"] for note in run("audit", "--json").read()]
    assert did == ["resume", "pause", "restore", "backup"]


def test_resuming_a_ledger_that_is_not_there_makes_none(run: Run, home: Home) -> None:
    """It would look as if all were well."""
    assert run("ledger", "restore", "--resume").code == 1
    assert not home.ledger.exists()


def test_a_ledger_whose_path_the_system_cannot_look_at_is_told(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is too long."""
    monkeypatch.setenv("CI360_TWILIO_LEDGER", "sqlite:////tmp/" + "a" * 300)
    for command in (("messages",), ("trace", "g"), ("ledger", "check"), ("send", home.event())):
        assert run(*command).code in (1, 2)


# twin


@pytest.mark.parametrize(
    "options",
    [
        ("--fault", "nonsense=0.1"),
        ("--fault", "http_429=2"),
        ("--fault", "http_429=-1"),
        ("--fault", "http_429=often"),
        ("--fault", "http_429=nan"),
        ("--fault", "http_400:x=0.1"),
        ("--fault", "slow:inf=0.1"),
        ("--fault", "reset=0.6", "--fault", "refuse=0.6"),
        ("--port", "99999"),
        ("--port", "-1"),
    ],
    ids=" ".join,
)
def test_a_twin_that_cannot_be_set_up_so_ends_with_2(run: Run, options: tuple[str, ...]) -> None:
    """And says why."""
    done = run("twin", *options)
    assert done.code == 2
    assert done.err.startswith("ci360-twilio: The twin cannot")


def test_a_twin_whose_port_is_taken_ends_with_2(run: Run) -> None:
    """With the port's number."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = run("twin", "--port", port)
    assert done.code == 2
    assert str(port) in done.err


# Whatever reads what is printed


def test_a_reader_that_has_gone_is_no_error(tmp_path: Path) -> None:
    """``ci360-twilio preview file | head -0``: exit code 0, and nothing is complained of."""
    file = tmp_path / "creative"
    file.write_text("TO:+12015550142;\nFROM:+12015550199;\nHi")
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "ci360_twilio", "preview", str(file)],
            stdout=gone,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_key_of_the_command_line_is_one_of_the_ledger(run: Run, home: Home) -> None:
    """What ``send`` writes is found under tenant and guid."""
    run("send", home.event(guid="g-1"))
    store = SqliteStore(home.ledger, hash_key=hash_key_of(read_settings(), home.ledger))
    (entry,) = store.get_many([key_of(TENANT, "g-1")])
    store.close()
    assert entry is not None
    assert entry.status is Status.SENT
