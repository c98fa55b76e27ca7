"""moto's server, with a door of ours in front that keeps a record of who called what."""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Self

import boto3
import urllib3
from botocore.config import Config
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

REGION = "eu-central-1"
_CREDENTIAL = re.compile(r"Credential=(?P<key>[^/]+)/\d+/[^/]+/(?P<service>[^/]+)/")


class Called(NamedTuple):
    """A call of AWS as it came over the wire."""

    by: str
    """The access key that it was signed with: each function of a test has one of its own name."""
    service: str
    operation: str
    given: dict[str, Any]


class _Silent(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


class Moto:
    """The server; it answers one request at a time, which is how it checks and writes in one step.

    Only calls of services that speak JSON under a target are recorded (DynamoDB, SQS, Secrets Manager):
    these are all that the functions call.
    """

    def __init__(self) -> None:
        self.calls: list[Called] = []
        self._answer = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._door, request_handler=_Silent)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        answer = urllib3.request("POST", f"{self.url}/moto-api/reset")  # tests share what it knows
        assert answer.status == 200
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def environment(self, key: str = "none") -> dict[str, str]:
        """Give what a process needs to be set so that it finds this where AWS is."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": "none",
            "AWS_SESSION_TOKEN": "",
        }

    def client(self, service: str) -> Any:
        """Make a client of the test's own; its calls are recorded under ``test``."""
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id="test",
            aws_secret_access_key="none",
            config=Config(retries={"total_max_attempts": 1}),
        )

    def _door(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        found = _CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
        target = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
        if found and target:
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            environ["wsgi.input"] = io.BytesIO(body)
            self.calls.append(Called(found["key"], found["service"], target, json.loads(body)))
        answer: Iterable[bytes] = self._answer(environ, start)
        return answer
