"""What each function of the stack may do, against what it does.

The stack is deployed to moto as it is; its functions run in Lambda's emulator with their own deployed
environment, and every call of AWS is recorded as it comes over the wire. An evaluator of our own (moto's
leaves resources out) then holds each role's policy against the calls: each is allowed, the same call on
something else is not, and whatever is allowed is used.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import msgspec
import pytest
from tests.acceptance.bulk import Bucket, encoded
from tests.cloud.server import REGION
from tests.cloud.stack import ACCOUNT, FUNCTIONS, KEYS, OTHER, SENDER, TAKES, TENANT, World, stack

from ci360_twilio.core.entry import Entry, Status, key_of
from ci360_twilio.core.job import State
from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.twin.faults import Fault
from ci360_twilio.twin.phone import Letter

TO, BUSY, OFTEN_BUSY, LOST = (f"+1201555014{last}" for last in range(2, 6))
ANYWHERE = frozenset({"xray:PutTraceSegments", "xray:PutTelemetryRecords"})
"""What has no resource to be narrowed to (docs: Service Authorization Reference, AWS X-Ray)."""


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
    if service == "s3":
        return [Call(function, *needed) for needed in of_files(operation, given)]
    if service == "sqs":
        assert operation in ("SendMessage", "SendMessageBatch")
        name = given["QueueUrl"].rpartition("/")[2]
        return [Call(function, "sqs:SendMessage", f"arn:aws:sqs:{here}:{name}")]
    assert (service, operation) == ("secretsmanager", "GetSecretValue")
    arn = f"arn:aws:secretsmanager:{here}:secret:{given['SecretId']}-AbCdEf"
    return [Call(function, "secretsmanager:GetSecretValue", arn)]


def of_files(method: str, given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Give what a request to S3 needs to be allowed (docs: S3, "Required permissions for API operations")."""
    bucket, _, key = given["path"].strip("/").partition("/")
    if method == "POST":
        assert given["keys"], "only deleting posts"
        return [("s3:DeleteObject", f"arn:aws:s3:::{bucket}/{one}") for one in given["keys"]]
    if not key:
        assert (method, "list-type=2" in given["query"]) == ("GET", True)
        return [("s3:ListBucket", f"arn:aws:s3:::{bucket}")]
    return [
        ({"GET": "s3:GetObject", "PUT": "s3:PutObject"}[method], f"arn:aws:s3:::{bucket}/{key}")
    ]


def calls_by_aws(world: World, function: str) -> set[Call]:
    """List by hand what AWS itself does in a function's name.

    Logs (docs: Lambda, "Sending Lambda function logs to CloudWatch Logs"), traces ("Visualize Lambda
    function invocations using AWS X-Ray"), polling a queue ("Using Lambda with Amazon SQS").
    """
    here = f"{REGION}:123456789012"
    group = f"arn:aws:logs:{here}:log-group:{world.physical[f'{function}Log']}:log-stream:x"
    calls = {Call(function, f"logs:{name}", group) for name in ("CreateLogStream", "PutLogEvents")}
    calls |= {Call(function, action, "*") for action in ANYWHERE}
    for name in TAKES.get(function, ()):
        queue = f"arn:aws:sqs:{here}:{world.physical[name].rpartition('/')[2]}"
        polling = ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
        calls |= {Call(function, f"sqs:{action}", queue) for action in polling}
    return calls


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


def somebody_elses(resource: str) -> str:
    """Give a resource of the same kind and name in another account; buckets have no account in their names."""
    other = resource.replace("123456789012", "210987654321")
    return other.replace("arn:aws:s3:::", "arn:aws:s3:::other-")


def faults(policies: Mapping[str, list[Any]], calls: set[Call]) -> list[str]:
    """Say what is wrong: calls that are not allowed, or anywhere; what is allowed and never done."""
    found = []
    for call in sorted(calls):
        policy = policies[call.function]
        elsewhere = call._replace(resource=somebody_elses(call.resource))
        if not allows(policy, call):
            found.append(f"{call.function} may not {call.action} {call.resource}")
        if call.action not in ANYWHERE and allows(policy, elsewhere):
            found.append(f"{call.function} may {call.action} elsewhere")
    for function, policy in policies.items():
        mine = [call for call in calls if call.function == function]
        for one in policy:
            for action in listed(one["Action"]):
                for pattern in listed(one["Resource"]):
                    used = [c for c in mine if c.action == action]
                    if not any(fnmatchcase(call.resource, pattern) for call in used):
                        found.append(f"{function} never does {action} {pattern}")
    return found


@pytest.fixture(scope="module")
def deployed(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[set[Call], dict[str, list[Any]]]]:
    """Deploy the stack, play the whole loop, and give the calls with the policies."""
    with stack(tmp_path_factory.mktemp("stack"), Tracing="Active") as world:
        play(world)
        calls = {
            call
            for one in world.moto.calls
            if one.by in FUNCTIONS
            for call in calls_of(one.by, one.service, one.operation, one.given)
        }
        calls |= {call for name in FUNCTIONS for call in calls_by_aws(world, name)}
        yield calls, {name: policy_of(world, name) for name in FUNCTIONS}


def policy_of(world: World, function: str) -> list[Any]:
    """Give the statements of a function's role: its own, and those of the policies that it shares."""
    iam, role = world.moto.client("iam"), world.physical[f"{function}Role"]
    own = iam.get_role_policy(RoleName=role, PolicyName=function.lower())["PolicyDocument"]
    policies = [own if isinstance(own, dict) else ast.literal_eval(own)]  # as moto has it
    for shared in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
        arn = shared["PolicyArn"]
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        found = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]
        policies.append(found["Document"])
    return [one for policy in policies for one in policy["Statement"]]


def grow_old(world: World, guid: str) -> None:
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
    with world.store() as store:
        store.insert_many([entry])


def play(world: World) -> None:
    """Have everything happen that the functions are for."""
    world.tenant(ci360_preferences_hours=6)
    world.tenant(OTHER, sender_rates={SENDER: 50.0}, messages_per_hour=100)
    guid, event = world.event(TO)
    assert world.post(event).status == 202
    world.twins.faults.for_recipient(BUSY, [Fault.HTTP_429])
    assert world.post(world.event(BUSY)[1]).status == 202
    assert world.poll() == []
    world.twins.faults.for_recipient(LOST, [Fault.HTTP_500_MADE])
    lost, event = world.event(LOST)
    assert world.post(event).status == 202
    assert world.poll() == []
    assert world.entry(lost).status is Status.UNKNOWN
    world.queue.send_message(QueueUrl=world.queue_url, MessageBody="This names nothing")
    assert world.poll() == []
    letter = Letter(sender=TO, to=SENDER, body="No webhook tells of this")
    world.twins.messages.write(ACCOUNT, letter)
    world.invoke("Sweep")
    grow_old(world, "long-ago")
    entry = world.entry(guid)
    assert entry.status is Status.SENT
    assert world.receipt(entry).status == 204
    assert world.text(TO, "STOP").status == 200
    assert world.post(world.event(TO)[1]).body["reason"] == "opted_out"
    world.twins.faults.for_recipient(OFTEN_BUSY, [Fault.HTTP_429])
    queued = world.event(OFTEN_BUSY, tenant=OTHER)[1]
    assert world.post(queued, key=KEYS[OTHER]).status == 202
    assert world.poll() == []
    world.invoke("Sweep")
    world.until(lambda: world.invoke("Sweep") and world.entry(lost).status is Status.SENT)
    play_jobs(world)
    assert world.invoke("Report")["reports"] >= 4
    names = {one.name for one in world.twins.told.events}
    assert {"twilio_sms_delivered", "twilio_sms_opt_out", "twilio_sms_suppressed"} <= names
    assert {one.to for one in world.twins.messages.messages} >= {TO, BUSY}


def play_jobs(world: World) -> None:
    """Have bulk tasks come, be done, be canceled, and be forgotten."""
    bucket = Bucket(world.moto)
    rows = [["1", "Robin", "+12015550147", "Cary"], ["2", "Robin", TO, "Cary"]]
    tasks = [encoded(bucket.task(rows[:size], tenant_id=TENANT)) for size in (2, 1)]
    names = [world.task(task).body["job"] for task in tasks]
    world.until(lambda: world.poll("Jobs") or all(world.job(name).said for name in names))
    withdrawn = msgspec.structs.replace(world.job(names[1]), canceled_by="a person")
    held = Pause(
        scope=Scope.JOB,
        tenant_id=TENANT,
        value=withdrawn.id,
        cause=Cause.PERSON,
        reason="paused",
        since=datetime.now(UTC),
    )
    with world.store() as store:
        assert store.pause(held)
    world.make_due(withdrawn)
    world.queue.send_message(QueueUrl=world.physical["JobsQueue"], MessageBody="Nothing")
    assert world.poll("Jobs") == world.poll() == []
    world.until(lambda: world.invoke("Jobs", {}) and all(world.job(n).ended for n in names), 40)
    done = [world.job(name) for name in names]
    assert done[0].outcomes == {"sent": 1, "opted_out": 1}
    assert done[1].state is State.CANCELED
    world.make_due(msgspec.structs.replace(done[0], purge_at=done[0].created_at))
    world.invoke("Jobs", {})
    assert world.files(done[0]) == []


Deployed = tuple[set[Call], dict[str, list[Any]]]


def test_every_function_may_do_what_it_does_and_nothing_else(deployed: Deployed) -> None:
    """Over the whole loop: event, message, receipt, STOP, suppression, CI360's events."""
    calls, policies = deployed
    found = faults(policies, calls)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_statement_less_is_found_out(deployed: Deployed, function: str) -> None:
    """Each of them."""
    calls, policies = deployed
    for number, one in enumerate(policies[function]):
        fewer = copy.deepcopy(policies)
        del fewer[function][number]
        assert faults(fewer, calls), one["Sid"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_statement_more_is_found_out(deployed: Deployed, function: str) -> None:
    """As is one that is wider than it must be."""
    calls, policies = deployed
    more = copy.deepcopy(policies)
    more[function].append({"Action": "s3:GetObjectAcl", "Resource": "arn:aws:s3:::bucket/*"})
    assert faults(more, calls)
    wider = copy.deepcopy(policies)
    for one in wider[function]:
        was, one["Resource"] = one["Resource"], "*"
        assert faults(wider, calls) or set(listed(one["Action"])) <= ANYWHERE, one["Sid"]
        one["Resource"] = was
