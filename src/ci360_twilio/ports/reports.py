"""What CI360 is owed, and CI360 itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from ci360_twilio.core.entry import Entry, Key
from ci360_twilio.core.inbound import Inbound
from ci360_twilio.core.outcome import ExternalEvent
from ci360_twilio.core.report import Answer, Report
from ci360_twilio.core.tenant import Tenant, TenantId


class Owed(NamedTuple):
    """A document, and some of its reports."""

    of: Entry | Inbound
    reports: tuple[Report, ...]


class Owing(NamedTuple):
    """A tenant of whom something is due to be told."""

    tenant_id: TenantId
    documents: int
    """How many documents owe a report that is due; counted up to a limit."""


class Reports(Protocol):
    """The reports that documents owe. Every method is one commit; see :class:`Ledger` for the rest."""

    def owing(self, now: datetime, *, most: int) -> list[Owing]:
        """List the tenants of whom something is due to be told, counting up to ``most`` each."""
        ...

    def take_reports(
        self, tenant_id: TenantId, *, now: datetime, until: datetime, limit: int
    ) -> list[Owed]:
        """Take documents of a tenant with reports that are due, longest due first.

        At most ``limit`` documents. Each due report is put off ``until`` then and its attempt
        counted, so that no other process sends it at the same time; it is given as it is then.
        """
        ...

    def answer_reports(self, answers: Sequence[tuple[Key, str, Answer]]) -> None:
        """Write what came of attempts: by the document's key, the report's key, and the answer.

        An answer to what is not owed any more, or not known, changes nothing.
        """
        ...

    def aside(self, tenant_id: TenantId | None, limit: int) -> list[Owed]:
        """List documents with reports that were set aside."""
        ...

    def owe_again(self, tenant_id: TenantId | None, *, now: datetime) -> int:
        """Have reports that were set aside sent once more; gives their number."""
        ...


class Reporter(Protocol):
    """CI360, as far as telling it goes. May be called from many threads."""

    def tell(self, tenant: Tenant, event: ExternalEvent, *, timeout: float = 10.0) -> None:
        """Post one event; returns once CI360 has acknowledged it.

        Raises:
            Ci360Failed: it did not, for the reason that the error says.
        """
        ...

    def tell_many(
        self, tenant: Tenant, events: Sequence[ExternalEvent], *, timeout: float = 120.0
    ) -> None:
        """Upload a file of events; returns once it has been taken. Raises as :meth:`tell`."""
        ...
