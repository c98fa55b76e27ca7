"""The stack's template: sound by cfn-lint, true to the code, and deployed to moto as it is.

What moto's CloudFormation lacks (stages, usage plans, accounts, alarms, secrets) is made through moto's
backends: :mod:`tests.cloud.lacking`.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode import cfn_yaml
from tests.cloud.server import Moto
from tests.cloud.stack import FUNCTIONS, STACK, TEMPLATE, deploy, parameters

from ci360_twilio.clients.signed import MOST_BYTES
from ci360_twilio.edge.functions import metrics_line
from ci360_twilio.ports import Summary
from ci360_twilio.settings import read_settings, unknown_names
from ci360_twilio.stores.dynamodb import DynamoStore
from ci360_twilio.stores.dynamodb_table import INDEXES, Table, definition


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
        assert template["Resources"][name]["DeletionPolicy"] == "RetainExceptOnCreate"


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
        "CI360_TWILIO_CORS_ORIGIN": "",
    }
    given |= {"CI360_TWILIO_FILES": "s3://bucket/jobs"} if name == "Jobs" else {}
    settings = read_settings(given)
    assert (settings.sm_secret_id_prefix, settings.hash_key) == ("x", "x")
    assert unknown_names(given) == []


def test_the_console_shows_every_parameter_in_a_group(template: Any) -> None:
    """And each once."""
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    listed = [name for group in groups for name in group["Parameters"]]
    assert sorted(listed) == sorted(template["Parameters"])


def test_only_ci360_is_asked_for_a_key(template: Any) -> None:
    """Twilio shows none: it signs."""
    methods = of_type(template, "AWS::ApiGateway::Method")
    asks = {name: one["Properties"].get("ApiKeyRequired") for name, one in methods.items()}
    assert asks == {
        "EventsPost": True,
        "TasksPost": True,
        "StatusPost": False,
        "InboundPost": False,
        "EventsOptions": False,
    }


def statements(template: Any, name: str) -> list[Any]:
    """List what a function may do: it, all functions, and what hangs on a condition, too."""
    role = template["Resources"][f"{name}Role"]["Properties"]
    assert role["ManagedPolicyArns"] == [{"Ref": "AllFunctions"}]
    traced = template["Resources"]["Traced"]["Properties"]
    assert {"Ref": f"{name}Role"} in traced["Roles"]
    [own] = role["Policies"]
    shared = template["Resources"]["AllFunctions"]["Properties"]
    return [
        one for policy in (own, shared, traced) for one in policy["PolicyDocument"]["Statement"]
    ]


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
                arns = one["Resource"] if isinstance(one["Resource"], list) else [one["Resource"]]
                lists = [arn["Fn::If"][2]["Fn::Sub"] for arn in arns]
                named = [str(arn).rpartition("/")[2] for arn in lists]
                assert set(named) <= set(INDEXES)


def test_customers_files_are_kept_from_others_and_not_for_long(template: Any) -> None:
    """Encrypted, never public, by TLS alone; what is left over goes, as do pieces of what was never whole."""
    bucket = template["Resources"]["JobFiles"]["Properties"]
    [rule] = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    left, pieces = bucket["LifecycleConfiguration"]["Rules"]
    assert left["ExpirationInDays"] == {"Ref": "JobFileDays"}
    assert pieces["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    policy = template["Resources"]["JobFilesPolicy"]["Properties"]["PolicyDocument"]
    [deny] = policy["Statement"]
    assert (deny["Effect"], deny["Principal"], deny["Action"]) == ("Deny", "*", "s3:*")
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_the_function_of_jobs_has_room_for_the_largest_file(template: Any) -> None:
    """Twice what is fetched at most, a whole processor, and all the time that Lambda gives."""
    jobs = template["Resources"]["Jobs"]["Properties"]
    assert jobs["EphemeralStorage"]["Size"] * 1024**2 >= 2 * MOST_BYTES
    assert (jobs["Timeout"], jobs["MemorySize"]) == (900, 1769)
    queue = template["Resources"]["JobsQueue"]["Properties"]
    assert queue["VisibilityTimeout"] >= jobs["Timeout"]
    assert template["Resources"]["JobsSource"]["Properties"]["BatchSize"] == 1


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


def digest_of_the_api(template: Any) -> str:
    """Digest all that a deployment of the API is made of."""
    kinds = {f"AWS::ApiGateway::{name}" for name in ("RestApi", "Resource", "Method")}
    api = {name: one for name, one in template["Resources"].items() if one["Type"] in kinds}
    return hashlib.sha256(json.dumps(api, sort_keys=True).encode()).hexdigest()[:8]


def test_a_changed_api_is_deployed(template: Any) -> None:
    """A stage shows what its deployment was made of; only a deployment of another name is another."""
    digest = digest_of_the_api(template)
    names = {f"Deployment{digest}", f"DeploymentWithCors{digest}"}
    assert set(of_type(template, "AWS::ApiGateway::Deployment")) == names


def test_the_stack_is_made_changed_and_taken_down() -> None:
    """In moto; a ledger opens on the table that was made, which stays with the key of its hashes."""
    with Moto() as moto:
        cloud, asked = moto.client("cloudformation"), {"TemplateBody": TEMPLATE.read_text()}

        def outputs(status: str) -> dict[str, str]:
            [found] = cloud.describe_stacks(StackName=STACK)["Stacks"]
            assert found["StackStatus"] == status
            return {one["OutputKey"]: one["OutputValue"] for one in found["Outputs"]}

        deploy(moto)
        made = outputs("CREATE_COMPLETE")
        assert made["EventsUrl"].endswith("/live/ci360/events")
        functions = moto.client("lambda")
        assert len(functions.list_functions()["Functions"]) == len(FUNCTIONS)
        alarms = moto.client("cloudwatch")
        assert len(alarms.describe_alarms()["MetricAlarms"]) == len(
            of_type(cfn_yaml.load(str(TEMPLATE)), "AWS::CloudWatch::Alarm")
        )
        table = Table(moto.client("dynamodb"), made["LedgerTable"])
        DynamoStore(table, hash_key=b"key").close()

        url = "https://sms.example.com"
        changed = parameters(PublicUrl=url)
        cloud.update_stack(StackName=STACK, Parameters=changed, **asked)
        assert outputs("UPDATE_COMPLETE")["EventsUrl"] == f"{url}/ci360/events"

        cloud.delete_stack(StackName=STACK)
        assert functions.list_functions()["Functions"] == []
        assert alarms.describe_alarms()["MetricAlarms"] == []
        assert moto.client("dynamodb").list_tables()["TableNames"] == [made["LedgerTable"]]
        secrets = moto.client("secretsmanager").list_secrets()["SecretList"]
        assert [one["ARN"] for one in secrets] == [made["HashKeySecret"]]
