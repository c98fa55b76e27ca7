"""A process of this program that another starts and ends: it lives no longer than the one it works for."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable


class Supervised:
    """A command of this program, in a process of its own.

    Its standard input is a pipe from here: when this process dies, however, the pipe ends, and the
    command stops as if it had been asked to.
    """

    def __init__(self, *command: str) -> None:
        """Start it."""
        words = [sys.executable, "-m", "ci360_twilio", *command, "--supervised"]
        # a session of its own: Ctrl-C in a terminal reaches this process, which then ends that one
        self._process = subprocess.Popen(  # noqa: S603 - this very program
            words, stdin=subprocess.PIPE, start_new_session=True
        )

    @property
    def pid(self) -> int:
        """Give the number of its process."""
        return self._process.pid

    def code(self) -> int | None:
        """Give its exit code; None while it runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Wait until it ends, and give its exit code."""
        return self._process.wait()

    def end(self, patience: float) -> bool:
        """Ask it to stop, and wait for it.

        Args:
            patience: seconds after which it is killed.

        Returns:
            whether it ended by itself.
        """
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return False
        return True


def when_left_alone(stop: Callable[[], object]) -> None:
    """Have a supervised process stop when whoever started it asks for it, or has gone."""

    def listen() -> None:
        while os.read(sys.stdin.fileno(), 1024):
            pass
        stop()

    threading.Thread(target=listen, name="supervised", daemon=True).start()
