"""What the ledger keeps in a DynamoDB table: documents, their keys, and the lists in which they stand.

========== ======================================== =======================================
key        document                                 lists
========== ======================================== =======================================
``E#``     an entry                                 by work, place, end, report, recipient
``I#``     an inbound message                       by deletion, report, customer, in all
``W#``     a consent, under its subject's hash      by question, tenant, in all, person
``X#``     a tombstone, under its keyed hash
``sid#``   whose entry a SID belongs to
``cor#``   whose entry a correlation id belongs to
``C#``     a chore                                  by kind
``S#``     a receipt that belongs to nothing        in all
``N#``     a line of the audit                      in all
``R#``     a name that lists are asked for          by kind
``B#``     a sender's budget
``T#``     how many messages a tenant has started
``L#``     the latest messages to a recipient
``J#``     a bulk job                               in all, open ones
========== ======================================== =======================================

``pauses`` and ``state`` are single rows.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from ci360_twilio.core.consent import Consent, person_of
from ci360_twilio.core.due import Work
from ci360_twilio.core.entry import Entry, Key
from ci360_twilio.core.inbound import Inbound
from ci360_twilio.core.job import Job, JobKey
from ci360_twilio.core.pause import Pause
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import Note, Stray
from ci360_twilio.stores.columns import columns_of, count_aside, ms, report_at
from ci360_twilio.stores.dynamodb_table import Row, Table

PAUSES, STATE = "pauses", "state"
SCHEMA = 1
INBOUND_DUE, QUESTIONS = "inbound", "questions"
"""Lists of what is due: inbound messages to be deleted, consents that hang on dates."""
LETTERS, NOTES, STRAYS, CONSENTS = "letters", "notes", "strays", "consents"
"""Lists of everything of a kind."""
JOBS, OPEN_JOBS = "jobs", "jobs/open"
PLACED = (Work.PACED, Work.PARKED)
KEPT_OVER = 30 * 86_400
"""Seconds that an entry which nobody purged stays behind its time before DynamoDB deletes it."""

encode = msgspec.json.Encoder().encode
decode_entry = msgspec.json.Decoder(Entry).decode
decode_inbound = msgspec.json.Decoder(Inbound).decode
decode_consent = msgspec.json.Decoder(Consent).decode
decode_note = msgspec.json.Decoder(Note).decode
decode_stray = msgspec.json.Decoder(Stray).decode
decode_job = msgspec.json.Decoder(Job).decode
decode_pauses = msgspec.json.Decoder(list[Pause]).decode


class State(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What is known of the ledger as a whole."""

    schema: int
    key_check: str
    restored_at: datetime | None = None
    table: str = ""
    """In which table it was written: in another one it is what was restored there."""
    is_settling: bool = False
    """Whether what was under way before it was restored is still to be turned into ``unknown``."""


class ChoreRow(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A chore as it is kept."""

    name: str
    due_at: datetime
    mark: str | None = None


decode_state = msgspec.json.Decoder(State).decode
decode_chore = msgspec.json.Decoder(ChoreRow).decode
decode_tally = msgspec.json.Decoder(dict[int, int]).decode
decode_latest = msgspec.json.Decoder(dict[Key, int]).decode
decode_moment = msgspec.json.Decoder(datetime).decode

_DECODERS: dict[str, Any] = {
    "E": decode_entry,
    "I": decode_inbound,
    "W": decode_consent,
    "N": decode_note,
    "S": decode_stray,
    "J": decode_job,
    "C": decode_chore,
    "T": decode_tally,
    "L": decode_latest,
    "B": decode_moment,
    PAUSES: decode_pauses,
    STATE: decode_state,
}


def decode(row: Row) -> Any:
    """Read what a row holds; pointers, names and tombstones hold a text."""
    decoder = _DECODERS.get(row.pk.partition("#")[0])
    return decoder(row.data) if decoder else row.data.decode()


def pk_of(key: Key) -> str:
    """Give the key of the row that holds a document of either kind."""
    return f"I#{key}" if key.startswith("inbound:") else f"E#{key}"


def job_pk(key: JobKey) -> str:
    """Give the key of a job's row."""
    return f"J#{key}"


def consent_pk(hashed: bytes) -> str:
    """Give the key of a consent's row."""
    return f"W#{hashed.hex()}"


def recipient_list(tenant_id: TenantId, recipient: str) -> str:
    """Give the list of the messages that count for a recipient."""
    return f"to/{tenant_id}/{recipient}"


def uncounted_list(tenant_id: TenantId, recipient: str) -> str:
    """Give the list of the messages to a recipient that count for nobody."""
    return f"not/{tenant_id}/{recipient}"


def person_list(kind: Literal["letter", "wish"], tenant_id: TenantId, person: str) -> str:
    """Give the list of what a person wrote to a tenant, or wishes of it."""
    return f"{kind}/{tenant_id}/{person}"


def owed_list(tenant_id: TenantId) -> str:
    """Give the list of a tenant's documents that owe a report."""
    return f"owed/{tenant_id}"


def place_list(work: Work, place: str) -> str:
    """Give the list of what waits in a place."""
    return f"{work}/{place}"


def consents_list(tenant_id: TenantId) -> str:
    """Give the list of a tenant's consents."""
    return f"consents/{tenant_id}"


def moment(at: int) -> str:
    """Write a time, or another number, so that it sorts as text."""
    return f"{max(at, 0):020d}"


def row_of(pk: str, document: Any, sequence: int, table: Table, *, recipient: str | None) -> Row:
    """Give the row of a document.

    Args:
        pk: its key.
        document: whatever :func:`decode` gives of it.
        sequence: when it was made.
        table: knows into how many parts lists are split.
        recipient: for whom an entry counted when it was made.
    """
    names: dict[str, tuple[str, str]] = {}
    ttl = None
    order = moment(sequence)
    if isinstance(document, Entry):
        names = _of_entry(pk, document, order, table, recipient)
        ttl = int(document.purge_at.timestamp()) + KEPT_OVER
    elif isinstance(document, Inbound):
        names = _of_inbound(pk, document, order, table)
        ttl = int(document.purge_at.timestamp()) + KEPT_OVER
    elif isinstance(document, Consent):
        names = _of_consent(pk, document, order, table)
    elif isinstance(document, ChoreRow):
        kind, colon, _ = document.name.partition(":")
        if colon:
            names = {"due": (f"chore/{kind}", moment(ms(document.due_at)) + document.name)}
    elif isinstance(document, Stray):
        names = {"place": (STRAYS, moment(ms(document.last_at)) + order)}
    elif isinstance(document, Job):
        made = moment(ms(document.created_at)) + order
        names = {"place": (JOBS, made)} | ({} if document.ended else {"ended": (OPEN_JOBS, made)})
    elif isinstance(document, Note):
        names = {"place": (NOTES, order)}
    elif pk.startswith("L#"):
        ttl = max(document.values(), default=0) // 1000 + 2 * 86_400
    data = document.encode() if isinstance(document, str) else encode(document)
    return Row(pk, 0, data, names, sequence, ttl)


def _of_entry(
    pk: str, entry: Entry, order: str, table: Table, recipient: str | None
) -> dict[str, tuple[str, str]]:
    status, work, due_at, _, _, place, lane, ends_at, *_ = columns_of(entry)
    names = {"due": (table.part(work, pk), f"{moment(due_at)}{status}{order}")}
    if place is not None:
        where = table.part(place_list(work, place), pk)
        names["place"] = where, f"{lane}{moment(due_at)}{order}"
    if ends_at is not None:
        names["ended"] = table.part(work, pk), moment(ends_at) + order
    made = moment(ms(entry.created_at)) + order
    if recipient is not None:
        names["person"] = recipient_list(entry.tenant_id, recipient), made
    elif entry.message is not None and entry.message.to:
        names["person"] = uncounted_list(entry.tenant_id, entry.message.to), made
    return names | _of_reports(pk, entry, order, table)


def _of_inbound(pk: str, inbound: Inbound, order: str, table: Table) -> dict[str, tuple[str, str]]:
    heard = moment(ms(inbound.heard_at)) + order
    customer = person_of(inbound.heard.sender)
    names = {
        "due": (table.part(INBOUND_DUE, pk), moment(ms(inbound.purge_at)) + order),
        "place": (table.part(LETTERS, pk), heard),
        "person": (person_list("letter", inbound.tenant_id, customer), heard),
    }
    return names | _of_reports(pk, inbound, order, table)


def _of_reports(
    pk: str, document: Entry | Inbound, order: str, table: Table
) -> dict[str, tuple[str, str]]:
    names = {}
    if (at := report_at(document.reports)) is not None:
        names["owed"] = table.part(owed_list(document.tenant_id), pk), moment(at) + order
    if count_aside(document.reports):
        names["aside"] = document.tenant_id, order
    return names


def _of_consent(pk: str, consent: Consent, order: str, table: Table) -> dict[str, tuple[str, str]]:
    names = {
        "place": (table.part(consents_list(consent.tenant_id), pk), order),
        "ended": (table.part(CONSENTS, pk), order),
    }
    if consent.ask_at is not None:
        names["due"] = table.part(QUESTIONS, pk), moment(ms(consent.ask_at)) + order
    if consent.recipient is not None:
        names["person"] = person_list("wish", consent.tenant_id, consent.recipient), order
        if consent.state == "review":
            names["aside"] = "review", order
    return names
