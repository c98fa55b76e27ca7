"""A stack that was deployed to moto, its functions in Lambda's emulator, and the twins around it.

Ours, and not AWS's, are the gateway's shim and the poller of the queue.
"""

from __future__ import annotations

import io
import json
import re
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import tests.cloud.lacking
from botocore.exceptions import ClientError
from tests.cloud.emulator import Broken, Emulated
from tests.cloud.gateway import Answer, Gateway
from tests.cloud.server import REGION, Moto

from ci360_twilio.core.entry import Entry, key_of
from ci360_twilio.core.job import Job, job_key
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.flow.intake import chore_of
from ci360_twilio.stores.dynamodb import DynamoStore
from ci360_twilio.stores.dynamodb_table import Table
from ci360_twilio.twin.account import TwinAccount
from ci360_twilio.twin.ci360 import Ci360Twin
from ci360_twilio.twin.ci360_server import Ci360Server
from ci360_twilio.twin.events import outbound_event
from ci360_twilio.twin.faults import FaultPlan
from ci360_twilio.twin.server import TwinServer
from ci360_twilio.twin.signature import sign
from ci360_twilio.twin.twilio import TwilioTwin

assert tests.cloud.lacking

TEMPLATE = Path(__file__).parents[2] / "infra" / "template.yaml"
STACK, BUCKET = "sms", "code-of-sms"
FUNCTIONS = ("Receive", "Bulk", "Jobs", "Deliver", "Webhook", "Report", "Sweep")
TAKES = {"Deliver": ("DeliverQueue", "BulkQueue"), "Jobs": ("JobsQueue",)}
"""From which queues a function is handed what is said."""
ACCOUNT, TOKEN, SECRET = f"AC{'7c' * 16}", "5e8a1c3f7b9d2e4f6a8c0b1d3f5e7a9c", "client-secret-4d5e"
TENANT, OTHER = TenantId("tenant-of-the-stack"), TenantId("other-tenant")
KEYS = {TENANT: "key-of-the-tenant-6f7a8b9c0d", OTHER: "key-of-the-other-1a2b3c4d5e"}
SENDER = "+12015550199"
EMPTY_ZIP = b"PK\x05\x06" + bytes(18)


def small_zip(text: str = "", *, machine: str = "aarch64", python: str = "314") -> bytes:
    """Give what passes for the functions' zip as long as nobody runs it."""
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("lambda_function.py", text)
        archive.writestr(f"msgspec/_core.cpython-{python}-{machine}-linux-gnu.so", "")
    return code.getvalue()


def parameters(**members: str) -> list[dict[str, str]]:
    """Give a stack's parameters as CloudFormation takes them."""
    given = {"CodeBucket": BUCKET, "CodeKey": "code.zip"} | members
    return [{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()]


def deploy(moto: Moto, **members: str) -> dict[str, str]:
    """Deploy the template as it is; gives what the stack's resources are called."""
    bucket = moto.client("s3")
    bucket.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    bucket.put_object(Bucket=BUCKET, Key="code.zip", Body=EMPTY_ZIP)
    cloud = moto.client("cloudformation")
    cloud.create_stack(
        StackName=STACK,
        TemplateBody=TEMPLATE.read_text(),
        Capabilities=["CAPABILITY_IAM"],
        Parameters=parameters(**members),
    )
    return resources(moto)


def resources(moto: Moto, name: str = STACK) -> dict[str, str]:
    """Give what a stack's resources are called, by their names in the template."""
    made = moto.client("cloudformation").describe_stack_resources(StackName=name)
    return {
        one["LogicalResourceId"]: one["PhysicalResourceId"]
        for one in made["StackResources"]
        if "LogicalResourceId" in one and "PhysicalResourceId" in one
    }


class Twins:
    """Twilio and CI360, as far as they are known."""

    def __init__(self) -> None:
        def clock() -> datetime:
            return datetime.now(UTC)

        account = TwinAccount(sid=ACCOUNT, auth_token=TOKEN)
        self.messages = TwilioTwin(accounts=[account], clock=clock)
        self.faults = FaultPlan()
        self.twilio = TwinServer(self.messages, self.faults)
        tenants = dict.fromkeys(map(str, KEYS), SECRET)
        self.told = Ci360Twin(tenants=tenants, clock=clock, base=lambda: self.ci360.url)
        self.ci360 = Ci360Server(self.told, FaultPlan())

    def __enter__(self) -> Self:
        self.twilio.start()
        self.ci360.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.twilio.stop()
        self.ci360.stop()


class World:
    """A deployed stack that runs."""

    def __init__(self, moto: Moto, folder: Path, twins: Twins, name: str = STACK) -> None:
        self.moto = moto
        self.twins = twins
        self.folder = folder
        self.physical = resources(moto, name)
        # Lambda's poller is played by ours: moto's would ask for Docker.
        for source in ("DeliverSource", "BulkSource", "JobsSource"):
            mapping = self.physical[source]
            moto.client("lambda").update_event_source_mapping(UUID=mapping, Enabled=False)
        self.gateway = Gateway(moto, self.invoke)
        self._logical = {self.physical[name]: name for name in FUNCTIONS}
        self._running: dict[str, Emulated] = {}
        self.settings: dict[str, str] = {}
        """What functions find set besides what they were deployed with."""
        self.queue = moto.client("sqs")
        self.queue_url = self.environment("Deliver")["CI360_TWILIO_QUEUE_URL"]

    def environment(self, function: str) -> dict[str, str]:
        """Give a function's variables as it was deployed with, and where AWS and the twins are.

        A reference to a secret is resolved here, as CloudFormation does and moto does not.
        """
        settings = self._configuration(function)
        given = {name: str(v) for name, v in settings["Environment"]["Variables"].items()}
        secrets = self.moto.client("secretsmanager")
        for name, value in given.items():
            if found := re.fullmatch(r"\{\{resolve:secretsmanager:(.+)\}\}", value):
                given[name] = secrets.get_secret_value(SecretId=found[1])["SecretString"]
        hosts = {
            "CI360_TWILIO_TWILIO_HOSTS": self.twins.twilio.url.removeprefix("http://"),
            "CI360_TWILIO_CI360_HOSTS": self.twins.ci360.authority,
            "CI360_TWILIO_BULK_HOSTS": self.moto.url.removeprefix("http://"),
        }
        return given | hosts | self.moto.environment(function) | self.settings

    def _configuration(self, function: str) -> Any:
        client = self.moto.client("lambda")
        return client.get_function_configuration(FunctionName=self.physical[function])

    def instance(self, function: str) -> Emulated:
        """Give a function's instance; it is started when it is first asked for."""
        if function not in self._running:
            self._running[function] = self.another(function)
        return self._running[function]

    def another(
        self,
        function: str,
        *,
        handler: str = "",
        seconds: float = 0.0,
        code: Path | None = None,
    ) -> Emulated:
        """Start one more instance of a function, which may have another handler, time-out or code."""
        settings = self._configuration(function)
        return Emulated(
            handler or settings["Handler"],
            self.environment(function),
            self.folder / f"{function}.log",
            seconds=seconds or settings["Timeout"],
            memory=settings["MemorySize"],
            code=code,
        )

    @contextmanager
    def broken(self, function: str) -> Iterator[None]:
        """Have a function fail, whatever it is asked."""
        self.restart(function)
        self._running[function] = self.another(function, handler="tests.cloud.handlers.fail")
        yield
        self.restart(function)

    def invoke(self, name: str, event: object = None) -> Any:
        """Invoke a function, by its name in the template or in AWS."""
        return self.instance(self._logical.get(name, name)).invoke(event)

    def poll(self, function: str = "Deliver") -> list[str]:
        """Hand a function what its queues hold; gives the ids of the messages that come again.

        A shim for Lambda's event source. What failed comes again at once, instead of when its
        visibility time-out is over.
        """
        failed: list[str] = []
        for name in TAKES[function]:
            url = self.physical[name]
            found: list[Any] = []
            while batch := self.queue.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get(
                "Messages"
            ):
                found += batch
            size = 1 if function == "Jobs" else len(found)
            for start in range(0, len(found), size or 1):
                failed += self._hand(function, url, found[start : start + size])
        return failed

    def _hand(self, function: str, url: str, messages: list[Any]) -> list[str]:
        """Hand a function a batch."""
        records = [{"messageId": one["MessageId"], "body": one["Body"]} for one in messages]
        try:
            answer = self.invoke(function, {"Records": records})
            failed = [one["itemIdentifier"] for one in answer["batchItemFailures"]]
        except Broken:
            failed = [one["MessageId"] for one in messages]
        for one in messages:
            handle = {"QueueUrl": url, "ReceiptHandle": one["ReceiptHandle"]}
            if one["MessageId"] in failed:
                self.queue.change_message_visibility(**handle, VisibilityTimeout=0)
            else:
                self.queue.delete_message(**handle)
        return failed

    def taken(self, queue: str) -> dict[str, str]:
        """Take a message from a queue, by its name in the template, as a function would be handed it."""
        url, found = self.physical[queue], list[Any]()
        receive = self.queue.receive_message

        def look() -> bool:
            found.extend(receive(QueueUrl=url).get("Messages", ()))
            return bool(found)

        self.until(look)
        [one] = found
        self.queue.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
        return {"messageId": one["MessageId"], "body": one["Body"]}

    def dead_letters(self) -> list[Any]:
        """Take what was set aside."""
        url = self.physical["DeadLetters"]
        found = self.queue.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages", [])
        for one in found:
            self.queue.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
        return list(found)

    def until(self, look: Callable[[], object], seconds: float = 20.0) -> None:
        """Look again and again until something is so."""
        end = time.monotonic() + seconds
        while not look():
            assert time.monotonic() < end, f"not seen in {seconds:g} s"
            time.sleep(0.05)

    def tenant(self, tenant: TenantId = TENANT, **members: Any) -> None:
        """Write a tenant's secret and make its key, bound to the stack's usage plan."""
        document = {
            "twilio_api_url": f"{self.twins.twilio.url}/2010-04-01/Accounts/{ACCOUNT}/Messages.json",
            "twilio_account_sid": ACCOUNT,
            "twilio_auth_token": TOKEN,
            "default_sender": SENDER,
            "api_keys": [KEYS[tenant]],
            "ci360_api_url": f"{self.twins.ci360.url}/marketingGateway/events",
            "ci360_client_secret": SECRET,
            **members,
        }
        vault, name = self.moto.client("secretsmanager"), f"ci360-twilio/{tenant}"
        try:
            vault.create_secret(Name=name, SecretString=json.dumps(document))
        except ClientError:
            vault.put_secret_value(SecretId=name, SecretString=json.dumps(document))
            return
        door = self.moto.client("apigateway")
        key = door.create_api_key(name=tenant, enabled=True, value=KEYS[tenant])
        plan = self.physical["Plan"]
        door.create_usage_plan_key(usagePlanId=plan, keyId=key["id"], keyType="API_KEY")

    def event(
        self, to: str, text: str = "Hello", tenant: TenantId = TENANT, guid: str = ""
    ) -> tuple[str, str]:
        """Make an event's body; gives its guid, too."""
        guid = guid or str(uuid.uuid4())
        then = datetime.now(UTC) - timedelta(seconds=1)
        body = outbound_event(
            guid=guid, tenant_id=tenant, creative=f"TO:{to};\n{text}", generated_at=then
        )
        return guid, json.dumps(body)

    def post(self, body: str, key: str = KEYS[TENANT]) -> Answer:
        """Post an event's body, as CI360 does."""
        headers = {"Content-Type": "text/plain;charset=UTF-8"} | ({"x-api-key": key} if key else {})
        return self.gateway.post("/ci360/events", body, headers)

    def task(self, body: bytes, key: str = KEYS[TENANT]) -> Answer:
        """Post a bulk task's body, as CI360 does."""
        headers = {"Content-Type": "text/plain"} | ({"x-api-key": key} if key else {})
        return self.gateway.post("/ci360/bulk", body.decode(), headers)

    def job(self, name: str, tenant: TenantId = TENANT) -> Job:
        """Read a job."""
        with self.store() as store:
            found = store.job(job_key(tenant, name))
        assert found is not None
        return found

    def files(self, job: Job) -> list[str]:
        """List what a job has in the stack's bucket."""
        prefix = f"jobs/{job.folder}/"
        files = self.moto.client("s3")
        found = files.list_objects_v2(Bucket=self.physical["JobFiles"], Prefix=prefix)
        return [one["Key"].removeprefix(prefix) for one in found.get("Contents", ())]

    def make_due(self, job: Job) -> None:
        """Write a job, and have it that something is to be done on it now."""
        with self.store() as store:
            assert store.keep_job(job)
            store.end_chore(chore_of(job.key), due_at=datetime.now(UTC), mark=None)

    def callback(self, route: str, form: Mapping[str, str]) -> Answer:
        """Post a webhook, signed as Twilio does."""
        base = self.environment("Webhook")["CI360_TWILIO_PUBLIC_URL"]
        headers = {
            "X-Twilio-Signature": sign(TOKEN, f"{base}{route}", dict(form)),
            "Content-Type": "application/x-www-form-urlencoded",
        }
        return self.gateway.post(route, urlencode(form), headers)

    def receipt(self, entry: Entry, status: str = "delivered") -> Answer:
        """Post what Twilio says of a message."""
        form = {"MessageSid": entry.sid or "", "MessageStatus": status, "AccountSid": ACCOUNT}
        return self.callback(f"/twilio/status/{entry.tenant_id}?m={entry.correlation}", form)

    def text(self, sender: str, words: str, tenant: TenantId = TENANT) -> Answer:
        """Post what a customer wrote."""
        form = {"MessageSid": f"SM{uuid.uuid4().hex}", "AccountSid": ACCOUNT}
        form |= {"From": sender, "To": SENDER, "Body": words}
        return self.callback(f"/twilio/inbound/{tenant}", form)

    @contextmanager
    def store(self) -> Iterator[DynamoStore]:
        """Open the ledger, as none of the functions does."""
        given = self.environment("Sweep")
        table = Table(self.moto.client("dynamodb"), given["CI360_TWILIO_LEDGER"].partition(":")[2])
        store = DynamoStore(table, hash_key=given["CI360_TWILIO_HASH_KEY"].encode())
        yield store
        store.close()

    def entry(self, guid: str, tenant: TenantId = TENANT) -> Entry:
        """Read an entry."""
        with self.store() as store:
            [found] = store.get_many([key_of(tenant, guid)])
        assert found is not None
        return found

    def made_for(self, recipient: str) -> list[Any]:
        """List the messages that the twin made for a recipient."""
        return [one for one in self.twins.messages.messages if one.to == recipient]

    def told(self, guid: str) -> list[str]:
        """List the names of the events that CI360 got of one of its own."""
        return [
            one.name for one in self.twins.told.events if one.attributes.get("twilio_guid") == guid
        ]

    def restart(self, function: str) -> None:
        """End a function's instance; the next invocation is a cold start."""
        if running := self._running.pop(function, None):
            running.stop()

    def close(self) -> None:
        """End all instances."""
        for function in list(self._running):
            self.restart(function)


@contextmanager
def stack(folder: Path, **members: str) -> Iterator[World]:
    """Deploy the stack with these parameters, and run it."""
    with ExitStack() as stacked:
        moto = stacked.enter_context(Moto())
        twins = stacked.enter_context(Twins())
        deploy(moto, **members)
        world = World(moto, folder, twins)
        stacked.callback(world.close)
        yield world
