"""docs/aws.md, followed from top to bottom as by a new user, against moto.

Every command of the page is run as it stands there, in its order. Two things are different: the API is
reached on this machine, which ``deploy`` is told by a parameter, and Twilio is the twin.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

import pytest
from tests.cloud.gateway import Front
from tests.cloud.server import Moto
from tests.cloud.stack import ACCOUNT, SENDER, TENANT, TOKEN, Twins, World

from ci360_twilio.clients import stacks
from ci360_twilio.edge.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "aws.md"


def commands() -> list[str]:
    """List the commands of the page."""
    blocks = re.findall(r"^( *)```sh\n(.*?)\n\1```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return [line.strip() for _, block in blocks for line in block.splitlines()]


class Reader:
    """Somebody who follows the page."""

    def __init__(self, moto: Moto, folder: Path, front: Front, twins: Twins) -> None:
        self._moto, self._folder, self._front, self._twins = moto, folder, front, twins
        self.world: World | None = None

    def follow(self, command: str) -> int:
        """Do what a line says."""
        words = shlex.split(command.replace("TENANT", TENANT))
        if words[0] == "export":
            assert self.world is not None
            given = self.world.environment("Sweep")
            for name in ("CI360_TWILIO_LEDGER", "CI360_TWILIO_HASH_KEY"):
                assert name in command
                os.environ[name] = given[name]
            return 0
        assert words[0] == "ci360-twilio", command
        if words[1:3] == ["aws", "deploy"]:
            words += ["--set", f"PublicUrl={self._front.url}"]
        code = main(words[1:])
        if self.world is None and "--dry-run" not in words:
            self.world = World(self._moto, self._folder, self._twins, "ci360-twilio")
            self._front.gateway = self.world.gateway
        return code


def test_the_page_is_followed_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From nothing to a message that arrived, and to nothing again."""
    monkeypatch.setattr(stacks, "POLL_SECONDS", 0.01)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "y")
    monkeypatch.setattr("getpass.getpass", lambda _: TOKEN)
    monkeypatch.chdir(tmp_path)
    for name in ("CI360_TWILIO_LEDGER", "CI360_TWILIO_HASH_KEY"):
        monkeypatch.setenv(name, "")  # put back when it is over
    with Moto() as moto, Twins() as twins, Front() as front:
        document = {
            "twilio_api_url": f"{twins.twilio.url}/2010-04-01/Accounts/{ACCOUNT}/Messages.json",
            "twilio_account_sid": ACCOUNT,
            "default_sender": SENDER,
        }
        (tmp_path / "document.json").write_text(json.dumps(document))
        twins.messages.set_inbound(
            ACCOUNT, inbound_url=f"{front.url}/twilio/inbound/{TENANT}#rc=5&rp=all"
        )
        settings = {"CI360_TWILIO_TWILIO_HOSTS": twins.twilio.url.removeprefix("http://")}
        for name, value in (moto.environment("reader") | settings).items():
            monkeypatch.setenv(name, value)
        reader, said = Reader(moto, tmp_path, front, twins), ""
        assert len(commands()) >= 10
        for command in commands():
            code = reader.follow(command)
            captured = capsys.readouterr()
            assert code == 0, f"{command}\n{captured.out}\n{captured.err}"
            assert TOKEN not in captured.out + captured.err
            if "--show-key" in command:
                key = captured.out.split()[-1]
                said = ran_a_task(reader, key)
            if command.endswith("messages"):
                assert said in captured.out
                assert "sent" in captured.out
            if command.endswith("aws destroy") and reader.world is not None:
                reader.world.close()
            if command.endswith("messages") and reader.world is not None:
                left = reader.world.physical["JobFiles"]
                moto.client("s3").put_object(Bucket=left, Key="jobs/left", Body=b"a customer's")
        found = moto.client("cloudformation").list_stacks()["StackSummaries"]
        assert {one["StackStatus"] for one in found} == {"DELETE_COMPLETE"}
        buckets = [one["Name"] for one in moto.client("s3").list_buckets()["Buckets"]]
        assert [one for one in buckets if not one.startswith("ci360-twilio-123456789012-")] == []


def ran_a_task(reader: Reader, key: str) -> str:
    """Send oneself a message with the key that was shown; gives its guid."""
    world = reader.world
    assert world is not None
    guid, body = world.event("+12015550142")
    assert world.post(body, key).status == 202
    assert world.poll() == []
    assert len(world.made_for("+12015550142")) == 1
    return guid
