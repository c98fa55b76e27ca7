"""What a pause covers, and what tells it from others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import msgspec
import pytest

from ci360_twilio.core.entry import Entry, Status, key_of
from ci360_twilio.core.event import Origin
from ci360_twilio.core.message import Message
from ci360_twilio.core.pace import Rate, is_paced_place
from ci360_twilio.core.pause import Cause, Pause, Scope, is_paused_place, paused_by
from ci360_twilio.core.tenant import TenantId

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
DEMO, OTHER = TenantId("demo"), TenantId("other")
SENDER = "+15005550006"


def entry(**changes: Any) -> Entry:
    """Give an entry of a task, to a number in the United States."""
    members: dict[str, Any] = {
        "key": key_of(DEMO, "g"),
        "tenant_id": DEMO,
        "guid": "g",
        "status": Status.ACCEPTED,
        "created_at": NOW,
        "due_at": NOW,
        "expires_at": NOW + timedelta(days=1),
        "purge_at": NOW + timedelta(days=90),
        "message": Message(to="+12015550123", sender=SENDER, body="Hi"),
        "origin": Origin(task_code="TSK_1"),
    }
    return Entry(**(members | changes))


def pause(scope: Scope, value: str | None = None, **members: Any) -> Pause:
    """Give a pause that a person set."""
    known: dict[str, Any] = {"cause": Cause.PERSON, "reason": "paused", "since": NOW}
    return Pause(scope=scope, value=value, **(known | members))


@pytest.mark.parametrize(
    ("one", "covers"),
    [
        (pause(Scope.ALL), True),
        (pause(Scope.TENANT, tenant_id=DEMO), True),
        (pause(Scope.TENANT, tenant_id=OTHER), False),
        (pause(Scope.TASK, "TSK_1"), True),
        (pause(Scope.TASK, "TSK_2"), False),
        (pause(Scope.TASK, "TSK_1", tenant_id=DEMO), True),
        (pause(Scope.TASK, "TSK_1", tenant_id=OTHER), False),
        (pause(Scope.SENDER, SENDER), True),
        (pause(Scope.SENDER, "Acme"), False),
        (pause(Scope.SENDER, SENDER, tenant_id=OTHER), False),
        (pause(Scope.COUNTRY, "US"), True),
        (pause(Scope.COUNTRY, "GB"), False),
        (pause(Scope.COUNTRY, "US", tenant_id=OTHER), False),
    ],
    ids=lambda value: value.name if isinstance(value, Pause) else None,
)
def test_a_pause_covers_what_its_scope_says(one: Pause, covers: bool) -> None:
    """Of one tenant, or of every one where none is named."""
    assert one.covers(entry()) is covers


@pytest.mark.parametrize("scope", [Scope.TASK, Scope.SENDER, Scope.COUNTRY])
def test_an_entry_without_the_member_is_not_covered(scope: Scope) -> None:
    """One without a task, a message, or a number that tells a country."""
    bare = entry(message=None, origin=Origin())
    nameless = entry(message=Message(to="messenger:4711", sender="Acme", body="Hi"))
    assert not pause(scope, "US").covers(bare)
    assert not pause(scope, "US").covers(nameless)


def test_pauses_are_told_apart_by_cause_and_coverage() -> None:
    """So that a person's pause outlives the one that a limit or an error set."""
    names = {
        pause(scope, value, cause=cause, tenant_id=tenant).name
        for scope, value, cause, tenant in product(Scope, ("a", "b"), Cause, (None, DEMO, OTHER))
    }
    assert len(names) == len(Scope) * 2 * len(Cause) * 3


def test_a_pauses_name_says_nothing_of_what_may_change() -> None:
    """Neither its reason nor its probes."""
    one = pause(Scope.SENDER, SENDER, cause=Cause.CONFIG)
    later = msgspec.structs.replace(
        one, reason="twilio_21606", since=NOW + timedelta(hours=1), failures=3, probe_at=NOW
    )
    assert later.name == one.name


def test_a_place_says_what_is_waited_for() -> None:
    """The end of a pause, or a sender's turn."""
    behind, queue = pause(Scope.ALL).place, Rate("demo/Acme", 1.0).place
    assert [is_paused_place(place) for place in (behind, queue, None)] == [True, False, False]
    assert [is_paced_place(place) for place in (behind, queue, None)] == [False, True, False]


def test_the_first_pause_that_covers_an_entry_keeps_it() -> None:
    """Those that do not are passed over."""
    pauses = [pause(Scope.TASK, "TSK_2"), pause(Scope.SENDER, SENDER), pause(Scope.ALL)]
    assert paused_by(entry(), pauses) == pauses[1]
    assert paused_by(entry(), pauses[:1]) is None
    assert paused_by(entry(), []) is None


def test_the_probe_of_a_pause_is_let_through_it_alone() -> None:
    """Others still keep it."""
    probed = pause(Scope.SENDER, SENDER, cause=Cause.CONFIG, probe=entry().key)
    assert paused_by(entry(), [probed]) is None
    assert paused_by(entry(key=key_of(DEMO, "another")), [probed]) == probed
    assert paused_by(entry(), [probed, pause(Scope.ALL)]) == pause(Scope.ALL)


def test_a_probe_is_due_at_its_time() -> None:
    """Never, where there is none."""
    one = pause(Scope.TENANT, tenant_id=DEMO, cause=Cause.CONFIG, probe_at=NOW)
    assert one.probe_is_due(NOW)
    assert not one.probe_is_due(NOW - timedelta(microseconds=1))
    assert not pause(Scope.ALL).probe_is_due(NOW)


@pytest.mark.parametrize("by_account", [False, True])
@pytest.mark.parametrize("cause", Cause)
def test_only_a_wrong_setting_is_probed_by_an_entry(cause: Cause, by_account: bool) -> None:
    """Credentials are tried without one, and what a person or a limit paused is not tried."""
    one = pause(Scope.TENANT, tenant_id=DEMO, cause=cause, by_account=by_account)
    assert one.needs_entry is (cause is Cause.CONFIG and not by_account)


def test_a_pause_survives_being_written() -> None:
    """Stores keep it as a document."""
    one = pause(
        Scope.COUNTRY, "US", cause=Cause.CONFIG, probe_at=NOW, probe=entry().key, failures=2
    )
    assert msgspec.json.decode(msgspec.json.encode(one), type=Pause) == one
