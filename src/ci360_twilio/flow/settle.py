"""``settle``: status callbacks from Twilio -> facts in the ledger, and an answer for each.

Callbacks come late, twice and out of order, even before the answer to the request that they belong
to, and from whoever knows the address. So each must be signed for this very address by its tenant's
account; what it then changes is decided by :func:`ci360_twilio.core.entry.advance` alone.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from ci360_twilio.core.entry import Entry, Fact, Key, Kind
from ci360_twilio.core.receipt import Receipt, is_final, parse_callback
from ci360_twilio.core.signature import is_signed
from ci360_twilio.core.tenant import Tenant, TenantId, parse_tenant_id
from ci360_twilio.errors import (
    BadTenantId,
    ConnectorError,
    Forbidden,
    LedgerUnavailable,
    TenantUnknown,
    TooLarge,
)
from ci360_twilio.flow.tripping import End, Tripping
from ci360_twilio.logs import RECEIPT_REFUSED, RECEIPT_SETTLED, Log, safe_guid
from ci360_twilio.ports import Clock, Controls, Ledger, Mark, Tenants

STATUS = "/twilio/status/"
"""Where callbacks come in; the tenant's id follows."""
MAX_CALLBACK = 65_536
"""Largest body of a callback; real ones have some 500 bytes."""


class StatusCallback(msgspec.Struct, frozen=True, kw_only=True):
    """One request of Twilio's, as an edge hands it in; all of it is hostile."""

    tenant_id: str
    """What stands in the path."""
    query: str = ""
    """What follows the ``?``, byte for byte."""
    headers: Mapping[str, str] = {}
    """Names in lower case."""
    body: bytes = b""
    request_id: str = ""


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """A callback that need not come again: what it said is durably written, or is nothing to us."""

    tenant_id: TenantId
    receipt: Receipt | None = None
    entry: Entry | None = None
    """The entry as it is now."""
    ignored: str | None = None
    """Why nothing was changed."""


class _Refused(NamedTuple):
    error: ConnectorError
    reason: str
    """For the log alone."""
    tenant_id: TenantId | None = None


class _Heard(NamedTuple):
    """A callback of the tenant's account about one of its messages."""

    tenant_id: TenantId
    correlation: str | None
    receipt: Receipt


class Settlement:
    """Takes batches of status callbacks, with one commit for each batch. Safe for many threads."""

    def __init__(
        self,
        ledger: Ledger,
        controls: Controls,
        tenants: Tenants,
        clock: Clock,
        log: Log,
        *,
        public_url: str | None,
    ) -> None:
        """Make it.

        Args:
            ledger: holds the entries.
            controls: where senders are paused whose messages end badly.
            tenants: whose accounts sign.
            clock: tells the time.
            log: hears of every callback.
            public_url: the address at which Twilio reaches us, without a slash at its end. Without
                one there is nothing that a signature could be compared with.
        """
        self._ledger = ledger
        self._tenants = tenants
        self._clock = clock
        self._log = log
        self._public_url = public_url
        self._tripping = Tripping(controls, log)

    def settle_many(self, callbacks: Sequence[StatusCallback]) -> list[Settled | ConnectorError]:
        """Answer callbacks, in their order.

        Where the ledger cannot be read or written, those that need it are answered with
        ``LedgerUnavailable``: nothing of them is known to be written, and they may come again.
        """
        started, now = time.perf_counter(), self._clock()
        outcomes = [self._hear(callback) for callback in callbacks]
        heard = [one for one in outcomes if isinstance(one, _Heard)]
        ends: list[End] = []
        settled: Iterator[Settled | _Refused]
        try:
            settled = iter(self._settle(heard, ends, now))
        except LedgerUnavailable as exc:
            settled = iter([_Refused(exc, exc.code, one.tenant_id) for one in heard])
        final = [next(settled) if isinstance(one, _Heard) else one for one in outcomes]
        took = round((time.perf_counter() - started) * 1000, 3)
        self._log.info_many(
            [_line(c, f, took, len(callbacks)) for c, f in zip(callbacks, final, strict=True)]
        )
        self._tripping.watch(ends, now)
        return [one.error if isinstance(one, _Refused) else one for one in final]

    def _hear(self, callback: StatusCallback) -> _Heard | Settled | _Refused:
        """Pass one callback through the gates that need no ledger."""
        known: TenantId | None = None
        try:
            if len(callback.body) > MAX_CALLBACK:
                raise TooLarge(f"The body is over {MAX_CALLBACK:,} bytes.")
            tenant_id = parse_tenant_id(callback.tenant_id)
            if self._public_url is None:
                return _refused("no_public_url")
            tenant = self._tenants.get(tenant_id)
            known = tenant.id
            if not self._signed_by(tenant, callback):
                tenant = self._tenants.reread(tenant_id)  # its token may have changed
                if not self._signed_by(tenant, callback):
                    return _refused("signature", known)
        except (BadTenantId, TenantUnknown):
            return _refused("tenant")
        except ConnectorError as exc:
            return _Refused(exc, exc.code, known)
        form = _form(callback)
        if form.get("AccountSid") != tenant.account:
            return _refused("account", known)
        receipt = parse_callback(form)
        if receipt is None:
            return Settled(tenant_id=tenant_id, ignored="no_receipt")
        return _Heard(tenant_id, _correlation(callback.query), receipt)

    def _signed_by(self, tenant: Tenant, callback: StatusCallback) -> bool:
        query = f"?{callback.query}" if callback.query else ""
        return is_signed(
            url=f"{self._public_url}{STATUS}{tenant.id}{query}",
            body=callback.body,
            headers=callback.headers,
            tokens=tenant.webhook_tokens,
            webhook_keys=tenant.webhook_keys,
        )

    def _settle(self, heard: Sequence[_Heard], ends: list[End], now: datetime) -> list[Settled]:
        """Write what callbacks say, in one commit; ``ends`` gets first final statuses."""
        marks = [Mark(one.tenant_id, one.correlation, one.receipt.sid) for one in heard]
        found = self._ledger.marked(marks) if marks else []
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


_FORBIDDEN = "The request is not from this tenant's Twilio account."


def _refused(reason: str, tenant_id: TenantId | None = None) -> _Refused:
    """Refuse in the same words whatever the reason is: nobody learns which tenants there are."""
    return _Refused(Forbidden(_FORBIDDEN), reason, tenant_id)


def _form(callback: StatusCallback) -> dict[str, str]:
    """Read the members of a signed body, a form or JSON; empty where it is neither."""
    try:
        if "json" not in callback.headers.get("content-type", "").lower():
            return dict(parse_qsl(callback.body.decode(), keep_blank_values=True))
        members = msgspec.json.decode(callback.body, type=dict[str, Any])
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return {}
    return {name: value for name, value in members.items() if isinstance(value, str)}


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


def _why_ignored(receipt: Receipt, entry: Entry | None, facts: Sequence[object]) -> str:
    if entry is None:
        return "no_entry"
    if entry.sid == receipt.sid:
        return "no_news"
    return "other_sid" if entry.sid is not None or not facts else "not_expected"


def _settled(heard: _Heard, entry: Entry | None, ignored: str | None = None) -> Settled:
    return Settled(tenant_id=heard.tenant_id, receipt=heard.receipt, entry=entry, ignored=ignored)


def _line(
    callback: StatusCallback, outcome: Settled | _Refused, took: float, batch: int
) -> tuple[str, dict[str, Any]]:
    """Give the log line of one callback: ids and decisions, nothing of the content."""
    fields: dict[str, Any] = {
        "request_id": callback.request_id,
        "ms": took,
        "batch": batch,
        "tenant": outcome.tenant_id,
    }
    if isinstance(outcome, _Refused):
        decision = {"decision": outcome.error.http_status, "reason": outcome.reason}
        return RECEIPT_REFUSED, fields | decision
    entry, receipt = outcome.entry, outcome.receipt
    if receipt is not None:
        fields |= {"sid": receipt.sid, "provider_status": receipt.status}
    if entry is not None:
        fields |= {"guid": safe_guid(entry.guid), "decision": entry.status, "reason": entry.reason}
    if outcome.ignored is not None:
        fields |= {"decision": "ignored", "reason": outcome.ignored}
    return RECEIPT_SETTLED, fields
