"""Rehearsals that people start from the console: each a process of its own, so that events are not held up."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import TooOften
from ci360_twilio.ports import Clock

PREFIX = "ci360-twilio-uploaded-"
AT_ONCE = 2
LONGEST = timedelta(minutes=30)
KEPT = timedelta(hours=1)
"""How long a report is kept; a file of customers is deleted as soon as it was read."""
_COPIED = 1024 * 1024


class Rehearsal:
    """One rehearsal: its files, its process, and what came of it."""

    def __init__(self, tenant_id: TenantId, by: str, name: str, begun_at: datetime) -> None:
        self.id = secrets.token_hex(8)
        self.tenant_id = tenant_id
        self.by = by
        self.name = name
        """Of the file that was uploaded."""
        self.begun_at = begun_at
        self._folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._process: subprocess.Popen[bytes] | None = None
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._report: dict[str, Any] | None = None

    def start(self, creative: str, audience: BinaryIO) -> None:
        """Start it."""
        here = self._folder
        (here / "creative").write_text(creative, encoding="utf-8")
        with (here / "audience.csv").open("wb") as file:
            shutil.copyfileobj(audience, file, _COPIED)
        command = [sys.executable, "-m", "ci360_twilio", "rehearse", "--json", "--progress"]
        command += [f"--tenant={self.tenant_id}", f"--creative={here / 'creative'}"]
        command += [f"--audience={here / 'audience.csv'}", f"--html={here / 'report.html'}"]
        with (self._folder / "out").open("wb") as out, (self._folder / "err").open("wb") as err:
            self._process = subprocess.Popen(  # noqa: S603 - ours; names of files are ours, too
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )
        threading.Thread(target=self._watch, args=(self._process,), daemon=True).start()

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """Delete the file of customers as soon as it was read, and the rest when nobody wants it any more."""
        try:
            process.wait(LONGEST.total_seconds())
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        (self._folder / "audience.csv").unlink(missing_ok=True)
        self._over.wait(KEPT.total_seconds())
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def is_running(self) -> bool:
        """Whether something may still come of it."""
        return self._process is None or self._process.poll() is None

    @property
    def rows(self) -> int:
        """How many rows were counted so far."""
        last = self._said().rsplit("\n", 2)[-2:]
        return next((int(line) for line in reversed(last) if line.isdecimal()), 0)

    @property
    def trouble(self) -> str:
        """Why there is no report, in words."""
        said = [line for line in self._said().splitlines() if not line.isdecimal()]
        words = " ".join(said).removeprefix("ci360-twilio: ")
        words = words.replace(str(self._folder / "audience.csv"), self.name)
        words = words.replace("audience.csv", self.name).replace(f"{self._folder}/", "")
        return words[:1000] or "It ended without a report."

    def report(self) -> dict[str, Any] | None:
        """Give the report, once it is there."""
        with self._lock:
            if self._report is None and not self.is_running:
                try:
                    self._report = json.loads((self._folder / "out").read_bytes())
                except (OSError, ValueError):
                    return None
            return self._report

    def page(self) -> bytes | None:
        """Give the report as a page of its own."""
        try:
            return (self._folder / "report.html").read_bytes()
        except OSError:
            return None

    def end(self) -> None:
        """Stop it, and delete what it has left."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._over.set()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _said(self) -> str:
        try:
            return (self._folder / "err").read_text(errors="replace")
        except OSError:
            return ""


class Rehearsals:
    """Those that run, and those whose reports are still looked at. Safe for many threads."""

    def __init__(self, clock: Clock) -> None:
        """Make it; what a server that was killed has left is deleted."""
        self._clock = clock
        old = time.time() - (LONGEST + KEPT).total_seconds()
        for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            with suppress(OSError):
                if left.stat().st_uid == os.getuid() and left.stat().st_mtime < old:
                    shutil.rmtree(left, ignore_errors=True)
        self._known: dict[str, Rehearsal] = {}
        self._lock = threading.Lock()

    def start(
        self, tenant_id: TenantId, by: str, creative: str, name: str, audience: BinaryIO
    ) -> Rehearsal:
        """Start one.

        Raises:
            TooOften: others must end first.
        """
        one = Rehearsal(tenant_id, by, name, self._clock())
        with self._lock:
            self._sweep()
            if sum(known.is_running for known in self._known.values()) >= AT_ONCE:
                one.end()
                raise TooOften("Other rehearsals are running; come back when they have ended.")
            self._known[one.id] = one
        try:
            one.start(creative, audience)
        except BaseException:
            with self._lock:
                del self._known[one.id]
            one.end()
            raise
        return one

    def get(self, name: str) -> Rehearsal | None:
        """Find one."""
        with self._lock:
            return self._known.get(name)

    def drop(self, one: Rehearsal) -> None:
        """End one, and forget it."""
        with self._lock:
            self._known.pop(one.id, None)
        one.end()

    def all(self) -> list[Rehearsal]:
        """List them, newest first."""
        with self._lock:
            self._sweep()
            return sorted(self._known.values(), key=lambda one: one.begun_at, reverse=True)

    def close(self) -> None:
        """End all of them."""
        with self._lock:
            for one in self._known.values():
                one.end()
            self._known.clear()

    def _sweep(self) -> None:
        now = self._clock()
        for name, one in [*self._known.items()]:
            if now - one.begun_at > KEPT and not one.is_running:
                one.end()
                del self._known[name]
