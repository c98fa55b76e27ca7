"""Our own public address, called as Twilio and CI360 call it: does what may come in, and only that?

What is posted changes nothing: a webhook that brings no customer's message, and an event without a body.
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
    pairs = [*_FIELDS.items(), ("AccountSid", tenant.account)]
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    mine = {"X-Twilio-Signature": signed(url, pairs, tenant.webhook_tokens[0])}
    return Reached(*_post(url, urlencode(pairs).encode(), [kind | mine, kind], timeout))


def knock(url: str, key: str, *, timeout: float = 30.0) -> Reached:
    """Post an event without a body, as CI360's *Test Endpoint* does, with a key and without one.

    Args:
        url: the address for events.
        key: the tenant's.
        timeout: seconds for each answer; a cold start fits into the default.

    Raises:
        NotReached: nothing answers there, or it is no address.
    """
    kind = {"Content-Type": "application/json"}
    return Reached(*_post(url, b"{}", [kind | {"x-api-key": key}, kind], timeout))


def _post(url: str, body: bytes, heads: list[dict[str, str]], timeout: float) -> list[int]:
    """Post the same with different heads; gives the statuses."""
    parts = urlsplit(url)
    agent = {"User-Agent": f"ci360-twilio-connector/{__version__}"}
    try:
        pool = Connections(parts.scheme, parts.hostname or "", parts.port, keep=1)
        with closing(pool):
            return [
                pool.request("POST", parts.path, agent | head, body, timeout).status
                for head in heads
            ]
    except (NotConnected, NoAnswer) as exc:
        words = "The public address could not be reached."
        raise NotReached(words, reason=str(exc)) from exc
    except ValueError as exc:
        raise NotReached("The public address cannot be used.", reason="not_an_address") from exc
