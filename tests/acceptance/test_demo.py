"""The demonstration, as a new user runs it."""

from __future__ import annotations

import subprocess
import sys


def test_the_demo_shows_the_journey_of_each_event_and_ends_well() -> None:
    """It needs nothing set up, and ends with 0 if no event made two messages."""
    done = subprocess.run(
        [sys.executable, "-m", "ci360_twilio", "demo"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for words in ("duplicate", "expired", "refused", "suppressed", "unknown", "429"):
        assert words in done.stdout
    assert "9 events, 4 messages, at most 1 for each event." in done.stdout
