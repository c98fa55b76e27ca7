"""The functions' zip: the same bytes each time, for the functions' Python and architecture, and it runs.

Lambda's Python is not this machine's as a rule: what is shipped is looked at, and the same code is run
from a zip that was built for this machine's Python in the same way.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cfnlint.decode import cfn_yaml
from tests.cloud.emulator import Emulated, unpacked

ROOT = Path(__file__).parents[2]
MACHINES = {"arm64": 0xB7, "x86_64": 0x3E}
"""ELF's numbers of the architectures (``e_machine``)."""
HERE = {"aarch64": "arm64", "x86_64": "x86_64"}.get(platform.machine(), "")
HERES_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
RUN = """
import json, sys
sys.path.insert(0, sys.argv[1])
import botocore.session
import jwt
import ci360_twilio.edge.functions as functions
import lambda_function
for service in ("dynamodb", "secretsmanager", "sqs"):
    botocore.session.get_session().create_client(
        service, region_name="eu-central-1", aws_access_key_id="none", aws_secret_access_key="none"
    )
answers = [lambda_function.lambda_handler({}, None), functions.receive({}, None)]
print(json.dumps([[one["statusCode"], json.loads(one["body"])["reason"]] for one in answers]))
assert all(sys.argv[1] in (getattr(sys.modules[name], "__file__", "") or "")
           for name in ("botocore", "msgspec", "phonenumbers", "ci360_twilio", "jwt"))
"""


def packed(to: Path, architecture: str, python: str = "") -> Path:
    """Build a zip."""
    wanted = ["--architecture", architecture, "--to", str(to)]
    version = ["--python", python] if python else []
    command = [sys.executable, "-m", "ci360_twilio", "aws", "package", *wanted, *version]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return to / f"ci360-twilio-{architecture}.zip"


def test_a_zip_is_the_same_each_time_and_holds_what_lambda_needs(tmp_path: Path) -> None:
    """To the byte; for the architecture and the Python that the template names, and under 15 MB."""
    first, second = (packed(tmp_path / name, "arm64") for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size < 15_000_000
    with zipfile.ZipFile(first) as archive:
        names = archive.namelist()
        compiled = [name for name in names if name.endswith(".so")]
        heads = [archive.open(name).read(20) for name in compiled]
    assert {int.from_bytes(head[18:20], "little") for head in heads} == {MACHINES["arm64"]}
    runtime = cfn_yaml.load(str(ROOT / "infra" / "template.yaml"))["Parameters"]["Runtime"]
    tag = runtime["Default"].replace("python", "cpython-").replace(".", "")
    assert all(tag in name or ".abi3." in name for name in compiled)
    assert {"lambda_function.py", "ci360_twilio/edge/functions.py"} <= set(names)
    assert not [name for name in names if "/twin/" in name or "/geodata/" in name]


@pytest.mark.skipif(not HERE, reason="Lambda has no such architecture")
def test_what_is_packed_runs(tmp_path: Path) -> None:
    """By itself: nothing else is on the path but Python's own modules."""
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(packed(tmp_path, HERE, HERES_PYTHON)) as archive:
        archive.extractall(folder)
    tenants = tmp_path / "tenants"
    tenants.mkdir()
    settings = {
        "CI360_TWILIO_TENANTS": str(tenants),
        "CI360_TWILIO_LEDGER": f"sqlite:///{tmp_path / 'ledger.db'}",
    }
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", RUN, str(folder)],
        env=settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[200, "test"], [200, "test"]]


@pytest.mark.skipif(not HERE, reason="Lambda has no such architecture")
def test_what_is_packed_runs_in_lambdas_runtime(tmp_path: Path) -> None:
    """With nothing beside it but what Lambda brings: the drop-in, and a function of the stack."""
    code, tenants = unpacked(tmp_path), tmp_path / "tenants"
    tenants.mkdir()
    settings = {
        "CI360_TWILIO_TENANTS": str(tenants),
        "CI360_TWILIO_LEDGER": f"sqlite:///{tmp_path / 'ledger.db'}",
    }
    for handler in ("lambda_function.lambda_handler", "ci360_twilio.edge.functions.receive"):
        with Emulated(handler, settings, tmp_path / f"{handler}.log", code=code) as instance:
            answer = instance.invoke({})
        assert (answer["statusCode"], json.loads(answer["body"])["reason"]) == (200, "test")
