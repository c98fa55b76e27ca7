"""What is kept beside the entries of a SQLite ledger, compared with them and set right."""

from __future__ import annotations

import sqlite3

from ci360_twilio.stores.sqlite_traits import UNREADABLE, SqliteTraits
from ci360_twilio.stores.traits import SLOT_MS

_AT_ONCE = 1000
_PAGE = "SELECT id, traits, names, data FROM entries WHERE id > ? ORDER BY id LIMIT ?"
# What is not counted as it should be, from either side.
_MISCOUNTED = f"""
    WITH found (slot, traits, entries) AS (
        SELECT created_at / {SLOT_MS}, traits, count(*) FROM entries
        WHERE traits IS NOT NULL AND traits <> {UNREADABLE} GROUP BY 1, 2
    )
    SELECT slot, traits, entries FROM (SELECT * FROM found EXCEPT SELECT * FROM counts)
    UNION ALL
    SELECT slot, traits, 0 FROM counts
    WHERE NOT EXISTS (
        SELECT 1 FROM entries WHERE entries.traits = counts.traits
        AND created_at >= slot * {SLOT_MS} AND created_at < (slot + 1) * {SLOT_MS}
    )
"""  # noqa: S608
_UNUSED = (
    "DELETE FROM traits WHERE NOT EXISTS (SELECT 1 FROM entries WHERE entries.traits = traits.id)"
)


def entries(db: sqlite3.Connection, after: int) -> tuple[int, int | None]:
    """Set traits and names of some entries right.

    Returns:
        Of how many they were wrong, and after which row to go on; ``None`` at the end.
    """
    traits, wrong = SqliteTraits(db), 0
    page = db.execute(_PAGE, (after, _AT_ONCE)).fetchall()
    for row, *known, data in page:
        _, *right = traits.read(data)
        if right != known:
            db.execute("UPDATE entries SET traits = ?, names = ? WHERE id = ?", (*right, row))
            wrong += 1
    return wrong, page[-1][0] if len(page) == _AT_ONCE else None


def rest(db: sqlite3.Connection) -> int:
    """Set right how many entries have which traits, and forget what belongs to none; gives how much was wrong."""
    miscounted = db.execute(_MISCOUNTED).fetchall()
    db.executemany(
        "INSERT INTO counts (slot, traits, entries) VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET entries = excluded.entries",
        miscounted,
    )
    db.execute("DELETE FROM counts WHERE entries <= 0")
    db.execute(_UNUSED)
    return len(miscounted)
