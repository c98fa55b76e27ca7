"""Functions that do what no function of ours should."""

from __future__ import annotations

import time


def sleep(seconds: float, _context: object) -> None:
    """Take a while."""
    time.sleep(seconds)


def fail(_event: object, _context: object) -> None:
    """Fail."""
    raise RuntimeError("As it was told to.")
