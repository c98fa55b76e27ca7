"""``console``: the console of a connector that runs here, with a campaign to look at and nothing set up."""

from __future__ import annotations

import argparse
import random
import secrets
import signal
import socket
import tempfile
import threading
import uuid
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

from ci360_twilio.core.person import Person, Role
from ci360_twilio.edge.cli.demo_stage import SENDER, TENANT, Stage, stage
from ci360_twilio.errors import SettingsError
from ci360_twilio.twin.events import outbound_body
from ci360_twilio.twin.faults import Fault
from ci360_twilio.twin.life import Life
from ci360_twilio.wiring import utc_now

NAME = "admin"
FIRST = 150
"""Events that have come in when the page is opened."""
LIFE = Life(
    until_sent=0.3,
    until_final=2.0,
    fates={"undelivered:30003": 0.03, "undelivered:30005": 0.02, "failed:30007": 0.02, "read": 0.1},
)
_TEXTS: Mapping[str, tuple[str, ...]] = {
    "TSK_101": ("{name}, thank you for registering; see you on Thursday!",),
    "TSK_204": (
        "Hi {name}, your parcel is on its way.",
        "Hi {name}, your parcel is here — open until 8 p.m. 🎁",
    ),
    "TSK_317": ("{name}: 20 % off everything until Sunday. Reply STOP to end.",),
}
_NAMES = ("Anna", "Ben", "Chloé", "Dinesh", "Eve", "Farid", "Grace", "Hiroshi")
_REPLIES = ("Thank you!", "Is there parking, too?", "STOP", "please stop these messages", "START")
_MISHAPS: tuple[tuple[float, str], ...] = ((0.02, "no name"), (0.02, "no number"), (0.03, "old"))


def add_console(command: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Declare ``console``."""
    command.add_argument("--port", type=int, default=8360, help="port on loopback (%(default)s)")
    command.add_argument(
        "--rate", type=float, default=2.0, help="events in a second (%(default)s); 0 for none"
    )
    command.add_argument("--seed", type=int, default=0, help="of what happens (%(default)s)")
    command.epilog = (
        "Starts what `demo` starts, makes an administrator, has CI360 post events and customers "
        "write back, and goes on until Ctrl-C. Nothing is left behind."
    )
    return _console


def _console(options: argparse.Namespace) -> int:
    try:
        from ci360_twilio.edge.console.accounts import Accounts
    except ImportError as exc:
        words = (
            f"console needs the extra: pip install 'ci360-twilio-connector[console]' ({exc.name})"
        )
        raise SettingsError(words) from exc
    _check_port(options.port)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    print("Starting the connector, its ledger, and look-alikes of Twilio and CI360 here ...")
    with tempfile.TemporaryDirectory(prefix="ci360-twilio-console-") as folder:
        password = secrets.token_urlsafe(12)
        accounts = Accounts(Path(folder) / "ledger.db.people")
        accounts.add(Person(name=NAME, role=Role.ADMINISTRATOR), password)
        with stage(Path(folder), port=options.port, life=LIFE) as on:
            play = Play(on, random.Random(options.seed))
            for _ in range(FIRST):
                play.event()
            print(
                f"\nThe console: {on.address}/console\n  Name      {NAME}\n  Password  {password}\n"
            )
            print("A campaign runs; nobody gets a message. Stop with Ctrl-C.", flush=True)
            play.until(stopping, options.rate)
    print("Stopped; nothing is left behind.")
    return 0


def _check_port(port: int) -> None:
    """Raise ``SettingsError`` where nothing can listen: else another server would be taken for this one."""
    if not 1 <= port <= 65_535:
        raise SettingsError("Ports are 1 to 65535.")
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as exc:
        raise SettingsError(f"Port {port} is taken; choose another with --port.") from exc


class Play:
    """A campaign: events of several tasks, with the mishaps of a usual day, and customers who answer."""

    def __init__(self, on: Stage, chance: random.Random) -> None:
        self._on = on
        self._chance = chance
        self._customers = [f"+1201555{number:04}" for number in range(100, 200)]

    def until(self, stopping: threading.Event, rate: float) -> None:
        """Play until it is to stop."""
        while not stopping.wait(1 / rate if rate > 0 else 1.0):
            if rate > 0:
                self.event()
            if self._chance.random() < 0.08:
                self.reply()

    def event(self) -> None:
        """Have CI360 post an event."""
        chance = self._chance
        task = chance.choices([*_TEXTS], (5, 3, 2))[0]
        mishap = self._mishap()
        customer = chance.choice(self._customers)
        name = "{{firstname}}" if mishap == "no name" else chance.choice(_NAMES)
        text = chance.choice(_TEXTS[task]).replace("{name}", name)
        to = "12" if mishap == "no number" else customer
        if chance.random() < 0.02:
            fault = chance.choice((Fault.HTTP_429, Fault.HTTP_500, Fault.RESET))
            self._on.faults.for_recipient(customer, (fault,))
        age = timedelta(days=2) if mishap == "old" else timedelta(seconds=chance.random() * 3)
        self._on.post(
            outbound_body(
                guid=str(uuid.UUID(int=chance.getrandbits(128), version=4)),
                tenant_id=TENANT,
                creative=f"TO:{to};\nFROM:{SENDER};\n{text}",
                generated_at=utc_now() - age,
                task_code=task,
                subject_id=customer[-4:],
                control_group=chance.random() < 0.05,
            )
        )

    def reply(self) -> None:
        """Have a customer write back."""
        text = self._chance.choices(_REPLIES, (6, 6, 2, 1, 1))[0]
        self._on.write(self._chance.choice(self._customers), text)

    def _mishap(self) -> str:
        drawn = self._chance.random()
        for likely, name in _MISHAPS:
            if drawn < likely:
                return name
            drawn -= likely
        return ""
