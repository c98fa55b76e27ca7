"""A ledger in memory as far as customers and CI360 go; see :mod:`ci360_twilio.ports`."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from itertools import islice

import msgspec

from ci360_twilio.core.consent import Consent, Evidence, Subject, person_of, put_off
from ci360_twilio.core.entry import Entry, Key
from ci360_twilio.core.inbound import Inbound
from ci360_twilio.core.report import Answer
from ci360_twilio.core.seal import is_intact
from ci360_twilio.core.tenant import TenantId
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
from ci360_twilio.stores import attesting, erasing, reporting
from ci360_twilio.stores.columns import ms, report_at
from ci360_twilio.stores.memory_rows import MemoryRows
from ci360_twilio.stores.talking import answers, names


class MemoryCustomers:
    """See :class:`MemoryStore` for the whole."""

    def __init__(self, hash_key: bytes) -> None:
        self._rows = MemoryRows(hash_key)
        self._lock = threading.Lock()

    # Inbox

    def conversations(self, asked: Sequence[Conversation]) -> list[Entry | None]:
        """Find what customers answer."""
        with self._lock:
            return [self._conversation(one) for one in asked]

    def _conversation(self, asked: Conversation) -> Entry | None:
        to_them = self._rows.received_by(asked.tenant_id, asked.customer)
        return next((entry for entry in to_them if answers(asked, entry)), None)

    def is_heard(self, keys: Sequence[Key]) -> list[bool]:
        """Tell which inbound messages are known."""
        with self._lock:
            return [key in self._rows.letters or self._rows.is_buried(key) for key in keys]

    def hear_many(self, hearings: Sequence[Hearing], *, now: datetime) -> list[Received]:
        """Write inbound messages and what they say of consent."""
        with self._lock:
            return attesting.hear(self._rows, hearings, now)

    def find_inbound(self, query: InboundQuery) -> list[Inbound]:
        """List inbound messages, latest heard first."""
        with self._lock:
            letters = list(self._rows.letters.values())[::-1]
        letters.sort(key=lambda one: ms(one.heard_at), reverse=True)
        found = (
            one
            for one in letters
            if query.tenant_id in (None, one.tenant_id)
            and query.sid in (None, one.heard.sid)
            and query.customer in (None, person_of(one.heard.sender))
        )
        return list(islice(found, query.limit))

    # Consents

    def consents(self, subjects: Sequence[Subject]) -> list[Consent | None]:
        """Read consents."""
        with self._lock:
            return [self._rows.consent(subject) for subject in subjects]

    def attest_many(
        self, changes: Sequence[tuple[Subject, Evidence]], *, now: datetime
    ) -> list[Consent | None]:
        """Add evidence."""
        with self._lock:
            return [attesting.attested(self._rows, subject, one, now) for subject, one in changes]

    def date_many(
        self, changes: Sequence[tuple[Subject, Evidence]], *, now: datetime
    ) -> list[Consent | None]:
        """Write dates."""
        with self._lock:
            return [attesting.dated(self._rows, subject, one, now) for subject, one in changes]

    def judge(
        self, subject: Subject, sid: str, *, is_out: bool, now: datetime, by: str
    ) -> Consent | None:
        """Write what a person found in a text."""
        with self._lock:
            return attesting.judged(self._rows, subject, sid, now, is_out=is_out, by=by)

    def take_undated(self, *, now: datetime, limit: int) -> list[Consent]:
        """Take consents that hang on dates."""
        with self._lock:
            due = [
                (one.ask_at, hashed)
                for hashed, one in self._rows.wishes.items()
                if one.ask_at is not None and ms(one.ask_at) <= ms(now)
            ]
            taken = []
            for _, hashed in sorted(due, key=lambda one: ms(one[0]))[:limit]:
                consent = self._rows.wishes[hashed] = put_off(self._rows.wishes[hashed], now)
                taken.append(consent)
            return taken

    def list_consents(
        self, tenant_id: TenantId, *, states: Collection[str] = (), after: int = 0, limit: int
    ) -> tuple[list[Consent], int | None]:
        """List consents, a page at a time; their places are counted from 1."""
        with self._lock:
            numbered = enumerate(self._rows.wishes.values(), start=1)
            found = [
                (number, one)
                for number, one in numbered
                if number > after
                and one.tenant_id == tenant_id
                and (not states or one.state in states)
            ][:limit]
        return [one for _, one in found], found[-1][0] if len(found) == limit else None

    def verify_consents(self, *, after: int = 0, limit: int) -> Verified:
        """Check seals."""
        with self._lock:
            page = list(self._rows.wishes.items())[after : after + limit]
            key = self._rows.hash_key
        broken = [
            f"{one.tenant_id}/{hashed.hex()}"
            for hashed, one in page
            if not is_intact(one, hashed, key)
        ]
        return Verified(len(page), tuple(broken), after + limit if len(page) == limit else None)

    # Reports

    def owing(self, now: datetime, *, most: int) -> list[Owing]:
        """List tenants of whom something is due to be told."""
        with self._lock:
            documents = list(self._rows.owing.values())
        due = ((report_at(one.reports), one.tenant_id) for one in documents)
        found = Counter(tenant for at, tenant in due if at is not None and at <= ms(now))
        return [Owing(tenant, min(found[tenant], most)) for tenant in sorted(found)]

    def take_reports(
        self, tenant_id: TenantId, *, now: datetime, until: datetime, limit: int
    ) -> list[Owed]:
        """Take reports."""
        with self._lock:
            return reporting.take(self._rows, tenant_id, now=now, until=until, limit=limit)

    def answer_reports(self, answers: Sequence[tuple[Key, str, Answer]]) -> None:
        """Write what came of attempts."""
        with self._lock:
            reporting.answer(self._rows, answers)

    def aside(self, tenant_id: TenantId | None, limit: int) -> list[Owed]:
        """List what was set aside."""
        with self._lock:
            return [Owed(one, reporting.set_aside(one)) for one in self._aside(tenant_id)][:limit]

    def owe_again(self, tenant_id: TenantId | None, *, now: datetime) -> int:
        """Have what was set aside sent once more."""
        with self._lock:
            return reporting.owe_again(self._rows, self._aside(tenant_id), now)

    def _aside(self, tenant_id: TenantId | None) -> list[Entry | Inbound]:
        mine = [
            one
            for one in self._rows.owing.values()
            if tenant_id in (None, one.tenant_id) and reporting.set_aside(one)
        ]
        return sorted(mine, key=self._rows.in_order)

    # Privacy

    def about(
        self,
        tenant_id: TenantId,
        *,
        recipients: Collection[str] = (),
        identities: Collection[tuple[str, str]] = (),
    ) -> About:
        """Find all that names a person."""
        people, known_as = {*recipients}, {*identities}
        with self._lock:
            entries = [*self._rows.entries.values()]
            letters = [*self._rows.letters.values()]
            wishes = [*self._rows.wishes.values()]
        return About(
            [one for one in entries if names(one, tenant_id, people, known_as)],
            [one for one in letters if names(one, tenant_id, people, known_as)],
            [one for one in wishes if one.tenant_id == tenant_id and one.recipient in people],
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
        with self._lock:
            return erasing.erase(
                self._rows,
                tenant_id,
                entries=entries,
                inbound=inbound,
                recipients=recipients,
                words=words,
                note=note,
            )

    # Chores

    def add_chores(self, names: Iterable[str], *, due_at: datetime) -> None:
        """Write chores that are new."""
        with self._lock:
            for name in names:
                self._rows.chores.setdefault(name, (due_at, None))

    def take_chore(self, kind: str, *, now: datetime, until: datetime) -> Chore | None:
        """Take a chore."""
        with self._lock:
            due = [
                (ms(due_at), name)
                for name, (due_at, _) in self._rows.chores.items()
                if name.startswith(f"{kind}:") and ms(due_at) <= ms(now)
            ]
            if not due:
                return None
            name = min(due)[1]
            mark = self._rows.chores[name][1]
            self._rows.chores[name] = until, mark
            return Chore(name, mark)

    def end_chore(self, name: str, *, due_at: datetime, mark: str | None) -> None:
        """Write when a chore is due next."""
        with self._lock:
            if name in self._rows.chores:
                self._rows.chores[name] = due_at, mark

    def drop_chores(self, names: Iterable[str]) -> None:
        """Remove chores."""
        with self._lock:
            for name in names:
                self._rows.chores.pop(name, None)

    # Strays

    def keep_strays(self, strays: Sequence[Stray]) -> None:
        """Write receipts that belong to nothing."""
        with self._lock:
            for stray in strays:
                known = self._rows.strays.pop((stray.tenant_id, stray.sid), None)
                merged = known and msgspec.structs.replace(
                    stray, first_at=known.first_at, times=known.times + stray.times
                )
                self._rows.strays[stray.tenant_id, stray.sid] = merged or stray

    def strays(self, limit: int) -> list[Stray]:
        """List them, latest heard first."""
        with self._lock:
            found = list(self._rows.strays.values())
        return sorted(found, key=lambda one: ms(one.last_at), reverse=True)[:limit]
