"""What Twilio refuses for a setting: only whom it concerns waits, and goes on by itself."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ci360_twilio.clients.tenants import CachedTenants, Folder
from ci360_twilio.clients.twilio import TwilioClient
from ci360_twilio.core.entry import Entry, Status
from ci360_twilio.core.pause import Scope
from ci360_twilio.flow.accept import Acceptance, Accepted
from ci360_twilio.flow.arrival import Arrival
from ci360_twilio.flow.pausing import Pausing
from ci360_twilio.flow.send import Sending
from ci360_twilio.logs import Log
from ci360_twilio.ports import Query
from ci360_twilio.stores.sqlite import SqliteStore
from ci360_twilio.twin.events import outbound_body

if TYPE_CHECKING:
    from tests.acceptance.conftest import Running
    from tests.conftest import SetClock, Twilio

OPEN, OTHER = "open-tenant", "other-tenant"
ACCOUNT, OTHER_ACCOUNT = f"AC{'7c' * 16}", f"AC{'9e' * 16}"
CONNECTIONS = 16
CAMPAIGN = 400
NEW_TOKEN = "7e6d5c4b3a2918070f1e2d3c4b5a6978"


@pytest.fixture
def served(run_connector: Callable[..., AbstractContextManager[Running]]) -> Iterator[Running]:
    """Run a connector with two tenants, each with an account of its own."""
    with run_connector(connections=str(CONNECTIONS)) as made:
        url = f"{made.twilio_url}/2010-04-01/Accounts/{OTHER_ACCOUNT}/Messages.json"
        made.tenant(OPEN)
        made.tenant(OTHER, twilio_api_url=url, twilio_account_sid=OTHER_ACCOUNT)
        made.exposed.add(NEW_TOKEN)
        yield made


def test_a_token_that_changes_within_a_campaign_costs_no_message(served: Running) -> None:
    """Sending stops with what is open, the tenant waits, and goes on once its file is right."""
    numbers = [served.number() for _ in range(CAMPAIGN)]
    events = [served.event(f"TO:{number};Half way") for number in numbers]
    served.faults.set_share({"slow:0.1": 1.0})
    assert set(served.post_many(events[: CAMPAIGN // 2])) == {202}
    served.until(lambda: len(served.twin.messages) > CONNECTIONS)
    served.twin.rotate(ACCOUNT, NEW_TOKEN)
    with served.store() as store:
        served.until(store.pauses)
    (pause,) = _pauses(served)
    named = (pause["scope"], pause["tenant"], pause["cause"], pause["reason"])
    assert named == ("tenant", OPEN, "config", "twilio_20003")
    checked = served.command("check")
    assert checked.returncode == 1
    assert f"pause of tenant {OPEN}" in checked.stdout

    assert set(served.post_many(events[CAMPAIGN // 2 :])) == {202}
    bystander = served.event(f"TO:{served.number()};Not concerned", tenant_id=OTHER)
    assert served.post(bystander)[0] == 202
    assert served.settled(bystander["guid"], OTHER).status is Status.SENT
    served.until(lambda: not served.entries(Status.SENDING))
    made = {message.to for message in served.twin.messages}
    waiting = [number for number in numbers if number not in made]
    assert waiting
    refused = sum(served.faults.attempts.get(number, 0) for number in waiting)
    assert 0 < refused <= 2 * CONNECTIONS

    served.tenant(OPEN, twilio_auth_token=NEW_TOKEN)
    served.until(lambda: served.entries(Status.SENT, limit=2 * CAMPAIGN)[CAMPAIGN:], 60)
    times = Counter(message.to for message in served.twin.messages)
    assert [times[number] for number in numbers] == [1] * CAMPAIGN
    assert not _pauses(served)
    assert set(served.post_many(events[:10])) == {200}


def _pauses(running: Running) -> list[dict[str, Any]]:
    """List the pauses, as the command does."""
    done = running.command("pause", "--json")
    assert done.returncode == 0, done.stderr
    listed: list[dict[str, Any]] = json.loads(done.stdout)
    return listed


class Works:
    """The verbs of a worker on a clock that is set, with the real client and a twin on a socket."""

    def __init__(self, folder: Path, twilio: Twilio, clock: SetClock) -> None:
        self.twilio, self.clock = twilio, clock
        self.store = SqliteStore(folder / "ledger.db", hash_key=b"k" * 32)
        (folder / f"{twilio.tenant_id}.json").write_text(json.dumps(twilio.document()))
        tenants = CachedTenants(
            Folder(folder), hosts=(twilio.host,), clock=lambda: clock().timestamp()
        )
        log = Log(io.StringIO(), level="debug")
        self.client = TwilioClient(connections=4)
        self.pausing = Pausing(self.store, tenants, clock, log)
        self.sending = Sending(self.store, self.client, tenants, self.pausing, clock, log)
        self.acceptance = Acceptance(self.store, tenants, clock, log)

    def take(self, *numbers: str, sender: str | None = None) -> None:
        """Accept an event for each number."""
        creative = f"FROM:{sender};" if sender else ""
        for number in numbers:
            body = outbound_body(
                guid=f"{number}/{sender}",
                tenant_id=self.twilio.tenant_id,
                creative=f"TO:{number};{creative}Hello",
                generated_at=self.clock(),
            )
            (answer,) = self.acceptance.accept_many([Arrival(body=body, trusted=True)])
            assert isinstance(answer, Accepted)

    def send(self) -> None:
        """Send what is due, until nothing is."""
        while claimed := self.sending.claim(8):
            begun = self.sending.begin(claimed)
            self.sending.record([(one.entry.key, self.sending.attempt(one)) for one in begun])
        self.pausing.ask(self.client)
        self.pausing.write()

    def entries(self, sender: str) -> list[Entry]:
        """List what goes out from a sender."""
        return self.store.find(Query(sender=sender, limit=1000))

    def close(self) -> None:
        """Let go."""
        self.client.close()
        self.store.close()


@pytest.fixture
def works(tmp_path: Path, twilio: Twilio, clock: SetClock) -> Iterator[Works]:
    """Give a worker's verbs."""
    made = Works(tmp_path, twilio, clock)
    yield made
    made.close()


OWN, FOREIGN = "+15005550006", "+12015550177"
FIRST_PROBE = timedelta(seconds=15)


def numbers(first: int, many: int) -> list[str]:
    """Give fictional numbers."""
    return [f"+1201555{number:04}" for number in range(first, first + many)]


def requests_to(twilio: Twilio, recipients: list[str]) -> int:
    """Count the requests to make messages for recipients."""
    return sum(twilio.faults.attempts.get(number, 0) for number in recipients)


def test_a_sender_that_is_not_owned_waits_alone(
    works: Works, twilio: Twilio, clock: SetClock
) -> None:
    """After three refusals in a row; the others go on, and one message tries from time to time."""
    twilio.twin.set_numbers(twilio.account, [OWN])
    quiet, loud = numbers(100, 20), numbers(200, 20)
    works.take(*quiet, sender=FOREIGN)
    works.take(*loud, sender=OWN)
    works.send()
    (pause,) = works.store.pauses()
    assert (pause.scope, pause.value, pause.reason) == (Scope.SENDER, FOREIGN, "twilio_21659")
    assert [twilio.made_for(number) for number in loud] == [1] * 20
    refused = requests_to(twilio, quiet)
    assert 3 <= refused <= 3 + 8

    clock.now += FIRST_PROBE
    works.send()
    assert requests_to(twilio, quiet) == refused + 1
    assert len(works.store.pauses()) == 1

    twilio.twin.set_numbers(twilio.account, [OWN, FOREIGN])
    works.send()
    assert requests_to(twilio, quiet) == refused + 1
    clock.now += 2 * FIRST_PROBE
    works.send()
    works.send()
    assert works.store.pauses() == []
    assert [twilio.made_for(number) for number in quiet] == [1] * 20
    assert {entry.status for entry in works.entries(FOREIGN)} == {Status.SENT}


def test_a_country_that_is_closed_waits_alone(
    works: Works, twilio: Twilio, clock: SetClock
) -> None:
    """One refusal tells; recipients elsewhere get their messages from the same sender."""
    twilio.twin.close_country(twilio.account, "44")
    british = [f"+447700900{number}" for number in range(100, 120)]
    american = numbers(300, 20)
    works.take(*british)
    works.take(*american)
    works.send()
    (pause,) = works.store.pauses()
    assert (pause.scope, pause.value, pause.reason) == (Scope.COUNTRY, "GB", "twilio_21408")
    assert [twilio.made_for(number) for number in american] == [1] * 20
    refused = requests_to(twilio, british)
    assert 1 <= refused <= 8

    twilio.twin.open_country(twilio.account, "44")
    works.send()
    assert requests_to(twilio, british) == refused
    clock.now += FIRST_PROBE
    works.send()
    works.send()
    assert works.store.pauses() == []
    assert [twilio.made_for(number) for number in british] == [1] * 20
    assert {entry.status for entry in works.entries(OWN)} == {Status.SENT}
