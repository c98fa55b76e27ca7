"""What to do about a message that did not arrive."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests.unit.core.gates import problems_of_the_gates

from ci360_twilio.core import advice
from ci360_twilio.core.advice import advice_for, advice_on
from ci360_twilio.core.codes import CODES
from ci360_twilio.core.entry import Entry, Status, key_of
from ci360_twilio.core.reasons import REASON_WORDS
from ci360_twilio.core.tenant import TenantId

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
STUCK = {Status.UNKNOWN, Status.HELD, Status.EXPIRED, Status.UNDELIVERED, Status.FAILED}


def entry(status: Status, reason: str | None = None, error_code: int | None = None) -> Entry:
    """Give an entry."""
    tenant = TenantId("demo")
    return Entry(
        key=key_of(tenant, "g"),
        tenant_id=tenant,
        guid="g",
        status=status,
        reason=reason,
        error_code=error_code,
        created_at=NOW,
        due_at=NOW,
        expires_at=NOW,
        purge_at=NOW,
    )


def test_whatever_keeps_a_creative_from_being_sent_comes_with_how_to_mend_it() -> None:
    """No problem of the gates is left without advice."""
    problems = problems_of_the_gates()
    assert len(problems) > 8
    assert {code for code in problems if advice_for(code) is None} == set()


def test_there_is_advice_about_known_reasons_only() -> None:
    """A reason that is renamed takes its advice along."""
    assert {*advice._BY_REASON} <= {*REASON_WORDS}


def test_advice_is_whole_sentences() -> None:
    """They are read by marketers."""
    for words in (*advice._BY_REASON.values(), *advice._BY_STATUS.values()):
        assert words[0].isupper()
        assert words.endswith(".")
        assert len(words) < 200


def test_an_unknown_problem_has_no_advice() -> None:
    """Rather none than wrong one."""
    assert advice_for("no such problem") is None
    assert advice_for("") is None


@pytest.mark.parametrize("status", Status)
def test_a_bare_status_has_advice_where_something_is_to_be_done(status: Status) -> None:
    """What is under way, has arrived or was meant to end so needs none."""
    assert (advice_on(entry(status)) is not None) is (status in STUCK)


@pytest.mark.parametrize("status", [Status.REFUSED, Status.FAILED, Status.UNDELIVERED])
def test_twilios_error_decides_before_our_reason(status: Status) -> None:
    """The code is more exact than the word that it was filed under."""
    assert advice_on(entry(status, "opted_out", 30003)) == CODES[30003].advice


def test_an_error_that_nobody_knows_still_has_advice() -> None:
    """It is to be looked up."""
    found = advice_on(entry(Status.FAILED, "twilio_99999", 99999))
    assert found is not None
    assert "99999" in found


@pytest.mark.parametrize("status", [Status.DELIVERED, Status.READ])
def test_what_has_arrived_after_an_error_needs_nothing(status: Status) -> None:
    """The error was of an attempt that was mended."""
    assert advice_on(entry(status, None, 30003)) is None


@pytest.mark.parametrize("reason", sorted(advice._BY_REASON))
def test_a_reason_decides_before_the_status(reason: str) -> None:
    """Whatever the status says of most entries."""
    for status in (Status.REFUSED, Status.SUPPRESSED, Status.HELD, Status.EXPIRED):
        assert advice_on(entry(status, reason)) == advice_for(reason)


def test_a_reason_without_advice_leaves_the_word_to_the_status() -> None:
    """What is held is looked up, for whatever reason."""
    assert advice_on(entry(Status.HELD, "no such reason")) == advice_on(entry(Status.HELD))
