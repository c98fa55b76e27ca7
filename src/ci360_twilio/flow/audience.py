"""A job's rows as messages: each is judged as a single event is, and gets an entry of the same kind."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from ci360_twilio.core.audience import Columns, Filling, Identified, parse_options, parse_template
from ci360_twilio.core.entry import Entry, Status
from ci360_twilio.core.job import Job, row_name
from ci360_twilio.core.message import DEFAULT_NAMES, AttributeNames, compose
from ci360_twilio.core.tenant import Tenant
from ci360_twilio.core.verdict import Verdict, entry_of, judge
from ci360_twilio.flow.rows import Row

DUPLICATE = "duplicate_number"
"""The reason of a row whose number stands on an earlier one."""
JOB_CANCELED = "job_canceled"
FIELD = "sendParameters"


class Gates(NamedTuple):
    """What decides about messages besides the tenant's document."""

    ttl: timedelta = timedelta(days=1)
    default_sender: str | None = None
    names: AttributeNames = DEFAULT_NAMES


class Candidate(NamedTuple):
    """A row, judged as far as that goes without the ledger."""

    row: Row
    who: Identified
    verdict: Verdict

    @property
    def is_bad(self) -> bool:
        """Whether it cannot be sent to."""
        return self.verdict.status is Status.REFUSED

    @property
    def address(self) -> int | str | None:
        """What tells its recipient from all others, as short as it goes."""
        to = self.verdict.message.to if self.verdict.message else None
        if to is None:
            return None
        return int(to[1:]) if to[0] == "+" else to


class Audience:
    """Judges the rows of a job."""

    def __init__(
        self,
        job: Job,
        tenant: Tenant,
        columns: Columns,
        gates: Gates,
        keyed: Callable[[str], str],
    ) -> None:
        """Make it.

        Args:
            job: whose rows they are.
            tenant: who sends.
            columns: of the file.
            gates: see :class:`Gates`.
            keyed: hashes what a row is called by, see :meth:`ci360_twilio.ports.Jobs.keyed`.

        Raises:
            AudienceBroken: the template names a column that there is not.
        """
        self.options = parse_options(job.parameters, [])
        self.tenant = tenant
        self._job = job
        self._gates = gates
        self._keyed = keyed
        template = parse_template(job.parameters, gates.names)
        self._filling = Filling(template, columns, self.options.identity, gates.names)

    def judge(self, row: Row) -> Candidate:
        """Fill the template with a row and look at what comes of it."""
        creative, attributes = self._filling.fill(row.cells)
        message, found = compose(
            creative,
            attributes,
            self.tenant,
            default_sender=self._gates.default_sender,
            names=self._gates.names,
        )
        verdict = judge(message, found, self.tenant, FIELD)
        return Candidate(row, self._filling.identified(row.cells), verdict)

    def guid(self, candidate: Candidate) -> str:
        """Give the guid of a row: of its job, its customer and its number, and nothing else.

        The number of a row that cannot be sent to is told from others by all that stands there.
        """
        message, cells = candidate.verdict.message, candidate.row.cells
        number = message.to if message else "\n".join(cells)
        return f"{self._job.id}-{self._keyed(row_name(self._job, candidate.who.identity, number))}"

    def entry(
        self, candidate: Candidate, guid: str, now: datetime, *, is_again: bool = False
    ) -> Entry:
        """Make the entry of a row.

        Args:
            candidate: the row, judged.
            guid: of the row, see :meth:`guid`.
            now: when it is entered.
            is_again: whether an earlier row has the same number, and gets the message.
        """
        verdict = candidate.verdict
        if verdict.status is Status.ACCEPTED:
            if self._job.canceled_by is not None:
                verdict = verdict._replace(status=Status.CANCELED, reason=JOB_CANCELED)
            elif is_again:
                verdict = verdict._replace(status=Status.SUPPRESSED, reason=DUPLICATE)
        origin = msgspec.structs.replace(self._job.origin, identities=candidate.who.identities)
        return entry_of(
            verdict,
            self.tenant,
            guid,
            origin,
            now=now,
            since=self._job.created_at,
            ttl=self._gates.ttl,
            job=self._job.id,
        )
