"""What files still hold of a person after an erasure, looked for byte for byte."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from glob import escape
from pathlib import Path
from typing import NamedTuple

import msgspec

_PART = 1 << 20


class Looked(NamedTuple):
    """One file that was looked through."""

    path: Path
    holds: bool | None
    """``None`` where it cannot be read, or is not there any more."""


def ledger_files(ledger: Path) -> list[Path]:
    """List a ledger's files: itself, and the log that belongs to it."""
    names = (ledger.name, f"{ledger.name}-wal", f"{ledger.name}-journal")
    return [path for name in names if (path := ledger.with_name(name)).exists()]


def copies_beside(ledger: Path) -> list[Path]:
    """List copies of a ledger that lie beside it, as a restore leaves them."""
    own = (f"{ledger.name}.key", f"{ledger.name}.restoring")
    beside = ledger.parent.glob(f"{escape(ledger.name)}.*")
    return sorted(path for path in beside if path.is_file() and path.name not in own)


def look_through(files: Iterable[Path], words: Collection[str]) -> list[Looked]:
    """Look for words in files, as they are and as JSON writes them."""
    sought = {form for word in words if word for form in (word.encode(), _escaped(word))}
    return [Looked(path, _holds(path, sought)) for path in files]


def _holds(path: Path, sought: Collection[bytes]) -> bool | None:
    longest = max(map(len, sought), default=1)
    try:
        with path.open("rb") as file:
            end = b""
            while part := file.read(_PART):
                if any(form in end + part for form in sought):
                    return True
                end = (end + part)[-longest:]
    except OSError:
        return None
    return False


def _escaped(word: str) -> bytes:
    return msgspec.json.encode(word)[1:-1]
