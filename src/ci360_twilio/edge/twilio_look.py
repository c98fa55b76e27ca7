"""Asks Twilio whether a message that a person names is the one that an entry is about."""

from __future__ import annotations

from ci360_twilio.core.entry import Entry
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.core.tenant import Tenant
from ci360_twilio.errors import NotKnown
from ci360_twilio.ports import Finder


def look_up(finder: Finder, tenant: Tenant, entry: Entry, receipt: Receipt) -> Receipt:
    """Give what Twilio says of a message, if it is to the entry's recipient.

    Raises:
        NotKnown: the account has no such message, or it is to somebody else.
    """
    if entry.message is not None:
        since = entry.started_at or entry.created_at
        for row in finder.search(tenant, entry.message.to, since=since):
            if row.receipt.sid == receipt.sid:
                return row.receipt
    if finder.fetch(tenant, receipt.sid) is None:
        raise NotKnown("The tenant's Twilio account has no message of that SID.")
    raise NotKnown("Twilio does not list that message among those to this recipient.")
