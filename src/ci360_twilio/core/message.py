"""Event + creative + tenant -> :class:`Message`: recipient, sender, text and media, ready to send."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

import msgspec

from ci360_twilio.core.creative import (
    Creative,
    Directive,
    Problem,
    has_merge_tag,
    media_problems,
    split_media,
    value_problems,
)
from ci360_twilio.core.e164 import E164, PUNCTUATION, in_numbering_plan, to_e164
from ci360_twilio.core.segments import count_segments
from ci360_twilio.core.tenant import Tenant


class Channel(StrEnum):
    """Where a message goes; the prefix of Twilio's addresses."""

    SMS = "sms"
    WHATSAPP = "whatsapp"
    RCS = "rcs"
    MESSENGER = "messenger"


class Message(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What Twilio is asked to send. ``to`` is E.164, with a channel's prefix where there is one."""

    to: str
    sender: str
    body: str = ""
    media_urls: tuple[str, ...] = ()

    @property
    def channel(self) -> Channel:
        """The channel that ``to`` names."""
        prefix = _PREFIX.match(self.to)
        return Channel(prefix[1].lower()) if prefix else Channel.SMS

    @property
    def segments(self) -> int:
        """What it costs of its sender's rate; only texts are sent in segments."""
        if self.media_urls or self.channel is not Channel.SMS:
            return 1
        return count_segments(self.body).count

    @property
    def is_service(self) -> bool:
        """Whether the sender is a Messaging Service."""
        return _SERVICE.fullmatch(self.sender) is not None


class AttributeNames(NamedTuple):
    """The names of the custom task's attributes that may stand in for directives."""

    to: str = "to"
    sender: str = "from"
    media_urls: str = "media_urls"


DEFAULT_NAMES = AttributeNames()

_SERVICE = re.compile(r"MG[0-9a-fA-F]{32}")
_SHORT_CODE = re.compile(r"[0-9]{3,8}")
_ALPHANUMERIC = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 +\-_&.]{1,11}")
_PREFIX = re.compile(r"(whatsapp|rcs|messenger):\s*", re.IGNORECASE | re.ASCII)
_CHANNEL_ID = re.compile(r"[A-Za-z0-9_.\-]{1,128}")


def compose(
    creative: Creative,
    attributes: Mapping[str, str],
    tenant: Tenant,
    *,
    default_sender: str | None = None,
    names: AttributeNames = DEFAULT_NAMES,
    warn: bool = False,
) -> tuple[Message | None, tuple[Problem, ...]]:
    """Make the message, with everything that is wrong with it.

    The creative wins over the task's attributes, unless the tenant takes recipients from the
    attributes alone: then a ``TO`` in the creative is refused, so that no customer's name can move
    the recipient. The sender falls back to the tenant's, then to the connector's default.

    Args:
        creative: what the marketer wrote, merged.
        attributes: the custom task's attributes, names in lower case.
        tenant: gives the default sender and region, and the checks.
        default_sender: the connector's.
        names: which attributes stand in for which directive.
        warn: also tell what does not keep the message from being sent.

    Returns:
        The message as far as there is one, and the problems. It may be sent only if no problem is
        an error; a preview shows it all the same.
    """
    problems = list(creative.problems)
    if any(problem.code == "html_creative" for problem in problems):
        return None, tuple(problems)
    to = _recipient(creative, attributes.get(names.to.lower()), tenant, problems, warn=warn)
    fallback = tenant.default_sender or default_sender
    sender = _sender(creative, attributes.get(names.sender.lower()), fallback, problems)
    media = creative.media_urls
    if not media and (listed := _clean(attributes.get(names.media_urls.lower()), problems)):
        media = split_media(listed)
        problems.extend(media_problems(media, None))
    if not creative.body and not media:
        words = "There is nothing to send: no text and no media."
        problems.append(Problem("empty_message", words, creative.body_line))
    message = Message(to=to or "", sender=sender or "", body=creative.body, media_urls=media)
    if (
        warn
        and message.channel is not Channel.SMS
        and ":" not in message.sender
        and not message.is_service
    ):
        words = f"A {message.channel} recipient needs a {message.channel} sender."
        problems.append(Problem("channel_mismatch", words, creative.lines.get(Directive.TO), False))
    return message, tuple(problems)


def _sender(
    creative: Creative, attribute: str | None, fallback: str | None, problems: list[Problem]
) -> str | None:
    line = creative.lines.get(Directive.FROM)
    said = creative.sender or _clean(attribute, problems)
    if said is not None and has_merge_tag(said):
        return said  # which is a problem of its own
    said = said or fallback
    if said is None:
        words = "Nobody says who sends this: no FROM, and no default sender."
        problems.append(Problem("no_sender", words, line))
        return None
    sender = parse_sender(said)
    if sender is None:
        words = (
            "FROM must be a number like +19085551212, a short code, a name of up to 11 letters "
            "and digits, or a Messaging Service (MG and 32 digits)."
        )
        problems.append(Problem("invalid_sender", words, line))
    return sender


def _recipient(
    creative: Creative,
    attribute: str | None,
    tenant: Tenant,
    problems: list[Problem],
    *,
    warn: bool,
) -> str | None:
    line = creative.lines.get(Directive.TO)
    attributes_only = tenant.recipient_from == "attributes"
    if attributes_only and creative.to is not None:
        words = "This tenant takes recipients from the task's attributes; remove TO."
        problems.append(Problem("recipient_in_creative", words, line))
        return None
    said = creative.to or _clean(attribute, problems)
    if said is None:
        words = "Nobody is named to receive this: no TO."
        if attributes_only:
            words = "Nobody is named to receive this: the task has no attribute for it."
        problems.append(Problem("no_recipient", words, line))
        return None
    if has_merge_tag(said):
        return said  # which is a problem of its own
    to = parse_recipient(said, tenant.default_region)
    if to is None:
        words = "TO is not a possible telephone number; write it like +19085551212."
        problems.append(Problem("invalid_recipient", words, line))
        return None
    must_be_valid = tenant.recipient_check == "valid"
    if (must_be_valid or warn) and not _in_numbering_plan(to):
        words = "TO is outside the numbering plan of its country as we know it."
        problems.append(Problem("not_in_numbering_plan", words, line, must_be_valid))
    return to


def _in_numbering_plan(to: str) -> bool:
    number = to.rpartition(":")[2]
    return not number.startswith("+") or in_numbering_plan(number)


def _clean(value: str | None, problems: list[Problem]) -> str | None:
    """Trim an attribute and look through it as through a creative's value."""
    if value is None or not (value := value.strip()):
        return None
    if "{{" in value or not value.isprintable():
        problems.extend(value_problems(value, None))
    return value


def parse_recipient(value: str, region: str | None = None) -> str | None:
    """Read a recipient as E.164, keeping a channel's prefix in front of it.

    Args:
        value: a number as people write it, or ``whatsapp:``, ``rcs:``, ``messenger:`` and an address.
        region: the country of national numbers, such as ``US``. Without one, 8 to 15 digits
            without ``+`` are read as if they had it.

    Returns:
        The address, or ``None`` where it is not a possible number.
    """
    prefix = _PREFIX.match(value)
    if prefix is None:
        return to_e164(value, region)
    channel, address = prefix[1].lower(), value[prefix.end() :].strip()
    if channel == Channel.MESSENGER:
        return f"{channel}:{address}" if _CHANNEL_ID.fullmatch(address) else None
    number = to_e164(address, region)
    return f"{channel}:{number}" if number else None


@lru_cache(maxsize=4096)
def parse_sender(value: str) -> str | None:
    """Read a sender: E.164 by its shape, short code, alphanumeric name, ``MG...``, or a channel's.

    Numbers are not checked against numbering plans: whether the account owns it, Twilio knows.
    """
    prefix = _PREFIX.match(value)
    if prefix is not None:
        address = value[prefix.end() :].strip()
        number = PUNCTUATION.sub("", address)
        if E164.fullmatch(number):
            return f"{prefix[1].lower()}:{number}"
        named = prefix[1].lower() != Channel.WHATSAPP and _CHANNEL_ID.fullmatch(address)
        return f"{prefix[1].lower()}:{address}" if named else None
    if value.startswith("+"):
        number = PUNCTUATION.sub("", value)
        return number if E164.fullmatch(number) else None
    for shape in (_SERVICE, _SHORT_CODE, _ALPHANUMERIC):
        if shape.fullmatch(value):
            return value
    return None
