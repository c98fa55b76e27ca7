"""``erase`` and ``export``: all that is known of one person, to be handed out or to be forgotten.

Erased documents leave tombstones, so that the same event never sends again; a wish stays in force
under its hash when the number is gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from ci360_twilio.core.consent import Consent, person_of
from ci360_twilio.core.entry import Entry, Status
from ci360_twilio.core.event import Origin
from ci360_twilio.core.inbound import Inbound
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import NotKnown
from ci360_twilio.logs import PERSON_ERASED, Log
from ci360_twilio.ports import About, Clock, Erased, Note, Privacy

Identity = tuple[str, str]
"""Its kind, such as ``datahub_id``, and its value."""


class Person(NamedTuple):
    """One person, as one tenant knows them."""

    tenant_id: TenantId
    numbers: frozenset[str]
    identities: frozenset[Identity]
    known: About

    @property
    def since(self) -> datetime | None:
        """When the first of all that is known was written."""
        moments = [entry.created_at for entry in self.known.entries]
        moments += [inbound.heard_at for inbound in self.known.inbound]
        moments += [line.at for consent in self.known.consents for line in consent.history[:1]]
        return min(moments, default=None)

    @property
    def untold(self) -> int:
        """How many reports CI360 has not heard yet."""
        documents: tuple[Entry | Inbound, ...] = (*self.known.entries, *self.known.inbound)
        return sum(one.state in ("owed", "aside") for of in documents for one in of.reports)

    @property
    def waiting(self) -> int:
        """How many messages are not sent yet."""
        return sum(entry.status is Status.ACCEPTED for entry in self.known.entries)

    @property
    def words(self) -> frozenset[str]:
        """What may be found of them anywhere: numbers and identities."""
        bare = (number.removeprefix("+") for number in self.numbers)
        return frozenset({*self.numbers, *bare, *(value for _, value in self.identities)})


class Erasing:
    """Finds, hands out and forgets. Holds nothing between calls."""

    def __init__(self, store: Privacy, clock: Clock, log: Log) -> None:
        """Make it.

        Args:
            store: where everything is.
            clock: tells the time.
            log: hears that somebody was erased, never who.
        """
        self._store = store
        self._clock = clock
        self._log = log

    def find(
        self,
        tenant_id: TenantId,
        *,
        number: str | None = None,
        identity: Identity | None = None,
        widely: bool = True,
    ) -> Person:
        """Find all that is known of the person with a number or an identity.

        Args:
            tenant_id: whose customer it is.
            number: E.164, on whatever channel.
            identity: one that CI360 sent.
            widely: also what names only another number or identity of the same person: those that
                stand together with a known one in a message, and so on.

        Raises:
            NotKnown: there is nothing.
        """
        numbers = {person_of(number)} if number else set[str]()
        identities = {identity} if identity else set[Identity]()
        while True:
            about = self._store.about(tenant_id, recipients=numbers, identities=identities)
            more_numbers, more_identities = _named(about)
            if not widely or (more_numbers <= numbers and more_identities <= identities):
                break
            numbers |= more_numbers
            identities |= more_identities
        if not any(about):
            raise NotKnown("Nothing is known of that person, or it was erased before.")
        return Person(tenant_id, frozenset(numbers), frozenset(identities), about)

    def erase(self, person: Person, *, by: str, text: str | None = None) -> Erased:
        """Forget a person.

        Messages that are not sent yet are never sent, and what CI360 was not told yet it is never
        told. What is being sent at this moment is left, and counted as ``busy``: erase again. A text
        that names the person does not go into the audit.

        Raises:
            LedgerUnavailable: not all of it is gone; erase again.
        """
        now = self._clock()
        tenant_id, known = person.tenant_id, person.known
        note = Note(
            at=now,
            by=by,
            action="erase",
            subject=f"tenant {tenant_id}",
            entries=len(known.entries),
            detail=None if any(word in (text or "") for word in person.words) else text,
            tenant_id=tenant_id,
        )
        erased = self._store.erase(
            tenant_id,
            entries=[entry.key for entry in known.entries],
            inbound=[inbound.key for inbound in known.inbound],
            recipients=person.numbers,
            words=person.words,
            note=note,
        )
        self._log.info(PERSON_ERASED, tenant=tenant_id, by=by, **erased._asdict())
        return erased


def dossier(person: Person, at: datetime) -> Mapping[str, Any]:
    """Give all that is known of a person as JSON's own types, for the person to read."""
    known = person.known
    return {
        "tenant": person.tenant_id,
        "exported_at": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "numbers": sorted(person.numbers),
        "identities": [{"kind": kind, "value": value} for kind, value in sorted(person.identities)],
        "messages": [msgspec.to_builtins(entry) for entry in known.entries],
        "replies": [msgspec.to_builtins(inbound) for inbound in known.inbound],
        "consents": [_shown(consent) for consent in known.consents],
    }


def _shown(consent: Consent) -> dict[str, Any]:
    state = {"state": consent.state, "blocked": consent.blocked, "since": consent.since}
    shown: dict[str, Any] = msgspec.to_builtins({**msgspec.to_builtins(consent), **state})
    return shown


def _named(about: About) -> tuple[set[str], set[Identity]]:
    """Give the numbers and identities in what was found."""
    numbers = {person_of(entry.message.to) for entry in about.entries if entry.message}
    numbers |= {person_of(inbound.heard.sender) for inbound in about.inbound}
    documents: tuple[Entry | Inbound, ...] = (*about.entries, *about.inbound)
    return numbers, {pair for one in documents for pair in _identities(one.origin)}


def _identities(origin: Origin) -> set[Identity]:
    return {(kind, value) for kind, value in origin.identities.items() if value}
