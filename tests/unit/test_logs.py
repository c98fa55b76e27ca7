"""The log: one JSON object per line, and nothing personal in any of them."""

from __future__ import annotations

import base64
import io
import json
import logging
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import ci360_twilio.logs as logs
from ci360_twilio.core.entry import Status
from ci360_twilio.logs import (
    LEVELS,
    ForeignHandler,
    Log,
    capture_foreign,
    mask,
    mask_number,
    safe_guid,
    safe_task,
)

ACCOUNT = "AC" + "a1" * 16


@pytest.fixture
def stream() -> io.StringIO:
    """Where the log of a test goes."""
    return io.StringIO()


@pytest.fixture
def log(stream: io.StringIO) -> Log:
    """A log at DEBUG."""
    return Log(stream, level="debug")


@pytest.fixture
def foreign(log: Log) -> Iterator[Log]:
    """A log that has taken over the standard library's; afterwards all is as before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    capture_foreign(log)
    yield log
    root.handlers[:], root.level = handlers, level


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """Read what was written, one object per line."""
    return [json.loads(line) for line in stream.getvalue().split("\n") if line]


# The shape of a line


def test_a_line_is_one_json_object(log: Log, stream: io.StringIO) -> None:
    """It carries the time, the level, the event and the fields."""
    log.info("message.sent", decision="made", ms=1.5)
    (line,) = lines(stream)
    at = datetime.fromisoformat(line.pop("at"))
    assert line == {"level": "info", "event": "message.sent", "decision": "made", "ms": 1.5}
    assert at.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - at) < timedelta(minutes=1)
    assert stream.getvalue().endswith("}\n")


def test_every_line_carries_the_common_fields(stream: io.StringIO) -> None:
    """A process says once who it is; a line's own fields win."""
    log = Log(stream, process="worker", tenant="x")
    log.info("one")
    log.info("two", tenant="y")
    assert [(line["process"], line["tenant"]) for line in lines(stream)] == [
        ("worker", "x"),
        ("worker", "y"),
    ]


def test_control_characters_are_escaped(log: Log, stream: io.StringIO) -> None:
    """A value cannot start a line of its own or steer a terminal."""
    hostile = 'a\n{"event":"forged"}\r\n\x1b[31m\x00\x08\t"'
    log.info("one", value=hostile)
    assert stream.getvalue().count("\n") == 1
    assert not [c for c in stream.getvalue()[:-1] if ord(c) < 32]
    assert lines(stream)[0]["value"] == hostile


@pytest.mark.parametrize("character", ["\x7f", "\x85", "\x9b", "\u2028", "\u2029"])
def test_what_else_ends_a_line_or_steers_a_terminal_is_escaped_too(
    log: Log, stream: io.StringIO, character: str
) -> None:
    """DEL, the C1 controls and Unicode's line ends: many readers split lines at them."""
    log.info("one", value=f"a{character}[31mb")
    assert character not in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 1
    assert lines(stream)[0]["value"] == f"a{character}[31mb"


def test_values_of_other_types_are_written_as_text(log: Log, stream: io.StringIO) -> None:
    """A log line never fails for a value it does not know."""
    log.info("one", status=Status.SENT, at=datetime(2026, 3, 2, tzinfo=UTC), odd=object, path=None)
    (line,) = lines(stream)
    assert (line["status"], line["path"]) == ("sent", None)
    assert line["at"].startswith("2026-03-02")
    assert "object" in line["odd"]


def test_a_batch_is_written_in_one_go() -> None:
    """So that the lines of two threads do not mix, and a batch costs one write."""
    writes: list[str] = []

    class Counting(io.StringIO):
        def write(self, text: str) -> int:
            writes.append(text)
            return len(text)

    Log(Counting()).info_many(("event", {"number": number}) for number in range(3))
    assert [json.loads(line)["number"] for line in writes[0].splitlines()] == [0, 1, 2]
    assert len(writes) == 1


def test_an_empty_batch_writes_nothing(log: Log, stream: io.StringIO) -> None:
    """Not even an empty line."""
    log.info_many([])
    assert stream.getvalue() == ""


def test_without_a_stream_lines_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """It is looked up when writing, so that a process may replace it."""
    Log().warning("one")
    captured = capsys.readouterr()
    assert json.loads(captured.err)["event"] == "one"
    assert captured.out == ""


def test_events_have_names_of_their_own() -> None:
    """What it is about, and what happened to it; metrics and people's searches go by them."""
    names = [value for value in vars(logs).values() if isinstance(value, str)]
    names = [name for name in names if re.fullmatch(r"[a-z]+\.[a-z]+", name)]
    assert {"event.accepted", "message.sent", "receipt.settled", "receipt.refused"} <= set(names)
    assert len(set(names)) == len(names)


# Levels and observers


@pytest.mark.parametrize("level", LEVELS)
def test_lines_below_the_level_are_not_written(stream: io.StringIO, level: str) -> None:
    """Each level shows itself and what is graver."""
    log = Log(stream, level=level)
    for name in LEVELS:
        getattr(log, name)(f"{name}.event")
    shown = [line["level"] for line in lines(stream)]
    assert shown == [name for name in LEVELS if LEVELS[name] >= LEVELS[level]]


def test_observers_hear_of_every_event_whatever_the_level(stream: io.StringIO) -> None:
    """Metrics count what the log leaves out; each event once."""
    heard: list[tuple[str, dict[str, Any]]] = []
    log = Log(
        stream, level="error", observers=[lambda event, fields: heard.append((event, fields))]
    )
    log.debug("one", a=1)
    log.info_many([("two", {"b": 2}), ("three", {})])
    assert heard == [("one", {"a": 1}), ("two", {"b": 2}), ("three", {})]
    assert stream.getvalue() == ""


def test_an_observer_may_be_added_later(log: Log) -> None:
    """The server adds metrics once it has its parts."""
    heard: list[str] = []
    log.observers.append(lambda event, _: heard.append(event))
    log.info("one")
    assert heard == ["one"]


class BrokenPipe(io.StringIO):
    """Standard error after its reader has gone."""

    def write(self, _text: str) -> int:
        """Fail as the system does."""
        raise BrokenPipeError(32, "Broken pipe")


def test_a_log_that_cannot_be_written_does_not_stop_the_work() -> None:
    """A message that Twilio made is recorded also when nobody reads the log any more."""
    Log(BrokenPipe()).info("message.sent", decision="made")


# Guids


@pytest.mark.parametrize("guid", [str(uuid.UUID(int=7)), "9F1D2C3B-5a6e-3c4d-8e7f-1a2b3c4d5e6f"])
def test_a_uuid_is_logged_as_it_is(guid: str) -> None:
    """CI360's guids are UUIDs, and people search the log for them."""
    assert safe_guid(guid) == guid


@pytest.mark.parametrize(
    "guid",
    [
        "+12015550142",
        "anna@example.com",
        "Hello Anna",
        "9f1d2c3b-5a6e-3c4d-8e7f-1a2b3c4d5e6f\n",
        "9f1d2c3b5a6e3c4d8e7f1a2b3c4d5e6f",
        "9f1d2c3b-5a6e-3c4d-8e7f-1a2b3c4d5e6g",
        "",
        "\ud800",
        "x" * 100_000,
    ],
)
def test_any_other_guid_is_logged_as_a_short_hash(guid: str) -> None:
    """It comes from outside and may be a number or a name."""
    shown = safe_guid(guid)
    assert shown.startswith("sha256:")
    assert len(shown) == len("sha256:") + 16
    assert safe_guid(guid) == shown
    assert safe_guid(guid + "x") != shown


@pytest.mark.parametrize("code", ["TSK_539", "AB_1", "TASKCODE_999999"])
def test_a_tasks_code_is_logged_as_it_is(code: str) -> None:
    """People know a task by it."""
    assert safe_task(code) == code


@pytest.mark.parametrize(
    "code", ["+12015550142", "TSK_12015550142", "tsk_1", "Anna", "TSK_539\n", "TSK_\u0661", ""]
)
def test_anything_else_in_its_place_is_logged_as_a_short_hash(code: str) -> None:
    """A custom body may put anything there."""
    shown = safe_task(code)
    assert shown is not None
    assert shown.startswith("sha256:")


def test_without_a_task_there_is_nothing_to_log() -> None:
    """An event need not come from one."""
    assert safe_task(None) is None


# Masks


NUMBER = "12015550142"
WRITTEN = {
    "E.164": "+12015550142",
    "bare": "12015550142",
    "with 00": "0012015550142",
    "spaced": "+1 201 555 0142",
    "dotted": "+1.201.555.0142",
    "dashed": "1-201-555-0142",
    "american": "+1 (201) 555-0142",
    "american, short": "(201) 555-0142",
    "german": "0201/555-0142",
    "two spaces": "+1  201  555  0142",
    "no-break spaces": "+1\u00a0201\u00a0555\u00a00142",
    "en dashes": "+1\u2013201\u2013555\u20130142",
    "percent-encoded": "%2B12015550142",
    "percent-encoded, small": "%2b12015550142",
    "percent-encoded spaces": "%2B1%20201%20555%200142",
    "form-encoded spaces": "%2B1+201+555+0142",
    "in a channel": "whatsapp:+12015550142",
    "channel, percent-encoded": "whatsapp%3A%2B12015550142",
    "arabic digits": "+\u0661\u0662\u0660\u0661\u0665\u0665\u0665\u0660\u0661\u0664\u0662",
}


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN.keys())
def test_a_number_is_masked_however_it_is_written(written: str) -> None:
    """At most its country's code or a channel is left to see."""
    masked = mask(f"could not send to {written}, giving up")
    assert masked.startswith("could not send to ")
    assert masked.endswith(", giving up")
    digits = "".join(c for c in masked.replace("%20", "").replace("%2B", "") if c.isdigit())
    assert len(digits) <= 1, masked


@pytest.mark.parametrize(
    "credential",
    [
        "Authorization: Basic QUMxMjM6dG9rZW4=",
        "authorization: basic QUMxMjM6dG9rZW4=",
        "Authorization: Bearer eyJhbGciOi.eyJzdWIi.SflKxw",
        '{"Authorization": "Bearer eyJhbGciOi.eyJzdWIi.SflKxw"}',
        f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json",
        "user SK" + "0f" * 16,
    ],
)
def test_credentials_are_masked(credential: str) -> None:
    """Headers with a scheme, account SIDs and API keys."""
    masked = mask(credential)
    for secret in ("QUMxMjM6dG9rZW4", "eyJ", "SflKxw", "a1a1", "0f0f"):
        assert secret not in masked
    assert "***" in masked


def test_a_number_inside_a_basic_header_is_gone_with_it() -> None:
    """Base64 of a number reads as no number; the header goes as a whole."""
    encoded = base64.b64encode(b"+12015550142:secret").decode()
    assert encoded not in mask(f"sent Basic {encoded}")


def test_words_and_small_numbers_are_left() -> None:
    """The log stays useful: statuses, ports and times can be read."""
    text = "GET /readyz answered 503 after 31.5 s on port 8360, attempt 2 of 3"
    assert mask(text) == text


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("+12015550142", "+*********42"),
        ("whatsapp:+12015550142", "whatsapp:+*********42"),
        ("12015550142", "*********42"),
        ("messenger:1234567890", "messenger:********90"),
        ("+1201555", "+*****55"),
        ("40404", "40404"),
        ("MyBrand", "*****nd"),
        ("", ""),
    ],
)
def test_a_recipient_is_shown_by_its_last_two_digits(address: str, shown: str) -> None:
    """Enough to tell two customers apart on the phone; short codes are public."""
    assert mask_number(address) == shown


# Foreign libraries


def test_a_foreign_warning_becomes_a_masked_line(foreign: Log, stream: io.StringIO) -> None:
    """With the library's name, and without what it tells of people."""
    logging.getLogger("urllib3.connectionpool").warning("Retrying %s", "/To=%2B12015550142")
    (line,) = lines(stream)
    assert (line["level"], line["event"]) == ("warning", "library.message")
    assert line["logger"] == "urllib3.connectionpool"
    assert "2015550142" not in line["message"]


def test_a_foreign_error_stays_an_error(foreign: Log, stream: io.StringIO) -> None:
    """CRITICAL counts as error too."""
    logging.getLogger("asyncio").error("one")
    logging.getLogger("asyncio").critical("two")
    assert [line["level"] for line in lines(stream)] == ["error", "error"]


@pytest.mark.parametrize("name", ["urllib3", "urllib3.connectionpool", "botocore", "uvicorn.error"])
@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO])
def test_foreign_lines_below_warning_are_dropped_whatever_their_logger_says(
    foreign: Log, stream: io.StringIO, name: str, level: int
) -> None:
    """urllib3 logs addresses and botocore answers with secrets when told to be talkative."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        logger.log(level, "POST /Messages.json?To=+12015550142")
    finally:
        logger.setLevel(before)
    assert stream.getvalue() == ""


def test_what_was_set_up_before_is_replaced(log: Log, stream: io.StringIO) -> None:
    """Lambda's runtime brings a handler of its own, which writes lines as they are."""
    root, before = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    root.addHandler(logging.StreamHandler(before))
    try:
        capture_foreign(log)
        capture_foreign(log)
        logging.getLogger("any").warning("one")
    finally:
        root.handlers[:], root.level = handlers, level
    assert before.getvalue() == ""
    assert len(lines(stream)) == 1


def test_an_exception_is_named_by_its_type_only(foreign: Log, stream: io.StringIO) -> None:
    """Its text may hold anything, and so may the lines of its traceback."""
    try:
        raise ValueError("+12015550142 said hello")
    except ValueError:
        logging.getLogger("any").exception("it failed")
    (line,) = lines(stream)
    assert line["error"] == "ValueError"
    assert "hello" not in stream.getvalue()


def test_a_foreign_line_is_cut_after_it_is_masked(foreign: Log, stream: io.StringIO) -> None:
    """A number that straddles the cut is not left in part."""
    logging.getLogger("any").warning("%s+12015550142", "x" * 494)
    (line,) = lines(stream)
    assert len(line["message"]) <= 500
    assert not any(c.isdigit() for c in line["message"])


def test_a_foreign_line_that_cannot_be_formatted_raises_nothing(log: Log) -> None:
    """A mistake in a library's logging call does not break the call around it."""
    arguments = ("many",)
    record = logging.LogRecord("any", logging.ERROR, __file__, 1, "%d messages", arguments, None)
    ForeignHandler(log).handle(record)


def test_an_observer_does_not_hear_a_foreign_line_as_one_of_ours(log: Log) -> None:
    """It has an event name of its own, so that metrics do not count it."""
    heard: list[str] = []
    log.observers.append(lambda event, _: heard.append(event))
    record = logging.LogRecord("any", logging.WARNING, __file__, 1, "message.sent", None, None)
    ForeignHandler(log).emit(record)
    assert heard == ["library.message"]
