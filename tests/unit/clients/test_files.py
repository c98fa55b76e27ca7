"""Where the files of bulk jobs are: a folder and a bucket do the same."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from ci360_twilio.clients.files import FolderFiles, S3Files, make_s3_files
from ci360_twilio.errors import LedgerUnavailable
from ci360_twilio.ports import Files

BUCKET, PREFIX = "jobs-of-a-test", "jobs/"
LARGE = bytes(range(256)) * 8_192


class Interrupted(Exception):
    """What keeps a file from being made."""


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Give a client of S3, which is in this process."""
    with mock_aws():
        made = boto3.session.Session().client(
            "s3", region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none"
        )
        yield made
        made.close()


@pytest.fixture
def bucket(client: Any) -> Iterator[Any]:
    """Give the client while there is a bucket, empty at first."""
    client.create_bucket(Bucket=BUCKET)
    yield client
    for item in client.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        client.delete_object(Bucket=BUCKET, Key=item["Key"])
    client.delete_bucket(Bucket=BUCKET)


@pytest.fixture
def folder(tmp_path: Path) -> FolderFiles:
    """Give files in a folder that is not there yet."""
    return FolderFiles(tmp_path / "files")


@pytest.fixture
def s3(bucket: Any, tmp_path: Path) -> S3Files:
    """Give files in a bucket, under a prefix."""
    return S3Files(bucket, BUCKET, PREFIX, tmp_path / "scratch")


@pytest.fixture(params=["folder", "s3"])
def files(request: pytest.FixtureRequest) -> Files:
    """Give files, empty at first."""
    found: Files = request.getfixturevalue(request.param)
    return found


def write(files: Files, *names: str, content: bytes = b"x") -> None:
    """Make files of one content."""
    for name in names:
        with files.making(name) as file:
            file.write(content)


def read(files: Files, name: str, start: int = 0, end: int | None = None) -> bytes:
    """Read a file, or a part of it."""
    with files.reading(name, start, end) as file:
        return file.read()


def is_there(files: Files, name: str) -> bool:
    """Tell whether there is a file."""
    try:
        read(files, name)
    except FileNotFoundError:
        return False
    return True


# Making


@pytest.mark.parametrize("content", [b"", b"a", b"\r\n\0\xff", LARGE], ids=len)
def test_a_file_is_read_as_it_was_made(files: Files, content: bytes) -> None:
    """To the byte, small or large."""
    write(files, "demo/j1/data", content=content)
    assert read(files, "demo/j1/data") == content


def test_a_file_may_be_made_in_parts(files: Files) -> None:
    """As they come."""
    with files.making("demo/j1/plan") as file:
        for number in range(3):
            file.write(f"{number}\n".encode())
    assert read(files, "demo/j1/plan") == b"0\n1\n2\n"


def test_a_file_is_not_there_before_it_is_whole(files: Files) -> None:
    """Nobody reads half of it, nor sees its name."""
    with files.making("demo/j1/data") as file:
        file.write(LARGE)
        file.flush()
        assert not is_there(files, "demo/j1/data")
        assert files.names("demo/j1") == []
    assert files.names("demo/j1") == ["data"]


@pytest.mark.parametrize("error", [Interrupted, KeyboardInterrupt])
def test_a_file_that_was_not_finished_is_none(files: Files, error: type[BaseException]) -> None:
    """Whatever interrupted it; it can be made anew."""

    def begin() -> None:
        with files.making("demo/j1/data") as file:
            file.write(LARGE)
            raise error

    with pytest.raises(error):
        begin()
    assert not is_there(files, "demo/j1/data")
    assert files.names("demo/j1") == []
    write(files, "demo/j1/data")
    assert read(files, "demo/j1/data") == b"x"


def test_a_file_that_is_made_again_takes_the_place_of_the_first(files: Files) -> None:
    """At once when it is whole; if it is not, the first one stays."""

    def begin() -> None:
        with files.making("demo/j1/data") as file:
            file.write(b"third")
            raise Interrupted

    write(files, "demo/j1/data", content=b"the first")
    with files.making("demo/j1/data") as file:
        file.write(b"second")
        file.flush()
        assert read(files, "demo/j1/data") == b"the first"
    assert read(files, "demo/j1/data") == b"second"
    with pytest.raises(Interrupted):
        begin()
    assert read(files, "demo/j1/data") == b"second"


def test_several_files_may_be_made_at_a_time(files: Files) -> None:
    """In one folder, too."""
    with files.making("demo/j1/a") as one, files.making("demo/j1/b") as other:
        one.write(b"1")
        other.write(b"2")
    assert (read(files, "demo/j1/a"), read(files, "demo/j1/b")) == (b"1", b"2")


# Taking over


def test_a_file_is_taken_over(files: Files) -> None:
    """From the place that was given for it, where it is no more."""
    place = files.scratch("demo/j1/data")
    assert not place.exists()
    place.write_bytes(LARGE)
    assert not is_there(files, "demo/j1/data")
    files.adopt("demo/j1/data", place)
    assert read(files, "demo/j1/data") == LARGE
    assert not place.exists()


def test_a_file_that_is_taken_over_takes_the_place_of_another(files: Files) -> None:
    """Whoever fetched it has it newest."""
    write(files, "demo/j1/data", content=b"the first")
    place = files.scratch("demo/j1/data")
    place.write_bytes(b"second")
    files.adopt("demo/j1/data", place)
    assert read(files, "demo/j1/data") == b"second"


def test_a_file_that_is_not_there_cannot_be_taken_over(files: Files) -> None:
    """What stands under the name stays."""
    write(files, "demo/j1/data")
    with pytest.raises(FileNotFoundError):
        files.adopt("demo/j1/data", files.scratch("demo/j1/data"))
    assert read(files, "demo/j1/data") == b"x"


def test_a_place_for_what_is_not_whole_is_the_same_each_time(files: Files) -> None:
    """So that a file can be fetched on where it broke off; others have others, and none has a name."""
    place = files.scratch("demo/j1/data")
    place.write_bytes(b"half")
    assert files.scratch("demo/j1/data") == place
    others = [files.scratch(name) for name in ("demo/j1/plan", "demo/j2/data", "other/j1/data")]
    assert len({place, *others}) == 4
    assert files.names("demo/j1") == []
    assert not is_there(files, "demo/j1/data")


# Reading


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, None, b"0123456789"),
        (3, None, b"3456789"),
        (0, 4, b"0123"),
        (3, 4, b"3"),
        (3, 10, b"3456789"),
        (3, 99, b"3456789"),
        (9, 10, b"9"),
        (0, 0, b""),
        (5, 5, b""),
    ],
)
def test_a_part_of_a_file_is_read(
    files: Files, start: int, end: int | None, expected: bytes
) -> None:
    """From one byte to before another, as far as the file goes."""
    write(files, "demo/j1/data", content=b"0123456789")
    assert read(files, "demo/j1/data", start, end) == expected


PAST_THE_END = [(10, None), (10, 12), (99, None), (99, 100)]


@pytest.mark.parametrize(("start", "end"), PAST_THE_END)
def test_behind_its_end_a_file_in_a_folder_is_empty(
    folder: FolderFiles, start: int, end: int | None
) -> None:
    """As where rows would begin behind a header that has none."""
    write(folder, "demo/j1/data", content=b"0123456789")
    assert read(folder, "demo/j1/data", start, end) == b""


@pytest.mark.parametrize(("start", "end"), PAST_THE_END)
def test_behind_its_end_a_file_in_a_bucket_is_empty(
    s3: S3Files, start: int, end: int | None
) -> None:
    """As in a folder."""
    write(s3, "demo/j1/data", content=b"0123456789")
    assert read(s3, "demo/j1/data", start, end) == b""


def test_an_empty_file_is_read(files: Files) -> None:
    """Its beginning is its end, whatever is asked for at most."""
    write(files, "demo/j1/data", content=b"")
    assert read(files, "demo/j1/data") == b""


def test_the_beginning_of_an_empty_file_in_a_bucket_is_read(s3: S3Files) -> None:
    """There is nothing of it."""
    write(s3, "demo/j1/data", content=b"")
    assert read(s3, "demo/j1/data", 0, 512) == b""


def test_the_beginning_of_an_empty_file_in_a_folder_is_read(folder: FolderFiles) -> None:
    """There is nothing of it."""
    write(folder, "demo/j1/data", content=b"")
    assert read(folder, "demo/j1/data", 0, 512) == b""


@pytest.mark.parametrize(("start", "end"), [(0, None), (2, None), (0, 2), (2, 3)])
def test_a_file_that_is_not_there_is_not_found(files: Files, start: int, end: int | None) -> None:
    """Whatever part of it is asked for."""
    write(files, "demo/j1/other")
    with pytest.raises(FileNotFoundError), files.reading("demo/j1/data", start, end):
        pass


def test_a_file_is_read_line_by_line(files: Files) -> None:
    """As rows are, in pieces or whole."""
    lines = [f"{number},{'x' * (number % 7)}\n".encode() for number in range(30_000)]
    content = b"".join(lines)
    write(files, "demo/j1/data", content=content)
    with files.reading("demo/j1/data") as file:
        assert [*file] == lines
    start = len(b"".join(lines[:9_000]))
    end = start + len(b"".join(lines[9_000:9_100]))
    with files.reading("demo/j1/data", start, end) as file:
        assert file.readline(3) == lines[9_000][:3]
        assert file.readline() == lines[9_000][3:]
        assert [*file] == lines[9_001:9_100]
        assert file.readline() == b""


def test_reading_may_end_in_the_middle(files: Files) -> None:
    """The rest is not wanted."""
    write(files, "demo/j1/data", content=LARGE)
    with files.reading("demo/j1/data") as file:
        assert file.read(5) == LARGE[:5]
    assert read(files, "demo/j1/data", 5, 9) == LARGE[5:9]


# Names


def test_the_names_in_a_folder_are_listed_in_order(files: Files) -> None:
    """Those of other folders are not, be they called nearly the same."""
    numbers = [f"{number:06}" for number in (3, 0, 11, 1)]
    write(files, *(f"demo/j1/parts/{number}" for number in numbers))
    write(files, "demo/j1/parts2/000009", "demo/j11/parts/000008", "other/j1/parts/000007")
    assert files.names("demo/j1/parts") == ["000000", "000001", "000003", "000011"]


def test_a_folder_that_is_not_there_is_empty(files: Files) -> None:
    """There may be no file of the job yet."""
    assert files.names("demo/j1/parts") == []


# Dropping


def test_a_folder_is_dropped_with_all_in_it(files: Files) -> None:
    """Those beside it stay."""
    write(files, "demo/j1/data", "demo/j1/plan", "demo/j1/parts/000000", "demo/j1/parts/000001")
    write(files, "demo/j11/data", "other/j1/data")
    files.drop("demo/j1")
    assert files.names("demo/j1") == files.names("demo/j1/parts") == []
    assert not is_there(files, "demo/j1/data")
    assert not is_there(files, "demo/j1/parts/000000")
    assert is_there(files, "demo/j11/data")
    assert is_there(files, "other/j1/data")


def test_all_of_a_folder_but_one_is_dropped(files: Files) -> None:
    """Of the folders in it, too."""
    write(files, "demo/j1/data", "demo/j1/plan", "demo/j1/parts/000000", "demo/j1/parts/000001")
    write(files, "demo/j1/parts2/000000", "demo/j2/data")
    files.drop("demo/j1", keep="parts")
    assert files.names("demo/j1/parts") == ["000000", "000001"]
    assert files.names("demo/j1/parts2") == []
    assert not is_there(files, "demo/j1/data")
    assert not is_there(files, "demo/j1/plan")
    assert is_there(files, "demo/j2/data")
    files.drop("demo/j1", keep="parts")
    assert read(files, "demo/j1/parts/000001") == b"x"


@pytest.mark.parametrize("keep", [None, "parts"])
def test_what_is_not_there_may_be_dropped(files: Files, keep: str | None) -> None:
    """It may have been dropped before."""
    files.drop("demo/j1", keep=keep)
    write(files, "demo/j1/data")
    files.drop("demo/j1", keep=keep)
    files.drop("demo/j1", keep=keep)
    assert files.names("demo/j1") == []


@pytest.mark.slow
def test_more_files_are_dropped_than_one_request_takes(s3: S3Files, bucket: Any) -> None:
    """S3 takes a thousand at a time, and lists as many."""
    for number in range(1_005):
        bucket.put_object(Bucket=BUCKET, Key=f"{PREFIX}demo/j1/parts/{number:06}", Body=b"")
    assert len(s3.names("demo/j1/parts")) == 1_005
    s3.drop("demo/j1")
    assert s3.names("demo/j1/parts") == []


@pytest.mark.parametrize("keep", [None, "parts"])
def test_what_is_not_whole_yet_is_dropped_from_a_folder(
    folder: FolderFiles, keep: str | None
) -> None:
    """It holds customers as well as the whole does."""
    place = folder.scratch("demo/j1/data")
    place.write_bytes(b"half")
    folder.drop("demo/j1", keep=keep)
    assert not place.exists()


@pytest.mark.parametrize("keep", [None, "parts"])
def test_what_is_not_whole_yet_is_dropped_beside_a_bucket(s3: S3Files, keep: str | None) -> None:
    """It holds customers as well as the whole does."""
    place = s3.scratch("demo/j1/data")
    place.write_bytes(b"half")
    s3.drop("demo/j1", keep=keep)
    assert not place.exists()


# Names that lead elsewhere


@pytest.mark.parametrize(
    "name", ["../data", "demo/../../data", "demo/..", "..", "/etc/data", "//data", "demo/j1/../x"]
)
def test_a_name_that_leads_out_of_the_folder_is_refused(files: Files, name: str) -> None:
    """Whatever is to be done with it."""

    def make() -> None:
        with files.making(name) as file:
            file.write(b"x")

    def begin() -> None:
        with files.reading(name):
            pass

    place = files.scratch("demo/j1/data")
    place.write_bytes(b"x")
    for work in (
        make,
        begin,
        lambda: files.adopt(name, place),
        lambda: files.names(name),
        lambda: files.drop(name),
        lambda: files.drop(name, keep="parts"),
        lambda: files.scratch(name),
    ):
        with pytest.raises(ValueError, match="no name of a file"):
            work()
    assert place.exists()


# A folder's own


def modes(root: Path) -> dict[str, int]:
    """Give the modes of all that is in a folder."""
    return {
        str(path.relative_to(root)): stat.S_IMODE(path.stat().st_mode) for path in root.rglob("*")
    }


@pytest.fixture
def loose_umask() -> Iterator[None]:
    """Have a process that hides nothing by itself."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("loose_umask")
def test_files_are_read_by_their_owner_alone(folder: FolderFiles, tmp_path: Path) -> None:
    """And the folder that they are in; also while they are made."""
    with folder.making("demo/data") as file:
        file.write(b"x")
        assert set(modes(tmp_path / "files" / "demo").values()) == {0o600}
    assert modes(tmp_path / "files") == {"demo": 0o700, "demo/data": 0o600}


@pytest.mark.usefixtures("loose_umask")
def test_every_folder_that_is_made_is_its_owners_alone(folder: FolderFiles, tmp_path: Path) -> None:
    """Whoever could write in an outer one could put another in the place of an inner one."""
    write(folder, "demo/j1/parts/000000")
    found = {mode for name, mode in modes(tmp_path).items() if not name.endswith("000000")}
    assert found == {0o700}


def test_nothing_is_left_beside_a_file_that_was_made(folder: FolderFiles, tmp_path: Path) -> None:
    """Nor of one that was not finished."""

    def begin() -> None:
        with folder.making("demo/j1/plan") as file:
            file.write(b"x")
            raise Interrupted

    write(folder, "demo/j1/data")
    with pytest.raises(Interrupted):
        begin()
    assert [path.name for path in (tmp_path / "files" / "demo" / "j1").iterdir()] == ["data"]


def test_what_a_process_that_died_left_is_no_file(folder: FolderFiles, tmp_path: Path) -> None:
    """It has no name of a file, and goes with its folder."""
    write(folder, "demo/j1/parts/000000")
    left = tmp_path / "files" / "demo" / "j1" / "parts" / "000001.77.part.fetched"
    left.write_bytes(b"half")
    assert folder.names("demo/j1/parts") == ["000000"]
    folder.drop("demo/j1")
    assert not left.exists()


# A bucket's own


def test_keys_begin_with_the_prefix(s3: S3Files, bucket: Any, tmp_path: Path) -> None:
    """A bucket may hold other things, which are not touched."""
    bucket.put_object(Bucket=BUCKET, Key="demo/j1/data", Body=b"another's")
    write(s3, "demo/j1/data")
    bare = S3Files(bucket, BUCKET, "", tmp_path / "scratch")
    assert read(bare, "demo/j1/data") == b"another's"
    assert read(bare, "jobs/demo/j1/data") == b"x"
    s3.drop("demo/j1")
    assert read(bare, "demo/j1/data") == b"another's"


@pytest.fixture
def no_bucket(client: Any, tmp_path: Path) -> S3Files:
    """Give files in a bucket that there is not."""
    return S3Files(client, "no-such-bucket", PREFIX, tmp_path / "scratch")


def test_a_bucket_that_is_not_there_cannot_be_used_just_now(no_bucket: S3Files) -> None:
    """No file of it is called missing for that; somebody may have mistyped a setting."""
    for work in (
        lambda: write(no_bucket, "demo/j1/data"),
        lambda: read(no_bucket, "demo/j1/data"),
        lambda: no_bucket.names("demo/j1"),
        lambda: no_bucket.drop("demo/j1"),
    ):
        with pytest.raises(LedgerUnavailable, match="NoSuchBucket"):
            work()


def test_a_file_is_not_taken_over_by_a_bucket_that_is_not_there(no_bucket: S3Files) -> None:
    """It stays at its place for the next attempt."""
    place = no_bucket.scratch("demo/j1/data")
    place.write_bytes(b"x")
    try:
        with pytest.raises(LedgerUnavailable):
            no_bucket.adopt("demo/j1/data", place)
    finally:
        assert place.read_bytes() == b"x"


@pytest.mark.parametrize(
    ("address", "key"),
    [
        (f"s3://{BUCKET}", "demo/j1/data"),
        (f"s3://{BUCKET}/", "demo/j1/data"),
        (f"s3://{BUCKET}/jobs", "jobs/demo/j1/data"),
        (f"s3://{BUCKET}/a/b/", "a/b/demo/j1/data"),
    ],
)
@pytest.mark.usefixtures("aws_environment")
def test_a_setting_names_the_bucket_and_the_prefix(bucket: Any, address: str, key: str) -> None:
    """With or without a slash at its end."""
    write(make_s3_files(address), "demo/j1/data")
    [item] = bucket.list_objects_v2(Bucket=BUCKET)["Contents"]
    assert item["Key"] == key


@pytest.fixture
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Say where AWS is, and who asks."""
    for name, value in (("ACCESS_KEY_ID", "none"), ("SECRET_ACCESS_KEY", "none")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
