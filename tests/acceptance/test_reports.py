"""What CI360 is told by a running connector, and what becomes of it where CI360 will not hear it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import pytest

from ci360_twilio.core.entry import Status
from ci360_twilio.twin.life import Life

if TYPE_CHECKING:
    from tests.acceptance.conftest import Running

    from ci360_twilio.twin.ci360 import TakenEvent

TENANT, API_KEY = "guarded-tenant", "key-for-acceptance-3f9a7c1e5b2d"
NAMES = [f"twilio_sms_{one}" for one in ("delivered", "refused", "expired", "suppressed")]


@pytest.fixture
def telling(run_connector: Callable[..., AbstractContextManager[Running]]) -> Iterator[Running]:
    """Run a connector of its own, that may do harm to its CI360."""
    with run_connector(life=Life(until_sent=0.1, until_final=0.1), public_url="own") as running:
        running.tenant(TENANT, api_keys=[API_KEY], **running.ci360.members)
        yield running


def send(running: Running, text: str = "Hello", **members: float) -> str:
    """Post an event; give its guid."""
    event = running.event(f"TO:{running.number()};{text}", tenant_id=TENANT, **members)
    running.post(event, x_api_key=API_KEY)
    return str(event["guid"])


def test_an_event_that_ci360_does_not_know_is_set_aside_and_others_go_on(telling: Running) -> None:
    """With CI360's words, which ``check`` shows; it is told once more when that is put right."""
    telling.ci360.twin.publish(NAMES[:1])
    refused, fine = send(telling, "{{firstname}}"), send(telling)
    telling.until(lambda: telling.ci360.told("delivered", twilio_guid=fine))
    telling.until(lambda: telling.trace(refused)["reports"][0]["state"] == "aside")
    words = "there is no published external event twilio_sms_refused"
    assert words in telling.command("check").stdout
    assert words in telling.command("reports").stdout
    telling.ci360.twin.publish(NAMES)
    assert telling.command("reports", "--retry", "--yes").returncode == 0
    telling.until(lambda: telling.ci360.told("refused", twilio_guid=refused))
    assert telling.command("reports").returncode == 0


def test_a_broken_token_keeps_reports_and_no_message(telling: Running) -> None:
    """They wait, all of them, and go when the document has the new secret."""
    telling.ci360.twin.change_secret(TENANT, "another-secret-5e4d3c2b")
    telling.exposed.add("another-secret-5e4d3c2b")
    guids = [send(telling) for _ in range(5)]
    for guid in guids:
        telling.reached(guid, lambda entry: entry.status is Status.DELIVERED, TENANT)
    telling.until(lambda: "reports" in telling.command("pause").stdout)
    assert telling.ci360.told() == []
    assert "CI360" in telling.command("check").stdout
    members = telling.ci360.members | {"ci360_client_secret": "another-secret-5e4d3c2b"}
    telling.tenant(TENANT, api_keys=[API_KEY], **members)
    assert telling.command("resume", "reports", "--tenant", TENANT, "--yes").returncode == 0
    telling.until(lambda: len(telling.ci360.told("delivered")) == 5, 60)


def test_what_is_told_again_is_told_under_the_same_key(telling: Running) -> None:
    """CI360's answers are lost."""
    telling.ci360.faults.burst("reset", requests=3)
    guids = [send(telling) for _ in range(3)]
    telling.until(lambda: len(telling.ci360.told("delivered")) >= 6, 60)
    for guid in guids:
        keys = {one.attributes["twilio_report_key"] for one in telling.ci360.told(twilio_guid=guid)}
        assert len(keys) == 1


def test_many_outcomes_go_as_a_file(telling: Running) -> None:
    """From a number on that the tenant's document may lower; each is told as it would be alone."""
    telling.tenant(TENANT, api_keys=[API_KEY], ci360_bulk_threshold=20, **telling.ci360.members)
    telling.command("pause", "reports")
    guids = [send(telling, "{{firstname}}") for _ in range(60)]
    telling.command("resume", "reports", "--yes")
    told = telling.until(lambda: many(telling.ci360.told("refused"), 60))
    assert sum(one.by_file for one in told) >= 20
    assert {one.attributes["twilio_guid"] for one in told} == {*guids}
    [alone] = [one for one in told if one.attributes["twilio_guid"] == guids[0]]
    assert alone.attributes["twilio_reason"] == "merge_tag"


def many(told: list[TakenEvent], number: int) -> list[TakenEvent]:
    """Give what was told, once it is as much as that."""
    return told if len(told) >= number else []
