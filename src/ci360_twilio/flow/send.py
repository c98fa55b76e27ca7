"""``send``: entries that are due -> requests to Twilio -> facts in the ledger.

The steps of one attempt, each its own method so that an edge can run many attempts together::

    claim ──► begin ──► attempt ──► record
    (lease)   (commit    (bytes     (what came
              sending)    leave)     of it)
"""

from __future__ import annotations

import queue
import random
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec

from ci360_twilio.core.due import validity
from ci360_twilio.core.entry import Entry, Fact, Key, Kind, Lease, Status
from ci360_twilio.core.pace import Rate
from ci360_twilio.core.retry import BACKOFF, Verdict, decide
from ci360_twilio.core.tenant import Tenant, TenantId
from ci360_twilio.errors import (
    BeforeSending,
    Failure,
    SendFailed,
    TwilioRefused,
)
from ci360_twilio.flow.addresses import status_address
from ci360_twilio.flow.patience import ATTEMPT_SECONDS
from ci360_twilio.flow.pausing import Pausing
from ci360_twilio.logs import ENTRY_SUPPRESSED, ENTRY_SWEPT, MESSAGE_SENT, Log, safe_guid
from ci360_twilio.ports import Claimed, Clock, Ledger, Sender, Tenants, unpaced

CLAIMS = 20
"""Claims in a row that may take nothing, since all they found had to wait."""


class Begun(msgspec.Struct, frozen=True):
    """An entry in ``sending``, and the tenant whose account sends it."""

    entry: Entry
    tenant: Tenant


class Sending:
    """Makes attempts. Safe for many threads; holds no entry between calls."""

    def __init__(
        self,
        ledger: Ledger,
        sender: Sender,
        tenants: Tenants,
        pausing: Pausing,
        clock: Clock,
        log: Log,
        *,
        lease_seconds: float = 60.0,
        public_url: str | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """Make it.

        Args:
            ledger: holds the entries.
            sender: asks Twilio.
            tenants: whose accounts send.
            pausing: hears of configuration errors, and of probes.
            clock: tells the time.
            log: hears of every attempt.
            lease_seconds: how long a claim holds; over all time-outs of an attempt together.
            public_url: the address at which Twilio reaches us, for status callbacks.
            rng: gives the jitter.
        """
        self._ledger = ledger
        self._sender = sender
        self._tenants = tenants
        self._clock = clock
        self._log = log
        self._lease = timedelta(seconds=lease_seconds)
        self._rng = rng or random.Random()
        self._pausing = pausing
        self._public_url = public_url
        self._seen: dict[TenantId, Tenant] = {}
        self._unpaced: set[Key] = set()
        """Entries that were claimed before their tenant's rates were known."""
        self._lines: queue.SimpleQueue[tuple[str, dict[str, Any]]] = queue.SimpleQueue()
        self._senders: set[tuple[TenantId, str]] = set()

    @property
    def senders(self) -> set[tuple[TenantId, str]]:
        """The senders that this process has sent from."""
        return self._senders.copy()

    def claim(
        self, limit: int, keys: Sequence[Key] | None = None, *, in_turn: bool = False
    ) -> list[Entry]:
        """Take entries that may be sent, for one lease; what time has overtaken is logged.

        With ``keys`` these are taken, without asking for their senders' budgets; with ``in_turn`` those
        whose senders are paced are put into their queues by :meth:`begin` instead of being started.

        Where a claim only puts entries aside, behind a pause or in a queue, it is made again: those
        behind them may go.
        """
        self._pausing.write()
        for _ in range(CLAIMS):
            claimed = self._claim(limit, keys)
            if claimed.entries or not claimed.placed:
                break
        if in_turn:
            self._unpaced.update(entry.key for entry in claimed.entries)
        return claimed.entries

    def _claim(self, limit: int, keys: Sequence[Key] | None) -> Claimed:
        now = self._clock()
        lease = Lease(token=secrets.token_hex(8), until=now + self._lease)
        strangers: set[Key] = set()
        claimed = self._ledger.claim(
            now=now,
            lease=lease,
            limit=limit,
            keys=keys,
            rate_of=partial(self._rate_of, strangers) if keys is None else unpaced,
        )
        self._unpaced.update(one.key for one in claimed.entries if one.key in strangers)
        self._pausing.expect(claimed.probes)
        if claimed.entries:
            self._log.debug("entries.claimed", entries=len(claimed.entries), lease=lease.token)
        self._log.info_many(
            (ENTRY_SWEPT, _ids(entry) | {"decision": entry.status, "reason": entry.reason})
            for entry in claimed.swept
        )
        return claimed

    def begin(self, entries: Sequence[Entry], also: Sequence[tuple[Key, Fact]] = ()) -> list[Begun]:
        """Commit that the bytes of these messages are about to leave.

        Args:
            entries: claimed ones that are to be sent now.
            also: what came of earlier attempts, to be written in the same commit.

        Returns:
            The entries that may be sent now. Left out are those whose lease or time is over, whose
            recipient has opted out, that a pause or a limit covers, and whose tenant cannot be read;
            these are put off.
        """
        self._write_lines()
        self._pausing.write()
        now = self._clock()
        first = [self._first_fact(entry, now) for entry in entries]
        starts = [(entry.key, fact) for entry, (fact, _) in zip(entries, first, strict=True)]
        tenants = {tenant.id: tenant for _, tenant in first if tenant}
        limits = {
            name: one.messages_per_hour for name, one in tenants.items() if one.messages_per_hour
        }
        results = self._ledger.record_many([*also, *starts], hourly_limits=limits)[len(also) :]
        self._unpaced.difference_update(entry.key for entry in entries)
        self._log.info_many(
            (ENTRY_SUPPRESSED, _ids(entry) | {"decision": entry.status, "reason": entry.reason})
            for entry in results
            if entry is not None and entry.status is Status.SUPPRESSED
        )
        begun = [
            Begun(entry, tenant)
            for entry, (_, tenant) in zip(results, first, strict=True)
            if entry is not None and tenant is not None and entry.status is Status.SENDING
        ]
        self._senders.update(
            (one.tenant.id, one.entry.message.sender) for one in begun if one.entry.message
        )
        return begun

    def release(self, entries: Sequence[Entry]) -> None:
        """Give claimed entries back that were not begun."""
        self._unpaced.difference_update(entry.key for entry in entries)
        now = self._clock()
        back = [
            (entry.key, self._fact(entry, Kind.POSTPONED, due_at=now, reason="worker_stopped"))
            for entry in entries
        ]
        self._ledger.record_many(back)

    def attempt(self, begun: Begun, *, timeout: float = ATTEMPT_SECONDS) -> Fact:
        """Ask Twilio for one message.

        Never raises for what the world does: every end is a fact for :meth:`record`, or for the
        next :meth:`begin`, which also write its log line.
        """
        started, entry = time.perf_counter(), begun.entry
        try:
            fact = self._post(begun, timeout)
        except SendFailed as exc:
            fact = self._failed(begun, exc)
        except Exception as exc:  # noqa: BLE001 - bytes may have left: never guess, never lose it
            self._log.error("send.unexpected", error=type(exc).__name__, **_ids(entry))
            fact = self._fact(entry, Kind.LOST, reason="unexpected_error")
        self._pausing.tried(entry, fact)
        fields = _ids(entry) | {
            "decision": fact.kind,
            "reason": fact.reason,
            "attempt": entry.attempts,
            "sid": fact.receipt.sid if fact.receipt else None,
            "ms": round((time.perf_counter() - started) * 1000, 3),
        }
        self._lines.put((MESSAGE_SENT, fields))
        return fact

    def record(self, facts: Sequence[tuple[Key, Fact]]) -> list[Entry | None]:
        """Write what came of attempts, in one commit; may be called again after a failure."""
        self._write_lines()
        self._pausing.write()
        return self._ledger.record_many(facts)

    def _write_lines(self) -> None:
        """Write the log lines of attempts that have ended, together: a write costs what ten lines do."""
        lines = []
        with suppress(queue.Empty):
            while True:
                lines.append(self._lines.get_nowait())
        if lines:
            self._log.info_many(lines)

    def _first_fact(self, entry: Entry, now: datetime) -> tuple[Fact, Tenant | None]:
        """Give the fact that starts an attempt, with its tenant, or the one that puts it off."""
        was_unpaced = entry.key in self._unpaced  # until it is written: this may be done again
        try:
            tenant = self._tenants.get(entry.tenant_id)
        except BeforeSending as exc:
            due_at = now + BACKOFF[Failure.CONFIG].wait(2, self._rng.random())
            return self._fact(entry, Kind.POSTPONED, due_at=due_at, reason=exc.code), None
        self._seen[tenant.id] = tenant
        if was_unpaced and (rate := _rate(tenant, entry)):
            placed = self._fact(entry, Kind.PLACED, place=rate.place, reason="sender_rate")
            return placed, None
        token = secrets.token_hex(16) if self._public_url else None
        return self._fact(entry, Kind.STARTED, correlation=token), tenant

    def _rate_of(self, strangers: set[Key], entry: Entry) -> Rate | None:
        """Give a sender's budget; asks nobody, since the ledger waits for the answer.

        ``strangers`` gets the entries whose tenant is not known yet.
        """
        tenant = self._seen.get(entry.tenant_id)
        if tenant is None:
            strangers.add(entry.key)
            return None
        return _rate(tenant, entry)

    def _post(self, begun: Begun, timeout: float) -> Fact:
        entry = begun.entry
        if entry.message is None:  # the gates write no accepted entry without one
            return self._fact(entry, Kind.REFUSED, reason="no_message")
        seconds = validity(entry, self._clock())
        receipt = self._sender.send(
            entry.message,
            begun.tenant,
            validity=seconds,
            timeout=timeout,
            callback=self._callback_of(entry),
        )
        return self._fact(entry, Kind.MADE, receipt=receipt)

    def _failed(self, begun: Begun, exc: SendFailed) -> Fact:
        entry, refused = begun.entry, exc if isinstance(exc, TwilioRefused) else None
        asked, code = (refused.retry_after, refused.twilio_code) if refused else (None, None)
        decision = decide(exc.failure, entry.attempts, self._rng.random(), asked)
        if decision.verdict is Verdict.UNKNOWN:
            return self._fact(entry, Kind.LOST, reason=exc.reason)
        if decision.verdict is Verdict.REFUSE:
            return self._fact(entry, Kind.REFUSED, reason=exc.reason, error_code=code)
        wait = decision.wait
        config = refused if exc.failure is Failure.CONFIG else None
        if config and self._pausing.trip(entry, begun.tenant, config):
            wait = timedelta(0)  # until it is claimed again, and then behind the pause
        due_at = self._clock() + wait
        return self._fact(entry, Kind.RETRIED, due_at=due_at, reason=exc.reason, error_code=code)

    def _callback_of(self, entry: Entry) -> str | None:
        if self._public_url is None or entry.correlation is None:
            return None
        return status_address(self._public_url, entry.tenant_id, entry.correlation)

    def _fact(self, entry: Entry, kind: Kind, **members: Any) -> Fact:
        return Fact(kind=kind, at=self._clock(), lease=entry.lease, **members)


def _rate(tenant: Tenant, entry: Entry) -> Rate | None:
    return tenant.sender_rates.get(entry.message.sender) if entry.message else None


def _ids(entry: Entry) -> dict[str, Any]:
    return {"tenant": entry.tenant_id, "guid": safe_guid(entry.guid)}
