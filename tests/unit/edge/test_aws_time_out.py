"""The direct Lambda's warning of a time-out that may cut a message off."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ci360_twilio.edge.aws as aws
from ci360_twilio.edge.aws import ENOUGH_SECONDS, direct
from ci360_twilio.edge.cli.check import TIME_OUT
from ci360_twilio.twin.events import outbound_event

if TYPE_CHECKING:
    from tests.conftest import Twilio

TENANT = "af5af6b8f500013eb0c90001"
TO = "+12015550142"
SHORT = "direct.short_time_out"


class Context:
    """What Lambda tells a function of its invocation."""

    aws_request_id = "7d0c1a52-0000-4000-8000-000000000001"

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        """Give what is left of the invocation."""
        return int((self._until - time.monotonic()) * 1000)


Warnings = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def warnings(
    monkeypatch: pytest.MonkeyPatch,
    tenants_folder: Callable[..., Path],
    twilio: Twilio,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Warnings]:
    """A cold instance; gives a function that gives its warnings of time. Logging is put back."""
    monkeypatch.setattr(aws, "_direct", None)
    monkeypatch.setenv("CI360_TWILIO_TENANTS", str(tenants_folder()))
    monkeypatch.setenv("CI360_TWILIO_TWILIO_HOSTS", twilio.host)
    monkeypatch.delenv("CI360_TWILIO_LEDGER", raising=False)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def told() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        assert TO[1:] not in str(lines)
        return [line for line in lines if line["event"] == SHORT]

    yield told
    root.handlers[:], root.level = handlers, level


def invoke(context: object) -> int:
    """Have an event come in from a REST API that has checked a key; gives the status."""
    event = outbound_event(
        guid=str(uuid.uuid4()),
        tenant_id=TENANT,
        creative=f"TO:{TO};\nHello",
        generated_at=datetime.now(UTC),
    )
    checked = {"identity": {"apiKeyId": "k1"}}
    answer = direct({"body": json.dumps(event), "requestContext": checked}, context)
    return int(answer["statusCode"])


@pytest.mark.parametrize("seconds", [10.0, 20.0])
def test_a_short_time_out_is_warned_of_and_the_message_is_sent(
    warnings: Warnings, twilio: Twilio, seconds: float
) -> None:
    """With what is left of the invocation, and what to set."""
    assert invoke(Context(seconds)) == 200
    assert twilio.made_for(TO) == 1
    [warning] = warnings()
    assert warning["level"] == "warning"
    assert 0 < warning["seconds"] <= seconds
    assert "may have been sent: set its time-out to 30 seconds or more" in warning["message"]


def test_it_is_warned_of_once_for_each_instance(warnings: Warnings) -> None:
    """Not for every event of a campaign."""
    for _ in range(3):
        invoke(Context(10.0))
    assert len(warnings()) == 1


@pytest.mark.parametrize("seconds", [60.0, 900.0])
def test_a_time_out_that_is_long_enough_is_not_warned_of(
    warnings: Warnings, seconds: float
) -> None:
    """Of the seconds that it should have some may be over by then."""
    assert invoke(Context(seconds)) == 200
    assert warnings() == []
    assert ENOUGH_SECONDS < TIME_OUT


def test_an_invocation_that_does_not_say_when_it_ends_is_not_warned_of(warnings: Warnings) -> None:
    """As in a test of one's own."""
    assert invoke(None) == 200
    assert warnings() == []
