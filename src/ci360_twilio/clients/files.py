"""Where the files of bulk jobs are: a folder of this machine, or a bucket of Amazon S3."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from ci360_twilio.aws import make_client
from ci360_twilio.errors import LedgerUnavailable


class FolderFiles:
    """Files in a folder that only its owner reads."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def making(self, name: str) -> Iterator[BinaryIO]:
        """Make a file; a process that dies meanwhile leaves none of that name."""
        part = self.scratch(f"{name}.{os.getpid()}.part")
        try:
            with os.fdopen(os.open(part, _FRESH, 0o600), "wb") as file:
                yield file
            self.adopt(name, part)
        finally:
            part.unlink(missing_ok=True)

    def adopt(self, name: str, path: Path) -> None:
        """Take a file over, durably."""
        target = self._place(name)
        with path.open("rb") as file:
            os.fsync(file.fileno())
        path.replace(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def reading(self, name: str, start: int = 0, end: int | None = None) -> Iterator[BinaryIO]:
        """Read a file."""
        with self._place(name).open("rb") as file:
            file.seek(start)
            size = None if end is None else max(end - start, 0)
            yield file if size is None else cast("BinaryIO", io.BytesIO(file.read(size)))

    def names(self, folder: str) -> Sequence[str]:
        """List what is in a folder."""
        with suppress(FileNotFoundError):
            found = [one.name for one in self._place(folder).iterdir()]
            return sorted(name for name in found if "." not in name)
        return []

    def drop(self, folder: str, *, keep: str | None = None) -> None:
        """Delete a folder, or all in it but one folder."""
        place = self._place(folder)
        if keep is None:
            shutil.rmtree(place, ignore_errors=True)
            return
        with suppress(FileNotFoundError):
            for found in list(place.iterdir()):
                if found.name != keep:
                    found.unlink() if found.is_file() else shutil.rmtree(found, ignore_errors=True)

    def scratch(self, name: str) -> Path:
        """Give a place beside the files, on the same disk."""
        place = self._place(name)
        scratch = place.with_name(f"{place.name}.fetched")
        _make_private(scratch.parent)
        return scratch

    def _place(self, name: str) -> Path:
        return self._root / _checked(name)


class S3Files:
    """Files in a bucket of Amazon S3, encrypted there as the bucket says."""

    def __init__(self, client: Any, bucket: str, prefix: str, scratch: Path) -> None:
        """Make it.

        Args:
            client: of botocore or boto3, for ``s3``.
            bucket: its name.
            prefix: in front of all names; ends with ``/`` where it is not empty.
            scratch: a local folder for files that are not whole yet.
        """
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._scratch = scratch

    @contextmanager
    def making(self, name: str) -> Iterator[BinaryIO]:
        """Make a file: it is gathered here first, small ones in memory."""
        with tempfile.SpooledTemporaryFile(max_size=1 << 20) as file:
            yield cast("BinaryIO", file)
            file.seek(0)
            with _reported():
                self._client.put_object(Bucket=self._bucket, Key=self._key(name), Body=file)

    def adopt(self, name: str, path: Path) -> None:
        """Take a file over."""
        with _reported(), path.open("rb") as file:
            self._client.put_object(Bucket=self._bucket, Key=self._key(name), Body=file)
        path.unlink()

    @contextmanager
    def reading(self, name: str, start: int = 0, end: int | None = None) -> Iterator[BinaryIO]:
        """Read a file as it comes."""
        key = self._key(name)
        if end is not None and end <= start:
            yield cast("BinaryIO", io.BytesIO())
            return
        wanted = {} if start == 0 and end is None else {"Range": _range(start, end)}
        try:
            with _reported():
                body = self._client.get_object(Bucket=self._bucket, Key=key, **wanted)["Body"]
        except _BeyondEnd:
            yield cast("BinaryIO", io.BytesIO())
            return
        try:
            yield cast("BinaryIO", io.BufferedReader(_Body(body), 1 << 16))
        finally:
            body.close()

    def names(self, folder: str) -> Sequence[str]:
        """List what is in a folder."""
        prefix = f"{self._key(folder)}/"
        return sorted(key.removeprefix(prefix) for key in self._keys(prefix))

    def drop(self, folder: str, *, keep: str | None = None) -> None:
        """Delete a folder, or all in it but one folder."""
        shutil.rmtree(self._scratch / _checked(folder), ignore_errors=True)
        prefix = f"{self._key(folder)}/"
        left = [
            key
            for key in self._keys(prefix)
            if keep is None or not key.startswith(f"{prefix}{keep}/")
        ]
        for start in range(0, len(left), 1000):
            objects = [{"Key": key} for key in left[start : start + 1000]]
            with _reported():
                self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": objects})

    def scratch(self, name: str) -> Path:
        """Give a local place."""
        place = self._scratch / _checked(name)
        _make_private(place.parent)
        return place

    def _key(self, name: str) -> str:
        return f"{self._prefix}{_checked(name)}"

    def _keys(self, prefix: str) -> Iterator[str]:
        with _reported():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=prefix
            )
            for page in pages:
                for item in page.get("Contents", ()):
                    yield item["Key"]


class _BeyondEnd(Exception):
    """A file ends before what is asked for begins."""


class _Body(io.RawIOBase):
    """The body of an answer as a raw stream."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _reported():
            chunk = self._body.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)


def make_s3_files(address: str) -> S3Files:
    """Open the bucket that a setting names.

    Args:
        address: ``s3://bucket`` or ``s3://bucket/prefix``.

    Raises:
        SettingsError: the ``aws`` extra is not installed, or no region is set.
    """
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    scratch = Path(tempfile.gettempdir()) / f"ci360-twilio-jobs-{os.getuid()}"
    scratch.mkdir(mode=0o700, exist_ok=True)
    client = make_client("s3", retries={"mode": "standard", "total_max_attempts": 4})
    return S3Files(client, bucket, prefix, scratch)


@contextmanager
def _reported() -> Iterator[None]:
    """Turn the client's errors into ours."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as exc:
        code = str(exc.response.get("Error", {}).get("Code", ""))
        if code == "InvalidRange":
            raise _BeyondEnd from exc
        if code in ("NoSuchKey", "404", "NotFound"):
            raise FileNotFoundError(code) from exc
        raise LedgerUnavailable(f"The jobs' bucket cannot be used just now ({code}).") from exc
    except (BotoCoreError, Boto3Error) as exc:
        words = f"The jobs' bucket cannot be used just now ({type(exc).__name__})."
        raise LedgerUnavailable(words) from exc


def _make_private(folder: Path) -> None:
    """Make a folder that only its owner reads, and those above it that are missing."""
    if not folder.exists():
        _make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _range(start: int, end: int | None) -> str:
    return f"bytes={start}-{'' if end is None else end - 1}"


def _checked(name: str) -> PurePosixPath:
    """See that a name stays in its folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("no name of a file")
    return path


_FRESH = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
