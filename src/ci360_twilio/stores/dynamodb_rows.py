"""One unit of work on a DynamoDB ledger: what was read, what is to be written, and the writing of it.

Everything is read strongly and changed in memory first; :meth:`Rows.commit` then writes each row over the
version that was read. What rests on other rows is written after them:

1. pauses, budgets, and whom messages are counted for: if one of them has changed meanwhile, nothing is written (:class:`Conflict`);
2. consents: the same;
3. names of lists, and whose a SID or correlation id is: the same;
4. entries and inbound messages, each for itself: those that somebody else has changed meanwhile are given
   back as lost, and so are those whose SID somebody else has taken;
5. what only counts, and the audit.

A process that dies in between leaves a consent without its report, a pointer to nothing, or a name of an
empty list, and never a message without its entry.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import count, islice
from typing import Any

import msgspec

from ci360_twilio.core.consent import Consent, Subject, nameless
from ci360_twilio.core.due import Work
from ci360_twilio.core.entry import Entry, Key
from ci360_twilio.core.inbound import Inbound
from ci360_twilio.core.pause import Pause
from ci360_twilio.core.seal import keyed_hash, sealed, subject_hash
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import Note
from ci360_twilio.stores.columns import (
    DAY_MS,
    UNCOUNTED,
    Columns,
    by_age,
    columns_of,
    ms,
    recipient_of,
    report_at,
)
from ci360_twilio.stores.dynamodb_items import (
    NOTES,
    PAUSES,
    consent_pk,
    decode,
    moment,
    owed_list,
    person_list,
    pk_of,
    place_list,
    recipient_list,
    row_of,
)
from ci360_twilio.stores.dynamodb_table import Row, Table
from ci360_twilio.stores.tombstone import tombstone

_COMING = 60_000
"""Milliseconds for which a message counts that was announced and is not written yet."""
_MOST_NOTED = 1_000
"""Messages that a recipient's row takes note of: a row holds 400 KB, and a key has up to 321 characters."""
FRESH = 3_600_000
"""Milliseconds for which a name need not be written again."""
_numbers = count()


class Conflict(Exception):
    """Somebody else has written what this rests on; nothing of it is written."""


def next_sequence() -> int:
    """Give a number that grows with time, and is no other row's of this process."""
    return time.time_ns() // 1_000 * 1_000 + next(_numbers) % 1_000


class Rows:
    """See :class:`ci360_twilio.stores.transaction.Transaction` for what is asked."""

    def __init__(self, table: Table, hash_key: bytes, named: dict[str, int]) -> None:
        """Begin.

        Args:
            table: where rows are.
            hash_key: of tombstones, consents and their seals.
            named: when this process wrote which names last, in milliseconds.
        """
        self._table = table
        self._hash_key = hash_key
        self._named = named
        self._read: dict[str, Row | None] = {}
        self._documents: dict[str, Any] = {}
        self._befores: dict[str, Any] = {}
        """What was read, decoded."""
        self._dirty: dict[str, None] = {}
        self._sequences: dict[str, int] = {}
        self._lists: dict[tuple[str, str, str], tuple[list[str], Iterator[str]]] = {}

    # Documents

    def load(self, pks: Collection[str]) -> None:
        """Read rows ahead, in one request."""
        missing = [pk for pk in pks if pk not in self._read and pk not in self._documents]
        if missing:
            self._read |= self._table.read(missing)

    def document(self, pk: str) -> Any:
        """Give what a row holds, as it stands here; ``None`` where there is none."""
        if pk not in self._documents:
            self.load([pk])
            row = self._read[pk]
            self._befores[pk] = self._documents[pk] = None if row is None else decode(row)
        return self._documents[pk]

    def row(self, pk: str) -> Row | None:
        """Give a row as it was read."""
        self.load([pk])
        return self._read[pk]

    def version(self, pk: str) -> int | None:
        """Give the version of a row, as it is once everything here is written."""
        row = self.row(pk)
        before = None if row is None else row.version
        return (before or 0) + 1 if pk in self._dirty else before

    def put(self, pk: str, document: Any) -> None:
        """Have a row written."""
        self.document(pk)
        self._documents[pk] = document
        self._dirty[pk] = None

    def drop(self, pk: str) -> None:
        """Have a row deleted."""
        if self.document(pk) is not None:
            self.put(pk, None)

    def assume(self, pk: str, document: Any, row: Row) -> None:
        """Take a row as if it held this document."""
        self._read[pk] = row
        self._befores[pk] = self._documents[pk] = document

    def sequence(self, pk: str) -> int:
        """Give when a row was made."""
        if pk not in self._sequences:
            row = self._read.get(pk)
            self._sequences[pk] = row.sequence if row is not None else next_sequence()
        return self._sequences[pk]

    def commit(self, *, loose: bool = False) -> set[str]:
        """Write what was changed; gives the keys of rows that somebody else has changed meanwhile.

        Args:
            loose: whether consents are written each for itself, as nothing rests on them.

        Raises:
            Conflict: nothing was written but consents that may be written again.
        """
        stages: dict[int, list[str]] = {}
        for pk in self._dirty:
            stage = _STAGES.get(pk.partition("#")[0], 3)
            stages.setdefault(3 if loose and stage == 1 else stage, []).append(pk)
        for stage in (0, 1):
            if not all(self._table.each(self._write, stages.get(stage, ()))):
                raise Conflict
        entries = stages.get(3, [])
        self._write_pointers(list(self._pointers(entries)))
        done = self._table.each(self._write, entries)
        for pk in stages.get(4, ()):
            self._write(pk)
        lost = {pk for pk, is_written in zip(entries, done, strict=True) if not is_written}
        return lost | self._overtaken([pk for pk in entries if pk not in lost])

    def _overtaken(self, pks: Sequence[str]) -> set[str]:
        """Take back entries whose new SID somebody else has taken since its pointer was written."""
        mine = {
            pointer: pk
            for pk in pks
            for pointer, _ in self._pointers([pk])
            if pointer.startswith("sid#")
        }
        if not mine:
            return set()
        rows = self._table.read(mine)
        overtaken = set()
        for pointer, pk in mine.items():
            row, before = rows[pointer], self._read[pk]
            if before is not None and (row is None or pk != f"E#{row.data.decode()}"):
                self._table.write(before, before=before.version + 1)
                overtaken.add(pk)
        return overtaken

    def _write(self, pk: str) -> bool:
        row, document = self._read.get(pk), self._documents[pk]
        before = None if row is None else row.version
        if document is None:
            return before is None or self._table.delete(pk, before=before)
        fresh = row_of(
            pk, document, self.sequence(pk), self._table, recipient=self._recipient(pk, document)
        )
        return self._table.write(fresh, before=before)

    def _recipient(self, pk: str, document: Any) -> str | None:
        """Give for whom an entry counts, as was decided when it was made."""
        if not isinstance(document, Entry):
            return None
        row = self._read.get(pk)
        if row is None:
            return recipient_of(document)
        to = document.message.to if document.message else None
        counts = to and row.names.get("person", ("",))[0] == recipient_list(document.tenant_id, to)
        return to if counts else None

    def _pointers(self, pks: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Give the names and pointers that documents are found by, and that are not written yet."""
        for pk in pks:
            document = self._documents[pk]
            if not isinstance(document, Entry | Inbound):
                continue
            if report_at(document.reports) is not None:
                yield f"R#owed#{document.tenant_id}", document.tenant_id
            if isinstance(document, Entry):
                yield from self._pointers_of(pk, document)

    def _pointers_of(self, pk: str, entry: Entry) -> Iterator[tuple[str, str]]:
        columns, known = columns_of(entry), self._befores.get(pk)
        if columns.place is not None:
            yield f"R#{columns.work}#{columns.place}", columns.place
        if entry.correlation not in (None, known and known.correlation):
            yield f"cor#{entry.correlation}", entry.key
        if entry.sid not in (None, known and known.sid):
            yield f"sid#{entry.sid}", entry.key

    def _write_pointers(self, pointers: Sequence[tuple[str, str]]) -> None:
        """Write names and pointers.

        Raises:
            Conflict: a SID is not whose it had been any more.
        """
        now, bare = time.time_ns() // 1_000_000, dict[str, Row]()
        mine = [pair for pair in pointers if pair[0].startswith("sid#")]
        for pk, text in mine:
            self.document(pk)
            self._documents[pk] = text
        for pk, text in pointers:
            if pk.startswith("cor#"):
                bare[pk] = Row(pk, 0, text.encode())
            elif pk.startswith("R#") and self._named.get(pk, 0) + FRESH <= now:
                names = {"place": (f"names/{pk.split('#')[1]}", text)}
                bare[pk] = Row(pk, now, text.encode(), names)
        self._table.overwrite(list(bare.values()))
        self._named |= {pk: now for pk in bare if pk.startswith("R#")}
        if not all(self._table.each(self._write, [pk for pk, _ in mine])):
            raise Conflict

    # Entries

    def get(self, key: Key) -> Entry | None:
        """Read an entry."""
        found: Entry | None = self.document(f"E#{key}")
        return found

    def add(self, entry: Entry) -> None:
        """Write an entry under a new key."""
        self._note_latest(entry)
        self.write(entry)

    def write(self, entry: Entry) -> None:
        """Write an entry."""
        self.put(f"E#{entry.key}", entry)

    def due(self, work: Work, now: datetime, limit: int) -> list[Entry]:
        """List what is due."""
        return self._entries(
            "due",
            self._table.parts(work),
            limit,
            lambda columns: (
                (columns.due_at, columns.status)
                if columns.work is work and columns.due_at <= ms(now)
                else None
            ),
            upto=moment(ms(now)) + "~",
        )

    def ended(self, work: Work, now: datetime, limit: int) -> list[Entry]:
        """List what has reached its end."""
        return self._entries(
            "ended",
            self._table.parts(work),
            limit,
            lambda columns: (
                (columns.ends_at,)
                if columns.work is work
                and columns.ends_at is not None
                and columns.ends_at <= ms(now)
                else None
            ),
            upto=moment(ms(now)) + "~",
        )

    def places(self, work: Work) -> list[str]:
        """List places."""
        known = {found.at for found in self._table.listed("place", f"names/{work}")}
        known |= {
            columns.place
            for _, columns in self._changed()
            if columns.work is work and columns.place is not None
        }
        return sorted(place for place in known if self.in_place(work, place, None, 1))

    def parked(self, place: str, limit: int) -> list[Entry]:
        """List what waits behind a pause."""
        return self.in_place(Work.PARKED, place, None, limit)

    def queued(self, place: str, now: datetime, limit: int) -> list[Entry]:
        """List what waits in a queue."""
        return self.in_place(Work.PACED, place, ms(now), limit)

    def in_place(self, work: Work, place: str, until: int | None, limit: int) -> list[Entry]:
        """List what waits in a place, as far as it is due until then, in milliseconds."""

        def spot(columns: Columns) -> tuple[Any, ...] | None:
            is_there = columns.work is work and columns.place == place
            if not is_there or (until is not None and columns.due_at > until):
                return None
            return columns.lane, columns.due_at

        return self._entries("place", self._table.parts(place_list(work, place)), limit, spot)

    def _entries(
        self, index: str, parts: Sequence[str], limit: int, spot: Any, *, upto: str = ""
    ) -> list[Entry]:
        """List entries from the parts of a list, as they stand here, by their spots.

        Args:
            index: in which the list is.
            parts: of the list.
            limit: how many at the most.
            spot: tells where an entry stands, or ``None`` if not in this list.
            upto: how far the list is read.
        """
        if limit <= 0:
            return []
        wanted = limit
        while True:
            found = dict.fromkeys(
                pk for part in parts for pk in self._head(index, part, upto, wanted)
            )
            self.load(found)
            spots = []
            for pk in dict.fromkeys([*found, *(pk for pk in self._dirty if pk[0] == "E")]):
                entry = self.document(pk)
                if isinstance(entry, Entry) and (at := spot(columns_of(entry))) is not None:
                    spots.append((at, self.sequence(pk), entry))
            is_all = all(self._is_read(index, part, upto, wanted) for part in parts)
            if is_all or sum(1 for _ in spots) >= limit + len(self._dirty):
                break
            wanted *= 2
        spots.sort(key=lambda one: one[:2])
        return [entry for _, _, entry in spots[:limit]]

    def _head(self, index: str, part: str, upto: str, number: int) -> list[str]:
        """Give the first keys of a part of a list; what was read of it once is kept."""
        name = (index, part, upto)
        if name not in self._lists:
            found = self._table.listed(index, part, upto=upto)
            self._lists[name] = [], (one.pk for one in found)
        head, rest = self._lists[name]
        head += islice(rest, max(number - len(head), 0))
        return head[:number]

    def _is_read(self, index: str, part: str, upto: str, number: int) -> bool:
        """Tell whether a part of a list has no more than that many keys."""
        return len(self._head(index, part, upto, number + 1)) <= number

    def _changed(self) -> Iterator[tuple[Entry, Columns]]:
        for pk in self._dirty:
            entry = self._documents[pk]
            if isinstance(entry, Entry):
                yield entry, columns_of(entry)

    def with_sid(self, sid: str) -> list[Entry]:
        """List the entries that have a SID."""
        key = self.document(f"sid#{sid}")
        keys = {Key(key)} if key else set()
        keys |= {entry.key for entry, _ in self._changed() if entry.sid == sid}
        found = [self.get(key) for key in sorted(keys)]
        return [entry for entry in found if entry is not None and entry.sid == sid]

    def received(self, tenant_id: TenantId, recipient: str, at: datetime, most: int) -> int:
        """Count messages to a recipient."""
        now = ms(at)
        end = (now // DAY_MS + 1) * DAY_MS
        latest = self._latest(tenant_id, recipient)
        self.load([f"E#{key}" for key in latest])
        found = {key: self.get(key) for key in latest}
        counted = sum(
            abs(now - latest[key]) < _COMING
            if entry is None
            else entry.status not in UNCOUNTED and now - DAY_MS < ms(entry.created_at) < end
            for key, entry in found.items()
        )
        return min(counted, most)

    def _latest(self, tenant_id: TenantId, recipient: str) -> dict[Key, int]:
        """Give a recipient's messages of the last two days: the index of recipients lags behind."""
        return self.document(self._latest_pk(tenant_id, recipient)) or {}

    def _latest_pk(self, tenant_id: TenantId, recipient: str) -> str:
        return f"L#{keyed_hash(f'latest {tenant_id} {recipient}', self._hash_key).hex()}"

    def latest_pks(self, entry: Entry) -> list[str]:
        """Name the row that takes note of a new message, if it counts for its recipient."""
        recipient = recipient_of(entry)
        return [] if recipient is None else [self._latest_pk(entry.tenant_id, recipient)]

    def _note_latest(self, entry: Entry) -> None:
        """Take note of a new message, whether or not its recipient has a limit yet."""
        made = ms(entry.created_at)
        for pk in self.latest_pks(entry):
            known: dict[Key, int] = self.document(pk) or {}
            kept = [(key, then) for key, then in known.items() if then > made - 2 * DAY_MS]
            self.put(pk, dict([*kept[1 - _MOST_NOTED :], (entry.key, made)]))

    def received_by(self, tenant_id: TenantId, recipient: str) -> Iterator[Entry]:
        """Go through the messages that count for a recipient, latest first."""
        listed = self._table.listed("person", recipient_list(tenant_id, recipient), backward=True)
        while some := [one.pk for one in islice(listed, 25)]:
            self.load(some)
            for pk in some:
                entry = self.document(pk)
                if isinstance(entry, Entry):
                    yield entry

    # Rules

    def pauses(self) -> list[Pause]:
        """List the pauses."""
        return sorted(self.document(PAUSES) or [], key=by_age)

    def keep_pause(self, pause: Pause) -> None:
        """Write a pause."""
        others = [one for one in self.document(PAUSES) or [] if one.name != pause.name]
        self.put(PAUSES, [*others, pause])

    def drop_pause(self, name: str) -> bool:
        """Remove a pause."""
        known = self.document(PAUSES) or []
        left = [one for one in known if one.name != name]
        if len(left) < len(known):
            self.put(PAUSES, left)
        return len(left) < len(known)

    def write_note(self, note: Note) -> None:
        """Add a note."""
        number = next_sequence()
        pk = f"N#{moment(number)}"
        self._read[pk], self._sequences[pk] = None, number
        self.put(pk, note)

    def clear_notes(self, words: Collection[str]) -> int:
        """Take texts that hold one of these words from the audit."""
        found = [one.pk for one in self._table.listed("place", NOTES)]
        self.load(found)
        cleared = 0
        for pk in found:
            note = self.document(pk)
            if note is not None and any(word in (note.detail or "") for word in words):
                self.put(pk, msgspec.structs.replace(note, detail=None))
                cleared += 1
        return cleared

    def budget(self, place: str) -> datetime | None:
        """Tell when a budget is full again."""
        found: datetime | None = self.document(f"B#{place}")
        return found

    def set_budget(self, place: str, full_at: datetime) -> None:
        """Write when a budget is full again."""
        self.put(f"B#{place}", full_at)

    def started(self, tenant_id: TenantId, since: int) -> int:
        """Count messages that a tenant has started."""
        counts: dict[int, int] = self.document(f"T#{tenant_id}") or {}
        return sum(number for minute, number in counts.items() if minute >= since)

    def count_start(self, tenant_id: TenantId, minute: int) -> None:
        """Count a message; what was counted over an hour before is forgotten."""
        counts: dict[int, int] = self.document(f"T#{tenant_id}") or {}
        kept = {then: number for then, number in counts.items() if then >= minute - 120}
        self.put(f"T#{tenant_id}", kept | {minute: counts.get(minute, 0) + 1})

    # Wishes

    def has_consents(self) -> bool:
        """Tell whether there may be any consent: they are read with what needs them."""
        return True

    def consent(self, subject: Subject) -> Consent | None:
        """Read a consent."""
        found: Consent | None = self.document(self.consent_pk(subject))
        return found

    def consent_pk(self, subject: Subject) -> str:
        """Give the key of a consent's row."""
        return consent_pk(subject_hash(subject, self._hash_key))

    def keep_consent(self, subject: Subject, consent: Consent) -> Consent:
        """Seal and write a consent."""
        hashed = subject_hash(subject, self._hash_key)
        kept = sealed(consent, self.consent(subject), hashed, self._hash_key)
        self.put(consent_pk(hashed), kept)
        return kept

    def forget_number(self, tenant_id: TenantId, person: str) -> int:
        """Take a person's number from all consents to a tenant."""
        listed = self._table.listed("person", person_list("wish", tenant_id, person))
        found = [one.pk for one in listed]
        self.load(found)
        lose = [pk for pk in found if (one := self.document(pk)) and one.recipient == person]
        for pk in lose:
            self.put(pk, nameless(self.document(pk)))
        return len(lose)

    def inbound(self, key: Key) -> Inbound | None:
        """Read an inbound message."""
        found: Inbound | None = self.document(f"I#{key}")
        return found

    def add_inbound(self, inbound: Inbound) -> None:
        """Write an inbound message that is new."""
        self.keep_inbound(inbound)

    def keep_inbound(self, inbound: Inbound) -> None:
        """Write an inbound message."""
        self.put(f"I#{inbound.key}", inbound)

    def heard_again(self, inbound: Inbound) -> Inbound | None:
        """Count that a message came again."""
        known = self.inbound(inbound.key)
        if known is None:
            return inbound if self.is_buried(inbound.key) else None
        known = msgspec.structs.replace(known, repeats=known.repeats + 1)
        self.keep_inbound(known)
        return known

    # Reports and deletion

    def due_reports(self, tenant_id: TenantId, now: datetime, limit: int) -> list[Entry | Inbound]:
        """List a tenant's documents with reports that are due."""
        upto = moment(ms(now)) + "~"
        parts = self._table.parts(owed_list(tenant_id))
        found = [pk for part in parts for pk in self._head("owed", part, upto, limit)]
        self.load(found)
        due = []
        for pk in found:
            document = self.document(pk)
            at = report_at(document.reports) if document is not None else None
            if at is not None and at <= ms(now):
                due.append((at, pk[0], self.sequence(pk), document))
        due.sort(key=lambda one: one[:3])
        return [document for *_, document in due[:limit]]

    def documents(self, keys: Sequence[Key]) -> list[Entry | Inbound | None]:
        """Read documents of either kind."""
        self.load([pk_of(key) for key in keys])
        return [self.document(pk_of(key)) for key in keys]

    def keep(self, document: Entry | Inbound) -> None:
        """Write a document."""
        self.put(pk_of(document.key), document)

    def is_buried(self, key: Key) -> bool:
        """Tell whether a tombstone stands for a key."""
        return self.document(self.tombstone_pk(key)) is not None

    def tombstone_pk(self, key: Key) -> str:
        """Give the key of a document's tombstone."""
        return f"X#{tombstone(key, self._hash_key).hex()}"

    def bury_document(self, key: Key) -> None:
        """Delete a document of either kind, leaving a tombstone."""
        document = self.document(pk_of(key))
        if document is None:
            return
        self.put(self.tombstone_pk(key), "gone")
        self.drop(pk_of(key))
        if isinstance(document, Entry):
            for pk in (f"sid#{document.sid}", f"cor#{document.correlation}"):
                if self.document(pk) == key:
                    self.drop(pk)


_STAGES = {PAUSES: 0, "B": 0, "X": 0, "L": 0, "W": 1, "T": 4, "N": 4}
"""In which order rows are written, by the beginnings of their keys; entries and the like come between."""
