"""Twilio's error codes: every one has a class and words, and unknown ones a class as well."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci360_twilio.core.codes import _ROWS, CODES, explain, failure_of
from ci360_twilio.errors import Failure

EXPECTED = {
    11200: Failure.WEBHOOK,
    14107: Failure.RETRY_LATER,
    20001: Failure.PERMANENT_REQUEST,
    20003: Failure.CONFIG,
    20404: Failure.CONFIG,
    20409: Failure.PERMANENT_REQUEST,
    20429: Failure.RETRY_SAFE,
    20500: Failure.AMBIGUOUS,
    20503: Failure.AMBIGUOUS,
    21211: Failure.PERMANENT_RECIPIENT,
    21408: Failure.CONFIG,
    21606: Failure.CONFIG,
    21608: Failure.CONFIG,
    21610: Failure.OPTED_OUT,
    21611: Failure.RETRY_LATER,
    21614: Failure.PERMANENT_RECIPIENT,
    21617: Failure.PERMANENT_CONTENT,
    21620: Failure.PERMANENT_CONTENT,
    21703: Failure.CONFIG,
    21730: Failure.AMBIGUOUS,
    30001: Failure.RETRY_LATER,
    30003: Failure.TRANSIENT,
    30005: Failure.PERMANENT_RECIPIENT,
    30007: Failure.PERMANENT_CONTENT,
    30008: Failure.TRANSIENT,
    30010: Failure.PERMANENT_REQUEST,
    30023: Failure.RETRY_LATER,
    30034: Failure.CONFIG,
    30036: Failure.EXPIRED,
    30610: Failure.RETRY_LATER,
    35125: Failure.RETRY_LATER,
    63014: Failure.OPTED_OUT,
    63016: Failure.PERMANENT_CONTENT,
    63024: Failure.PERMANENT_RECIPIENT,
    63040: Failure.CONFIG,
}
UNKNOWN = 99999
codes = st.sampled_from([*CODES, UNKNOWN]) | st.integers(min_value=1) | st.none()


@pytest.mark.parametrize(("code", "failure"), EXPECTED.items())
def test_a_code_has_the_class_that_sending_relies_on(code: int, failure: Failure) -> None:
    """In a receipt, and in the answer with the status that goes with it."""
    assert CODES[code].failure is failure
    assert failure_of(code, None) is failure
    assert failure_of(code, 400) is failure


@pytest.mark.parametrize("number", CODES)
def test_every_code_has_words_that_are_whole_sentences(number: int) -> None:
    """A meaning and an advice, each short, begun with a capital and ended with a full stop."""
    code = CODES[number]
    assert code.number == number
    for words in (code.meaning, code.advice):
        assert re.fullmatch(r"[A-Z0-9].{12,118}[^ .]\.", words), words
        assert "  " not in words
    assert code.meaning != code.advice


def test_the_table_names_no_code_twice() -> None:
    """A second row would silently win over the first."""
    rows = [number for group in _ROWS.values() for number, _, _ in group]
    assert len(rows) == len(set(rows)) == 148


def test_every_class_of_failure_has_a_code() -> None:
    """No class is there that nothing leads to."""
    assert {code.failure for code in CODES.values()} == set(Failure)


@given(codes, st.integers(500, 599) | st.just(408))
def test_a_5xx_and_a_timeout_are_ambiguous_whatever_the_code(code: int | None, status: int) -> None:
    """Neither says that no message was made, even where its code would."""
    assert failure_of(code, status) is Failure.AMBIGUOUS


@given(codes, st.integers(100, 299))
def test_an_answer_that_is_no_error_is_ambiguous(code: int | None, status: int) -> None:
    """It was asked about as a failure and does not say that no message was made."""
    assert failure_of(code, status) is Failure.AMBIGUOUS


@pytest.mark.parametrize("code", [None, UNKNOWN])
@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (302, Failure.CONFIG),
        (400, Failure.PERMANENT_REQUEST),
        (401, Failure.CONFIG),
        (403, Failure.CONFIG),
        (404, Failure.CONFIG),
        (405, Failure.PERMANENT_REQUEST),
        (422, Failure.PERMANENT_REQUEST),
        (429, Failure.RETRY_SAFE),
        (499, Failure.PERMANENT_REQUEST),
    ],
)
def test_without_a_known_code_the_status_decides(
    code: int | None, status: int, failure: Failure
) -> None:
    """An unknown code is treated as none."""
    assert failure_of(code, status) is failure


@pytest.mark.parametrize("code", [None, UNKNOWN])
def test_an_unknown_code_of_a_receipt_is_transient(code: int | None) -> None:
    """It blames neither the recipient nor the content, and does not pause the sender."""
    assert failure_of(code, None) is Failure.TRANSIENT


def test_a_known_code_goes_before_the_status() -> None:
    """The queue of a sender is full for hours, even if the status speaks of too many requests."""
    assert failure_of(21611, 429) is Failure.RETRY_LATER
    assert failure_of(21610, 404) is Failure.OPTED_OUT


def test_explain_describes_a_known_code() -> None:
    """It is the row of the table."""
    assert explain(21610) is CODES[21610]


def test_explain_finds_words_for_an_unknown_code() -> None:
    """They hold the number, so that somebody can look it up."""
    code = explain(UNKNOWN)
    assert (code.number, code.failure) == (UNKNOWN, Failure.TRANSIENT)
    assert str(UNKNOWN) in code.meaning
    assert str(UNKNOWN) in code.advice
