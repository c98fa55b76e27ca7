"""Twilio's error codes: every one has a class and words, and unknown ones a class as well."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci360_twilio.core.codes import (
    _CONCERNS,
    _ROWS,
    CODES,
    SENDER_TROUBLE,
    Concern,
    concern_of,
    explain,
    failure_of,
)
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


# Whom an error concerns


@pytest.mark.parametrize(
    ("code", "concern"),
    [
        (20003, Concern.TENANT),
        (20404, Concern.TENANT),
        (30002, Concern.TENANT),
        (21212, Concern.SENDER),
        (21606, Concern.SENDER),
        (21703, Concern.SENDER),
        (30034, Concern.SENDER),
        (63007, Concern.SENDER),
        (21408, Concern.COUNTRY),
        (21211, None),
        (21608, None),
        (21610, None),
        (21617, None),
        (30007, None),
        (UNKNOWN, None),
    ],
)
def test_a_code_says_whom_it_concerns(code: int, concern: Concern | None) -> None:
    """The account, the sender, the country; else it is about one message, and nothing is paused."""
    assert concern_of(code, 400) is concern


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_login_without_a_code_concerns_the_tenant(status: int) -> None:
    """A proxy or a wrong address in front of Twilio answers without one."""
    assert concern_of(None, status) is Concern.TENANT


@pytest.mark.parametrize("status", [400, 405, 409, 422, 429, 500, 503])
def test_any_other_answer_without_a_code_concerns_nobody_else(status: int) -> None:
    """It may be about this message alone."""
    assert concern_of(None, status) is None


@given(codes)
def test_a_401_always_concerns_the_tenant(code: int | None) -> None:
    """Whatever its code: the credentials do not fit."""
    assert concern_of(code, 401) is Concern.TENANT


@pytest.mark.parametrize("status", [403, 404])
def test_a_code_goes_before_a_403_and_a_404(status: int) -> None:
    """They are said of opt-outs and messages, too."""
    assert concern_of(21610, status) is None
    assert concern_of(21606, status) is Concern.SENDER


def test_a_code_concerns_one_of_them_only() -> None:
    """A second one would silently win over the first."""
    concerned = [code for group in _CONCERNS.values() for code in group]
    assert len(concerned) == len(set(concerned))
    assert set(_CONCERNS) == set(Concern)


@pytest.mark.parametrize("code", sorted(set().union(*_CONCERNS.values())))
def test_what_concerns_others_is_a_configuration_error(code: int) -> None:
    """Nothing is paused for what a recipient or a text is to blame for."""
    assert CODES[code].failure is Failure.CONFIG


def test_filters_and_missing_registrations_speak_against_the_sender() -> None:
    """What is about the recipient, or passes by itself, does not."""
    assert {30007, 30018, 30032, 30034, 30038, 30450, 63007} <= SENDER_TROUBLE
    assert SENDER_TROUBLE.isdisjoint({30003, 30005, 30006, 30008, 30036, 21610, 63016, 63024})
    assert SENDER_TROUBLE.isdisjoint(_CONCERNS[Concern.TENANT] | _CONCERNS[Concern.COUNTRY])


@pytest.mark.parametrize("code", sorted(SENDER_TROUBLE))
def test_no_code_that_speaks_against_the_sender_passes_by_itself(code: int) -> None:
    """Nor is it about the recipient."""
    assert CODES[code].failure in {Failure.CONFIG, Failure.PERMANENT_CONTENT}
