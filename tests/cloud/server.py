"""moto's server, with a door of ours in front that keeps a record of who called what."""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs

import boto3
import urllib3
from botocore.config import Config
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

REGION = "eu-central-1"
_NOT_KNOWN_TO_MOTO = (b"RetainExceptOnCreate", b"Retain")
"""A policy for deletion, and the one that moto knows which comes nearest."""
_CREDENTIAL = re.compile(r"Credential=(?P<key>[^/]+)/\d+/[^/]+/(?P<service>[^/]+)/")


_KEY = re.compile("<Key>(.*?)</Key>")


class Called(NamedTuple):
    """A call of AWS as it came over the wire."""

    by: str
    """The access key that it was signed with: each function of a test has one of its own name."""
    service: str
    operation: str
    """Its name; for S3 the method."""
    given: dict[str, Any]


class _Silent(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


class Moto:
    """The server; it answers one request at a time, which is how it checks and writes in one step.

    Only calls of services that speak JSON under a target are recorded (DynamoDB, SQS, Secrets Manager), and
    those of S3 by their method, path and query: these are all that the functions call.
    """

    def __init__(self) -> None:
        self.calls: list[Called] = []
        self.denied: set[str] = set()
        """What is refused as for want of a right: actions, or methods with the beginning of a path."""
        self.conflicts: set[str] = set()
        """Values of gateway keys that are there already, as far as making one goes."""
        self.forbidden: set[tuple[str, str]] = set()
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

    def client(self, service: str, region: str = REGION) -> Any:
        """Make a client of the test's own; its calls are recorded under ``test``."""
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id="test",
            aws_secret_access_key="none",
            config=Config(retries={"total_max_attempts": 1}),
        )

    def deny(self, what: str) -> None:
        """Have a right be missing from now on."""
        self.denied.add(what)

    def forbid(self, method: str, path: str) -> None:
        """Have S3 answer as for a bucket of somebody else's."""
        self.forbidden.add((method, path))

    def _refused(self, environ: dict[str, Any], body: bytes, target: str) -> bytes | None:
        """Give the answer to what is refused, in the words and the form of the service."""
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        action = parse_qs(body.decode("latin-1")).get("Action", [target])[0]
        for what in self.denied:
            verb, _, start = what.partition(" ")
            if what != action and not (start and verb == method and path.startswith(start)):
                continue
            words = f"User: test is not authorized to perform: {what}"
            if target or start:
                return json.dumps({"__type": "AccessDeniedException", "message": words}).encode()
            error = f"<Error><Code>AccessDenied</Code><Message>{words}</Message></Error>"
            return f"<ErrorResponse>{error}</ErrorResponse>".encode()
        if path == "/apikeys" and any(value.encode() in body for value in self.conflicts):
            taken = {"__type": "ConflictException", "message": "API Key already exists"}
            return json.dumps(taken).encode() if method == "POST" else None
        return b"" if (method, path) in self.forbidden else None

    def _door(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        size = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(size).replace(*_NOT_KNOWN_TO_MOTO)
        environ |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        found = _CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
        target = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
        if found and target:
            self.calls.append(Called(found["key"], found["service"], target, json.loads(body)))
        elif found and found["service"] == "s3":
            given = {"path": environ["PATH_INFO"], "query": environ.get("QUERY_STRING", "")}
            given["keys"] = (
                _KEY.findall(body.decode("latin-1")) if "delete" in given["query"] else []
            )
            self.calls.append(Called(found["key"], "s3", environ["REQUEST_METHOD"], given))
        if (refusal := self._refused(environ, body, target)) is not None:
            kind = "text/xml" if refusal.startswith(b"<") else "application/json"
            name = "ConflictException" if b"Conflict" in refusal else "AccessDeniedException"
            start("403 Forbidden", [("Content-Type", kind), ("x-amzn-ErrorType", name)])
            return [refusal]
        answer: Iterable[bytes] = self._answer(environ, start)
        return answer
