"""Whether a sender's last messages ended so that more of them only make it worse: :class:`Recent`.

Filters and missing registrations do not show in Twilio's answer but in the final status, when the
rest of a campaign may be on its way. A sender most of whose messages end so is not used for a while.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from ci360_twilio.core.codes import SENDER_TROUBLE
from ci360_twilio.core.receipt import ProviderStatus, Receipt
from ci360_twilio.core.retry import Backoff

MOST = 40
"""How many final statuses are looked at."""
SPAN = timedelta(hours=1)
"""How far they reach back."""
LEAST = 20
"""With fewer nothing is concluded."""

PROBES = Backoff(900, 14_400)
"""Waits until one message is let through to see whether a sender works again, in seconds."""

_UNSUCCESSFUL = frozenset({ProviderStatus.FAILED, ProviderStatus.UNDELIVERED})


def trouble_of(receipt: Receipt) -> int | None:
    """Give the code of a final status that speaks against the sender, if it does."""
    if receipt.status not in _UNSUCCESSFUL or receipt.error_code not in SENDER_TROUBLE:
        return None
    return receipt.error_code


class Ended(NamedTuple):
    """How one message ended."""

    at: datetime
    trouble: int | None


class Recent(msgspec.Struct, frozen=True):
    """How the last messages of one sender ended, oldest first."""

    ends: tuple[Ended, ...] = ()

    def add(self, receipt: Receipt, at: datetime) -> Recent:
        """Give it with one more final status, and without those that are too old or too many."""
        young = [end for end in self.ends if at - end.at <= SPAN]
        return Recent((*young[-(MOST - 1) :], Ended(at, trouble_of(receipt))))

    @property
    def trouble(self) -> int | None:
        """The code that speaks most against the sender, if more than half of them speak so."""
        codes = [end.trouble for end in self.ends if end.trouble is not None]
        if len(self.ends) < LEAST or 2 * len(codes) <= len(self.ends):
            return None
        return Counter(codes).most_common(1)[0][0]
