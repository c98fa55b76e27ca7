"""Twilio's Messages resource: one request per call, every answer and failure mapped once."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote_plus, urlencode, urlsplit

from ci360_twilio import __version__
from ci360_twilio.clients.answers import (
    NO_SUCH_RESOURCE,
    check_account,
    next_query,
    read_answer,
    read_inbound,
    read_list,
    read_resource,
    read_rows,
    unreadable,
)
from ci360_twilio.clients.connections import Connections, HttpAnswer, NoAnswer, NotConnected
from ci360_twilio.core.inbound import Heard
from ci360_twilio.core.match import Listed
from ci360_twilio.core.message import Message
from ci360_twilio.core.receipt import Receipt, parse_resource
from ci360_twilio.core.tenant import Tenant
from ci360_twilio.errors import AnswerLost, NotReached, TwilioRefused

PAGE_SIZE = 100
MAX_PAGES = 10
"""A recipient with more than a thousand messages in the days that are looked through is no
customer; a list that goes on is given up as a lost answer."""

INBOUND_PAGE_SIZE = 1_000
MAX_INBOUND_PAGES = 50
"""Customers' messages to one number in some hours; more than these are looked at in the next hours."""
_API_HOST = re.compile(r"api\.(?:[a-z0-9-]+\.)*twilio\.com(?::443)?$", re.IGNORECASE)

_MAY_SEND_ALL_THE_SAME = frozenset({20003, 20008, 70051})
"""Codes of a 403 for credentials that Twilio knows and that may not look: restricted keys and test
credentials."""

Address = tuple[str, str, int | None]


class InboundWebhook(NamedTuple):
    """Where texts are posted, as the account has it; empty where nowhere."""

    url: str
    fallback: str


class TwilioClient:
    """Sends messages; keeps one pool of connections per address, safe for many threads."""

    def __init__(self, *, connections: int = 100) -> None:
        """Make a client that holds up to ``connections`` connections per address."""
        self._connections = connections
        self._pools: dict[Address, Connections] = {}
        self._headers: dict[tuple[str, str], dict[str, str]] = {}

    def send(
        self,
        message: Message,
        tenant: Tenant,
        *,
        validity: int,
        timeout: float,
        callback: str | None = None,
    ) -> Receipt:
        """Post one message; see :class:`ci360_twilio.ports.Sender` for the contract."""
        form = encode_form(message, validity=validity, callback=callback).encode()
        return read_answer(self._request("POST", tenant.messages_url, tenant, form, timeout))

    def search(
        self, tenant: Tenant, to: str, *, since: datetime | None = None, timeout: float = 10.0
    ) -> list[Listed]:
        """List messages to a recipient; see :class:`ci360_twilio.ports.Finder` for the contract.

        Pages are followed on the tenant's own address: of what Twilio gives for the next page only
        the query is taken. ``timeout`` is for each of them.

        A list is whole or none: where it does not end within :data:`MAX_PAGES`, or an answer in it
        is no list, the answer is lost, since what seems missing may be sent again some day.

        ``since`` filters by the date of sending, which rows of a Messaging Service may not have yet;
        whether Twilio shows those is not documented. So where nothing is shown that was made since
        then, the newest page without a filter is added.
        """
        query = {"To": to, "PageSize": str(PAGE_SIZE)}
        if since is None:
            return self._all_pages(tenant, urlencode(query), timeout)
        day = since.astimezone(UTC) - timedelta(days=1)
        dated = query | {"DateSent>": f"{day:%Y-%m-%d}T00:00:00Z"}
        rows = self._all_pages(tenant, urlencode(dated), timeout)
        if not any(row.created_at and row.created_at >= since for row in rows):
            rows += read_rows(self._page(tenant, urlencode(query), timeout))
        return list({row.receipt.sid: row for row in rows}.values())

    def _all_pages(self, tenant: Tenant, query: str, timeout: float) -> list[Listed]:
        rows: list[Listed] = []
        for _ in range(MAX_PAGES):
            page = self._page(tenant, query, timeout)
            rows += read_rows(page)
            following = next_query(page)
            if following is None:
                return rows
            query = following
        raise AnswerLost("Twilio's list is too long to be read.", reason="list_too_long")

    def _page(self, tenant: Tenant, query: str, timeout: float) -> dict[str, Any]:
        return self._get(tenant, f"{tenant.messages_url}?{query}", timeout)

    def fetch(self, tenant: Tenant, sid: str, *, timeout: float = 10.0) -> Receipt | None:
        """Ask for one message; see :class:`ci360_twilio.ports.Finder` for the contract."""
        if not (sid.isascii() and sid.isalnum()):
            return None
        url = f"{tenant.messages_url.removesuffix('.json')}/{sid}.json"
        try:
            receipt = parse_resource(self._get(tenant, url, timeout))
        except TwilioRefused as exc:
            if exc.twilio_code == NO_SUCH_RESOURCE:  # any other 404 is not from Twilio
                return None
            raise
        if receipt is None or receipt.sid != sid:
            raise unreadable()
        return receipt

    def inbound(
        self, tenant: Tenant, number: str, *, since: datetime, timeout: float = 10.0
    ) -> Iterator[list[Heard]]:
        """List messages to a number of ours; see :class:`ci360_twilio.ports.Lister`.

        A list is given up after :data:`MAX_INBOUND_PAGES`, as a lost answer: the messages that were
        given are customers' all the same.
        """
        day = f"{since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        query = urlencode({"To": number, "PageSize": str(INBOUND_PAGE_SIZE), "DateSent>": day})
        for _ in range(MAX_INBOUND_PAGES):
            page = self._page(tenant, query, timeout)
            yield read_inbound(page)
            following = next_query(page)
            if following is None:
                return
            query = following
        raise AnswerLost("Twilio's list is too long to be read.", reason="list_too_long")

    def service_numbers(self, tenant: Tenant, service: str, *, timeout: float = 10.0) -> list[str]:
        """List a Messaging Service's numbers; see :class:`ci360_twilio.ports.Lister`.

        Services live beside the messages: at ``messaging.twilio.com`` where these are at
        ``api.twilio.com``, and at the same place where that is no host of Twilio's.
        """
        url = f"{_messaging_url(tenant)}/v1/Services/{service}/PhoneNumbers?PageSize=1000"
        try:
            rows = read_list(self._get(tenant, url, timeout), "phone_numbers")
        except TwilioRefused as exc:
            if exc.twilio_code == NO_SUCH_RESOURCE:
                return []
            raise
        numbers = (row.get("phone_number") for row in rows)
        return [number for number in numbers if isinstance(number, str)]

    def probe(self, tenant: Tenant, *, timeout: float = 10.0) -> str | None:
        """Ask Twilio for something that sends nothing, to see whether the credentials fit.

        With the auth token that is the account. Of API keys only main ones may see it: Twilio
        answers others with 401 and 20003, as if they were wrong (docs/api/errors/20003,
        docs/iam/api-keys/keys-in-console). So with a key it is one message of the list. A restricted
        key that may only send, or test credentials, are answered 403: they fit. An account that can
        be seen and is not active is as if it were refused.

        Returns:
            The ``Date`` of the answer, if it has one.

        Raises:
            NotReached, TwilioRefused, AnswerLost: as :meth:`send`.
        """
        with_token = tenant.user == tenant.account
        url = f"{_account_url(tenant)}.json" if with_token else f"{tenant.messages_url}?PageSize=1"
        answer = self._request("GET", url, tenant, None, timeout)
        try:
            found = read_resource(answer)
        except TwilioRefused as exc:
            known = exc.twilio_code in _MAY_SEND_ALL_THE_SAME
            if exc.status == HTTPStatus.FORBIDDEN and known:
                return answer.headers.get("Date")
            raise
        if with_token:
            check_account(found, tenant.account)
        else:
            read_list(found, "messages")
        return answer.headers.get("Date")

    def lookup_sender(self, tenant: Tenant, sender: str, *, timeout: float = 10.0) -> bool | None:
        """Tell whether a number belongs to the account; ``None`` where that cannot be told.

        Only for ``+`` and digits: short codes, names, services and channels are elsewhere, each at a
        place of its own. A key that may not look at numbers cannot tell either.

        Raises:
            NotReached, AnswerLost: as :meth:`send`.
        """
        if not sender.startswith("+"):
            return None
        url = (
            f"{_account_url(tenant)}/IncomingPhoneNumbers.json?{urlencode({'PhoneNumber': sender})}"
        )
        try:
            found = read_list(self._get(tenant, url, timeout), "incoming_phone_numbers")
        except TwilioRefused:
            return None
        # Twilio also lists numbers that contain the one that is asked for
        return any(number.get("phone_number") == sender for number in found)

    def inbound_webhook(
        self, tenant: Tenant, sender: str, *, timeout: float = 10.0
    ) -> InboundWebhook | None:
        """Tell where texts to a sender are posted; ``None`` where that cannot be told.

        For numbers and Messaging Services; a service may leave it to its numbers.

        Raises:
            NotReached, AnswerLost: as :meth:`send`.
        """
        try:
            if sender.startswith("MG"):
                url = f"{_messaging_url(tenant)}/v1/Services/{sender}"
                service = self._get(tenant, url, timeout)
                on_number = service.get("use_inbound_webhook_on_number") is True
                return (
                    None if on_number else _webhook(service, "inbound_request_url", "fallback_url")
                )
            if not sender.startswith("+"):
                return None
            query = urlencode({"PhoneNumber": sender})
            url = f"{_account_url(tenant)}/IncomingPhoneNumbers.json?{query}"
            found = read_list(self._get(tenant, url, timeout), "incoming_phone_numbers")
        except TwilioRefused:
            return None
        mine = (one for one in found if one.get("phone_number") == sender)
        return next((_webhook(one, "sms_url", "sms_fallback_url") for one in mine), None)

    def close(self) -> None:
        """Close all connections that rest; needed before a freeze."""
        for pool in list(self._pools.values()):
            pool.close()

    def _get(self, tenant: Tenant, url: str, timeout: float) -> dict[str, Any]:
        return read_resource(self._request("GET", url, tenant, None, timeout))

    def _request(
        self, method: str, url: str, tenant: Tenant, form: bytes | None, timeout: float
    ) -> HttpAnswer:
        parts = urlsplit(url)
        address = (parts.scheme, parts.hostname or "", parts.port)
        pool = self._pools.get(address)
        if pool is None:
            pool = self._pools.setdefault(address, Connections(*address, keep=self._connections))
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        try:
            return pool.request(method, target, self._headers_of(tenant), form, timeout)
        except NotConnected as exc:
            raise NotReached("Twilio could not be reached.", reason=str(exc)) from exc
        except NoAnswer as exc:
            raise AnswerLost("Twilio's answer was lost.", reason=str(exc)) from exc

    def _headers_of(self, tenant: Tenant) -> dict[str, str]:
        credentials = (tenant.user, tenant.password)
        headers = self._headers.get(credentials)
        if headers is None:
            token = base64.b64encode(":".join(credentials).encode()).decode()
            headers = {
                "Authorization": f"Basic {token}",
                "Content-Type": "application/x-www-form-urlencoded",
                "Accept": "application/json",
                "User-Agent": f"ci360-twilio-connector/{__version__}",
            }
            if len(self._headers) > 1000:  # rotated credentials are not kept for ever
                self._headers.clear()
            self._headers[credentials] = headers
        return headers


def encode_form(message: Message, *, validity: int, callback: str | None = None) -> str:
    """Encode a message as Twilio's form (docs/messaging/api/message-resource)."""
    sender = "MessagingServiceSid" if message.is_service else "From"
    fields = [f"To={quote_plus(message.to)}", f"{sender}={quote_plus(message.sender)}"]
    if message.body:
        fields.append(f"Body={quote_plus(message.body)}")
    fields.extend(f"MediaUrl={quote_plus(url)}" for url in message.media_urls)
    fields.append(f"ValidityPeriod={validity}")
    if callback is not None:
        fields.append(f"StatusCallback={quote_plus(callback)}")
    return "&".join(fields)


def _webhook(resource: Mapping[str, Any], url: str, fallback: str) -> InboundWebhook:
    return InboundWebhook(*(str(resource.get(name) or "") for name in (url, fallback)))


def _messaging_url(tenant: Tenant) -> str:
    parts = urlsplit(tenant.messages_url)
    host = parts.netloc
    if _API_HOST.match(host):
        host = f"messaging.{host.partition('.')[2]}"
    return f"{parts.scheme}://{host}"


def _account_url(tenant: Tenant) -> str:
    return tenant.messages_url.removesuffix("/Messages.json")
