"""The stack's template: sound by cfn-lint, true to the code, and deployed to moto.

moto's CloudFormation knows no stages, usage plans, accounts, alarms and secrets; these are left out for it,
and are checked by cfn-lint alone.
"""

from __future__ import annotations

import importlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from cfnlint.decode import cfn_yaml
from moto import mock_aws

from ci360_twilio.edge.functions import metrics_line
from ci360_twilio.ports import Summary
from ci360_twilio.settings import read_settings
from ci360_twilio.stores.dynamodb import DynamoStore
from ci360_twilio.stores.dynamodb_table import INDEXES, Table, definition

TEMPLATE = Path(__file__).parents[2] / "infra" / "template.yaml"
LACKING = frozenset(
    {
        "AWS::ApiGateway::Account",
        "AWS::ApiGateway::Stage",
        "AWS::ApiGateway::UsagePlan",
        "AWS::CloudWatch::Alarm",
        "AWS::SecretsManager::Secret",
    }
)
REGION, STACK, BUCKET = "eu-central-1", "sms", "code-of-sms"
FUNCTIONS = ("Receive", "Deliver", "Webhook", "Report", "Sweep")


@pytest.fixture(scope="module")
def template() -> Any:
    """Give the template as cfn-lint reads it."""
    return cfn_yaml.load(str(TEMPLATE))


def of_type(template: Any, kind: str) -> dict[str, Any]:
    """Give the resources of a type."""
    found = template["Resources"].items()
    return {name: one for name, one in found if one["Type"] == kind}


def variables(template: Any, name: str) -> Any:
    """Give what a function finds set."""
    return template["Resources"][name]["Properties"]["Environment"]["Variables"]


def test_cfn_lint_has_nothing_to_say() -> None:
    """By its own rules, as CloudFormation would."""
    command = [str(Path(sys.executable).with_name("cfn-lint")), str(TEMPLATE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_table_is_the_one_that_the_ledger_uses(template: Any) -> None:
    """With the same key and indexes; it expires, can be restored, is encrypted, and outlives the stack."""
    ledger = template["Resources"]["Ledger"]
    wanted = definition("any")
    for name in ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes"):
        assert ledger["Properties"][name] == wanted[name]
    assert ledger["Properties"]["TimeToLiveSpecification"] == {
        "AttributeName": "ttl",
        "Enabled": True,
    }
    assert ledger["Properties"]["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"]
    assert ledger["Properties"]["SSESpecification"]["SSEEnabled"]
    for name in ("Ledger", "HashKey"):
        assert template["Resources"][name]["DeletionPolicy"] == "Retain"


def test_every_handler_is_there(template: Any) -> None:
    """Under the name by which Lambda calls it."""
    found = of_type(template, "AWS::Lambda::Function")
    assert tuple(found) == FUNCTIONS
    for one in found.values():
        module, _, name = one["Properties"]["Handler"].rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_variable_is_a_setting(template: Any, name: str) -> None:
    """One that is none would be told of in every start's log."""
    given = dict.fromkeys(variables(template, name), "x")
    given |= {
        "CI360_TWILIO_LEDGER": "dynamodb:x",
        "CI360_TWILIO_EVENT_TTL": "86400",
        "CI360_TWILIO_PUBLIC_URL": "https://sms.example.com/live",
        "CI360_TWILIO_DEFAULT_SENDER": "",
    }
    settings = read_settings(given)
    assert (settings.queue_url, settings.stack, settings.hash_key) == ("x", "x", "x")


def test_only_events_ask_for_a_key(template: Any) -> None:
    """Twilio shows none: it signs."""
    methods = of_type(template, "AWS::ApiGateway::Method")
    asks = {name: one["Properties"].get("ApiKeyRequired") for name, one in methods.items()}
    assert asks == {
        "EventsPost": True,
        "StatusPost": False,
        "InboundPost": False,
        "EventsOptions": None,
    }


def statements(template: Any, name: str) -> list[Any]:
    """List what a function may do; what hangs on a condition, too."""
    [policy] = template["Resources"][f"{name}Role"]["Properties"]["Policies"]
    found = policy["PolicyDocument"]["Statement"]
    return [one["Fn::If"][1] if "Fn::If" in one else one for one in found]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_may_do_no_more_than_it_names(template: Any, name: str) -> None:
    """Single actions on single resources; everything only where AWS has nothing narrower."""
    for one in statements(template, name):
        assert all("*" not in action for action in one["Action"])
        resources = one["Resource"] if isinstance(one["Resource"], list) else [one["Resource"]]
        assert "*" not in resources or one["Sid"] == "Traces"


def test_lists_that_may_be_asked_for_are_there(template: Any) -> None:
    """No policy names an index that the table has not."""
    for name in FUNCTIONS:
        for one in statements(template, name):
            if one["Sid"] == "LedgerLists":
                named = [str(arn["Fn::Sub"]).rpartition("/")[2] for arn in one["Resource"]]
                assert set(named) <= set(INDEXES)


def test_alarms_go_by_what_the_sweep_measures(template: Any) -> None:
    """Under the names and the dimension that its line has."""
    summary = Summary(unfinished={}, due=0, oldest_due_at=None, restored_at=None, outdated=False)
    told = json.loads(metrics_line(summary, 0.0, STACK))
    own = [
        one["Properties"]
        for one in of_type(template, "AWS::CloudWatch::Alarm").values()
        if one["Properties"]["Namespace"] == "ci360-twilio"
    ]
    assert len(own) == 5
    for one in own:
        assert one["MetricName"] in told
        assert [dimension["Name"] for dimension in one["Dimensions"]] == ["Stack"]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Give a session with moto, and a bucket with a zip in it."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "none")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws():
        session = boto3.session.Session()
        bucket = session.client("s3")
        bucket.create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("lambda_function.py", "")
        bucket.put_object(Bucket=BUCKET, Key="code.zip", Body=code.getvalue())
        yield session


def without_what_moto_lacks(template: Any) -> str:
    """Give the template as moto's CloudFormation can read it."""
    whole = json.loads(json.dumps(template))
    gone = {name for name, one in whole["Resources"].items() if one["Type"] in LACKING}
    whole["Resources"] = {n: one for n, one in whole["Resources"].items() if n not in gone}
    for name in FUNCTIONS:
        variables(whole, name)["CI360_TWILIO_HASH_KEY"] = "of the secret that moto cannot make"
    outputs = whole["Outputs"].items()
    whole["Outputs"] = {
        name: one for name, one in outputs if one["Value"] not in [{"Ref": n} for n in gone]
    }
    return json.dumps(whole)


def test_the_stack_is_made_changed_and_taken_down(template: Any, aws: Any) -> None:
    """In moto, without the types that it lacks; a ledger opens on the table that was made."""
    cloud = aws.client("cloudformation")
    body = without_what_moto_lacks(template)

    def parameters(**members: str) -> list[dict[str, str]]:
        given = {"CodeBucket": BUCKET, "CodeKey": "code.zip"} | members
        return [{"ParameterKey": k, "ParameterValue": v} for k, v in given.items()]

    asked = {"StackName": STACK, "TemplateBody": body, "Capabilities": ["CAPABILITY_IAM"]}
    cloud.create_stack(**asked, Parameters=parameters())
    [stack] = cloud.describe_stacks(StackName=STACK)["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    outputs = {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}
    assert outputs["EventsUrl"].endswith("/live/ci360/events")
    functions = aws.client("lambda").list_functions()["Functions"]
    assert len(functions) == len(FUNCTIONS)
    table = Table(aws.client("dynamodb"), outputs["LedgerTable"])
    DynamoStore(table, hash_key=b"key").close()

    url = "https://sms.example.com"
    cloud.update_stack(**asked, Parameters=parameters(PublicUrl=url))
    [stack] = cloud.describe_stacks(StackName=STACK)["Stacks"]
    assert stack["StackStatus"] == "UPDATE_COMPLETE"
    outputs = {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}
    assert outputs["EventsUrl"] == f"{url}/ci360/events"

    cloud.delete_stack(StackName=STACK)
    assert aws.client("lambda").list_functions()["Functions"] == []
