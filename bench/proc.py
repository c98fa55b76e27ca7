"""Memory and processor time of a process and its descendants, as /proc tells them."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import msgspec


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Resident memory in KiB; ``anonymous`` leaves out mapped files such as a WAL index."""

    resident: int
    anonymous: int


def memory_of(pid: int) -> Memory:
    """Add up the resident memory of a process and all its descendants."""
    fields = [_status(one) for one in family(pid)]
    return Memory(
        resident=sum(one.get("VmRSS", 0) for one in fields),
        anonymous=sum(one.get("RssAnon", 0) for one in fields),
    )


def peak_of(pid: int) -> int:
    """Return the most memory, in KiB, that a process has had resident; 0 if it is gone."""
    return _status(pid).get("VmHWM", 0)


def cpu_seconds_of(pid: int) -> float:
    """Add up the processor time, user and system, of a process and its living descendants."""
    return sum(_ticks(one) for one in family(pid)) / os.sysconf("SC_CLK_TCK")


def children_cpu_seconds() -> float:
    """Return the processor time of our children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def family(pid: int) -> Iterator[int]:
    """Yield a process and all its descendants."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in _text(children).split():
            yield from family(int(child))


def is_running(pid: int) -> bool:
    """Tell whether a process is there and not just waiting for its parent to notice its end."""
    state = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()[:1]
    return bool(state) and state != ["Z"]


def _status(pid: int) -> dict[str, int]:
    pairs = (line.partition(":")[::2] for line in _text(Path(f"/proc/{pid}/status")).splitlines())
    return {name: int(value.split()[0]) for name, value in pairs if value.endswith(" kB")}


def _ticks(pid: int) -> int:
    fields = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12]) if fields else 0


def _text(path: Path) -> str:
    """Read a file of /proc; that of a process that has just ended is empty."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
