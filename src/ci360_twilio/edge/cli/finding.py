"""What ``check`` finds."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """One thing that was looked at; ``advice`` where something is to be done."""

    good: bool
    subject: str
    words: str
    advice: str = ""
