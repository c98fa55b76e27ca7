"""What each function of the stack may do, against what it does.

The stack is deployed to moto; each function runs with its own deployed environment, and every call of AWS
that it makes is recorded. An evaluator of our own (moto's leaves resources out) then holds the role's policy
against the calls: each is allowed, the same call on something else is not, and whatever is allowed is used.
"""

from __future__ import annotations

import ast
import copy
import io
import json
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import boto3
import pytest
from botocore.client import BaseClient
from cfnlint.decode import cfn_yaml
from moto import mock_aws
from tests.acceptance.test_template import BUCKET, FUNCTIONS, REGION, without_what_moto_lacks

from ci360_twilio.clients.nudge import Nudge
from ci360_twilio.core.entry import Entry, Status, key_of
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.functions import Stack
from ci360_twilio.logs import Log
from ci360_twilio.ports import Store
from ci360_twilio.settings import read_settings
from ci360_twilio.twin.account import TwinAccount
from ci360_twilio.twin.ci360 import Ci360Twin
from ci360_twilio.twin.ci360_server import Ci360Server
from ci360_twilio.twin.events import outbound_event
from ci360_twilio.twin.faults import Fault, FaultPlan
from ci360_twilio.twin.phone import Letter
from ci360_twilio.twin.server import TwinServer
from ci360_twilio.twin.signature import sign
from ci360_twilio.twin.twilio import TwilioTwin
from ci360_twilio.wiring import wire

TEMPLATE = Path(__file__).parents[2] / "infra" / "template.yaml"
ACCOUNT, TOKEN, SECRET = f"AC{'7c' * 16}", "5e8a1c3f7b9d2e4f6a8c0b1d3f5e7a9c", "client-secret-4d5e"
TENANT, PACED = TenantId("tenant-of-the-stack"), TenantId("paced-tenant")
KEY, PUBLIC_URL = "key-of-the-tenant-6f7a8b", "https://sms.example.com/live"
SENDER, TO, BUSY, OFTEN_BUSY = "+12015550199", "+12015550142", "+12015550143", "+12015550144"
BY_AWS = {
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "xray:PutTraceSegments",
    "xray:PutTelemetryRecords",
}
"""What AWS does in a function's name: logs and traces (docs: Lambda, "Monitoring"), and polling a queue
(docs: Lambda with SQS, "Execution role permissions")."""


class Call(NamedTuple):
    """One call of AWS."""

    function: str
    action: str
    resource: str


def calls_of(function: str, service: str, operation: str, given: Mapping[str, Any]) -> list[Call]:
    """Give what a call needs to be allowed: action and resource, as IAM names them."""
    here = f"{REGION}:123456789012"
    if service == "dynamodb":
        tables = list(given.get("RequestItems", {})) or [given["TableName"]]
        index = f"/index/{given['IndexName']}" if "IndexName" in given else ""
        arns = [f"arn:aws:dynamodb:{here}:table/{table}{index}" for table in tables]
        return [Call(function, f"dynamodb:{operation}", arn) for arn in arns]
    if service == "sqs":
        assert operation == "SendMessageBatch"
        name = given["QueueUrl"].rpartition("/")[2]
        return [Call(function, "sqs:SendMessage", f"arn:aws:sqs:{here}:{name}")]
    assert (service, operation) == ("secretsmanager", "GetSecretValue")
    arn = f"arn:aws:secretsmanager:{here}:secret:{given['SecretId']}-AbCdEf"
    return [Call(function, "secretsmanager:GetSecretValue", arn)]


def listed(value: Any) -> list[str]:
    """Give a member of a statement, which may be one text or several."""
    return [value] if isinstance(value, str) else list(value)


def allows(policy: list[Any], call: Call) -> bool:
    """Evaluate a policy: whether one of its statements allows a call."""
    return any(
        call.action in listed(one["Action"])
        and any(fnmatchcase(call.resource, pattern) for pattern in listed(one["Resource"]))
        for one in policy
    )


def faults(policies: Mapping[str, list[Any]], calls: set[Call]) -> list[str]:
    """Say what is wrong: calls that are not allowed, or anywhere; what is allowed and never done."""
    found = []
    for call in sorted(calls):
        policy = policies[call.function]
        elsewhere = call._replace(resource=call.resource.replace("123456789012", "210987654321"))
        if not allows(policy, call):
            found.append(f"{call.function} may not {call.action} {call.resource}")
        if allows(policy, elsewhere):
            found.append(f"{call.function} may {call.action} elsewhere")
    for function, policy in policies.items():
        mine = [call for call in calls if call.function == function]
        for one in policy:
            for action in set(listed(one["Action"])) - BY_AWS:
                for pattern in listed(one["Resource"]):
                    used = [c for c in mine if c.action == action]
                    if not any(fnmatchcase(call.resource, pattern) for call in used):
                        found.append(f"{function} never does {action} {pattern}")
    return found


class World:
    """The deployed stack, its functions, and the twins."""

    def __init__(self, environment: dict[str, dict[str, str]]) -> None:
        self.twin = TwilioTwin(
            accounts=[TwinAccount(sid=ACCOUNT, auth_token=TOKEN)], clock=lambda: datetime.now(UTC)
        )
        self.faults = FaultPlan()
        self.twilio = TwinServer(self.twin, self.faults)
        self.ci360_twin = Ci360Twin(
            tenants={TENANT: SECRET},
            clock=lambda: datetime.now(UTC),
            base=lambda: self.ci360.url,
        )
        self.ci360 = Ci360Server(self.ci360_twin, FaultPlan())
        self.calls: set[Call] = set()
        self.current = ""
        self._environment = environment
        self._stacks: dict[str, Stack] = {}

    def call(self, function: str, event: object = None, seconds: float = 20.0) -> dict[str, Any]:
        """Call a function as AWS would, in an instance of its own."""
        self.current = function
        if function not in self._stacks:
            hosts = {
                "CI360_TWILIO_TWILIO_HOSTS": self.twilio.url.removeprefix("http://"),
                "CI360_TWILIO_CI360_HOSTS": self.ci360.authority,
            }
            settings = read_settings(self._environment[function] | hosts)
            nudge = Nudge(settings.queue_url or "")
            self._stacks[function] = Stack(wire(settings, Log(io.StringIO())), nudge)
        stack = self._stacks[function]
        context = type("Context", (), {"get_remaining_time_in_millis": lambda _: seconds * 1000})()
        answer: dict[str, Any] = getattr(stack, function.lower())(event, context)
        self.current = ""
        return answer

    def close(self) -> None:
        """End all instances."""
        for stack in self._stacks.values():
            stack.close()

    @property
    def store(self) -> Store:
        """The ledger, as nobody of the functions uses it."""
        return self._stacks["Sweep"]._parts.store

    def entry(self, guid: str) -> Entry:
        """Read an entry."""
        [found] = self.store.get_many([key_of(TENANT, guid)])
        assert found is not None
        return found

    def grow_old(self, guid: str) -> None:
        """Write an entry whose retention is over."""
        then = datetime.now(UTC) - timedelta(days=91)
        entry = Entry(
            key=key_of(TENANT, guid),
            tenant_id=TENANT,
            guid=guid,
            status=Status.REFUSED,
            created_at=then,
            due_at=then,
            expires_at=then,
            purge_at=datetime.now(UTC) - timedelta(hours=1),
        )
        self.store.insert_many([entry])


def document(world: World, **members: Any) -> str:
    """Give a tenant's document."""
    path = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
    return json.dumps(
        {
            "twilio_api_url": f"{world.twilio.url}{path}",
            "twilio_account_sid": ACCOUNT,
            "twilio_auth_token": TOKEN,
            "default_sender": SENDER,
            "api_keys": [KEY],
            **members,
        }
    )


def event_in(tenant: TenantId = TENANT, key: str = KEY, to: str = TO) -> tuple[str, Any]:
    """Give an event as the REST API hands it over, and its guid."""
    guid = str(uuid.uuid4())
    body = outbound_event(
        guid=guid,
        tenant_id=tenant,
        creative=f"TO:{to};\nHello",
        generated_at=datetime.now(UTC) - timedelta(seconds=1),
    )
    return guid, {
        "path": "/ci360/events",
        "httpMethod": "POST",
        "headers": {"x-api-key": key, "Content-Type": "text/plain"},
        "requestContext": {"identity": {"apiKeyId": "k1"}},
        "body": json.dumps(body),
    }


def webhook_in(route: str, form: dict[str, str], query: str = "") -> dict[str, Any]:
    """Give a signed webhook as the REST API hands it over."""
    address = f"{PUBLIC_URL}{route}" + (f"?{query}" if query else "")
    return {
        "path": route,
        "httpMethod": "POST",
        "headers": {
            "X-Twilio-Signature": sign(TOKEN, address, form),
            "Content-Type": "application/x-www-form-urlencoded",
        },
        "multiValueQueryStringParameters": {"m": [query.removeprefix("m=")]} if query else None,
        "requestContext": {},
        "body": urlencode(form),
    }


@pytest.fixture(scope="module")
def deployed() -> Iterator[tuple[World, dict[str, list[Any]]]]:
    """Deploy the stack, play the whole loop, and give the calls with the policies."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
            patch.setenv(f"AWS_{name}", "none")
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        session = boto3.session.Session()
        environment, policies = deploy(session)
        world = World(environment)
        make = BaseClient._make_api_call

        def recorded(self: Any, operation: str, given: Any) -> Any:
            if world.current:
                service = self.meta.service_model.service_name
                world.calls |= {*calls_of(world.current, service, operation, given)}
            return make(self, operation, given)

        patch.setattr(BaseClient, "_make_api_call", recorded)
        with world.twilio, started(world.ci360):
            play(world, session)
            yield world, policies
            world.close()


class started:  # noqa: N801 - a context like the functions of contextlib
    """Run a server for a while."""

    def __init__(self, server: Ci360Server) -> None:
        self._server = server

    def __enter__(self) -> None:
        self._server.start()

    def __exit__(self, *_: object) -> None:
        self._server.stop()


def deploy(session: Any) -> tuple[dict[str, dict[str, str]], dict[str, list[Any]]]:
    """Deploy the template; give each function's environment and its role's statements."""
    bucket = session.client("s3")
    bucket.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    bucket.put_object(Bucket=BUCKET, Key="code.zip", Body=b"PK\x05\x06" + bytes(18))
    cloud = session.client("cloudformation")
    asked = {"CodeBucket": BUCKET, "CodeKey": "code.zip", "PublicUrl": PUBLIC_URL}
    template = cfn_yaml.load(str(TEMPLATE))
    del template["Resources"]["DeliverSource"]  # the poller is ours: moto's would ask for Docker
    cloud.create_stack(
        StackName="sms",
        TemplateBody=without_what_moto_lacks(template),
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in asked.items()],
    )
    made = cloud.describe_stack_resources(StackName="sms")["StackResources"]
    physical = {one.get("LogicalResourceId", ""): one.get("PhysicalResourceId", "") for one in made}
    functions, iam = session.client("lambda"), session.client("iam")
    environment, policies = {}, {}
    for name in FUNCTIONS:
        settings = functions.get_function_configuration(FunctionName=physical[name])
        given = settings["Environment"]["Variables"]
        environment[name] = {key: str(value) for key, value in given.items()}
        found = iam.get_role_policy(RoleName=physical[f"{name}Role"], PolicyName=name.lower())
        policy = found["PolicyDocument"]
        whole = policy if isinstance(policy, dict) else ast.literal_eval(policy)  # as moto has it
        policies[name] = [one for one in whole["Statement"] if one]
    return environment, policies


def play(world: World, session: Any) -> None:
    """Have everything happen that the functions are for."""
    vault = session.client("secretsmanager")
    told = {
        "ci360_api_url": f"{world.ci360.url}/marketingGateway/events",
        "ci360_client_secret": SECRET,
        "ci360_preferences_hours": 6,
    }
    vault.create_secret(Name=f"ci360-twilio/{TENANT}", SecretString=document(world, **told))
    paced = document(world, sender_rates={SENDER: 50.0}, messages_per_hour=100)
    vault.create_secret(Name=f"ci360-twilio/{PACED}", SecretString=paced)
    queue = session.client("sqs")

    def deliver() -> None:
        url = world._environment["Deliver"]["CI360_TWILIO_QUEUE_URL"]
        found = queue.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", ())
        records = [{"messageId": one["MessageId"], "body": one["Body"]} for one in found]
        assert world.call("Deliver", {"Records": records}) == {"batchItemFailures": []}

    guid, event = event_in()
    assert world.call("Receive", event)["statusCode"] == 202
    world.faults.for_recipient(BUSY, [Fault.HTTP_429])
    assert world.call("Receive", event_in(to=BUSY)[1])["statusCode"] == 202
    deliver()
    world.twin.write(ACCOUNT, Letter(sender=TO, to=SENDER, body="No webhook tells of this"))
    world.call("Sweep", seconds=8.0)
    world.grow_old("long-ago")
    entry = world.entry(guid)
    assert entry.status is Status.SENT
    form = {"MessageSid": entry.sid or "", "MessageStatus": "delivered", "AccountSid": ACCOUNT}
    query = f"m={entry.correlation}"
    answer = world.call("Webhook", webhook_in(f"/twilio/status/{TENANT}", form, query))
    assert answer["statusCode"] == 204
    text = {
        "MessageSid": f"SM{uuid.uuid4().hex}",
        "AccountSid": ACCOUNT,
        "From": TO,
        "To": SENDER,
        "Body": "STOP",
    }
    inbound = f"/twilio/inbound/{TENANT}"
    assert world.call("Webhook", webhook_in(inbound, text))["statusCode"] == 200
    assert json.loads(world.call("Receive", event_in()[1])["body"])["reason"] == "opted_out"
    world.faults.for_recipient(OFTEN_BUSY, [Fault.HTTP_429])
    _, queued = event_in(PACED, to=OFTEN_BUSY)
    assert world.call("Receive", queued)["statusCode"] == 202
    deliver()
    world.call("Sweep", seconds=8.0)
    assert world.call("Report", seconds=30.0)["reports"] >= 4
    names = {one.name for one in world.ci360_twin.events}
    assert {"twilio_sms_delivered", "twilio_sms_opt_out", "twilio_sms_suppressed"} <= names
    assert sorted(message.to for message in world.twin.messages) == [TO, BUSY]


Deployed = tuple[World, dict[str, list[Any]]]


def test_every_function_may_do_what_it_does_and_nothing_else(deployed: Deployed) -> None:
    """Over the whole loop: event, message, receipt, STOP, suppression, CI360's events."""
    world, policies = deployed
    found = faults(policies, world.calls)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_statement_less_is_found_out(deployed: Deployed, function: str) -> None:
    """Each but those that AWS itself uses."""
    world, policies = deployed
    for number, one in enumerate(policies[function]):
        if not set(listed(one["Action"])) <= BY_AWS:
            fewer = copy.deepcopy(policies)
            del fewer[function][number]
            assert faults(fewer, world.calls), one["Sid"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_statement_more_is_found_out(deployed: Deployed, function: str) -> None:
    """As is one that is wider than it must be."""
    world, policies = deployed
    more = copy.deepcopy(policies)
    more[function].append({"Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/*"})
    assert faults(more, world.calls)
    wider = copy.deepcopy(policies)
    used = next(one for one in wider[function] if not set(listed(one["Action"])) <= BY_AWS)
    used["Resource"] = "*"
    assert faults(wider, world.calls)


def test_a_tenants_key_opens_no_other_tenant(deployed: Deployed) -> None:
    """Though the gateway has let it in."""
    world, _ = deployed
    assert world.call("Receive", event_in(PACED, key="key-of-another")[1])["statusCode"] == 403
