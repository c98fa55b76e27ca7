"""When customers wrote what decides about their consent: Twilio is asked, as webhooks do not say.

Only where it matters: an opt-in is heard while an opt-out stands, or the reverse. Until the dates are
known the opt-out stands.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime

import msgspec

from ci360_twilio.core.consent import Consent, Evidence, Sign, Subject
from ci360_twilio.core.receipt import moment_of
from ci360_twilio.core.tenant import Tenant
from ci360_twilio.errors import BeforeSending, SendFailed, TwilioRefused
from ci360_twilio.flow.patience import Each
from ci360_twilio.logs import INBOUND_DATED, Log
from ci360_twilio.ports import Clock, Consents, Finder, Tenants

QUESTION_SECONDS = 5.0
"""How long the answer to one question is waited for."""


class Dating:
    """Asks Twilio. Safe for many threads; holds nothing between calls."""

    def __init__(
        self, consents: Consents, finder: Finder, tenants: Tenants, clock: Clock, log: Log
    ) -> None:
        self._consents = consents
        self._finder = finder
        self._tenants = tenants
        self._clock = clock
        self._log = log

    def date_due(self, limit: int, each: Each = map) -> int:
        """Ask for the dates that consents hang on and that are due; gives how many consents there were.

        ``each`` asks: one after the other, unless told.
        """
        taken = self._consents.take_undated(now=self._clock(), limit=limit)

        def date(consent: Consent) -> None:
            self._date(consent, time.monotonic() + 4 * QUESTION_SECONDS)

        return len(list(each(date, taken)))

    def date_now(self, consents: Iterable[Consent], *, seconds: float) -> None:
        """Ask at once for the dates that consents hang on, for so many seconds in all.

        What is not known then is asked for again later. Raises ``LedgerUnavailable``.
        """
        until = time.monotonic() + seconds
        for consent in consents:
            if time.monotonic() < until:
                self._date(consent, until)

    def _date(self, consent: Consent, until: float) -> None:
        """Ask for one consent's dates, and write those that are known."""
        if consent.recipient is None:
            return
        try:
            tenant = self._tenants.get(consent.tenant_id)
        except BeforeSending as exc:
            self._log.warning(INBOUND_DATED, decision="failed", reason=exc.code)
            return
        dated = [self._asked(tenant, one, until) for one in consent.undated]
        subject = Subject(consent.tenant_id, consent.recipient, consent.group)
        changes = [(subject, one) for one in dated if one is not None]
        if changes:
            self._consents.attest_many(changes, now=self._clock())

    def _asked(self, tenant: Tenant, evidence: Evidence, until: float) -> Evidence | None:
        """Give evidence with its date.

        Of a message that Twilio does not know any more, as after it was deleted there, the last
        moment at which it can have been written stands in for an opt-out, and the first for an opt-in.
        """
        timeout = min(QUESTION_SECONDS, until - time.monotonic())
        if timeout <= 0 or evidence.sid is None:
            return None
        try:
            receipt = self._finder.fetch(tenant, evidence.sid, timeout=timeout)
        except SendFailed as exc:
            if isinstance(exc, TwilioRefused) and exc.status == 401:
                with suppress(BeforeSending):
                    self._tenants.reread(tenant.id)
            self._tell(tenant, evidence, "failed", exc.reason)
            return None
        moment = moment_of(receipt.made) if receipt else None
        self._tell(tenant, evidence, "dated" if moment else "gone", None)
        return msgspec.structs.replace(evidence, dated_at=moment or _stand_in(evidence))

    def _tell(self, tenant: Tenant, evidence: Evidence, decision: str, reason: str | None) -> None:
        self._log.info(
            INBOUND_DATED, tenant=tenant.id, sid=evidence.sid, decision=decision, reason=reason
        )


def _stand_in(evidence: Evidence) -> datetime:
    return evidence.earliest if evidence.sign is Sign.IN else evidence.latest
