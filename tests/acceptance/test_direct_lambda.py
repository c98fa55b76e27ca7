"""The drop-in: SAS's sample environment, unchanged, runs our handler against its own secrets."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from moto import mock_aws
from tests.cloud import invocation

import ci360_twilio.edge.aws as aws
import lambda_function
from ci360_twilio.twin.events import outbound_event
from ci360_twilio.twin.faults import Fault

TENANT = "af5af6b8f500013eb0c90001"
Invoke = Callable[..., tuple[int, dict[str, Any]]]


class Context:
    """What Lambda tells a function of its invocation."""

    aws_request_id = "7d0c1a52-0000-4000-8000-000000000001"

    def __init__(self, seconds: float = 29.0) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        """Give what is left of the invocation."""
        return int(self.seconds * 1000)


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch, twilio: Any) -> Iterator[Any]:
    """Give Secrets Manager with one tenant's secret, where SAS's sample keeps it."""
    for name, value in {
        "event_ttl": "86400",
        "default_sender": twilio.sender,
        "sm_secret_id_prefix": "demo/TwilioConnector/APIs/",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "CI360_TWILIO_TWILIO_HOSTS": twilio.host,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(aws, "_direct", None)
    with mock_aws():
        client = boto3.client("secretsmanager", region_name="us-east-1")
        client.create_secret(
            Name=f"demo/TwilioConnector/APIs/{TENANT}", SecretString=json.dumps(twilio.document())
        )
        yield client


def rest_event(body: str | None, *, key: str | None = "abc123", **members: Any) -> dict[str, Any]:
    """Make what a REST API hands to a function; ``key`` is the id of the API key it checked."""
    headers = {"Content-Type": "text/plain;charset=UTF-8", "User-Agent": "CI360"}
    return invocation.rest_event(body, headers, path="/twilio", checked=key, **members)


def event_body(creative: str, **members: Any) -> str:
    """Make an event's body."""
    guid = members.pop("guid", None) or str(uuid.uuid4())
    event = outbound_event(
        guid=guid, tenant_id=TENANT, creative=creative, generated_at=datetime.now(UTC), **members
    )
    return json.dumps(event)


def invoke(event: object, *, seconds: float = 29.0) -> tuple[int, dict[str, Any]]:
    """Call the handler as Lambda does."""
    answer = lambda_function.lambda_handler(event, Context(seconds))
    assert answer["isBase64Encoded"] is False
    return answer["statusCode"], json.loads(answer["body"])


@pytest.mark.usefixtures("secrets")
def test_the_samples_environment_sends_the_documented_creative(twilio: Any) -> None:
    """Same three variables, same secret, same creative; and now the message is really sent."""
    creative = (
        "TO:+12015550101;\nFROM:+19085551212;\nMEDIAL_URLS:https://www.example.com/logo.jpg;\n"
        "Anna, thank you for registering for our seminar; see you there!"
    )
    status, body = invoke(rest_event(event_body(creative)))
    assert (status, body["status"]) == (200, "sent")
    (message,) = twilio.twin.messages
    assert message.sid == body["sid"]
    assert message.body == "Anna, thank you for registering for our seminar; see you there!"
    assert message.media == ("https://www.example.com/logo.jpg",)


@pytest.mark.usefixtures("secrets")
@pytest.mark.parametrize("event", [None, {}, rest_event(None), rest_event(""), rest_event("{}")])
def test_an_invocation_without_a_body_is_the_endpoints_test(event: object) -> None:
    """As with the sample, it is answered with 200."""
    assert invoke(event) == (200, {"status": "ignored", "reason": "test"})


@pytest.mark.usefixtures("secrets")
def test_a_base64_body_is_understood(twilio: Any) -> None:
    """API Gateway encodes bodies of binary types."""
    body = base64.b64encode(event_body("TO:+12015550102;Hi").encode()).decode()
    assert invoke(rest_event(body, isBase64Encoded=True))[0] == 200
    assert twilio.made_for("+12015550102") == 1


@pytest.mark.usefixtures("secrets")
def test_without_a_checked_key_a_tenant_without_credentials_is_not_served(twilio: Any) -> None:
    """An HTTP API or a function URL checks no key, whatever the headers say."""
    body = event_body("TO:+12015550103;Hi")
    assert invoke(rest_event(body, key=None))[0] == 401
    version_2 = {
        "version": "2.0",
        "headers": {"x-api-key": "something"},
        "requestContext": {"http": {"method": "POST"}},
        "body": body,
    }
    assert invoke(version_2)[0] == 403
    assert not twilio.twin.messages


def test_tenant_credentials_open_every_kind_of_invocation(secrets: Any, twilio: Any) -> None:
    """Where the secret names a key, an HTTP API's event that carries it is served."""
    secrets.put_secret_value(
        SecretId=f"demo/TwilioConnector/APIs/{TENANT}",
        SecretString=json.dumps(twilio.document(api_keys=["a-key-of-the-tenant"])),
    )
    event = {
        "version": "2.0",
        "headers": {"X-Api-Key": "a-key-of-the-tenant"},
        "requestContext": {"http": {"method": "POST"}},
        "body": event_body("TO:+12015550104;Hi"),
    }
    assert invoke(event)[0] == 200
    assert twilio.made_for("+12015550104") == 1


@pytest.mark.usefixtures("secrets")
def test_one_event_fifty_times_at_once_is_one_message(twilio: Any) -> None:
    """Threads in one warm instance: one sends, the others are told that it is under way or sent."""
    event = rest_event(event_body("TO:+12015550105;Only once"))
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: invoke(event), range(50)))
    assert twilio.made_for("+12015550105") == 1
    assert {status for status, _ in answers} <= {200, 202}
    assert sum(not body.get("duplicate", False) for _, body in answers) == 1
    assert invoke(event)[1]["status"] == "sent"


@pytest.mark.usefixtures("secrets")
def test_a_busy_twilio_is_asked_again_within_the_invocation(twilio: Any) -> None:
    """CI360 does not repeat a failed call, so the function does."""
    twilio.faults.for_recipient("+12015550106", [Fault.HTTP_429, Fault.HTTP_429])
    status, body = invoke(rest_event(event_body("TO:+12015550106;Hi")))
    assert (status, body["status"]) == (200, "sent")
    assert twilio.faults.attempts["+12015550106"] == 3


@pytest.mark.usefixtures("secrets")
def test_a_failure_that_outlasts_the_invocation_may_be_repeated(twilio: Any) -> None:
    """Nothing was made, so the same event sends when it comes again."""
    invoke(rest_event(event_body("TO:+12015550116;The instance is warm")))
    twilio.faults.for_recipient("+12015550107", [Fault.HTTP_429] * 20)
    event = rest_event(event_body("TO:+12015550107;Hi"))
    status, body = invoke(event, seconds=5)
    assert (status, body["status"], body["reason"]) == (502, "accepted", "twilio_20429")
    twilio.faults.for_recipient("+12015550107", [])
    status, body = invoke(event)
    assert (status, body["status"], body["duplicate"]) == (200, "sent", True)
    assert twilio.made_for("+12015550107") == 1


@pytest.mark.usefixtures("secrets")
def test_a_configuration_error_is_502_and_may_be_repeated(twilio: Any) -> None:
    """A wrong token makes nothing; once it is right the same event sends."""
    twilio.twin.rotate(twilio.account, "another-token")
    event = rest_event(event_body("TO:+12015550108;Hi"))
    status, body = invoke(event)
    assert (status, body["error"]["code"]) == (502, "twilio_20003")
    twilio.twin.rotate(twilio.account, twilio.token)
    assert invoke(event)[0] == 200
    assert twilio.made_for("+12015550108") == 1


def test_a_rotated_secret_is_picked_up_at_the_first_401(secrets: Any, twilio: Any) -> None:
    """A warm instance does not fail until the next cold start, as the sample did."""
    assert invoke(rest_event(event_body("TO:+12015550109;Before")))[0] == 200
    twilio.twin.rotate(twilio.account, "the-new-token")
    secrets.put_secret_value(
        SecretId=f"demo/TwilioConnector/APIs/{TENANT}",
        SecretString=json.dumps(twilio.document(twilio_auth_token="the-new-token")),
    )
    assert invoke(rest_event(event_body("TO:+12015550110;After")))[0] == 200


@pytest.mark.usefixtures("secrets")
def test_twilios_permanent_error_is_422(twilio: Any) -> None:
    """The caller learns the code; a repeat sends nothing."""
    twilio.faults.for_recipient("+12015550111", ["http_400:21614"])
    event = rest_event(event_body("TO:+12015550111;Hi"))
    assert [invoke(event)[0] for _ in range(2)] == [422, 422]
    assert twilio.faults.attempts["+12015550111"] == 1


@pytest.mark.usefixtures("secrets")
@pytest.mark.parametrize("fault", [Fault.RESET, Fault.HTTP_500])
def test_a_lost_answer_is_502_and_never_sent_again(twilio: Any, fault: Fault) -> None:
    """The message may exist; a repeat asks nobody."""
    twilio.faults.for_recipient("+12015550112", [fault])
    event = rest_event(event_body("TO:+12015550112;Hi"))
    first, again = invoke(event), invoke(event)
    assert (first[0], first[1]["status"]) == (502, "unknown")
    assert (again[0], again[1]["status"]) == (502, "unknown")
    assert twilio.faults.attempts["+12015550112"] == 1


@pytest.mark.usefixtures("secrets")
def test_a_slow_twilio_is_unknown_before_the_invocation_ends(twilio: Any) -> None:
    """The outcome is written while there is time for it."""
    twilio.faults.for_recipient("+12015550113", ["slow:20"])
    status, body = invoke(rest_event(event_body("TO:+12015550113;Hi")), seconds=6)
    assert (status, body["status"], body["reason"]) == (502, "unknown", "read_timeout")


@pytest.mark.usefixtures("secrets")
@pytest.mark.parametrize(
    "tenant_id", ["../x", "arn:aws:secretsmanager:us-east-1:1:secret:x", "a" * 10_240]
)
def test_a_hostile_tenant_id_reads_no_secret(tenant_id: str) -> None:
    """It is refused by its form."""
    body = json.loads(event_body("TO:+12015550114;Hi")) | {"externalTenantId": tenant_id}
    assert invoke(rest_event(json.dumps(body)))[0] == 400


@pytest.mark.usefixtures("secrets")
def test_the_missing_ledger_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """De-duplication holds within the warm instance, and the log says so at the start."""
    for number in range(3):
        invoke(rest_event(event_body(f"TO:+1201555013{number};Hi")))
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines].count("direct.no_ledger") == 1


def test_a_function_without_settings_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """503 to the caller, the reason in the log."""
    monkeypatch.setattr(aws, "_direct", None)
    monkeypatch.delenv("sm_secret_id_prefix", raising=False)
    assert invoke(rest_event(event_body("TO:+12015550115;Hi")))[0] == 503
    assert "CI360_TWILIO_TENANTS" in capsys.readouterr().err
