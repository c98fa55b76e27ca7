"""Lists of wishes, in and out: what of a file is taken, what is left out, and what a file may hold."""

from __future__ import annotations

import csv
import fcntl
import os
import pty
import sqlite3
import struct
import subprocess
import sys
import termios
from contextlib import closing, suppress
from pathlib import Path
from subprocess import PIPE
from typing import TYPE_CHECKING

import pytest

from ci360_twilio.core.preference import PREFERENCES
from ci360_twilio.flow.consenting import BATCH

if TYPE_CHECKING:
    from tests.unit.edge.cli.conftest import Done, Hear, Home, Run, Type

TENANT = "af5af6b8f500013eb0c90001"
ONE, TWO, THREE = "+12015550101", "+12015550102", "+12015550103"
OF = ("--tenant", TENANT)
HEAD = "recipient,state,since,source,group"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A place for a list."""
    return tmp_path / "list.csv"


def exported(run: Run, *options: object, tenant: str = TENANT) -> list[list[str]]:
    """Give what an export writes, without its head."""
    head, *rows = csv.reader(
        run("consent", "export", "--tenant", tenant, *options).out.splitlines()
    )
    assert head == HEAD.split(",")
    return rows


def wishes(run: Run) -> dict[str, str]:
    """Give everybody's wish by number."""
    return {row[0]: row[1] for row in exported(run)}


def said(done: Done) -> list[str]:
    """Give what was printed; none of it is a number."""
    assert "201555" not in done.out + done.err
    return done.out.splitlines()


# import


@pytest.mark.parametrize(
    "text",
    [
        f"{HEAD}\n{ONE},out,2026-03-02T09:30:00Z,text,\n{TWO},out,,,\n",
        f"state,phone\nSTOP,{ONE}\nopt-out,{TWO}\n",
        f"\ufeffRecipient , State\r\n{ONE},out\r\n\r\n{TWO},Out\r\n",
        f"{ONE}\n{TWO}\n",
        f'"{ONE}"\n\'{TWO}\n',
        f"{','.join(PREFERENCES)}\nsms_id,{ONE},OPT-OUT,true\nsms_id,{TWO},OPT-OUT,TRUE\n",
        f"sms_id,{ONE},OPT-OUT,true\nsms_id,{TWO},OPT-OUT,true\n",
    ],
    ids=["export", "columns", "windows", "numbers", "quoted", "ci360", "ci360 without head"],
)
@pytest.mark.parametrize("piped", [False, True])
def test_a_list_of_any_known_kind_is_taken(
    run: Run, home: Home, pipe: Type, file: Path, text: str, piped: bool
) -> None:
    """From a file or standard input; it makes the ledger where there is none, and holds at once."""
    file.write_text(text, encoding="utf-8", newline="")
    pipe(file.read_bytes())
    done = run("consent", "import", "-" if piped else file, *OF)
    assert done.code == 0
    assert said(done) == ["2 rows read, 2 consents changed."]
    assert wishes(run) == {ONE: "out", TWO: "out"}
    assert run("send", home.event(f"TO:{ONE};\nHello")).out == "suppressed: opted_out\n"


def test_taking_a_list_twice_changes_nothing(run: Run, home: Home, file: Path) -> None:
    """Nor is it written into the audit a second time."""
    file.write_text(f"{HEAD}\n{ONE},out,2026-03-02T09:30:00Z,text,\n")
    run("consent", "import", file, *OF)
    done = run("consent", "import", file, *OF)
    assert (done.code, said(done)) == (0, ["1 row read, 0 consents changed."])
    [note] = run("audit", "--json").read()
    assert (note["action"], note["entries"]) == ("consent import", 1)
    assert note["detail"] == "import of 1 rows"


def test_the_dates_of_a_list_decide(run: Run, home: Home, file: Path) -> None:
    """A later opt-in lifts, an earlier one does not, nor one without a date."""
    rows = [f"{ONE},out,2026-03-02", f"{TWO},out,2026-03-02", f"{THREE},out,2026-03-02"]
    rows += [f"{ONE},in,2026-03-03", f"{TWO},in,2026-03-01", f"{THREE},in,"]
    file.write_text("\n".join(["recipient,state,since", *rows]))
    assert said(run("consent", "import", file, *OF))[0].startswith("6 rows read")
    assert wishes(run) == {ONE: "in", TWO: "out", THREE: "out"}
    assert exported(run)[1][2] == "2026-03-02T23:59:59Z"


def test_rows_that_cannot_be_used_are_counted_by_reason(run: Run, home: Home, file: Path) -> None:
    """With their lines, and without what stands in them; the others are taken. Exit code 1."""
    rows = ["recipient,state", f"{ONE},out", "Anna,out", "555 0199,out", "", f"{TWO},perhaps"]
    rows += [THREE, "=HYPERLINK(1),out", "\x1b[31m,out"]
    file.write_text("\n".join(rows))
    done = run("consent", "import", file, *OF)
    assert done.code == 1
    assert said(done) == [
        "7 rows read, 1 consent changed.",
        "  4 left out: they hold no number that can be read (national ones need --region).",
        "  1 left out: they say neither in nor out.",
        "  1 left out: they have too few fields.",
        "  Lines 3, 4, 6, 7, 8, 9.",
    ]
    assert wishes(run) == {ONE: "out"}
    file.write_text("\n".join([f"sms_id,{ONE},OPT-OUT,true"] + ["email_id,x,OPT-OUT,true"] * 30))
    lines = said(run("consent", "import", file, *OF))
    assert "  30 left out: they are about something else than all text messages." in lines
    assert lines[-1].endswith(", 21 and more.")


@pytest.mark.parametrize("region", ["US", "us", "Us"])
def test_national_numbers_are_read_with_their_country(
    run: Run, home: Home, pipe: Type, region: str
) -> None:
    """However its two letters are written."""
    pipe("(201) 555-0101\n201-555-0102\n")
    assert run("consent", "import", "-", *OF, "--region", region).code == 0
    assert set(wishes(run)) == {ONE, TWO}


@pytest.mark.parametrize("region", ["UK", "USA", "1", "Germany"])
def test_a_country_that_is_none_is_refused(run: Run, home: Home, pipe: Type, region: str) -> None:
    """Every row would be left out, and nobody would know why."""
    pipe(f"{ONE}\n")
    done = run("consent", "import", "-", *OF, "--region", region)
    assert done.code == 2
    assert "two letters" in done.err
    assert not home.ledger.exists()


def test_a_list_may_be_about_some_senders_only(run: Run, home: Home, pipe: Type) -> None:
    """Those of a group that the tenant's document names; others go on."""
    home.write(consent_groups={"shop": ["+12015550199"]})
    pipe(f"{ONE}\n")
    assert run("consent", "import", "-", *OF, "--group", "shop").code == 0
    assert [row[4] for row in exported(run)] == ["shop"]
    assert run("send", home.event(f"TO:{ONE};\nHello")).out == "sent\n"
    event = home.event(f"TO:{ONE};\nFROM:+12015550199;\nHello")
    assert run("send", event).out == "suppressed: opted_out\n"


def test_a_list_longer_than_a_commit_is_taken_whole(run: Run, home: Home, file: Path) -> None:
    """Rows are counted over all of them."""
    rows = [f"+1201555{number % 40:04},out,2026-03-02" for number in range(BATCH + 1)]
    file.write_text("\n".join(["recipient,state,since", *rows, f"{THREE},out,2026-03-02"]))
    done = run("consent", "import", file, *OF)
    assert said(done) == [f"{BATCH + 2:,} rows read, 41 consents changed."]


def test_on_a_terminal_a_bar_shows_how_far_it_is(home: Home, file: Path) -> None:
    """On standard error; elsewhere there is none."""
    pytest.importorskip("tqdm")
    file.write_text(f"{ONE}\n")
    command = [sys.executable, "-m", "ci360_twilio", "consent", "import", str(file), *OF]
    outside, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with os.fdopen(inside, "wb") as end:
        seen = subprocess.run(command, stdout=PIPE, stderr=end, timeout=60, check=False)
    shown = b""
    with os.fdopen(outside, "rb", buffering=0) as screen, suppress(OSError):  # it has ended
        while part := screen.read(4_096):
            shown += part
    unseen = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert b"%|" in shown
    assert b"%|" not in unseen.stderr
    for done in (seen, unseen):
        assert done.stdout.startswith(b"1 row read, ")


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe" + f"recipient,state\n{ONE},out\n".encode("utf-16-le"),
        b"\x00" * 200,
        b'"' + b"x" * 200_000 + b'"\n',
        b"\x80\x81\xfe\n",
        f"recipient;state\n{ONE};in\n".encode(),
        b'"' + b"\n" * 500,
    ],
    ids=["utf-16", "zeros", "endless field", "latin", "semicolons", "open quote"],
)
def test_a_file_of_another_kind_is_left_out_and_told(
    run: Run, home: Home, file: Path, content: bytes
) -> None:
    """Exit code 1, unless there is nothing in it; no wish is made up."""
    file.write_bytes(content)
    done = run("consent", "import", file, *OF)
    assert ("left out" in done.out) is (done.code == 1)
    assert wishes(run) == {}


def test_an_empty_list_is_taken(run: Run, home: Home, file: Path) -> None:
    """Nothing is in it; exit code 0."""
    file.write_text("\n\n")
    done = run("consent", "import", file, *OF)
    assert (done.code, said(done)) == (0, ["0 rows read, 0 consents changed."])


@pytest.mark.parametrize(("name", "words"), [("gone.csv", "No such file"), (".", "Is a directory")])
def test_a_list_that_cannot_be_read_is_named(
    run: Run, home: Home, tmp_path: Path, name: str, words: str
) -> None:
    """Exit code 2; no ledger is made for it."""
    done = run("consent", "import", tmp_path / name, *OF)
    assert done.code == 2
    assert f"{tmp_path / name} cannot be read: {words}" in done.err
    assert not home.ledger.exists()


# export


@pytest.fixture
def known(run: Run, home: Home, pipe: Type, hear: Hear) -> None:
    """Three people: one out, one in, one to be read."""
    pipe(
        f"recipient,state,since\n{ONE},out,2026-03-02\n{TWO},out,2026-03-02\n{TWO},in,2026-03-03\n"
    )
    run("consent", "import", "-", *OF)
    hear("please stop texting me", sender=THREE)


def test_a_list_of_all_wishes_is_written(run: Run, known: None) -> None:
    """To the screen, where nothing else is; with what decided and since when."""
    done = run("consent", "export", *OF)
    assert (done.code, done.err) == (0, "")
    first, second, third = exported(run)
    assert first == [ONE, "out", "2026-03-02T23:59:59Z", "import", ""]
    assert second == [TWO, "in", "2026-03-03T00:00:00Z", "import", ""]
    assert [third[0], third[1], third[3]] == [THREE, "review", "text"]
    assert [row[0] for row in exported(run, "--state", "out")] == [ONE]
    assert [row[0] for row in exported(run, "--state", "in", "--state", "review")] == [TWO, THREE]
    assert exported(run, tenant="second") == []


def test_an_export_can_be_taken_elsewhere(run: Run, home: Home, known: None, file: Path) -> None:
    """Twice, and nothing changes the second time; what is to be read is no wish yet."""
    run("consent", "export", *OF, "--state", "out", "--to", file)
    home.write("second")
    for changed in (1, 0):
        done = run("consent", "import", file, "--tenant", "second")
        assert done.out.startswith(f"1 row read, {changed} consent")
    assert [row[:3] for row in exported(run, tenant="second")] == [
        [ONE, "out", "2026-03-02T23:59:59Z"]
    ]


def test_a_list_in_a_file_is_its_owners_alone(run: Run, known: None, file: Path) -> None:
    """One that is there is not overwritten."""
    done = run("consent", "export", *OF, "--to", file)
    assert done.out == f"3 consents written to {file}, which only you can read.\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().splitlines()[0] == HEAD
    before = file.read_bytes()
    done = run("consent", "export", *OF, "--to", file)
    assert done.code == 1
    assert f"{file} is already there" in done.err
    assert file.read_bytes() == before
    assert run("consent", "export", *OF, "--to", "/nonexistent/list.csv").code == 2


def test_an_export_that_fails_leaves_no_half_a_list(run: Run, known: None, file: Path) -> None:
    """Somebody would take it for a whole one, and the next try would find it in its way."""
    with closing(sqlite3.connect(Path(file).with_name("ledger.db"))) as db:
        db.execute("UPDATE consents SET data = '{' WHERE recipient = ?", (TWO,))
        db.commit()
    done = run("consent", "export", *OF, "--to", file)
    assert done.code == 1
    assert "restore a backup" in done.err
    assert not file.exists()


def test_erased_people_are_counted_and_not_listed(run: Run, known: None, pipe: Type) -> None:
    """Their wish stays in force; the list itself is left clean."""
    pipe(ONE)
    assert run("erase", *OF, "--yes").code == 0
    assert [row[0] for row in exported(run)] == [TWO, THREE]
    done = run("consent", "export", *OF)
    assert done.err == "1 consent of erased people left out: in force, but nameless.\n"


def test_no_cell_is_a_formula(run: Run, home: Home, pipe: Type) -> None:
    """A group may begin with a minus; a spreadsheet would calculate. Numbers stay as they are."""
    home.write(consent_groups={"-1": ["+12015550199"]})
    pipe(ONE)
    run("consent", "set", "out", *OF, "--group=-1")
    [row] = exported(run)
    assert (row[0], row[4]) == (ONE, "'-1")


def test_a_column_may_say_yes_or_no_to_an_opt_out(run: Run, home: Home, file: Path) -> None:
    """Or to an opt-in."""
    file.write_text(f"phone,opted_out\n{ONE},true\n{TWO},false\n{THREE},perhaps")
    assert run("consent", "import", file, *OF).code == 1
    assert wishes(run) == {ONE: "out"}
    file.write_text(f"phone,subscribed\n{TWO},no")
    assert run("consent", "import", file, *OF).code == 0
    assert wishes(run) == {ONE: "out", TWO: "out"}


def test_a_list_that_says_neither_is_told_to_be_one_of_opt_outs(
    run: Run, home: Home, file: Path
) -> None:
    """One of numbers alone is what it seems."""
    file.write_text(f"phone,name\n{ONE},Anna")
    assert "No column says in or out" in run("consent", "import", file, *OF).out
    file.write_text(f"phone\n{TWO}")
    assert "No column" not in run("consent", "import", file, *OF).out
