"""What waits for each sender, in words: for ``messages --senders`` and ``check``."""

from __future__ import annotations

from datetime import datetime, timedelta

from ci360_twilio.core.entry import Entry
from ci360_twilio.core.pace import Rate
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.cli.screen import print_json, table
from ci360_twilio.errors import BeforeSending, SettingsError
from ci360_twilio.flow.queues import Queue, RateOf, queues
from ci360_twilio.ports import Archive
from ci360_twilio.settings import Settings
from ci360_twilio.wiring import make_tenants


def read_queues(archive: Archive, settings: Settings, now: datetime) -> list[Queue]:
    """Add up what waits, at the rates that the tenants' documents give."""
    return queues(archive, _rates(settings), now)


def print_senders(
    archive: Archive,
    settings: Settings,
    now: datetime,
    tenant_id: TenantId | None,
    *,
    as_json: bool,
) -> None:
    """Print what waits for each sender, of one tenant where it is given."""
    found = [
        queue
        for queue in read_queues(archive, settings, now)
        if tenant_id in (None, queue.tenant_id)
    ]
    if as_json:
        print_json([_shown(queue) for queue in found])
        return
    if not found:
        print("Nothing waits to be sent.")
        return
    head = ("SENDER", "TENANT", "WAITING", "PAUSED", "SEGMENTS", "RATE", "LASTS", "LATE")
    rows = [
        (
            ", ".join(queue.senders),
            queue.tenant_id,
            f"{queue.entries:,}",
            f"{queue.paused:,}",
            f"{queue.segments:,}",
            rate_words(queue),
            lasts_words(queue.lasts),
            f"{queue.late:,}",
        )
        for queue in found
    ]
    print(table(head, rows))
    print("\nRATE is in segments; about: what Twilio usually allows such a sender.")
    print("LATE would expire before their turn came, if all were let go now.")


def rate_words(queue: Queue) -> str:
    """Say how fast a sender sends."""
    if queue.per_second is None:
        return "not known"
    return f"{'' if queue.paced else 'about '}{queue.per_second:g}/s"


def lasts_words(lasts: timedelta | None) -> str:
    """Say how long a queue lasts, to two units."""
    if lasts is None:
        return "not known"
    seconds = round(lasts.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if hours < 1:
        return f"{minutes} min"
    whole, part = (f"{hours} h", minutes % 60) if days < 2 else (f"{days} d", hours % 24)
    return f"{whole} {part} {'min' if days < 2 else 'h'}" if part else whole


def _shown(queue: Queue) -> dict[str, object]:
    return {
        "tenant": queue.tenant_id,
        "senders": queue.senders,
        "waiting": queue.entries,
        "paused": queue.paused,
        "segments": queue.segments,
        "segments_per_second": queue.per_second,
        "paced": queue.paced,
        "seconds": queue.lasts and queue.lasts.total_seconds(),
        "late": queue.late,
    }


def _rates(settings: Settings) -> RateOf:
    try:
        tenants = make_tenants(settings)
    except SettingsError:
        return lambda _entry: None

    def rate_of(entry: Entry) -> Rate | None:
        try:
            tenant = tenants.get(entry.tenant_id)
        except BeforeSending:
            return None
        return tenant.sender_rates.get(entry.message.sender) if entry.message else None

    return rate_of
