"""What becomes of a message before it is written down: :func:`judge`, for single events and for rows."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from ci360_twilio.core.advance import owing
from ci360_twilio.core.country import country_of
from ci360_twilio.core.creative import Problem
from ci360_twilio.core.entry import Entry, Status, Step, key_of
from ci360_twilio.core.event import Origin
from ci360_twilio.core.message import Message
from ci360_twilio.core.tenant import Tenant


class Verdict(NamedTuple):
    """What the gates say, those apart that need the ledger."""

    status: Status
    reason: str | None = None
    message: Message | None = None
    problems: tuple[tuple[str, str], ...] = ()
    """What is wrong: field and words, without content."""


def judge(
    message: Message | None, found: tuple[Problem, ...], tenant: Tenant, field: str
) -> Verdict:
    """Pass what was composed through the last gates.

    Args:
        message: as :func:`ci360_twilio.core.message.compose` gives it.
        found: the problems with it, likewise.
        tenant: whose countries are asked.
        field: in which problems are said to be.
    """
    errors = [problem for problem in found if problem.error]
    if errors or message is None:
        words = tuple((field, _words(problem)) for problem in errors)
        return Verdict(Status.REFUSED, errors[0].code, None, words)
    if tenant.countries is not None and country_of(message.to) not in tenant.countries:
        return Verdict(Status.SUPPRESSED, "country_not_allowed", message)
    return Verdict(Status.ACCEPTED, None, message)


def _words(problem: Problem) -> str:
    return f"line {problem.line}: {problem.message}" if problem.line else problem.message


def entry_of(
    verdict: Verdict,
    tenant: Tenant,
    guid: str,
    origin: Origin,
    *,
    now: datetime,
    since: datetime,
    ttl: timedelta,
    generated_at: datetime | None = None,
    job: str | None = None,
) -> Entry:
    """Make the entry of a verdict.

    Args:
        verdict: what the gates say.
        tenant: whose it is.
        guid: of the event, or of the row.
        origin: where it comes from.
        now: when it was accepted.
        since: from when on it lives, for ``ttl``.
        ttl: how long it may be sent.
        generated_at: when CI360 made the event, where it says so.
        job: the bulk job that the row belongs to.
    """
    status, reason, message, problems = verdict
    entry = Entry(
        key=key_of(tenant.id, guid),
        tenant_id=tenant.id,
        guid=guid,
        status=status,
        reason=reason,
        created_at=now,
        generated_at=generated_at,
        due_at=now,
        expires_at=since + ttl,
        purge_at=now + max(timedelta(days=tenant.retention_days), ttl),
        message=message,
        origin=origin,
        problems=problems,
        bulk=job is not None,
        job=job,
        consent_group=tenant.group_of(message.sender) if message else None,
        tells=tenant.tells,
        history=(Step(at=now, step="accept", decision=status.value, reason=reason),),
    )
    return owing(entry, now)
