"""What the tests of all migrations of a SQLite ledger share."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ci360_twilio.errors import LedgerUnavailable
from ci360_twilio.stores.sqlite import SqliteStore


def schema(path: Path) -> list[tuple[Any, ...]]:
    """Give everything that a file declares, and the columns of its tables in their order."""
    with closing(sqlite3.connect(path)) as db:
        sql = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
        found = list(db.execute(sql))
        names = "SELECT name FROM pragma_table_info(?)"
        return [(*one, *db.execute(names, (one[1],)).fetchall()) for one in found]


def break_off(path: Path, open_store: Callable[[], SqliteStore], *, version: int, at: str) -> None:
    """Have a ledger's migration break off where it makes a table, and see that nothing of it is left."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"CREATE TABLE {at} (id)")
    before = schema(path)
    with pytest.raises(LedgerUnavailable):
        open_store()
    assert schema(path) == before
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute("PRAGMA user_version").fetchone() == (version,)
        db.execute(f"DROP TABLE {at}")
