"""The gates of ``accept``: each alone, before every later one, and what each writes down."""

from __future__ import annotations

import base64
import gc
import gzip
import io
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from ci360_twilio.core.access import Credentials
from ci360_twilio.core.entry import Entry, Fact, Key, Kind, Lease, Status, key_of
from ci360_twilio.core.event import MAX_BYTES
from ci360_twilio.core.message import AttributeNames
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.core.tenant import Tenant, TenantId, parse_tenant
from ci360_twilio.errors import (
    ConnectorError,
    LedgerUnavailable,
    TenantBroken,
    TenantUnavailable,
    TenantUnknown,
)
from ci360_twilio.flow.accept import Acceptance, Accepted, Answer, Ignored
from ci360_twilio.flow.arrival import Arrival
from ci360_twilio.logs import Log
from ci360_twilio.ports import NO_LIMITS, Inserted, Query
from ci360_twilio.stores.memory import MemoryStore
from ci360_twilio.twin.events import outbound_event

if TYPE_CHECKING:
    from tests.conftest import SetClock

TENANT, OPEN, OTHER = TenantId("guarded"), TenantId("open"), TenantId("other")
KEY = Credentials(api_key="the-right-key")
NUMBER, TEXT = "+12015550142", "Anna, thank you for registering"
GUID = "5d0c5a0e-6f43-4a53-9b3c-8f2f4f6c1a77"


class Ledger(MemoryStore):
    """A ledger in memory that counts what it is asked to write, and can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.inserts: list[int] = []
        self.away = False

    def insert_many(
        self, entries: Sequence[Entry], *, recipient_limits: Mapping[TenantId, int] = NO_LIMITS
    ) -> list[Inserted]:
        """Write, or say that nothing can be written."""
        self.inserts.append(len(entries))
        if self.away:
            raise LedgerUnavailable("The ledger is away.")
        return super().insert_many(entries, recipient_limits=recipient_limits)


class Register:
    """Tenants by id; an error in place of a tenant is raised."""

    def __init__(self) -> None:
        self.tenants: dict[str, Tenant | ConnectorError] = {}
        self.asked: list[str] = []

    def put(self, tenant_id: TenantId, **changes: Any) -> None:
        """Write a tenant's document."""
        document = {
            "twilio_api_url": "https://api.twilio.com",
            "twilio_account_sid": "AC" + "d4" * 16,
            "twilio_auth_token": "token",
            "default_sender": "+12015550199",
            **changes,
        }
        self.tenants[tenant_id] = parse_tenant(json.dumps(document), tenant_id)

    def get(self, tenant_id: TenantId) -> Tenant:
        """Give a tenant, as the port says."""
        self.asked.append(tenant_id)
        found = self.tenants.get(tenant_id)
        if isinstance(found, Tenant):
            return found
        if found is None:
            raise TenantUnknown("There is no such tenant.")
        raise type(found)(found.message)

    def reread(self, tenant_id: TenantId) -> Tenant:
        """Give a tenant."""
        return self.get(tenant_id)


class Door:
    """An acceptance with its ledger, tenants, log and clock, and an event that passes all gates."""

    def __init__(self, clock: SetClock, **options: Any) -> None:
        self.clock = clock
        self.ledger = Ledger()
        self.tenants = Register()
        self.tenants.put(TENANT, api_keys=["the-right-key"])
        self.tenants.put(OTHER, api_keys=["the-others-key"])
        self.tenants.put(OPEN)
        self.stream = io.StringIO()
        log = Log(self.stream, level="debug")
        self.acceptance = Acceptance(self.ledger, self.tenants, clock, log, **options)

    def event(self, **members: Any) -> dict[str, Any]:
        """Make an event; members of ``outbound_event`` by name."""
        usual: dict[str, Any] = {
            "guid": GUID,
            "tenant_id": TENANT,
            "creative": f"TO:{NUMBER};\n{TEXT}",
            "generated_at": self.clock.now - timedelta(seconds=2),
        }
        return outbound_event(**(usual | members))

    def accept(self, *arrivals: Arrival) -> list[Answer]:
        """Take arrivals in one batch."""
        return self.acceptance.accept_many(arrivals)

    def post(self, event: object, credentials: Credentials = KEY, **more: Any) -> Answer:
        """Take one event, or raw bytes."""
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        return self.accept(Arrival(body=body, credentials=credentials, **more))[0]

    def stored(self, guid: str = GUID, tenant_id: TenantId = TENANT) -> Entry | None:
        """Give what the ledger holds of an event."""
        return self.ledger.get_many([key_of(tenant_id, guid)])[0]

    @property
    def entries(self) -> list[Entry]:
        """Everything the ledger holds."""
        return self.ledger.find(Query())

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log."""
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


@pytest.fixture
def door(clock: SetClock) -> Door:
    """A door with a tenant that has a key, and one that has none."""
    return Door(clock)


def told(answer: Answer) -> str:
    """Give an answer in a word or two."""
    if isinstance(answer, ConnectorError):
        return f"{answer.http_status} {answer.code}"
    if isinstance(answer, Ignored):
        return f"ignored {answer.reason}"
    said = f"{answer.entry.status} {answer.entry.reason}"
    return f"duplicate {said}" if answer.duplicate else said


# The gates in their order. Each makes a request fail at it: the event, the rest, or the world.


class Case:
    """A request and the world it comes to; gates change it."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.event = door.event()
        self.suffix = b""
        self.credentials = KEY

    def post(self) -> str:
        """Take the request through the gates."""
        body = json.dumps(self.event).encode() + self.suffix
        return told(self.door.post(body, self.credentials))


def _too_large(case: Case) -> None:
    case.suffix += b" " * MAX_BYTES


def _not_json(case: Case) -> None:
    case.suffix += b"}"


def _bad_tenant(case: Case) -> None:
    case.event["externalTenantId"] = "../guarded"


def _no_credential(case: Case) -> None:
    case.credentials = Credentials()


def _wrong_credential(case: Case) -> None:
    case.credentials = Credentials(api_key="the-others-key")


def _tenant_away(case: Case) -> None:
    case.door.tenants.tenants[TENANT] = TenantUnavailable("The store is down.")


def _other_type(case: Case) -> None:
    case.event["eventType"] = "customEvent"


def _no_guid(case: Case) -> None:
    case.event["guid"] = None


def _known(case: Case) -> None:
    case.door.post(case.door.event())


def _wrong_field(case: Case) -> None:
    case.event["date"] = "yesterday"


def _control_group(case: Case) -> None:
    case.event["impression"]["isControlGroup"] = True


def _stale(case: Case) -> None:
    case.event["date"]["generatedTimestamp"] = 0


def _unsendable(case: Case) -> None:
    case.event["impression"]["creativeContent"] = "nobody is named here"


def _ledger_away(case: Case) -> None:
    case.door.ledger.away = True


GATES: dict[Callable[[Case], None], str] = {
    _too_large: "413 too_large",
    _not_json: "400 not_json",
    _bad_tenant: "400 bad_tenant_id",
    _no_credential: "401 no_credential",
    _tenant_away: "503 tenant_unavailable",
    _wrong_credential: "403 forbidden",
    _other_type: "ignored event_type",
    _no_guid: "422 unprocessable",
    _known: "duplicate accepted None",
    _wrong_field: "refused invalid_event",
    _control_group: "suppressed control_group",
    _stale: "expired expired",
    _unsendable: "refused no_recipient",
}
"""In the contract's order, but that a credential cannot be compared while the document is away."""

# one undoes the other
EXCLUDED = {(_no_credential, _wrong_credential), (_no_guid, _known), (_wrong_field, _stale)}
PAIRS = [pair for pair in itertools.combinations(GATES, 2) if pair not in EXCLUDED]


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.__name__)
def test_each_gate_speaks(door: Door, gate: Callable[[Case], None]) -> None:
    """With the answer of its row."""
    case = Case(door)
    gate(case)
    assert case.post() == GATES[gate]


@pytest.mark.parametrize(
    ("first", "second"), PAIRS, ids=[f"{a.__name__}{b.__name__}" for a, b in PAIRS]
)
def test_the_first_gate_that_speaks_decides(
    door: Door, first: Callable[[Case], None], second: Callable[[Case], None]
) -> None:
    """Whatever else is wrong with the request."""
    case = Case(door)
    if _known in (first, second):
        _known(case)  # before the world changes
    for gate in (first, second):
        if gate is not _known:
            gate(case)
    assert case.post() == GATES[first]


def test_what_passes_all_gates_is_accepted(door: Door) -> None:
    """And written as it will be sent."""
    answer = door.post(door.event())
    assert told(answer) == "accepted None"
    assert isinstance(answer, Accepted)
    assert not answer.duplicate
    assert answer.entry == door.stored()
    assert answer.entry.message
    assert (answer.entry.message.to, answer.entry.message.body) == (NUMBER, TEXT)


NEVER_WRITTEN = [
    _too_large, _not_json, _bad_tenant, _no_credential, _wrong_credential, _tenant_away, _other_type,
    _no_guid, _ledger_away,
]  # fmt: skip


@pytest.mark.parametrize("gate", NEVER_WRITTEN, ids=lambda gate: gate.__name__)
def test_what_is_turned_away_leaves_no_entry(door: Door, gate: Callable[[Case], None]) -> None:
    """400, 401, 403, 413, 503 and ignored ones neither make an entry nor touch one."""
    case = Case(door)
    gate(case)
    case.post()
    assert door.entries == []
    assert door.ledger.inserts == ([1] if gate is _ledger_away else [])


TURNED_AWAY = [_too_large, _not_json, _bad_tenant, _no_credential, _wrong_credential, _tenant_away]


@pytest.mark.parametrize("gate", TURNED_AWAY, ids=lambda gate: gate.__name__)
def test_what_is_turned_away_does_not_touch_the_entry_of_its_key(
    door: Door, gate: Callable[[Case], None]
) -> None:
    """Nobody without a credential can add to another's history."""
    door.post(door.event())
    before = door.stored()
    case = Case(door)
    gate(case)
    case.post()
    assert door.stored() == before


WRITTEN = [_wrong_field, _control_group, _stale, _unsendable]


@pytest.mark.parametrize("gate", WRITTEN, ids=lambda gate: gate.__name__)
def test_what_is_not_sent_after_the_credential_is_written_with_its_reason(
    door: Door, gate: Callable[[Case], None]
) -> None:
    """So that the question why a customer got nothing always has an answer."""
    case = Case(door)
    gate(case)
    case.post()
    entry = door.stored()
    assert entry is not None
    assert f"{entry.status} {entry.reason}" == GATES[gate]
    assert entry.message is None
    assert entry.finished
    (step,) = entry.history
    assert (step.step, step.decision, step.reason) == ("accept", entry.status, entry.reason)


@pytest.mark.parametrize(
    "gate", [*WRITTEN, lambda _: None], ids=["field", "control", "stale", "creative", "good"]
)
def test_where_the_ledger_is_away_all_that_would_be_written_is_503(
    door: Door, gate: Callable[[Case], None]
) -> None:
    """Nothing is answered that was not written."""
    case = Case(door)
    gate(case)
    _ledger_away(case)
    assert case.post() == "503 ledger_unavailable"


# The rows one by one


def test_a_body_of_just_one_mebibyte_is_taken(door: Door) -> None:
    """The limit is meant to the byte."""
    body = json.dumps(door.event()).encode()
    assert told(door.post(body + b" " * (MAX_BYTES - len(body)))) == "accepted None"
    assert told(door.post(body + b" " * (MAX_BYTES - len(body) + 1))) == "413 too_large"


@pytest.mark.parametrize("body", [b"", b"{}", b" {\r\n\t} ", b"\n", b"{ }"])
def test_an_empty_body_is_the_endpoints_test_without_credentials(door: Door, body: bytes) -> None:
    """It is reachable; more is not said, and no tenant is looked up."""
    assert told(door.post(body, Credentials())) == "ignored test"
    assert door.tenants.asked == []


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b"[]",
        b'"text"',
        b"7",
        b"{",
        b"{} {}",
        b'{"guid":NaN}',
        b'{"guid":Infinity}',
        b'{"x":-Infinity}',
        b"{'guid':1}",
        b'{"guid":1,}',
        b'{"a":"\\ud800"}',
        b'{"externalTenantId":"guarded","guid":"\\ud800","date":{"generatedTimestamp":1e999}}',
        b'{"a":"\\q"}',
        b'{"a":"line\nbreak"}',
        b'{"a":"\xff"}',
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        b'{"a":' * 200_000,
        b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        gzip.compress(b'{"a":1}', mtime=0),
        b"To=%2B12015550142&Body=x",
        b"\x00",
    ],
)
def test_what_is_not_one_json_object_is_400(door: Door, body: bytes) -> None:
    """Depth bombs, NaN, gzip, other encodings and lone surrogates among them."""
    assert told(door.post(body)) == "400 not_json"


@pytest.mark.parametrize(
    "tenant_id",
    [
        None,
        "",
        7,
        True,
        ["guarded"],
        "../guarded",
        "guarded\n",
        "guarded\0",
        "a" * 65,
        "gu\u0430rded",
    ],
)
def test_a_malformed_tenant_id_is_never_looked_up(door: Door, tenant_id: object) -> None:
    """It touches no path, no secret's name and no query."""
    assert told(door.post(door.event() | {"externalTenantId": tenant_id})) == "400 bad_tenant_id"
    assert door.tenants.asked == []


def test_an_unknown_tenant_and_a_wrong_credential_get_the_same_answer(door: Door) -> None:
    """Nobody learns which tenants there are, by words or by issues."""
    wrong = Credentials(api_key="wrong")
    answers = [
        door.post(door.event(tenant_id=tenant_id), wrong) for tenant_id in (TENANT, "nobody", OPEN)
    ]
    shown = {
        (answer.http_status, answer.code, answer.message, answer.issues)
        for answer in answers
        if isinstance(answer, ConnectorError)
    }
    assert shown == {(403, "forbidden", "The credential does not fit this tenant.", ())}


@pytest.mark.parametrize(
    ("tenant_id", "credentials", "waived", "answer"),
    [
        (TENANT, Credentials(), False, "401 no_credential"),
        (TENANT, Credentials(), True, "401 no_credential"),
        (TENANT, Credentials(api_key="x"), True, "403 forbidden"),
        (TENANT, KEY, True, "accepted None"),
        (OPEN, Credentials(), False, "401 no_credential"),
        (OPEN, Credentials(api_key="x"), False, "403 forbidden"),
        (OPEN, Credentials(), True, "accepted None"),
        (OPEN, Credentials(api_key="x"), True, "accepted None"),
        ("nobody", Credentials(), False, "401 no_credential"),
        ("nobody", Credentials(), True, "403 forbidden"),
        ("nobody", Credentials(api_key="x"), True, "403 forbidden"),
    ],
)
def test_a_waiver_is_for_tenants_without_credentials(
    door: Door, tenant_id: TenantId, credentials: Credentials, waived: bool, answer: str
) -> None:
    """Who has credentials must see them, also on loopback."""
    event = door.event(tenant_id=tenant_id)
    assert told(door.post(event, credentials, waived=waived)) == answer


def test_the_command_line_is_trusted(door: Door) -> None:
    """Whoever reads the documents may send for them; an unknown tenant stays unknown."""
    assert told(door.post(door.event(), Credentials(), trusted=True)) == "accepted None"
    event = door.event(tenant_id="nobody")
    assert told(door.post(event, Credentials(), trusted=True)) == "403 forbidden"


def test_without_a_credential_a_store_that_is_down_is_not_told(door: Door) -> None:
    """Strangers hear nothing of our outages."""
    door.tenants.tenants[TENANT] = TenantUnavailable("The store is down.")
    assert told(door.post(door.event(), Credentials())) == "401 no_credential"


@pytest.mark.parametrize(
    "error",
    [
        TenantUnavailable("Down."),
        TenantBroken("Broken."),
    ],
    ids=lambda error: str(error.code),
)
def test_whatever_keeps_a_document_from_being_read_is_a_503(
    door: Door, error: ConnectorError
) -> None:
    """Nothing a caller sends yields a 500."""
    door.tenants.tenants[TENANT] = error
    answer = door.post(door.event())
    assert isinstance(answer, ConnectorError)
    assert answer.http_status == 503


@pytest.mark.parametrize("kind", ["customEvent", "outboundsystem", " outboundSystem", "x" * 999])
def test_another_event_type_is_ignored_before_anything_else_is_looked_at(
    door: Door, kind: str
) -> None:
    """A plain event that an endpoint is associated with; its guid may even be missing."""
    answer = door.post({"externalTenantId": TENANT, "eventType": kind, "date": "?", "guid": 7})
    assert told(answer) == "ignored event_type"
    assert isinstance(answer, Ignored)
    assert answer.guid is None


@pytest.mark.parametrize("guid", [None, "", 7, True, ["x"], {"a": 1}, "g" * 257])
def test_without_a_usable_guid_there_is_no_key(door: Door, guid: object) -> None:
    """422, and nothing is recorded."""
    answer = door.post(door.event() | {"guid": guid})
    assert told(answer) == "422 unprocessable"
    assert isinstance(answer, ConnectorError)
    assert [issue.field for issue in answer.issues] == ["guid"]


@pytest.mark.parametrize("guid", ["g", "g" * 256, "../x", "a/b", "\u00fc\U0001f44d", " ", "\x00"])
def test_any_other_string_is_a_guid(door: Door, guid: str) -> None:
    """1 to 256 characters; what they are is CI360's affair."""
    assert told(door.post(door.event(guid=guid))) == "accepted None"
    assert told(door.post(door.event(guid=guid))) == "duplicate accepted None"


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("eventType", None, "eventType"),
        ("eventType", "", "eventType"),
        ("eventName", 7, "eventName"),
        ("date", "soon", "date"),
        ("date.generatedTimestamp", "soon", "date.generatedTimestamp"),
        ("date.generatedTimestamp", "", None),
        ("date.generatedTimestamp", None, None),
        ("date.generatedTimestamp", True, "date.generatedTimestamp"),
        ("date.generatedTimestamp", [1], "date.generatedTimestamp"),
        ("date.generatedTimestamp", "-5", "date.generatedTimestamp"),
        ("date.generatedTimestamp", 10**18, "date.generatedTimestamp"),
        pytest.param("date.generatedTimestamp", 10**400, "date.generatedTimestamp", id="huge"),
        pytest.param("date.generatedTimestamp", "9" * 400, "date.generatedTimestamp", id="quoted"),
        ("impression", [], "impression"),
        ("impression", None, "no_recipient"),
        ("impression.creativeContent", {"a": 1}, "impression.creativeContent"),
        ("impression.isControlGroup", "false", "impression.isControlGroup"),
        ("impression.isControlGroup", 0, "impression.isControlGroup"),
        ("impression.isControlGroup", None, None),
        ("impression.isControlGroup", "", None),
        ("impression.taskId", 7, "impression.taskId"),
        ("outboundProperties", None, None),
        ("outboundProperties.properties", "x", "outboundProperties.properties"),
        ("contactResponse", 7, "contactResponse"),
        ("contactResponse", None, None),
        ("properties", "x", "properties"),
        ("properties", {"externalCode": 7, "subject_id": 4711}, None),
        ("identityId", 7, "identityId"),
        ("somethingNew", {"deeply": ["nested", None]}, None),
    ],
)
def test_a_field_of_the_wrong_type_is_named(
    door: Door, path: str, value: object, field: str | None
) -> None:
    """``null``, ``""`` and missing are the same, and unknown fields are ignored."""
    event = door.event()
    inner = event
    *outer, last = path.split(".")
    for name in outer:
        inner = inner[name]
    inner[last] = value
    answer = door.post(event)
    if field is None:
        assert told(answer) == "accepted None"
    elif field == "no_recipient":
        assert told(answer) == "refused no_recipient"
    else:
        assert told(answer) == "refused invalid_event"
        assert isinstance(answer, Accepted)
        assert [where for where, _ in answer.entry.problems] == [field]


def test_a_timestamp_may_be_quoted(door: Door) -> None:
    """Digits in a string are a number."""
    event = door.event()
    event["date"]["generatedTimestamp"] = str(event["date"]["generatedTimestamp"])
    assert told(door.post(event)) == "accepted None"


# Time


@pytest.mark.parametrize(
    ("ahead", "answer"), [(300.0, "accepted None"), (300.001, "refused invalid_event")]
)
def test_an_event_may_come_five_minutes_from_the_future(
    door: Door, ahead: float, answer: str
) -> None:
    """CI360's clock may run ahead; not further."""
    generated_at = door.clock.now + timedelta(seconds=ahead)
    assert told(door.post(door.event(generated_at=generated_at))) == answer


def test_an_event_from_the_future_lives_no_longer_than_others(door: Door) -> None:
    """Its age is clamped at nothing."""
    door.post(door.event(generated_at=door.clock.now + timedelta(minutes=4)))
    entry = door.stored()
    assert entry is not None
    assert entry.expires_at == door.clock.now + timedelta(days=1)


@pytest.mark.parametrize(("age", "status"), [(3600.0, "accepted"), (3600.001, "expired")])
def test_an_event_lives_for_the_time_that_is_set(clock: SetClock, age: float, status: str) -> None:
    """``event_ttl`` counts from when CI360 made it."""
    door = Door(clock, event_ttl=3600)
    answer = door.post(door.event(generated_at=clock.now - timedelta(seconds=age)))
    assert told(answer).startswith(status)


def test_an_entry_expires_when_its_event_does(clock: SetClock) -> None:
    """Not later for having waited before it came."""
    door = Door(clock, event_ttl=3600)
    door.post(door.event(generated_at=clock.now - timedelta(seconds=600)))
    entry = door.stored()
    assert entry is not None
    assert entry.created_at == entry.due_at == clock.now
    assert entry.expires_at == clock.now + timedelta(seconds=3000)
    assert entry.generated_at == clock.now - timedelta(seconds=600)


def test_without_a_timestamp_the_time_counts_from_arrival(clock: SetClock) -> None:
    """The moment it was made stays unknown."""
    door = Door(clock, event_ttl=3600)
    door.post(door.event() | {"date": None})
    entry = door.stored()
    assert entry is not None
    assert (entry.generated_at, entry.expires_at) == (None, clock.now + timedelta(hours=1))


@pytest.mark.parametrize(
    ("days", "ttl", "kept"), [(None, 86_400, 90), (30, 86_400, 30), (1, 10 * 86_400, 10)]
)
def test_an_entry_is_kept_for_the_tenants_time_but_never_shorter_than_events_live(
    clock: SetClock, days: float | None, ttl: float, kept: int
) -> None:
    """Else an event that comes again could be taken for a new one."""
    door = Door(clock, event_ttl=ttl)
    door.tenants.put(TENANT, api_keys=["the-right-key"], retention_days=days)
    door.post(door.event())
    entry = door.stored()
    assert entry is not None
    assert entry.purge_at == clock.now + timedelta(days=kept)


# Duplicates


def in_status(door: Door, *kinds: Kind) -> None:
    """Bring the entry of the usual event further by facts."""
    door.post(door.event())
    lease = None
    for kind in kinds:
        if kind is Kind.STARTED:
            lease = Lease(token="t", until=door.clock.now + timedelta(minutes=1))
            claimed = door.ledger.claim(now=door.clock.now, lease=lease, limit=1)
            assert claimed.entries
        receipt = None
        if kind in (Kind.MADE, Kind.DELIVERED):
            receipt = Receipt(sid="SM1", status="queued" if kind is Kind.MADE else "delivered")
        fact = Fact(kind=kind, at=door.clock.now, lease=lease, receipt=receipt, reason=None)
        assert door.ledger.record_many([(key_of(TENANT, GUID), fact)]) != [None]


@pytest.mark.parametrize(
    ("kinds", "status"),
    [
        ((), Status.ACCEPTED),
        ((Kind.STARTED,), Status.SENDING),
        ((Kind.STARTED, Kind.LOST), Status.UNKNOWN),
        ((Kind.HELD,), Status.HELD),
        ((Kind.STARTED, Kind.MADE), Status.SENT),
        ((Kind.STARTED, Kind.MADE, Kind.DELIVERED), Status.DELIVERED),
        ((Kind.STARTED, Kind.REFUSED), Status.REFUSED),
    ],
)
def test_a_duplicate_answers_with_the_entry_as_it_stands(
    door: Door, kinds: tuple[Kind, ...], status: Status
) -> None:
    """Its repeats are counted, and nothing else of it changes."""
    in_status(door, *kinds)
    before = door.stored()
    answer = door.post(door.event(creative="TO:+12015550177;\nsomething else"))
    assert isinstance(answer, Accepted)
    assert answer.duplicate
    assert (answer.entry.status, answer.entry.repeats) == (status, 1)
    assert before is not None
    assert answer.entry.message == before.message
    assert answer.entry.history[-1].decision == "duplicate"


def test_a_duplicate_of_an_accepted_event_whose_time_is_over_reads_as_expired(door: Door) -> None:
    """Nobody has swept it yet; the answer is the truth all the same."""
    door.post(door.event())
    door.clock.advance(days=1, seconds=1)
    assert told(door.post(door.event())) == "duplicate expired expired"


def test_an_event_whose_entry_was_deleted_is_still_a_duplicate(door: Door) -> None:
    """A tombstone knows it: nothing is sent again, and nothing is kept of the repeat."""
    door.post(door.event(creative="nobody is named"))
    door.clock.advance(days=91)
    assert door.ledger.purge(now=door.clock.now, limit=10) == 1
    answer = door.post(door.event(generated_at=door.clock.now))
    assert told(answer) == "duplicate expired purged"
    assert door.entries == []


def test_an_event_from_before_a_restore_is_held(door: Door) -> None:
    """202: the part of the ledger that was lost may have sent it. A newer one is accepted."""
    door.ledger.mark_restored(door.clock.now - timedelta(minutes=1))
    before = door.clock.now - timedelta(minutes=2)
    assert told(door.post(door.event(generated_at=before))) == "held older_than_restore"
    assert told(door.post(door.event(guid="newer"))) == "accepted None"


def test_duplicates_within_one_batch_are_one_entry(door: Door) -> None:
    """The first makes it, the others hear of it."""
    arrival = Arrival(body=json.dumps(door.event()).encode(), credentials=KEY)
    answers = door.accept(arrival, arrival, arrival)
    assert [told(answer) for answer in answers] == [
        "accepted None",
        "duplicate accepted None",
        "duplicate accepted None",
    ]
    entry = door.stored()
    assert entry is not None
    assert entry.repeats == 2
    assert len(door.entries) == 1


def test_a_duplicate_within_a_batch_belongs_to_its_tenant(door: Door) -> None:
    """The same guid of two tenants is two events."""
    body, other = door.event(), door.event(tenant_id=OTHER)
    answers = door.accept(
        Arrival(body=json.dumps(body).encode(), credentials=KEY),
        Arrival(body=json.dumps(other).encode(), credentials=Credentials(api_key="the-others-key")),
    )
    assert [told(answer) for answer in answers] == ["accepted None", "accepted None"]
    assert {entry.key for entry in door.entries} == {f"{TENANT}/{GUID}", f"{OTHER}/{GUID}"}


def test_one_turned_away_does_not_make_the_next_a_duplicate(door: Door) -> None:
    """A stranger cannot keep an event from being sent by sending its guid first."""
    body = json.dumps(door.event()).encode()
    answers = door.accept(
        Arrival(body=body, credentials=Credentials(api_key="wrong")),
        Arrival(body=body, credentials=KEY),
    )
    assert [told(answer) for answer in answers] == ["403 forbidden", "accepted None"]


# Batches


def test_a_batch_is_one_commit_and_keeps_its_order(door: Door) -> None:
    """Good and bad ones mixed; each gets its own answer."""
    bodies = [
        b"",
        json.dumps(door.event(guid="one")).encode(),
        b"[]",
        json.dumps(door.event(guid="two", creative="x")).encode(),
        json.dumps(door.event(guid="three")).encode(),
    ]
    answers = door.accept(*(Arrival(body=body, credentials=KEY) for body in bodies))
    assert [told(answer) for answer in answers] == [
        "ignored test",
        "accepted None",
        "400 not_json",
        "refused no_recipient",
        "accepted None",
    ]
    assert door.ledger.inserts == [3]


def test_a_ledger_that_is_away_concerns_the_written_ones_only(door: Door) -> None:
    """The others hear what they would have heard."""
    door.ledger.away = True
    bodies = [b"", json.dumps(door.event()).encode(), b"[]"]
    answers = door.accept(*(Arrival(body=body, credentials=KEY) for body in bodies))
    assert [told(answer) for answer in answers] == [
        "ignored test",
        "503 ledger_unavailable",
        "400 not_json",
    ]


def test_a_batch_without_anything_to_write_costs_no_commit(door: Door) -> None:
    """Strangers cannot make the disk work."""
    door.accept(Arrival(body=b""), Arrival(body=b"[]"))
    assert door.accept() == []
    assert door.ledger.inserts == []


# Senders and attributes, as the settings say


def test_the_connectors_default_sender_and_attribute_names_are_used(clock: SetClock) -> None:
    """Where neither creative nor tenant says otherwise."""
    names = AttributeNames("Mobile", "Brand", "Pictures")
    door = Door(clock, default_sender="+12015550188", names=names)
    door.tenants.put(TENANT, api_keys=["the-right-key"], default_sender=None)
    door.post(door.event(creative="Hi", attributes={"MOBILE": NUMBER, "to": "+12015550177"}))
    entry = door.stored()
    assert entry is not None
    assert entry.message
    assert (entry.message.to, entry.message.sender) == (NUMBER, "+12015550188")


def test_where_the_event_came_from_is_kept(door: Door) -> None:
    """Reports and people need task, creative, tracking code and identities."""
    door.post(door.event(task_code="TSK_539", subject_id="4711"))
    entry = door.stored()
    assert entry is not None
    assert (entry.origin.task_code, entry.origin.event_name) == ("TSK_539", "SeminarReminder")
    assert entry.origin.identities["subject_id"] == "4711"
    assert "datahub_id" in entry.origin.identities
    assert entry.origin.response_tracking_code


# Logs and memory


@pytest.mark.parametrize(
    ("to", "status"),
    [
        ("+12015550142", Status.ACCEPTED),
        ("whatsapp:+12015550142", Status.ACCEPTED),
        ("+447700900123", Status.SUPPRESSED),
        ("messenger:someone", Status.SUPPRESSED),
    ],
)
def test_only_countries_that_the_tenant_allows_are_sent_to(
    door: Door, to: str, status: Status
) -> None:
    """Whose country cannot be told is not sent to either; without a list anybody is."""
    door.tenants.put(TENANT, api_keys=["the-right-key"], countries=["us", "CA"])
    answer = door.post(door.event(creative=f"TO:{to};\n{TEXT}"))
    assert isinstance(answer, Accepted)
    reason = None if status is Status.ACCEPTED else "country_not_allowed"
    assert (answer.entry.status, answer.entry.reason) == (status, reason)


def test_a_recipient_gets_twenty_messages_in_a_day(door: Door) -> None:
    """The next ones are suppressed, within one batch too; the day after it goes on."""
    events = [door.event(guid=f"g{number}") for number in range(22)]
    arrivals = [Arrival(body=json.dumps(one).encode(), credentials=KEY) for one in events]
    answers = [one for one in door.accept(*arrivals) if isinstance(one, Accepted)]
    assert [one.entry.status for one in answers] == [Status.ACCEPTED] * 20 + [Status.SUPPRESSED] * 2
    assert answers[-1].entry.reason == "recipient_limit"
    other = door.post(door.event(guid="other", creative=f"TO:+12015550143;\n{TEXT}"))
    door.clock.advance(hours=25)
    later = door.post(door.event(guid="later", generated_at=door.clock.now))
    for answer in (other, later):
        assert isinstance(answer, Accepted)
        assert answer.entry.status is Status.ACCEPTED


@pytest.mark.parametrize(("said", "allowed"), [(2, 2), (0, 30)])
def test_a_tenant_says_how_many_messages_a_recipient_gets(
    door: Door, said: int, allowed: int
) -> None:
    """None at all is no limit."""
    changes = {"messages_per_recipient_per_day": said}
    door.tenants.put(TENANT, api_keys=["the-right-key"], **changes)
    for number in range(30):
        door.post(door.event(guid=f"g{number}"))
    assert [one.status for one in door.entries].count(Status.ACCEPTED) == allowed


def test_every_request_is_one_line(door: Door) -> None:
    """With what was decided, and why."""
    body = json.dumps(door.event()).encode()
    door.accept(
        Arrival(body=body, credentials=KEY, request_id="r1"),
        Arrival(body=body, credentials=KEY, request_id="r2"),
        Arrival(body=body, request_id="r3"),
        Arrival(body=b"", request_id="r4"),
    )
    shown = [(line["request_id"], line["event"], line["decision"]) for line in door.lines]
    assert shown == [
        ("r1", "event.accepted", "accepted"),
        ("r2", "event.accepted", "duplicate"),
        ("r3", "event.rejected", 401),
        ("r4", "event.rejected", "ignored"),
    ]
    assert {line["batch"] for line in door.lines} == {4}
    assert door.lines[0]["guid"] == GUID
    assert door.lines[0]["task"] == "TSK_101"


SECRETS = {
    "number": "+12015550142",
    "guid": "anna.smith@example.com",
    "text": "Anna, your code is 4711-0815",
    "subject": "customer-1660",
    "credential": "the-right-key",
    "task": "Anna's task",
    "type": "typeOfAnnaSmith",
}


@pytest.mark.parametrize("gate", [lambda _: None, *GATES], ids=lambda gate: gate.__name__)
def test_no_line_holds_a_number_a_text_or_a_credential(
    door: Door, gate: Callable[[Case], None]
) -> None:
    """Whatever is decided, at DEBUG too; raw, percent-encoded or in base64."""
    case = Case(door)
    case.event = door.event(
        guid=SECRETS["guid"],
        creative=f"TO:{SECRETS['number']};\n{SECRETS['text']}",
        subject_id=SECRETS["subject"],
        task_code=SECRETS["task"],
    )
    gate(case)
    if case.event.get("eventType") == "customEvent":
        case.event["eventType"] = SECRETS["type"]
    case.post()
    written = door.stream.getvalue()
    assert written
    for secret in SECRETS.values():
        for form in (secret, quote(secret), base64.b64encode(secret.encode()).decode()):
            assert form.rstrip("=") not in written


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.__name__)
def test_no_error_or_problem_holds_what_was_sent(door: Door, gate: Callable[[Case], None]) -> None:
    """They are answered and logged as they are."""
    case = Case(door)
    gate(case)
    body = json.dumps(case.event).encode() + case.suffix
    answer = door.post(body, case.credentials)
    if isinstance(answer, ConnectorError):
        words = answer.message + "".join(map(str, answer.issues))
    elif isinstance(answer, Accepted):
        words = "".join(text for _, text in answer.entry.problems)
    else:
        words = answer.reason
    for secret in (NUMBER[1:], TEXT, "the-right-key", "the-others-key"):
        assert secret not in words


class Body(bytes):
    """A body that says when the memory it takes is free again."""

    freed = 0

    def __del__(self) -> None:
        Body.freed += 1


@pytest.mark.parametrize("gate", TURNED_AWAY[2:], ids=lambda gate: gate.__name__)
def test_what_is_turned_away_is_forgotten(door: Door, gate: Callable[[Case], None]) -> None:
    """A stranger cannot fill the memory: no error keeps the request that it answered."""
    case = Case(door)
    gate(case)
    body = json.dumps(case.event).encode()
    Body.freed = 0
    for _ in range(20):
        door.accept(Arrival(body=Body(body), credentials=case.credentials))
    gc.collect()
    assert Body.freed >= 19


def test_a_key_is_what_the_ledger_knows_an_event_by(door: Door) -> None:
    """Tenant and guid, and nothing of the content."""
    door.post(door.event())
    assert [entry.key for entry in door.entries] == [Key(f"{TENANT}/{GUID}")]
