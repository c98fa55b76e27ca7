"""A ledger that fails now and then, before it has written and after."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

from ci360_twilio.errors import LedgerUnavailable
from ci360_twilio.ports import Store

T = TypeVar("T")

COMMITS = frozenset(
    {
        "insert_many",
        "claim",
        "record_many",
        "look",
        "take_reports",
        "answer_reports",
        "hear_many",
        "attest_many",
    }
)
"""What fails: the commits of the verbs."""


def flaky(store: Store, share: float, chance: random.Random) -> Store:
    """Give a store that raises ``LedgerUnavailable`` for a share of the commits.

    Half of these have happened. The contract allows both: nothing of a batch is *known* to be written,
    and the same call may be made again.

    Args:
        store: what it is else.
        share: of the commits, from 0 to 1.
        chance: decides which.
    """
    return cast("Store", _Flaky(store, share, chance))


class _Flaky:
    def __init__(self, store: Store, share: float, chance: random.Random) -> None:
        self._store = store
        self._share = share
        self._chance = chance

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return partial(self._perhaps, found) if name in COMMITS else found

    def _perhaps(self, work: Callable[..., T], *args: Any, **members: Any) -> T:
        dice = self._chance.random()
        if dice < self._share / 2:
            raise LedgerUnavailable("The ledger cannot be used just now.")
        done = work(*args, **members)
        if dice < self._share:
            raise LedgerUnavailable("The ledger's answer was lost.")
        return done
