"""Reports: owed once, until CI360 has them, is found not to want them, or nobody wants them told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci360_twilio.core.report import (
    BACKOFF,
    QUIET,
    Answer,
    Outcome,
    Report,
    Verdict,
    answered,
    next_due,
    owe,
    owed_again,
    report_key,
    take_due,
    wait,
)

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
SECOND, MINUTE, HOUR = (timedelta(seconds=s) for s in (1, 60, 3600))
OF = "demo/g"
SID = "SM" + "0" * 32


def owed(*outcomes: Outcome, at: datetime = NOW) -> tuple[Report, ...]:
    """Give reports of outcomes, each owed since a minute after the one before."""
    reports: tuple[Report, ...] = ()
    for number, outcome in enumerate(outcomes):
        reports = owe(reports, OF, outcome, at + number * MINUTE, sid=SID)
    return reports


def told(
    reports: tuple[Report, ...],
    verdict: Verdict,
    *,
    due_at: datetime | None = None,
    words: str | None = None,
) -> tuple[Report, ...]:
    """Give reports after an answer to the first of them, a minute later."""
    return answered(reports, reports[0].key, Answer(verdict, NOW + MINUTE, due_at, words))


ONE = owed(Outcome.DELIVERED)
BOTH = owed(Outcome.UNDELIVERED, Outcome.DELIVERED)


def test_what_is_told_only_on_demand_is_not_much() -> None:
    """That a message was sent and read; all else is told unless the tenant says otherwise."""
    assert {Outcome.SENT, Outcome.READ} == QUIET


# Owing


def test_an_outcome_is_owed_from_when_it_came_about() -> None:
    """With what was known then."""
    (report,) = owe((), OF, Outcome.FAILED, NOW, sid=SID, reason="twilio_30005", error_code=30005)
    assert (report.at, report.due_at, report.attempts, report.state) == (NOW, NOW, 0, "owed")
    assert (report.sid, report.reason, report.error_code) == (SID, "twilio_30005", 30005)
    assert report.key == report_key(OF, Outcome.FAILED, SID)


@pytest.mark.parametrize("verdict", [None, *Verdict])
def test_an_outcome_is_owed_once(verdict: Verdict | None) -> None:
    """However often it comes about, and whatever has become of its report."""
    reports = told(ONE, verdict) if verdict else ONE
    assert owe(reports, OF, Outcome.DELIVERED, NOW + HOUR, sid=SID, reason="x") is reports


def test_another_outcome_is_another_report() -> None:
    """And the same one of another message, too."""
    reports = owe(BOTH, OF, Outcome.DELIVERED, NOW, sid="SM1")
    reports = owe(reports, OF, Outcome.DELIVERED, NOW)
    assert [one.outcome for one in reports] == ["undelivered", *["delivered"] * 3]
    assert len({one.key for one in reports}) == 4


def test_a_reports_key_follows_from_what_it_tells() -> None:
    """32 hexadecimal digits; no two reports have the same."""
    keys = {
        report_key(of, outcome, sid)
        for of, outcome, sid in product(
            ("demo/g", "demo/g\nsent", "demo/g\nsent\n", "demo/", "inbound:demo/SM1", "\ud800"),
            Outcome,
            (None, "SM1", SID),
        )
    }
    assert len(keys) == 6 * len(Outcome) * 3
    assert all(len(key) == 32 and int(key, 16) >= 0 for key in keys)
    assert report_key(OF, Outcome.SENT, None) == report_key(OF, Outcome.SENT, "")


# Telling


def test_what_is_due_is_taken_and_put_off() -> None:
    """So that nobody else sends it meanwhile; what is due later stays."""
    after, taken = take_due(BOTH, NOW, NOW + HOUR)
    assert [(one.outcome, one.due_at, one.attempts) for one in taken] == [
        ("undelivered", NOW + HOUR, 1)
    ]
    assert after == (*taken, BOTH[1])
    assert take_due(after, NOW, NOW + HOUR) == (after, ())
    _, both = take_due(BOTH, NOW + MINUTE, NOW + HOUR)
    assert [one.outcome for one in both] == ["undelivered", "delivered"]


def test_what_was_taken_and_never_answered_is_due_again() -> None:
    """Whoever took it is gone."""
    after, _ = take_due(ONE, NOW, NOW + HOUR)
    assert next_due(after) == NOW + HOUR
    _, again = take_due(after, NOW + HOUR, NOW + 2 * HOUR)
    assert [one.attempts for one in again] == [2]


@pytest.mark.parametrize(
    ("verdict", "state"),
    [
        (Verdict.TOLD, "told"),
        (Verdict.AGAIN, "owed"),
        (Verdict.ASIDE, "aside"),
        (Verdict.DROPPED, "dropped"),
    ],
)
def test_an_answer_says_where_a_report_stands(verdict: Verdict, state: str) -> None:
    """Only of the report that it is to."""
    after = told(BOTH, verdict, words="no such event", due_at=NOW + HOUR)
    assert after[0].state == state
    assert after[0].due_at == (NOW + HOUR if state == "owed" else None)
    assert after[0].told_at == (NOW + MINUTE if state == "told" else None)
    assert after[0].aside == ("no such event" if state == "aside" else None)
    assert after[1] == BOTH[1]


def test_an_answer_without_words_or_time_is_one() -> None:
    """Then the report is set aside as refused, or due at once."""
    for words in (None, ""):
        assert told(ONE, Verdict.ASIDE, words=words)[0].aside == "refused"
    assert told(ONE, Verdict.AGAIN)[0].due_at == NOW + MINUTE


@pytest.mark.parametrize(
    ("first", "second"), [*product([Verdict.TOLD, Verdict.ASIDE, Verdict.DROPPED], Verdict)]
)
def test_an_answer_to_what_is_not_owed_any_more_changes_nothing(
    first: Verdict, second: Verdict
) -> None:
    """It comes from somebody whose time was over."""
    settled = told(ONE, first)
    assert told(settled, second, due_at=NOW + HOUR, words="late") == settled
    assert answered(ONE, "another", Answer(second, NOW)) == ONE


def test_what_was_set_aside_can_be_sent_once_more() -> None:
    """As when the event is published in CI360 at last; all else stays as it is."""
    reports = (*told(ONE, Verdict.ASIDE), *owed(Outcome.FAILED), *told(owed(Outcome.READ), Verdict.TOLD), *told(owed(Outcome.HELD), Verdict.DROPPED))  # fmt: skip
    again = owed_again(reports, NOW + HOUR)
    assert (again[0].state, again[0].due_at, again[0].aside) == ("owed", NOW + HOUR, None)
    assert again[1:] == reports[1:]
    assert again[0].key == ONE[0].key


def test_the_next_report_is_the_first_that_is_owed() -> None:
    """None, where all is told."""
    assert next_due(BOTH[::-1]) == NOW
    assert next_due(told(BOTH, Verdict.TOLD)) == NOW + MINUTE
    assert next_due(told(ONE, Verdict.ASIDE)) is None
    assert next_due(()) is None


@given(attempts=st.integers(0, 10_000), jitter=st.floats(0, 1, exclude_max=True))
@settings(max_examples=200, deadline=None)
def test_waits_grow_up_to_a_quarter_of_an_hour(attempts: int, jitter: float) -> None:
    """And are never nothing."""
    report = msgspec.structs.replace(ONE[0], attempts=attempts)
    most = timedelta(seconds=BACKOFF.most)
    assert SECOND / 2 <= wait(report, jitter) <= most
    assert wait(report, 0.0) <= 2 * wait(report, 0.999_999)
    assert wait(report, 0.0) == min(SECOND * 2 ** min(max(attempts - 1, 0), 20), most)


@given(
    acts=st.lists(
        st.tuples(
            st.sampled_from([*Verdict, "owe", "take", "again"]),
            st.sampled_from(list(Outcome)),
            st.integers(0, 100),
        ),
        max_size=40,
    )
)
@settings(max_examples=200, deadline=None)
def test_no_report_is_lost_and_none_comes_twice(
    acts: list[tuple[Verdict | str, Outcome, int]],
) -> None:
    """Whatever happens to them, and in whatever order; what was told stays told."""
    reports: tuple[Report, ...] = ()
    for act, outcome, minutes in acts:
        at = NOW + minutes * MINUTE
        before = reports
        if act == "owe":
            reports = owe(reports, OF, outcome, at, sid=SID)
        elif act == "take":
            reports, taken = take_due(reports, at, at + MINUTE)
            assert all(one.due_at == at + MINUTE for one in taken)
        elif act == "again":
            reports = owed_again(reports, at)
        else:
            answer = Answer(Verdict(act), at, due_at=at + HOUR, words="no")
            reports = answered(reports, report_key(OF, outcome, SID), answer)
        assert [one.key for one in reports[: len(before)]] == [one.key for one in before]
        assert len({one.key for one in reports}) == len(reports)
        for old, new in zip(before, reports, strict=False):
            assert old.state not in ("told", "dropped") or new == old
            assert new.attempts >= old.attempts
            assert (new.due_at is None) is (new.state != "owed")
    assert msgspec.json.decode(msgspec.json.encode(reports), type=tuple[Report, ...]) == reports
