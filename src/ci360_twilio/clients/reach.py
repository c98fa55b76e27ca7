"""Our own public address, called as Twilio calls it: does a signed webhook get through, and only that?

The webhook is one that changes nothing: to the address for customers' messages, and none of these.
"""

from __future__ import annotations

from contextlib import closing
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from ci360_twilio import __version__
from ci360_twilio.clients.connections import Connections, NoAnswer, NotConnected
from ci360_twilio.core.signature import signed
from ci360_twilio.core.tenant import Tenant
from ci360_twilio.errors import NotReached

_FIELDS = {"MessageSid": f"SM{'0' * 32}", "MessageStatus": "check"}


class Reached(NamedTuple):
    """The statuses of the answers."""

    signed: int
    unsigned: int


def reach(url: str, tenant: Tenant, *, timeout: float = 10.0) -> Reached:
    """Post one webhook with the tenant's signature, and one without.

    Args:
        url: the public address for the tenant's inbound messages, without fragment.
        tenant: signs with the first of its tokens.
        timeout: seconds for each answer.

    Raises:
        NotReached: nothing answers there, or it is no address.
    """
    parts = urlsplit(url)
    pairs = [*_FIELDS.items(), ("AccountSid", tenant.account)]
    body = urlencode(pairs).encode()
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "User-Agent": f"ci360-twilio-connector/{__version__}",
    }
    mine = {"X-Twilio-Signature": signed(url, pairs, tenant.webhook_tokens[0])}
    try:
        pool = Connections(parts.scheme, parts.hostname or "", parts.port, keep=1)
        with closing(pool):
            statuses = [
                pool.request("POST", parts.path, headers | more, body, timeout).status
                for more in (mine, {})
            ]
    except (NotConnected, NoAnswer) as exc:
        words = "The public address could not be reached."
        raise NotReached(words, reason=str(exc)) from exc
    except ValueError as exc:
        raise NotReached("The public address cannot be used.", reason="not_an_address") from exc
    return Reached(*statuses)
