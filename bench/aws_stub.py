"""A stub of what the functions call of AWS, over its JSON protocols, answering after a while.

Secrets Manager knows one secret. SQS takes every message and keeps none. DynamoDB keeps rows as the ledger
writes them, each under its version, and lists them by its indexes; it knows no other requests.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.http1 import response, serve

_KIND = b"x-amzn-requestid: 5e0c7d2a-1b3f-4c6d-8e9f-a0b1c2d3e4f5\r\n"
_VERSION = "f0e1d2c3-b4a5-4697-8879-6a5b4c3d2e1f"
_LOST = {"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"}

Json = dict[str, Any]


class Refused(Exception):
    """A request that is answered with an error, which it carries."""


class Stub:
    """Answers for three services."""

    def __init__(self, name: str, value: str) -> None:
        self._name, self._value = name, value
        self._items: dict[str, Json] = {}
        self._actions: dict[str, Callable[[Json], Json]] = {
            "GetSecretValue": self._secret,
            "SendMessageBatch": self._said,
            "BatchGetItem": self._read,
            "PutItem": self._put,
            "BatchWriteItem": self._put_many,
            "DeleteItem": self._delete,
            "Query": self._listed,
            "Scan": self._listed,
        }

    def answer(self, head: bytes, body: bytes) -> bytes:
        """Do what a request asks for."""
        if not head.startswith(b"POST"):
            return response(b"404 Not Found", b"{}")
        target = head.lower().partition(b"x-amz-target:")[2].split(b"\r\n")[0]
        action = target.rpartition(b".")[2].strip().decode()
        act = next(act for name, act in self._actions.items() if name.lower() == action)
        try:
            return response(b"200 OK", json.dumps(act(json.loads(body))).encode(), _KIND)
        except Refused as exc:
            return response(b"400 Bad Request", json.dumps(exc.args[0]).encode(), _KIND)

    def _secret(self, asked: Json) -> Json:
        if asked["SecretId"] != self._name:
            raise Refused({"__type": "ResourceNotFoundException", "Message": "There is none."})
        return {
            "ARN": f"arn:aws:secretsmanager:us-east-1:000000000000:secret:{self._name}-aBcDeF",
            "Name": self._name,
            "VersionId": _VERSION,
            "SecretString": self._value,
            "VersionStages": ["AWSCURRENT"],
            "CreatedDate": round(time.time(), 3),
        }

    def _said(self, asked: Json) -> Json:
        said = [{"Id": one["Id"], "MessageId": one["Id"]} for one in asked["Entries"]]
        return {"Successful": said, "Failed": []}

    def _read(self, asked: Json) -> Json:
        [(table, wanted)] = asked["RequestItems"].items()
        found = (self._items.get(key["pk"]["S"]) for key in wanted["Keys"])
        return {"Responses": {table: [item for item in found if item]}, "UnprocessedKeys": {}}

    def _put(self, asked: Json) -> Json:
        pk = asked["Item"]["pk"]["S"]
        self._check(pk, asked)
        self._items[pk] = asked["Item"]
        return {}

    def _put_many(self, asked: Json) -> Json:
        for wanted in asked["RequestItems"].values():
            for one in wanted:
                self._put(one["PutRequest"])
        return {"UnprocessedItems": {}}

    def _delete(self, asked: Json) -> Json:
        pk = asked["Key"]["pk"]["S"]
        self._check(pk, asked)
        self._items.pop(pk, None)
        return {}

    def _check(self, pk: str, asked: Json) -> None:
        values = asked.get("ExpressionAttributeValues", {})
        known = self._items.get(pk)
        if ":before" in values:
            if known is None or known["version"] != values[":before"]:
                raise Refused(_LOST)
        elif known is not None and ":now" in values:
            raise Refused(_LOST)

    def _listed(self, asked: Json) -> Json:
        index = asked.get("IndexName", "pk")
        name = asked.get("ExpressionAttributeValues", {}).get(":name")
        found = [
            item
            for item in self._items.values()
            if index in item and (name is None or item[index] == name)
        ]
        found.sort(key=lambda item: item.get(f"{index}_at", {"S": ""})["S"])
        return {"Items": found, "Count": len(found)}


def main() -> None:
    """Serve on a port with a latency; the secret is read from a file."""
    parser = argparse.ArgumentParser(prog="bench.aws_stub", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--name", required=True)
    parser.add_argument("--file", type=Path, required=True)
    options = parser.parse_args()
    stub = Stub(options.name, options.file.read_text())
    serve(options.port, stub.answer, options.latency_ms / 1000)


if __name__ == "__main__":
    main()
