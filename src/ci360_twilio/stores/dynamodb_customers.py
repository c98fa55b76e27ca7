"""A DynamoDB ledger as far as customers and CI360 go; see :mod:`ci360_twilio.ports`."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from operator import methodcaller
from typing import Any, TypeVar

import msgspec

from ci360_twilio.core.consent import Consent, Evidence, Subject, person_of, put_off
from ci360_twilio.core.entry import Entry, Key
from ci360_twilio.core.inbound import Inbound
from ci360_twilio.core.report import Answer
from ci360_twilio.core.seal import is_intact, key_check
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import LedgerUnavailable, LedgerUnusable
from ci360_twilio.ports import (
    About,
    Chore,
    Conversation,
    Erased,
    Hearing,
    InboundQuery,
    Note,
    Owed,
    Owing,
    Received,
    Stray,
    Verified,
)
from ci360_twilio.stores import attesting, erasing, recording, reporting
from ci360_twilio.stores.columns import ms
from ci360_twilio.stores.dynamodb_items import (
    CONSENTS,
    LETTERS,
    QUESTIONS,
    SCHEMA,
    STATE,
    STRAYS,
    ChoreRow,
    State,
    consents_list,
    decode,
    moment,
    owed_list,
    person_list,
    pk_of,
)
from ci360_twilio.stores.dynamodb_rows import Conflict, Rows
from ci360_twilio.stores.dynamodb_table import Found, Table
from ci360_twilio.stores.talking import answers, names

ATTEMPTS = 40
"""How often a change is tried that others get in the way of."""
CROWDED = "Too many write to the same rows at one time."
TOGETHER = 100
"""Consents that are read and written together."""

T = TypeVar("T")
R = TypeVar("R")


class DynamoCustomers:
    """See :class:`DynamoStore` for the whole."""

    def __init__(self, table: Table, hash_key: bytes) -> None:
        self._table = table
        self._hash_key = hash_key
        self._is_open = False
        self._named: dict[str, int] = {}

    def _rows(self) -> Rows:
        return Rows(self._table, self._hash_key, self._named)

    def _tried(self, work: Callable[[Rows], T], *, loose: bool = False) -> tuple[T, set[str]]:
        """Do a piece of work and write it; gives what came of it, and the rows that others changed.

        Where something has changed that the work rests on it is done once more.
        """
        for attempt in range(ATTEMPTS):
            rows = self._rows()
            result = work(rows)
            if not self._open(rows):
                continue
            try:
                lost = rows.commit(loose=loose)
            except Conflict:
                give_way(attempt)
            else:
                self._is_open |= STATE not in lost
                return result, lost
        raise LedgerUnavailable(CROWDED)

    def _state(self, rows: Rows) -> State:
        """Give what is known of the ledger as a whole, or what is first to be written of it."""
        known: State | None = rows.document(STATE)
        if known is not None:
            return known
        check = key_check(self._hash_key)
        return State(schema=SCHEMA, key_check=check, table=self._table.name)

    def _open(self, rows: Rows) -> bool:
        """See that a ledger is the one that it is taken for, before anything is first written.

        One that was restored into another table is paused; what was to be written must be thought
        over then, which is what ``False`` says.

        Raises:
            LedgerUnusable: it was kept under another key.
        """
        if self._is_open:
            return True
        state = self._state(rows)
        if rows.document(STATE) is None:
            rows.put(STATE, state)
        elif state.key_check != key_check(self._hash_key):
            raise LedgerUnusable(
                "The ledger's opt-outs and deleted events are kept under another hash key: set the"
                " CI360_TWILIO_HASH_KEY that it had."
            )
        elif state.table not in ("", self._table.name):
            self._is_open = True  # pausing it is a piece of work, too
            try:
                self.begin_again(self._table.now())
            except BaseException:
                self._is_open = False
                raise
            return False
        return True

    def begin_again(self, at: datetime) -> None:
        """Pause a ledger that was restored, and note that what was under way is to be settled."""
        _, pause = recording.restored(at)

        def mark(rows: Rows) -> None:
            rows.keep_pause(pause)
            name = self._table.name
            changes = {"restored_at": at, "table": name, "is_settling": True}
            rows.put(STATE, msgspec.structs.replace(self._state(rows), **changes))

        self._whole(mark)

    def _whole(self, work: Callable[[Rows], T]) -> T:
        """Do a piece of work until all of it is written."""
        for attempt in range(ATTEMPTS):
            result, lost = self._tried(work)
            if not lost:
                return result
            give_way(attempt)
        raise LedgerUnavailable(CROWDED)

    def _each(
        self,
        items: Sequence[T],
        pk_of_item: Callable[[T], str],
        work: Callable[[Rows, Sequence[T]], Sequence[R]],
        *,
        loose: bool = False,
    ) -> list[R]:
        """Do a piece of work for many items; those whose row others changed meanwhile are done again.

        Args:
            items: in their order, in which what came of them is given.
            pk_of_item: the row that an item stands or falls with.
            work: gives what comes of some items, one for each.
            loose: as :meth:`Rows.commit` takes it.
        """
        results: dict[int, R] = {}
        pending = list(range(len(items)))
        for _ in range(ATTEMPTS):
            if not pending:
                break
            some = [items[number] for number in pending]
            done, lost = self._tried(partial(_applied, work, some), loose=loose)
            results |= {
                number: result
                for number, result in zip(pending, done, strict=True)
                if pk_of_item(items[number]) not in lost
            }
            pending = [number for number in pending if number not in results]
        if pending:
            raise LedgerUnavailable(CROWDED)
        return [results[number] for number in range(len(items))]

    def _heads(
        self,
        index: str,
        name: str,
        limit: int,
        *,
        upto: str = "",
        after: str = "",
        backward: bool = False,
    ) -> list[Found]:
        """Give the first places of all parts of a list together, in order; see :meth:`Table.listed`."""

        def head(part: str) -> list[Found]:
            listed = self._table.listed(index, part, upto=upto, after=after, backward=backward)
            return list(islice(listed, limit))

        found = self._table.each(head, self._table.parts(name))
        return sorted((one for part in found for one in part), reverse=backward)[:limit]

    def _read(self, pks: Sequence[str]) -> list[Any]:
        """Read documents; those that are gone are left out."""
        rows = self._table.read(pks)
        return [decode(row) for row in (rows[pk] for pk in pks) if row is not None]

    # Inbox

    def conversations(self, asked: Sequence[Conversation]) -> list[Entry | None]:
        """Find what customers answer."""
        return self._table.each(self._conversation, asked) if asked else []

    def _conversation(self, asked: Conversation) -> Entry | None:
        to_them = self._rows().received_by(asked.tenant_id, asked.customer)
        return next((entry for entry in to_them if answers(asked, entry)), None)

    def is_heard(self, keys: Sequence[Key]) -> list[bool]:
        """Tell which inbound messages are known."""
        rows = self._rows()
        rows.load([pk for key in keys for pk in (f"I#{key}", rows.tombstone_pk(key))])
        return [rows.inbound(key) is not None or rows.is_buried(key) for key in keys]

    def hear_many(self, hearings: Sequence[Hearing], *, now: datetime) -> list[Received]:
        """Write inbound messages and what they say of consent."""
        return self._each(
            hearings,
            lambda one: f"I#{one.inbound.key}",
            lambda rows, some: self._hear(rows, some, now),
        )

    def _hear(self, rows: Rows, hearings: Sequence[Hearing], now: datetime) -> list[Received]:
        keys = [one.inbound.key for one in hearings]
        consents = [rows.consent_pk(one.subject) for one in hearings if one.evidence]
        rows.load([*map(pk_of, keys), *map(rows.tombstone_pk, keys), *consents])
        return attesting.hear(rows, hearings, now)

    def find_inbound(self, query: InboundQuery) -> list[Inbound]:
        """List inbound messages, latest heard first."""
        if query.customer is not None and query.tenant_id is not None:
            name = person_list("letter", query.tenant_id, query.customer)
            listed = list(self._table.listed("person", name, backward=True))
        elif query.sid is None and query.tenant_id is None and query.customer is None:
            listed = self._heads("place", LETTERS, query.limit, backward=True)
        else:
            listed = self._heads("place", LETTERS, 10**9, backward=True)
        found = (
            one
            for one in self._read([found.pk for found in listed])
            if query.tenant_id in (None, one.tenant_id)
            and query.sid in (None, one.heard.sid)
            and query.customer in (None, person_of(one.heard.sender))
        )
        return list(islice(found, query.limit))

    # Consents

    def consents(self, subjects: Sequence[Subject]) -> list[Consent | None]:
        """Read consents."""
        rows = self._rows()
        rows.load([rows.consent_pk(one) for one in subjects])
        return [rows.consent(one) for one in subjects]

    def attest_many(
        self, changes: Sequence[tuple[Subject, Evidence]], *, now: datetime
    ) -> list[Consent | None]:
        """Add evidence; of many changes some are written together."""
        return self._changed(changes, now, attesting.attested)

    def date_many(
        self, changes: Sequence[tuple[Subject, Evidence]], *, now: datetime
    ) -> list[Consent | None]:
        """Write dates."""
        return self._changed(changes, now, attesting.dated)

    def _changed(
        self,
        changes: Sequence[tuple[Subject, Evidence]],
        now: datetime,
        change: Callable[[Rows, Subject, Evidence, datetime], Consent | None],
    ) -> list[Consent | None]:
        def work(rows: Rows, some: Sequence[tuple[Subject, Evidence]]) -> list[Consent | None]:
            rows.load([rows.consent_pk(subject) for subject, _ in some])
            return [change(rows, subject, one, now) for subject, one in some]

        consent_pk = self._rows().consent_pk
        results: list[Consent | None] = []
        for start in range(0, len(changes), TOGETHER):
            some = changes[start : start + TOGETHER]
            # What a text says may have its message owe a report, which rests on the consent.
            loose = not any(evidence.sid for _, evidence in some)
            results += self._each(some, lambda pair: consent_pk(pair[0]), work, loose=loose)
        return results

    def judge(
        self, subject: Subject, sid: str, *, is_out: bool, now: datetime, by: str
    ) -> Consent | None:
        """Write what a person found in a text."""
        return self._whole(
            lambda rows: attesting.judged(rows, subject, sid, now, is_out=is_out, by=by)
        )

    def take_undated(self, *, now: datetime, limit: int) -> list[Consent]:
        """Take consents that hang on dates."""

        def work(rows: Rows) -> dict[str, Consent]:
            found = self._heads("due", QUESTIONS, limit, upto=moment(ms(now)) + "~")
            rows.load([one.pk for one in found])
            taken = {}
            for pk in (one.pk for one in found):
                consent = rows.document(pk)
                if consent is not None and consent.ask_at and ms(consent.ask_at) <= ms(now):
                    taken[pk] = put_off(consent, now)
                    rows.put(pk, taken[pk])
            return taken

        taken, lost = self._tried(work, loose=True)
        return [consent for pk, consent in taken.items() if pk not in lost]

    def list_consents(
        self, tenant_id: TenantId, *, states: Collection[str] = (), after: int = 0, limit: int
    ) -> tuple[list[Consent], int | None]:
        """List consents, a page at a time."""
        found: list[Consent] = []
        while True:
            after_text = moment(after) + "~" if after else ""
            page = self._heads("place", consents_list(tenant_id), limit, after=after_text)
            rows = self._table.read([one.pk for one in page])
            for place in page:
                row = rows[place.pk]
                consent = decode(row) if row is not None else None
                after = int(place.at)
                if consent is not None and (not states or consent.state in states):
                    found.append(consent)
                    if len(found) == limit:
                        return found, after
            if len(page) < limit:
                return found, None

    def verify_consents(self, *, after: int = 0, limit: int) -> Verified:
        """Check seals."""
        after_text = moment(after) + "~" if after else ""
        page = self._heads("ended", CONSENTS, limit, after=after_text)
        rows = self._table.read([one.pk for one in page])
        broken = []
        for pk in (one.pk for one in page):
            row = rows[pk]
            if row is None:
                continue
            consent: Consent = decode(row)
            hashed = bytes.fromhex(pk.removeprefix("W#"))
            if not is_intact(consent, hashed, self._hash_key):
                broken.append(f"{consent.tenant_id}/{hashed.hex()}")
        then = int(page[-1].at) if len(page) == limit else None
        return Verified(len(page), tuple(broken), then)

    # Reports

    def owing(self, now: datetime, *, most: int) -> list[Owing]:
        """List tenants of whom something is due to be told."""
        upto = moment(ms(now)) + "~"
        tenants = sorted(one.at for one in self._table.listed("place", "names/owed"))
        found = []
        for tenant in map(TenantId, tenants):
            parts = self._table.parts(owed_list(tenant))
            due = sum(
                self._table.each(
                    lambda part: self._table.count("owed", part, upto=upto, most=most), parts
                )
            )
            if due:
                found.append(Owing(tenant, min(due, most)))
        return found

    def take_reports(
        self, tenant_id: TenantId, *, now: datetime, until: datetime, limit: int
    ) -> list[Owed]:
        """Take reports."""
        taken, lost = self._tried(
            lambda rows: reporting.take(rows, tenant_id, now=now, until=until, limit=limit)
        )
        return [one for one in taken if pk_of(one.of.key) not in lost]

    def answer_reports(self, answers: Sequence[tuple[Key, str, Answer]]) -> None:
        """Write what came of attempts."""

        def work(rows: Rows, some: Sequence[tuple[Key, str, Answer]]) -> list[None]:
            reporting.answer(rows, some)
            return [None] * len(some)

        self._each(answers, lambda one: pk_of(one[0]), work)

    def aside(self, tenant_id: TenantId | None, limit: int) -> list[Owed]:
        """List what was set aside."""
        documents = self._aside(tenant_id)
        return [Owed(one, reporting.set_aside(one)) for one in documents][:limit]

    def owe_again(self, tenant_id: TenantId | None, *, now: datetime) -> int:
        """Have what was set aside sent once more."""
        number = 0
        for document in self._aside(tenant_id):
            key = document.key

            def again(rows: Rows, key: Key = key) -> int:
                found = [one for one in rows.documents([key]) if one and reporting.set_aside(one)]
                return reporting.owe_again(rows, found, now)

            number += self._whole(again)
        return number

    def _aside(self, tenant_id: TenantId | None) -> list[Entry | Inbound]:
        if tenant_id is not None:
            pks = [one.pk for one in self._table.listed("aside", tenant_id)]
        else:
            pks = [pk for pk in self._table.everything_in("aside") if not pk.startswith("W#")]
        rows = [row for row in self._table.read(pks).values() if row is not None]
        rows.sort(key=lambda row: row.sequence)
        found = [document for document in map(decode, rows) if reporting.set_aside(document)]
        return sorted(found, key=lambda one: (isinstance(one, Inbound), one.tenant_id))

    # Privacy

    def about(
        self,
        tenant_id: TenantId,
        *,
        recipients: Collection[str] = (),
        identities: Collection[tuple[str, str]] = (),
    ) -> About:
        """Find all that names a person, by looking through everything."""
        people, known_as = {*recipients}, {*identities}
        if not people and not known_as:
            return About([], [], [])
        found: dict[str, list[Any]] = {}
        for kind in "EIW":
            rows = sorted(self._table.everything(f"{kind}#"), key=lambda row: row.sequence)
            found[kind] = [decode(row) for row in rows]
        return About(
            [one for one in found["E"] if names(one, tenant_id, people, known_as)],
            [one for one in found["I"] if names(one, tenant_id, people, known_as)],
            [one for one in found["W"] if one.tenant_id == tenant_id and one.recipient in people],
        )

    def erase(
        self,
        tenant_id: TenantId,
        *,
        entries: Iterable[Key],
        inbound: Iterable[Key],
        recipients: Collection[str],
        words: Collection[str],
        note: Note,
    ) -> Erased:
        """Replace documents by tombstones."""
        entries, inbound = list(entries), list(inbound)
        return self._whole(
            lambda rows: erasing.erase(
                rows,
                tenant_id,
                entries=entries,
                inbound=inbound,
                recipients=recipients,
                words=words,
                note=note,
            )
        )

    # Chores

    def add_chores(self, names: Iterable[str], *, due_at: datetime) -> None:
        """Write chores that are new."""
        wanted = list(names)

        def work(rows: Rows) -> None:
            rows.load([f"C#{name}" for name in wanted])
            for name in wanted:
                if rows.document(f"C#{name}") is None:
                    rows.put(f"C#{name}", ChoreRow(name=name, due_at=due_at))

        self._tried(work)  # whoever was there first is as good

    def take_chore(self, kind: str, *, now: datetime, until: datetime) -> Chore | None:
        """Take a chore."""
        for found in self._table.listed("due", f"chore/{kind}", upto=moment(ms(now)) + "~"):

            def take(rows: Rows, pk: str = found.pk) -> Chore | None:
                known = rows.document(pk)
                if known is None or ms(known.due_at) > ms(now):
                    return None
                rows.put(pk, msgspec.structs.replace(known, due_at=until))
                return Chore(known.name, known.mark)

            chore, lost = self._tried(take)
            if chore is not None and not lost:
                return chore
        return None

    def end_chore(self, name: str, *, due_at: datetime, mark: str | None) -> None:
        """Write when a chore is due next."""

        def work(rows: Rows) -> None:
            if rows.document(f"C#{name}") is not None:
                rows.put(f"C#{name}", ChoreRow(name=name, due_at=due_at, mark=mark))

        self._whole(work)

    def drop_chores(self, names: Iterable[str]) -> None:
        """Remove chores."""
        for name in list(names):
            self._whole(methodcaller("drop", f"C#{name}"))

    # Strays

    def keep_strays(self, strays: Sequence[Stray]) -> None:
        """Write receipts that belong to nothing."""

        def work(rows: Rows) -> None:
            rows.load([_stray_pk(one) for one in strays])
            for stray in strays:
                known = rows.document(_stray_pk(stray))
                merged = known and msgspec.structs.replace(
                    stray, first_at=known.first_at, times=known.times + stray.times
                )
                rows.put(_stray_pk(stray), merged or stray)

        if strays:
            self._each_alone(work, strays)

    def _each_alone(self, work: Callable[[Rows], None], strays: Sequence[Stray]) -> None:
        _, lost = self._tried(work)
        left = [one for one in strays if _stray_pk(one) in lost]
        if left:
            time.sleep(random.uniform(0, 0.01))
            self.keep_strays(left)

    def strays(self, limit: int) -> list[Stray]:
        """List them, latest heard first."""
        listed = islice(self._table.listed("place", STRAYS, backward=True), limit)
        found: list[Stray] = self._read([one.pk for one in listed])
        return found


def _stray_pk(stray: Stray) -> str:
    return f"S#{stray.tenant_id}/{stray.sid}"


def give_way(attempt: int) -> None:
    """Wait a moment for others, longer each time."""
    time.sleep(random.uniform(0, 0.002 * 2 ** min(attempt, 7)))


def _applied(
    work: Callable[[Rows, Sequence[T]], Sequence[R]], items: Sequence[T], rows: Rows
) -> Sequence[R]:
    return work(rows, items)
