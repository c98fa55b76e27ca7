"""``ledger check``: what is counted beside the entries is as they are, afterwards at the latest."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing

from tests.unit.edge.cli.conftest import Done, Home


def test_counts_that_differ_are_put_right(run: Callable[..., Done], home: Home) -> None:
    """It says so, once."""
    for number in range(3):
        run("send", home.event(f"TO:+1201555014{number};\nHello"))
    assert "put right" not in run("ledger", "check").out
    with closing(sqlite3.connect(home.ledger)) as db, db:
        db.execute("UPDATE counts SET entries = entries + 7")
    done = run("ledger", "check")
    assert done.code == 0
    assert "of messages differed from the entries and were put right." in done.out
    assert "put right" not in run("ledger", "check").out
