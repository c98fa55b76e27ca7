"""The world outside the ledger: Twilio, tenants' documents, the time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Protocol

from ci360_twilio.core.inbound import Heard
from ci360_twilio.core.match import Listed
from ci360_twilio.core.message import Message
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.core.tenant import Tenant, TenantId


class Sender(Protocol):
    """Twilio, as far as sending goes."""

    def send(
        self,
        message: Message,
        tenant: Tenant,
        *,
        validity: int,
        timeout: float,
        callback: str | None = None,
    ) -> Receipt:
        """Ask Twilio once to make a message.

        Never repeats a request and follows no redirect. May be called from many threads.

        Args:
            message: what to send.
            tenant: whose account sends it.
            validity: seconds after which Twilio gives the message up.
            timeout: seconds for connecting and waiting for the answer together.
            callback: the address to which Twilio posts what becomes of the message.

        Raises:
            NotReached: no request reached Twilio; nothing was made.
            TwilioRefused: Twilio answered with an error, of the kind that ``failure`` says.
            AnswerLost: the message may or may not have been made.
        """
        ...


class Account(Protocol):
    """Twilio, as far as letting us in goes."""

    def probe(self, tenant: Tenant, *, timeout: float = 10.0) -> str | None:
        """Ask for the account, to see whether the credentials fit. Raises as :class:`Sender` does.

        Returns:
            The ``Date`` of the answer, if it has one.
        """
        ...


class Finder(Protocol):
    """Twilio, as far as asking goes. Every method raises as :class:`Sender` does."""

    def search(
        self, tenant: Tenant, to: str, *, since: datetime | None = None, timeout: float = 10.0
    ) -> list[Listed]:
        """List messages to a recipient, from a day before ``since`` on. A miss proves nothing."""
        ...

    def fetch(self, tenant: Tenant, sid: str, *, timeout: float = 10.0) -> Receipt | None:
        """Ask for one message; ``None`` where there is none of that SID."""
        ...


class Lister(Protocol):
    """Twilio, as far as what customers wrote goes. Every method raises as :class:`Sender` does."""

    def inbound(
        self, tenant: Tenant, number: str, *, since: datetime, timeout: float = 10.0
    ) -> Iterator[list[Heard]]:
        """List messages to a number of ours since a moment, newest first, a page at a time."""
        ...

    def service_numbers(self, tenant: Tenant, service: str, *, timeout: float = 10.0) -> list[str]:
        """List the numbers of a Messaging Service; none where there is no such service."""
        ...


class Tenants(Protocol):
    """The tenants' documents."""

    def get(self, tenant_id: TenantId) -> Tenant:
        """Give a tenant, from a cache of bounded age where there is one.

        Raises:
            TenantUnknown: there is no such document; remembered for a while.
            TenantUnavailable: it cannot be read just now.
            TenantBroken: it cannot be used; the issues name its fields.
        """
        ...

    def reread(self, tenant_id: TenantId) -> Tenant:
        """Give a tenant as its document is now, after Twilio refused its credentials.

        Limited in rate: called again within seconds, it gives what the last call gave.
        Raises as :meth:`get`; where the document cannot be read the cached one stays in use.
        """
        ...


class Clock(Protocol):
    """The time."""

    def __call__(self) -> datetime:
        """Give the present moment, aware, in UTC."""
        ...
