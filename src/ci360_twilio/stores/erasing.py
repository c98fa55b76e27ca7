"""How a person is erased; for all stores."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from ci360_twilio.core.entry import Entry, Key, Status
from ci360_twilio.core.inbound import Inbound
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import Erased, Note
from ci360_twilio.stores.transaction import Transaction


def erase(
    tx: Transaction,
    tenant_id: TenantId,
    *,
    entries: Iterable[Key],
    inbound: Iterable[Key],
    recipients: Collection[str],
    words: Collection[str],
    note: Note,
) -> Erased:
    """Erase; see :meth:`ci360_twilio.ports.Privacy.erase`."""
    keys = list(dict.fromkeys([*entries, *inbound]))
    found = [one for one in tx.documents(keys) if one is not None and one.tenant_id == tenant_id]
    gone = [one for one in found if not _is_busy(one, note.at)]
    for document in gone:
        tx.bury_document(document.key)
    erased = Erased(
        entries=sum(isinstance(one, Entry) for one in gone),
        inbound=sum(isinstance(one, Inbound) for one in gone),
        consents=sum([tx.forget_number(tenant_id, one) for one in recipients]),
        notes=tx.clear_notes(words),
        busy=len(found) - len(gone),
    )
    tx.write_note(note)
    return erased


def _is_busy(document: Entry | Inbound, now: datetime) -> bool:
    """Tell whether bytes may be leaving for an entry, and its answer is still waited for."""
    if isinstance(document, Inbound) or document.status is not Status.SENDING:
        return False
    return document.lease is not None and document.lease.until > now
