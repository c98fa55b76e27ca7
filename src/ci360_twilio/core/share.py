"""Which of several messages that look alike belongs to which of several entries that do.

The same text may go to the same recipient twice, and both answers be lost. Then no likeness tells
which message is whose, and need not: any that gives each entry a message of its own is right, and
none may be given twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from ci360_twilio.core.entry import Entry, Key, Status
from ci360_twilio.core.match import Listed
from ci360_twilio.core.receipt import Receipt

MOST_ALIKE = 100
"""More entries than these that look alike are not told apart."""

_LAST = datetime.max.replace(tzinfo=UTC)


class Wish(NamedTuple):
    """An entry without a SID, and the messages without an entry that may be its own."""

    entry: Entry
    rows: Sequence[Listed]

    @property
    def sids(self) -> list[str]:
        """The messages' SIDs, oldest first; those without a date come last."""
        by_age = sorted((row.created_at or _LAST, row.receipt.sid) for row in self.rows)
        return [sid for _, sid in by_age]


class Verdict(StrEnum):
    """What an entry gets."""

    OWN = "own"
    """The message that comes with the verdict."""
    SEVERAL = "several"
    """There are more messages than entries; a person must tell."""
    TOO_FEW = "too_few"
    """There are fewer messages than entries, or one may be under way; the rest may yet be listed."""
    NONE = "none"
    """The messages are others'."""


def share(wish: Wish, others: Iterable[Wish], *, last: bool) -> tuple[Verdict, Receipt | None]:
    """Tell which message an entry may take for its own.

    It takes the only one that looks like it. Where other entries look the same, and there is a
    message for each, the oldest gets the oldest. Where there are fewer, nobody takes any before
    the last time of asking; then the oldest entries do, and for the others there is none. While
    one of the entries is being sent, its message is not to be told from the others'.

    Args:
        wish: the entry that asks; it wishes for one message at least.
        others: other entries to the recipient, unknown or being sent.
        last: whether it is the last time of asking.
    """
    wishes = sorted(_equals(wish, others), key=_age)
    if any(one.entry.status is Status.SENDING for one in wishes):
        return Verdict.TOO_FEW, None
    if len(wishes) > MOST_ALIKE:
        return Verdict.SEVERAL if last else Verdict.TOO_FEW, None
    given = assign([one.sids for one in wishes])
    if None in given and not last:
        return Verdict.TOO_FEW, None
    messages = {sid for one in wishes for sid in one.sids}
    if None not in given and len(messages) > len(wishes) and len(wish.rows) > 1:
        return Verdict.SEVERAL, None
    mine = given[wishes.index(wish)]
    receipts = {row.receipt.sid: row.receipt for row in wish.rows}
    return (Verdict.OWN, receipts[mine]) if mine else (Verdict.NONE, None)


def _equals(wish: Wish, others: Iterable[Wish]) -> list[Wish]:
    """Give an entry with all those that may take a message from it, or from one that may."""
    equals, rest, sids = [wish], list(others), set(wish.sids)
    while near := [one for one in rest if not sids.isdisjoint(one.sids)]:
        equals += near
        rest = [one for one in rest if sids.isdisjoint(one.sids)]
        sids.update(*(one.sids for one in near))
    return equals


def _age(wish: Wish) -> tuple[datetime, Key]:
    return wish.entry.started_at or wish.entry.created_at, wish.entry.key


def assign(wishes: Sequence[Sequence[str]]) -> list[str | None]:
    """Give each one of the things that it wishes for: to as many as possible, nothing to two.

    Who comes first is served before the others, and stays served. Augmenting paths, as Kuhn's
    algorithm for bipartite graphs has them.
    """
    owners: dict[str, int] = {}

    def serve(who: int, tried: set[str]) -> bool:
        for thing in sorted(wishes[who], key=lambda thing: thing in owners):
            if thing in tried:
                continue
            tried.add(thing)
            if thing not in owners or serve(owners[thing], tried):
                owners[thing] = who
                return True
        return False

    for who in range(len(wishes)):
        serve(who, set())
    things = {who: thing for thing, who in owners.items()}
    return [things.get(who) for who in range(len(wishes))]
