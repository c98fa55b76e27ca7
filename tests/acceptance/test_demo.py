"""The demonstration, as a new user runs it."""

from __future__ import annotations

import re
import subprocess
import sys


def test_the_demo_shows_the_whole_loop_and_ends_well() -> None:
    """It needs nothing set up: events, messages, receipts, replies, a STOP, and what CI360 is told."""
    done = subprocess.run(
        [sys.executable, "-m", "ci360_twilio", "demo"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    rows = {
        line.split("  ")[0]: [cell for cell in re.split(r" {2,}", line.strip()) if cell]
        for line in done.stdout.splitlines()
        if "twilio_sms_" in line and not line.startswith(" ")
    }
    assert [row[1:] for row in (rows[title] for title in STORY)] == list(STORY.values())
    assert "10 events, 5 messages: at most one message for each; 15 outcomes" in done.stdout
    assert '"twilio_text": "Is there parking, too?"' in done.stdout


STORY = {
    "A customer registers": ["202 accepted", "delivered", "1", "twilio_sms_delivered"],
    "CI360 delivers the same event again": [
        "202 accepted, again", "delivered", "1", "twilio_sms_delivered",
    ],
    "An event that is two days old": ["200 expired", "expired", "0", "twilio_sms_expired"],
    "A customer without a first name": [
        "422 refused", "refused, merge_tag", "0", "twilio_sms_refused",
    ],
    "Twilio is busy twice (429)": [
        "202 accepted", "delivered, 3 attempts", "1", "twilio_sms_delivered",
    ],
    "Twilio takes it and its answer is lost": [
        "202 accepted", "delivered", "1", "twilio_sms_delivered",
    ],
    "She writes back": ["200", "a reply", "twilio_sms_reply"],
    "She writes STOP": ["200", "opted out", "twilio_sms_reply, twilio_sms_opt_out"],
    "The next event for her": [
        "200 suppressed", "suppressed, opted_out", "0", "twilio_sms_suppressed",
    ],
    "She writes START": ["200", "opted in", "twilio_sms_reply, twilio_sms_opt_in"],
    "Another event for her": ["202 accepted", "delivered", "1", "twilio_sms_delivered"],
}  # fmt: skip
"""What must be shown of each: CI360's answer, the outcome, the messages, and what CI360 is told."""
