"""How long the world is waited for, and in which way many questions are put to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""Like ``map``, which puts one question after the other; an executor's puts several at one time."""
ATTEMPT_SECONDS = 35.0
"""How long a worker gives one attempt: Twilio may hold a create call for about 26 seconds."""
TELL_SECONDS = 10.0
"""How long CI360's answer to one event is waited for."""
