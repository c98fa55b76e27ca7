"""``hear``: what customers write -> inbound messages in the ledger, with the wishes in them.

Twilio posts each message, perhaps twice or late, and lists them all; whichever comes first counts.
A message is its customer's by the latest message that was sent between the two numbers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from ci360_twilio.core.consent import (
    EVERY_SENDER,
    Consent,
    Evidence,
    Sign,
    Source,
    Subject,
    person_of,
)
from ci360_twilio.core.inbound import (
    Heard,
    Inbound,
    answering,
    inbound_key,
    owing,
    parse_inbound,
)
from ci360_twilio.core.report import Outcome
from ci360_twilio.core.tenant import Tenant, TenantId
from ci360_twilio.core.wish import Wish, read_wish
from ci360_twilio.errors import ConnectorError, LedgerUnavailable, NotReadable
from ci360_twilio.flow.addresses import INBOUND
from ci360_twilio.flow.webhook import Doorkeeper, Refused, Webhook, refusal_fields
from ci360_twilio.logs import INBOUND_HEARD, INBOUND_REFUSED, Log, safe_guid
from ci360_twilio.ports import Clock, Conversation, Hearing, Inbox, Received

_SIGNS = {Wish.OUT: Sign.OUT, Wish.IN: Sign.IN, Wish.MAYBE_OUT: Sign.MAYBE}


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook that need not come again: the message is durably written, or is none of a customer's."""

    tenant_id: TenantId
    inbound: Inbound | None = None
    """As it stands now."""
    created: bool = False
    consent: Consent | None = None
    """As it is now, where the message changed it."""


class _Letter(msgspec.Struct, frozen=True):
    """A message of a tenant's customer."""

    tenant: Tenant
    heard: Heard


class Listening:
    """Takes inbound messages, with one commit for each batch. Safe for many threads."""

    def __init__(self, inbox: Inbox, doorkeeper: Doorkeeper, clock: Clock, log: Log) -> None:
        """Make it.

        Args:
            inbox: where messages are kept.
            doorkeeper: lets webhooks in.
            clock: tells the time.
            log: hears of every message, and never what it says.
        """
        self._inbox = inbox
        self._doorkeeper = doorkeeper
        self._clock = clock
        self._log = log

    def hear_many(self, webhooks: Sequence[Webhook]) -> list[Taken | ConnectorError]:
        """Answer inbound webhooks, in their order.

        Where the ledger cannot be read or written, those that need it are answered with
        ``LedgerUnavailable``: nothing of them is known to be written, and they may come again.
        """
        started = time.perf_counter()
        outcomes = [self._read(webhook) for webhook in webhooks]
        letters = [one for one in outcomes if isinstance(one, _Letter)]
        taken: Iterator[Taken | Refused]
        try:
            taken = iter(self._take(letters))
        except LedgerUnavailable as exc:
            taken = iter([Refused(exc, exc.code, one.tenant.id) for one in letters])
        final = [next(taken) if isinstance(one, _Letter) else one for one in outcomes]
        took = round((time.perf_counter() - started) * 1000, 3)
        self._log.info_many(
            [_line(w, f, took, len(webhooks)) for w, f in zip(webhooks, final, strict=True)]
        )
        return [one.error if isinstance(one, Refused) else one for one in final]

    def hear_listed(self, tenant: Tenant, rows: Sequence[Heard]) -> list[Received]:
        """Take messages that Twilio lists; those that are known are not changed.

        Raises:
            LedgerUnavailable: nothing of them is known to be written.
        """
        return self._write([_Letter(tenant, heard) for heard in rows])

    def _read(self, webhook: Webhook) -> _Letter | Taken | Refused:
        admitted = self._doorkeeper.admit(webhook, INBOUND)
        if isinstance(admitted, Refused):
            return admitted
        tenant, form = admitted
        if form.get("MessageStatus", "received") != "received":
            return Taken(tenant_id=tenant.id)  # a status callback that somebody sent here
        heard = parse_inbound(form)
        if heard is None:
            exc = NotReadable("The request names no message, no customer or no number of ours.")
            return Refused(exc, exc.code, tenant.id)
        return _Letter(tenant, heard)

    def _take(self, letters: Sequence[_Letter]) -> list[Taken]:
        return [
            Taken(
                tenant_id=letter.tenant.id,
                inbound=received.inbound,
                created=received.created,
                consent=received.consent,
            )
            for letter, received in zip(letters, self._write(letters), strict=True)
        ]

    def _write(self, letters: Sequence[_Letter]) -> list[Received]:
        """Find whose they are, and write them."""
        if not letters:
            return []
        asked = [Conversation(one.tenant.id, one.heard.sender, _ours(one.heard)) for one in letters]
        entries = self._inbox.conversations(asked)
        now = self._clock()
        hearings = [
            _hearing(letter, now)._replace(inbound=answering(_inbound(letter, now), entry))
            for letter, entry in zip(letters, entries, strict=True)
        ]
        return self._inbox.hear_many(hearings, now=now)


def evidence_of(tenant: Tenant, heard: Heard, now: datetime) -> tuple[Subject, Evidence | None]:
    """Give whose wish a message is, and what it says for or against messages, if anything."""
    group = tenant.group_of(heard.to, heard.service) or EVERY_SENDER
    subject = Subject(tenant.id, person_of(heard.sender), group)
    sign = _SIGNS.get(_wish(tenant, heard))
    if sign is None:
        return subject, None
    return subject, Evidence(
        sign=sign, source=Source.TEXT, heard_at=now, dated_at=heard.dated_at, sid=heard.sid
    )


def _wish(tenant: Tenant, heard: Heard) -> Wish:
    return read_wish(
        heard.body, opt_out_type=heard.opt_out_type, opt_out_words=tenant.opt_out_words
    )


def _hearing(letter: _Letter, now: datetime) -> Hearing:
    subject, evidence = evidence_of(letter.tenant, letter.heard, now)
    return Hearing(_inbound(letter, now), subject, evidence)


def _inbound(letter: _Letter, now: datetime) -> Inbound:
    tenant, heard = letter.tenant, letter.heard
    inbound = Inbound(
        key=inbound_key(tenant.id, heard.sid),
        tenant_id=tenant.id,
        heard=heard,
        heard_at=now,
        purge_at=now + timedelta(days=tenant.retention_days),
        wish=_wish(tenant, heard),
        tells=tenant.tells,
    )
    return owing(inbound, Outcome.REPLY, now)


def _ours(heard: Heard) -> tuple[str, ...]:
    return (heard.to,) if heard.service is None else (heard.to, heard.service)


def _line(
    webhook: Webhook, outcome: Taken | Refused, took: float, batch: int
) -> tuple[str, dict[str, Any]]:
    """Give the log line of one message: ids and decisions, nothing of the content."""
    fields: dict[str, Any] = {
        "request_id": webhook.request_id,
        "ms": took,
        "batch": batch,
        "tenant": outcome.tenant_id,
    }
    if isinstance(outcome, Refused):
        return INBOUND_REFUSED, fields | refusal_fields(outcome)
    inbound = outcome.inbound
    if inbound is None:
        return INBOUND_HEARD, fields | {"decision": "ignored", "reason": "not_inbound"}
    answers = inbound.answers and safe_guid(inbound.answers.partition("/")[2])
    return INBOUND_HEARD, fields | {
        "sid": inbound.heard.sid,
        "decision": "taken" if outcome.created else "duplicate",
        "reason": inbound.wish,
        "consent": outcome.consent and outcome.consent.state,
        "guid": answers,
    }
