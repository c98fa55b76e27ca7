"""A real Chromium for tests and screenshots: the one of this machine, installed if it is not there."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
OPTIONS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
]
"""What keeps it from calling anybody, and from a screen that is not there."""
INSTALL = ("apt-get", "install", "--yes", "--no-install-recommends", "chromium")


def find() -> str | None:
    """Give the path of Chromium; where packages can be installed, it is, by one process of several."""
    found = _found()
    if found is not None or not shutil.which("apt-get") or os.geteuid() != 0:
        return found
    with (Path(tempfile.gettempdir()) / "ci360-twilio-chromium.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (found := _found()) is None:
            environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            for command in (("apt-get", "update"), INSTALL):
                subprocess.run(command, env=environment, capture_output=True, check=False)
            found = _found()
    return found


def _found() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def running(path: str) -> Iterator[Browser]:
    """Run it, without a screen."""
    options = [*OPTIONS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=options)
        try:
            yield browser
        finally:
            browser.close()
