"""Statuses and reasons in words."""

from __future__ import annotations

import ast
from datetime import UTC, datetime

import pytest
from tests.unit.core.gates import SRC, problems_of_the_gates

from ci360_twilio.core.codes import explain
from ci360_twilio.core.entry import Entry, Status, key_of
from ci360_twilio.core.reasons import REASON_WORDS, STATUS_WORDS, in_words, reason_words
from ci360_twilio.core.tenant import TenantId

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def entry(status: Status, reason: str | None = None) -> Entry:
    """Give an entry."""
    tenant = TenantId("demo")
    return Entry(
        key=key_of(tenant, "g"),
        tenant_id=tenant,
        guid="g",
        status=status,
        reason=reason,
        created_at=NOW,
        due_at=NOW,
        expires_at=NOW,
        purge_at=NOW,
    )


def reasons_in_the_source() -> set[str]:
    """Give every reason that is written out where an entry, a fact or an error is made."""
    found = set()
    for path in SRC.rglob("*.py"):
        if path.parts[-2] in ("twin", "console"):  # why somebody was not let in stands in no ledger
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "reason":
                found |= {
                    one.value
                    for one in ast.walk(node.value)
                    if isinstance(one, ast.Constant) and isinstance(one.value, str)
                }
    return {reason for reason in found if reason.isidentifier() and not reason.endswith("_")}


@pytest.mark.parametrize("status", Status)
def test_every_status_has_words(status: Status) -> None:
    """A sentence each, no two alike."""
    assert STATUS_WORDS[status].endswith(".")
    assert in_words(entry(status)) == STATUS_WORDS[status]
    assert len(set(STATUS_WORDS.values())) == len(Status)


@pytest.mark.parametrize("reason", sorted(REASON_WORDS))
def test_every_reason_reads_as_a_sentence(reason: str) -> None:
    """A marketer reads them."""
    words = reason_words(reason)
    assert words == REASON_WORDS[reason]
    assert words[0].isupper()
    assert words.endswith(".")
    assert "_" not in words


def test_every_problem_of_a_creative_has_words() -> None:
    """The first problem is the reason of the refused entry; warnings are none."""
    codes = problems_of_the_gates()
    assert {"merge_tag", "no_recipient", "html_creative"} < codes
    assert codes - set(REASON_WORDS) == set()


def test_every_reason_in_the_source_has_words() -> None:
    """What is answered or said on the spot is never recorded, so that nobody asks what it means."""
    said_at_once = {"test", "event_type", "too_large", "not_an_address", "no_key"}
    assert reasons_in_the_source() - said_at_once - set(REASON_WORDS) == set()


def test_twilios_codes_are_explained_with_their_number() -> None:
    """So that somebody can look them up."""
    words = reason_words("twilio_21211")
    assert words.startswith(explain(21211).meaning)
    assert "21211" in words
    assert "99999" in reason_words("twilio_99999")


def test_twilios_bare_statuses_are_told() -> None:
    """Where Twilio, or something in front of it, answered without a code."""
    assert reason_words("twilio_http_503") == "Twilio answered 503."


@pytest.mark.parametrize("reason", ["of_a_later_version", "x", "http_503"])
def test_a_reason_that_nobody_knows_is_shown_as_it_is(reason: str) -> None:
    """A ledger may have been written by a later version."""
    assert reason_words(reason) == reason


def test_status_and_reason_stand_together() -> None:
    """First what, then why."""
    assert in_words(entry(Status.SUPPRESSED, "control_group")) == (
        "It was not sent, on purpose. The customer is in the control group."
    )


def test_an_accepted_entry_with_a_reason_has_been_tried() -> None:
    """And will be again."""
    words = in_words(entry(Status.ACCEPTED, "connect_refused"))
    assert words.startswith("It has not been sent yet, and will be tried again. ")
    assert words.endswith(REASON_WORDS["connect_refused"])
    assert in_words(entry(Status.ACCEPTED)) == STATUS_WORDS[Status.ACCEPTED]
