"""A stub of AWS Secrets Manager: ``GetSecretValue`` of one secret, over its JSON protocol."""

import argparse
import json
import time
from pathlib import Path

from bench.http1 import Answer, response, serve

_KIND = b"x-amzn-requestid: 5e0c7d2a-1b3f-4c6d-8e9f-a0b1c2d3e4f5\r\n"
_VERSION = "f0e1d2c3-b4a5-4697-8879-6a5b4c3d2e1f"


def answering(name: str, value: str) -> Answer:
    """Return what answers: the secret called ``name``, and no other."""
    found = response(b"200 OK", _secret(name, value), _KIND)
    missing = response(
        b"400 Bad Request",
        b'{"__type":"ResourceNotFoundException",'
        b'"Message":"Secrets Manager can\'t find the specified secret."}',
        _KIND,
    )

    def answer(line: bytes, body: bytes) -> bytes:
        asked = json.loads(body).get("SecretId") if line.startswith(b"POST") and body else None
        return found if asked == name else missing

    return answer


def _secret(name: str, value: str) -> bytes:
    fields = {
        "ARN": f"arn:aws:secretsmanager:us-east-1:000000000000:secret:{name}-aBcDeF",
        "Name": name,
        "VersionId": _VERSION,
        "SecretString": value,
        "VersionStages": ["AWSCURRENT"],
        "CreatedDate": round(time.time(), 3),
    }
    return json.dumps(fields).encode()


def main() -> None:
    """Serve one secret, read from a file, on a port."""
    parser = argparse.ArgumentParser(prog="bench.secrets_stub", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--file", type=Path, required=True)
    options = parser.parse_args()
    serve(options.port, answering(options.name, options.file.read_text()))


if __name__ == "__main__":
    main()
