"""A shim of ours for API Gateway's REST APIs, over what moto knows of one: keys, resources, integrations.

It checks keys and hands functions their events; it does not throttle.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from tests.cloud.emulator import Broken
from tests.cloud.invocation import rest_event
from tests.cloud.server import Moto

Invoke = Callable[[str, object], Any]


class Answer(NamedTuple):
    """What the caller gets."""

    status: int
    body: dict[str, Any]


class Front:
    """A server on loopback before a gateway, for whoever is to reach it over HTTP."""

    def __init__(self) -> None:
        front = self

        class Handler(BaseHTTPRequestHandler):
            """Hands a request on."""

            def do_POST(self) -> None:
                """Answer as the gateway does."""
                assert front.gateway is not None
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                answer = front.gateway.post(self.path, body, dict(self.headers.items()))
                told = json.dumps(answer.body).encode()
                self.send_response(answer.status)
                self.send_header("Content-Length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.gateway: Gateway | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Gateway:
    """The one API of a stack, at its one stage."""

    def __init__(self, moto: Moto, invoke: Invoke) -> None:
        """Read the API.

        Args:
            moto: where it is.
            invoke: invokes a function, by its name, with an event.
        """
        self._invoke = invoke
        self._client = moto.client("apigateway")
        [api] = self._client.get_rest_apis()["items"]
        self._api = api["id"]
        [stage] = self._client.get_stages(restApiId=self._api)["item"]
        self._stage = stage["stageName"]
        found = self._client.get_resources(restApiId=self._api, embed=["methods"], limit=500)
        self._resources = found["items"]

    def post(self, path: str, body: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Post to a path that may have a query, as CI360 and Twilio do."""
        parts, given = urlsplit(path), dict(headers or {})
        for resource in self._resources:
            pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(resource["path"]))
            matched = re.fullmatch(pattern, parts.path)
            method = resource.get("resourceMethods", {}).get("POST")
            if matched and method:
                break
        else:
            return Answer(403, {"message": "Missing Authentication Token"})
        key = self._key_of(given)
        if method.get("apiKeyRequired") and key is None:
            return Answer(403, {"message": "Forbidden"})
        event = rest_event(
            body,
            given,
            path=parts.path,
            checked=key,
            query=parts.query,
            api=self._api,
            stage=self._stage,
            resource=resource["path"],
            pathParameters=matched.groupdict() or None,
        )
        uri = method["methodIntegration"]["uri"]
        try:
            answer = self._invoke(uri.split(":function:")[1].split("/")[0], event)
        except Broken:
            return Answer(502, {"message": "Internal server error"})
        kind = answer["headers"]["Content-Type"]
        words = answer["body"] if kind.startswith("application/json") else ""
        return Answer(answer["statusCode"], json.loads(words or "{}"))

    def _key_of(self, headers: Mapping[str, str]) -> str | None:
        """Give the id of the key that a request shows, if it belongs to a plan of this stage."""
        shown = next((value for name, value in headers.items() if name.lower() == "x-api-key"), "")
        here = {"apiId": self._api, "stage": self._stage}
        for plan in self._client.get_usage_plans()["items"]:
            if here in [{k: one[k] for k in here} for one in plan["apiStages"]]:
                for listed in self._client.get_usage_plan_keys(usagePlanId=plan["id"])["items"]:
                    key = self._client.get_api_key(apiKey=listed["id"], includeValue=True)
                    if key.get("enabled", True) and key["value"] == shown:
                        return str(key["id"])
        return None
