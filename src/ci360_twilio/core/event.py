"""The body CI360 posts -> :class:`Event`.

CI360's schema drifts between releases, so only what is needed is read and nothing else is required.
``null``, ``""`` and a missing member are the same everywhere. Shapes were read off real events of
2025 (sassoftware/ci360-extensions).
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NoReturn, TypeVar

import msgspec

from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import Issue, NotJson, Unprocessable

MAX_BYTES = 1_048_576
"""Largest body of an event."""
MAX_GUID = 256
OUTBOUND = "outboundSystem"
"""The ``eventType`` of an event that asks for a message."""
AHEAD = timedelta(minutes=5)
"""How far CI360's clock may run ahead of ours."""

IDENTITIES = ("subject_id", "customer_id", "login_id")
"""Identity types that CI360 puts among an event's properties, besides ``datahub_id``."""


class Payload(msgspec.Struct, frozen=True):
    """The members of the body that matter, as they came; all are hostile."""

    guid: Any = None
    event_type: Any = msgspec.field(name="eventType", default=None)
    tenant_id: Any = msgspec.field(name="externalTenantId", default=None)
    event_name: Any = msgspec.field(name="eventName", default=None)
    date: Any = None
    identity_id: Any = msgspec.field(name="identityId", default=None)
    properties: Any = None
    outbound: Any = msgspec.field(name="outboundProperties", default=None)
    contact: Any = msgspec.field(name="contactResponse", default=None)
    impression: Any = None


class Origin(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Where an event came from, as reports to CI360 and people need it."""

    event_name: str | None = None
    task_id: str | None = None
    task_version_id: str | None = None
    task_code: str | None = None
    """``properties.externalCode``, such as ``TSK_539``."""
    creative_id: str | None = None
    response_tracking_code: str | None = None
    identities: dict[str, str] = {}
    """By identity type; ``datahub_id`` is CI360's own."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One outbound event; ``issues`` names the fields whose JSON type or value is wrong."""

    tenant_id: TenantId
    guid: str
    generated_at: datetime | None
    creative: str | None
    control_group: bool
    attributes: dict[str, str]
    """The custom task's outbound attributes, names in lower case."""
    origin: Origin
    issues: tuple[Issue, ...] = ()


P = TypeVar("P", bound=msgspec.Struct)


@cache
def _decoder(kind: type[P]) -> msgspec.json.Decoder[P]:
    return msgspec.json.Decoder(kind)


def parse_payload(body: bytes) -> Payload | None:
    """Decode the body of an event; see :func:`parse_body`."""
    return parse_body(body, Payload)


def parse_body(body: bytes, kind: type[P]) -> P | None:
    """Decode a request body, whatever its Content-Type says.

    Args:
        body: as it came.
        kind: the members that matter, each of any type and with ``None`` as its default.

    Returns:
        The members, or ``None`` for an empty body and ``{}`` (CI360's *Test Endpoint*).

    Raises:
        NotJson: it is not exactly one JSON object in UTF-8.
    """
    try:
        text = body.decode()  # msgspec does not look inside the strings that it skips
        if _EMPTY.fullmatch(text):
            return None
        found: P = _decoder(kind).decode(body)
        return found
    except msgspec.ValidationError:
        return _decode_slowly(text, kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise NotJson("The body is not one JSON object.") from None


_EMPTY = re.compile(r"[ \t\r\n]*(?:\{[ \t\r\n]*\}[ \t\r\n]*)?")


def _decode_slowly(text: str, kind: type[P]) -> P:
    """Decode what msgspec does not: numbers out of its range, which are then found wrong by value."""

    def refuse(_: str) -> NoReturn:
        raise ValueError

    def whole(digits: str) -> float:
        return int(digits) if len(digits) < 20 else float(digits)

    try:
        raw = json.loads(text, parse_constant=refuse, parse_int=whole)
        msgspec.json.encode(raw)  # fails for the escape of a lone surrogate
    except (ValueError, RecursionError):
        raise NotJson("The body is not one JSON object.") from None
    if not isinstance(raw, dict):
        raise NotJson("The body is not one JSON object.")
    return kind(*(raw.get(name) for name in kind.__struct_encode_fields__))


def parse_event(payload: Payload, tenant_id: TenantId, now: datetime) -> Event:
    """Read an event of type ``outboundSystem``.

    Raises:
        Unprocessable: it has no usable ``guid``, so nothing can be recorded under it.
    """
    read = Reading()
    guid = read.text(payload.guid, "guid")
    if guid is None or len(guid) > MAX_GUID:
        words = f"must be a string of 1 to {MAX_GUID} characters"
        raise Unprocessable("The event has no usable guid.", Issue("guid", words))
    if read.text(payload.event_type, "eventType") is None and not read.issues:
        read.issues.append(Issue("eventType", "is missing"))
    date = read.members(payload.date, "date")
    impression = read.members(payload.impression, "impression")
    contact = read.members(payload.contact, "contactResponse")
    outbound = read.members(payload.outbound, "outboundProperties")
    properties = read.members(payload.properties, "properties")
    identities = {name: value for name in IDENTITIES if (value := loose(properties.get(name)))}
    if datahub_id := read.text(payload.identity_id, "identityId"):
        identities = {"datahub_id": datahub_id, **identities}
    return Event(
        tenant_id=tenant_id,
        guid=guid,
        generated_at=read.moment(date.get("generatedTimestamp"), now),
        creative=read.text(impression.get("creativeContent"), "impression.creativeContent"),
        control_group=read.flag(impression.get("isControlGroup"), "impression.isControlGroup"),
        attributes=read.attributes(outbound.get("properties")),
        origin=Origin(
            event_name=read.text(payload.event_name, "eventName"),
            task_id=read.text(impression.get("taskId"), "impression.taskId"),
            task_version_id=read.text(impression.get("taskVersionId"), "impression.taskVersionId"),
            task_code=loose(properties.get("externalCode")),
            creative_id=read.text(impression.get("creativeId"), "impression.creativeId"),
            response_tracking_code=read.text(
                contact.get("responseTrackingCode"), "contactResponse.responseTrackingCode"
            ),
            identities=identities,
        ),
        issues=tuple(read.issues),
    )


def loose(value: object) -> str | None:
    """Read a value that CI360 writes as a string and a custom body may write as a number."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value) or None


class Reading:
    """Reads members of the expected type and collects what is wrong."""

    def __init__(self) -> None:
        self.issues: list[Issue] = []

    def text(self, value: object, name: str) -> str | None:
        """Read a text; an empty one is none."""
        if value is None or isinstance(value, str):
            return value or None
        self.issues.append(Issue(name, "must be a string"))
        return None

    def flag(self, value: object, name: str) -> bool:
        """Read *true* or *false*; what is missing is *false*."""
        if isinstance(value, bool):
            return value
        if value is not None and value != "":
            self.issues.append(Issue(name, "must be true or false"))
        return False

    def members(self, value: object, name: str) -> dict[str, Any]:
        """Read an object; what is missing is empty."""
        if isinstance(value, dict):
            return value
        if value is not None and value != "":
            self.issues.append(Issue(name, "must be an object"))
        return {}

    def attributes(
        self, value: object, name: str = "outboundProperties.properties"
    ) -> dict[str, str]:
        """Read attributes with a value, their names in lower case."""
        members = self.members(value, name)
        return {name.lower(): text for name, member in members.items() if (text := loose(member))}

    def moment(self, value: object, now: datetime) -> datetime | None:
        """Read epoch milliseconds, as a number or as digits in a string."""
        if value is None or value == "":
            return None
        moment = _milliseconds(value)
        if moment is None:
            self.issues.append(Issue("date.generatedTimestamp", "must be epoch milliseconds"))
        elif moment > now + AHEAD:
            self.issues.append(Issue("date.generatedTimestamp", "is over 5 minutes ahead"))
            return None
        return moment


_LATEST_MS = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp() * 1000)


def _milliseconds(value: object) -> datetime | None:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:20])
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return datetime.fromtimestamp(min(max(value, 0), _LATEST_MS) / 1000, UTC)
