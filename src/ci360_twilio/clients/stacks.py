"""CloudFormation and S3, as far as one stack of ours is made, changed, looked at and taken down."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ci360_twilio.aws import code_of, explained, make_client
from ci360_twilio.clients.tenant_admin import drop_key
from ci360_twilio.errors import AwsFailed

OURS = "ci360-twilio-connector"
"""How the template's description begins: by it a stack is known to be ours."""
POLL_SECONDS = 3.0
PATIENCE = 3600.0
"""Seconds after which nobody waits for CloudFormation any more."""
_UNCHANGED = ("didn't contain changes", "No updates are to be performed")

_HALF_MADE = {
    "ROLLBACK_COMPLETE": "It could not be made, and was taken back: remove what is left of it with"
    " `ci360-twilio aws destroy`, then deploy again.",
    "ROLLBACK_FAILED": "It could not be made, nor taken back: see its events in the console, then"
    " `ci360-twilio aws destroy`.",
    "CREATE_FAILED": "It could not be made: see its events in the console, then"
    " `ci360-twilio aws destroy`.",
    "DELETE_FAILED": "It could not be taken down: see its events in the console for what holds it.",
    "UPDATE_ROLLBACK_FAILED": "A change of it could not be taken back: have CloudFormation continue"
    " the rollback, in the console, then deploy again.",
}


class Change(NamedTuple):
    """One change of a set."""

    action: str
    name: str
    kind: str
    replaced: bool


class Step(NamedTuple):
    """Something that happened to a resource."""

    name: str
    kind: str
    status: str
    reason: str


class State(NamedTuple):
    """A stack as it is."""

    status: str
    parameters: Mapping[str, str]
    outputs: Mapping[str, str]
    changed_at: Any

    @property
    def is_there(self) -> bool:
        """Whether anything of it has been made."""
        return self.status != "REVIEW_IN_PROGRESS"


class Stacks:
    """One stack of a region."""

    def __init__(self, name: str, region: str | None = None) -> None:
        """Make it.

        Raises:
            SettingsError: the ``aws`` extra is not installed, or no region is set.
        """
        self.name = name
        self._region = region
        self._cloud = make_client("cloudformation", region)
        self.region: str = self._cloud.meta.region_name

    def account(self) -> str:
        """Give the number of the account whose login this is."""
        with explained("tell whose login this is"):
            return str(make_client("sts", self._region).get_caller_identity()["Account"])

    def state(self) -> State | None:
        """Look at the stack; ``None`` where there is none.

        Raises:
            AwsFailed: a stack of this name is somebody else's.
        """
        from botocore.exceptions import ClientError

        with explained("look at the stack"):
            try:
                [found] = self._cloud.describe_stacks(StackName=self.name)["Stacks"]
            except ClientError as exc:
                if code_of(exc) == "ValidationError" and "does not exist" in str(exc):
                    return None
                raise
        status = found["StackStatus"]
        unnamed = OURS if status == "REVIEW_IN_PROGRESS" else ""
        if not found.get("Description", unnamed).startswith(OURS):
            words = f"The name {self.name} is taken by another stack; name yours with --stack."
            raise AwsFailed(words)
        parameters, outputs = found.get("Parameters", ()), found.get("Outputs", ())
        return State(
            status,
            {one["ParameterKey"]: one["ParameterValue"] for one in parameters},
            {one["OutputKey"]: one["OutputValue"] for one in outputs},
            found.get("LastUpdatedTime", found["CreationTime"]),
        )

    def resources(self) -> dict[str, str]:
        """Give what the stack's resources are called, by their names in the template."""
        with explained("list the stack's resources"):
            pages = self._cloud.get_paginator("list_stack_resources").paginate(StackName=self.name)
            return {
                one["LogicalResourceId"]: one.get("PhysicalResourceId", "")
                for page in pages
                for one in page["StackResourceSummaries"]
                if one["ResourceStatus"] != "DELETE_COMPLETE"
            }

    def plan(
        self, template: str, given: Mapping[str, str], state: State | None
    ) -> tuple[str, list[Change]]:
        """Have CloudFormation say what a change would do; it waits to be run, or to be dropped.

        Args:
            template: the stack's.
            given: parameters; of a stack that is there the others stay as they are.
            state: the stack as it is.

        Returns:
            The change set's name and what it would do; nothing where nothing would change.

        Raises:
            AwsFailed: this cannot be made of the stack.
        """
        is_new = state is None or not state.is_there
        with explained("read the template"):
            summary = self._cloud.get_template_summary(TemplateBody=template)
        known = {one["ParameterKey"] for one in summary["Parameters"]}
        if unknown := sorted(set(given) - known):
            raise AwsFailed(f"The template has no parameter {', '.join(unknown)}.")
        earlier = state.parameters if state is not None and not is_new else {}
        kept = [name for name in earlier if name in known and name not in given]
        name = f"deploy-{time.time_ns() // 1_000_000}"
        request: dict[str, Any] = {
            "StackName": self.name,
            "ChangeSetName": name,
            "ChangeSetType": "CREATE" if is_new else "UPDATE",
            "TemplateBody": template,
            "Capabilities": ["CAPABILITY_IAM"],
            "Parameters": [
                *({"ParameterKey": key, "ParameterValue": value} for key, value in given.items()),
                *({"ParameterKey": key, "UsePreviousValue": True} for key in kept),
            ],
        }
        try:
            with explained("plan the change"):
                self._cloud.create_change_set(**request)
            found = self._planned(name)
            if found["Status"] == "FAILED":
                self.drop(name)
                words = f"This cannot be made of the stack. AWS says: {found.get('StatusReason')}"
                raise AwsFailed(words)
        except AwsFailed as exc:
            if any(words in exc.message for words in _UNCHANGED):
                return "", []
            raise
        return name, [_change(one["ResourceChange"]) for one in found["Changes"]]

    def _planned(self, name: str) -> Any:
        until = time.monotonic() + PATIENCE
        request = {"StackName": self.name, "ChangeSetName": name}
        while True:
            with explained("read the planned change"):
                found = self._cloud.describe_change_set(**request)
                if found["Status"] not in ("CREATE_PENDING", "CREATE_IN_PROGRESS"):
                    while token := found.get("NextToken"):
                        more = self._cloud.describe_change_set(**request, NextToken=token)
                        found["Changes"] += more["Changes"]
                        found["NextToken"] = more.get("NextToken")
                    return found
            if time.monotonic() > until:
                raise AwsFailed("CloudFormation takes too long; look at the change in the console.")
            time.sleep(POLL_SECONDS)

    def drop(self, name: str) -> None:
        """Drop a planned change; of a stack that is not there nothing stays."""
        with explained("drop the planned change"):
            self._cloud.delete_change_set(StackName=self.name, ChangeSetName=name)
            state = self.state()
            if state is not None and not state.is_there:
                self._cloud.delete_stack(StackName=self.name)

    def run(self, name: str) -> Iterator[Step]:
        """Run a planned change, and give what happens to each resource, until all is done."""
        since = self._latest_event()
        try:
            with explained("run the change"):
                self._cloud.execute_change_set(StackName=self.name, ChangeSetName=name)
        except AwsFailed:
            self.drop(name)
            raise
        yield from self._steps(self.name, since)

    def destroy(self) -> Iterator[Step]:
        """Take the stack down, and give what happens to each resource, until all is done."""
        with explained("take the stack down"):
            [found] = self._cloud.describe_stacks(StackName=self.name)["Stacks"]
            since = self._latest_event()
            self._cloud.delete_stack(StackName=self.name)
        yield from self._steps(found["StackId"], since)

    def _latest_event(self) -> str:
        with explained("read the stack's events"):
            events = self._cloud.describe_stack_events(StackName=self.name)["StackEvents"]
        return str(events[0]["EventId"]) if events else ""

    def _steps(self, stack: str, since: str) -> Iterator[Step]:
        """Follow a stack, by its id or name, until it is no more on its way."""
        until = time.monotonic() + PATIENCE
        while True:
            with explained("follow the stack"):
                [found] = self._cloud.describe_stacks(StackName=stack)["Stacks"]
                fresh = self._events_since(stack, since)
            if fresh:
                since = fresh[0]["EventId"]
            for one in reversed(fresh):
                reason = one.get("ResourceStatusReason", "")
                name, kind = one["LogicalResourceId"], one["ResourceType"]
                yield Step(name, kind, one["ResourceStatus"], reason)
            if not found["StackStatus"].endswith("_IN_PROGRESS"):
                return
            if time.monotonic() > until:
                raise AwsFailed("CloudFormation takes too long; follow it in the console.")
            time.sleep(POLL_SECONDS)

    def _events_since(self, stack: str, since: str) -> list[Any]:
        fresh: list[Any] = []
        pages = self._cloud.get_paginator("describe_stack_events").paginate(StackName=stack)
        for page in pages:
            for one in page["StackEvents"]:
                if one["EventId"] == since:
                    return fresh
                fresh.append(one)
        return fresh

    def ringing(self) -> list[tuple[str, str]]:
        """List the stack's alarms that ring, each with what it means."""
        mine = {name for name in self.resources().values() if name}
        with explained("look at the alarms"):
            alarms = make_client("cloudwatch", self._region)
            pages = alarms.get_paginator("describe_alarms").paginate(StateValue="ALARM")
            return [
                (one["AlarmName"], one.get("AlarmDescription", ""))
                for page in pages
                for one in page["MetricAlarms"]
                if one["AlarmName"] in mine
            ]

    def queued(self, outputs: Mapping[str, str]) -> list[int]:
        """Count what is in the queue, and what was set aside."""
        name = "ApproximateNumberOfMessages"
        with explained("look at the queues"):
            queues = make_client("sqs", self._region)
            found = [
                queues.get_queue_attributes(QueueUrl=outputs[url], AttributeNames=[name])
                for url in ("DeliverQueueUrl", "DeadLetterQueueUrl")
            ]
        return [int(one["Attributes"][name]) for one in found]

    def empty(self, bucket: str) -> None:
        """Delete all that is in a bucket of the stack's: one that holds something cannot be deleted."""
        if not bucket:
            return
        client = make_client("s3", self._region)
        with explained(f"empty the bucket {bucket}"):
            try:
                for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                    keys = [{"Key": one["Key"]} for one in page.get("Contents", ())]
                    if keys:
                        client.delete_objects(Bucket=bucket, Delete={"Objects": keys})
            except Exception as exc:  # where the bucket is gone nothing is left to be done
                if code_of(exc) != "NoSuchBucket":
                    raise

    def forget_keys(self, plan: str) -> None:
        """Delete the keys of a usage plan, which would outlive it."""
        if not plan:
            return
        with explained("delete the gateway's keys"):
            door = make_client("apigateway", self._region)
            pages = door.get_paginator("get_usage_plan_keys").paginate(usagePlanId=plan)
            try:
                for key in [one["id"] for page in pages for one in page["items"]]:
                    drop_key(door, plan, key)
            except Exception as exc:  # where the plan is gone nothing is left to be done
                if code_of(exc) != "NotFoundException":
                    raise

    def upload(self, path: Path, bucket: str, key: str, account: str, *, make: bool) -> None:
        """Put the functions' zip into a bucket of the account's own.

        Args:
            path: the zip.
            bucket: which.
            key: under which it is to be found.
            account: to whom the bucket must belong.
            make: whether a bucket that is not there is made.

        Raises:
            AwsFailed: the bucket is somebody else's, or it cannot be written.
        """
        from botocore.exceptions import ClientError

        client, own = make_client("s3", self._region), {"ExpectedBucketOwner": account}
        with explained(f"use the bucket {bucket}"):
            try:
                client.head_bucket(Bucket=bucket, **own)
            except ClientError as exc:
                if code_of(exc) == "403":
                    words = f"The bucket {bucket} is not this account's; name another: --bucket."
                    raise AwsFailed(words) from exc
                if code_of(exc) != "404" or not make:
                    raise
                self._make_bucket(client, bucket)
        with explained("upload the functions' zip"), path.open("rb") as file:
            client.put_object(Bucket=bucket, Key=key, Body=file, **own)

    def _make_bucket(self, client: Any, bucket: str) -> None:
        where = {"LocationConstraint": self.region}
        here = {} if self.region == "us-east-1" else {"CreateBucketConfiguration": where}
        client.create_bucket(Bucket=bucket, **here)
        shut = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
        client.put_public_access_block(
            Bucket=bucket, PublicAccessBlockConfiguration=dict.fromkeys(shut, True)
        )


def refuse(name: str, status: str) -> None:
    """Refuse to change a stack that is half made, or that somebody is changing.

    Raises:
        AwsFailed: it is.
    """
    if status in _HALF_MADE:
        raise AwsFailed(f"The stack {name} is {status}. {_HALF_MADE[status]}")
    if status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS":
        raise AwsFailed(f"The stack {name} is {status}: wait until that is over, then try again.")


def _change(change: Mapping[str, Any]) -> Change:
    return Change(
        change["Action"],
        change["LogicalResourceId"],
        change["ResourceType"],
        change.get("Replacement") in ("True", "Conditional"),
    )
