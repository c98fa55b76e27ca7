"""Configuration errors -> pauses -> probes: whom Twilio refuses for a setting waits until it is right.

What attempts find out is written by whoever talks to the ledger, since an attempt only talks to
Twilio. A pause is probed by asking for the account, where the credentials did not fit; otherwise
one real message is let through.
"""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec

from ci360_twilio.core.codes import Concern, concern_of
from ci360_twilio.core.country import country_of
from ci360_twilio.core.entry import Entry, Fact, Key, Kind
from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.core.retry import BACKOFF, Backoff
from ci360_twilio.core.tenant import Tenant, TenantId
from ci360_twilio.errors import BeforeSending, Failure, LedgerUnavailable, SendFailed, TwilioRefused
from ci360_twilio.logs import PAUSE_LIFTED, PAUSE_TRIPPED, Log, mask_number
from ci360_twilio.ports import Account, Clock, Controls, Tenants

SENDER_STRIKES = 3
"""Messages of a sender that Twilio refuses in a row for the sender's sake before it is paused: some
of these codes may also be about one recipient."""
ASKING = Backoff(5, 60)
"""Waits between questions for the account; they cost next to nothing."""
_ANSWER = timedelta(seconds=40)
"""How long the answer to one is waited for, before another process asks."""


class Pausing:
    """Sets, probes and lifts pauses. Safe for many threads."""

    def __init__(
        self,
        controls: Controls,
        tenants: Tenants,
        clock: Clock,
        log: Log,
        *,
        trips: bool = True,
        rng: random.Random | None = None,
    ) -> None:
        """Make it.

        Args:
            controls: where pauses are.
            tenants: whose documents are read again after a 401.
            clock: tells the time.
            log: hears of pauses that are set and lifted.
            trips: whether an error sets a pause at all. Not where an entry has no later: the
                direct Lambda tries each.
            rng: gives the jitter.
        """
        self._controls = controls
        self._tenants = tenants
        self._clock = clock
        self._log = log
        self._trips = trips
        self._rng = rng or random.Random()
        self._probes: dict[Key, Pause] = {}
        self._strikes: dict[tuple[TenantId, str], int] = {}
        self._lock = threading.Lock()
        self._changes: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()

    def expect(self, probes: Iterable[Pause]) -> None:
        """Remember which entries are probes."""
        self._probes.update((pause.probe, pause) for pause in probes if pause.probe)

    def trip(self, entry: Entry, used: Tenant, exc: TwilioRefused) -> bool:
        """Pause whom a configuration error concerns.

        Returns:
            Whether there is no use in waiting before the entry is claimed again: it will wait
            behind the pause, or the tenant's document has other credentials by now.
        """
        concern = concern_of(exc.twilio_code, exc.status)
        if concern is Concern.TENANT and self._has_changed(used):
            return True
        pause = self._pause_for(concern, entry, exc) if self._trips else None
        if pause is None:
            return False
        self._changes.put(partial(self._set, pause))
        return True

    def tried(self, entry: Entry, fact: Fact) -> None:
        """Take note of how an attempt ended: of a sender that works, and of a probe."""
        if fact.kind is Kind.MADE:
            self._strikes.pop(_sender_of(entry), None)
        pause = self._probes.pop(entry.key, None)
        if pause is None:
            return
        if fact.kind is not Kind.MADE:
            failed_again = fact.reason == pause.reason
            self._changes.put(partial(self._put_off, pause, BACKOFF[Failure.CONFIG], failed_again))
        elif not pause.by_receipt:  # else what becomes of the message tells
            self._changes.put(partial(self._lift, pause))

    def write(self) -> None:
        """Write what was found out, each a commit of its own; it is rare.

        Raises:
            LedgerUnavailable: what is not written yet is kept.
        """
        while not self._changes.empty():
            change = self._changes.get()
            try:
                change()
            except LedgerUnavailable:
                self._changes.put(change)
                raise

    def ask(self, account: Account) -> None:
        """Probe what a look at the account can tell, where it is time to."""
        now = self._clock()
        for pause in self._controls.pauses():
            if not (pause.by_account and pause.probe_is_due(now)):
                continue
            taken = self._controls.take_probe(pause.name, now=now, until=now + _ANSWER)
            if taken is not None:
                self._ask(taken, account)

    def _ask(self, pause: Pause, account: Account) -> None:
        if pause.tenant_id is None:
            return
        try:
            account.probe(self._tenants.reread(pause.tenant_id))
        except (SendFailed, BeforeSending):
            self._put_off(pause, ASKING, failed=True)
        else:
            self._lift(pause)

    def _pause_for(self, concern: Concern | None, entry: Entry, exc: TwilioRefused) -> Pause | None:
        scope, value = Scope.TENANT, None
        if concern is None or entry.message is None:
            return None
        if concern is Concern.SENDER:
            scope, value = Scope.SENDER, entry.message.sender
            if self._strike(entry) < SENDER_STRIKES:
                return None
        elif concern is Concern.COUNTRY:
            scope, value = Scope.COUNTRY, country_of(entry.message.to)
            if value is None:
                return None
        by_account = exc.status == 401
        backoff = ASKING if by_account else BACKOFF[Failure.CONFIG]
        return Pause(
            scope=scope,
            tenant_id=entry.tenant_id,
            value=value,
            cause=Cause.CONFIG,
            reason=exc.reason,
            since=self._clock(),
            probe_at=self._later(backoff, 0),
            by_account=by_account,
        )

    def _strike(self, entry: Entry) -> int:
        sender = _sender_of(entry)
        with self._lock:
            strikes = self._strikes[sender] = self._strikes.get(sender, 0) + 1
        return strikes

    def _has_changed(self, used: Tenant) -> bool:
        """Read the tenant's document again; tell whether it has other credentials by now."""
        try:
            return _login(self._tenants.reread(used.id)) != _login(used)
        except BeforeSending:
            return False

    def _later(self, backoff: Backoff, failures: int) -> datetime:
        return self._clock() + backoff.wait(failures + 1, self._rng.random())

    def _set(self, pause: Pause) -> None:
        if self._controls.pause(pause):
            self._log.error(PAUSE_TRIPPED, **pause_fields(pause))

    def _put_off(self, pause: Pause, backoff: Backoff, failed: bool) -> None:
        failures = pause.failures + failed
        later = msgspec.structs.replace(
            pause, failures=failures, probe=None, probe_at=self._later(backoff, failures)
        )
        self._controls.pause(later, replace=True)

    def _lift(self, pause: Pause) -> None:
        if self._controls.resume([pause.name]):
            self._log.info(PAUSE_LIFTED, **pause_fields(pause))


def pause_fields(pause: Pause) -> dict[str, Any]:
    """Give what a log line says of a pause; a sender's number is masked."""
    return {
        "tenant": pause.tenant_id,
        "scope": pause.scope,
        "value": pause.value and mask_number(pause.value),
        "reason": pause.reason,
        "failures": pause.failures,
    }


def _sender_of(entry: Entry) -> tuple[TenantId, str]:
    return entry.tenant_id, entry.message.sender if entry.message else ""


def _login(tenant: Tenant) -> tuple[str, str, str]:
    return tenant.messages_url, tenant.user, tenant.password
