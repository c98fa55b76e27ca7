"""Functions in Lambda's emulator, with stubs of AWS and Twilio beside them."""

import json
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from tests.cloud.emulator import Emulated, unpacked
from tests.cloud.invocation import rest_event

from bench.child import Child, bench_module, free_port, get
from bench.event import API_KEY, EVENT_PATH, TENANT, Template, event_body
from bench.product import tenant_document

SAMPLE = "sample_like.lambda_handler"
DIRECT = "lambda_function.lambda_handler"
RECEIVE = "ci360_twilio.edge.functions.receive"
DELIVER = "ci360_twilio.edge.functions.deliver"
WEBHOOK = "ci360_twilio.edge.functions.webhook"
PREFIX = "ci360-twilio/"
PUBLIC_URL = "https://sms.example.com"
AWS_MS = 5.0
"""What every request to AWS takes: DynamoDB documents single-digit milliseconds."""


class Lambdas:
    """What functions find around them: Twilio, and of AWS a secret, a table and a queue."""

    def __init__(self, folder: Path, *, twilio_ms: float = 0.0) -> None:
        self._folder = folder
        self._twilio, self._aws = free_port(), free_port()
        self._twilio_ms = twilio_ms
        self._number = 0
        self._events = Template(event_body())
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Build what is shipped, for this machine's Python, and start the stubs."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._code = unpacked(self._folder)
        self._sample = self._folder / "sample"
        self._sample.mkdir()
        shutil.copy(Path(__file__).with_name("sample_like.py"), self._sample)
        secret = self._folder / "secret.json"
        secret.write_text(json.dumps(tenant_document(self._twilio)))
        named = ("--name", f"{PREFIX}{TENANT}", "--file", secret, "--latency-ms", AWS_MS)
        for name, port, arguments in (
            ("stub", self._twilio, ("--latency-ms", self._twilio_ms)),
            ("aws_stub", self._aws, named),
        ):
            command = bench_module(name, "--port", port, *arguments)
            self._stack.enter_context(Child(name, command, self._folder, port=port))
        return self

    def __exit__(self, *_: object) -> None:
        """Stop them."""
        self._stack.close()

    def instance(self, handler: str) -> Emulated:
        """Start an instance of a function: ours as it is shipped, the sample as it stands here."""
        self._number += 1
        log = self._folder / f"{handler}-{self._number}.log"
        code = self._sample if handler == SAMPLE else self._code
        return Emulated(handler, self._settings(handler), log, code=code)

    def _settings(self, handler: str) -> dict[str, str]:
        """Return what the runtime, the sample's installation and the stack put into the environment."""
        settings = {
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "ASIABENCHBENCHBENCH0",
            "AWS_SECRET_ACCESS_KEY": "bench-secret-of-no-worth",
            "AWS_SESSION_TOKEN": "bench-session-of-no-worth",
            "AWS_EXECUTION_ENV": "AWS_Lambda_python",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._aws}",
            "CI360_TWILIO_TWILIO_HOSTS": f"127.0.0.1:{self._twilio}",
            "event_ttl": "86400",
            "default_sender": "+19085550100",
            "sm_secret_id_prefix": PREFIX,
        }
        if handler in (SAMPLE, DIRECT):
            return settings
        return settings | {
            "CI360_TWILIO_LEDGER": "dynamodb:ledger",
            "CI360_TWILIO_HASH_KEY": "bench",
            "CI360_TWILIO_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/000000000000/deliver",
            "CI360_TWILIO_PUBLIC_URL": PUBLIC_URL,
        }

    def event(self) -> dict[str, Any]:
        """Return an event with a guid of its own, made now."""
        self._number += 1
        event: dict[str, Any] = json.loads(self._events.fill(self._number))
        return event

    def sent(self, number: int) -> list[dict[str, str]]:
        """Return the SIDs and callbacks of the latest messages."""
        made: list[dict[str, str]] = json.loads(get(self._twilio, "/made"))
        return made[-number:]

    def request(self, event: dict[str, Any] | None = None) -> dict[str, object]:
        """Return what a REST API hands on after it has checked the key."""
        return gateway_request(json.dumps(event or self.event()))


def gateway_request(
    body: str, path: str = EVENT_PATH, query: str = "", **headers: str
) -> dict[str, object]:
    """Return what a REST API of API Gateway hands on after it has checked the key."""
    given = {"Content-Type": "text/plain", "Host": "bench.example", "x-api-key": API_KEY} | headers
    return rest_event(body, given, path=path, checked="benchkeyid", query=query)
