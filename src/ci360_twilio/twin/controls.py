"""The twin's own resources under ``/twin/``: what people and tests see and steer it by.

``GET /twin/messages``, ``/twin/letters`` and ``/twin/callbacks`` show; ``POST`` to ``/twin/phones`` and
``/twin/conversation`` shows a part of it, to ``/twin/letters`` has a customer write, and to
``/twin/faults``, ``/twin/weather``, ``/twin/fates``, ``/twin/account`` and ``/twin/token`` plans and
changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from ci360_twilio.twin.answer import Answer
from ci360_twilio.twin.faults import FaultPlan
from ci360_twilio.twin.loopback import names_loopback
from ci360_twilio.twin.message import Message
from ci360_twilio.twin.phone import Letter
from ci360_twilio.twin.twilio import TwilioTwin
from ci360_twilio.twin.wire import Request


class _FaultOrder(msgspec.Struct, forbid_unknown_fields=True):
    """Body of ``POST /twin/faults``: faults of one recipient, shares of chance, or a burst."""

    to: str = ""
    faults: list[str] = []
    share: dict[str, float] | None = None
    asking: dict[str, float] = {}
    seed: int = 0
    burst: str | None = None
    """Empty to end it."""
    requests: int | None = None


class _WeatherOrder(msgspec.Struct, forbid_unknown_fields=True):
    """Body of ``POST /twin/weather``: mishaps of one recipient, or shares of chance."""

    to: str = ""
    mishaps: list[str] = []
    share: dict[str, float] | None = None
    seed: int = 0


class _FateOrder(msgspec.Struct, forbid_unknown_fields=True):
    """Body of ``POST /twin/fates``."""

    to: str
    fates: list[str]


class _AccountOrder(msgspec.Struct, forbid_unknown_fields=True):
    """Body of ``POST /twin/account``; what is left out stays as it is."""

    account: str
    numbers: list[str] | None = None
    close: list[str] = []
    """Calling codes of countries to close."""
    open: list[str] = []
    suspended: bool | None = None
    inbound_url: str | None = None
    fallback_url: str | None = None
    blocks: bool | None = None
    """Whether STOP is heeded by the twin itself."""
    advanced: bool | None = None


class _LetterOrder(msgspec.Struct, forbid_unknown_fields=True):
    """Body of ``POST /twin/letters``: what a customer writes."""

    account: str
    sender: str = msgspec.field(name="from")
    to: str = ""
    """Whoever wrote to the customer last, unless told."""
    body: str = ""
    media: list[str] = []
    button_text: str = ""
    button_payload: str = ""


class _PhonesOrder(msgspec.Struct, forbid_unknown_fields=True):
    """Body of ``POST /twin/phones`` and ``/twin/conversation``."""

    account: str
    customer: str = ""
    most: int = 50


class _TokenOrder(msgspec.Struct, forbid_unknown_fields=True):
    """Body of ``POST /twin/token``."""

    account: str
    token: str


class Controls:
    """Answers requests for the twin's own resources.

    Args:
        twin: whose messages they are.
        faults: what goes wrong.
        deliveries: counts what became of callbacks.
    """

    def __init__(
        self, twin: TwilioTwin, faults: FaultPlan, deliveries: Callable[[], Mapping[str, int]]
    ) -> None:
        self._twin, self._faults, self._deliveries = twin, faults, deliveries
        self._actions: dict[tuple[str, str], Callable[[bytes], Answer]] = {
            ("GET", "/twin/messages"): self._show,
            ("GET", "/twin/callbacks"): self._show_callbacks,
            ("GET", "/twin/letters"): self._show_letters,
            ("POST", "/twin/letters"): self._write,
            ("POST", "/twin/phones"): self._show_phones,
            ("POST", "/twin/conversation"): self._show_conversation,
            ("POST", "/twin/faults"): self._plan,
            ("POST", "/twin/weather"): self._set_weather,
            ("POST", "/twin/fates"): self._plan_fates,
            ("POST", "/twin/account"): self._alter,
            ("POST", "/twin/token"): self._rotate,
        }

    def answer(self, request: Request) -> Answer:
        """Do what a request asks for."""
        # A page in somebody's browser must not steer the twin, under whatever name it knows it.
        if "origin" in request.headers or not names_loopback(request.headers.get("host", "")):
            return _problem(403, "only for this machine, and not for web pages")
        action = self._actions.get((request.method, request.path))
        if action is None:
            known = any(path == request.path for _, path in self._actions)
            return _problem(405 if known else 404, "no such resource or method")
        try:
            return action(request.body)
        except KeyError:
            return _problem(404, "no such account")
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as exc:
            return _problem(400, str(exc))

    def _show(self, _body: bytes) -> Answer:
        messages = [
            {
                "sid": message.sid,
                "account": message.account,
                "to": message.to,
                "from": message.sender,
                "messaging_service": message.service,
                "body": message.body,
                "media": message.media,
                "status": message.status,
                "status_callback": message.status_callback,
                "validity_period": message.validity_period,
                "at": message.at,
            }
            for message in self._twin.messages
        ]
        return Answer(200, {"messages": messages, "requests": self._faults.attempts})

    def _show_callbacks(self, _body: bytes) -> Answer:
        return Answer(
            200, {"callbacks": dict(self._deliveries()), "overflows": self._twin.overflows}
        )

    def _show_letters(self, _body: bytes) -> Answer:
        letters = [
            {
                "sid": letter.sid,
                "account": letter.account,
                "from": letter.sender,
                "to": letter.to,
                "body": letter.body,
                "media": letter.media,
                "at": letter.at,
            }
            for letter in self._twin.letters
        ]
        return Answer(200, {"letters": letters})

    def _show_phones(self, body: bytes) -> Answer:
        order = msgspec.json.decode(body, type=_PhonesOrder)
        self._twin.check_account(order.account)
        found = self._twin.phones(order.account, order.most)
        return Answer(200, {"phones": [_on_a_phone(message) for message in found]})

    def _show_conversation(self, body: bytes) -> Answer:
        order = msgspec.json.decode(body, type=_PhonesOrder)
        self._twin.check_account(order.account)
        found = self._twin.conversation(order.account, order.customer, order.most)
        return Answer(200, {"messages": [_on_a_phone(message) for message in found]})

    def _write(self, body: bytes) -> Answer:
        order = msgspec.json.decode(body, type=_LetterOrder)
        self._twin.check_account(order.account)
        to = order.to or self._twin.last_sender(order.account, order.sender)
        if not to:
            return _problem(400, "nobody has written to that phone; say to whom it writes")
        letter = Letter(
            sender=order.sender,
            to=to,
            body=order.body,
            media=tuple(order.media),
            button_text=order.button_text,
            button_payload=order.button_payload,
        )
        message = self._twin.write(order.account, letter)
        return Answer(201, {"sid": message.sid, "to": to})

    def _plan(self, body: bytes) -> Answer:
        order = msgspec.json.decode(body, type=_FaultOrder)
        if not order.to and order.share is None and order.burst is None:
            return _problem(400, "wants to and faults, or share, or burst")
        if order.to:
            self._faults.for_recipient(order.to, order.faults)
        if order.share is not None:
            self._faults.set_share(order.share, asking=order.asking, seed=order.seed)
        if order.burst:
            self._faults.burst(order.burst, requests=order.requests)
        elif order.burst is not None:
            self._faults.end_burst()
        return Answer(204, None)

    def _set_weather(self, body: bytes) -> Answer:
        order = msgspec.json.decode(body, type=_WeatherOrder)
        if not order.to and order.share is None:
            return _problem(400, "wants to and mishaps, or share")
        if order.to:
            self._twin.weather.for_recipient(order.to, order.mishaps)
        if order.share is not None:
            self._twin.weather.set_share(order.share, seed=order.seed)
        return Answer(204, None)

    def _plan_fates(self, body: bytes) -> Answer:
        order = msgspec.json.decode(body, type=_FateOrder)
        self._twin.plan_fates(order.to, order.fates)
        return Answer(204, None)

    def _alter(self, body: bytes) -> Answer:
        order = msgspec.json.decode(body, type=_AccountOrder)
        self._twin.check_account(order.account)
        if order.numbers is not None:
            self._twin.set_numbers(order.account, order.numbers)
        for code in order.close:
            self._twin.close_country(order.account, code)
        for code in order.open:
            self._twin.open_country(order.account, code)
        if order.suspended is not None:
            self._twin.suspend(order.account, order.suspended)
        names = ("inbound_url", "fallback_url", "blocks", "advanced")
        changes = {name: getattr(order, name) for name in names}
        self._twin.set_inbound(
            order.account, **{name: to for name, to in changes.items() if to is not None}
        )
        return Answer(204, None)

    def _rotate(self, body: bytes) -> Answer:
        order = msgspec.json.decode(body, type=_TokenOrder)
        self._twin.rotate(order.account, order.token)
        return Answer(204, None)


def _on_a_phone(message: Message) -> dict[str, object]:
    """Show a message as its customer's phone has it."""
    return {
        "sid": message.sid,
        "customer": message.customer,
        "ours": message.ours,
        "is_theirs": message.inbound,
        "body": message.body,
        "media": message.media,
        "status": message.status,
        "at": message.at,
    }


def _problem(status: int, words: str) -> Answer:
    return Answer(status, {"error": words})
