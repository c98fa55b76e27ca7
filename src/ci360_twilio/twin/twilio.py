"""Twilio's Messages resource as the twin keeps it: accounts, messages, and what becomes of them.

No HTTP and no clock of its own: :mod:`ci360_twilio.twin.server` puts it on a socket,
:mod:`ci360_twilio.twin.inside` behind the client's methods, and a test may call it as it is. Bodies
of answers are what Twilio's OpenAPI description (2026-04) says; codes are those of
``https://www.twilio.com/docs/api/errors``, the words are the twin's own. They quote numbers, as
Twilio's do, so that a client which logs them is found out in the rehearsal.

Out of scope: media and feedback resources, scheduling (so nothing can be canceled) and content
templates.
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from ci360_twilio.twin.account import TwinAccount
from ci360_twilio.twin.answer import ERRORS, Answer, ApiError, Form, Resource, collection, one
from ci360_twilio.twin.book import Book
from ci360_twilio.twin.callback import Callback, Failing, repeated
from ci360_twilio.twin.life import Life
from ci360_twilio.twin.message import Message, MessageStatus
from ci360_twilio.twin.pages import Filter, Page
from ci360_twilio.twin.phone import Blocks, Letter, webhook_of
from ci360_twilio.twin.rules import Draft, read_draft, refuse_test
from ci360_twilio.twin.signature import sign
from ci360_twilio.twin.weather import CALM, Weather

__all__ = [
    "ERRORS",
    "Answer",
    "ApiError",
    "Form",
    "Message",
    "MessageStatus",
    "Resource",
    "TwilioTwin",
    "TwinAccount",
]

_SECOND = timedelta(seconds=1)
OPTED_OUT = 21610
"""The recipient wrote STOP: at once for a number, later by a callback for a Messaging Service."""


_LOOKED_THROUGH = 20_000
"""Messages among which those of phones are looked for: a page asks every few seconds."""


class TwilioTwin:
    """Accounts and their messages. May be called from many threads.

    Where an account has a life, somebody with a clock calls :meth:`advance` at
    :attr:`next_change_at`, and delivers the callbacks it gives. All chance comes from the seeds and
    from what is asked for: the same calls at the same times give the same run.

    Args:
        accounts: who may call.
        clock: tells the time, in any zone; the twin has none of its own.
        seed: where SIDs and lives come from; the same seed gives the same SIDs in the same order.
        weather: what befalls messages and callbacks later; nothing by default.
    """

    def __init__(
        self,
        *,
        accounts: Iterable[TwinAccount],
        clock: Callable[[], datetime],
        seed: int = 0,
        weather: Weather | None = None,
    ) -> None:
        self.weather = weather or Weather()
        self._accounts = {account.sid: account for account in accounts}
        self._secrets = {one.sid: (one.auth_token, one.sid) for one in self._accounts.values()}
        for account in self._accounts.values():
            self._secrets |= {sid: (key, account.sid) for sid, key in account.api_keys.items()}
        self._clock = clock
        self._lock = threading.Lock()
        self._book = Book(seed, self.weather)
        self._blocks = Blocks()

    @property
    def messages(self) -> tuple[Message, ...]:
        """All messages that accounts sent, oldest first."""
        with self._lock:
            return tuple(one for one in self._book if not one.inbound)

    @property
    def letters(self) -> tuple[Message, ...]:
        """All messages that customers sent, oldest first."""
        with self._lock:
            return tuple(one for one in self._book if one.inbound)

    @property
    def overflows(self) -> dict[str, int]:
        """How often the queue of each sender was full."""
        with self._lock:
            return dict(self._book.queues.overflows)

    @property
    def lives(self) -> bool:
        """Whether messages of any account change by themselves, or customers' are posted anywhere."""
        return any(one.life or one.inbound_url for one in self._accounts.values())

    def now(self) -> datetime:
        """Give the time of the twin's clock."""
        return self._clock()

    def next_change_at(self) -> datetime | None:
        """Tell when the next message changes or the next callback is due; ``None`` if nothing is to come."""
        with self._lock:
            return self._book.next_at

    def rotate(self, sid: str, token: str) -> None:
        """Replace an account's token; the old one stops working, and signing, at once.

        Raises:
            KeyError: there is no such account.
        """
        self.check_account(sid)
        self._secrets[sid] = (token, sid)

    def check_account(self, sid: str) -> None:
        """Raise ``KeyError`` where there is no such account."""
        _ = self._accounts[sid]

    def set_numbers(self, sid: str, numbers: Sequence[str]) -> None:
        """Replace what an account may send from; empty: anything. Raises as :meth:`rotate`."""
        self._alter(sid, numbers=tuple(numbers))

    def close_country(self, sid: str, code: str) -> None:
        """Refuse recipients with a calling code, such as ``44``. Raises as :meth:`rotate`."""
        self._alter(sid, closed=tuple({*self._accounts[sid].closed, code}))

    def open_country(self, sid: str, code: str) -> None:
        """Take recipients with a calling code again. Raises as :meth:`rotate`."""
        self._alter(sid, closed=tuple({*self._accounts[sid].closed} - {code}))

    def suspend(self, sid: str, suspended: bool = True) -> None:
        """Suspend an account, or make it active again. Raises as :meth:`rotate`."""
        self._alter(sid, suspended=suspended)

    def set_life(self, sid: str, life: Life | None) -> None:
        """Replace the life of messages that are made from now on. Raises as :meth:`rotate`."""
        self._alter(sid, life=life)

    def set_inbound(self, sid: str, **changes: Any) -> None:
        """Change where customers' messages go, and whether STOP is heeded. Raises as :meth:`rotate`.

        Takes ``inbound_url``, ``fallback_url``, ``blocks`` and ``advanced`` of :class:`TwinAccount`.
        """
        self._alter(sid, **changes)

    def last_sender(self, sid: str, customer: str) -> str | None:
        """Give the number from which a customer heard last."""
        with self._lock:
            heard = self._book.find(sid, customer)
        senders = (one.sender or one.via for one in heard if not one.inbound)
        return next((sender for sender in senders if sender), None)

    def phones(self, sid: str, most: int) -> list[Message]:
        """Give the latest message from or to each customer, newest first, for so many customers."""
        found: dict[str, Message] = {}
        with self._lock:
            self._catch_up()
            for message in self._book.newest(_LOOKED_THROUGH):
                if message.account == sid and len(found) < most:
                    found.setdefault(message.customer, message)
        return [*found.values()]

    def conversation(self, sid: str, customer: str, most: int) -> list[Message]:
        """Give what was written between an account and a customer lately, newest first."""
        with self._lock:
            self._catch_up()
            return [
                message
                for message in self._book.newest(_LOOKED_THROUGH)
                if message.account == sid and message.customer == customer
            ][:most]

    def write(self, sid: str, letter: Letter) -> Message:
        """Have a customer write to a number of an account; gives the message that Twilio makes of it.

        Raises:
            KeyError: there is no such account.
        """
        account = self._accounts[sid]
        with self._lock:
            at = self._clock().astimezone(UTC)
            service = self._book.answering(sid, letter.sender, letter.to)
            message = Message(
                number=0,
                sid=self._book.new_sid(letter.media),
                account=sid,
                to=letter.to,
                sender=letter.sender,
                service=service,
                body=letter.body,
                media=letter.media,
                status=MessageStatus.RECEIVED,
                at=at,
                updated_at=at,
                inbound=True,
            )
            self._blocks.read(sid, service or letter.to, letter.sender, letter.body)
            self._book.receive(account, message, webhook_of(account, message, letter, at))
        return message

    def plan_fates(self, to: str, fates: Iterable[str]) -> None:
        """Plan the fates of the next messages to a recipient, in place of those still planned.

        Raises:
            ValueError: a fate is not known; see :func:`ci360_twilio.twin.life.parse_fate`.
        """
        with self._lock:
            self._book.plan_fates(to, fates)

    def authorize(self, user: str, password: str, account_sid: str | None = None) -> TwinAccount:
        """Check credentials, and that they are those of the account that is called.

        Args:
            user: an account SID or an API key.
            password: the account's token or the key's secret.
            account_sid: the account in the path; ``None`` where the path has none.

        Raises:
            ApiError: 20003 for wrong credentials, 20404 for another's account.
        """
        secret, sid = self._secrets.get(user, ("", ""))
        if not sid or not hmac.compare_digest(secret.encode(), password.encode()):
            raise ApiError(20003)
        if account_sid not in (None, sid):
            raise ApiError(20404, collection(account_sid or ""))
        return self._accounts[sid]

    def create(self, account: TwinAccount, form: Form) -> Resource:
        """Make a message, or refuse with the code that Twilio gives.

        Test credentials get the same answer and make nothing.

        Raises:
            ApiError: the parameters are not a message that this account may send.
        """
        draft = read_draft(account, form)
        with self._lock:
            at = self._clock().astimezone(UTC)
            place = draft.service or draft.sender or ""
            blocked = account.blocks and self._blocks.block(account.sid, place, draft.to)
            if blocked and draft.sender:
                raise ApiError(OPTED_OUT, draft.to)
            message = self._make(account, draft, at)
            if blocked:  # a Messaging Service takes the message first
                self._book.refuse_later(account, message, OPTED_OUT)
            elif not account.test:
                self._book.enter(account, message)
        return message.resource

    def fetch(self, account: TwinAccount, sid: str) -> Resource:
        """Show one message.

        Raises:
            ApiError: 20404 where the account has no such message.
        """
        with self._lock:
            self._catch_up()
            message = self._get(account, sid)
        return message.shown

    def update(self, account: TwinAccount, sid: str, form: Form) -> Resource:
        """Redact a message: ``Body`` may be set to nothing, and nothing else can be changed.

        Raises:
            ApiError: there is no such message, or something else is asked for.
        """
        body, status = one(form, "Body"), one(form, "Status")
        with self._lock:
            message = self._get(account, sid)
            if status:
                raise ApiError(30409 if status == "canceled" else 20422, "Status")
            if body:
                raise ApiError(20422, "Body")
            if "Body" in form:
                at = self._clock().astimezone(UTC)
                message = msgspec.structs.replace(message, body="", updated_at=at)
                self._book.alter(message)
        return message.shown

    def delete(self, account: TwinAccount, sid: str) -> None:
        """Forget one message.

        Raises:
            ApiError: 20404 where the account has no such message.
        """
        with self._lock:
            message = self._get(account, sid)
            self._book.remove(message)

    def list_messages(self, account: TwinAccount, query: Form) -> Resource:
        """Show one page of messages, newest first.

        Filters are ``To``, ``From``, ``DateSent``, ``DateSent<`` and ``DateSent>``; the last two
        include the date, or the second, that they name. Pages hold their place while new messages
        arrive, if they are followed by ``next_page_uri``.

        Raises:
            ApiError: 20422 for a filter or a page that cannot be read.
        """
        refuse_test(account)
        wanted, page = Filter.read(query), Page.read(query)
        with self._lock:
            self._catch_up()
            found = [one for one in self._book.find(account.sid, wanted.to) if wanted.matches(one)]
            if any(one.lot is not CALM for one in found):
                now = self._clock()
                found = [one for one in found if one.lot.is_seen((now - one.at) / _SECOND)]
        return page.resource(collection(account.sid), query, found)

    def advance(self, now: datetime) -> list[Callback]:
        """Let happen what is due until now, and give the callbacks to deliver, in order.

        Each is signed with the token that its account has now.
        """
        with self._lock:
            self._book.run(now)
            return [
                msgspec.structs.replace(
                    callback,
                    at=at,
                    signature=sign(
                        self._secrets[callback.form["AccountSid"]][0], callback.url, callback.form
                    ),
                )
                for at, callback in self._book.posts.until(now)
            ]

    def failed(self, callback: Callback, now: datetime, how: Failing = Failing.CONNECT) -> bool:
        """Hear that a callback could not be delivered; tell whether it will be repeated."""
        again = repeated(callback, now, how)
        if again is not None:
            with self._lock:
                self._book.posts.put(again.at, again)
        return again is not None

    def _alter(self, sid: str, **changes: Any) -> None:
        with self._lock:
            self._accounts[sid] = replace(self._accounts[sid], **changes)

    def _get(self, account: TwinAccount, sid: str) -> Message:
        refuse_test(account)
        message = self._book.get(sid)
        if message is None or message.account != account.sid:
            raise ApiError(20404, f"{collection(account.sid)}/{sid}")
        return message

    def _make(self, account: TwinAccount, draft: Draft, at: datetime) -> Message:
        return Message(
            number=0,
            sid=self._book.new_sid(draft.media),
            account=account.sid,
            status=MessageStatus.ACCEPTED if draft.service else MessageStatus.QUEUED,
            at=at,
            updated_at=at,
            **draft._asdict(),
        )

    def _catch_up(self) -> None:
        """Show messages as they are now; asks for the time only if that could matter."""
        if self._book.changes:
            self._book.run(self._clock())
