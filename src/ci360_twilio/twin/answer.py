"""What Twilio's API answers: resources, and errors with a status, a code and words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

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
    20005: (403, "The account is not active."),
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


class Answer(msgspec.Struct, frozen=True):
    """What a request is answered with; ``body`` is ``None`` for a 204, and for a file."""

    status: int
    body: Resource | None
    content: bytes | None = None
    """The file."""


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


def collection(account: str) -> str:
    """Give the path of an account's messages, without ``.json``."""
    return f"/{API_VERSION}/Accounts/{account}/Messages"


def one(form: Form, name: str) -> str:
    """Give a parameter's last value; absent and empty are the same."""
    values = form.get(name)
    return values[-1] if values else ""
