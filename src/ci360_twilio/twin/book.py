"""The messages that were made, and what is still to become of each."""

from __future__ import annotations

import random
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple

from msgspec.structs import replace

from ci360_twilio.twin.account import TwinAccount
from ci360_twilio.twin.agenda import Agenda
from ci360_twilio.twin.answer import ApiError
from ci360_twilio.twin.callback import Callback, callback_of
from ci360_twilio.twin.life import (
    QUEUE_OVERFLOW,
    VALIDITY_EXPIRED,
    Fate,
    Life,
    QueueFull,
    Queues,
    Step,
    give_up,
    parse_fate,
    patience,
    settle,
)
from ci360_twilio.twin.message import Message, MessageStatus
from ci360_twilio.twin.rules import MAGIC_SENDER
from ci360_twilio.twin.weather import CALM, Carriage, Lot, Weather

_SECOND = timedelta(seconds=1)


class _Future(NamedTuple):
    """What is still to become of a message, which is the ``nth`` to its recipient."""

    sid: str
    nth: int
    via: str | None
    steps: tuple[Step, ...]


class Book:
    """All messages, by SID and by recipient, with their futures. For one thread at a time.

    Args:
        seed: of SIDs and lives.
        weather: what befalls messages and callbacks.
    """

    def __init__(self, seed: int, weather: Weather) -> None:
        self._seed, self._weather = seed, weather
        self._random = random.Random(seed)
        self._made = 0
        self._messages: dict[str, Message] = {}
        self._by_recipient: dict[tuple[str, str], list[str]] = {}
        self._nth: dict[tuple[str, str], int] = {}
        self._fates: dict[str, deque[Fate]] = {}
        self._changes: Agenda[_Future | Message] = Agenda()
        self.queues = Queues()
        self.posts: Agenda[Callback] = Agenda()
        """Callbacks on their way, not signed yet."""

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[Message]:
        """Give the messages, customers' too, oldest first."""
        return iter(self._messages.values())

    @property
    def changes(self) -> bool:
        """Whether any message is still to change."""
        return bool(self._changes)

    @property
    def next_at(self) -> datetime | None:
        """When the next change or callback is due."""
        times = [at for at in (self._changes.next_at, self.posts.next_at) if at]
        return min(times, default=None)

    def get(self, sid: str) -> Message | None:
        """Give one message."""
        return self._messages.get(sid)

    def find(self, account: str, to: str) -> list[Message]:
        """Give an account's messages, newest first; with ``to``, those to that recipient alone."""
        if to:
            sids = reversed(self._by_recipient.get((account, to), ()))
            return [self._messages[sid] for sid in sids]
        return [one for one in reversed(self._messages.values()) if one.account == account]

    def newest(self, most: int) -> Iterator[Message]:
        """Give the latest messages, customers' too, newest first."""
        return islice(reversed(self._messages.values()), most)

    def alter(self, message: Message) -> None:
        """Put a message in the place of the one with its SID."""
        self._messages[message.sid] = message

    def remove(self, message: Message) -> None:
        """Forget a message; nothing more becomes of it."""
        del self._messages[message.sid]
        self._by_recipient[message.account, message.to].remove(message.sid)

    def new_sid(self, media: tuple[str, ...]) -> str:
        """Give the next SID."""
        return f"{'MM' if media else 'SM'}{self._random.getrandbits(128):032x}"

    def plan_fates(self, to: str, fates: Iterable[str]) -> None:
        """Plan the fates of the next messages to a recipient."""
        self._fates[to] = deque(parse_fate(fate) for fate in fates)

    def enter(self, account: TwinAccount, message: Message) -> None:
        """Write a new message, settle its future and what befalls it.

        Raises:
            ApiError: 21611, its sender's queue is full.
        """
        place = account.sid, message.to
        nth = self._nth.get(place, 0) + 1
        via = _choose(account, message) if message.service else None
        if account.life:
            steps = self._steps(account.life, message, nth)
            self._changes.put(steps[0].at, _Future(message.sid, nth, via, steps))
        self._nth[place] = nth
        lot = self._weather.lot(message.to, nth)
        if lot.stranger is not None:
            stranger = self._stranger(message, lot.stranger)
            if account.life:
                done = MessageStatus.DELIVERED
                stranger = replace(stranger, status=done, sent_at=stranger.at, via=via)
            if stranger.at < message.at:
                self._keep(stranger)
            else:
                self._changes.put(stranger.at, stranger)
        self._keep(message, lot)

    def receive(self, account: TwinAccount, message: Message, callback: Callback) -> None:
        """Write a customer's message, and put its webhook on its way, if the account wants one."""
        place = account.sid, f"from {message.sender}"
        nth = self._nth[place] = self._nth.get(place, 0) + 1
        self._keep(message)
        if account.inbound_url:
            # what befalls it is planned by the customer's number, as for messages to it
            how = self._weather.carriage(message.sender or "", nth, message.status)
            self._carry(callback, callback.at, how, callback.at + _SECOND * 5)

    def answering(self, account: str, customer: str, number: str) -> str | None:
        """Give the Messaging Service by which a customer last heard from a number, if by one."""
        for sid in reversed(self._by_recipient.get((account, customer), ())):
            message = self._messages[sid]
            if number in (message.sender, message.via):
                return message.service
        return None

    def refuse_later(self, account: TwinAccount, message: Message, code: int) -> None:
        """Write a new message that fails a moment later, whatever its account's life."""
        place = account.sid, message.to
        nth = self._nth[place] = self._nth.get(place, 0) + 1
        steps = give_up(message.at + _SECOND, code)
        self._keep(message)
        self._changes.put(steps[0].at, _Future(message.sid, nth, None, steps))

    def run(self, now: datetime) -> None:
        """Let happen what is due until now."""
        for at, item in self._changes.until(now):
            if isinstance(item, Message):
                self._keep(item)
            elif item.sid in self._messages:
                self._change(at, item)

    def _steps(self, life: Life, message: Message, nth: int) -> tuple[Step, ...]:
        """Settle what becomes of a message; refuses it where its sender's queue is full."""
        chance = random.Random(f"{self._seed}/{message.to}/{nth}/life")
        sender = message.sender or message.service or ""
        place, waits = (message.account, sender), patience(message.validity_period)
        segments = message.segments if life.rate_of(sender) else 1
        try:
            turn = self.queues.join(life, place, message.at, segments=segments, validity=waits)
        except QueueFull:
            if message.sender:
                raise ApiError(21611, message.sender) from None
            return give_up(message.at + _SECOND * chance.random(), QUEUE_OVERFLOW)
        if turn is None:
            return give_up(message.at + _SECOND * waits, VALIDITY_EXPIRED)
        planned = self._fates.get(message.to)
        return settle(life, planned.popleft() if planned else None, turn, chance)

    def _stranger(self, message: Message, seconds: float) -> Message:
        """Make a message equal to one, by somebody else, that many seconds later."""
        at = message.at + _SECOND * seconds
        return replace(
            message,
            sid=self.new_sid(message.media),
            at=at,
            updated_at=at,
            status_callback=None,
            stranger=True,
        )

    def _keep(self, message: Message, lot: Lot = CALM) -> None:
        self._made += 1
        self._messages[message.sid] = replace(message, number=self._made, lot=lot)
        self._by_recipient.setdefault((message.account, message.to), []).append(message.sid)

    def _change(self, at: datetime, future: _Future) -> None:
        message = self._messages[future.sid]
        step, *rest = future.steps
        message = replace(
            message,
            status=step.status,
            error_code=step.code,
            updated_at=at,
            sent_at=at if step.status is MessageStatus.SENT else message.sent_at,
            via=future.via if step.status is MessageStatus.SENDING else message.via,
        )
        self._messages[message.sid] = message
        if message.status_callback:
            self._post(message, at, future)
        if rest:
            self._changes.put(rest[0].at, future._replace(steps=tuple(rest)))

    def _post(self, message: Message, at: datetime, future: _Future) -> None:
        """Put the callback of a status on its way, or on none."""
        how = self._weather.carriage(message.to, future.nth, message.status)
        # carriers tell the time of most messages, not of all
        callback = callback_of(message, at, carrier_date=message.sid[-1] < "c")
        following = future.steps[1].at if len(future.steps) > 1 else at
        self._carry(callback, at, how, following)

    def _carry(self, callback: Callback, at: datetime, how: Carriage, following: datetime) -> None:
        """Put a callback on its way; a disordered one comes after what follows it."""
        if how.lost:
            return
        at += _SECOND * how.late
        if how.disordered and following > callback.at:
            at = max(at, following + _SECOND)
        self.posts.put(at, callback)
        if how.repeated:
            self.posts.put(at + _SECOND, callback)


def _choose(account: TwinAccount, message: Message) -> str:
    """Choose a Messaging Service's sender, the same for all messages to a recipient."""
    pool = [number for number in account.numbers if number.startswith("+")]
    return pool[zlib.crc32(message.to.encode()) % len(pool)] if pool else MAGIC_SENDER
