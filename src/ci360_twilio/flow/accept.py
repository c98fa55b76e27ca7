"""``accept``: requests from CI360 -> entries in the ledger, and an answer for each.

The gates stand in the order of the contract (``docs/http.md``); the first that speaks decides.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec

from ci360_twilio.core.creative import parse_creative
from ci360_twilio.core.due import sweep
from ci360_twilio.core.entry import Entry, Status
from ci360_twilio.core.event import MAX_BYTES, OUTBOUND, Event, Payload, parse_event, parse_payload
from ci360_twilio.core.message import DEFAULT_NAMES, AttributeNames, compose
from ci360_twilio.core.tenant import Tenant, TenantId
from ci360_twilio.core.verdict import Verdict, entry_of, judge
from ci360_twilio.errors import ConnectorError, LedgerUnavailable, TooLarge
from ci360_twilio.flow.arrival import Arrival, let_in
from ci360_twilio.logs import EVENT_ACCEPTED, EVENT_REJECTED, Log, safe_guid, safe_task
from ci360_twilio.ports import Clock, Inserted, Tenants


class Ignored(msgspec.Struct, frozen=True, kw_only=True):
    """A request that asks for nothing: logged, never recorded."""

    reason: str
    guid: str | None = None


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """A request with an entry, new or known; ``entry`` is as it stands now."""

    entry: Entry
    duplicate: bool = False


Answer = Ignored | Accepted | ConnectorError


class Entering(Protocol):
    """Where entries are written, or would be."""

    def insert_many(
        self, entries: Sequence[Entry], *, recipient_limits: Mapping[TenantId, int]
    ) -> list[Inserted]:
        """Write entries under keys that are new; see :meth:`ci360_twilio.ports.Ledger.insert_many`."""
        ...


class Acceptance:
    """Takes batches of requests through the gates, with one commit for each batch."""

    def __init__(
        self,
        ledger: Entering,
        tenants: Tenants,
        clock: Clock,
        log: Log,
        *,
        event_ttl: float = 86_400.0,
        default_sender: str | None = None,
        names: AttributeNames = DEFAULT_NAMES,
    ) -> None:
        """Make it; ``event_ttl`` is in seconds, the rest as in :class:`Settings`."""
        self._ledger = ledger
        self._tenants = tenants
        self._clock = clock
        self._log = log
        self._ttl = timedelta(seconds=event_ttl)
        self._default_sender = default_sender
        self._names = names

    def accept_many(self, arrivals: Sequence[Arrival]) -> list[Answer]:
        """Answer requests, in their order.

        What the answers call accepted, refused, suppressed or expired is durably written. Where
        the ledger cannot write, the requests it concerns are answered with ``LedgerUnavailable``.
        """
        started, now = time.perf_counter(), self._clock()
        limits: dict[TenantId, int] = {}
        answers: list[Answer | Entry] = [self._judge(arrival, now, limits) for arrival in arrivals]
        entries = [answer for answer in answers if isinstance(answer, Entry)]
        try:
            inserted = iter(self._insert(entries, limits))
        except LedgerUnavailable as exc:
            answers = [exc if isinstance(answer, Entry) else answer for answer in answers]
            inserted = iter(())
        final = [
            _accepted(next(inserted), now) if isinstance(answer, Entry) else answer
            for answer in answers
        ]
        took = round((time.perf_counter() - started) * 1000, 3)
        self._log.info_many(
            [_line(a, f, took, len(arrivals)) for a, f in zip(arrivals, final, strict=True)]
        )
        return final

    def _insert(self, entries: list[Entry], limits: dict[TenantId, int]) -> list[Inserted]:
        return self._ledger.insert_many(entries, recipient_limits=limits) if entries else []

    def _judge(
        self, arrival: Arrival, now: datetime, limits: dict[TenantId, int]
    ) -> Ignored | ConnectorError | Entry:
        """Pass one request through the gates; ``limits`` gets its tenant's limit per recipient."""
        try:
            if len(arrival.body) > MAX_BYTES:
                raise TooLarge(f"The body is over {MAX_BYTES:,} bytes.")
            payload = parse_payload(arrival.body)
            if payload is None:
                return Ignored(reason="test")
            tenant = let_in(self._tenants, payload.tenant_id, arrival, now)
            if _is_foreign(payload):
                guid = payload.guid if isinstance(payload.guid, str) else None
                return Ignored(reason="event_type", guid=guid)
            if tenant.messages_per_recipient_per_day is not None:
                limits[tenant.id] = tenant.messages_per_recipient_per_day
            return self._entry(parse_event(payload, tenant.id, now), tenant, now)
        except ConnectorError as exc:
            return exc

    def _entry(self, event: Event, tenant: Tenant, now: datetime) -> Entry:
        return entry_of(
            self._verdict(event, tenant, now),
            tenant,
            event.guid,
            event.origin,
            now=now,
            since=min(event.generated_at or now, now),
            ttl=self._ttl,
            generated_at=event.generated_at,
        )

    def _verdict(self, event: Event, tenant: Tenant, now: datetime) -> Verdict:
        """Pass the gates behind the key."""
        if event.issues:
            words = tuple((issue.field, str(issue)) for issue in event.issues)
            return Verdict(Status.REFUSED, "invalid_event", None, words)
        if event.control_group:
            return Verdict(Status.SUPPRESSED, "control_group")
        if event.generated_at is not None and now - event.generated_at > self._ttl:
            return Verdict(Status.EXPIRED, "expired")
        message, found = compose(
            parse_creative(event.creative or ""),
            event.attributes,
            tenant,
            default_sender=self._default_sender,
            names=self._names,
        )
        return judge(message, found, tenant, "impression.creativeContent")


def _is_foreign(payload: Payload) -> bool:
    """Tell whether the event is of another type; a missing or broken type is looked at later."""
    kind = payload.event_type
    return isinstance(kind, str) and kind not in ("", OUTBOUND)


def _accepted(inserted: Inserted, now: datetime) -> Accepted:
    entry, created = inserted
    return Accepted(entry=entry if created else sweep(entry, now), duplicate=not created)


def _line(arrival: Arrival, answer: Answer, took: float, batch: int) -> tuple[str, dict[str, Any]]:
    """Give the log line of one answer: ids and decisions, nothing of the content."""
    fields: dict[str, Any] = {"request_id": arrival.request_id, "ms": took, "batch": batch}
    if isinstance(answer, Accepted):
        entry = answer.entry
        fields |= {
            "tenant": entry.tenant_id,
            "guid": safe_guid(entry.guid),
            "decision": "duplicate" if answer.duplicate else entry.status,
            "reason": entry.reason,
            "task": safe_task(entry.origin.task_code),
        }
        return EVENT_ACCEPTED, fields
    if isinstance(answer, Ignored):
        guid = answer.guid and safe_guid(answer.guid)
        return EVENT_REJECTED, fields | {
            "decision": "ignored",
            "reason": answer.reason,
            "guid": guid,
        }
    return EVENT_REJECTED, fields | {"decision": answer.http_status, "reason": answer.code}
