"""The start page's figures, added up from counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ci360_twilio.core.entry import Status
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.console.figures import GROUPS, MOST_ROWS, Range, figures, floor
from ci360_twilio.ports import Counted

NOW = datetime(2026, 3, 2, 9, 37, tzinfo=UTC)


def counted(status: Status, messages: int, **changes: Any) -> Counted:
    """Give messages of one kind."""
    usual: dict[str, Any] = {
        "at": datetime(2026, 3, 2, 9, 30, tzinfo=UTC),
        "tenant_id": TenantId("mine"),
        "task": "TSK_1",
        "sender": "+15005550006",
        "country": "US",
        "status": status,
        "reason": None,
        "error_code": None,
        "messages": messages,
    }
    return Counted(**(usual | changes))


def test_the_funnel_narrows() -> None:
    """Came in, accepted, sent, delivered: each is a part of the one before."""
    found = figures(
        [counted(status, number) for number, status in enumerate(Status, start=1)],
        Range.TODAY,
        NOW,
    )
    of = {status: number for number, status in enumerate(Status, start=1)}
    assert found.total == sum(of.values())
    assert found.accepted == found.total - of[Status.REFUSED] - of[Status.SUPPRESSED]
    after = (Status.SENT, Status.DELIVERED, Status.READ, Status.UNDELIVERED, Status.FAILED)
    assert found.sent == sum(of[status] for status in after)
    assert found.delivered == of[Status.DELIVERED] + of[Status.READ]
    assert found.total > found.accepted > found.sent > found.delivered


def test_every_status_is_in_one_group_of_the_chart() -> None:
    """A bar is as high as all that came."""
    grouped = [status for group in GROUPS for status in group.statuses]
    assert sorted(grouped) == sorted(Status)


@pytest.mark.parametrize("of", Range)
def test_bars_add_up_to_what_came(of: Range) -> None:
    """Whatever the length of a bar; there is one for each part of the time, now included."""
    every = [
        counted(Status.DELIVERED, 1, at=floor(NOW - timedelta(minutes=5 * back), of.step))
        for back in range(12 * 24 * 8)
    ]
    inside = [one for one in every if one.at >= of.since(NOW)]
    found = figures(inside, of, NOW)
    assert sum(map(sum, found.series.values())) == len(inside) == found.total
    assert found.times[0] == of.since(NOW)
    assert found.times[-1] <= NOW < found.times[-1] + of.step
    assert len(found.times) <= 100


def test_a_range_begins_at_a_border() -> None:
    """So that bars do not move while one looks at them."""
    assert Range.TODAY.since(NOW) == datetime(2026, 3, 2, tzinfo=UTC)
    assert Range.HOUR.since(NOW) == datetime(2026, 3, 2, 8, 35, tzinfo=UTC)
    assert Range.DAY.since(NOW) == datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
    assert Range.WEEK.since(NOW) == datetime(2026, 2, 23, 9, tzinfo=UTC)


def test_parts_come_largest_first_and_not_all_of_them() -> None:
    """A page lists a few; what has no name is one of them."""
    tasks = [counted(Status.DELIVERED, number, task=f"TSK_{number}") for number in range(1, 20)]
    found = figures([*tasks, counted(Status.FAILED, 50, task=None)], Range.TODAY, NOW)
    assert len(found.tasks) == MOST_ROWS
    assert (found.tasks[0].name, found.tasks[0].total, found.tasks[0].failed) == (None, 50, 50)
    assert [row.total for row in found.tasks[1:]] == [19, 18, 17, 16, 15, 14, 13]


def test_causes_are_told_with_their_codes() -> None:
    """Only of what did not arrive; the same cause at other times is the same."""
    found = figures(
        [
            counted(Status.DELIVERED, 9),
            counted(Status.UNDELIVERED, 2, reason="twilio_30003", error_code=30003),
            counted(Status.UNDELIVERED, 3, reason="twilio_30003", error_code=30003, task="TSK_2"),
            counted(Status.SUPPRESSED, 4, reason="opted_out"),
        ],
        Range.TODAY,
        NOW,
    )
    assert [tuple(cause) for cause in found.causes] == [
        (Status.UNDELIVERED, "twilio_30003", 30003, 5),
        (Status.SUPPRESSED, "opted_out", None, 4),
    ]


def test_nothing_came() -> None:
    """A page without data is a page."""
    found = figures([], Range.WEEK, NOW)
    assert (found.total, found.accepted, found.sent, found.delivered) == (0, 0, 0, 0)
    assert (found.tasks, found.causes) == ([], [])
