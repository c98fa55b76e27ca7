"""What a cold start of the direct Lambda costs: a whole process, one event, one message."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.child import ROOT, BenchFailed, Child, bench_module, free_port, own_environment
from bench.event import API_KEY, EVENT_PATH, TENANT, fresh_event
from bench.figure import Figure
from bench.plan import Plan
from bench.proc import children_cpu_seconds
from bench.product import tenant_document

PREFIX = "ci360-twilio/"
_HERE = Path(__file__).parent
_PRODUCT = _HERE / "lambda_product.py"
_SAMPLE = _HERE / "sample_like.py"
_SOURCES = ROOT / "src"
_LONGEST_SECONDS = 60.0


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What one process took, in milliseconds."""

    wall: float
    cpu: float


def bench_cold(folder: Path, plan: Plan) -> list[Figure]:
    """Run both in turn; the first run of each writes byte code and does not count."""
    folder.mkdir(parents=True, exist_ok=True)
    twilio, vault = free_port(), free_port()
    secret = folder / "secret.json"
    secret.write_text(json.dumps(tenant_document(twilio)))
    named = ("--port", vault, "--name", f"{PREFIX}{TENANT}", "--file", secret)
    stub = Child("stub", bench_module("stub", "--port", twilio), folder, port=twilio)
    env = own_environment(folder, lambda_settings(twilio, vault))
    # the checkout's own modules, before copies of them that an installation may have left
    env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_SOURCES), env.get("PYTHONPATH"))))
    with stub, Child("secrets", bench_module("secrets_stub", *named), folder, port=vault):
        pairs = [_pair(folder, env) for _ in range(plan.cold_runs + 1)][1:]
        if plan.imports:
            _print_imports(folder, env)
    return [
        Figure(
            name=f"cold start, {what}",
            unit="ms",
            product=tuple(getattr(ours, part) for _, ours in pairs),
            reference=tuple(getattr(sample, part) for sample, _ in pairs),
            goal=goal,
        )
        for what, part, goal in (
            ("wall time", "wall", "<= 110 %"),
            ("processor time", "cpu", "<= 110 %"),
        )
    ]


def lambda_settings(twilio: int, vault: int) -> dict[str, str]:
    """Return what the Lambda runtime and an installation of the sample put into the environment."""
    return {
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "ASIABENCHBENCHBENCH0",
        "AWS_SECRET_ACCESS_KEY": "bench-secret-of-no-worth",
        "AWS_SESSION_TOKEN": "bench-session-of-no-worth",
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.11",
        "AWS_LAMBDA_FUNCTION_NAME": "ci360-twilio-bench",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": f"http://127.0.0.1:{vault}",
        "CI360_TWILIO_TWILIO_HOSTS": f"127.0.0.1:{twilio}",
        "event_ttl": "86400",
        "default_sender": "+19085550100",
        "sm_secret_id_prefix": PREFIX,
    }


def gateway_request(body: str) -> dict[str, object]:
    """Return what a REST API of API Gateway hands on after it has checked the key."""
    headers = {"Content-Type": "text/plain", "Host": "bench.example", "x-api-key": API_KEY}
    return {
        "resource": EVENT_PATH,
        "path": EVENT_PATH,
        "httpMethod": "POST",
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "resourcePath": EVENT_PATH,
            "httpMethod": "POST",
            "path": f"/prod{EVENT_PATH}",
            "stage": "prod",
            "protocol": "HTTP/1.1",
            "requestId": "0f9e8d7c-6b5a-4948-b7a6-958473625140",
            "accountId": "000000000000",
            "apiId": "benchbench",
            "domainName": "bench.example",
            "identity": {"apiKey": API_KEY, "apiKeyId": "benchkeyid", "sourceIp": "192.0.2.10"},
        },
        "body": body,
        "isBase64Encoded": False,
    }


def _pair(folder: Path, env: dict[str, str]) -> tuple[Spent, Spent]:
    return _run(_SAMPLE, folder, env), _run(_PRODUCT, folder, env)


def _run(script: Path, folder: Path, env: dict[str, str]) -> Spent:
    request = _request_file(folder)
    before, began = children_cpu_seconds(), time.perf_counter()
    done = _process([str(script), str(request)], folder, env)
    wall, cpu = time.perf_counter() - began, children_cpu_seconds() - before
    if done.returncode:
        raise BenchFailed(f"{script.name} failed; its last lines:\n{_tail(done.stderr)}")
    return Spent(wall=wall * 1000, cpu=cpu * 1000)


def _process(
    arguments: list[str], folder: Path, env: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=_LONGEST_SECONDS,
        check=False,
    )


def _request_file(folder: Path) -> Path:
    file = folder / "request.json"
    file.write_text(json.dumps(gateway_request(fresh_event().decode())))
    return file


def _tail(text: str) -> str:
    return "\n".join(f"    | {line[:500]}" for line in text.splitlines()[-12:])


def _print_imports(folder: Path, env: dict[str, str]) -> None:
    """Print which packages and which modules the product spends its import time on."""
    request = _request_file(folder)
    done = _process(["-X", "importtime", str(_PRODUCT), str(request)], folder, env)
    modules, packages = Counter[str](), Counter[str]()
    for name, own in import_times(done.stderr):
        modules[name] += own
        packages[name.partition(".")[0]] += own
    for title, counter in (("packages", packages), ("modules", modules)):
        print(
            f"  import time of the product, top 10 {title} (own time, of {counter.total() / 1000:.0f} ms):"
        )
        for name, own in counter.most_common(10):
            print(f"    {own / 1000:7.1f} ms  {name}")


def import_times(text: str) -> Iterator[tuple[str, int]]:
    """Yield each module and its own microseconds from the words of ``-X importtime``."""
    for line in text.splitlines():
        label, _, rest = line.partition(":")
        own, *_, name = rest.split("|") if label == "import time" else ("", "")
        if own.strip().isdigit():
            yield name.strip(), int(own)
