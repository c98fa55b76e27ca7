"""``check --function``: whether an AWS Lambda function's time-out is long enough, as moto tells it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ci360_twilio.clients.functions import time_out_of
from ci360_twilio.errors import NotKnown

if TYPE_CHECKING:
    from tests.unit.edge.cli.conftest import Home, Run

REGION = "eu-west-1"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Credentials that open nothing, and no configuration of this machine's."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIAFICTIONAL",
        "AWS_SECRET_ACCESS_KEY": "fictional",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)


Make = Callable[..., None]


@pytest.fixture
def function(aws: None) -> Iterator[Make]:
    """Give a function that makes one in a region of moto's Lambda; nothing is ever run."""
    import boto3
    import moto

    def make(seconds: int, *, name: str = "twilio-connector", region: str = REGION) -> None:
        trust = {"Version": "2012-10-17", "Statement": []}
        iam = boto3.client("iam", region_name=region)
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr("lambda_function.py", "")
        boto3.client("lambda", region_name=region).create_function(
            FunctionName=name,
            Runtime="python3.12",
            Role=role["Role"]["Arn"],
            Handler="lambda_function.lambda_handler",
            Code={"ZipFile": content.getvalue()},
            Timeout=seconds,
        )

    with moto.mock_aws(config={"lambda": {"use_docker": False}}):
        yield make


def look(run: Run, name: str = "twilio-connector") -> tuple[int, str]:
    """Give how it ended, and what it found of the function."""
    done = run("check", "--offline", "--function", name)
    _, _, told = done.out.partition("function ")
    return done.code, f"function {told}"


@pytest.mark.parametrize("seconds", [3, 29])
def test_a_short_time_out_is_told(run: Run, home: Home, function: Make, seconds: int) -> None:
    """With how long it should be; AWS's own default is 3 seconds."""
    function(seconds)
    code, told = look(run)
    assert code == 1
    assert told.splitlines()[:2] == [
        f"function twilio-connector: ends after {seconds} seconds",
        "     Set its time-out to 30 seconds or more: what is cut off may have been sent.",
    ]


@pytest.mark.parametrize("seconds", [30, 900])
def test_a_time_out_that_is_long_enough_is_told(
    run: Run, home: Home, function: Make, seconds: int
) -> None:
    """Exit code 0."""
    function(seconds)
    code, told = look(run)
    assert code == 0
    assert told.startswith(f"function twilio-connector: ends after {seconds} seconds\n")


def test_a_function_that_is_not_there_is_told(run: Run, home: Home, function: Make) -> None:
    """With what to look for; the region may be another."""
    function(30, region="us-east-1")
    code, told = look(run)
    assert code == 1
    assert "AWS does not tell the function's settings: ResourceNotFound" in told
    assert "Check its name, the region and the login." in told


def test_the_region_of_the_secrets_is_the_functions(
    run: Run, home: Home, function: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is set; it wins over the shell's own."""
    function(60, region="us-east-1")
    monkeypatch.setenv("CI360_TWILIO_SECRETS_REGION", "us-east-1")
    assert look(run)[0] == 0
    assert time_out_of("twilio-connector", "us-east-1") == 60.0


@pytest.mark.parametrize("name", ["no such name!", "\x1b[2J", "a" * 200])
def test_a_name_that_is_none_is_told(run: Run, home: Home, function: Make, name: str) -> None:
    """Whatever AWS makes of it; ``run`` looks for what steers a terminal."""
    code, told = look(run, name)
    assert code == 1
    assert "AWS does not tell the function's settings: " in told


def test_without_a_region_aws_cannot_be_asked(
    run: Run, home: Home, aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing leaves this machine."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    code, told = look(run)
    assert code == 1
    assert "AWS does not tell the function's settings: NoRegionError." in told
    with pytest.raises(NotKnown, match="InvalidRegionError"):
        time_out_of("twilio-connector", "no region!")


def test_without_its_extra_it_says_what_to_install(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base install has the command all the same; exit code 2."""
    import sys

    monkeypatch.setitem(sys.modules, "botocore.session", None)
    done = run("check", "--offline", "--function", "twilio-connector")
    assert done.code == 2
    assert "ci360-twilio-connector[aws]" in done.err
