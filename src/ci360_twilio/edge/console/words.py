"""How pages write numbers, times and states: the filters of the templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from markupsafe import Markup

from ci360_twilio.core.entry import Entry, Status
from ci360_twilio.core.reasons import reason_words
from ci360_twilio.edge.cli.screen import printable
from ci360_twilio.logs import mask_number

TONES: Mapping[Status, str] = {
    Status.ACCEPTED: "waiting",
    Status.SENDING: "waiting",
    Status.UNKNOWN: "care",
    Status.HELD: "care",
    Status.SENT: "under-way",
    Status.DELIVERED: "good",
    Status.READ: "good",
    Status.UNDELIVERED: "bad",
    Status.FAILED: "bad",
    Status.REFUSED: "bad",
    Status.EXPIRED: "quiet",
    Status.SUPPRESSED: "quiet",
    Status.CANCELED: "quiet",
}
"""How a status is coloured; its word always stands beside the colour."""


def number(value: float) -> str:
    """Write a number as people read it: ``12,345``."""
    return f"{value:,}"


def share(part: float, whole: float) -> str:
    """Write a share: ``98.6 %``; nothing where there is no whole."""
    if not whole:
        return ""
    exact = 100 * part / whole
    return f"{exact:.0f} %" if exact in (0, 100) else f"{min(max(exact, 0.1), 99.9):.1f} %"


def moment(value: datetime | None) -> Markup:
    """Write a moment, for people and machines; days and times are UTC."""
    if value is None:
        return Markup("&ndash;")
    return Markup('<time datetime="{}">{}</time>').format(
        f"{value:%Y-%m-%dT%H:%M:%S}Z", f"{value:%Y-%m-%d %H:%M:%S}"
    )


def span(value: timedelta | None) -> str:
    """Say how long something takes or took: ``4 min 05 s``."""
    if value is None:
        return "–"
    seconds = max(int(value.total_seconds()), 0)
    for size, unit, less, part in (
        (86_400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // less:02} {part}"
    return f"{seconds} s"


def plural(count: int, noun: str) -> str:
    """Give a number with its noun: ``1 message``, ``2,000 messages``."""
    return f"{count:,} {noun if count == 1 else f'{noun}s'}"


def badge(status: str) -> Markup:
    """Mark a status by its word and a colour."""
    tone = TONES[Status(status)] if status in {*Status} else "quiet"
    return Markup('<span class="badge {}">{}</span>').format(tone, status)


def reason(code: str | None) -> str:
    """Say what a reason means."""
    return reason_words(code) if code else ""


def masked(address: str | None) -> str:
    """Show a number by its last two digits."""
    return mask_number(address) if address else ""


def recipient(entry: Entry) -> str:
    """Show whom an entry is to, masked."""
    return mask_number(entry.message.to) if entry.message else ""


def message_path(entry: Entry) -> str:
    """Give the address of an entry's page; the tenant goes with it, as guids belong to tenants."""
    return f"/console{path_of(entry.guid, entry.tenant_id)}"


def path_of(guid: str, tenant_id: str) -> str:
    """Give the address of a message's page, without the console's own."""
    return f"/messages/{quote(guid, safe='')}?{urlencode({'tenant': tenant_id})}"


FILTERS: dict[str, Callable[..., Any]] = {
    "number": number,
    "share": share,
    "moment": moment,
    "span": span,
    "plural": plural,
    "badge": badge,
    "reason": reason,
    "masked": masked,
    "recipient": recipient,
    "message_path": message_path,
    "printable": printable,
}
