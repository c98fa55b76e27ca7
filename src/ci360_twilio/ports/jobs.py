"""Bulk jobs: what is known of each, and the files they work with."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from ci360_twilio.core.job import Job, JobKey
from ci360_twilio.core.tenant import TenantId


class Added(NamedTuple):
    """The job that now stands under a key, and whether this call wrote it."""

    job: Job
    created: bool


class Jobs(Protocol):
    """What is known of bulk jobs. Every method may raise ``LedgerUnavailable``."""

    def add_job(self, job: Job) -> Added:
        """Write a job under a key that is new, durably before returning.

        One that is known stays as it is and counts the repeat; one that is restartable is written
        over, since nothing was sent for it.
        """
        ...

    def job(self, key: JobKey) -> Job | None:
        """Read a job as it is committed."""
        ...

    def jobs(
        self, *, tenant_id: TenantId | None = None, is_open: bool = False, limit: int = 100
    ) -> list[Job]:
        """List jobs, newest first; with ``is_open`` those that have not ended."""
        ...

    def keep_job(self, job: Job) -> Job | None:
        """Write a job that was read, if nobody has written it since.

        Returns:
            The job as it stands now; ``None`` where somebody else was faster.
        """
        ...

    def keyed(self, text: str) -> str:
        """Give a keyed hash of a text as 24 hexadecimal digits: the same as long as the ledger lives.

        Who does not hold the ledger's hash key cannot tell what text it is of.
        """
        ...


class Files(Protocol):
    """Where the files of jobs are; names are paths with ``/``. Every method may raise ``OSError``."""

    def making(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Make a file, which is there, and whole, once the context has ended without an error."""
        ...

    def adopt(self, name: str, path: Path) -> None:
        """Take a local file over under a name; it is gone from its place afterwards."""
        ...

    def reading(
        self, name: str, start: int = 0, end: int | None = None
    ) -> AbstractContextManager[BinaryIO]:
        """Read a file from one byte to before another. Raises ``FileNotFoundError``."""
        ...

    def names(self, folder: str) -> Sequence[str]:
        """List the names of the files in a folder, without it, in order."""
        ...

    def drop(self, folder: str, *, keep: str | None = None) -> None:
        """Delete all files of a folder and the folders in it, but those in ``keep``."""
        ...

    def scratch(self, name: str) -> Path:
        """Give a local place for a file that is not whole yet; its folder is there."""
        ...


class Firsts(Protocol):
    """A memory on disk of what was seen first on which row, for as long as one pass lasts."""

    def add(self, seen: Sequence[tuple[str | int, int, int]]) -> list[tuple[int, int] | None]:
        """Note what is seen, each with a row and a mark.

        Returns:
            For each ``None`` where it is the first of its kind, else the first one's row and mark.
        """
        ...

    def close(self) -> None:
        """Forget it all."""
        ...
