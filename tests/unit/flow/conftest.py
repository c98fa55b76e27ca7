"""A connector without edges, on a ledger in memory, between the twins of Twilio and CI360."""

from __future__ import annotations

import io
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from tests.unit.flow.listing import OURS as LISTED
from tests.unit.flow.listing import add, process
from twilio.request_validator import RequestValidator

from ci360_twilio.clients.tenants import CachedTenants
from ci360_twilio.core.advance import owing
from ci360_twilio.core.consent import EVERY_SENDER, Consent, Evidence, Subject
from ci360_twilio.core.entry import Entry, Key, Status, key_of
from ci360_twilio.core.event import Origin
from ci360_twilio.core.inbound import Heard, Inbound
from ci360_twilio.core.message import Message
from ci360_twilio.core.outcome import ExternalEvent
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.core.report import Answer, Outcome, Report
from ci360_twilio.core.tenant import Tenant, TenantId
from ci360_twilio.errors import AnswerLost, ConnectorError, LedgerUnavailable, TenantUnknown
from ci360_twilio.flow.addresses import INBOUND, inbound_address
from ci360_twilio.flow.catchup import CatchingUp
from ci360_twilio.flow.hear import Listening, Taken
from ci360_twilio.flow.report import Reporting
from ci360_twilio.flow.webhook import Doorkeeper, Webhook
from ci360_twilio.logs import Log
from ci360_twilio.ports import Conversation, Hearing, InboundQuery, Received
from ci360_twilio.stores.memory import MemoryStore
from ci360_twilio.twin.ci360 import Ci360Twin
from ci360_twilio.twin.ci360_server import InsideCi360
from ci360_twilio.twin.faults import FaultPlan
from ci360_twilio.twin.inside import InsideTwilio
from ci360_twilio.twin.phone import Letter
from ci360_twilio.twin.twilio import Message as TwinMessage
from ci360_twilio.twin.twilio import TwilioTwin, TwinAccount

if TYPE_CHECKING:
    from tests.conftest import SetClock

PUBLIC = "https://sms.example.com"
ACME, OTHER = TenantId("acme"), TenantId("other")
ACCOUNTS = {ACME: f"AC{'d4' * 16}", OTHER: f"AC{'e5' * 16}"}
TOKENS = {ACME: "the-token-of-acme", OTHER: "the-token-of-other"}
SECRETS: dict[str, str] = {ACME: "the-secret-of-acme", OTHER: "the-secret-of-other"}
CUSTOMER, OURS, OURS_TOO = "+12015550142", "+12015550199", "+12015550198"
SERVICE = f"MG{'c3' * 16}"


class Patience:
    """A clock that moves while an answer is waited for."""

    def __init__(self, clock: SetClock) -> None:
        self._clock = clock

    def wait(self, seconds: float) -> None:
        """Let that many seconds pass."""
        self._clock.advance(seconds=seconds)


class Papers:
    """Tenants' documents, as people write them; errors are raised."""

    def __init__(self) -> None:
        self.documents: dict[TenantId, dict[str, Any]] = {}
        self.errors: dict[TenantId, ConnectorError] = {}
        self.reads = 0
        self.meanwhile: Callable[[], object] = lambda: None
        """What happens while a document is read."""

    def write(self, tenant_id: TenantId, **changes: Any) -> None:
        """Change members of a document; ``None`` removes one."""
        members = self.documents.get(tenant_id, {}) | changes
        kept = {name: value for name, value in members.items() if value is not None}
        self.documents[tenant_id] = kept

    def read(self, tenant_id: TenantId) -> str:
        """Give a document."""
        self.reads += 1
        self.meanwhile()
        if tenant_id in self.errors:
            raise self.errors[tenant_id]
        if tenant_id not in self.documents:
            raise TenantUnknown("There is no such tenant.")
        return json.dumps(self.documents[tenant_id])


class Ledger(MemoryStore):
    """A ledger in memory that can be away for some verbs, and notes what it is asked to write."""

    def __init__(self) -> None:
        super().__init__()
        self.away: set[str] = set()
        self.commits: list[str] = []

    def _open(self, verb: str) -> None:
        if verb in self.away:
            raise LedgerUnavailable("The ledger is away.")
        self.commits.append(verb)

    def conversations(self, asked: Sequence[Conversation]) -> list[Entry | None]:
        """Find, unless away."""
        if "conversations" in self.away:
            raise LedgerUnavailable("The ledger is away.")
        return super().conversations(asked)

    def hear_many(self, hearings: Sequence[Hearing], *, now: datetime) -> list[Received]:
        """Write, unless away."""
        self._open("hear_many")
        return super().hear_many(hearings, now=now)

    def attest_many(
        self, changes: Sequence[tuple[Subject, Evidence]], *, now: datetime
    ) -> list[Consent | None]:
        """Write, unless away."""
        self._open("attest_many")
        return super().attest_many(changes, now=now)

    def add_chores(self, names: Iterable[str], *, due_at: datetime) -> None:
        """Write, unless away."""
        self._open("add_chores")
        super().add_chores(names, due_at=due_at)

    def answer_reports(self, answers: Sequence[tuple[Key, str, Answer]]) -> None:
        """Write, unless away."""
        self._open("answer_reports")
        super().answer_reports(answers)


class Even(random.Random):
    """Chance that shortens no wait."""

    def random(self) -> float:
        """Give nothing."""
        return 0.0


class WatchedTwilio(InsideTwilio):
    """Twilio in process, with a list of what it was asked for; a list may be lost after a page."""

    def __init__(self, twin: TwilioTwin, faults: FaultPlan, clock: Patience) -> None:
        super().__init__(twin, faults, clock=clock)
        self.fetched: list[tuple[str, float]] = []
        self.listed: list[tuple[TenantId, str, datetime]] = []
        self.pages = 0
        self.lost_after: int | None = None

    def fetch(self, tenant: Tenant, sid: str, *, timeout: float = 10.0) -> Receipt | None:
        """Show one message."""
        self.fetched.append((sid, timeout))
        return super().fetch(tenant, sid, timeout=timeout)

    def inbound(
        self, tenant: Tenant, number: str, *, since: datetime, timeout: float = 10.0
    ) -> Iterator[list[Heard]]:
        """List messages to a number of ours."""
        self.listed.append((tenant.id, number, since))
        for count, page in enumerate(super().inbound(tenant, number, since=since, timeout=timeout)):
            if count == self.lost_after:
                raise AnswerLost("Twilio's answer was lost.", reason="read_timeout")
            self.pages += 1
            yield page


class WatchedCi360(InsideCi360):
    """CI360 in process, with the files of its jobs; how it answers can be told."""

    def __init__(self, twin: Ci360Twin, faults: FaultPlan, clock: Patience) -> None:
        super().__init__(twin, faults, clock=clock)
        self._twin = twin
        self.ends: list[Exception | None] = []
        """How the next attempts to tell end; those without an error are the twin's."""
        self.asked: list[tuple[int, float]] = []
        """Of each attempt the number of events, and how long its answer is waited for."""
        self.started: list[tuple[TenantId, str, dict[str, Any]]] = []
        self.says: list[dict[str, Any]] = []
        """What is said of the next jobs that are asked for, instead of what there is to say."""
        self.files: dict[str, bytes | Exception] = {}
        """By address; others are the twin's."""

    def tell(self, tenant: Tenant, event: ExternalEvent, *, timeout: float = 10.0) -> None:
        """Post one event."""
        self._end(1, timeout)
        super().tell(tenant, event, timeout=timeout)

    def tell_many(
        self, tenant: Tenant, events: Sequence[ExternalEvent], *, timeout: float = 120.0
    ) -> None:
        """Upload a file of events."""
        self._end(len(events), timeout)
        super().tell_many(tenant, events, timeout=timeout)

    def start_job(self, tenant: Tenant, kind: str, **members: Any) -> str:
        """Start a job."""
        self.started.append((tenant.id, kind, members))
        return super().start_job(tenant, kind, **members)

    def ask_job(self, tenant: Tenant, job: str) -> dict[str, Any]:
        """Ask how a job is doing."""
        said = super().ask_job(tenant, job)
        return self.says.pop(0) if self.says else said

    def fetch_file(self, address: object, into: Any, *, timeout: float = 600.0) -> int:
        """Fetch a file."""
        del timeout
        content = self.files.get(str(address))
        if isinstance(content, Exception):
            raise content
        if content is None:
            token = re.search(r"/files/([0-9a-f]{32})", str(address))
            assert token is not None
            content = self._twin.fetch(token[1]).content or b""
        return int(into.write(content))

    def _end(self, events: int, timeout: float) -> None:
        self.asked.append((events, timeout))
        end = self.ends.pop(0) if self.ends else None
        if end is not None:
            raise end


class World:
    """All that the verbs need, and what customers and Twilio do."""

    public = PUBLIC
    acme, other = ACME, OTHER
    customer, ours, ours_too, service = CUSTOMER, OURS, OURS_TOO, SERVICE

    def __init__(self, clock: SetClock) -> None:
        self.clock = clock
        self.store, self.papers = Ledger(), Papers()
        for tenant_id in (ACME, OTHER):
            self.papers.write(
                tenant_id,
                twilio_api_url="https://api.twilio.com",
                twilio_account_sid=ACCOUNTS[tenant_id],
                twilio_auth_token=TOKENS[tenant_id],
                ci360_api_url="https://gateway.ci360.sas.com/marketingGateway/events",
                ci360_client_secret=SECRETS[tenant_id],
            )
        self.tenants = self.fresh_tenants()
        self.faults, self.ci360_faults = FaultPlan(), FaultPlan()
        self.twilio = TwilioTwin(accounts=map(_account, ACCOUNTS), clock=clock)
        patience = Patience(clock)
        self.client = WatchedTwilio(self.twilio, self.faults, patience)
        self.ci360 = Ci360Twin(tenants=SECRETS, clock=clock)
        self.gateway = WatchedCi360(self.ci360, self.ci360_faults, patience)
        self.stream = io.StringIO()
        self.log = Log(self.stream, level="debug")
        self.doorkeeper = Doorkeeper(self.tenants, public_url=PUBLIC)
        self.listening = Listening(self.store, self.doorkeeper, clock, self.log)
        self.reporting = self.fresh_reporting()

    def fresh_tenants(self, *ci360_hosts: str) -> CachedTenants:
        """Give the tenants as another process sees them, with an empty cache."""
        now = self.clock
        return CachedTenants(self.papers, ci360_hosts=ci360_hosts, clock=lambda: now().timestamp())

    def fresh_reporting(self) -> Reporting:
        """Give a reporting as another process has it."""
        return Reporting(
            self.store, self.store, self.gateway, self.tenants, self.clock, self.log, rng=Even()
        )

    def tenant(self, tenant_id: TenantId = ACME) -> Tenant:
        """Give a tenant as it is used now."""
        return self.tenants.get(tenant_id)

    # What there is

    def send(
        self,
        guid: str = "g1",
        *,
        tenant_id: TenantId = ACME,
        to: str = CUSTOMER,
        sender: str = OURS,
        datahub_id: str | None = "dh-1",
        owes: Outcome | None = None,
        **changes: Any,
    ) -> Key:
        """Write an entry whose message was sent just now, and perhaps the report of an outcome."""
        now, key = self.clock.now, key_of(tenant_id, guid)
        members: dict[str, Any] = {
            "status": Status.SENT,
            "created_at": now,
            "due_at": now,
            "started_at": now,
            "expires_at": now + timedelta(days=1),
            "purge_at": now + timedelta(days=90),
            "message": Message(to=to, sender=sender, body="Hello"),
            "origin": Origin(
                task_code="TSK_1",
                response_tracking_code="rtc-1",
                identities={"datahub_id": datahub_id} if datahub_id else {},
            ),
            "tells": (owes,) if owes else (),
        }
        entry = Entry(key=key, tenant_id=tenant_id, guid=guid, **members | changes)
        self.store.insert_many([owing(entry, now, owes) if owes else entry])
        return key

    def entry(self, key: Key) -> Entry:
        """Give an entry as it is."""
        [found] = self.store.get_many([key])
        assert found is not None
        return found

    @property
    def inbound(self) -> list[Inbound]:
        """All inbound messages, latest heard first."""
        return self.store.find_inbound(InboundQuery(limit=10_000))

    @property
    def letter(self) -> Inbound:
        """The only inbound message."""
        [found] = self.inbound
        return found

    def consent(
        self, person: str = CUSTOMER, tenant_id: TenantId = ACME, group: str = EVERY_SENDER
    ) -> Consent | None:
        """Give what is known of a recipient's wish."""
        return self.store.consents([Subject(tenant_id, person, group)])[0]

    def state(
        self, person: str = CUSTOMER, tenant_id: TenantId = ACME, group: str = EVERY_SENDER
    ) -> str | None:
        """Give it in a word; ``None`` where nothing is known."""
        consent = self.consent(person, tenant_id, group)
        return consent.state if consent else None

    def states(self, *people: str) -> list[str | None]:
        """Give several recipients' wishes in a word each."""
        return [self.state(person) for person in people]

    @property
    def heard(self) -> list[str]:
        """The texts of all inbound messages, first heard first."""
        return [one.heard.body for one in self.inbound[::-1]]

    def chores(self, kind: str) -> list[str]:
        """Take all chores of a kind, whenever they are due; gives their names."""
        names, now = [], self.clock.now + timedelta(days=400)
        while chore := self.store.take_chore(kind, now=now, until=now + timedelta(days=1)):
            names.append(chore.name)
        return sorted(names)

    def reports(self, key: Key) -> list[Report]:
        """Give what a document owes, or owed."""
        found: Entry | Inbound | None = self.store.get_many([key])[0]
        found = found or next((one for one in self.inbound if one.key == key), None)
        return [*found.reports] if found else []

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log."""
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def told(self, event: str, member: str = "decision") -> list[Any]:
        """Give a member of each line of an event."""
        return [line.get(member) for line in self.lines if line["event"] == event]

    # What customers do, and what Twilio posts of it

    def write(self, body: str = "", *, tenant_id: TenantId = ACME, **changes: Any) -> TwinMessage:
        """Have a customer write to a number of a tenant's; gives what Twilio makes of it."""
        letter = {"sender": CUSTOMER, "to": OURS, "body": body} | changes
        return self.twilio.write(ACCOUNTS[tenant_id], Letter(**letter))

    def posted(self) -> list[Webhook]:
        """Give the webhooks that Twilio posts now, as an edge would hand them in."""
        return [
            _webhook(one.url, one.form, one.signature)
            for one in self.twilio.advance(self.clock.now)
        ]

    def post(self, body: str = "", **changes: Any) -> Webhook:
        """Have a customer write; gives the webhook of it."""
        self.write(body, **changes)
        [webhook] = self.posted()
        return webhook

    def miss(self, *bodies: str, **changes: Any) -> None:
        """Have a customer write every minute, and lose the webhooks."""
        for body in bodies:
            self.write(body, **changes)
            self.posted()
            self.clock.advance(minutes=1)

    def hear(self, *webhooks: Webhook) -> list[str]:
        """Hand in webhooks as one batch; gives the answers in a word or two."""
        return [_word(answer) for answer in self.listening.hear_many(webhooks)]

    def listen(self, body: str = "", **changes: Any) -> str:
        """Have a customer write, and hand it in; gives the answer in a word or two."""
        return self.hear(self.post(body, **changes))[0]

    def sign(
        self,
        form: Mapping[str, str],
        *,
        tenant_id: TenantId = ACME,
        token: str | None = None,
        route: str = INBOUND,
        public_url: str = PUBLIC,
        query: str = "",
    ) -> Webhook:
        """Make a webhook that Twilio's own package signs."""
        url = f"{public_url}{route}{tenant_id}" + (f"?{query}" if query else "")
        validator = RequestValidator(TOKENS.get(tenant_id, "") if token is None else token)
        return _webhook(url, form, validator.compute_signature(url, dict(form)))

    def form(self, tenant_id: TenantId = ACME, **changes: str | None) -> dict[str, str]:
        """Give the form of an inbound message; ``None`` leaves a parameter out."""
        members: dict[str, str | None] = {
            "MessageSid": f"SM{'1a' * 16}",
            "AccountSid": ACCOUNTS[tenant_id],
            "From": CUSTOMER,
            "To": OURS,
            "Body": "Hello",
            "NumMedia": "0",
        }
        return {name: one for name, one in (members | changes).items() if one is not None}


def _account(tenant_id: TenantId) -> TwinAccount:
    return TwinAccount(
        sid=ACCOUNTS[tenant_id],
        auth_token=TOKENS[tenant_id],
        numbers=(OURS, OURS_TOO),
        inbound_url=inbound_address(PUBLIC, tenant_id),
    )


def _webhook(url: str, form: Mapping[str, str], signature: str) -> Webhook:
    parts = urlsplit(url)
    headers = {"content-type": "application/x-www-form-urlencoded; charset=UTF-8"}
    body = urlencode(form)
    assert dict(parse_qsl(body, keep_blank_values=True)) == dict(form)
    return Webhook(
        tenant_id=parts.path.rpartition("/")[2],
        query=parts.query,
        headers=headers | {"x-twilio-signature": signature},
        body=body.encode(),
        request_id="r-1",
    )


def _word(answer: Taken | ConnectorError) -> str:
    if isinstance(answer, ConnectorError):
        return f"{answer.http_status} {answer.code}"
    if answer.inbound is None:
        return "ignored"
    return "taken" if answer.created else "duplicate"


@pytest.fixture
def world(clock: SetClock) -> World:
    """Give two tenants, each with a Twilio account and a CI360 of its own, at a morning in March."""
    return World(clock)


@pytest.fixture
def catching_up(world: World) -> CatchingUp:
    """Give a process that knows one number of ours."""
    made = process(world)
    add(made, LISTED)
    return made
