"""What is to happen, in the order of time."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import datetime
from typing import Generic, TypeVar

T = TypeVar("T")


class Agenda(Generic[T]):
    """Items with a time. Those of one time come in the order in which they were put down."""

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, int, T]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def next_at(self) -> datetime | None:
        """The time of the next item."""
        return self._heap[0][0] if self._heap else None

    def put(self, at: datetime, item: T) -> None:
        """Put an item down; takes O(log n)."""
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, item))

    def until(self, now: datetime) -> Iterator[tuple[datetime, T]]:
        """Take what is due, also what is put down meanwhile, in the order of time."""
        while self._heap and self._heap[0][0] <= now:
            at, _, item = heapq.heappop(self._heap)
            yield at, item
