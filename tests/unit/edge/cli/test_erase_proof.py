"""What an erasure proves: that the ledger's files hold nothing any more, and which copies still do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import LedgerUnavailable
from ci360_twilio.flow.erase import Erasing
from ci360_twilio.logs import Log
from ci360_twilio.settings import read_settings
from ci360_twilio.stores.sqlite import SqliteStore
from ci360_twilio.wiring import hash_key_of, utc_now

if TYPE_CHECKING:
    from tests.unit.edge.cli.conftest import Done, Hear, Home, Run, Type

TENANT = TenantId("af5af6b8f500013eb0c90001")
TO, NEIGHBOUR = "+12015550142", "+12015550145"
OF = ("--tenant", TENANT)
SECRETS = (b"2015550142", b"D-1", b"Hello Anna", b"Call me back")
CLEAN = "byte for byte: none of these numbers and identities is there."


@pytest.fixture
def person(run: Run, home: Home, hear: Hear) -> None:
    """Somebody who got messages, wrote back and opted out; and a neighbour."""
    for guid in ("a", "b", "c"):
        run("send", home.event(guid=guid, datahub_id="D-1"))
    run("send", home.event(f"TO:{NEIGHBOUR};\nHello you", datahub_id="D-3"))
    hear("Call me back")
    hear("Stop")


def erase(run: Run, pipe: Type, *options: str, typed: str = TO) -> Done:
    """Erase the person; nothing that is printed or logged names them."""
    pipe(typed)
    done = run("erase", *OF, "--yes", *options)
    for secret in SECRETS:
        assert secret.decode() not in done.out + done.err
    return done


def held(ledger: Path) -> set[bytes]:
    """Give what the ledger's files hold of the person."""
    files = [file for file in ledger.parent.glob("ledger.db*") if file.suffix != ".key"]
    return {secret for secret in SECRETS for file in files if secret in file.read_bytes()}


@pytest.fixture
def open_ledger(home: Home, person: None) -> Iterator[sqlite3.Connection]:
    """Somebody else who has the ledger open, as a server has, so that its log stays."""
    with closing(sqlite3.connect(home.ledger)) as db:
        db.execute("SELECT count(*) FROM entries").fetchone()
        yield db


def test_nothing_is_left_in_the_ledgers_files(
    run: Run, home: Home, pipe: Type, open_ledger: sqlite3.Connection
) -> None:
    """Neither in the file nor in its log, though others have it open; and that is said."""
    assert held(home.ledger) == {*SECRETS}
    done = erase(run, pipe)
    assert done.code == 0
    assert f"Looked through ledger.db, ledger.db-wal {CLEAN}" in done.out
    assert done.out.endswith("\nWhat Twilio and CI360 keep is theirs to erase.\n")
    assert "Backup" not in done.out
    assert held(home.ledger) == set()
    assert b"2015550145" in home.ledger.read_bytes()


def test_what_was_not_asked_for_is_not_claimed_to_be_gone(
    run: Run, home: Home, pipe: Type, person: None
) -> None:
    """With ``--only`` an identity goes, and the number in the opt-out stays."""
    done = erase(run, pipe, "--only", "--identity", "datahub_id", typed="D-1")
    assert "with 0 numbers and 1 identity." in done.out
    assert CLEAN in done.out
    assert held(home.ledger) == {b"2015550142"}


def test_another_tenant_may_know_the_same_number(
    run: Run, home: Home, pipe: Type, person: None
) -> None:
    """It keeps what it has, and the proof does not claim that nothing is there."""
    home.write("second")
    run("send", home.event(guid="x", tenant_id="second", datahub_id="D-9"))
    done = erase(run, pipe)
    assert done.code == 0
    assert "something like it is still there. It may be another tenant's" in done.out
    assert run("trace", "x", "--json").read()["to"] == "+*********42"
    pipe(TO)
    assert run("erase", "--tenant", "second", "--yes").out.count(CLEAN) == 1
    assert held(home.ledger) == set()


def test_backups_that_hold_the_person_are_named(
    run: Run, home: Home, pipe: Type, person: None, tmp_path: Path
) -> None:
    """Also one that is gone: somebody may have moved it. One that holds nothing is not."""
    for name in ("good", "moved"):
        run("ledger", "backup", tmp_path / name)
    (tmp_path / "moved").rename(tmp_path / "elsewhere")
    done = erase(run, pipe)
    assert done.code == 0
    assert f"Backup {tmp_path / 'good'}: still holds them; delete it." in done.out
    gone = f"Backup {tmp_path / 'moved'}: is gone or cannot be read; wherever it is, it holds them."
    assert gone in done.out
    assert "Restoring one of these over this ledger erases them again." in done.out
    run("ledger", "backup", tmp_path / "clean")
    pipe(NEIGHBOUR)
    done = run("erase", *OF, "--yes")
    assert f"Backup {tmp_path / 'clean'}: still holds them" in done.out
    assert f"Backup {tmp_path / 'good'}: still holds them" in done.out


def test_a_backup_from_before_a_person_came_is_not_named(
    run: Run, home: Home, pipe: Type, tmp_path: Path
) -> None:
    """It cannot hold them, even if it is gone."""
    run("send", home.event(f"TO:{NEIGHBOUR};\nHello you", datahub_id="D-3"))
    run("ledger", "backup", tmp_path / "early")
    (tmp_path / "early").unlink()
    run("send", home.event(datahub_id="D-1"))
    assert "Backup" not in erase(run, pipe).out


@pytest.mark.parametrize("name", ["4711.db", "of D-1"])
def test_a_backup_whose_name_holds_an_identity_is_named_all_the_same(
    run: Run, home: Home, pipe: Type, tmp_path: Path, name: str
) -> None:
    """Its line in the audit loses its text, as any that holds one."""
    run("send", home.event(guid="a"))
    run("send", home.event(guid="b", datahub_id="D-1"))
    run("ledger", "backup", tmp_path / name)
    pipe(TO)
    done = run("erase", *OF, "--yes")
    assert "1 line of the audit." in done.out
    assert f"Backup {tmp_path / name}: still holds them" in done.out


def test_what_a_restore_kept_is_named(
    run: Run, home: Home, pipe: Type, person: None, tmp_path: Path
) -> None:
    """The ledger as it was before lies beside it; it and the backup hold the person."""
    run("ledger", "backup", tmp_path / "copy")
    run("ledger", "restore", tmp_path / "copy", "--yes")
    [kept] = tmp_path.glob("ledger.db.before-restore-*")
    done = erase(run, pipe)
    assert f"Backup {kept}: still holds them" in done.out
    assert f"Backup {tmp_path / 'copy'}: still holds them" in done.out
    assert done.out.count("Backup ") == 2


def test_a_backup_that_replaced_a_damaged_ledger_is_named(
    run: Run, home: Home, pipe: Type, person: None, tmp_path: Path
) -> None:
    """That it was made stood in the ledger that is lost; that it was restored stands in this one."""
    run("ledger", "backup", tmp_path / "copy")
    for file in tmp_path.glob("ledger.db-*"):
        file.unlink()
    home.ledger.write_bytes(b"no database" * 500)
    assert run("ledger", "restore", tmp_path / "copy", "--yes").code == 0
    assert f"Backup {tmp_path / 'copy'}: still holds them" in erase(run, pipe).out


@pytest.mark.parametrize("damaged", [False, True])
def test_restoring_a_backup_erases_again(
    run: Run, home: Home, pipe: Type, person: None, tmp_path: Path, damaged: bool
) -> None:
    """Over this ledger, as the proof says; over a damaged one nothing is known of the erasure."""
    run("ledger", "backup", tmp_path / "copy")
    erase(run, pipe)
    if damaged:
        home.ledger.write_bytes(b"no database" * 500)
    run("ledger", "restore", tmp_path / "copy", "--yes")
    pipe(TO)
    assert run("export", *OF).code == (0 if damaged else 1)
    assert ("Hello Anna" in home.ledger.read_bytes().decode(errors="ignore")) is damaged


def test_an_erasure_that_failed_at_its_end_is_finished_by_the_next(
    run: Run, home: Home, pipe: Type, open_ledger: sqlite3.Connection
) -> None:
    """Somebody was reading the log; all is forgotten by then, and the file still holds it."""
    open_ledger.execute("BEGIN")
    open_ledger.execute("SELECT count(*) FROM entries").fetchone()
    key = hash_key_of(read_settings(), home.ledger)
    with closing(SqliteStore(home.ledger, hash_key=key, busy_seconds=0.1)) as store:
        erasing = Erasing(store, utc_now, Log(level="error"))
        with pytest.raises(LedgerUnavailable, match="erase again"):
            erasing.erase(erasing.find(TENANT, number=TO), by="me")
    open_ledger.execute("COMMIT")
    assert held(home.ledger) == {*SECRETS}
    pipe(TO)
    done = run("erase", *OF, "--dry-run")
    assert (done.code, done.out) == (1, "")
    assert held(home.ledger) == {*SECRETS}
    done = erase(run, pipe)
    assert done.code == 1
    assert "The rest of an erasure that had failed at its end is gone" in done.out
    assert "or it was erased before" in done.err
    assert held(home.ledger) == set()


def test_a_path_cannot_steer_the_terminal(run: Run, home: Home, pipe: Type, person: None) -> None:
    """Somebody named a copy so; ``run`` looks for what would."""
    home.ledger.with_name("ledger.db.\x1b[2J\u202e").write_bytes(TO.encode())
    assert "ledger.db.[2J: still holds them" in erase(run, pipe).out
