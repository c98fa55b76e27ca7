"""What is done again and again beside sending: by the worker's keepers, and by the stack's sweep."""

from __future__ import annotations

from collections.abc import Callable

from ci360_twilio.flow.patience import Each
from ci360_twilio.wiring import Parts

AT_ONCE = 32
"""Entries and consents that are taken at one time."""


def look_after_messages(parts: Parts, is_over: Callable[[], bool], each: Each = map) -> None:
    """Ask Twilio what became of messages, and whether what was paused works again.

    ``each`` asks about messages: one after the other, unless told.
    """
    parts.pausing.ask(parts.client)
    parts.pausing.write()
    while not is_over() and parts.finding.find_many(AT_ONCE, each) == AT_ONCE:
        pass


def plan_for_customers(parts: Parts) -> None:
    """Have the numbers that were sent from listed, and the wishes of known tenants pulled."""
    parts.catching_up.add(parts.sending.senders)
    for tenant in parts.tenants.known():
        parts.preferences.schedule(tenant)


def attend_to_customers(parts: Parts, is_over: Callable[[], bool], each: Each = map) -> None:
    """Ask when customers wrote where that decides; list what no webhook brought; pull wishes.

    ``each`` asks about customers' texts: one after the other, unless told.
    """
    while not is_over() and parts.dating.date_due(AT_ONCE, each) == AT_ONCE:
        pass
    plan_for_customers(parts)
    while not is_over() and parts.catching_up.list_due():
        pass
    while not is_over() and parts.preferences.pull_due():
        pass
