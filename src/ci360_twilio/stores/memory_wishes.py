"""Inbound messages, consents, chores and strays of a ledger in memory."""

from __future__ import annotations

from datetime import datetime

import msgspec

from ci360_twilio.core.consent import Consent, Subject, nameless
from ci360_twilio.core.entry import Entry, Key
from ci360_twilio.core.inbound import Inbound
from ci360_twilio.core.seal import sealed, subject_hash
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import Stray
from ci360_twilio.stores.columns import ms, report_at
from ci360_twilio.stores.tombstone import tombstone


class MemoryWishes:
    """See :class:`ci360_twilio.stores.transaction.Wishes`.

    Attributes:
        letters: inbound messages by key, in the order in which they were heard.
        wishes: consents by the hash that they are kept under, in the order in which they were made.
        tombstones: hashes of the keys of deleted documents.
        chores: when each is due, and its mark.
        strays: by tenant and SID.
    """

    def __init__(self, hash_key: bytes) -> None:
        self.hash_key = hash_key
        self.letters: dict[Key, Inbound] = {}
        self.wishes: dict[bytes, Consent] = {}
        self.tombstones: set[bytes] = set()
        self.chores: dict[str, tuple[datetime, str | None]] = {}
        self.strays: dict[tuple[TenantId, str], Stray] = {}
        self.owing: dict[Key, Entry | Inbound] = {}
        """Documents with a report that is owed or was set aside."""
        self._numbers: dict[Key, int] = {}
        """In which order documents were written."""
        self._last_number = 0

    def has_consents(self) -> bool:
        """Tell whether there is any consent at all."""
        return bool(self.wishes)

    def consent(self, subject: Subject) -> Consent | None:
        """Read a consent."""
        return self.wishes.get(subject_hash(subject, self.hash_key))

    def keep_consent(self, subject: Subject, consent: Consent) -> Consent:
        """Seal and write a consent."""
        hashed = subject_hash(subject, self.hash_key)
        before = self.wishes.get(hashed)
        self.wishes[hashed] = sealed(consent, before, hashed, self.hash_key)
        return self.wishes[hashed]

    def forget_number(self, tenant_id: TenantId, person: str) -> int:
        """Take a person's number from all consents to a tenant."""
        mine = [
            (hashed, one)
            for hashed, one in self.wishes.items()
            if one.tenant_id == tenant_id and one.recipient == person
        ]
        for hashed, one in mine:
            self.wishes[hashed] = nameless(one)
        return len(mine)

    def inbound(self, key: Key) -> Inbound | None:
        """Read an inbound message."""
        return self.letters.get(key)

    def add_inbound(self, inbound: Inbound) -> None:
        """Write an inbound message that is new."""
        self.number(inbound.key)
        self.keep_inbound(inbound)

    def keep_inbound(self, inbound: Inbound) -> None:
        """Write an inbound message."""
        self.letters[inbound.key] = inbound
        self.note_owing(inbound)

    def heard_again(self, inbound: Inbound) -> Inbound | None:
        """Count that a message came again."""
        known = self.letters.get(inbound.key)
        if known is None:
            return inbound if self.is_buried(inbound.key) else None
        known = msgspec.structs.replace(known, repeats=known.repeats + 1)
        self.keep_inbound(known)
        return known

    def number(self, key: Key) -> None:
        """Give a new document its number."""
        self._last_number += 1
        self._numbers[key] = self._last_number

    def in_order(self, document: Entry | Inbound) -> tuple[bool, TenantId, int]:
        """Give what documents are sorted by: entries first, tenant by tenant, each as written."""
        return isinstance(document, Inbound), document.tenant_id, self._numbers[document.key]

    def bury(self, key: Key) -> None:
        """Leave a tombstone."""
        self.owing.pop(key, None)
        self.tombstones.add(tombstone(key, self.hash_key))

    def is_buried(self, key: Key) -> bool:
        """Tell whether a tombstone stands for a key."""
        return tombstone(key, self.hash_key) in self.tombstones

    def note_owing(self, document: Entry | Inbound) -> None:
        """Keep the list of documents that owe a report, or had one set aside."""
        if any(one.due_at is not None or one.aside is not None for one in document.reports):
            self.owing[document.key] = document
        else:
            self.owing.pop(document.key, None)

    def due_reports(self, tenant_id: TenantId, now: datetime, limit: int) -> list[Entry | Inbound]:
        """List a tenant's documents with reports that are due."""
        due = [
            (at, document)
            for document in self.owing.values()
            if document.tenant_id == tenant_id
            and (at := report_at(document.reports)) is not None
            and at <= ms(now)
        ]
        due.sort(key=lambda one: (one[0], self.in_order(one[1])))
        return [document for _, document in due[:limit]]
