"""Build the functions' zip: the same bytes for the same input, with only what Lambda needs.

``python infra/package.py --architecture arm64`` writes ``build/ci360-twilio-arm64.zip``. Wheels are those of
``requirements/lambda.txt``, by hash, for the functions' Python and architecture, whatever this machine is.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = "3.14"
"""The functions' runtime; the template names the same."""
PLATFORMS = {
    "arm64": ("manylinux_2_28_aarch64", "manylinux2014_aarch64"),
    "x86_64": ("manylinux_2_28_x86_64", "manylinux2014_x86_64"),
}
SERVICES = frozenset({"dynamodb", "secretsmanager", "sqs"})
"""What is called of AWS; botocore describes four hundred others."""
NOT_NEEDED = (
    "bin",
    "ci360_twilio/edge/cli",
    "ci360_twilio/twin",
    "phonenumbers/carrierdata",
    "phonenumbers/geodata",
    "phonenumbers/tzdata",
    "pycparser",
)
_LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The date of every file, as a zip's dates begin there."""


def main() -> int:
    """Build one zip, or one for each architecture; say what each is."""
    parser = argparse.ArgumentParser(prog="package", description=__doc__)
    parser.add_argument("--architecture", choices=sorted(PLATFORMS), action="append")
    parser.add_argument("--python", default=PYTHON, metavar="VERSION")
    parser.add_argument("--to", type=Path, default=ROOT / "build", metavar="FOLDER")
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    for architecture in options.architecture or sorted(PLATFORMS):
        target = options.to / f"ci360-twilio-{architecture}.zip"
        with tempfile.TemporaryDirectory() as folder:
            collect(Path(folder), architecture, options.python)
            is_compiled = compile_code(Path(folder), options.python)
            pack(Path(folder), target)
        digest = hashlib.sha256(target.read_bytes()).hexdigest()
        size = target.stat().st_size / 1024**2
        kind = f"Python {options.python}, {architecture}"
        print(f"{target}: {size:.1f} MiB, {kind}, sha256 {digest}")
        if not is_compiled:
            print(
                f"  without byte code, as there is no python{options.python} here: starts take longer"
            )
    return 0


def collect(folder: Path, architecture: str, python: str) -> None:
    """Put everything into a folder."""
    named = [part for one in PLATFORMS[architecture] for part in ("--platform", one)]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    kind = ["--implementation", "cp", "--python-version", python, "--only-binary=:all:"]
    how = ["--quiet", "--no-deps", "--no-compile", "--require-hashes", "--target", str(folder)]
    listed = ["-r", str(ROOT / "requirements" / "lambda.txt")]
    subprocess.run([*pip, *how, *kind, *named, *listed], check=True)
    shutil.copytree(
        ROOT / "src",
        folder,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"),
    )
    for name in NOT_NEEDED:
        shutil.rmtree(folder / name, ignore_errors=True)
    for found in folder.glob("*.dist-info"):
        shutil.rmtree(found)
    described = folder / "botocore" / "data"
    for service in [one for one in described.iterdir() if one.is_dir()]:
        if service.name not in SERVICES:
            shutil.rmtree(service)
    endpoints = described / "endpoints.json"  # a third of a client's start is reading it
    known = json.loads(endpoints.read_text())
    for partition in known["partitions"]:
        listed_services = partition["services"].items()
        partition["services"] = {name: one for name, one in listed_services if name in SERVICES}
    endpoints.write_text(json.dumps(known))


def compile_code(folder: Path, python: str) -> bool:
    """Compile everything, if the functions' Python is here; Lambda could not keep what it compiles."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    command = sys.executable if python == here else shutil.which(f"python{python}")
    if command is None:
        return False
    how = ["-q", "--invalidation-mode", "unchecked-hash", "-s", str(folder), "-p", "/var/task"]
    done = subprocess.run(
        [command, "-m", "compileall", *how, str(folder)],
        env={"PYTHONHASHSEED": "0"},
        check=False,
    )
    return done.returncode == 0


def pack(folder: Path, target: Path) -> None:
    """Zip a folder: by name, all of one date and mode."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in files:
            info = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _LONG_AGO)
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, path.read_bytes(), compresslevel=9)


if __name__ == "__main__":
    sys.exit(main())
