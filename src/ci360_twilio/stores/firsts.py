"""What was seen first on which row of a file, on disk: flat memory for any number of rows."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path


class TemporaryFirsts:
    """See :class:`ci360_twilio.ports.Firsts`. The file has no name that anybody else could open."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ci360-twilio-")
        path = Path(self._folder.name) / "seen"
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -32000"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute("CREATE TABLE seen (what PRIMARY KEY, row, mark) WITHOUT ROWID")

    def add(self, seen: Sequence[tuple[str | int, int, int]]) -> list[tuple[int, int] | None]:
        """Note what is seen; gives what was there before."""
        before = self._db.total_changes
        self._db.execute("BEGIN")
        self._db.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", seen)
        self._db.execute("COMMIT")
        if self._db.total_changes - before == len(seen):
            return [None] * len(seen)
        found: list[tuple[int, int] | None] = []
        for what, row, _ in seen:
            sql = "SELECT row, mark FROM seen WHERE what = ?"
            first = self._db.execute(sql, (what,)).fetchone()
            found.append(None if first[0] == row else (first[0], first[1]))
        return found

    def close(self) -> None:
        """Delete the file."""
        self._db.close()
        self._folder.cleanup()
