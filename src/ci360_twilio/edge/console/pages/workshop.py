"""The creative workshop: what a creative makes of a customer's message, as it is typed."""

from __future__ import annotations

import json
import re
import unicodedata
import uuid
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple

from starlette.responses import Response

from ci360_twilio.core.advice import advice_for
from ci360_twilio.core.creative import MERGE_TAG, Problem, parse_creative
from ci360_twilio.core.e164 import look_up
from ci360_twilio.core.entry import Status, key_of
from ci360_twilio.core.event import parse_event, parse_payload
from ci360_twilio.core.message import Channel, Message, compose, parse_recipient
from ci360_twilio.core.person import Right
from ci360_twilio.core.prices import Prices
from ci360_twilio.core.reasons import in_words, reason_words
from ci360_twilio.core.segments import Encoding, Segments, count_segments, doubled
from ci360_twilio.core.tenant import Tenant, TenantId
from ci360_twilio.core.verdict import judge
from ci360_twilio.edge.console.desk import MOST_TEXT, Page, Visit
from ci360_twilio.edge.console.numbers import allowed_numbers, number_of
from ci360_twilio.edge.console.words import path_of
from ci360_twilio.errors import ConnectorError, Denied, SettingsError, TooOften
from ci360_twilio.flow.trying import try_out

SAMPLE = """\
TO:{{phone}};
FROM:+15005550006;
Hi {{firstname}}, thank you for registering; see you on Thursday!
"""
SAMPLE_VALUES = {"phone": "+12015550123", "firstname": "Anna"}
MOST_TAGS = 40
MOST_VALUE = 1_000
"""Characters of a tag's value; a text is 1,600 at the most."""
MOST_EVENT = 1_048_576
"""Characters of a sample event, as CI360 may post one."""
_TAG = "tag:"


class Piece(NamedTuple):
    """A part of the text, within one segment."""

    text: str
    is_costly: bool
    """Whether it forces UCS-2."""


class Swap(NamedTuple):
    """A character, and what could stand for it."""

    character: str
    name: str
    replacement: str


class Tried(NamedTuple):
    """All that the page says of a creative."""

    message: Message
    problems: list[tuple[Problem, str | None]]
    """Each with how to mend it."""
    warnings: list[Problem]
    counted: Segments
    segments: list[list[Piece]]
    costly: list[Swap]
    doubled: str
    """Characters of GSM-7 that count twice, each once."""
    country: str | None
    price: Decimal | None
    is_mms: bool
    prices: Prices

    @property
    def is_sendable(self) -> bool:
        """Whether it would be sent."""
        return not self.problems


def workshop(visit: Visit) -> Response:
    """Show the whole page."""
    values = SAMPLE_VALUES
    tried = _try(visit, SAMPLE, values, {}, None)
    return visit.show("workshop.html", **_shown(visit, SAMPLE, values, tried))


def preview(visit: Visit) -> Response:
    """Show what the creative makes now.

    Fields are shown anew only where tags or tenant have changed: nothing is taken from under a cursor.
    """
    creative, values, attributes, trouble = _read(visit)
    tried = _try(visit, creative, values, attributes, _tenant(visit))
    about = _shown(visit, creative, values, tried)
    about["trouble"] = trouble
    about["new_tags"] = visit.text("known_tags") != " ".join(about["tags"])
    about["new_tenant"] = visit.text("known_tenant") != about["tenant"]
    return visit.show("_preview.html", **about)


def send(visit: Visit) -> Response:
    """Send it to the twin's phone, or to a real one that an administrator has allowed."""
    creative, values, attributes, _ = _read(visit)
    tenant = _tenant(visit)
    if tenant is None:
        raise SettingsError("Choose the tenant whose account sends it.")
    tried = _try(visit, creative, values, attributes, tenant)
    number = _number(visit, tenant)
    left = [problem for problem, _ in tried.problems if problem.code not in _OF_THE_RECIPIENT]
    if left:
        raise SettingsError(f"It would be refused: {left[0].message}")
    if not visit.desk.tests.admits(visit.person.name):
        raise TooOften("You have sent many tests in the last hour; come back later.")
    message = Message(
        to=number,
        sender=tried.message.sender,
        body=tried.message.body,
        media_urls=tried.message.media_urls,
    )
    once = visit.text("once")
    guid = f"test-{once}" if _ONCE.fullmatch(once) else f"test-{uuid.uuid4()}"
    visit.note("test", key_of(tenant.id, guid), tenant_id=tenant.id, entries=1)
    entry = try_out(visit.store, tenant, message, guid=guid, now=visit.now())
    if entry.status is not Status.ACCEPTED:
        raise SettingsError(f"It was not sent. {in_words(entry)}")
    return visit.go(path_of(entry.guid, entry.tenant_id))


_ONCE = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""What a form brings along, so that a second click sends no second message."""
_OF_THE_RECIPIENT = frozenset({"no_recipient", "invalid_recipient", "recipient_in_creative"})


def _number(visit: Visit, tenant: Tenant) -> str:
    """Give the number that a test goes to: any phone of a twin, or a real one that is allowed.

    Raises:
        SettingsError: it is no number.
        Denied: nobody has allowed it.
        NoTwin: what is at the twin's place is none.
    """
    twin = visit.twin_of(tenant.id)
    if twin is None:
        allowed = number_of(visit, tenant.id, visit.text("which"))
        if allowed is None:
            raise Denied(
                "Tests go to real numbers only where an administrator has allowed the number for "
                "this tenant, under People."
            )
        return allowed
    twin.latest()  # a proxy on this machine would pass it on to a real phone
    number = parse_recipient(visit.text("number"), tenant.default_region)
    if number is None:
        raise SettingsError("That is no number; write it with its country, as +12015550123.")
    return number


def _tenant(visit: Visit) -> Tenant | None:
    name = visit.text("tenant")
    return visit.tenant(name) if name else None


def _read(visit: Visit) -> tuple[str, dict[str, str], dict[str, str], str]:
    """Read the creative, its tags' values and attributes; and what is wrong with the sample event."""
    creative = visit.whole("creative")
    values = {
        name.removeprefix(_TAG): value[:MOST_VALUE]
        for name, value in visit.form.items()
        if name.startswith(_TAG) and isinstance(value, str)
    }
    attributes: dict[str, str] = {}
    trouble = ""
    if sample := visit.whole("event", MOST_EVENT).strip():
        try:
            of_event, attributes = _of_event(sample, visit)
            values = of_event | {name: value for name, value in values.items() if value}
            values = {name: value[:MOST_VALUE] for name, value in values.items()}
        except ConnectorError as exc:
            trouble = exc.message
    return creative, values, attributes, trouble


def _of_event(sample: str, visit: Visit) -> tuple[dict[str, str], dict[str, str]]:
    """Take from an event what merge tags may be called by, and the task's attributes.

    Raises:
        ConnectorError: it is no event.
    """
    payload = parse_payload(sample.encode(errors="replace"))
    if payload is None:
        return {}, {}
    event = parse_event(payload, TenantId("sample"), visit.now())
    members: dict[str, str] = {}
    try:
        for name, value in _members(json.loads(sample)):
            members.setdefault(name, value)
    except (ValueError, RecursionError) as exc:
        raise SettingsError("The event cannot be read.") from exc
    return members, event.attributes


def _members(value: object, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Give all members of an object that are texts or numbers, however deep, outer ones first."""
    if not isinstance(value, Mapping) or depth > 5:
        return
    for name, member in value.items():
        if isinstance(member, str | int) and not isinstance(member, bool):
            yield name, str(member)
    for member in value.values():
        yield from _members(member, depth + 1)


def _try(
    visit: Visit,
    creative: str,
    values: Mapping[str, str],
    attributes: Mapping[str, str],
    tenant: Tenant | None,
) -> Tried:
    """Fill the tags, and judge it as the gates do."""
    by_name = {name.lower(): value for name, value in values.items()}

    def fill(tag: re.Match[str]) -> str:
        return by_name.get(tag[1].strip().lower()) or tag[0]

    settings = visit.desk.settings
    filled = MERGE_TAG.sub(fill, creative)
    if len(filled) > MOST_TEXT:
        filled = creative
    message, problems = compose(
        parse_creative(filled),
        attributes,
        tenant or _NOBODY,
        default_sender=settings.default_sender,
        names=settings.attribute_names,
        warn=True,
    )
    if tenant is not None and not any(one.error for one in problems):
        verdict = judge(message, problems, tenant, "creative")
        if verdict.reason is not None:
            problems = (*problems, Problem(verdict.reason, reason_words(verdict.reason)))
    message = message or Message(to="", sender="")
    counted = count_segments(message.body)
    country = look_up(message.to)[0] if message.to else None
    is_mms = bool(message.media_urls) and message.channel is Channel.SMS
    return Tried(
        message=message,
        problems=[(one, advice_for(one.code)) for one in problems if one.error],
        warnings=[one for one in problems if not one.error],
        counted=counted,
        segments=_pieces(message.body, counted),
        costly=_swaps(counted),
        doubled=doubled(message.body) if counted.encoding is Encoding.GSM_7 else "",
        country=country,
        price=_price(visit.desk.prices, country, counted.count, is_mms=is_mms),
        is_mms=is_mms,
        prices=visit.desk.prices,
    )


_NOBODY = Tenant(id=TenantId("-"), messages_url="", account="", user="", password="")


def _price(prices: Prices, country: str | None, segments: int, *, is_mms: bool) -> Decimal | None:
    price = prices.of(country)
    if price is None:
        return None
    return price.mms if is_mms else price.sms * segments


def _pieces(body: str, counted: Segments) -> list[list[Piece]]:
    """Cut a text at its segments' borders, and each at what forces UCS-2."""
    if not body:
        return []
    costly = {one.character for one in counted.ucs2_characters}
    segments = []
    for start, end in pairwise((0, *counted.borders, len(body))):
        pieces: list[Piece] = []
        for character in body[start:end]:
            is_costly = character in costly
            if pieces and pieces[-1].is_costly is is_costly:
                pieces[-1] = Piece(pieces[-1].text + character, is_costly)
            else:
                pieces.append(Piece(character, is_costly))
        segments.append(pieces)
    return segments


def _swaps(counted: Segments) -> list[Swap]:
    """Name what forces UCS-2, each with what could stand for it; none where nothing can."""
    replacements = dict(counted.replacements)
    return [
        Swap(
            character,
            unicodedata.name(character, f"U+{ord(character):04X}").lower(),
            replacements.get(character, ""),
        )
        for character, _ in counted.ucs2_characters[:20]
    ]


def _shown(visit: Visit, creative: str, values: Mapping[str, str], tried: Tried) -> dict[str, Any]:
    tags = list(dict.fromkeys(found[1].strip() for found in MERGE_TAG.finditer(creative)))
    tenant = visit.text("tenant")
    numbers = allowed_numbers(visit, TenantId(tenant)) if tenant else []
    return {
        "creative": creative,
        "tags": tags[:MOST_TAGS],
        "values": {name.lower(): value for name, value in values.items()},
        "tried": tried,
        "tenants": visit.tenants(),
        "tenant": tenant,
        "is_twin": bool(tenant) and visit.twin_of(TenantId(tenant)) is not None,
        "numbers": numbers,
        "event": visit.whole("event"),
        "number": visit.text("number"),
        "trouble": "",
        "once": str(uuid.uuid4()),
    }


PAGES = (
    Page("GET", "/workshop", Right.CREATE, workshop),
    Page("POST", "/workshop", Right.CREATE, preview, most=1_200_000),
    Page("POST", "/workshop/send", Right.CREATE, send, most=1_200_000),
)
