"""Whose a document is, and which entries a customer's text may answer; for all stores."""

from __future__ import annotations

from ci360_twilio.core.consent import person_of
from ci360_twilio.core.entry import Entry
from ci360_twilio.core.inbound import Inbound
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import Conversation


def answers(asked: Conversation, entry: Entry) -> bool:
    """Tell whether an entry was begun between the two: from one of our numbers, or via one of them."""
    message = entry.message
    return (
        entry.tenant_id == asked.tenant_id
        and message is not None
        and message.to == asked.customer
        and entry.started_at is not None
        and (message.sender in asked.ours or entry.via in asked.ours)
    )


def names(
    document: Entry | Inbound,
    tenant_id: TenantId,
    people: set[str],
    identities: set[tuple[str, str]],
) -> bool:
    """Tell whether a document of a tenant's names one of these numbers or identities."""
    if document.tenant_id != tenant_id:
        return False
    if not identities.isdisjoint(document.origin.identities.items()):
        return True
    if isinstance(document, Inbound):
        return person_of(document.heard.sender) in people
    return document.message is not None and person_of(document.message.to) in people
