"""``settle``: status callbacks from Twilio -> facts in the ledger, and an answer for each.

Callbacks come late, twice and out of order, even before the answer to the request that they belong
to. What one changes is decided by :func:`ci360_twilio.core.advance.advance` alone. One that belongs to
no entry is set aside.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import msgspec

from ci360_twilio.core.entry import Entry, Fact, Key, Kind
from ci360_twilio.core.receipt import Receipt, is_final, parse_callback
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import ConnectorError, LedgerUnavailable
from ci360_twilio.flow.addresses import STATUS
from ci360_twilio.flow.tripping import End, Tripping
from ci360_twilio.flow.webhook import Doorkeeper, Refused, Webhook, refusal_fields
from ci360_twilio.logs import RECEIPT_REFUSED, RECEIPT_SETTLED, Log, safe_guid
from ci360_twilio.ports import Clock, Controls, Ledger, Mark, Stray, Strays


class Receipts(Ledger, Strays, Protocol):
    """Where receipts go: to entries, or aside."""


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """A callback that need not come again: what it said is durably written, or is nothing to us."""

    tenant_id: TenantId
    receipt: Receipt | None = None
    entry: Entry | None = None
    """The entry as it is now."""
    ignored: str | None = None
    """Why nothing was changed."""


class _Heard(NamedTuple):
    """A callback of the tenant's account about one of its messages."""

    tenant_id: TenantId
    correlation: str | None
    receipt: Receipt


class Settlement:
    """Takes batches of status callbacks, with one commit for each batch. Safe for many threads."""

    def __init__(
        self,
        ledger: Receipts,
        controls: Controls,
        doorkeeper: Doorkeeper,
        clock: Clock,
        log: Log,
    ) -> None:
        """Make it.

        Args:
            ledger: holds the entries, and what belongs to none.
            controls: where senders are paused whose messages end badly.
            doorkeeper: lets callbacks in.
            clock: tells the time.
            log: hears of every callback.
        """
        self._ledger = ledger
        self._doorkeeper = doorkeeper
        self._clock = clock
        self._log = log
        self._tripping = Tripping(controls, log)

    def settle_many(self, callbacks: Sequence[Webhook]) -> list[Settled | ConnectorError]:
        """Answer callbacks, in their order.

        Where the ledger cannot be read or written, those that need it are answered with
        ``LedgerUnavailable``: nothing of them is known to be written, and they may come again.
        """
        started, now = time.perf_counter(), self._clock()
        outcomes = [self._hear(callback) for callback in callbacks]
        heard = [one for one in outcomes if isinstance(one, _Heard)]
        ends: list[End] = []
        settled: Iterator[Settled | Refused]
        try:
            settled = iter(self._settle(heard, ends, now))
        except LedgerUnavailable as exc:
            settled = iter([Refused(exc, exc.code, one.tenant_id) for one in heard])
        final = [next(settled) if isinstance(one, _Heard) else one for one in outcomes]
        took = round((time.perf_counter() - started) * 1000, 3)
        self._log.info_many(
            [_line(c, f, took, len(callbacks)) for c, f in zip(callbacks, final, strict=True)]
        )
        self._tripping.watch(ends, now)
        return [one.error if isinstance(one, Refused) else one for one in final]

    def _hear(self, callback: Webhook) -> _Heard | Settled | Refused:
        """Read what a callback says, if it is let in."""
        admitted = self._doorkeeper.admit(callback, STATUS)
        if isinstance(admitted, Refused):
            return admitted
        tenant_id = admitted.tenant.id
        receipt = parse_callback(admitted.form)
        if receipt is None:
            return Settled(tenant_id=tenant_id, ignored="no_receipt")
        return _Heard(tenant_id, _correlation(callback.query), receipt)

    def _settle(self, heard: Sequence[_Heard], ends: list[End], now: datetime) -> list[Settled]:
        """Write what callbacks say, in one commit; ``ends`` gets first final statuses."""
        marks = [Mark(one.tenant_id, one.correlation, one.receipt.sid) for one in heard]
        found = self._ledger.marked(marks) if marks else []
        strays = [_stray(one, now) for one, entry in zip(heard, found, strict=True) if not entry]
        self._ledger.keep_strays(strays)
        facts = [_facts(one, entry, now) for one, entry in zip(heard, found, strict=True)]
        every = [fact for some in facts for fact in some]
        results = iter(self._ledger.record_many(every) if every else ())
        latest: dict[Key, Entry] = {}
        settled: list[Settled] = []
        for one, entry, some in zip(heard, found, facts, strict=True):
            before = latest.get(entry.key, entry) if entry else None
            changed = [after for after in (next(results) for _ in some) if after is not None]
            if not changed or before is None:
                ignored = _why_ignored(one.receipt, before, some)
                settled.append(_settled(one, before, ignored))
                continue
            after = latest[before.key] = changed[-1]
            if is_final(one.receipt.status) and not is_final(before.provider_status):
                ends.append(End(after, one.receipt))
            settled.append(_settled(one, after))
        return settled


_TOKEN = re.compile(r"[A-Za-z0-9]{1,64}")


def _correlation(query: str) -> str | None:
    """Give the one ``m`` of a query, without what a signature does not cover."""
    members = [member.partition("=") for member in query.partition("#")[0].split("&")]
    given = [value for name, _, value in members if name == "m"]
    return given[0] if len(given) == 1 and _TOKEN.fullmatch(given[0]) else None


_END_KINDS = {
    kind.value: kind
    for kind in (Kind.DELIVERED, Kind.READ, Kind.UNDELIVERED, Kind.FAILED, Kind.CANCELED)
}


def _facts(heard: _Heard, entry: Entry | None, now: datetime) -> list[tuple[Key, Fact]]:
    """Give the facts of a receipt.

    An entry without this SID gets it first. The status follows as a fact of its own in any case:
    whoever sends the message may write the SID between our reading and writing.
    """
    receipt = heard.receipt
    if entry is None:
        return []
    kind = _END_KINDS.get(receipt.status, Kind.PROGRESSED)
    told = (entry.key, Fact(kind=kind, at=now, receipt=receipt))
    if entry.sid == receipt.sid:
        return [told]
    is_named = heard.correlation is not None and heard.correlation == entry.correlation
    if not is_named or (entry.sid is not None and not entry.guessed):
        return []
    return [(entry.key, Fact(kind=Kind.MADE, at=now, receipt=receipt, by="settle")), told]


def _stray(heard: _Heard, now: datetime) -> Stray:
    return Stray(
        tenant_id=heard.tenant_id,
        sid=heard.receipt.sid,
        status=heard.receipt.status,
        error_code=heard.receipt.error_code,
        first_at=now,
        last_at=now,
    )


def _why_ignored(receipt: Receipt, entry: Entry | None, facts: Sequence[object]) -> str:
    if entry is None:
        return "no_entry"
    if entry.sid == receipt.sid:
        return "no_news"
    return "other_sid" if entry.sid is not None or not facts else "not_expected"


def _settled(heard: _Heard, entry: Entry | None, ignored: str | None = None) -> Settled:
    return Settled(tenant_id=heard.tenant_id, receipt=heard.receipt, entry=entry, ignored=ignored)


def _line(
    callback: Webhook, outcome: Settled | Refused, took: float, batch: int
) -> tuple[str, dict[str, Any]]:
    """Give the log line of one callback: ids and decisions, nothing of the content."""
    fields: dict[str, Any] = {
        "request_id": callback.request_id,
        "ms": took,
        "batch": batch,
        "tenant": outcome.tenant_id,
    }
    if isinstance(outcome, Refused):
        return RECEIPT_REFUSED, fields | refusal_fields(outcome)
    entry, receipt = outcome.entry, outcome.receipt
    if receipt is not None:
        fields |= {"sid": receipt.sid, "provider_status": receipt.status}
    if entry is not None:
        fields |= {"guid": safe_guid(entry.guid), "decision": entry.status, "reason": entry.reason}
    if outcome.ignored is not None:
        fields |= {"decision": "ignored", "reason": outcome.ignored}
    return RECEIPT_SETTLED, fields
