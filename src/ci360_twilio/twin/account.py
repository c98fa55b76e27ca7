"""The accounts that the twin knows, and what each may do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ci360_twilio.twin.life import Life


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinAccount:
    """An account the twin knows.

    Attributes:
        sid: ``AC`` and 32 hexadecimal digits.
        auth_token: the password that goes with it; callbacks are signed with it.
        api_keys: secrets by ``SK...``.
        numbers: what it may send from, as ``From`` is written; empty: anything.
        services: its Messaging Services, which choose among ``numbers``; empty: any.
        closed: calling codes of the countries that it may not send to, such as ``44``.
        suspended: whether it may not send at all.
        test: whether these are test credentials, which make nothing.
        life: what becomes of its messages; ``None`` leaves them as they were made.
        inbound_url: where customers' messages are posted to; nowhere if empty.
        fallback_url: where they are posted to once that address is given up.
        blocks: whether a customer who wrote STOP gets no more from that number or service (21610).
        advanced: whether Advanced Opt-Out is on: webhooks say what a text was taken for.
    """

    sid: str
    auth_token: str = field(repr=False)
    api_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    numbers: Sequence[str] = ()
    services: Sequence[str] = ()
    closed: Sequence[str] = ()
    suspended: bool = False
    test: bool = False
    life: Life | None = None
    inbound_url: str = ""
    fallback_url: str = ""
    blocks: bool = True
    advanced: bool = False
