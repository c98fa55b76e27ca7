"""Lambda's runtime, emulated by AWS's own emulator: a function's instance as one process.

Time-outs, crashes, starts and billed durations are those of the real runtime interface. The Python is this
machine's, and how an instance is scaled, frozen and thrown away is not shown.
"""

from __future__ import annotations

import json
import os
import platform
import random
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Self

import urllib3

_ARCHITECTURE = {"aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "x86_64")
_INVOCATIONS = "/2015-03-31/functions/function/invocations"
_REPORT = re.compile(r"^REPORT RequestId: (\S+).*?\tDuration: ([\d.]+) ms", re.MULTILINE)
_BROUGHT = (
    "awslambdaric",
    "runtime_client*.so",
    "simplejson",
    "snapshot_restore_py.py",
    "boto3",
    "botocore",
    "dateutil",
    "jmespath",
    "s3transfer",
    "six.py",
    "urllib3",
)
_PORTS = range(20_000, 32_768)
START_SECONDS, ANSWER_SECONDS = 20.0, 120.0


class Broken(Exception):
    """The function did not answer: it ended, or its time was over."""


class Billed(NamedTuple):
    """What one invocation took."""

    request_id: str
    ms: float


def emulator() -> Path:
    """Find the emulator, which comes with a package of which nothing else is used."""
    spec = find_spec("samcli")
    assert spec is not None, "make installs it: requirements/emulator.txt"
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "local" / "rapid"
    found = folder / f"aws-lambda-rie-{_ARCHITECTURE}"
    if not os.access(found, os.X_OK):
        found.chmod(0o755)
    return found


class Emulated:
    """An instance of a function, from its first invocation on."""

    def __init__(
        self,
        handler: str,
        environment: Mapping[str, str],
        log: Path,
        *,
        seconds: float = 60.0,
        memory: int = 512,
        code: Path | None = None,
    ) -> None:
        """Start it; its code is loaded at the first invocation, as on AWS.

        Args:
            handler: ``package.module.function``.
            environment: the function's variables; nothing else is passed on but the search path.
            log: the file that takes what it and the runtime write.
            seconds: the function's time-out.
            memory: what it is told of its size; nobody limits it.
            code: the folder that its code is in, with nothing beside it but what Lambda brings; without
                one it runs in this environment, from the folder that we are in.
        """
        self.log = log
        invoke, runtime = (f"127.0.0.1:{port}" for port in _free_ports(2))
        self._url = f"http://{invoke}{_INVOCATIONS}"
        self._pool = urllib3.PoolManager(retries=False)
        addresses = [
            "--runtime-interface-emulator-address",
            invoke,
            "--runtime-api-address",
            runtime,
        ]
        about = {
            "AWS_LAMBDA_FUNCTION_NAME": handler.rpartition(".")[2],
            "AWS_LAMBDA_FUNCTION_TIMEOUT": f"{seconds:.0f}",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory),
        }
        python, path = [sys.executable], {}
        if code is not None:
            python, path = [sys.executable, "-S"], {"PYTHONPATH": str(_runtime(log.parent))}
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [str(emulator()), *addresses, *python, "-m", "awslambdaric", handler],
                env={"PATH": os.environ["PATH"], **path, **about, **environment},
                cwd=code or Path.cwd(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def invoke(self, event: object) -> Any:
        """Invoke the function with an event, and give its answer.

        Raises:
            Broken: its process ended, its time was over, or an exception came out of it.
        """
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                found = self._pool.request(
                    "POST", self._url, body=json.dumps(event).encode(), timeout=ANSWER_SECONDS
                )
                break
            except urllib3.exceptions.NewConnectionError:
                assert time.monotonic() < until, "the emulator did not start"
                time.sleep(0.005)
        words = found.data.decode()
        if found.status != 200 or words.startswith("Task timed out"):
            raise Broken(words)
        answer = json.loads(words)
        if isinstance(answer, dict) and "errorType" in answer:
            raise Broken(words)
        return answer

    def billed(self) -> list[Billed]:
        """List the invocations so far, with what each took."""
        found = _REPORT.findall(self.log.read_text(errors="replace"))
        return [Billed(request_id, float(ms)) for request_id, ms in found]

    def kill(self) -> None:
        """Kill the function's process, as if the machine had failed; the next invocation starts another."""
        task = Path(f"/proc/{self._process.pid}/task")
        for thread in task.iterdir():
            for child in (thread / "children").read_text().split():
                os.kill(int(child), signal.SIGKILL)

    def stop(self) -> None:
        """End it; what it was doing is cut off."""
        self._pool.clear()
        if self._process.poll() is None:
            self.kill()
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(20)


def unpacked(folder: Path) -> Path:
    """Build the functions' zip for this machine's Python, and unpack it as Lambda does."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    wanted = ("--architecture", _ARCHITECTURE, "--python", here, "--to", str(folder))
    command = [sys.executable, "-m", "ci360_twilio", "aws", "package", *wanted]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    with zipfile.ZipFile(folder / f"ci360-twilio-{_ARCHITECTURE}.zip") as archive:
        archive.extractall(folder / "code")
    return folder / "code"


def _runtime(folder: Path) -> Path:
    """Make what Lambda's Python brings along: its side of the runtime interface, and the AWS SDK."""
    found = folder / "runtime"
    if not found.exists():
        found.mkdir()
        installed = Path(sysconfig.get_path("purelib"))
        for name in _BROUGHT:
            for path in installed.glob(name):
                (found / path.name).symlink_to(path)
    return found


def _free_ports(number: int) -> list[int]:
    """Find ports that nobody listens on, of those that Linux gives to nobody by itself.

    Others might be given to a connection before the emulator has them.
    """
    found: list[int] = []
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        if len(found) == number:
            break
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
    return found
