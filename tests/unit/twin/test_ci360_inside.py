"""CI360 in process: the connector's client sees the same as on a socket."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import pytest

from ci360_twilio.clients.ci360 import EXPORT, IMPORT, Ci360Client
from ci360_twilio.clients.signed import SignedAddresses
from ci360_twilio.core.ci360 import EVENTS_PATH
from ci360_twilio.core.outcome import ExternalEvent
from ci360_twilio.core.tenant import Tenant, TenantId, parse_tenant
from ci360_twilio.errors import Ci360Failed, Trouble
from ci360_twilio.twin.ci360 import Ci360Twin
from ci360_twilio.twin.ci360_server import Ci360Server, InsideCi360
from ci360_twilio.twin.faults import Fault, FaultPlan

if TYPE_CHECKING:
    from tests.conftest import SetClock

EVENT = ExternalEvent(
    name="twilio_sms_failed", identity=("datahub_id", "D1"), attributes={"a": 'Grüße, "x"'}
)


class Passing:
    """A clock that goes on while somebody waits."""

    def __init__(self, clock: SetClock) -> None:
        self._clock = clock

    def __call__(self) -> datetime:
        """Tell the time."""
        return self._clock()

    def wait(self, seconds: float) -> None:
        """Go on."""
        self._clock.advance(seconds=seconds)


def tenant_at(url: str) -> Tenant:
    """Make the tenant whose CI360 is at an address."""
    document = {
        "twilio_api_url": "https://api.twilio.com",
        "twilio_account_sid": f"AC{'a1' * 16}",
        "twilio_auth_token": "a-token",
        "ci360_api_url": f"{url}{EVENTS_PATH}",
        "ci360_client_secret": "secret",
    }
    hosts = (url.partition("://")[2],)
    return parse_tenant(json.dumps(document), TenantId("demo"), (), hosts)


class Stage:
    """A twin, its faults, and the client in the same process."""

    def __init__(self, clock: SetClock, *, latency: float = 0.0) -> None:
        passing = Passing(clock)
        self.twin = Ci360Twin(tenants={"demo": "secret"}, clock=passing)
        self.faults = FaultPlan()
        self.client = InsideCi360(self.twin, self.faults, clock=passing, latency=latency)
        self.tenant = tenant_at("https://extapigwservice-demo.ci360.sas.com")


@pytest.fixture
def stage(clock: SetClock) -> Stage:
    """A twin on a morning in March 2026."""
    return Stage(clock)


def test_events_arrive_one_by_one_and_as_files(stage: Stage) -> None:
    """Whole, and without a socket."""
    stage.client.tell(stage.tenant, EVENT)
    stage.client.tell_many(stage.tenant, [EVENT, EVENT])
    taken = stage.twin.events
    assert [one.by_file for one in taken] == [False, True, True]
    assert {(one.name, one.identity) for one in taken} == {(EVENT.name, EVENT.identity)}
    assert [one.attributes for one in taken] == [EVENT.attributes] * 3


def test_preferences_go_there_and_back(stage: Stage) -> None:
    """By the same jobs as anywhere."""
    tenant, client = stage.tenant, stage.client
    address = client.upload_preferences(tenant, b"sms_id,+12015550101,OPT-OUT,true\n")
    job = client.start_job(tenant, IMPORT, fileLocation=address)
    assert [client.ask_job(tenant, job)["status"] for _ in range(4)][-1] == "Imported"
    job = client.start_job(tenant, EXPORT)
    _, file = [client.ask_job(tenant, job) for _ in range(3)][-1]["downloadItemList"]
    with tempfile.TemporaryFile() as into:
        size = client.fetch_file(file["url"], into)
        into.seek(0)
        assert into.read() == b"sms_id,+12015550101,OPT-OUT,true\n"
    assert size == 33


def test_latency_holds_for_every_request(clock: SetClock) -> None:
    """A file takes two of them."""
    stage, begun = Stage(clock, latency=0.5), clock.now
    stage.client.tell(stage.tenant, EVENT)
    stage.client.tell_many(stage.tenant, [EVENT])
    assert clock.now == begun + timedelta(seconds=1.5)


@pytest.mark.parametrize(("fault", "waited"), [("slow:20", 10), ("hang", 10), ("slow:4", 4)])
def test_an_answer_is_waited_for_as_long_as_on_a_socket(
    stage: Stage, clock: SetClock, fault: str, waited: int
) -> None:
    """The clock goes on meanwhile; the event was taken either way."""
    begun = clock.now
    stage.faults.burst(fault)
    if waited < 10:
        stage.client.tell(stage.tenant, EVENT, timeout=10)
    else:
        with pytest.raises(Ci360Failed) as caught:
            stage.client.tell(stage.tenant, EVENT, timeout=10)
        assert (caught.value.trouble, caught.value.reason) == (Trouble.AWAY, "read_timeout")
    assert clock.now == begun + timedelta(seconds=waited)
    assert len(stage.twin.events) == 1


def test_an_address_takes_one_file_inside_too(stage: Stage) -> None:
    """A second one is told what it would be told on a socket."""
    address = stage.client.bulk_location(stage.tenant)
    signed = stage.client._signed
    signed.put(address, b"x", "text/csv", timeout=10)
    for move in (
        lambda: signed.put(address, b"x", "text/csv", timeout=10),
        lambda: signed.fetch(f"/files/{'0' * 32}", io.BytesIO(), timeout=10),
    ):
        with pytest.raises(Ci360Failed) as caught:
            move()
        assert (caught.value.trouble, caught.value.reason) == (Trouble.AWAY, "address_expired")


# As on a socket


class Seen(NamedTuple):
    """What the client makes of an exchange."""

    trouble: Trouble | None
    reason: str | None
    said: str | None
    taken: int


def seen_by(call: Callable[[], object], twin: Ci360Twin) -> Seen:
    """Make one call, and tell what came of it."""
    try:
        call()
    except Ci360Failed as exc:
        return Seen(exc.trouble, exc.reason, exc.said, len(twin.events))
    return Seen(None, None, None, len(twin.events))


FAULTS = [fault for fault in Fault if fault is not Fault.UNREACHABLE]


@pytest.mark.parametrize("fault", [*FAULTS, "slow:0.01", "hang:0.01"])
def test_every_fault_of_an_event_looks_as_on_a_socket(stage: Stage, fault: str) -> None:
    """The same trouble for the same reason, and the same events taken."""
    stage.faults.burst(fault)
    within = seen_by(lambda: stage.client.tell(stage.tenant, EVENT, timeout=0.5), stage.twin)
    twin, faults = (
        Ci360Twin(tenants={"demo": "secret"}, clock=lambda: stage.twin.now()),
        FaultPlan(),
    )
    faults.burst(fault)
    with Ci360Server(twin, faults) as served:
        client = Ci360Client(SignedAddresses())
        tenant = tenant_at(served.url)
        outside = seen_by(lambda: client.tell(tenant, EVENT, timeout=0.5), twin)
        client.close()
    assert within == outside


@pytest.mark.parametrize("fault", [*FAULTS, "slow:0.01", "hang:0.01"])
def test_every_fault_of_a_file_looks_as_on_a_socket(stage: Stage, fault: str) -> None:
    """Where it befalls the file, and not the question where to put it."""

    def put(client: Ci360Client, tenant: Tenant, faults: FaultPlan) -> None:
        address = client.bulk_location(tenant)
        faults.burst(fault)
        client._signed.put(address, b"a,datahub_id,1\n", "text/csv", timeout=0.5)

    within = seen_by(lambda: put(stage.client, stage.tenant, stage.faults), stage.twin)
    faults = FaultPlan()
    twin = Ci360Twin(
        tenants={"demo": "secret"}, clock=lambda: stage.twin.now(), base=lambda: served.url
    )
    with Ci360Server(twin, faults) as served:
        client = Ci360Client(SignedAddresses((served.authority,)))
        outside = seen_by(lambda: put(client, tenant_at(served.url), faults), twin)
        client.close()
    assert within == outside


def test_an_unreachable_twin_looks_like_one_that_was_stopped(stage: Stage) -> None:
    """On a socket that is how nothing is reached."""
    stage.faults.burst(Fault.UNREACHABLE)
    within = seen_by(lambda: stage.client.tell(stage.tenant, EVENT), stage.twin)
    with Ci360Server(stage.twin) as served:
        tenant = tenant_at(served.url)
    client = Ci360Client(SignedAddresses())
    assert seen_by(lambda: client.tell(tenant, EVENT), stage.twin) == within
    client.close()
