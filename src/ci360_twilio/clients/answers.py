"""What Twilio answered: a receipt, a resource, a page of a list, or an error, each mapped once."""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec

from ci360_twilio.clients.connections import HttpAnswer
from ci360_twilio.core.codes import explain, failure_of
from ci360_twilio.core.inbound import Heard, parse_listed_inbound
from ci360_twilio.core.match import Listed, parse_listed
from ci360_twilio.core.receipt import Receipt, parse_resource
from ci360_twilio.errors import AnswerLost, Failure, TwilioRefused

NO_SUCH_RESOURCE = 20404
_NOT_ACTIVE = 20005
_LONGEST_QUERY = 2_000


def read_answer(answer: HttpAnswer) -> Receipt:
    """Read the answer to a create request.

    Raises:
        TwilioRefused: an error answer; ``failure`` says of which kind.
        AnswerLost: a 5xx, or a success that names no message.
    """
    if answer.status not in (HTTPStatus.OK, HTTPStatus.CREATED):
        raise _refused(answer)
    receipt = parse_resource(json_object(answer.body))
    if receipt is None:
        raise unreadable()
    return receipt


def read_resource(answer: HttpAnswer) -> dict[str, Any]:
    """Read the answer to a question; empty where it is no JSON object.

    Raises:
        TwilioRefused, AnswerLost: any other status than 200, as :func:`read_answer`.
    """
    if answer.status != HTTPStatus.OK:
        raise _refused(answer)
    return json_object(answer.body)


def read_list(page: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Give the resources that a page lists; raises ``AnswerLost`` where it is no such page."""
    found = page.get(name)
    if not isinstance(found, list):
        raise unreadable()
    return [resource for resource in found if isinstance(resource, dict)]


def read_rows(page: dict[str, Any]) -> list[Listed]:
    """Read the messages that a page lists; rows that name none are left out."""
    return [row for row in map(parse_listed, read_list(page, "messages")) if row is not None]


def read_inbound(page: dict[str, Any]) -> list[Heard]:
    """Read the messages of customers that a page lists; others are left out."""
    listed = map(parse_listed_inbound, read_list(page, "messages"))
    return [heard for heard in listed if heard is not None]


def next_query(page: dict[str, Any]) -> str | None:
    """Take the query of the next page's address, written anew, and nothing else of it.

    ``None`` where there is no next page; raises ``AnswerLost`` where it cannot be asked for.
    """
    uri = page.get("next_page_uri")
    if uri in (None, ""):
        return None
    query = uri.partition("?")[2] if isinstance(uri, str) else ""
    try:
        members = parse_qsl(query[: _LONGEST_QUERY + 1], keep_blank_values=True, max_num_fields=20)
        following = urlencode(members)
    except ValueError:
        raise unreadable() from None
    if not following or len(query) > _LONGEST_QUERY:
        raise unreadable()
    return following


def check_account(resource: dict[str, Any], sid: str) -> None:
    """Check that an account is the one that was asked for, and may send.

    Raises:
        TwilioRefused: it is suspended or closed, as if Twilio had refused a message (20005).
        AnswerLost: it is another, or none.
    """
    if resource.get("sid") != sid:
        raise unreadable()
    if resource.get("status") in ("suspended", "closed"):
        raise TwilioRefused(
            explain(_NOT_ACTIVE).meaning,
            failure=Failure.CONFIG,
            status=HTTPStatus.FORBIDDEN,
            twilio_code=_NOT_ACTIVE,
        )


def unreadable() -> AnswerLost:
    """Make the error for a success that is not what was asked for, such as a proxy's own page."""
    return AnswerLost("Twilio's answer cannot be read.", reason="unreadable_answer")


def _refused(answer: HttpAnswer) -> TwilioRefused | AnswerLost:
    status, code = answer.status, json_object(answer.body).get("code")
    code = code if isinstance(code, int) and not isinstance(code, bool) else None
    failure = failure_of(code, status)
    if failure is Failure.AMBIGUOUS:
        return AnswerLost(f"Twilio answered {status}.", reason=f"twilio_http_{status}")
    words = explain(code).meaning if code else f"Twilio answered {status}."
    return TwilioRefused(
        words,
        failure=failure,
        status=status,
        twilio_code=code,
        retry_after=seconds_of(answer.headers.get("Retry-After")),
    )


def json_object(body: bytes) -> dict[str, Any]:
    """Read a JSON object; empty where it is none."""
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        decoded = msgspec.json.decode(body)
        if isinstance(decoded, dict):
            return decoded
    return {}


def seconds_of(value: str | None) -> float | None:
    """Read ``Retry-After`` in seconds; a date there is not followed."""
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None
