"""A connector with a console on loopback, look-alikes of Twilio and CI360, and an administrator."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Page
from tests.console import entry

from ci360_twilio.core.entry import Entry, Status, key_of
from ci360_twilio.core.event import Origin
from ci360_twilio.core.job import BadRow, Job, State
from ci360_twilio.core.person import Person, Role
from ci360_twilio.edge.cli.console import LIFE, Play
from ci360_twilio.edge.cli.demo_stage import SENDER, TENANT, Stage, stage
from ci360_twilio.edge.console.accounts import Accounts
from ci360_twilio.twin.events import outbound_body
from ci360_twilio.twin.life import Life
from ci360_twilio.wiring import utc_now

NAME, PASSWORD = "root", "correct horse battery"
QUICK = Life(until_sent=0.1, until_final=0.2)


class Site(NamedTuple):
    """What runs."""

    on: Stage
    accounts: Accounts

    @property
    def address(self) -> str:
        """Where the console is."""
        return f"{self.on.address}/console"

    def sign_in(self, page: Page) -> None:
        """Sign in as people do."""
        page.goto(self.address)
        page.get_by_label("Name").fill(NAME)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("heading", name="What is happening").wait_for()

    def post(self, to: str, text: str = "Hello", *, task: str = "TSK_101") -> str:
        """Have CI360 post an event; gives its guid."""
        guid = str(uuid.uuid4())
        self.on.post(
            outbound_body(
                guid=guid,
                tenant_id=TENANT,
                creative=f"TO:{to};\nFROM:{SENDER};\n{text}",
                generated_at=utc_now(),
                task_code=task,
            )
        )
        return guid

    def entry(self, guid: str) -> Entry:
        """Read an event's entry."""
        [found] = self.on.store.get_many([key_of(TENANT, guid)])
        assert found is not None
        return found


@contextmanager
def site(folder: Path, life: Life = QUICK) -> Iterator[Site]:
    """Start everything, and end it."""
    accounts = Accounts(folder / "ledger.db.people")
    accounts.add(Person(name=NAME, role=Role.ADMINISTRATOR), PASSWORD)
    with stage(folder, life=life) as on:
        yield Site(on, accounts)


@contextmanager
def lived_in(folder: Path) -> Iterator[Site]:
    """Start everything, after a while in which something of everything has happened."""
    with site(folder, LIFE) as one:
        play = Play(one.on, random.Random(7))
        for _ in range(220):
            play.event()
        for text in ("Thank you!", "STOP", "please stop these messages"):
            one.on.write(f"+1201555{100 + len(text):04}", text)
        one.post("+12015550199", "Your order has shipped.", task="TSK_204")
        one.on.store.add_job(_job())
        one.on.store.insert_many(_earlier(random.Random(3)))
        one.accounts.add(
            Person(name="dana@example.com", role=Role.OPERATOR, tenants=(TENANT,)), PASSWORD
        )
        one.on.until(lambda: not one.on.store.summary(utc_now()).due, 30)
        yield one


def _earlier(chance: random.Random) -> list[Entry]:
    """Make what came in during the last hours, for charts to have a course."""
    now, made = utc_now(), list[Entry]()
    for minute in range(300):
        for _ in range(chance.randint(0, 6 + minute % 90 // 9)):
            status, reason = chance.choices(*_ENDS)[0]
            made.append(
                entry(
                    f"earlier-{len(made)}",
                    now - timedelta(minutes=minute, seconds=chance.random() * 60),
                    tenant_id=TENANT,
                    status=status,
                    reason=reason,
                    to=f"+1201555{chance.randint(1000, 9999)}",
                    task=chance.choice(("TSK_101", "TSK_204")),
                )
            )
    return made


_ENDS = (
    [
        (Status.DELIVERED, None),
        (Status.READ, None),
        (Status.SENT, None),
        (Status.UNDELIVERED, "twilio_30003"),
        (Status.SUPPRESSED, "opted_out"),
    ],
    (80, 8, 3, 6, 3),
)


def _job() -> Job:
    """Make a bulk job that is half through."""
    now = utc_now()
    return Job(
        id="3f9a1c0d5e7b2468",
        tenant_id=TENANT,
        occurrence_id="occ-1",
        state=State.RUNNING,
        created_at=now - timedelta(minutes=3),
        updated_at=now,
        running_at=now - timedelta(minutes=2),
        purge_at=now + timedelta(days=90),
        origin=Origin(task_code="TSK_410"),
        task_name="Autumn seminar",
        rows=48_200,
        bad=310,
        chunks=25,
        entered=25,
        settled=14,
        settled_rows=27_400,
        checked={"accepted": 47_890, "invalid_recipient": 290, "wrong_column_count": 20},
        outcomes={"delivered": 26_100, "undelivered": 980, "opted_out": 320},
        bad_rows=(BadRow(17, 18, "invalid_recipient", "The recipient is no possible number."),),
    )
