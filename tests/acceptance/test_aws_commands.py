"""``ci360-twilio aws``: as a person runs it, against moto.

moto plans and runs change sets at once, and tells of no single resource; what a person sees of these is
shown with events of our own.
"""

from __future__ import annotations

import io
import json
import os
import pty
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.cloud.server import REGION, Moto
from tests.cloud.stack import ACCOUNT, SENDER, TEMPLATE, TOKEN, small_zip

from ci360_twilio.clients import stacks
from ci360_twilio.clients.stacks import Stacks, Step
from ci360_twilio.edge.cli import main

TENANT = "af5af6b8f500013eb0c90001"
DOCUMENT = {
    "twilio_api_url": "https://api.twilio.com",
    "twilio_account_sid": ACCOUNT,
    "twilio_auth_token": TOKEN,
    "default_sender": SENDER,
}


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Person:
    """Somebody at a terminal, with a login."""

    def __init__(self, moto: Moto, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.moto, self.folder, self._capsys = moto, folder, capsys
        self.zip = folder / "functions.zip"
        self.zip.write_bytes(small_zip())

    def __call__(self, *arguments: str) -> Done:
        """Run ``ci360-twilio aws``; no secret is ever printed unless asked for."""
        try:
            code = main(["aws", *arguments])
        except SystemExit as exc:
            code = int(exc.code or 0)
        captured = self._capsys.readouterr()
        assert TOKEN not in captured.out + captured.err
        return Done(code, captured.out, captured.err)

    def deploy(self, *more: str) -> Done:
        """Make the stack, or change it."""
        return self("deploy", "--zip", str(self.zip), "--yes", *more)

    def document(self, **changes: Any) -> str:
        """Write a file with members of a tenant's document."""
        file = self.folder / "document.json"
        file.write_text(json.dumps(DOCUMENT | changes))
        return str(file)

    def secret(self, tenant: str = TENANT) -> dict[str, Any]:
        """Read a tenant's document."""
        found = self.moto.client("secretsmanager").get_secret_value(
            SecretId=f"ci360-twilio/{tenant}"
        )
        document: dict[str, Any] = json.loads(found["SecretString"])
        return document

    def keys(self) -> dict[str, str]:
        """Give the values of the gateway's keys, by their names, as far as they are in a plan."""
        door = self.moto.client("apigateway")
        [plan] = door.get_usage_plans()["items"]
        found = door.get_usage_plan_keys(usagePlanId=plan["id"])["items"]
        return {one["name"]: one["value"] for one in found}

    def stacks(self) -> list[str]:
        """List the stacks that are there."""
        found = self.moto.client("cloudformation").list_stacks()["StackSummaries"]
        return [one["StackStatus"] for one in found if one["StackStatus"] != "DELETE_COMPLETE"]


@pytest.fixture
def person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Person]:
    """Give a person."""
    monkeypatch.setattr(stacks, "POLL_SECONDS", 0.01)
    with Moto() as moto:
        for name, value in moto.environment("person").items():
            monkeypatch.setenv(name, value)
        yield Person(moto, tmp_path, capsys)


@pytest.fixture
def deployed(person: Person) -> Person:
    """Give a person who has deployed."""
    assert person.deploy().code == 0
    return person


def test_a_dry_run_says_what_would_be_made_and_makes_nothing(person: Person) -> None:
    """Every resource by its type; no stack, bucket or object is left behind."""
    done = person("deploy", "--zip", str(person.zip), "--dry-run")
    assert done.code == 0, done.err
    for words in ("Add     Ledger", "AWS::Lambda::Function", "AWS::ApiGateway::UsagePlan"):
        assert words in done.out
    assert "Nothing was changed." in done.out
    assert person.stacks() == []
    assert person.moto.client("s3").list_buckets()["Buckets"] == []


def test_a_stack_is_made_brought_up_to_date_looked_at_and_taken_down(person: Person) -> None:
    """What was set once stays; ledger, hash key and tenants outlive it."""
    done = person.deploy("--set", "AlarmEmail=you@example.com")
    assert done.code == 0, done.err
    assert "EventsUrl" in done.out
    bucket = f"ci360-twilio-123456789012-{REGION}"
    shut = person.moto.client("s3").get_public_access_block(Bucket=bucket)
    assert all(shut["PublicAccessBlockConfiguration"].values())
    assert "nothing would change" in person.deploy().out
    assert person("tenant", "put", TENANT, "--file", person.document()).code == 0

    person.zip.write_bytes(small_zip("# another"))
    changed = person.deploy("--set", "EventsPerSecond=600")
    assert changed.code == 0, changed.err
    status = person("status")
    assert (status.code, status.err) == (0, "")
    for words in ("UPDATE_COMPLETE", "you@example.com", "600", "No alarm rings", "Set aside: 0"):
        assert words in status.out

    assert "Nothing was changed." in person("destroy", "--dry-run").out
    assert len(person.stacks()) == 1
    gone = person("destroy", "--yes")
    assert gone.code == 0, gone.err
    assert person.stacks() == []
    assert person.moto.client("apigateway").get_api_keys()["items"] == []
    assert len(person.moto.client("dynamodb").list_tables()["TableNames"]) == 1
    assert person.secret()["twilio_account_sid"] == ACCOUNT
    assert person("status").code == 1


def test_what_is_set_aside_is_told(deployed: Person) -> None:
    """So that whoever looks knows that something is to be done."""
    resources = Stacks("ci360-twilio").resources()
    queue = deployed.moto.client("sqs")
    queue.send_message(QueueUrl=resources["DeadLetters"], MessageBody="?")
    alarms = deployed.moto.client("cloudwatch")
    alarms.set_alarm_state(
        AlarmName=resources["HeldAlarm"], StateValue="ALARM", StateReason="A test."
    )
    status = deployed("status")
    assert status.code == 1
    assert "Messages wait for a person's decision" in status.out
    assert "Set aside: 1." in status.out


def test_nobody_is_asked_where_nobody_is(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends, and nothing is left of what was planned."""
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    done = person("deploy", "--zip", str(person.zip))
    assert done.code == 2
    assert "--yes" in done.err
    assert person.stacks() == []


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        ("ROLLBACK_COMPLETE", "aws destroy"),
        ("UPDATE_ROLLBACK_FAILED", "continue the rollback"),
        ("UPDATE_IN_PROGRESS", "wait until that is over"),
        ("DELETE_FAILED", "events in the console"),
    ],
)
def test_a_stack_that_is_half_made_is_not_deployed_over(
    deployed: Person, status: str, advice: str
) -> None:
    """The message says what to do; nothing is planned, uploaded or changed."""
    from moto.cloudformation.models import cloudformation_backends

    [stack] = cloudformation_backends["123456789012"][REGION].stacks.values()
    stack.status = status
    done = deployed.deploy("--set", "EventsPerSecond=600")
    assert done.code == 1
    assert status in done.err
    assert advice in done.err
    assert "EventsPerSecond" not in stack.parameters


@pytest.mark.parametrize("about", [{"Description": "Ours"}, {}])
def test_a_name_that_is_taken_is_told(person: Person, about: dict[str, str]) -> None:
    """Another's stack is left alone, by every command."""
    template = {**about, "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}
    person.moto.client("cloudformation").create_stack(
        StackName="ci360-twilio", TemplateBody=json.dumps(template)
    )
    for command in (
        ["deploy", "--zip", str(person.zip), "--yes"],
        ["status"],
        ["destroy", "--yes"],
    ):
        done = person(*command)
        assert done.code == 1
        assert "is taken by another stack; name yours with --stack" in done.err
    assert len(person.moto.client("sns").list_topics()["Topics"]) == 1


def test_a_bucket_of_somebody_else_gets_no_code(person: Person) -> None:
    """Its owner could put other code in its place; nothing of the stack is made."""
    bucket = f"ci360-twilio-123456789012-{REGION}"
    person.moto.forbid("HEAD", f"/{bucket}")
    done = person.deploy()
    assert done.code == 1
    assert "is not this account's; name another: --bucket" in done.err
    assert person.stacks() == []


@pytest.mark.parametrize(
    "action", ["CreateChangeSet", "DescribeStacks", "ExecuteChangeSet", "GetCallerIdentity"]
)
def test_a_right_that_is_missing_is_told(person: Person, action: str) -> None:
    """With AWS's own words, which name it; nothing stays half changed."""
    person.moto.deny(action)
    done = person.deploy()
    assert done.code == 1
    assert "The login lacks a right" in done.err
    assert action in done.err
    person.moto.denied.clear()
    assert person.stacks() == []
    assert person.deploy().code == 0


def test_without_a_login_it_says_to_log_in(
    person: Person, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And where."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    done = person("status")
    assert done.code == 1
    assert "Log in first" in done.err


@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_the_region_is_told_in_either_way(
    person: Person, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """And that there is none, where there is none."""
    for one in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(one)
    missing = person("status")
    assert (missing.code, "NoRegionError" in missing.err) == (2, True)
    monkeypatch.setenv(name, REGION)
    assert f"in {REGION}" in person("status").err


def test_what_fails_is_told_as_it_happens(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """The resource, and why; then how the stack is."""

    def steps(self: Stacks, name: str) -> Iterator[Step]:
        yield Step("Ledger", "AWS::DynamoDB::Table", "CREATE_COMPLETE", "")
        yield Step("Receive", "AWS::Lambda::Function", "CREATE_FAILED", "Memory is too small.")

    monkeypatch.setattr(Stacks, "run", steps)
    done = person.deploy()
    assert done.code == 1
    assert "] CREATE_COMPLETE  Ledger" in done.out
    assert "CREATE_FAILED  Receive: Memory is too small." in done.out
    assert "The lines with FAILED say why." in done.out


def test_a_tenant_is_made_changed_listed_tested_and_removed(deployed: Person) -> None:
    """Its secret and its key of the gateway go together, and can be had back."""
    made = deployed("tenant", "put", TENANT, "--file", deployed.document())
    assert made.code == 0, made.err
    [key] = deployed.secret()["api_keys"]
    assert deployed.keys() == {f"ci360-twilio/{TENANT}": key}
    assert key not in made.out
    assert key in deployed("tenant", "put", TENANT, "--show-key").out
    assert TENANT in deployed("tenant", "list").out
    tested = deployed("tenant", "test", TENANT, "--offline")
    assert (tested.code, tested.out.splitlines()[-1]) == (0, "All is well.")

    changed = deployed("tenant", "put", TENANT, "--file", deployed.document(default_region="US"))
    assert "new: default_region" in changed.out
    assert deployed.secret()["api_keys"] == [key]
    deployed("tenant", "put", TENANT, "--new-key")
    newest, oldest = deployed.secret()["api_keys"]
    assert oldest == key
    assert len(deployed.moto.client("apigateway").get_api_keys()["items"]) == 2
    deployed("tenant", "put", TENANT, "--retire-keys")
    assert deployed.keys() == {f"ci360-twilio/{TENANT}": newest}

    assert deployed("tenant", "remove", TENANT, "--yes").code == 0
    assert deployed.keys() == {}
    assert "There are no tenants" in deployed("tenant", "list").out
    assert deployed("tenant", "test", TENANT).code == 1
    back = deployed("tenant", "put", TENANT)
    assert back.code == 0, back.err
    assert "is had back" in back.out
    assert deployed.secret()["default_region"] == "US"
    assert deployed.keys() == {f"ci360-twilio/{TENANT}": newest}


def test_a_key_that_an_attempt_left_behind_is_taken_up(deployed: Person) -> None:
    """It was made, and the attempt broke off before it was in the plan."""
    deployed("tenant", "put", TENANT, "--file", deployed.document())
    [key] = deployed.secret()["api_keys"]
    door = deployed.moto.client("apigateway")
    [plan] = door.get_usage_plans()["items"]
    [left] = door.get_api_keys()["items"]
    door.delete_usage_plan_key(usagePlanId=plan["id"], keyId=left["id"])
    assert deployed.keys() == {}
    deployed.moto.conflicts.add(key)
    again = deployed("tenant", "put", TENANT)
    assert again.code == 0, again.err
    assert deployed.keys() == {f"ci360-twilio/{TENANT}": key}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("Runtime=python3.13", "--python"),
        ("CorsOrigin=https://www.example.com/", "CORS_ORIGIN"),
        ("EventTtl=0", "EVENT_TTL"),
        ("PublicUrl=http://sms.example.com", "https://"),
        ("NoSuchThing=1", "has no parameter NoSuchThing"),
        ("=", "NAME=VALUE"),
    ],
)
def test_a_parameter_that_would_break_the_stack_is_refused(
    person: Person, given: str, words: str
) -> None:
    """Before anything is planned: the functions would answer 503, and nobody else would say why."""
    done = person.deploy("--set", given)
    assert done.code in (1, 2)
    assert words in done.err
    assert person.stacks() == []


def test_the_zip_says_for_what_it_is(person: Person) -> None:
    """And what was chosen once stays."""
    person.zip.write_bytes(small_zip(machine="x86_64", python="313"))
    assert person.deploy().code == 0
    for words in ("x86_64", "python3.13"):
        assert words in person("status").out
    person.zip.write_bytes(b"no zip")
    assert "no zip that can be read" in person.deploy().err


def test_dry_runs_change_no_tenant(deployed: Person) -> None:
    """They say which members would be changed, never to what."""
    done = deployed("tenant", "put", TENANT, "--file", deployed.document(), "--dry-run")
    assert "new: twilio_auth_token" in done.out
    assert "There are no tenants" in deployed("tenant", "list").out
    deployed("tenant", "put", TENANT, "--file", deployed.document())
    assert "Nothing was changed." in deployed("tenant", "remove", TENANT, "--dry-run").out
    assert len(deployed.keys()) == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        (json.dumps(DOCUMENT | {"twilio_account_sid": "7C1"}), "twilio_account_sid"),
        (json.dumps(DOCUMENT | {"api_keys": ["short"]}), "20 to 128 characters"),
        (json.dumps(DOCUMENT | {"api_keys": "one"}), "must be a list"),
        (json.dumps(DOCUMENT | {"twilio_auth_token": None}), "nobody can be asked"),
    ],
)
def test_a_document_that_cannot_be_used_changes_nothing(
    deployed: Person, monkeypatch: pytest.MonkeyPatch, given: str, words: str
) -> None:
    """Each problem is named by its member."""
    monkeypatch.setattr("sys.stdin", io.StringIO(given))
    done = deployed("tenant", "put", TENANT, "--file", "-")
    assert done.code == 2
    assert words in done.err
    assert deployed.keys() == {}
    assert "There are no tenants" in deployed("tenant", "list").out


def test_a_token_is_asked_for_and_not_shown(
    deployed: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal; it stands in no command line."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs) as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        monkeypatch.setattr("getpass.getpass", lambda _: f"{TOKEN}\n")
        bare = deployed.document(twilio_auth_token=None)
        assert deployed("tenant", "put", TENANT, "--file", bare).code == 0
    os.close(ours)
    assert deployed.secret()["twilio_auth_token"] == TOKEN


@pytest.mark.parametrize(
    "denied", ["CreateSecret", "PutSecretValue", "POST /apikeys", "POST /usageplans"]
)
def test_a_tenant_is_made_whole_or_not_at_all(deployed: Person, denied: str) -> None:
    """Where a right is missing no key and no secret is left."""
    deployed.moto.deny(denied)
    done = deployed("tenant", "put", TENANT, "--file", deployed.document())
    assert done.code == 1
    assert "The login lacks a right" in done.err
    deployed.moto.denied.clear()
    assert deployed.moto.client("apigateway").get_api_keys()["items"] == []
    assert "There are no tenants" in deployed("tenant", "list").out


def test_the_package_is_described_before_it_is_built(person: Person) -> None:
    """Nothing is written."""
    done = person("package", "--dry-run", "--to", str(person.folder / "out"))
    assert done.code == 0
    assert "ci360-twilio-arm64.zip for Python 3.14" in done.out
    assert "botocore==" in done.out
    assert not (person.folder / "out").exists()


def test_the_template_is_what_the_command_deploys(deployed: Person) -> None:
    """To the letter."""
    found = deployed.moto.client("cloudformation").get_template(StackName="ci360-twilio")
    assert "ci360-twilio-connector" in str(found["TemplateBody"])
    assert len(TEMPLATE.read_text()) < 51_200  # what CloudFormation takes without a bucket
