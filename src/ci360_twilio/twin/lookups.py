"""What else of an account can be looked up: itself, its numbers, and its Messaging Services.

Shapes are those of Twilio's OpenAPI descriptions (2026-04) of the 2010 API, and of
messaging.twilio.com for services. Every number of an account can send SMS, and stands in the pool
of each of its services.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlencode

from ci360_twilio.twin.account import TwinAccount
from ci360_twilio.twin.answer import API_VERSION, ApiError, Form, Resource, one
from ci360_twilio.twin.pages import Page
from ci360_twilio.twin.rules import is_service, refuse_test

_SINCE = "Thu, 01 Jan 2026 00:00:00 +0000"
_SINCE_ISO = "2026-01-01T00:00:00Z"
_MESSAGING = "https://messaging.twilio.com/v1/Services"


def show_account(account: TwinAccount) -> Resource:
    """Show an account (docs/iam/api/account).

    Raises:
        ApiError: 20008 for test credentials.
    """
    refuse_test(account)
    uri = f"/{API_VERSION}/Accounts/{account.sid}"
    names = ("messages", "incoming_phone_numbers")
    return {
        "sid": account.sid,
        "auth_token": "",
        "owner_account_sid": account.sid,
        "friendly_name": "Twin",
        "status": "suspended" if account.suspended else "active",
        "type": "Full",
        "date_created": _SINCE,
        "date_updated": _SINCE,
        "uri": f"{uri}.json",
        "subresource_uris": {
            name: f"{uri}/{''.join(map(str.capitalize, name.split('_')))}.json" for name in names
        },
    }


def list_numbers(account: TwinAccount, query: Form) -> Resource:
    """Show one page of an account's numbers (docs/phone-numbers/api/incomingphonenumber-resource).

    ``PhoneNumber`` narrows them to one. An account that may send from anything has any number that
    is asked for, and lists none.

    Raises:
        ApiError: 20008 for test credentials, 20422 for a page that cannot be read.
    """
    refuse_test(account)
    page, wanted = Page.read(query), one(query, "PhoneNumber").replace(" ", "+")
    owned = [number for number in account.numbers if number.startswith("+")]
    if wanted:
        owned = [wanted] if wanted in owned or not account.numbers else []
    base = f"/{API_VERSION}/Accounts/{account.sid}/IncomingPhoneNumbers"
    shown, uri = _page(page, owned, f"{base}.json", {"PhoneNumber": wanted} if wanted else {})
    first = page.page * page.size
    return {
        "end": first + max(0, len(shown) - 1),
        "first_page_uri": uri(0),
        "incoming_phone_numbers": [_number(account, number, base) for number in shown],
        "next_page_uri": uri(page.page + 1) if first + page.size < len(owned) else None,
        "page": page.page,
        "page_size": page.size,
        "previous_page_uri": uri(page.page - 1) if page.page else None,
        "start": first,
        "uri": uri(page.page),
    }


def show_service(account: TwinAccount, sid: str) -> Resource:
    """Show a Messaging Service (docs/messaging/api/service-resource).

    Raises:
        ApiError: 20008 for test credentials, 20404 where the account has no such service.
    """
    _check_service(account, sid)
    url = f"{_MESSAGING}/{sid}"
    links = ("phone_numbers", "short_codes", "alpha_senders", "channel_senders", "messages")
    return {
        "sid": sid,
        "account_sid": account.sid,
        "friendly_name": "Twin",
        "date_created": _SINCE_ISO,
        "date_updated": _SINCE_ISO,
        "inbound_request_url": account.inbound_url or None,
        "inbound_method": "POST",
        "fallback_url": account.fallback_url or None,
        "fallback_method": "POST",
        "status_callback": None,
        "sticky_sender": True,
        "mms_converter": True,
        "smart_encoding": False,
        "scan_message_content": "inherit",
        "fallback_to_long_code": False,
        "area_code_geomatch": False,
        "synchronous_validation": False,
        "validity_period": 36_000,
        "url": url,
        "links": {name: f"{url}/{''.join(map(str.capitalize, name.split('_')))}" for name in links},
        "usecase": "undeclared",
        "us_app_to_person_registered": False,
        "use_inbound_webhook_on_number": False,
    }


def list_service_numbers(account: TwinAccount, sid: str, query: Form) -> Resource:
    """Show one page of the numbers in a Messaging Service's pool (docs/messaging/api/phonenumber-resource).

    Raises:
        ApiError: as :func:`show_service`, and 20422 for a page that cannot be read.
    """
    _check_service(account, sid)
    page = Page.read(query)
    owned = [number for number in account.numbers if number.startswith("+")]
    base = f"{_MESSAGING}/{sid}/PhoneNumbers"
    shown, url = _page(page, owned, base, {})
    more = (page.page + 1) * page.size < len(owned)
    return {
        "meta": {
            "page": page.page,
            "page_size": page.size,
            "first_page_url": url(0),
            "previous_page_url": url(page.page - 1) if page.page else None,
            "url": url(page.page),
            "next_page_url": url(page.page + 1) if more else None,
            "key": "phone_numbers",
        },
        "phone_numbers": [
            {
                "sid": _sid(number),
                "account_sid": account.sid,
                "service_sid": sid,
                "date_created": _SINCE_ISO,
                "date_updated": _SINCE_ISO,
                "phone_number": number,
                "country_code": "US" if number.startswith("+1") else "GB",
                "capabilities": ["SMS", "MMS"],
                "url": f"{base}/{_sid(number)}",
            }
            for number in shown
        ],
    }


def _check_service(account: TwinAccount, sid: str) -> None:
    refuse_test(account)
    if not is_service(sid) or (account.services and sid not in account.services):
        raise ApiError(20404, f"/v1/Services/{sid}")


def _page(
    page: Page, owned: Sequence[str], base: str, kept: Mapping[str, str]
) -> tuple[Sequence[str], Callable[[int], str]]:
    """Give the numbers of a page, and what makes the address of another."""
    start = page.page * page.size

    def address(number: int) -> str:
        return f"{base}?{urlencode({**kept, 'PageSize': page.size, 'Page': number})}"

    return owned[start : start + page.size], address


def _number(account: TwinAccount, number: str, base: str) -> Resource:
    sid = _sid(number)
    return {
        "sid": sid,
        "account_sid": account.sid,
        "friendly_name": number,
        "phone_number": number,
        "api_version": API_VERSION,
        "beta": False,
        "capabilities": {"voice": True, "sms": True, "mms": True, "fax": False},
        "date_created": _SINCE,
        "date_updated": _SINCE,
        "origin": "twilio",
        "sms_application_sid": "",
        "sms_url": account.inbound_url,
        "sms_method": "POST",
        "sms_fallback_url": account.fallback_url,
        "sms_fallback_method": "POST",
        "status": "in-use",
        "uri": f"{base}/{sid}.json",
    }


def _sid(number: str) -> str:
    return f"PN{hashlib.blake2b(number.encode(), digest_size=16).hexdigest()}"
