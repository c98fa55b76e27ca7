"""What the flow needs from the world. Each docstring is the contract that an implementation keeps."""

from __future__ import annotations

from ci360_twilio.ports.chores import Chore, Chores, Stray, Strays
from ci360_twilio.ports.controls import Controls, Note
from ci360_twilio.ports.counts import SLOT, Counted, Counting, Counts
from ci360_twilio.ports.customers import (
    About,
    Consents,
    Conversation,
    Erased,
    Hearing,
    InboundQuery,
    Inbox,
    Privacy,
    Received,
    Verified,
)
from ci360_twilio.ports.jobs import Added, Files, Firsts, Jobs
from ci360_twilio.ports.ledger import (
    NO_LIMITS,
    PROBE,
    Archive,
    Claimed,
    Foreseen,
    Foresight,
    Inserted,
    Ledger,
    Mark,
    Query,
    RateOf,
    Summary,
    Vitals,
    Waiting,
    unpaced,
)
from ci360_twilio.ports.reports import Owed, Owing, Reporter, Reports
from ci360_twilio.ports.store import Store
from ci360_twilio.ports.world import Account, Clock, Finder, Lister, Sender, Tenants

__all__ = [
    "NO_LIMITS",
    "PROBE",
    "SLOT",
    "About",
    "Account",
    "Added",
    "Archive",
    "Chore",
    "Chores",
    "Claimed",
    "Clock",
    "Consents",
    "Controls",
    "Conversation",
    "Counted",
    "Counting",
    "Counts",
    "Erased",
    "Files",
    "Finder",
    "Firsts",
    "Foreseen",
    "Foresight",
    "Hearing",
    "InboundQuery",
    "Inbox",
    "Inserted",
    "Jobs",
    "Ledger",
    "Lister",
    "Mark",
    "Note",
    "Owed",
    "Owing",
    "Privacy",
    "Query",
    "RateOf",
    "Received",
    "Reporter",
    "Reports",
    "Sender",
    "Store",
    "Stray",
    "Strays",
    "Summary",
    "Tenants",
    "Verified",
    "Vitals",
    "Waiting",
    "unpaced",
]
