"""What a rehearsal counts, message by message; tallies of several chunks can be added up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from ci360_twilio.core.e164 import look_up
from ci360_twilio.core.entry import Entry
from ci360_twilio.core.message import Channel, Message
from ci360_twilio.core.segments import Encoding, Segments, count_segments

EXAMPLES = 3
"""Rows that are named for each verdict."""
CHARACTERS = 1000
"""Different characters that are counted; an audience has few."""
NOWHERE = "-"
"""The country of numbers that belong to none, and of ids that are no numbers."""


class Example(msgspec.Struct, frozen=True):
    """A row with a verdict."""

    row: int
    line: int
    words: str


class Sum(msgspec.Struct):
    """Messages, and what they are paid and paced by."""

    messages: int = 0
    segments: int = 0
    """Of texts; a message with media counts as one."""
    media: int = 0
    """Messages with media."""
    other: int = 0
    """Messages that are no SMS or MMS; they count as one segment."""

    def add(self, other: Sum) -> None:
        """Add another sum."""
        self.messages += other.messages
        self.segments += other.segments
        self.media += other.media
        self.other += other.other


class Costly(msgspec.Struct):
    """A character that forces UCS-2."""

    messages: int = 0
    """How many hold it."""
    more: int = 0
    """Segments that these take more than they would in GSM-7."""

    def add(self, other: Costly) -> None:
        """Add what another tally found."""
        self.messages += other.messages
        self.more += other.more


class Tally(msgspec.Struct, omit_defaults=True):
    """All that is counted."""

    rows: int = 0
    bad: int = 0
    """Rows that cannot be read or sent to."""
    verdicts: dict[str, int] = {}
    examples: dict[str, list[Example]] = {}
    encodings: dict[str, int] = {}
    lengths: dict[int, int] = {}
    """Messages by how many segments they take."""
    sent: Sum = msgspec.field(default_factory=Sum)
    smart_saving: int = 0
    """Segments that Smart Encoding would save."""
    characters: dict[str, Costly] = {}
    countries: dict[str, Sum] = {}
    senders: dict[str, Sum] = {}
    channels: dict[str, int] = {}
    outside: int = 0
    """Messages to numbers that are none of their country's numbering plan."""
    otherwise: int = 0
    """Rows of which CI360 would make another creative than a bulk job makes."""
    otherwise_rows: list[Example] = []

    def count(
        self, verdict: str, row: int, line: int, words: str = "", *, is_bad: bool = False
    ) -> None:
        """Count a row that gets no message."""
        self.rows += 1
        self.bad += is_bad
        self.verdicts[verdict] = self.verdicts.get(verdict, 0) + 1
        named = self.examples.setdefault(verdict, [])
        if len(named) < EXAMPLES:
            named.append(Example(row, line, words))

    def count_sendable(self, entry: Entry) -> None:
        """Count a row that gets a message."""
        message = entry.message
        self.rows += 1
        self.verdicts["accepted"] = self.verdicts.get("accepted", 0) + 1
        if message is None:
            return
        country, is_valid = look_up(message.to)
        self.outside += not is_valid
        channel = message.channel
        self.channels[channel] = self.channels.get(channel, 0) + 1
        is_sms = channel is Channel.SMS
        media = is_sms and bool(message.media_urls)
        one = Sum(1, self._segments(message), media, not is_sms)
        self.sent.add(one)
        self.countries.setdefault(country or NOWHERE, Sum()).add(one)
        self.senders.setdefault(message.sender, Sum()).add(one)

    def _segments(self, message: Message) -> int:
        if message.media_urls or message.channel is not Channel.SMS:
            return 1
        counted = count_segments(message.body)
        self.encodings[counted.encoding] = self.encodings.get(counted.encoding, 0) + 1
        self.lengths[counted.count] = self.lengths.get(counted.count, 0) + 1
        if counted.encoding is Encoding.UCS_2:
            self._count_costly(message.body, counted)
        return counted.count

    def _count_costly(self, text: str, counted: Segments) -> None:
        self.smart_saving += max(counted.saving, 0)
        foreign = {one.character for one in counted.ucs2_characters}
        plain = "".join("?" if character in foreign else character for character in text)
        more = counted.count - count_segments(plain).count
        for character in foreign:
            if character in self.characters or len(self.characters) < CHARACTERS:
                self.characters.setdefault(character, Costly()).add(Costly(1, more))

    def add(self, other: Tally) -> None:
        """Add another tally, of rows that come later."""
        self.rows += other.rows
        self.bad += other.bad
        self.smart_saving += other.smart_saving
        self.outside += other.outside
        self.otherwise += other.otherwise
        self.otherwise_rows += other.otherwise_rows[: EXAMPLES - len(self.otherwise_rows)]
        self.sent.add(other.sent)
        for mine, theirs in (
            (self.verdicts, other.verdicts),
            (self.encodings, other.encodings),
            (self.channels, other.channels),
        ):
            _add(mine, theirs.items())
        for length, number in other.lengths.items():
            self.lengths[length] = self.lengths.get(length, 0) + number
        for verdict, named in other.examples.items():
            kept = self.examples.setdefault(verdict, [])
            kept.extend(named[: EXAMPLES - len(kept)])
        for character, costly in other.characters.items():
            self.characters.setdefault(character, Costly()).add(costly)
        for sums, others in ((self.countries, other.countries), (self.senders, other.senders)):
            for name, one in others.items():
                sums.setdefault(name, Sum()).add(one)


def _add(mine: dict[str, int], theirs: Iterable[tuple[str, int]]) -> None:
    for name, number in theirs:
        mine[name] = mine.get(name, 0) + number


def ordered(counts: dict[str, int]) -> dict[str, int]:
    """Give counts, the largest first."""
    return dict(Counter(counts).most_common())
