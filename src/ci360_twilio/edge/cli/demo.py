"""``demo``: the whole journey of a few events on this machine, with nothing set up."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from ci360_twilio.core.entry import Entry, Status, key_of
from ci360_twilio.core.reasons import in_words
from ci360_twilio.core.tenant import parse_tenant_id
from ci360_twilio.edge.cli.screen import table
from ci360_twilio.errors import SettingsError
from ci360_twilio.settings import PREFIX
from ci360_twilio.stores.sqlite import SqliteStore
from ci360_twilio.twin.events import outbound_body
from ci360_twilio.twin.faults import Fault, FaultPlan
from ci360_twilio.twin.server import TwinServer
from ci360_twilio.twin.twilio import TwilioTwin, TwinAccount
from ci360_twilio.wiring import utc_now

TENANT = parse_tenant_id("demo")
ACCOUNT, TOKEN = f"AC{'d' * 32}", "demo-token"
SENDER = "+15005550006"
PATIENCE = 15.0
"""Seconds in which everything must have come to its end."""


class Scene(NamedTuple):
    """One event that is played."""

    title: str
    recipient: str
    creative: str
    age: timedelta = timedelta(seconds=2)
    faults: tuple[Fault, ...] = ()
    control_group: bool = False
    repeats: int | None = None
    """The number of the scene whose event comes again."""


TEXT = "Anna, thank you for registering; see you on Thursday!"
SCENES = (
    Scene("A customer registers", "+12015550101", f"TO:+12015550101;\nFROM:{SENDER};\n{TEXT}"),
    Scene("CI360 delivers the same event again", "+12015550101", "", repeats=0),
    Scene(
        "A message with a picture",
        "+12015550102",
        "TO:+1 (201) 555-0102;\nMEDIAL_URLS:https://www.example.com/map.png;\nHere is your way.",
    ),
    Scene(
        "An event that is two days old",
        "+12015550103",
        "TO:+12015550103;\nOnly today!",
        age=timedelta(days=2),
    ),
    Scene("A creative without its semicolon", "+12015550104", "TO:+12015550104\nHello there"),
    Scene("A customer without a first name", "+12015550105", "TO:+12015550105;\nHi {{firstname}}!"),
    Scene(
        "A customer of the control group",
        "+12015550106",
        "TO:+12015550106;\nHi!",
        control_group=True,
    ),
    Scene(
        "Twilio is busy twice (429)",
        "+12015550107",
        "TO:+12015550107;\nIt took three attempts, and you get one message.",
        faults=(Fault.HTTP_429, Fault.HTTP_429),
    ),
    Scene(
        "Twilio takes it and its answer is lost",
        "+12015550108",
        "TO:+12015550108;\nNobody may send this a second time.",
        faults=(Fault.RESET,),
    ),
)


def add_demo(command: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Declare ``demo``."""
    command.epilog = (
        "Starts a server with its worker, a ledger in a temporary folder, and a look-alike of "
        "Twilio, all on loopback; plays events at them; and cleans up."
    )
    return _demo


def _demo(_options: argparse.Namespace) -> int:
    print("Starting the connector, its ledger and a look-alike of Twilio on this machine ...")
    account = TwinAccount(sid=ACCOUNT, auth_token=TOKEN)
    twin = TwilioTwin(accounts=[account], clock=utc_now)
    faults = FaultPlan()
    with (
        tempfile.TemporaryDirectory(prefix="ci360-twilio-demo-") as folder,
        TwinServer(twin, faults) as server,
        _connector(Path(folder), server.url) as address,
    ):
        guids, answers = _play(address, faults)
        entries = _wait(Path(folder) / "ledger.db", guids)
    print(f"CI360's events have been posted to {address}/ci360/events. What became of them:\n")
    head = ("EVENT", "ANSWER TO CI360", "OUTCOME", "ATTEMPTS", "MESSAGES AT TWILIO")
    made = [message.to for message in twin.messages]
    rows = [
        (scene.title, answer, entry.status, entry.attempts, made.count(scene.recipient))
        for scene, answer, entry in zip(SCENES, answers, entries, strict=True)
    ]
    print(table(head, rows))
    print("\nWhy:")
    for scene, entry in zip(SCENES, entries, strict=True):
        if scene.repeats is None and entry.reason:
            print(f"  {scene.title}: {in_words(entry)}")
            for _, words in entry.problems:
                print(f"    {words}")
    most = max(made.count(number) for number in {scene.recipient for scene in SCENES})
    print(f"\n{len(SCENES)} events, {len(made)} messages, at most {most} for each event.")
    print("Next: make a creative of your own and try `ci360-twilio preview`, or read the README.")
    return (
        0
        if most == 1 and all(entry.finished or entry.status is Status.UNKNOWN for entry in entries)
        else 1
    )


def _play(address: str, faults: FaultPlan) -> tuple[list[str], list[str]]:
    """Post every scene's event; gives the guids and the answers in words."""
    guids: list[str] = []
    bodies: list[bytes] = []
    answers: list[str] = []
    for scene in SCENES:
        if scene.repeats is not None:
            guids.append(guids[scene.repeats])
            bodies.append(bodies[scene.repeats])
        else:
            faults.for_recipient(scene.recipient, scene.faults)
            guids.append(str(uuid.uuid4()))
            bodies.append(
                outbound_body(
                    guid=guids[-1],
                    tenant_id=TENANT,
                    creative=scene.creative,
                    generated_at=utc_now() - scene.age,
                    control_group=scene.control_group,
                )
            )
        status, answer = _call("POST", address, "/ci360/events", bodies[-1])
        said: dict[str, Any] = json.loads(answer)
        again = ", a duplicate" if said.get("duplicate") else ""
        answers.append(f"{status} {said.get('status')}{again}")
    return guids, answers


def _wait(ledger: Path, guids: list[str]) -> list[Entry]:
    """Wait until every entry has come as far as it can."""
    store = SqliteStore(ledger, hash_key=b"demo")
    until = time.monotonic() + PATIENCE
    try:
        while True:
            found = store.get_many([key_of(TENANT, guid) for guid in guids])
            entries = [entry for entry in found if entry is not None]
            moving = [e for e in entries if e.status in (Status.ACCEPTED, Status.SENDING)]
            if not moving or time.monotonic() > until:
                return entries
            time.sleep(0.05)
    finally:
        store.close()


@contextmanager
def _connector(folder: Path, twilio: str) -> Iterator[str]:
    """Run ``serve`` with a tenant of its own; gives its address once it is ready."""
    tenants = folder / "tenants"
    tenants.mkdir()
    document = {
        "twilio_api_url": twilio,
        "twilio_account_sid": ACCOUNT,
        "twilio_auth_token": TOKEN,
        "default_sender": SENDER,
    }
    (tenants / f"{TENANT}.json").write_text(json.dumps(document))
    port = _free_port()
    environment = {name: value for name, value in os.environ.items() if not _is_setting(name)}
    environment |= {
        f"{PREFIX}TENANTS": str(tenants),
        f"{PREFIX}LEDGER": f"sqlite:///{folder / 'ledger.db'}",
        f"{PREFIX}HASH_KEY": "demo",
        f"{PREFIX}TWILIO_HOSTS": twilio.removeprefix("http://"),
    }
    command = [sys.executable, "-m", "ci360_twilio", "serve", "--port", str(port)]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stderr=output)  # noqa: S603 - ours
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_until_ready(address, process, log)
            yield address
        finally:
            process.terminate()
            process.wait(60)


def _wait_until_ready(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        try:
            if _call("GET", address, "/readyz")[0] == 200:
                return
        except OSError:
            time.sleep(0.05)
    said = log.read_text().strip() or "it said nothing"
    raise SettingsError(f"The server did not start:\n{said}")


def _call(method: str, address: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection(address.removeprefix("http://"), timeout=10)) as caller:
        caller.request(method, path, body)
        answer = caller.getresponse()
        return answer.status, answer.read()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _is_setting(name: str) -> bool:
    return name.upper().startswith(PREFIX) or name.lower() in {
        "event_ttl",
        "default_sender",
        "sm_secret_id_prefix",
    }
