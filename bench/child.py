"""Processes of their own: started, watched and stopped, with their words kept in a file."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.proc import family, is_running

ROOT = Path(__file__).resolve().parent.parent
READY_SECONDS = 30.0
STOP_SECONDS = 60.0


class BenchFailed(Exception):
    """A figure cannot be taken; the words say what to look at."""


def own_environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a small environment, so that a developer's own settings and proxies change nothing."""
    kept = {key: os.environ[key] for key in ("PATH", "PYTHONPATH", "TMPDIR") if key in os.environ}
    return {**kept, "HOME": str(home), "LANG": "C.UTF-8", **(extra or {})}


def free_port() -> int:
    """Return a loopback port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def bench_module(name: str, *arguments: object) -> list[str]:
    """Return the command that runs one of our own modules."""
    return [sys.executable, "-m", f"bench.{name}", *(str(one) for one in arguments)]


class Child:
    """One process in a session of its own, stopped when the ``with`` block ends.

    Its output goes to ``<folder>/<name>.log``. ``port`` is where it answers HTTP, if it does: then
    entering the block waits until it does.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        *,
        port: int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
    ) -> None:
        self.name = name
        self.port = port
        self._command = list(command)
        self._log = folder / f"{name}.log"
        self._env = dict(env) if env is not None else own_environment(folder)
        self._cwd = cwd

    def __enter__(self) -> Self:
        """Start it, and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env,
                cwd=self._cwd,
                start_new_session=True,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def check_running(self) -> None:
        """Raise with its last words if it has ended."""
        code = self._process.poll()
        if code is not None:
            raise self.failed(f"ended with {code}")

    def failed(self, words: str) -> BenchFailed:
        """Return an error that carries the process's last lines."""
        return BenchFailed(f"{self.name} {words}; its last lines:\n{last_lines(self._log)}")

    def stop(self) -> None:
        """Ask it to end, and wait for it and for its children; what is left then is killed."""
        started = list(family(self.pid))
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        until = time.monotonic() + STOP_SECONDS
        while left := [pid for pid in started if is_running(pid)]:
            if time.monotonic() > until:
                words = f"did not end in {STOP_SECONDS:.0f} s: killed"
                print(f"  {self.name} {words}", file=sys.stderr)
                for pid in left:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                break
            time.sleep(0.02)
        self._process.wait()

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + READY_SECONDS
        while self.port is not None and not _answers(self.port):
            self.check_running()
            if time.monotonic() > until:
                raise self.failed(f"did not answer within {READY_SECONDS:.0f} s")
            time.sleep(0.02)


def last_lines(log: Path, count: int = 12) -> str:
    """Return the end of a log, indented; lines are cut where they are very long."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 20_000))
        lines = file.read().decode(errors="replace").splitlines()[-count:]
    return "\n".join(f"    | {line[:500]}" for line in lines) or "    | (nothing)"


def get(port: int, path: str) -> bytes:
    """Fetch a small answer from one of our own servers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def _answers(port: int) -> bool:
    try:
        get(port, "/")
    except (OSError, http.client.HTTPException):
        return False
    return True
