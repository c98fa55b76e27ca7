"""All that a store does."""

from __future__ import annotations

from typing import Protocol

from ci360_twilio.ports.chores import Chores, Strays
from ci360_twilio.ports.controls import Controls
from ci360_twilio.ports.counts import Counts
from ci360_twilio.ports.customers import Consents, Inbox, Privacy
from ci360_twilio.ports.jobs import Jobs
from ci360_twilio.ports.ledger import Archive, Foresight, Ledger, Vitals
from ci360_twilio.ports.reports import Reports


class Store(
    Ledger,
    Archive,
    Foresight,
    Vitals,
    Counts,
    Controls,
    Reports,
    Inbox,
    Consents,
    Privacy,
    Chores,
    Strays,
    Jobs,
    Protocol,
):
    """A whole store."""
