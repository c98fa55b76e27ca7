"""How reports are taken and answered, in a document of either kind; for all stores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from ci360_twilio.core.entry import Entry, Key
from ci360_twilio.core.inbound import Inbound
from ci360_twilio.core.report import Answer, Report, answered, owed_again, take_due
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import Owed
from ci360_twilio.stores.transaction import Owing

Document = Entry | Inbound


def take(
    tx: Owing, tenant_id: TenantId, *, now: datetime, until: datetime, limit: int
) -> list[Owed]:
    """Take reports; see :meth:`ci360_twilio.ports.Reports.take_reports`."""
    taken = []
    for document in tx.due_reports(tenant_id, now, limit):
        reports, due = take_due(document.reports, now, until)
        tx.keep(_with(document, reports))
        if due:  # nothing is where an older process has left no more than the column
            taken.append(Owed(_with(document, reports), due))
    return taken


def answer(tx: Owing, answers: Sequence[tuple[Key, str, Answer]]) -> None:
    """Write answers; see :meth:`ci360_twilio.ports.Reports.answer_reports`."""
    found = tx.documents([key for key, _, _ in answers])
    changed: dict[Key, Document] = {}
    for document, (key, report, said) in zip(found, answers, strict=True):
        known = changed.get(key, document)
        if known is not None:
            changed[key] = _with(known, answered(known.reports, report, said))
    for document in changed.values():
        tx.keep(document)


def owe_again(tx: Owing, documents: Iterable[Document], now: datetime) -> int:
    """Have what was set aside sent once more; gives the number of reports."""
    number = 0
    for document in documents:
        number += len(set_aside(document))
        tx.keep(_with(document, owed_again(document.reports, now)))
    return number


def set_aside(document: Document) -> tuple[Report, ...]:
    """Give the reports of a document that were set aside."""
    return tuple(one for one in document.reports if one.aside is not None)


def _with(document: Document, reports: tuple[Report, ...]) -> Document:
    return msgspec.structs.replace(document, reports=reports)
