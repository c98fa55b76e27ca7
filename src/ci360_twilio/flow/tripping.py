"""Final statuses -> pauses of senders: who is filtered, or not registered, stops for a while.

The last final statuses of each sender are kept in this process's memory. They are a rule of thumb:
where several processes take callbacks each has its own view, and after a restart it starts anew.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from ci360_twilio.core.entry import Entry
from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.core.receipt import ProviderStatus, Receipt
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.core.trip import PROBES, Recent, trouble_of
from ci360_twilio.errors import LedgerUnavailable
from ci360_twilio.flow.pausing import pause_fields
from ci360_twilio.logs import PAUSE_LIFTED, PAUSE_TRIPPED, Log
from ci360_twilio.ports import Controls

_ARRIVED = frozenset({ProviderStatus.DELIVERED, ProviderStatus.READ})


class End(NamedTuple):
    """A message's first final status."""

    entry: Entry
    receipt: Receipt


class Tripping:
    """Watches how messages end. Safe for many threads."""

    def __init__(self, controls: Controls, log: Log, *, most_senders: int = 10_000) -> None:
        """Make it.

        Args:
            controls: where pauses are.
            log: hears of pauses that are set and lifted.
            most_senders: that are remembered; beyond it those heard of longest ago are forgotten.
        """
        self._controls = controls
        self._log = log
        self._most = most_senders
        self._recent: dict[tuple[TenantId, str], Recent] = {}
        self._lock = threading.Lock()

    def watch(self, ends: Sequence[End], now: datetime) -> None:
        """Pause senders whose messages end badly, and lift the pause of one whose probe arrived.

        Pauses are read once. Where the ledger cannot be written the receipts stand all the same:
        a pause is set by the next bad one, and another probe is made.
        """
        if not ends:
            return
        with self._lock:
            try:
                pauses = {pause.name: pause for pause in self._controls.pauses()}
                for end in ends:
                    self._see(end, pauses, now)
            except LedgerUnavailable as exc:
                self._log.warning("trip.not_written", error=exc.code)

    def _see(self, end: End, pauses: dict[str, Pause], now: datetime) -> None:
        """Handle one end; ``pauses`` is kept up to date."""
        entry, receipt = end
        message = entry.message
        if message is None:
            return
        sender = (entry.tenant_id, message.sender)
        pause = next((one for one in pauses.values() if one.by_receipt and one.covers(entry)), None)
        if pause is not None:
            # What was on its way when the sender was paused says nothing of it afterwards.
            self._recent.pop(sender, None)
            if pause.probe == entry.key:
                self._judge(pause, receipt, pauses, now)
            return
        recent = self._recent.pop(sender, Recent()).add(receipt, now)
        self._recent[sender] = recent
        if len(self._recent) > self._most:
            del self._recent[next(iter(self._recent))]
        if recent.trouble is not None:
            tripped = _pause(entry.tenant_id, message.sender, recent.trouble, now)
            if self._controls.pause(tripped):
                self._log.error(PAUSE_TRIPPED, **pause_fields(tripped))
            pauses.setdefault(tripped.name, tripped)
            del self._recent[sender]

    def _judge(
        self, pause: Pause, receipt: Receipt, pauses: dict[str, Pause], now: datetime
    ) -> None:
        """Draw the conclusion from a probe; one that fails for a reason of its own gives none."""
        if receipt.status in _ARRIVED:
            if self._controls.resume([pause.name]):
                self._log.info(PAUSE_LIFTED, **pause_fields(pause))
            del pauses[pause.name]
        elif trouble_of(receipt) is not None:
            failures = pause.failures + 1
            later = msgspec.structs.replace(
                pause, failures=failures, probe=None, probe_at=now + PROBES.wait(failures + 1, 0)
            )
            self._controls.pause(later, replace=True)
            pauses[pause.name] = later


def _pause(tenant_id: TenantId, sender: str, code: int, now: datetime) -> Pause:
    return Pause(
        scope=Scope.SENDER,
        tenant_id=tenant_id,
        value=sender,
        cause=Cause.CONFIG,
        reason=f"twilio_{code}",
        since=now,
        probe_at=now + PROBES.wait(1, 0),
        by_receipt=True,
    )
