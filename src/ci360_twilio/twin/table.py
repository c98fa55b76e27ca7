"""A look-alike of a DynamoDB table, to rehearse with: indexes lag behind, and processes die in between.

It stands in for :class:`ci360_twilio.stores.dynamodb_table.Table`, on a virtual clock. Rows are read and
written strongly, one condition at a time, as DynamoDB documents it; what an index shows is older by a
random time. A write may fail before it has happened or after, in the middle of a unit of work.
"""

from __future__ import annotations

import random
import threading
from bisect import bisect_left, insort
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TypeVar

from ci360_twilio.errors import LedgerUnavailable
from ci360_twilio.stores.dynamodb_table import Found, Row, Table

_OTHERS = 0.2
"""The share of writes before which others do something."""

T = TypeVar("T")
R = TypeVar("R")


class TwinTable(Table):
    """One table in memory."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        chance: random.Random,
        shards: int = 2,
        lag: float = 0.5,
        torn: float = 0.0,
    ) -> None:
        """Make an empty table.

        Args:
            clock: tells seconds since 1970.
            chance: decides what lags and what fails.
            shards: into how many parts lists are split.
            lag: seconds by which an index may be behind.
            torn: the share of writes that fail, from 0 to 1; half of these have happened.
        """
        super().__init__(None, "twin", shards=shards, clock=clock)
        self._chance = chance
        self._lag = lag
        self.torn = torn
        self.meanwhile: Callable[[], None] | None = None
        """What others do before a write, now and then: what was read is not so any more."""
        self._lock = threading.RLock()
        self._rows: dict[str, Row] = {}
        self._indexes: defaultdict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
        self._shown: dict[str, dict[str, tuple[str, str]]] = {}
        """How each row stands in the indexes by now."""
        self._behind: deque[tuple[float, str]] = deque()
        """Rows that the indexes have not caught up with, and when they do."""

    def close(self) -> None:
        """Let threads go."""
        self._pool.shutdown()

    def each(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Do something for each item, one after the other: the same each time."""
        return [work(one) for one in items]

    def read(self, pks: Collection[str]) -> dict[str, Row | None]:
        """Read rows."""
        return {pk: self._row_now(pk) for pk in pks}

    def write(self, row: Row, *, before: int | None) -> bool:
        """Write a row over the version that was read, or fail."""
        self._let_others()
        with self._lock:
            known = self._row_now(row.pk)
            if (known.version if known else None) != before:
                return False
            self._put(row._replace(version=(before or 0) + 1))
            return True

    def delete(self, pk: str, *, before: int) -> bool:
        """Delete a row, or fail."""
        with self._lock:
            known = self._row_now(pk)
            if known is None or known.version != before:
                return False
            dice = self._chance.random()
            self._fail(dice < self.torn / 2)
            del self._rows[pk]
            self._follow(pk)
            self._fail(dice < self.torn)
            return True

    def overwrite(self, rows: Sequence[Row]) -> None:
        """Write rows over whatever stands there, or fail at one of them."""
        for row in rows:
            with self._lock:
                self._put(row)

    def listed(
        self, index: str, name: str, *, upto: str = "", after: str = "", backward: bool = False
    ) -> Iterator[Found]:
        """Go through a list as the index shows it now."""
        with self._lock:
            self._catch_up()
            places = self._indexes.get((index, name), [])
            first = bisect_left(places, (after + "\0", "")) if after else 0
            last = bisect_left(places, (upto + "\0", "")) if upto else len(places)
            some = [Found(*place) for place in places[first:last]]
        yield from reversed(some) if backward else some

    def count(self, index: str, name: str, *, upto: str = "", most: int | None = None) -> int:
        """Count what is in a list."""
        number = sum(1 for _ in self.listed(index, name, upto=upto))
        return number if most is None else min(number, most)

    def everything(self, prefix: str) -> Iterator[Row]:
        """Go through all rows of a kind."""
        with self._lock:
            pks = [pk for pk in self._rows if pk.startswith(prefix)]
        yield from (row for pk in pks if (row := self._row_now(pk)) is not None)

    def everything_in(self, index: str) -> Iterator[str]:
        """Go through the keys of all rows in an index."""
        with self._lock:
            self._catch_up()
            some = [
                pk
                for (where, _), places in self._indexes.items()
                if where == index
                for _, pk in places
            ]
        yield from some

    def _row_now(self, pk: str) -> Row | None:
        row = self._rows.get(pk)
        return None if row is None or self._is_over(row) else row

    def _put(self, row: Row) -> None:
        dice = self._chance.random()
        self._fail(dice < self.torn / 2)
        self._rows[row.pk] = row
        self._follow(row.pk)
        self._fail(dice < self.torn)

    def _let_others(self) -> None:
        if self.meanwhile is not None and self._chance.random() < _OTHERS:
            others, self.meanwhile = self.meanwhile, None
            others()
            self.meanwhile = others

    def _fail(self, does: bool) -> None:
        if does:
            raise LedgerUnavailable("The process ended here.")

    def _follow(self, pk: str) -> None:
        """Have the indexes catch up with a row, some time from now; they do so in order."""
        at = self._clock() + self._chance.uniform(0, self._lag)
        at = max(at, self._behind[-1][0] if self._behind else 0.0)
        self._behind.append((at, pk))

    def _catch_up(self) -> None:
        now = self._clock()
        while self._behind and self._behind[0][0] <= now:
            _, pk = self._behind.popleft()
            for index, (name, at) in self._shown.pop(pk, {}).items():
                places = self._indexes[index, name]
                del places[bisect_left(places, (at, pk))]
                if not places:
                    del self._indexes[index, name]
            row = self._rows.get(pk)
            if row is not None and row.names:
                self._shown[pk] = dict(row.names)
                for index, (name, at) in row.names.items():
                    insort(self._indexes[index, name], (at, pk))
