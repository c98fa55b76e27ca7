"""Inbound messages that no webhook brought: listed from Twilio, number by number, and heard.

A number of ours is known from the messages that were sent from it. Each is a chore in
the ledger that is done every few minutes, by one process, from where it was left: after a downtime
the list reaches back to before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from ci360_twilio.core.inbound import Heard, inbound_key
from ci360_twilio.core.tenant import Tenant, TenantId
from ci360_twilio.errors import (
    BeforeSending,
    LedgerUnavailable,
    SendFailed,
    TenantUnknown,
    TwilioRefused,
)
from ci360_twilio.flow.hear import Listening, evidence_of
from ci360_twilio.logs import INBOUND_LISTED, Log, mask_number
from ci360_twilio.ports import Chore, Chores, Clock, Consents, Inbox, Lister, Tenants

KIND = "hear"
OVERLAP = timedelta(hours=6)
"""How far a list reaches back over the one before: Twilio's lists lag, by minutes and at times by hours
(twilio/twilio-java#442, twilio/twilio-node#647)."""
FIRST = timedelta(hours=24)
"""How far the first list of a number reaches back."""
LONGEST = timedelta(minutes=10)
"""How long one process may be at a number before another takes it."""
AFTER_FAILURE = timedelta(minutes=15)

_ANSWERABLE = re.compile(r"(?:(?:whatsapp|rcs):)?\+[0-9]{7,15}|[0-9]{3,8}|MG[0-9a-fA-F]{32}")


class Inboxes(Chores, Inbox, Consents, Protocol):
    """Where chores, messages and wishes are."""


class Ours(NamedTuple):
    """A number of a tenant's, or a Messaging Service with all of its."""

    tenant_id: TenantId
    sender: str

    @property
    def chore(self) -> str:
        """The name of its chore."""
        return f"{KIND}:{self.tenant_id}/{self.sender}"


class CatchingUp:
    """Lists inbound messages. Safe for many threads."""

    def __init__(
        self,
        store: Inboxes,
        lister: Lister,
        listening: Listening,
        tenants: Tenants,
        clock: Clock,
        log: Log,
        *,
        every: float,
    ) -> None:
        """Make it.

        Args:
            store: where chores, messages and wishes are.
            lister: asks Twilio.
            listening: takes what was missed.
            tenants: whose accounts are asked.
            clock: tells the time.
            log: hears of every list.
            every: seconds between two lists of a number.
        """
        self._store = store
        self._lister = lister
        self._listening = listening
        self._tenants = tenants
        self._clock = clock
        self._log = log
        self._every = timedelta(seconds=every)
        self._known: set[Ours] = set()

    def add(self, senders: Iterable[tuple[TenantId, str]]) -> None:
        """Have senders' numbers listed from now on; those that nobody can write to are left out."""
        ours = {Ours(*one) for one in senders if _ANSWERABLE.fullmatch(one[1])}
        fresh = ours - self._known
        if fresh:
            self._store.add_chores(sorted(one.chore for one in fresh), due_at=self._clock())
            self._known |= fresh

    def list_due(self) -> bool:
        """List one number that is due; tells whether there was one.

        Raises ``LedgerUnavailable``; the number is then listed again when its turn is over.
        """
        now = self._clock()
        chore = self._store.take_chore(KIND, now=now, until=now + LONGEST)
        if chore is None:
            return False
        tenant_id, _, sender = chore.name.removeprefix(f"{KIND}:").partition("/")
        ours = Ours(TenantId(tenant_id), sender)
        try:
            tenant = self._tenants.get(ours.tenant_id)
            missed = self._list(tenant, sender, _since(chore, now))
        except TenantUnknown:
            self._store.drop_chores([chore.name])
            self._known.discard(ours)
            return True
        except LedgerUnavailable:
            raise
        except (BeforeSending, SendFailed) as exc:
            if isinstance(exc, TwilioRefused) and exc.status == 401:
                with suppress(BeforeSending):
                    self._tenants.reread(ours.tenant_id)
            reason = exc.reason if isinstance(exc, SendFailed) else exc.code
            self._tell(ours, "failed", reason=reason)
            later = self._clock() + max(self._every, AFTER_FAILURE)
            self._store.end_chore(chore.name, due_at=later, mark=chore.mark)
            return True
        self._store.end_chore(chore.name, due_at=now + self._every, mark=now.isoformat())
        self._tell(ours, "listed", missed=missed)
        return True

    def _list(self, tenant: Tenant, sender: str, since: datetime) -> int:
        """Hear what was missed of one number; gives how much that was."""
        numbers = [sender]
        if sender.startswith("MG"):
            numbers = self._lister.service_numbers(tenant, sender)
        return sum(
            self._hear(tenant, page)
            for number in numbers
            for page in self._lister.inbound(tenant, number, since=since)
        )

    def _hear(self, tenant: Tenant, rows: list[Heard]) -> int:
        """Take what is new of a page; of what was known by a webhook, the list tells the date."""
        known = self._store.is_heard([inbound_key(tenant.id, row.sid) for row in rows])
        now = self._clock()
        dated = [
            (subject, evidence)
            for row, was in zip(rows, known, strict=True)
            if was and row.dated_at is not None
            for subject, evidence in [evidence_of(tenant, row, now)]
            if evidence is not None
        ]
        if dated:
            self._store.date_many(dated, now=now)
        fresh = [row for row, was in zip(rows, known, strict=True) if not was]
        # oldest first: what a customer wrote last is heard last
        received = self._listening.hear_listed(tenant, fresh[::-1])
        return sum(one.created for one in received)

    def _tell(self, ours: Ours, decision: str, **fields: object) -> None:
        write = self._log.info if fields.get("missed") else self._log.debug
        if decision == "failed":
            write = self._log.warning
        sender = mask_number(ours.sender)
        write(INBOUND_LISTED, tenant=ours.tenant_id, sender=sender, decision=decision, **fields)


def _since(chore: Chore, now: datetime) -> datetime:
    """Tell from when on messages are listed."""
    if chore.mark is None:
        return now - FIRST
    return min(datetime.fromisoformat(chore.mark), now) - OVERLAP
