"""``aws package``: the functions' zip; the same bytes for the same input, with only what Lambda needs.

Wheels are those of ``requirements/lambda.txt``, by hash, for the functions' Python and architecture, whatever
this machine is.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ci360_twilio
from ci360_twilio.errors import SettingsError

PYTHON = "3.14"
"""The functions' runtime, unless told; the template's default is the same."""
PLATFORMS = {
    "arm64": ("manylinux_2_28_aarch64", "manylinux2014_aarch64"),
    "x86_64": ("manylinux_2_28_x86_64", "manylinux2014_x86_64"),
}
SERVICES = frozenset({"dynamodb", "s3", "secretsmanager", "sqs"})
"""What is called of AWS; botocore describes four hundred others."""
NOT_NEEDED = (
    "bin",
    "ci360_twilio/edge/cli",
    "ci360_twilio/infra",
    "ci360_twilio/twin",
    "phonenumbers/carrierdata",
    "phonenumbers/geodata",
    "phonenumbers/tzdata",
    "pycparser",
)
_COMPILED = re.compile(r"\.cpython-(?P<major>3)(?P<minor>\d+)-(?P<machine>x86_64|aarch64)-")
_LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The date of every file, as a zip's dates begin there."""
_PACKAGE = Path(ci360_twilio.__file__).parent
_CHECKOUT = _PACKAGE.parents[1]


class Zip(NamedTuple):
    """What was built."""

    path: Path
    architecture: str
    python: str
    is_compiled: bool

    @property
    def digest(self) -> str:
        """The SHA-256 of its bytes, in hexadecimal digits."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def __str__(self) -> str:
        """Say what it is, and that it lacks byte code if it does."""
        size = self.path.stat().st_size / 1024**2
        kind = f"Python {self.python}, {self.architecture}"
        words = f"{self.path}: {size:.1f} MiB, {kind}, sha256 {self.digest}"
        if self.is_compiled:
            return words
        advice = f"install python{self.python}, or name one that is here with --python"
        return f"{words}\n  without byte code, so that each start takes longer: {advice}"


def add_package(command: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Declare ``aws package``."""
    command.add_argument(
        "--architecture",
        choices=sorted(PLATFORMS),
        action="append",
        help="arm64, x86_64 or both (unless told)",
    )
    command.add_argument(
        "--python", default=PYTHON, metavar="VERSION", help=f"the functions' Python ({PYTHON})"
    )
    command.add_argument("--to", type=Path, default=Path("build"), metavar="FOLDER")
    command.add_argument("--dry-run", action="store_true", help="only say what would be built")
    return _package


def _package(options: argparse.Namespace) -> int:
    for architecture in options.architecture or sorted(PLATFORMS):
        if options.dry_run:
            kind = f"Python {options.python}, {architecture}"
            print(f"Would build {target_of(options.to, architecture)} for {kind}.")
        else:
            print(build(options.to, architecture, options.python), flush=True)
    if options.dry_run:
        lines = lambda_pins().read_text().splitlines()
        print("\n".join(["Of:", *(f"  {one.split()[0]}" for one in lines if "==" in one)]))
    return 0


def infra(name: str, checkout: str) -> Path:
    """Find a file that comes with an installation, or lies in a checkout."""
    found = [path for path in (_PACKAGE / "infra" / name, _CHECKOUT / checkout) if path.exists()]
    if not found:
        raise SettingsError(f"This installation comes without {name}.")
    return found[0]


def lambda_pins() -> Path:
    """Give the list of what the functions need, by hash."""
    return infra("lambda.txt", "requirements/lambda.txt")


def target_of(folder: Path, architecture: str) -> Path:
    """Name the zip."""
    return folder / f"ci360-twilio-{architecture}.zip"


def build(folder: Path, architecture: str, python: str) -> Zip:
    """Build a zip.

    Args:
        folder: which takes it.
        architecture: ``arm64`` or ``x86_64``.
        python: such as ``3.14``.

    Raises:
        SettingsError: the wheels cannot be had, or the folder cannot be written.
    """
    target = target_of(folder, architecture)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            _collect(Path(scratch), architecture, python)
            is_compiled = _compile(Path(scratch), python)
            _pack(Path(scratch), target)
    except OSError as exc:
        raise SettingsError(f"{target} cannot be built: {exc.strerror}.") from exc
    return Zip(target, architecture, python, is_compiled)


def look_at(path: Path) -> Zip:
    """Tell for what a zip was built, by the names of its compiled modules.

    Raises:
        SettingsError: it is none of ours.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile) as exc:
        raise SettingsError(
            f"{path} is no zip that can be read; `aws package` builds one."
        ) from exc
    found = next(filter(None, map(_COMPILED.search, names)), None)
    if found is None or "lambda_function.py" not in names:
        raise SettingsError(f"{path} is none of the functions' zips; `aws package` builds them.")
    machine = {"aarch64": "arm64"}.get(found["machine"], found["machine"])
    is_compiled = any(name.endswith(".pyc") for name in names)
    return Zip(path, machine, f"{found['major']}.{found['minor']}", is_compiled)


def _collect(folder: Path, architecture: str, python: str) -> None:
    """Put everything into a folder."""
    named = [part for one in PLATFORMS[architecture] for part in ("--platform", one)]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    kind = ["--implementation", "cp", "--python-version", python, "--only-binary=:all:"]
    how = ["--quiet", "--no-deps", "--no-compile", "--require-hashes", "--target", str(folder)]
    done = subprocess.run(  # noqa: S603 - our own list, and what argparse let through
        [*pip, *how, *kind, *named, "-r", str(lambda_pins())],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if not line.startswith("WARNING")]
        raise SettingsError(f"The wheels cannot be had. pip says: {' '.join(said[-1:])}")
    shutil.copytree(
        _PACKAGE,
        folder / _PACKAGE.name,
        ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"),
    )
    shutil.copy(_PACKAGE.parent / "lambda_function.py", folder)
    for name in NOT_NEEDED:
        shutil.rmtree(folder / name, ignore_errors=True)
    for found in folder.glob("*.dist-info"):
        shutil.rmtree(found)
    _keep_services(folder / "botocore" / "data")


def _keep_services(described: Path) -> None:
    """Leave out what botocore knows of services that are not called, and what it says for readers.

    Half of what a client's start takes is reading it.
    """
    for service in [one for one in described.iterdir() if one.is_dir()]:
        if service.name not in SERVICES:
            shutil.rmtree(service)
    for packed in described.rglob("*.json.gz"):
        model = json.loads(gzip.decompress(packed.read_bytes()))
        packed.with_suffix("").write_text(json.dumps(_undocumented(model)))
        packed.unlink()
    for examples in described.rglob("examples-1.json"):
        examples.unlink()
    endpoints = described / "endpoints.json"
    known = json.loads(endpoints.read_text())
    for partition in known["partitions"]:
        listed = partition["services"].items()
        partition["services"] = {name: one for name, one in listed if name in SERVICES}
    endpoints.write_text(json.dumps(known))


def _undocumented(model: Any) -> Any:
    """Give a description without the texts; a member of a request may be called like them.

    The parameters of clients keep theirs: botocore looks for them.
    """
    if isinstance(model, dict):
        return {
            name: one if name == "clientContextParams" else _undocumented(one)
            for name, one in model.items()
            if name != "documentation" or not isinstance(one, str)
        }
    return [_undocumented(one) for one in model] if isinstance(model, list) else model


def _compile(folder: Path, python: str) -> bool:
    """Compile everything, if the functions' Python is here; Lambda could not keep what it compiles."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    command = sys.executable if python == here else shutil.which(f"python{python}")
    if command is None:
        return False
    how = ["-q", "--invalidation-mode", "unchecked-hash", "-s", str(folder), "-p", "/var/task"]
    done = subprocess.run(  # noqa: S603 - a Python
        [command, "-m", "compileall", *how, str(folder)],
        env={"PYTHONHASHSEED": "0"},
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def _pack(folder: Path, target: Path) -> None:
    """Zip a folder: by name, all of one date and mode."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in files:
            info = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _LONG_AGO)
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, path.read_bytes(), compresslevel=9)
