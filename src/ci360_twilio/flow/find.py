"""``find``: entries about which Twilio must be asked -> questions -> facts in the ledger.

::

    take ──────► ask ────► record
    (puts the    (Twilio)  (what was
    next off)              learned)

What is sent and has no final status is asked for by its SID. What is unknown has none, so that a
message which looks like it is searched for. The SID of such a message is a guess: it never takes a
SID that any entry has, and gives way to Twilio's own word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import msgspec

from ci360_twilio.core.due import next_fetch
from ci360_twilio.core.entry import Entry, Fact, Key, Kind, Status
from ci360_twilio.core.match import Listed, Sought, candidates
from ci360_twilio.core.receipt import is_final
from ci360_twilio.core.replay import again
from ci360_twilio.core.share import Verdict, Wish, share
from ci360_twilio.core.tenant import Tenant, TenantId
from ci360_twilio.errors import (
    BeforeSending,
    Failure,
    LedgerUnavailable,
    SendFailed,
    TwilioRefused,
)
from ci360_twilio.flow.patience import Each
from ci360_twilio.flow.unsettled import Searched, Unsettled
from ci360_twilio.logs import Log, safe_guid
from ci360_twilio.ports import Clock, Finder, Mark, Tenants

MESSAGE_FOUND = "message.found"
"""Twilio was asked what became of a message; ``decision`` says with what result."""

LIST_TOO_LONG = "list_too_long"
"""The reason of a search that was left, since there was no end to it."""

MARGIN = timedelta(hours=1)
"""How far our clock may be from Twilio's."""

_ABOUT_ONE = frozenset(
    {Failure.PERMANENT_RECIPIENT, Failure.PERMANENT_CONTENT, Failure.PERMANENT_REQUEST}
)
"""What Twilio refuses for one question's sake; all else would meet the tenant's next one, too."""


PATIENCE = 3
"""Questions in a row without an answer, after which a tenant is left alone for a while."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What was learned of one entry, for :meth:`Finding.record`."""

    entry: Entry
    decision: str
    """``found``, ``several``, ``waits`` (for the others that look alike), ``none``, ``deadline`` or
    ``fetched``."""
    fact: Fact | None = None
    otherwise: Fact | None = None
    """What is recorded where the ledger does not take ``fact``."""
    again: Entry | None = None
    """The entry that sends the message again; written before the fact."""
    recipient_limit: int | None = None
    """How many messages its recipient may get in a day."""


class Finding:
    """Asks Twilio. Safe for many threads.

    What was learned and could not be written is kept, and written at the next call.
    """

    def __init__(
        self,
        ledger: Searched,
        finder: Finder,
        tenants: Tenants,
        clock: Clock,
        log: Log,
        *,
        event_ttl: float,
        lease_seconds: float,
        unknown_deadline: float = 86_400.0,
    ) -> None:
        """Make it.

        Args:
            ledger: holds the entries.
            finder: asks Twilio.
            tenants: whose accounts are asked.
            clock: tells the time.
            log: hears of every answer.
            event_ttl: for how many seconds a message that is sent again may be sent.
            lease_seconds: how long an attempt may go on that is not heard of any more.
            unknown_deadline: after how many seconds a message that was not found is given up.
        """
        self._ledger = ledger
        self._finder = finder
        self._tenants = tenants
        self._clock = clock
        self._log = log
        self._ttl = timedelta(seconds=event_ttl)
        self._lease = timedelta(seconds=lease_seconds)
        self._deadline = timedelta(seconds=unknown_deadline)
        self._left_alone: set[TenantId] = set()
        self._silences: Counter[TenantId] = Counter()
        """Questions in a row that got no answer."""
        self._unwritten: list[Found | None] = []
        self._unsettled = Unsettled(ledger, clock)

    def find_many(self, limit: int, each: Each = map) -> int:
        """Ask about up to ``limit`` entries; gives how many there were.

        ``each`` asks: one after the other, unless told. Never raises for what the world does, but for
        ``LedgerUnavailable``: what was learned is then written at the next call.
        """
        self._write_down(())
        entries = self.take(limit)
        unread: list[LedgerUnavailable] = []

        def ask(entry: Entry) -> Found | None:
            try:
                return self.ask(entry)
            except LedgerUnavailable as exc:  # what the others learned is written all the same
                unread.append(exc)
                return None

        self._write_down(list(each(ask, entries)))
        if unread:
            raise unread[0]
        return len(entries)

    def _write_down(self, answers: Sequence[Found | None]) -> None:
        """Record answers, and those of before that could not be written."""
        kept, self._unwritten = [*self._unwritten, *answers], []
        try:
            self.record(kept)
        except LedgerUnavailable:
            self._unwritten += kept
            raise

    def take(self, limit: int) -> list[Entry]:
        """Take entries about which Twilio should be asked now; each is put off to its next look."""
        self._left_alone.clear()
        self._silences.clear()
        return self._ledger.look(now=self._clock(), limit=limit)

    def ask(self, entry: Entry) -> Found | None:
        """Ask Twilio about one entry.

        A tenant is left alone until the next :meth:`take` after an answer that would be the same for
        the next question (429, 401), or :data:`PATIENCE` questions in a row that got none.

        Returns:
            What was learned; ``None`` where Twilio did not answer or was not asked. That entry is
            asked about at its next look; only when twice the time is over it is left to a person.
        """
        found = self._asked(entry)
        given_up = entry.status is Status.UNKNOWN and self._is_overdue(entry, times=2)
        if found is None and given_up:
            held = self._fact(Kind.HELD, reason="not_answered")
            return Found(entry=entry, decision="deadline", fact=held)
        return found

    def _asked(self, entry: Entry) -> Found | None:
        if entry.tenant_id in self._left_alone:
            return None
        try:
            tenant = self._tenants.get(entry.tenant_id)
        except BeforeSending as exc:
            self._leave_alone(entry, exc.code)
            return None
        ask = self._fetched if entry.status is Status.SENT else self._searched
        try:
            found = ask(entry, tenant)
        except SendFailed as exc:
            self._not_answered(entry, exc)
            return None
        del self._silences[entry.tenant_id]
        return found

    def record(self, answers: Iterable[Found | None]) -> None:
        """Write what was learned, in few commits; may be called again after a failure."""
        learned = [one for one in answers if one is not None]
        self._insert(learned)
        told = [one for one in learned if one.fact]
        after = self._write([(one.entry.key, one.fact) for one in told if one.fact])
        vain = [one for one in told if one.entry.key not in after]
        after |= self._write([pair for one in vain for pair in self._otherwise(one)])
        for one in learned:
            self._tell(one, after.get(one.entry.key, one.entry))

    def _write(self, facts: Sequence[tuple[Key, Fact]]) -> dict[Key, Entry]:
        """Record facts; gives the entries that they changed."""
        results = self._ledger.record_many(facts) if facts else []
        return {entry.key: entry for entry in results if entry is not None}

    def _searched(self, entry: Entry, tenant: Tenant) -> Found:
        sought = self._sought(entry)
        if sought is None:
            return self._missed(entry, tenant)
        rows = self._finder.search(tenant, sought.message.to, since=sought.since)
        wish = Wish(entry, self._untaken(tenant.id, candidates(sought, rows)))
        if not wish.rows:
            return self._missed(entry, tenant)
        overdue = self._is_overdue(entry)
        verdict, receipt = share(wish, self._others(entry, rows), last=overdue)
        if verdict is Verdict.NONE:
            return self._missed(entry, tenant)
        if verdict is Verdict.TOO_FEW:
            return Found(entry=entry, decision="waits")
        if verdict is Verdict.SEVERAL:
            held = self._fact(Kind.HELD, reason="several_candidates")
            return Found(entry=entry, decision="several", fact=held)
        return Found(
            entry=entry,
            decision="found",
            fact=self._fact(Kind.MADE, receipt=receipt, guessed=True),
            otherwise=self._fact(Kind.HELD, reason="not_found") if overdue else None,
        )

    def _missed(self, entry: Entry, tenant: Tenant) -> Found:
        """Give up what was not found until the deadline, in the way that the tenant has chosen.

        What is sent again may be sent for as long as a new event, since its own time is over by
        then as a rule: this is outside the guarantee, as a second message may be, too. It is sent
        again only once, and not after the time that was set for it by ``not_after``.
        """
        if not self._is_overdue(entry):
            return Found(entry=entry, decision="none")
        now, reason = self._clock(), "resent_after_deadline"
        over = entry.not_after is not None and entry.not_after <= now
        hold = tenant.unknown_after_deadline != "resend" or over or entry.message is None
        if hold or entry.replay_of is not None:
            held = self._fact(Kind.HELD, reason="not_found")
            return Found(entry=entry, decision="deadline", fact=held)
        new = again(entry, now=now, ttl=self._ttl, step="find", reason=reason)
        return Found(
            entry=entry,
            decision="deadline",
            fact=self._fact(Kind.CLOSED, reason=reason, link=new.key),
            again=new,
            recipient_limit=tenant.messages_per_recipient_per_day,
        )

    def _fetched(self, entry: Entry, tenant: Tenant) -> Found:
        receipt = self._finder.fetch(tenant, entry.sid or "")
        decision = "fetched" if receipt else "none"
        if receipt is not None and is_final(receipt.status):
            fact = self._fact(Kind(receipt.status), receipt=receipt)
        else:
            then = next_fetch(entry, self._clock())
            fact = self._fact(Kind.ANSWERED, receipt=receipt, due_at=then)
        return Found(entry=entry, decision=decision, fact=fact)

    def _sought(self, entry: Entry) -> Sought | None:
        """Give what is looked for, in any span in which it may have been made: clocks may jump."""
        if entry.message is None:
            return None
        began, lost = entry.started_at or entry.created_at, entry.lost_at or self._clock()
        return Sought(
            message=entry.message,
            since=min(began, lost) - MARGIN,
            until=max(began, lost) + self._lease + MARGIN,
        )

    def _is_overdue(self, entry: Entry, times: int = 1) -> bool:
        return (entry.lost_at or entry.created_at) + times * self._deadline <= self._clock()

    def _untaken(self, tenant_id: TenantId, rows: Iterable[Listed]) -> list[Listed]:
        """Leave out the messages whose SID an entry of the tenant has."""
        if not (rows := list(rows)):
            return []
        owners = self._ledger.marked([Mark(tenant_id, None, row.receipt.sid) for row in rows])
        return [row for row, owner in zip(rows, owners, strict=True) if owner is None]

    def _others(self, entry: Entry, rows: Sequence[Listed]) -> list[Wish]:
        """Give the other open entries to the recipient, with the messages that may be theirs."""
        sought = [(one, self._sought(one)) for one in self._unsettled.beside(entry)]
        wishes = [Wish(one, candidates(what, rows)) for one, what in sought if what]
        shown = {row.receipt.sid: row for wish in wishes for row in wish.rows}
        free = {row.receipt.sid for row in self._untaken(entry.tenant_id, shown.values())}
        return [
            Wish(one, [row for row in alike if row.receipt.sid in free]) for one, alike in wishes
        ]

    def _insert(self, learned: Sequence[Found]) -> None:
        """Write the entries that send messages again, before the old ones are closed."""
        entries = [one.again for one in learned if one.again]
        limits = {
            one.entry.tenant_id: one.recipient_limit for one in learned if one.recipient_limit
        }
        if entries:
            self._ledger.insert_many(entries, recipient_limits=limits)

    def _otherwise(self, answer: Found) -> list[tuple[Key, Fact]]:
        """Give what is recorded where the ledger did not take the fact.

        An entry that was settled while its message was to be sent again takes the new one back.
        """
        key, new = answer.entry.key, answer.again
        if new is None:
            return [(key, answer.otherwise)] if answer.otherwise else []
        old = self._ledger.get_many([key])[0]
        if old is None or old.replayed_by == new.key:
            return []
        return [(new.key, self._fact(Kind.WITHDRAWN, reason="found_meanwhile"))]

    def _not_answered(self, entry: Entry, exc: SendFailed) -> None:
        if isinstance(exc, TwilioRefused) and exc.status == 401:
            with suppress(BeforeSending):
                self._tenants.reread(entry.tenant_id)
        goes_on = exc.failure in _ABOUT_ONE or exc.reason == LIST_TOO_LONG
        if not goes_on and not isinstance(exc, TwilioRefused):
            self._silences[entry.tenant_id] += 1
            goes_on = self._silences[entry.tenant_id] < PATIENCE
        if goes_on:
            self._log.warning("find.failed", reason=exc.reason, **_ids(entry))
        else:
            self._leave_alone(entry, exc.reason)

    def _leave_alone(self, entry: Entry, reason: str) -> None:
        if entry.tenant_id not in self._left_alone:
            self._left_alone.add(entry.tenant_id)
            self._log.warning("find.failed", reason=reason, **_ids(entry))

    def _tell(self, answer: Found, entry: Entry) -> None:
        in_vain = answer.fact is None and entry.status is Status.UNKNOWN
        write = self._log.debug if in_vain else self._log.info
        write(
            MESSAGE_FOUND,
            decision=answer.decision,
            status=entry.status,
            reason=entry.reason,
            looks=answer.entry.looks,
            sid=entry.sid,
            **_ids(entry),
        )

    def _fact(self, kind: Kind, **members: Any) -> Fact:
        return Fact(kind=kind, at=self._clock(), by="find", **members)


def _ids(entry: Entry) -> dict[str, Any]:
    return {"tenant": entry.tenant_id, "guid": safe_guid(entry.guid)}
