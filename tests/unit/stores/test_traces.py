"""What files hold of a person: looked for byte for byte, in the ledger's files and in copies of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ci360_twilio.stores import traces
from ci360_twilio.stores.traces import Looked, copies_beside, ledger_files, look_through

NUMBER = "+12015550142"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A place for a file."""
    return tmp_path / "file"


def holds(file: Path, *words: str) -> bool | None:
    """Tell what is found in one file."""
    [looked] = look_through([file], words)
    assert looked.path == file
    return looked.holds


def touch(folder: Path, *names: str) -> None:
    """Make files."""
    for name in names:
        (folder / name).touch()


# look_through


@pytest.mark.parametrize(
    "content",
    [
        NUMBER.encode(),
        b"\x00\xff" + NUMBER.encode() + b"\x00",
        b'{"to":"whatsapp:+12015550142"}',
        b"x" * 5_000 + NUMBER.encode(),
    ],
    ids=["whole", "among bytes", "in JSON", "far behind"],
)
def test_a_word_is_found_wherever_it_stands(file: Path, content: bytes) -> None:
    """Whatever the file is otherwise."""
    file.write_bytes(content)
    assert holds(file, NUMBER) is True
    assert holds(file, "nobody", NUMBER) is True
    assert holds(file, "+12015550143") is False


def test_a_file_without_it_is_clean(file: Path) -> None:
    """Also an empty one, and one that holds the beginning only."""
    for content in (b"", NUMBER.encode()[:-1], b"+1201555\x000142"):
        file.write_bytes(content)
        assert holds(file, NUMBER) is False


def test_a_word_that_spans_two_parts_is_found(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is read in parts; wherever they meet, and however short they are."""
    monkeypatch.setattr(traces, "_PART", 16)
    for before in range(40):
        file.write_bytes(b"-" * before + NUMBER.encode() + b"-" * 40)
        assert holds(file, NUMBER) is True
        assert holds(file, "1", "-" * 30) is True
    monkeypatch.setattr(traces, "_PART", 3)
    assert holds(file, NUMBER) is True
    assert holds(file, "+12015550143", "+1201555014-") is False


def test_a_part_as_it_is_read_is_large_enough_for_the_words(file: Path) -> None:
    """Where the real parts meet."""
    file.write_bytes(b"-" * (traces._PART - 5) + NUMBER.encode() + b"-" * traces._PART)
    assert holds(file, NUMBER) is True


@pytest.mark.parametrize("word", ["Zoë", "日本", 'a"b', "back\\slash", "tab\tnew\nline", "\x01"])
def test_a_word_is_found_as_it_is_and_as_json_writes_it(file: Path, word: str) -> None:
    """The ledger's documents are JSON; its columns are plain."""
    import msgspec

    for content in (word.encode(), msgspec.json.encode({"datahub_id": word})):
        file.write_bytes(b"before " + content + b" after")
        assert holds(file, word) is True


def test_an_empty_word_says_nothing(file: Path) -> None:
    """Nor does none at all: everything holds it."""
    file.write_bytes(b"anything")
    assert holds(file) is False
    assert holds(file, "") is False
    assert holds(file, "", "anything") is True


def test_what_cannot_be_read_is_told_apart(tmp_path: Path, file: Path) -> None:
    """Gone, or no file; the others are looked through all the same."""
    file.write_text(NUMBER)
    gone = tmp_path / "gone"
    found = look_through([gone, tmp_path, file], [NUMBER])
    assert found == [Looked(gone, None), Looked(tmp_path, None), Looked(file, True)]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_told_apart(file: Path) -> None:
    """It is another user's, say."""
    file.write_text(NUMBER)
    file.chmod(0)
    assert holds(file, NUMBER) is None


# ledger_files and copies_beside


def test_a_ledgers_files_are_itself_and_its_log(tmp_path: Path) -> None:
    """As far as they are there; not its key, nor what only helps to share it."""
    ledger = tmp_path / "ledger.db"
    assert ledger_files(ledger) == []
    touch(tmp_path, "ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db.key", "ledger.db2")
    assert ledger_files(ledger) == [ledger, tmp_path / "ledger.db-wal"]
    touch(tmp_path, "ledger.db-journal")
    assert ledger_files(ledger)[-1] == tmp_path / "ledger.db-journal"


def test_copies_beside_a_ledger_are_listed(tmp_path: Path) -> None:
    """What a restore keeps, with its log, and what people call so; in order."""
    names = (
        *(
            "ledger.db.before-restore-20260302T093000Z",
            "ledger.db.before-restore-20260302T093000Z-2",
        ),
        *("ledger.db.before-restore-20260302T093000Z-wal", "ledger.db.bak"),
    )
    touch(tmp_path, *names, "ledger.db", "ledger.db-wal", "ledger.db.key", "ledger.db.restoring")
    touch(tmp_path, "other.db.bak", "ledger.dbx")
    (tmp_path / "ledger.db.folder").mkdir()
    assert copies_beside(tmp_path / "ledger.db") == [tmp_path / name for name in sorted(names)]


@pytest.mark.parametrize("name", ["ledger[1].db", "led*er.db", "ledger?.db"])
def test_a_name_is_no_pattern(tmp_path: Path, name: str) -> None:
    """However the ledger is called, its own copies are listed, and no others."""
    touch(tmp_path, f"{name}.bak", "ledger1.db.bak", "ledger.db.bak", "ledgerx.db.bak")
    assert copies_beside(tmp_path / name) == [tmp_path / f"{name}.bak"]
