"""What others wrote and the console ships, as it was published."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

VENDOR = Path(__file__).parents[4] / "src/ci360_twilio/edge/console/static/vendor"


def test_every_file_is_the_one_that_was_published() -> None:
    """Each is listed with its version, its licence and its checksum, and nothing else lies there."""
    text = (VENDOR / "README.md").read_text()
    listed = dict(re.findall(r"^\| `([^`]+)` \|.*\| `([0-9a-f]{64})` \|$", text, re.MULTILINE))
    there = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.iterdir()
        if path.name not in ("README.md", "LICENSES.txt")
    }
    assert there == listed


def test_every_licence_goes_along() -> None:
    """They ask for that."""
    licences = (VENDOR / "LICENSES.txt").read_text()
    for words in ("Zero-Clause BSD", "MIT License", "SIL Open Font License"):
        assert words in licences, words
