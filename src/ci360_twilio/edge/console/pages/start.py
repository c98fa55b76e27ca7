"""The start page: what happens now, and what has become of today's messages."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec
from markupsafe import Markup
from starlette.responses import Response

from ci360_twilio.core.job import Job
from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.core.person import Right
from ci360_twilio.core.reasons import reason_words
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.console.desk import Page, Visit
from ci360_twilio.edge.console.figures import GROUPS, Figures, Range, figures
from ci360_twilio.edge.console.words import span
from ci360_twilio.flow.decision import target_of
from ci360_twilio.ports import SLOT, Counted, Summary

LATE = timedelta(minutes=2)
"""What has been due for longer, something keeps from being sent, or told."""


class Vital(NamedTuple):
    """How something is that we depend on."""

    name: str
    tone: str
    """``good``, ``care`` or ``bad``."""
    words: str
    detail: str


def start(visit: Visit) -> Response:
    """Show the whole page."""
    return visit.show("start.html", **_about(visit))


def now(visit: Visit) -> Response:
    """Show what of the page changes, for it to refresh itself by."""
    return visit.show("_start.html", **_about(visit))


def _about(visit: Visit) -> dict[str, Any]:
    moment = visit.now()
    asked = visit.asked("range")
    of = Range(asked) if asked in {*Range} else Range.TODAY
    tenant = visit.asked("tenant")
    scope = visit.scope(TenantId(tenant) if tenant else None)
    counted, whole_since = _counted(visit, scope, of, moment)
    found = figures(counted, of, moment)
    since = f"{of.since(moment):%Y-%m-%dT%H:%M}"
    sees_all = scope == [None]
    whole = visit.store.summary(moment)
    summary = whole if sees_all else None  # it counts all tenants' messages together
    pauses = tuple(
        one for one in whole.pauses if sees_all or one.tenant_id is None or one.tenant_id in scope
    )
    return {
        "ranges": [*Range],
        "of": of,
        "tenant": tenant,
        "tenants": visit.tenants(),
        "figures": found,
        "whole_since": whole_since,
        "chart": _chart(found),
        "groups": GROUPS,
        "since": since,
        "more": f"&{urlencode({'since': since} | ({'tenant': tenant} if tenant else {}))}",
        "summary": summary,
        "oldest": _age(summary, moment),
        "vitals": _vitals(whole, summary, pauses, found, moment),
        "pauses": [(pause, target_of(pause), reason_words(pause.reason)) for pause in pauses],
        "jobs": _jobs(visit, scope),
        "at": moment,
    }


def _counted(
    visit: Visit, scope: list[TenantId | None], of: Range, moment: datetime
) -> tuple[list[Counted], datetime | None]:
    """Count what the person sees; tells from when on that is all, where it is not."""
    counted: list[Counted] = []
    whole_since: datetime | None = None
    for tenant_id in scope:
        found = visit.store.counts(
            since=of.since(moment), before=moment + SLOT, tenant_id=tenant_id, step=of.step
        )
        counted += found.counted
        if found.whole_since is not None:
            whole_since = max(found.whole_since, whole_since or found.whole_since)
    return counted, whole_since


def _jobs(visit: Visit, scope: list[TenantId | None]) -> list[Job]:
    return [
        job
        for tenant_id in scope
        for job in visit.store.jobs(tenant_id=tenant_id, is_open=True, limit=10)
    ][:10]


def _age(summary: Summary | None, moment: datetime) -> timedelta | None:
    if summary is None or summary.oldest_due_at is None:
        return None
    return max(moment - summary.oldest_due_at, timedelta())


def _chart(found: Figures) -> Markup:
    """Write the course over time for the script that draws it; it is data, never code."""
    chart = {
        "times": [int(at.timestamp()) for at in found.times],
        "series": [
            {"key": group.key, "words": group.words, "values": found.series[group.key]}
            for group in GROUPS
        ],
    }
    text = msgspec.json.encode(chart).decode()
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - JSON without a character that HTML takes for markup


def _vitals(
    whole: Summary,
    summary: Summary | None,
    pauses: tuple[Pause, ...],
    found: Figures,
    moment: datetime,
) -> list[Vital]:
    vitals = [_twilio(summary, pauses, found, moment)]
    if summary is not None:
        vitals.append(_ci360(summary, pauses, moment))
    vitals.append(_ledger(whole))
    return vitals


def _twilio(
    summary: Summary | None, pauses: tuple[Pause, ...], found: Figures, moment: datetime
) -> Vital:
    refusing = next((one for one in pauses if _is_of_twilio(one)), None)
    if refusing is not None:
        words = f"{target_of(refusing)}: {reason_words(refusing.reason)}"
        return Vital("Twilio", "bad", "Refuses messages", words)
    age = _age(summary, moment)
    if age is not None and age > LATE:
        words = f"Messages have been due for {span(age)}. Is a worker running?"
        return Vital("Twilio", "care", "Messages are waiting", words)
    if found.sent:
        words = "Nothing is due for long."
        if summary is None:
            words = "No pause is known; how long messages wait is told to people of all tenants."
        return Vital("Twilio", "good", "Takes messages", words)
    return Vital("Twilio", "good", "Quiet", "Nothing was sent in this time.")


def _is_of_twilio(pause: Pause) -> bool:
    return pause.cause is Cause.CONFIG and pause.scope is not Scope.REPORTS


def _ci360(summary: Summary, pauses: tuple[Pause, ...], moment: datetime) -> Vital:
    mute = next((one for one in pauses if one.scope is Scope.REPORTS), None)
    if mute is not None:
        words = f"{target_of(mute)}: {reason_words(mute.reason)}"
        return Vital("CI360", "bad", "Is told nothing", words)
    late = moment - summary.oldest_owed_at if summary.oldest_owed_at else timedelta()
    if late > LATE:
        words = f"{summary.owed:,} outcomes wait, the oldest for {span(late)}."
        return Vital("CI360", "care", "Outcomes are late", words)
    if summary.aside:
        words = f"{summary.aside:,} were set aside: see ci360-twilio reports."
        return Vital("CI360", "care", "Refused outcomes", words)
    words = f"{summary.owed:,} outcomes are on their way." if summary.owed else "Nothing is owed."
    return Vital("CI360", "good", "Is told everything", words)


def _ledger(summary: Summary) -> Vital:
    if summary.outdated:
        words = "A newer version has changed it: this one still accepts, and sends nothing."
        return Vital("Ledger", "care", "Is newer than this server", words)
    words = (
        f"Restored from a backup at {summary.restored_at:%Y-%m-%d %H:%M} UTC."
        if summary.restored_at
        else "It can be read and written."
    )
    return Vital("Ledger", "good", "Is well", words)


PAGES = (
    Page("GET", "", Right.SEE, start),
    Page("GET", "/now", Right.SEE, now, quiet=True),
)
