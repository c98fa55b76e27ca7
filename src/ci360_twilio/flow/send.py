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
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import msgspec

from ci360_twilio.core.entry import Entry, Fact, Key, Kind, Lease, validity
from ci360_twilio.core.retry import BACKOFF, Verdict, decide
from ci360_twilio.core.tenant import Tenant, TenantId
from ci360_twilio.errors import (
    BeforeSending,
    Failure,
    SendFailed,
    TwilioRefused,
)
from ci360_twilio.logs import ENTRY_SWEPT, MESSAGE_SENT, TENANT_WAITS, Log, safe_guid
from ci360_twilio.ports import Clock, Ledger, Sender, Tenants

ATTEMPT_SECONDS = 35.0
"""How long a worker gives one attempt: Twilio may hold a create call for about 26 seconds."""
_PROBE = timedelta(seconds=40)
"""How long the outcome of a probe is waited for; longer than its time-outs."""
_LOGIN_CODES = frozenset({20003, 20005, 20006, None})


class Begun(msgspec.Struct, frozen=True):
    """An entry in ``sending``, and the tenant whose account sends it."""

    entry: Entry
    tenant: Tenant


class _Wait(msgspec.Struct):
    """A tenant whose credentials failed: nothing of it is sent before ``until``, then one probe."""

    until: datetime
    failures: int
    login: tuple[str, str, str]
    probed_at: datetime | None = None


class Sending:
    """Makes attempts. Safe for many threads; holds no entry between calls."""

    def __init__(
        self,
        ledger: Ledger,
        sender: Sender,
        tenants: Tenants,
        clock: Clock,
        log: Log,
        *,
        lease_seconds: float = 60.0,
        tenants_wait: bool = True,
        rng: random.Random | None = None,
    ) -> None:
        """Make it.

        Args:
            ledger: holds the entries.
            sender: asks Twilio.
            tenants: whose accounts send.
            clock: tells the time.
            log: hears of every attempt.
            lease_seconds: how long a claim holds; over all time-outs of an attempt together.
            tenants_wait: whether a tenant whose credentials fail waits as a whole. Not where an
                entry has no later: the direct Lambda tries each.
            rng: gives the jitter.
        """
        self._ledger = ledger
        self._sender = sender
        self._tenants = tenants
        self._clock = clock
        self._log = log
        self._lease = timedelta(seconds=lease_seconds)
        self._rng = rng or random.Random()
        self._tenants_wait = tenants_wait
        self._waits: dict[TenantId, _Wait] = {}
        self._waits_lock = threading.Lock()
        self._lines: queue.SimpleQueue[tuple[str, dict[str, Any]]] = queue.SimpleQueue()

    def claim(self, limit: int, keys: Sequence[Key] | None = None) -> list[Entry]:
        """Take entries that are due, for one lease; what time has overtaken is logged."""
        now = self._clock()
        lease = Lease(token=secrets.token_hex(8), until=now + self._lease)
        claimed = self._ledger.claim(now=now, lease=lease, limit=limit, keys=keys)
        if claimed.entries:
            self._log.debug("entries.claimed", entries=len(claimed.entries), lease=lease.token)
        self._log.info_many(
            (ENTRY_SWEPT, _ids(entry) | {"decision": entry.status, "reason": entry.reason})
            for entry in claimed.swept
        )
        return claimed.entries

    def begin(self, entries: Sequence[Entry], also: Sequence[tuple[Key, Fact]] = ()) -> list[Begun]:
        """Commit that the bytes of these messages are about to leave.

        Args:
            entries: claimed ones that are to be sent now.
            also: what came of earlier attempts, to be written in the same commit.

        Returns:
            The entries that may be sent now. Left out are those whose lease or time is over, and
            those whose tenant waits or cannot be read; these are put off.
        """
        self._write_lines()
        now = self._clock()
        first = [self._first_fact(entry, now) for entry in entries]
        starts = [(entry.key, fact) for entry, (fact, _) in zip(entries, first, strict=True)]
        results = self._ledger.record_many([*also, *starts])[len(also) :]
        return [
            Begun(entry, tenant)
            for entry, (_, tenant) in zip(results, first, strict=True)
            if entry is not None and tenant is not None
        ]

    def release(self, entries: Sequence[Entry]) -> None:
        """Give claimed entries back that were not begun."""
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
            with self._waits_lock:
                self._waits.pop(entry.tenant_id, None)
        except SendFailed as exc:
            fact = self._failed(begun, exc)
        except Exception as exc:  # noqa: BLE001 - bytes may have left: never guess, never lose it
            self._log.error("send.unexpected", error=type(exc).__name__, **_ids(entry))
            fact = self._fact(entry, Kind.LOST, reason="unexpected_error")
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
        try:
            tenant = self._tenants.get(entry.tenant_id)
        except BeforeSending as exc:
            due_at = now + BACKOFF[Failure.CONFIG].wait(2, self._rng.random())
            return self._fact(entry, Kind.POSTPONED, due_at=due_at, reason=exc.code), None
        if wait := self._wait_of(tenant, now):
            return self._fact(entry, Kind.POSTPONED, due_at=wait, reason="tenant_waits"), None
        return self._fact(entry, Kind.STARTED), tenant

    def _wait_of(self, tenant: Tenant, now: datetime) -> datetime | None:
        """Tell until when a tenant waits; when its time is over, one entry goes ahead as a probe."""
        with self._waits_lock:
            wait = self._waits.get(tenant.id)
            if wait is None or wait.login != _login(tenant):
                return None
            if now < wait.until:
                return wait.until
            if wait.probed_at is None or now - wait.probed_at > _PROBE:
                wait.probed_at = now
                return None
            return now + _PROBE / 10

    def _post(self, begun: Begun, timeout: float) -> Fact:
        entry = begun.entry
        if entry.message is None:  # the gates write no accepted entry without one
            return self._fact(entry, Kind.REFUSED, reason="no_message")
        seconds = validity(entry, self._clock())
        receipt = self._sender.send(entry.message, begun.tenant, validity=seconds, timeout=timeout)
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
        if refused and _is_login(refused):
            wait = self._after_bad_login(begun.tenant, wait)
        due_at = self._clock() + wait
        return self._fact(entry, Kind.RETRIED, due_at=due_at, reason=exc.reason, error_code=code)

    def _after_bad_login(self, used: Tenant, usual: timedelta) -> timedelta:
        """Read the tenant's document again; unless its login has changed, the whole tenant waits."""
        try:
            fresh = self._tenants.reread(used.id)
        except BeforeSending:
            fresh = used
        if _login(fresh) != _login(used):
            return timedelta(0)
        if not self._tenants_wait:
            return usual
        now = self._clock()
        with self._waits_lock:
            wait = self._waits.get(used.id)
            if wait is None or wait.until <= now:
                failures = wait.failures + 1 if wait else 1
                pause = BACKOFF[Failure.CONFIG].wait(failures, self._rng.random())
                wait = self._waits[used.id] = _Wait(now + pause, failures, _login(used))
                seconds = round(pause.total_seconds(), 3)
                self._log.error(TENANT_WAITS, tenant=used.id, seconds=seconds, failures=failures)
            return wait.until - now

    def _fact(self, entry: Entry, kind: Kind, **members: Any) -> Fact:
        return Fact(kind=kind, at=self._clock(), lease=entry.lease, **members)


def _login(tenant: Tenant) -> tuple[str, str, str]:
    return tenant.messages_url, tenant.user, tenant.password


def _is_login(exc: TwilioRefused) -> bool:
    """Tell whether Twilio did not let us in, as against refusing this one request."""
    return exc.status == 401 or (exc.status == 403 and exc.twilio_code in _LOGIN_CODES)


def _ids(entry: Entry) -> dict[str, Any]:
    return {"tenant": entry.tenant_id, "guid": safe_guid(entry.guid)}
