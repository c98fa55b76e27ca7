"""Twilio's Messages resource as the twin keeps it: accounts, messages, and the rules for both.

No HTTP and no clock of its own: :mod:`ci360_twilio.twin.server` puts it on a socket, and a test may
call it as it is. Bodies of answers are what Twilio's OpenAPI description (2026-04) says; codes are
those of ``https://www.twilio.com/docs/api/errors``, the words are the twin's own. They quote numbers,
as Twilio's do, so that a client which logs them is found out in the rehearsal.

Out of scope: media and feedback resources, scheduling (so nothing can be canceled) and content
templates.
"""

from __future__ import annotations

import hmac
import random
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from enum import StrEnum
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import msgspec
import phonenumbers

from ci360_twilio.core.segments import count_segments

API_VERSION = "2010-04-01"
MAX_BODY = 1600
MAX_MEDIA = 10
MAX_VALIDITY = 36_000

Resource = dict[str, Any]
"""A body as Twilio answers it, before it is written as JSON or XML."""
Form = Mapping[str, Sequence[str]]
"""Decoded parameters of a form or a query; each may be repeated."""

ERRORS: Mapping[int, tuple[int, str]] = {
    20001: (400, "The parameters cannot be read."),
    20003: (401, "The account SID or API key, or its secret, is not right."),
    20004: (405, "This resource does not take this method."),
    20008: (403, "Test credentials cannot use this resource."),
    20404: (404, "There is nothing at {value}."),
    20422: (400, "The value of {value} is not allowed."),
    20429: (429, "Too many requests at a time; this one was not processed."),
    20500: (500, "Something went wrong inside the twin."),
    20503: (503, "The service is not available just now."),
    21211: (400, "{value} in 'To' is not a phone number."),
    21212: (400, "{value} in 'From' is neither a phone number, a short code nor a sender name."),
    21408: (400, "This account may not send to the country of {value}."),
    21602: (400, "A message needs 'Body' or 'MediaUrl'."),
    21603: (400, "A message needs 'From' or 'MessagingServiceSid'."),
    21604: (400, "A message needs 'To'."),
    21606: (400, "{value} in 'From' cannot send messages for this account."),
    21609: (400, "The address in 'StatusCallback' cannot be used."),
    21610: (400, "{value} has opted out of messages from this sender."),
    21611: (400, "The queue of {value} is full."),
    21612: (400, "{value} cannot be reached from this sender."),
    21614: (400, "{value} is not a mobile number."),
    21617: (400, f"The text is longer than {MAX_BODY} characters."),
    21620: (400, "An address in 'MediaUrl' cannot be used."),
    21623: (400, f"A message takes at most {MAX_MEDIA} media."),
    21624: (400, f"'ValidityPeriod' must be a whole number from 1 to {MAX_VALIDITY}."),
    21659: (400, "{value} in 'From' is not a number of this account."),
    21701: (400, "There is no Messaging Service {value}."),
    21705: (400, "{value} is not the SID of a Messaging Service."),
    21910: (400, "'From' and 'To' are not of the same channel."),
    30409: (400, "Only scheduled messages can be canceled."),
}

# https://www.twilio.com/docs/iam/test-credentials
MAGIC_TO: Mapping[str, int] = {
    "+15005550001": 21211,
    "+15005550002": 21612,
    "+15005550003": 21408,
    "+15005550004": 21610,
    "+15005550009": 21614,
}
MAGIC_FROM: Mapping[str, int] = {
    "+15005550001": 21212,
    "+15005550007": 21606,
    "+15005550008": 21611,
}
MAGIC_SENDER = "+15005550006"
"""The only sender that test credentials can use."""

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_SENDER = re.compile(r"[0-9]{3,8}|(?=.*[A-Za-z])[A-Za-z0-9 +\-_&.]{1,11}")
_CHANNEL = re.compile(r"(whatsapp|rcs|messenger):(.+)", re.DOTALL)
_SERVICE = re.compile(r"MG[0-9a-fA-F]{32}")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]+")

# https://www.twilio.com/docs/glossary/what-is-gsm-7-character-encoding


class Answer(msgspec.Struct, frozen=True):
    """What a request is answered with; ``body`` is ``None`` for a 204."""

    status: int
    body: Resource | None


class ApiError(Exception):
    """A request that Twilio would refuse: a status, a code, and words."""

    def __init__(self, code: int, value: str = "", *, status: int | None = None) -> None:
        usual, words = ERRORS.get(code, (400, "The twin was told to answer with this code."))
        super().__init__(words.format(value=value))
        self.code = code
        self.status = status or usual

    @property
    def answer(self) -> Answer:
        """The answer on the wire."""
        body = {
            "code": self.code,
            "message": str(self),
            "more_info": f"https://www.twilio.com/docs/errors/{self.code}",
            "status": self.status,
        }
        return Answer(self.status, body)


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinAccount:
    """An account the twin knows.

    Attributes:
        sid: ``AC`` and 32 hexadecimal digits.
        auth_token: the password that goes with it.
        api_keys: secrets by ``SK...``.
        numbers: what it may send from, as ``From`` is written; empty: anything.
        services: its Messaging Services; empty: any.
        test: whether these are test credentials, which make nothing.
    """

    sid: str
    auth_token: str = field(repr=False)
    api_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    numbers: Sequence[str] = ()
    services: Sequence[str] = ()
    test: bool = False


class MessageStatus(StrEnum):
    """What has become of a message."""

    QUEUED = "queued"
    ACCEPTED = "accepted"
    """By a Messaging Service, which has not chosen a sender yet."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was made. ``number`` counts them; ``at`` is in UTC."""

    number: int
    sid: str
    account: str
    to: str
    sender: str | None
    service: str | None
    body: str
    media: tuple[str, ...]
    status: MessageStatus
    at: datetime
    updated_at: datetime
    status_callback: str | None = None
    validity_period: int | None = None

    @property
    def resource(self) -> Resource:
        """The message as Twilio shows it."""
        uri = f"{_collection(self.account)}/{self.sid}"
        made_at = format_datetime(self.at)
        return {
            "account_sid": self.account,
            "api_version": API_VERSION,
            "body": self.body,
            "date_created": made_at,
            "date_sent": made_at,
            "date_updated": format_datetime(self.updated_at),
            "direction": "outbound-api",
            "error_code": None,
            "error_message": None,
            "from": self.sender,
            "messaging_service_sid": self.service,
            "num_media": str(len(self.media)),
            "num_segments": str(self._segments),
            "price": None,
            "price_unit": "USD",
            "sid": self.sid,
            "status": self.status,
            "subresource_uris": {"media": f"{uri}/Media.json", "feedback": f"{uri}/Feedback.json"},
            "to": self.to,
            "uri": f"{uri}.json",
        }

    @property
    def _segments(self) -> int:
        """Count parts; a Messaging Service does so only when it has chosen a sender."""
        if self.service:
            return 0
        return 1 if self.media else count_segments(self.body).count


class TwilioTwin:
    """Accounts and their messages. May be called from many threads.

    Args:
        accounts: who may call.
        clock: tells the time, in any zone; the twin has none of its own.
        seed: where SIDs come from; the same seed gives the same SIDs in the same order.
    """

    def __init__(
        self, *, accounts: Iterable[TwinAccount], clock: Callable[[], datetime], seed: int = 0
    ) -> None:
        self._accounts = {account.sid: account for account in accounts}
        self._secrets = {one.sid: (one.auth_token, one) for one in self._accounts.values()}
        for account in self._accounts.values():
            self._secrets |= {sid: (key, account) for sid, key in account.api_keys.items()}
        self._clock = clock
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._made = 0
        self._messages: dict[str, Message] = {}
        self._by_recipient: dict[tuple[str, str], list[str]] = {}

    @property
    def messages(self) -> tuple[Message, ...]:
        """All messages of all accounts, oldest first."""
        with self._lock:
            return tuple(self._messages.values())

    def rotate(self, sid: str, token: str) -> None:
        """Replace an account's token; the old one stops working at once.

        Raises:
            KeyError: there is no such account.
        """
        self._secrets[sid] = (token, self._accounts[sid])

    def authorize(self, user: str, password: str, account_sid: str) -> TwinAccount:
        """Check credentials, and that they are those of the account that is called.

        Args:
            user: an account SID or an API key.
            password: the account's token or the key's secret.
            account_sid: the account in the path.

        Raises:
            ApiError: 20003 for wrong credentials, 20404 for another's account.
        """
        secret, account = self._secrets.get(user, ("", None))
        if account is None or not hmac.compare_digest(secret.encode(), password.encode()):
            raise ApiError(20003)
        if account.sid != account_sid:
            raise ApiError(20404, _collection(account_sid))
        return account

    def create(self, account: TwinAccount, form: Form) -> Resource:
        """Make a message, or refuse with the code that Twilio gives.

        Test credentials get the same answer and make nothing.

        Raises:
            ApiError: the parameters are not a message that this account may send.
        """
        draft = _draft(account, form)
        with self._lock:
            self._made += 1
            at = self._clock().astimezone(UTC)
            prefix = "MM" if draft.media else "SM"
            message = Message(
                number=self._made,
                sid=f"{prefix}{self._random.getrandbits(128):032x}",
                account=account.sid,
                status=MessageStatus.ACCEPTED if draft.service else MessageStatus.QUEUED,
                at=at,
                updated_at=at,
                **draft._asdict(),
            )
            if not account.test:
                self._messages[message.sid] = message
                self._by_recipient.setdefault((account.sid, message.to), []).append(message.sid)
        return message.resource

    def fetch(self, account: TwinAccount, sid: str) -> Resource:
        """Show one message.

        Raises:
            ApiError: 20404 where the account has no such message.
        """
        with self._lock:
            message = self._get(account, sid)
        return message.resource

    def update(self, account: TwinAccount, sid: str, form: Form) -> Resource:
        """Redact a message: ``Body`` may be set to nothing, and nothing else can be changed.

        Raises:
            ApiError: there is no such message, or something else is asked for.
        """
        body, status = _one(form, "Body"), _one(form, "Status")
        with self._lock:
            message = self._get(account, sid)
            if status:
                raise ApiError(30409 if status == "canceled" else 20422, "Status")
            if body:
                raise ApiError(20422, "Body")
            if "Body" in form:
                at = self._clock().astimezone(UTC)
                message = msgspec.structs.replace(message, body="", updated_at=at)
                self._messages[sid] = message
        return message.resource

    def delete(self, account: TwinAccount, sid: str) -> None:
        """Forget one message.

        Raises:
            ApiError: 20404 where the account has no such message.
        """
        with self._lock:
            message = self._get(account, sid)
            del self._messages[sid]
            self._by_recipient[account.sid, message.to].remove(sid)

    def list_messages(self, account: TwinAccount, query: Form) -> Resource:
        """Show one page of messages, newest first.

        Filters are ``To``, ``From``, ``DateSent``, ``DateSent<`` and ``DateSent>``; the last two
        include the date, or the second, that they name. Pages hold their place while new messages
        arrive, if they are followed by ``next_page_uri``.

        Raises:
            ApiError: 20422 for a filter or a page that cannot be read.
        """
        _refuse_test(account)
        wanted, page = _Filter.read(query), _Page.read(query)
        with self._lock:
            if wanted.to:
                sids: Iterable[str] = reversed(self._by_recipient.get((account.sid, wanted.to), ()))
            else:
                sids = reversed(self._messages)
            found = [self._messages[sid] for sid in sids]
        found = [one for one in found if one.account == account.sid and wanted.matches(one)]
        return page.resource(_collection(account.sid), query, found)

    def _get(self, account: TwinAccount, sid: str) -> Message:
        _refuse_test(account)
        message = self._messages.get(sid)
        if message is None or message.account != account.sid:
            raise ApiError(20404, f"{_collection(account.sid)}/{sid}")
        return message


def _collection(account: str) -> str:
    return f"/{API_VERSION}/Accounts/{account}/Messages"


def _refuse_test(account: TwinAccount) -> None:
    if account.test:
        raise ApiError(20008)


def _one(form: Form, name: str) -> str:
    """Give a parameter's last value; absent and empty are the same."""
    values = form.get(name)
    return values[-1] if values else ""


class _Draft(NamedTuple):
    to: str
    sender: str | None
    service: str | None
    body: str
    media: tuple[str, ...]
    status_callback: str | None
    validity_period: int | None


def _draft(account: TwinAccount, form: Form) -> _Draft:
    to = _recipient(_one(form, "To"))
    sender, service = _sender(account, _one(form, "From"), _one(form, "MessagingServiceSid"))
    if sender and _channel(sender) != _channel(to):
        raise ApiError(21910)
    body, media = _content(form)
    return _Draft(
        to=to,
        sender=sender,
        service=service,
        body=body,
        media=media,
        status_callback=_callback(_one(form, "StatusCallback")),
        validity_period=_validity(_one(form, "ValidityPeriod")),
    )


def _recipient(to: str) -> str:
    if not to:
        raise ApiError(21604)
    if magic := MAGIC_TO.get(to):
        raise ApiError(magic, to)
    channel = _CHANNEL.fullmatch(to)
    number = channel[2] if channel else to
    if not (channel and channel[1] == "messenger") and not _is_number(number):
        raise ApiError(21211, to)
    return to


def _is_number(text: str) -> bool:
    if not _E164.fullmatch(text):
        return False
    try:
        return phonenumbers.is_possible_number(phonenumbers.parse(text))
    except phonenumbers.NumberParseException:
        return False


def _sender(account: TwinAccount, sender: str, service: str) -> tuple[str | None, str | None]:
    if not sender and not service:
        raise ApiError(21603)
    if service and not _SERVICE.fullmatch(service):
        raise ApiError(21705, service)
    if service and account.services and service not in account.services:
        raise ApiError(21701, service)
    if account.test and sender and sender != MAGIC_SENDER:
        raise ApiError(MAGIC_FROM.get(sender, 21606), sender)
    if sender and not (_E164.fullmatch(sender) or _SENDER.fullmatch(sender) or _channel(sender)):
        raise ApiError(21212, sender)
    if sender and not account.test and account.numbers and sender not in account.numbers:
        raise ApiError(21659 if _E164.fullmatch(sender) else 21606, sender)
    return sender or None, service or None


def _channel(address: str) -> str:
    """Name the channel of an address; a plain number, short code or name has none."""
    channel = _CHANNEL.fullmatch(address)
    return channel[1] if channel else ""


def _content(form: Form) -> tuple[str, tuple[str, ...]]:
    body, media = _one(form, "Body"), tuple(url for url in form.get("MediaUrl", ()) if url)
    if not body and not media:
        raise ApiError(21602)
    if len(body) > MAX_BODY:
        raise ApiError(21617)
    if len(media) > MAX_MEDIA:
        raise ApiError(21623)
    if not all(_is_web_address(url) for url in media):
        raise ApiError(21620)
    return body, media


def _callback(url: str) -> str | None:
    if url and (len(url) > 4000 or not _is_web_address(url)):
        raise ApiError(21609)
    return url or None


def _is_web_address(url: str) -> bool:
    """Tell whether Twilio could call it: http(s), and a host without underscores."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(
            parts.port != 0 and _HOST.fullmatch(parts.hostname or "")
        )
    except ValueError:
        return False


def _validity(text: str) -> int | None:
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= MAX_VALIDITY:
        raise ApiError(21624)
    return int(text)


class _Filter(NamedTuple):
    """What to list: messages sent in ``[since, until)``."""

    to: str
    sender: str
    since: datetime
    until: datetime

    @classmethod
    def read(cls, query: Form) -> _Filter:
        since, until = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
        if day := _one(query, "DateSent"):
            # a client may send midnight for a day, and nobody asks for one second
            since, until = _span("DateSent", day[:10])
        if text := _one(query, "DateSent>"):
            since = max(since, _span("DateSent>", text)[0])
        if text := _one(query, "DateSent<"):
            until = min(until, _span("DateSent<", text)[1])
        return cls(_one(query, "To"), _one(query, "From"), since, until)

    def matches(self, message: Message) -> bool:
        # dates are shown in whole seconds, so that is what they are compared by
        at = message.at.replace(microsecond=0)
        return self.since <= at < self.until and self.sender in ("", message.sender)


def _span(name: str, text: str) -> tuple[datetime, datetime]:
    """Read a date, which is a day, or a date-time, which is a second; UTC unless it says else."""
    try:
        at = datetime.fromisoformat(text).replace(microsecond=0)
        at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
        return at, at + (timedelta(days=1) if len(text) <= 10 else timedelta(seconds=1))
    except (ValueError, OverflowError):
        raise ApiError(20422, name) from None


class _Page(NamedTuple):
    """Which part of a list to show.

    A token names the message at the edge of the page it was given with: ``PA`` the last one, to be
    followed by older ones, ``PB`` the first one, to be preceded by newer ones.
    """

    page: int
    size: int
    token: str

    @classmethod
    def read(cls, query: Form) -> _Page:
        size, page = _one(query, "PageSize") or "50", _one(query, "Page") or "0"
        token = _one(query, "PageToken")
        if not re.fullmatch(r"[0-9]{1,4}", size) or not 1 <= int(size) <= 1000:
            raise ApiError(20422, "PageSize")
        if not re.fullmatch(r"[0-9]{1,9}", page):
            raise ApiError(20422, "Page")
        if token and not re.fullmatch(r"P[AB][0-9a-f]{16}", token):
            raise ApiError(20422, "PageToken")
        return cls(int(page), int(size), token)

    def resource(self, collection: str, query: Form, found: Sequence[Message]) -> Resource:
        start = self._start(found)
        shown = found[start : start + self.size]
        kept = [
            (name, value)
            for name, values in query.items()
            if name in ("To", "From", "DateSent", "DateSent<", "DateSent>")
            for value in values[-1:]
        ]

        def uri(page: int, token: str = "") -> str:
            place = [("PageSize", str(self.size)), ("Page", str(page))]
            tokens = [("PageToken", token)] if token else []
            return f"{collection}.json?{urlencode([*kept, *place, *tokens])}"

        following = start + self.size < len(found)
        before = self.page > 0 and start > 0 and bool(shown)
        first = self.page * self.size
        return {
            "end": first + max(0, len(shown) - 1),
            "first_page_uri": uri(0),
            "messages": [message.resource for message in shown],
            "next_page_uri": uri(self.page + 1, f"PA{shown[-1].number:016x}")
            if following
            else None,
            "page": self.page,
            "page_size": self.size,
            "previous_page_uri": uri(self.page - 1, f"PB{shown[0].number:016x}")
            if before
            else None,
            "start": first,
            "uri": uri(self.page, self.token),
        }

    def _start(self, found: Sequence[Message]) -> int:
        if not self.token:
            return self.page * self.size
        edge = int(self.token[2:], 16)
        newer = sum(message.number > edge for message in found)
        if self.token.startswith("PB"):
            return max(0, newer - self.size)
        return newer + sum(message.number == edge for message in found)
