"""``rehearse`` as a person runs it: what it prints, how it ends, and that it leaves nothing behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.bulk import Bucket
from tests.acceptance.conftest import OPEN
from tests.cloud.server import Moto

CREATIVE = "TO:{{phone}};\n{{firstname}} — thank you for registering; see you there!"


@pytest.fixture
def stage(running: Any, tmp_path: Path) -> Stage:
    """Give what rehearses with a running connector's tenants and ledger."""
    return Stage(running, tmp_path)


class Stage:
    """Writes files and runs the command."""

    def __init__(self, running: Any, folder: Path) -> None:
        self.running = running
        self.folder = folder

    def file(self, name: str, text: str | bytes) -> str:
        """Write a file."""
        path = self.folder / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run the command; gives what it printed."""
        done = self.running.command("rehearse", *arguments)
        assert done.returncode == code, done.stderr
        return str(done.stderr if code else done.stdout)

    def audience(self, rows: str, *more: str, creative: str = CREATIVE) -> dict[str, Any]:
        """Rehearse an audience; gives the JSON."""
        printed = self.run(
            *("--creative", self.file("creative.txt", creative)),
            *("--audience", self.file("audience.csv", rows)),
            *("--tenant", OPEN, "--json", *more),
        )
        told: dict[str, Any] = json.loads(printed)
        return told


def test_an_audience_is_rehearsed_and_nothing_is_sent_or_written(stage: Stage) -> None:
    """Verdicts add up, each with words and examples; the twin and the ledger hear nothing."""
    entries, messages = len(stage.running.entries()), len(stage.running.twin.messages)
    rows = "customer_id,FirstName,phone_\n" + "".join(
        f"c{n},Anna,+1201555{8000 + n}\n" for n in range(9)
    )
    told = stage.audience(rows + "c9,Bob,12\nc10,Cy,+12015558001\n")
    assert told["rows"] == 11
    assert told["sendable"] == 9
    assert told["verdicts"] == {"accepted": 9, "invalid_recipient": 1, "duplicate_number": 1}
    assert told["segments"] == 9
    assert told["encodings"] == {"UCS-2": 9}
    assert told["characters"][0]["code_point"] == "U+2014"
    assert told["characters"][0]["replacement"] == "-"
    assert told["countries"][0]["country"] == "US"
    assert told["cost"]["currency"] == "USD"
    assert told["cost"]["total"] == pytest.approx(9 * 0.0083)
    assert told["would_stop"] is None
    reasons = {one["verdict"]: one for one in told["reasons"]}
    assert reasons["invalid_recipient"]["examples"][0]["line"] == 11
    assert len(stage.running.entries()) == entries
    assert len(stage.running.twin.messages) == messages


def test_the_ledger_is_asked_for_opt_outs(stage: Stage) -> None:
    """Who has opted out is told; without the ledger nobody is."""
    number = stage.running.number()
    done = stage.running.command("consent", "set", "out", "--tenant", OPEN, typed=number)
    assert done.returncode == 0, done.stderr
    rows = f"firstname,phone\nAnna,{number}\n"
    assert stage.audience(rows)["verdicts"] == {"opted_out": 1}
    assert stage.audience(rows, "--no-ledger")["verdicts"] == {"accepted": 1}


def test_a_job_that_would_stop_is_told(stage: Stage) -> None:
    """The report is made all the same, and says that nothing would be sent."""
    told = stage.audience("firstname,phone\nAnna,+12015558100\nBob,12\n")
    assert told["would_stop"]["reason"] == "too_many_bad_rows"
    assert told["bad_percent"] == 50
    printed = stage.run(
        *("--creative", stage.file("creative.txt", CREATIVE), "--tenant", OPEN),
        *("--audience", stage.file("audience.csv", "firstname,phone\nBob,12\n")),
    )
    assert "NOTHING WOULD BE SENT" in printed


def test_prices_are_those_of_the_table_that_is_given(stage: Stage) -> None:
    """By country; what has no price is counted."""
    rows = "firstname,phone\nA,+12015558101\nB,+447700900123\nC,+4915123456789\n"
    table = stage.file("prices.csv", "country,sms,mms,currency\nUS,0.01,,EUR\nGB,0.04,,EUR\n")
    told = stage.audience(rows, "--prices", table)
    assert told["cost"]["by_country"] == {"GB": 0.04, "US": 0.01}
    assert told["cost"]["unpriced_messages"] == 1
    assert (told["cost"]["total"], told["cost"]["currency"]) == (0.05, "EUR")


def test_the_page_is_written_once(stage: Stage) -> None:
    """Into a new file that only its owner reads."""
    page = stage.folder / "report.html"
    rows = "firstname,phone\n<script>alert(1)</script>,+12015558102\n"
    stage.audience(rows, "--html", str(page))
    text = page.read_text()
    assert text.lstrip().lower().startswith("<!doctype html>")
    assert "<script" not in text
    assert page.stat().st_mode & 0o777 == 0o600
    creative, audience = stage.folder / "creative.txt", stage.folder / "audience.csv"
    again = ("--creative", str(creative), "--audience", str(audience), "--tenant", OPEN)
    assert "already there" in stage.run(*again, "--html", str(page), code=1)


def test_events_are_rehearsed_as_ci360_would_post_them(stage: Stage) -> None:
    """Each line a body; what comes twice, is too old or asks for nothing is told from the rest."""
    fresh = stage.running.event("TO:+12015558103;Hello")
    old = stage.running.event("TO:+12015558104;Hello", age=200_000)
    lines = [json.dumps(fresh), json.dumps(fresh), json.dumps(old), "{}", "[]"]
    printed = stage.run("--events", stage.file("events.jsonl", "\n".join(lines)), "--json")
    told = json.loads(printed)
    assert told["rows"] == 5
    assert told["verdicts"] == {
        "accepted": 1,
        "duplicate": 1,
        "expired": 1,
        "test": 1,
        "not_json": 1,
    }


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    """Run a local S3."""
    with Moto() as moto:
        yield Bucket(moto)


def test_a_bulk_task_is_rehearsed_from_its_own_files(stage: Stage, bucket: Bucket) -> None:
    """The files are fetched, and no job is made."""
    running = stage.running
    before = running.environ["CI360_TWILIO_BULK_HOSTS"]
    running.environ["CI360_TWILIO_BULK_HOSTS"] = bucket.host
    try:
        task = bucket.task([["id-1", "Anna", "+12015558105", "Cary"]] * 2)
        told = json.loads(stage.run("--bulk", stage.file("body.json", json.dumps(task)), "--json"))
    finally:
        running.environ["CI360_TWILIO_BULK_HOSTS"] = before
    assert told["verdicts"] == {"accepted": 1, "duplicate": 1}
    assert "no jobs" in running.command("jobs").stdout


WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "nothing": ((), "Say what is rehearsed"),
    "half": (("--creative", "-"), "Say what is rehearsed"),
    "no tenant": (("--creative", "-", "--audience", "{audience}"), "--tenant"),
    "an unknown tenant": (
        ("--creative", "-", "--audience", "{audience}", "--tenant", "nobody"),
        "no tenant nobody",
    ),
    "no such file": (
        ("--creative", "-", "--audience", "/nowhere.csv", "--tenant", OPEN),
        "not there",
    ),
    "a folder": (("--creative", "-", "--audience", "{folder}", "--tenant", OPEN), "is no file"),
    "an empty file": (("--creative", "-", "--audience", "{empty}", "--tenant", OPEN), "CSV header"),
    "an unknown column": (
        ("--creative", "{creative}", "--audience", "{audience}", "--tenant", OPEN),
        "No column is called",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_rehearsed_is_said(stage: Stage, case: str) -> None:
    """With what to do, and without a report."""
    arguments, words = WRONG[case]
    names = {
        "audience": stage.file("audience.csv", "firstname,phone\nAnna,+12015558106\n"),
        "folder": str(stage.folder),
        "empty": stage.file("empty.csv", ""),
        "creative": stage.file("creative.txt", "TO:{{mobile}};Hi"),
    }
    done = stage.running.command("rehearse", *(one.format(**names) for one in arguments))
    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert not done.stdout


def test_events_of_another_tenant_are_not_taken_for_ones_own(stage: Stage) -> None:
    """Blank lines are left out, and count for the number of a line."""
    mine = stage.running.event("TO:+12015558107;Hello")
    other = stage.running.event("TO:+12015558108;Hello", tenant_id="other-tenant")
    file = stage.file("events.jsonl", f"\n{json.dumps(mine)}\n\n{json.dumps(other)}\n")
    assert "several tenants" in stage.run("--events", file, "--tenant", OPEN, code=2)
    large = stage.file("large.jsonl", f"\n{json.dumps(mine)}\n" + "x" * 3_000_000 + "\n[]\n")
    told = json.loads(stage.run("--events", large, "--tenant", OPEN, "--json"))
    assert told["verdicts"] == {"accepted": 1, "too_large": 1, "not_json": 1}
    lines = {one["verdict"]: one["examples"][0]["line"] for one in told["reasons"]}
    assert lines == {"too_large": 3, "not_json": 4}


def test_a_rehearsal_that_is_ended_leaves_no_file(stage: Stage) -> None:
    """The customers of an audience least of all."""
    rows = "firstname,phone\n" + "".join(
        f"Anna,+1{201 + n // 10_000}555{n % 10_000:04}\n" for n in range(60_000)
    )
    scratch = stage.folder / "scratch"
    scratch.mkdir()
    arguments = [
        *("--creative", stage.file("creative.txt", CREATIVE), "--tenant", OPEN),
        *("--audience", stage.file("audience.csv", rows)),
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "ci360_twilio", "rehearse", *arguments],
        env=stage.running.environ | {"TMPDIR": str(scratch)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stage.running.until(lambda: list(scratch.iterdir()))
    process.terminate()
    assert process.wait(30) == 128 + signal.SIGTERM
    stage.running.until(lambda: not list(scratch.iterdir()))
