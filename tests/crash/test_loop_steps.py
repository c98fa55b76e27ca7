"""Processes that are killed while customers are heard, CI360 is told, or a person is erased.

As in ``test_steps.py``: whatever was left is taken up by the next process, and Twilio repeats what was
not answered.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from ci360_twilio.core.entry import Status
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.flow.addresses import inbound_address
from ci360_twilio.flow.report import Reporting
from ci360_twilio.ports import InboundQuery
from ci360_twilio.twin.ci360 import Ci360Twin
from ci360_twilio.twin.ci360_server import Ci360Server
from ci360_twilio.twin.phone import Letter
from ci360_twilio.wiring import utc_now

if TYPE_CHECKING:
    from tests.crash.conftest import Process, Site

SECRET = "secret-for-crashes-9d8e"


@pytest.fixture
def ci360(site: Site) -> Iterator[Ci360Twin]:
    """Give the site a CI360."""
    with ExitStack() as running:
        twin = Ci360Twin(tenants={site.twilio.tenant_id: SECRET}, clock=utc_now)
        server = running.enter_context(Ci360Server(twin))
        site.settings["ci360_hosts"] = server.authority
        site.document(
            ci360_api_url=f"{server.url}/marketingGateway/events",
            ci360_client_secret=SECRET,
            ci360_events={"sent": "twilio_sms_sent"},
        )
        yield twin


@pytest.fixture
def writing(site: Site) -> Site:
    """Have texts of customers posted to the site, and nothing blocked by Twilio."""
    site.settings["public_url"] = f"http://127.0.0.1:{site.port}"
    address = inbound_address(site.settings["public_url"], TenantId(site.twilio.tenant_id))
    site.twilio.twin.set_inbound(site.twilio.account, inbound_url=address, blocks=False)
    return site


def write(site: Site, text: str) -> str:
    """Have the first recipient write to the sender of their messages; gives the text's SID."""
    letter = Letter(sender=site.recipient(0), to=site.twilio.sender, body=text)
    return site.twilio.twin.write(site.twilio.account, letter).sid


def heard(site: Site, sid: str) -> int:
    """Count how often a text came, over the first time."""
    found = site.parts.store.find_inbound(InboundQuery(sid=sid))
    return found[0].repeats if found else -1


@pytest.mark.parametrize(
    ("step", "then", "repeats"),
    [("hear.before", -1, 0), ("hear.within", -1, 0), ("hear.after", 0, 1)],
)
def test_a_stop_without_an_answer_is_heard_once_and_holds(
    writing: Site, step: str, then: int, repeats: int
) -> None:
    """Twilio posts it again, to the next server; whether it was written or not, it counts once."""
    site = writing
    server = site.serve("--no-worker", at=step)
    sid = write(site, "STOP")
    assert server.was_killed()
    assert heard(site, sid) == then
    server = site.serve("--no-worker")
    site.wait_for(lambda: heard(site, sid) == repeats, "the webhook to come again", 40.0)
    assert site.post_all(2)[0][1]["status"] == "suppressed"
    assert server.ask_to_end() == 0
    assert [one.status for one in (site.entry(0), site.entry(1))] == [
        Status.SUPPRESSED,
        Status.ACCEPTED,
    ]


@pytest.mark.parametrize("step", ["start.before", "start.within", "start.after"])
def test_a_stop_is_seen_by_whoever_takes_over(writing: Site, step: str) -> None:
    """A worker dies at the commit before bytes leave; then the customer opts out."""
    site = writing
    site.accept(1)
    worker = site.start("worker", connections=1, at=step)
    assert worker.was_killed(), worker.words
    server = site.serve("--no-worker")
    sid = write(site, "STOP")
    site.wait_for(lambda: heard(site, sid) == 0, "the webhook")
    assert server.ask_to_end() == 0
    site.send_rest()
    assert site.twilio.twin.messages == ()
    left = {"start.after": Status.UNKNOWN}.get(step, Status.SUPPRESSED)
    assert site.entry(0).status is left


def reported(site: Site) -> list[str]:
    """Give where each entry's report stands."""
    return sorted(report.state for entry in site.entries() for report in entry.reports)


def tell_rest(site: Site) -> None:
    """Do what reporters will, when what the dead one had taken is free again."""
    clock, parts = site.clock(minutes=6), site.parts
    reporting = Reporting(parts.store, parts.store, parts.ci360, parts.tenants, clock, parts.log)
    for _ in range(20):
        while reporting.report_all(100):
            pass
        if {*reported(site)} == {"told"}:
            return
        clock.move(minutes=6)
    raise AssertionError("there is still something to be told")


def killed_telling(site: Site, step: str, times: int) -> Process:
    """Have three messages sent, and a worker die at a step of telling CI360 so."""
    site.accept(3)
    worker = site.start("worker", connections=3, at=step, times=times)
    assert worker.was_killed(), worker.words
    return worker


@pytest.mark.parametrize(
    ("step", "times", "taken"),
    [
        ("take.within", 1, 0),
        ("take.after", 1, 0),
        ("tell.before", 1, 0),
        ("tell.within", 1, 0),
        ("heard.after", 1, 1),
        ("told.within", 1, 1),
        ("told.after", 1, 1),
    ],
)
def test_an_outcome_is_told_until_it_is_written_that_it_was(
    site: Site, ci360: Ci360Twin, step: str, times: int, taken: int
) -> None:
    """At least once, each time under the same key, and with the same words."""
    killed_telling(site, step, times)
    assert len(ci360.events) >= taken
    site.send_rest()
    site.find_rest()
    tell_rest(site)
    keys: dict[str, set[object]] = {}
    for event in ci360.events:
        said = (event.name, event.identity, tuple(sorted(event.attributes.items())))
        keys.setdefault(event.attributes["twilio_report_key"], set()).add(said)
    owed = {report.key for entry in site.entries() for report in entry.reports}
    assert set(keys) == owed
    assert {len(said) for said in keys.values()} == {1}
    assert {*reported(site)} == {"told"}
    site.check_books(3)


@pytest.mark.parametrize(
    ("step", "is_done"),
    [("erase.before", False), ("erase.within", False), ("erase.after", True)],
)
def test_an_erasure_is_whole_or_none_and_can_be_made_again(
    writing: Site, step: str, is_done: bool
) -> None:
    """In the end no file holds the number, and the same event sends nothing."""
    site = writing
    site.accept(3)
    site.send_rest()
    number = site.recipient(0)
    words = ("erase", "--tenant", site.twilio.tenant_id, "--yes", "--only")
    killed = site.command(*words, typed=number, at=step)
    assert killed.returncode < 0, killed.stdout + killed.stderr
    known = [one for one in site.entries() if one.message and one.message.to == number]
    assert bool(known) is not is_done
    done = site.command(*words, typed=number)
    assert done.returncode == (1 if is_done else 0), done.stdout + done.stderr
    for path in (site.ledger, site.ledger.with_name(f"{site.ledger.name}-wal")):
        assert not path.exists() or number[1:].encode() not in path.read_bytes()
    answers = site.go_on()
    assert [one["duplicate"] for one in answers] == [True] * 3
    assert len(site.twilio.twin.messages) == 3
