"""What becomes of an entry after an attempt that made no message."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci360_twilio.core.retry import BACKOFF, MOST_ASKED, Backoff, Decision, Verdict, decide
from ci360_twilio.errors import Failure

VERDICTS = {
    Failure.RETRY_SAFE: Verdict.RETRY,
    Failure.RETRY_LATER: Verdict.RETRY,
    Failure.TRANSIENT: Verdict.RETRY,
    Failure.CONFIG: Verdict.RETRY,
    Failure.AMBIGUOUS: Verdict.UNKNOWN,
    Failure.OPTED_OUT: Verdict.REFUSE,
    Failure.PERMANENT_RECIPIENT: Verdict.REFUSE,
    Failure.PERMANENT_CONTENT: Verdict.REFUSE,
    Failure.PERMANENT_REQUEST: Verdict.REFUSE,
    Failure.EXPIRED: Verdict.REFUSE,
    Failure.WEBHOOK: Verdict.REFUSE,
}
RETRIED = [failure for failure in Failure if VERDICTS[failure] is Verdict.RETRY]
jitters = st.floats(min_value=0, max_value=1, exclude_max=True)
attempts = st.integers(min_value=1, max_value=100_000)


@pytest.mark.parametrize("failure", Failure)
def test_every_failure_has_its_verdict(failure: Failure) -> None:
    """However often it has been tried; only a lost answer is unknown."""
    for attempt in (1, 2, 1000):
        assert decide(failure, attempt, 0.5).verdict is VERDICTS[failure]


@pytest.mark.parametrize("failure", [f for f in Failure if f not in RETRIED])
def test_what_is_not_tried_again_has_nothing_to_wait_for(failure: Failure) -> None:
    """Whatever Twilio asked for."""
    assert decide(failure, 1, 0.0, 30.0) == Decision(VERDICTS[failure], timedelta(0))


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(1, 0.5), (2, 1), (3, 2), (7, 32), (8, 60), (9, 60), (10**6, 60)]
)
def test_the_wait_doubles_up_to_a_limit(attempt: int, seconds: float) -> None:
    """Without jitter; the first try after a busy Twilio comes soon."""
    assert decide(Failure.RETRY_SAFE, attempt, 0.0).wait == timedelta(seconds=seconds)


def test_jitter_shortens_a_wait_by_up_to_a_half() -> None:
    """So that those that failed together do not come back together."""
    backoff = Backoff(first=8, most=100)
    assert backoff.wait(1, 0.0) == timedelta(seconds=8)
    assert backoff.wait(1, 0.5) == timedelta(seconds=6)
    assert backoff.wait(2, 0.5) == timedelta(seconds=12)


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [(None, 0.5), (0.0, 0.5), (-5.0, 0.5), (0.1, 0.5), (7.5, 7.5), (MOST_ASKED, 3600)],
)
def test_what_twilio_asks_for_lengthens_the_wait_and_never_shortens_it(
    asked: float | None, seconds: float
) -> None:
    """In seconds."""
    assert decide(Failure.RETRY_SAFE, 1, 0.0, asked).wait == timedelta(seconds=seconds)


@pytest.mark.parametrize("asked", [3601.0, 1e9, float("inf")])
def test_what_twilio_asks_for_has_a_limit(asked: float) -> None:
    """A mistaken header must not park a campaign for days."""
    assert decide(Failure.RETRY_SAFE, 1, 0.0, asked).wait == timedelta(seconds=MOST_ASKED)


@given(failure=st.sampled_from(RETRIED), attempt=attempts, jitter=jitters, asked=st.floats(0))
@settings(max_examples=200, deadline=None)
def test_every_retry_comes_later_and_within_bounds(
    failure: Failure, attempt: int, jitter: float, asked: float
) -> None:
    """At least half the first wait, at most the limit or what was asked for."""
    backoff = BACKOFF[failure]
    verdict, wait = decide(failure, attempt, jitter)
    assert verdict is Verdict.RETRY
    assert backoff.first / 2 <= wait.total_seconds() <= backoff.most
    longer = decide(failure, attempt, jitter, asked).wait
    assert wait <= longer <= max(wait, timedelta(seconds=MOST_ASKED))


@given(failure=st.sampled_from(RETRIED), attempt=attempts, jitter=jitters)
@settings(max_examples=200, deadline=None)
def test_waits_never_shrink_from_one_attempt_to_the_next(
    failure: Failure, attempt: int, jitter: float
) -> None:
    """With the same jitter."""
    assert decide(failure, attempt, jitter).wait <= decide(failure, attempt + 1, jitter).wait
