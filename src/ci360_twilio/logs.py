"""One wide structured line per step, as JSON, and nothing personal in any of them.

Lines are written by :class:`Log` and carry ids, decisions and durations only. A guid is an id by
contract but comes from outside: :func:`safe_guid` shows it only where it looks like one. Lines of
foreign libraries pass through :class:`ForeignHandler`, from WARNING up and masked, since their
debug output holds addresses with numbers and answers with secrets.
"""

from __future__ import annotations

import hashlib
import logging
import re
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import IO, Any

import msgspec

EVENT_ACCEPTED = "event.accepted"
"""An event went through the gates; ``decision`` says with what verdict."""
EVENT_REJECTED = "event.rejected"
"""A request that never became an entry."""
MESSAGE_SENT = "message.sent"
"""An attempt to send ended; ``decision`` says how."""
ENTRY_SWEPT = "entry.swept"
"""Time overtook an entry: a lease ended, or it expired."""
ENTRY_SUPPRESSED = "entry.suppressed"
"""The recipient opted out after the event was accepted, and before anything was sent."""
LEDGER_PURGED = "ledger.purged"
PAUSE_TRIPPED = "pause.tripped"
"""Errors, or final statuses, pause the tenant, the sender or the country that they concern."""
PAUSE_LIFTED = "pause.lifted"
"""A pause was lifted by itself: its probe went out, or was delivered where that is what counts."""
RECEIPT_SETTLED = "receipt.settled"
"""A status callback was dealt with; ``decision`` says with what result."""
RECEIPT_REFUSED = "receipt.refused"
"""A status callback that is not Twilio's for this tenant, or that must come again."""
INBOUND_HEARD = "inbound.heard"
"""A customer's message was taken; ``decision`` says what it is, ``consent`` what it changed."""
INBOUND_REFUSED = "inbound.refused"
"""An inbound message that is not Twilio's for this tenant, or that must come again."""
INBOUND_DATED = "inbound.dated"
"""Twilio was asked when customers wrote what decides about their consent."""
INBOUND_LISTED = "inbound.listed"
"""Twilio's list was looked through for inbound messages that no webhook brought."""
OUTCOME_REPORTED = "outcome.reported"
"""CI360 was told of an outcome; ``decision`` says with what result."""
REPORTS_PAUSED = "reports.paused"
"""CI360 does not take the tenant's token: reports wait until it does."""
REPORTS_RESUMED = "reports.resumed"
CONSENT_CHANGED = "consent.changed"
"""A person, a list or CI360 changed consents; never who they are of."""
PERSON_ERASED = "person.erased"
JOB_CHANGED = "job.changed"
"""A bulk job was received, or has come to another state, which ``decision`` says."""
JOB_REJECTED = "job.rejected"
"""A request that never became a job."""

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}

Observer = Callable[[str, dict[str, Any]], None]

_encode = msgspec.json.Encoder(enc_hook=str).encode

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TASK = re.compile(r"[A-Z]{2,8}_[0-9]{1,6}")
_STEERS = re.compile(r"[\x7f-\x9f\u2028\u2029]")
"""What JSON leaves as it is, and readers take for the end of a line or a command."""
_DIGITS = re.compile(
    r"(?:\+|%2[bB]|\()?\d(?:(?:[ ().\-/+\u00a0\u2010-\u2015]|%20|%2[89dDfF])*\d){5,}"
)
_CREDENTIAL = re.compile(r"(?i)\b(?:basic|bearer)\s+\S+|\b(?:AC|SK)[0-9a-f]{32}\b")


class Log:
    """Writes lines, and tells observers (metrics) of the same events."""

    def __init__(
        self,
        stream: IO[str] | None = None,
        *,
        level: str = "info",
        observers: Iterable[Observer] = (),
        **common: object,
    ) -> None:
        """Make a log.

        Args:
            stream: where lines go; standard error unless told, looked up when writing.
            level: the lowest level that is written.
            observers: called with every event's name and fields, whatever its level.
            common: fields that every line carries.
        """
        self._stream = stream
        self._level = LEVELS[level]
        self.observers = list(observers)
        self._common: dict[str, object] = common

    def carry(self, **common: object) -> None:
        """Have every further line carry these, too, such as whose invocation this is."""
        self._common = self._common | common

    def debug(self, event: str, **fields: Any) -> None:
        """Write a line that helps to follow one request."""
        self._write("debug", [(event, fields)])

    def info(self, event: str, **fields: Any) -> None:
        """Write a line about a step that went as intended."""
        self._write("info", [(event, fields)])

    def info_many(self, events: Iterable[tuple[str, dict[str, Any]]]) -> None:
        """Write a batch of lines in one go."""
        self._write("info", events)

    def warning(self, event: str, **fields: Any) -> None:
        """Write a line that a person may want to look at."""
        self._write("warning", [(event, fields)])

    def error(self, event: str, **fields: Any) -> None:
        """Write a line that a person should look at."""
        self._write("error", [(event, fields)])

    def _write(self, level: str, events: Iterable[tuple[str, dict[str, Any]]]) -> None:
        lines = bytearray()
        head = {"at": datetime.now(UTC), "level": level}
        for event, fields in events:
            for observe in self.observers:
                with suppress(Exception):  # a metric that cannot be counted stops no work
                    observe(event, fields)
            if LEVELS[level] >= self._level:
                lines += _encode({**head, "event": event, **self._common, **fields}) + b"\n"
        if lines:
            stream = self._stream or sys.stderr
            text = _STEERS.sub(lambda found: f"\\u{ord(found[0]):04x}", lines.decode())
            with suppress(OSError, ValueError):  # nobody reads it any more: the work goes on
                stream.write(text)
                stream.flush()


def safe_guid(guid: str) -> str:
    """Give a guid as it may be logged: itself if it is a UUID, else a short hash of it."""
    if _UUID.fullmatch(guid):
        return guid
    return "sha256:" + hashlib.sha256(guid.encode(errors="replace")).hexdigest()[:16]


def safe_task(code: str | None) -> str | None:
    """Give a task's code as it may be logged: itself if it looks like ``TSK_539``, else a hash."""
    return code if code is None or _TASK.fullmatch(code) else safe_guid(code)


def mask(text: str) -> str:
    """Hide runs of digits that may be telephone numbers, and credentials."""
    return _DIGITS.sub("***", _CREDENTIAL.sub("***", text))


def mask_number(address: str) -> str:
    """Show a recipient or sender by its channel and last two digits: ``+*********12``."""
    prefix, colon, rest = address.rpartition(":")
    if len(rest) < 7:
        return address
    plus = "+" if rest.startswith("+") else ""
    return f"{prefix}{colon}{plus}{'*' * (len(rest) - len(plus) - 2)}{rest[-2:]}"


class ForeignHandler(logging.Handler):
    """Passes the warnings of foreign libraries on as lines of ours, masked."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; an exception is named by its type only, its text may hold anything."""
        try:
            message = mask(record.getMessage())[:500]
        except Exception as exc:  # noqa: BLE001 - a library's mistake must not break its caller
            message = f"cannot be formatted ({type(exc).__name__})"
        fields = {"logger": record.name, "message": message}
        if record.exc_info and record.exc_info[0]:
            fields["error"] = record.exc_info[0].__name__
        (self._log.error if record.levelno >= logging.ERROR else self._log.warning)(
            "library.message", **fields
        )


def capture_foreign(log: Log) -> None:
    """Send the standard library's logging through ``log``, whatever was set up before."""
    root = logging.getLogger()
    root.handlers[:] = [ForeignHandler(log)]
    root.setLevel(logging.WARNING)
