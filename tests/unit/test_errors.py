"""The error tree: every class knows its phase, its code, its status and whether a retry is safe."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ci360_twilio import errors
from ci360_twilio.errors import (
    AnswerLost,
    BeforeSending,
    ConnectorError,
    Failure,
    Issue,
    LedgerUnavailable,
    LedgerUnusable,
    NotReached,
    SendFailed,
    TwilioRefused,
)


def tree(root: type[ConnectorError]) -> Iterator[type[ConnectorError]]:
    """Give all classes below one."""
    for child in root.__subclasses__():
        yield child
        yield from tree(child)


DOOR = [error for error in tree(BeforeSending) if error.__module__ == errors.__name__]


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """Each class stands in the drawing, and the drawing names no other."""
    drawn = {
        line.replace("│", " ").replace("├──", " ").replace("└──", " ").split()[0]
        for line in (errors.__doc__ or "").splitlines()
        if "──" in line
    }
    assert drawn == {error.__name__ for error in tree(ConnectorError)}


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("NotJson", 400),
        ("BadTenantId", 400),
        ("NoCredential", 401),
        ("Forbidden", 403),
        ("TooLarge", 413),
        ("Unprocessable", 422),
        ("TenantUnavailable", 503),
        ("TenantBroken", 503),
        ("LedgerUnavailable", 503),
        ("LedgerUnusable", 503),
    ],
)
def test_each_gate_has_its_status(name: str, status: int) -> None:
    """As the contract's table has it."""
    assert getattr(errors, name).http_status == status


@pytest.mark.parametrize("error", DOOR)
def test_nothing_before_sending_is_a_500(error: type[ConnectorError]) -> None:
    """Nothing a caller sends yields one; and what never left may be tried again."""
    assert error.http_status != 500
    assert error.retry_safe


def test_codes_are_told_apart() -> None:
    """Callers and logs go by the code."""
    codes = [error.code for error in DOOR]
    assert len(set(codes)) == len(codes)
    assert all(code.replace("_", "").isalpha() and code.islower() for code in codes)


def test_an_unusable_ledger_is_an_unavailable_one() -> None:
    """Whoever handles the one handles the other."""
    assert isinstance(LedgerUnusable("Damaged."), LedgerUnavailable)


def test_an_error_keeps_its_words_and_its_issues() -> None:
    """They are answered as they are."""
    issue = Issue("guid", "is missing")
    error = ConnectorError("The event cannot be used.", issue)
    assert str(error) == error.message == "The event cannot be used."
    assert [(one.field, str(one)) for one in error.issues] == [("guid", "is missing")]


def test_only_what_did_not_reach_twilio_is_safe_to_repeat() -> None:
    """Lost answers never are; refusals are judged by their class."""
    assert NotReached.retry_safe
    assert not AnswerLost.retry_safe
    assert not TwilioRefused.retry_safe
    assert not SendFailed.retry_safe


def test_a_lost_answer_is_ambiguous_and_a_missing_connection_safe() -> None:
    """The class decides what becomes of the entry."""
    assert AnswerLost("Lost.", reason="read_timeout").failure is Failure.AMBIGUOUS
    assert NotReached("Away.", reason="dns").failure is Failure.RETRY_SAFE
    assert SendFailed("Neither.", reason="x").failure is Failure.AMBIGUOUS


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [(21610, 400, "twilio_21610"), (None, 302, "twilio_http_302"), (0, 400, "twilio_http_400")],
)
def test_a_refusal_is_named_by_its_code_or_by_its_status(
    code: int | None, status: int, reason: str
) -> None:
    """Reports and the trace show it."""
    error = TwilioRefused("No.", failure=Failure.CONFIG, status=status, twilio_code=code)
    assert error.reason == reason
    assert (error.failure, error.status, error.twilio_code) == (Failure.CONFIG, status, code)
    assert error.retry_after is None
