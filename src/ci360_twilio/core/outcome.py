"""A report -> the external event that CI360 is sent: its name, whose it is, and its attributes.

Limits are those of CI360's data model (``ci360-udm-db-loader``): all attributes of an event together
have 4,000 characters, an identity 300. All values are text.
"""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

import msgspec

from ci360_twilio.core.ci360 import IDENTITY_KEYS, Ci360
from ci360_twilio.core.consent import person_of
from ci360_twilio.core.entry import Entry
from ci360_twilio.core.event import Origin
from ci360_twilio.core.inbound import Inbound
from ci360_twilio.core.report import Outcome, Report

MOST_TEXT = 1_600
MOST_MEDIA = 1_000
MOST_VALUE = 256
MOST_ADDRESS = 64
MOST_TRACKING_CODE = 64
"""CI360's own have 36."""
MOST_IDENTITY = 300

EXTERNAL_CODE = "externalCode"
NO_IDENTITY = "no_identity"
"""Why a report is set aside that nobody in CI360 would be credited with."""
UNMATCHED = "unmatched"
"""The same for a reply whose customer is not known, where no identity is set for these."""


class Attribute(NamedTuple):
    """An attribute of the external events, for whoever defines them in CI360."""

    name: str
    longest: int
    words: str


_COMMON = (
    Attribute(EXTERNAL_CODE, MOST_VALUE, "the task's code, such as TSK_101"),
    Attribute("twilio_report_key", 32, "the same for a report that comes twice"),
    Attribute("twilio_at", 24, "when it came about, in UTC"),
    Attribute("twilio_message_sid", 64, "Twilio's SID of the message"),
)
_OF_MESSAGES = (
    *_COMMON,
    Attribute("twilio_guid", MOST_VALUE, "the guid of CI360's event"),
    Attribute("twilio_reason", MOST_VALUE, "why, as a code: twilio_30005, opted_out"),
    Attribute("twilio_error_code", 8, "Twilio's error code"),
)
_OF_WISHES = (
    *_COMMON,
    Attribute("twilio_sender", MOST_ADDRESS, "our number that the customer wrote to"),
)
_OF_REPLIES = (
    *_OF_WISHES,
    Attribute("twilio_text", MOST_TEXT, "what the customer wrote"),
    Attribute("twilio_media", MOST_MEDIA, "addresses of pictures, separated by blanks"),
    Attribute("twilio_media_count", 4, "how many pictures there are"),
    Attribute("twilio_button_text", MOST_VALUE, "the button that was pressed (WhatsApp, RCS)"),
    Attribute("twilio_button_payload", MOST_VALUE, "the value behind that button"),
)


def attributes_of(outcome: Outcome) -> tuple[Attribute, ...]:
    """List the attributes that an outcome's event may have, besides the response tracking code."""
    if outcome is Outcome.REPLY:
        return _OF_REPLIES
    if outcome in (Outcome.OPT_OUT, Outcome.OPT_IN):
        return (*_OF_WISHES, *(one for one in _OF_MESSAGES if one not in _COMMON))
    return _OF_MESSAGES


class ExternalEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event, as CI360 takes it."""

    name: str
    identity: tuple[str, str]
    """Which identity it is, and its value."""
    attributes: dict[str, str]

    @property
    def body(self) -> bytes:
        """The JSON object that is posted."""
        kind, value = self.identity
        return msgspec.json.encode({"eventName": self.name, kind: value, **self.attributes})

    @property
    def row(self) -> list[str]:
        """The fields of a line in a file of events: name, identity, then names and values."""
        pairs = (field for pair in self.attributes.items() for field in pair)
        return [self.name, *self.identity, *pairs]


def external_event(
    of: Entry | Inbound, report: Report, name: str, ci360: Ci360
) -> ExternalEvent | str:
    """Make the event of a report; a text says why there can be none.

    Args:
        of: what the report is of.
        report: what is told.
        name: of the event.
        ci360: how the tenant wants it told.
    """
    identity = _identity(of, ci360)
    if isinstance(identity, str):
        return identity
    attributes = {
        ci360.rtc_key: of.origin.response_tracking_code,
        EXTERNAL_CODE: of.origin.task_code,
        "twilio_report_key": report.key,
        "twilio_at": f"{report.at:%Y-%m-%dT%H:%M:%SZ}",
        "twilio_message_sid": report.sid,
    }
    attributes |= _of_message(of, report) if isinstance(of, Entry) else _of_inbound(of, report)
    longest = {one.name: one.longest for one in attributes_of(report.outcome)}
    longest[ci360.rtc_key] = MOST_TRACKING_CODE
    shown = {
        key: text
        for key, value in attributes.items()
        if value and (text := plain(value, longest.get(key, MOST_VALUE)))
    }
    return ExternalEvent(name=name, identity=identity, attributes=shown)


def plain(text: str, longest: int) -> str:
    """Give a text without control characters, each a blank instead, and no longer than that."""
    if len(text) <= longest and text.isprintable():
        return text.strip()
    cleared = "".join(" " if unicodedata.category(c) in _STEERS else c for c in text)
    cleared = cleared.strip()
    return cleared if len(cleared) <= longest else f"{cleared[: longest - 1]}\u2026"


_STEERS = frozenset({"Cc", "Cs", "Zl", "Zp"})


def _identity(of: Entry | Inbound, ci360: Ci360) -> tuple[str, str] | str:
    found = _known_identity(of.origin, ci360.identity_key)
    if found is not None:
        return found
    if isinstance(of, Entry):
        return NO_IDENTITY
    if ci360.reply_identity_key is None:
        return UNMATCHED if of.answers is None else NO_IDENTITY
    number = person_of(of.heard.sender)
    if ci360.reply_identity_format == "digits":
        number = number.removeprefix("+")
    return ci360.reply_identity_key, number[:MOST_IDENTITY]


def _known_identity(origin: Origin, wished: str) -> tuple[str, str] | None:
    for kind in (wished, *IDENTITY_KEYS):
        value = origin.identities.get(kind)
        if value and len(value) <= MOST_IDENTITY:
            return kind, value
    return None


def _of_message(entry: Entry, report: Report) -> dict[str, str | None]:
    return {
        "twilio_guid": entry.guid,
        "twilio_reason": report.reason,
        "twilio_error_code": str(report.error_code) if report.error_code else None,
    }


def _of_inbound(inbound: Inbound, report: Report) -> dict[str, str | None]:
    heard = inbound.heard
    told: dict[str, str | None] = {"twilio_sender": heard.to}
    if report.outcome is not Outcome.REPLY:
        return told
    return told | {
        "twilio_text": heard.body,
        "twilio_media": _listed([medium.url for medium in heard.media], MOST_MEDIA),
        "twilio_media_count": str(heard.media_count) if heard.media_count else None,
        "twilio_button_text": heard.button_text,
        "twilio_button_payload": heard.button_payload,
    }


def _listed(urls: list[str], longest: int) -> str:
    """Join addresses, as many as there is room for; half an address is of no use."""
    joined = ""
    for url in urls:
        longer = f"{joined} {url}".strip()
        if len(longer) > longest:
            break
        joined = longer
    return joined
