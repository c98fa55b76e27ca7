"""The machine a figure was taken on."""

import os
import platform
from pathlib import Path

import msgspec


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader needs to judge a figure; ``load`` is the load average when the run began."""

    cores: int
    cpu: str
    python: str
    kernel: str
    load: float


def this_machine() -> Machine:
    """Describe the machine we run on."""
    return Machine(
        cores=os.cpu_count() or 1,
        cpu=_cpu_model(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        kernel=f"{platform.system()} {platform.release()}",
        load=round(os.getloadavg()[0], 2),
    )


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
