"""Questions to Twilio: what is found of an unknown entry, whose it is, and when it is given up."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest

from ci360_twilio.clients.twilio import TwilioClient
from ci360_twilio.core.entry import Entry, Fact, Key, Kind, Lease, Status, key_of
from ci360_twilio.core.match import Listed, parse_listed
from ci360_twilio.core.message import Message
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.core.tenant import Tenant, TenantId, parse_tenant
from ci360_twilio.errors import (
    AnswerLost,
    ConnectorError,
    Failure,
    LedgerUnavailable,
    NotReached,
    SendFailed,
    TenantBroken,
    TenantUnavailable,
    TenantUnknown,
    TwilioRefused,
)
from ci360_twilio.flow.find import MARGIN, MESSAGE_FOUND, Finding
from ci360_twilio.logs import Log
from ci360_twilio.ports import NO_LIMITS
from ci360_twilio.stores.memory import MemoryStore

if TYPE_CHECKING:
    from tests.conftest import SetClock, Twilio

ONE, TWO = TenantId("one"), TenantId("two")
TO, SENDER, SERVICE = "+12015550142", "+12015550199", "MG" + "c3" * 16
TEXT = "Hello Anna"
A, B, C = "aaaa", "bbbb", "cccc"
LEASE = 60.0
DEADLINE = 86_400.0
TTL = 86_400.0


def sid(number: int) -> str:
    """Give the SID of a message."""
    return f"SM{number:032}"


def row(number: int, at: datetime, **changes: Any) -> dict[str, Any]:
    """Give a message as Twilio's list shows it while it is queued."""
    members = {
        "sid": sid(number),
        "status": "queued",
        "error_code": None,
        "to": TO,
        "from": SENDER,
        "messaging_service_sid": None,
        "body": TEXT,
        "num_media": "0",
        "date_created": format_datetime(at),
        "date_sent": None,
        "direction": "outbound-api",
    }
    return members | {name.rstrip("_"): value for name, value in changes.items()}


class Lists:
    """A finder that shows what it is given, or ends as it is told."""

    def __init__(self) -> None:
        self.rows: dict[TenantId, list[dict[str, Any]]] = {ONE: [], TWO: []}
        self.ends: dict[TenantId, list[SendFailed]] = {ONE: [], TWO: []}
        self.asked: list[tuple[TenantId, str, datetime | None]] = []
        self.meanwhile: Callable[[], object] | None = None
        """What happens while Twilio thinks."""

    def search(
        self, tenant: Tenant, to: str, *, since: datetime | None = None, timeout: float = 10.0
    ) -> list[Listed]:
        """List messages to a recipient."""
        del timeout
        self._answer(tenant, to, since)
        rows = [parse_listed(one) for one in self.rows[tenant.id] if one["to"] == to]
        return [one for one in rows if one]

    def fetch(self, tenant: Tenant, sid: str, *, timeout: float = 10.0) -> Receipt | None:
        """Show one message."""
        del timeout
        self._answer(tenant, sid, None)
        found = [parse_listed(one) for one in self.rows[tenant.id] if one["sid"] == sid]
        return found[0].receipt if found and found[0] else None

    def probe(self, tenant: Tenant, *, timeout: float = 10.0) -> None:
        """Ask for the account; nobody does here."""
        del tenant, timeout
        raise AssertionError

    def _answer(self, tenant: Tenant, what: str, since: datetime | None) -> None:
        self.asked.append((tenant.id, what, since))
        if self.ends[tenant.id]:
            raise self.ends[tenant.id].pop(0)
        if self.meanwhile:
            self.meanwhile()


class Register:
    """Two tenants of one Twilio account."""

    def __init__(self) -> None:
        self.now: dict[TenantId, Tenant | ConnectorError] = {}
        self.reread_count = 0
        for tenant_id in (ONE, TWO):
            self.set(tenant_id)

    def set(self, tenant_id: TenantId, **changes: Any) -> None:
        """Write a document."""
        document = {
            "twilio_api_url": "https://api.twilio.com",
            "twilio_account_sid": "AC" + "e5" * 16,
            "twilio_auth_token": "first",
        }
        self.now[tenant_id] = parse_tenant(json.dumps(document | changes), tenant_id)

    def get(self, tenant_id: TenantId) -> Tenant:
        """Give a tenant."""
        found = self.now[tenant_id]
        if isinstance(found, Tenant):
            return found
        raise found

    def reread(self, tenant_id: TenantId) -> Tenant:
        """Give a tenant, and count."""
        self.reread_count += 1
        return self.get(tenant_id)


class Ledger(MemoryStore):
    """A ledger in memory that can fail at a commit, as where a process is killed before it."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False

    def record_many(
        self, facts: Sequence[tuple[Key, Fact]], *, hourly_limits: Any = NO_LIMITS
    ) -> list[Entry | None]:
        """Write, or say that nothing can be written."""
        if self.away:
            raise LedgerUnavailable("The ledger is away.")
        return super().record_many(facts, hourly_limits=hourly_limits)


class Office:
    """A finding with its ledger, tenants, lists, log and clock."""

    def __init__(self, clock: SetClock) -> None:
        self.clock = clock
        self.ledger, self.lists, self.tenants = Ledger(), Lists(), Register()
        self.stream = io.StringIO()
        self.finding = Finding(
            self.ledger,
            self.lists,
            self.tenants,
            clock,
            Log(self.stream, level="debug"),
            event_ttl=TTL,
            lease_seconds=LEASE,
            unknown_deadline=DEADLINE,
        )

    def accept(self, guid: str = A, tenant_id: TenantId = ONE, **changes: Any) -> Key:
        """Write an entry."""
        now = self.clock.now
        members: dict[str, Any] = {
            "key": key_of(tenant_id, guid),
            "tenant_id": tenant_id,
            "guid": guid,
            "status": Status.ACCEPTED,
            "created_at": now,
            "due_at": now,
            "expires_at": now + timedelta(days=1),
            "purge_at": now + timedelta(days=90),
            "message": Message(to=TO, sender=SENDER, body=TEXT),
        }
        self.ledger.insert_many([Entry(**(members | changes))])
        return key_of(tenant_id, guid)

    def start(self, guid: str = A, tenant_id: TenantId = ONE, **changes: Any) -> Key:
        """Write an entry, and begin to send it."""
        key, now = self.accept(guid, tenant_id, **changes), self.clock.now
        lease = Lease(token=guid, until=now + timedelta(seconds=LEASE))
        self.ledger.claim(now=now, lease=lease, limit=1, keys=[key])
        self.tell(key, Kind.STARTED, lease=lease)
        return key

    def lose(self, guid: str = A, tenant_id: TenantId = ONE, **changes: Any) -> Key:
        """Write an entry, send it, and lose the answer."""
        key = self.start(guid, tenant_id, **changes)
        self.tell(key, Kind.LOST, lease=self[key].lease, reason="read_timeout")
        return key

    def send(self, guid: str, number: int, tenant_id: TenantId = ONE, **changes: Any) -> Key:
        """Write an entry, and have its message made."""
        key = self.start(guid, tenant_id, **changes)
        self.tell(key, Kind.MADE, receipt=Receipt(sid=sid(number), status="queued"))
        return key

    def tell(self, key: Key, kind: Kind, **members: Any) -> Entry | None:
        """Record a fact."""
        fact = Fact(kind=kind, at=self.clock.now, **members)
        return self.ledger.record_many([(key, fact)])[0]

    def show(self, *numbers: int, tenant_id: TenantId = ONE, **changes: Any) -> None:
        """Have Twilio list messages that were made now."""
        self.lists.rows[tenant_id] += [row(number, self.clock.now, **changes) for number in numbers]

    def look(self, **wait: float) -> int:
        """Find what is due, after ten seconds if nothing else is said."""
        self.clock.advance(**(wait or {"seconds": 10}))
        return self.finding.find_many(100)

    def look_at_last(self) -> int:
        """Find what is due after the deadline."""
        return self.look(seconds=DEADLINE)

    def __getitem__(self, key: Key) -> Entry:
        entry = self.ledger.get_many([key])[0]
        assert entry is not None
        return entry

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log."""
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def told(self, name: str = "decision") -> list[Any]:
        """What the lines about answers say."""
        return [line[name] for line in self.lines if line["event"] == MESSAGE_FOUND]


@pytest.fixture
def office(clock: SetClock) -> Iterator[Office]:
    """Give an office with nothing to do; no line that it has written names anybody."""
    made = Office(clock)
    yield made
    text = made.stream.getvalue()
    assert not any(word in text for word in (TO[1:], SENDER[1:], TEXT, "first"))


def refused(status: int, failure: Failure, code: int | None = None) -> TwilioRefused:
    """Make an error answer of Twilio's."""
    return TwilioRefused("No.", failure=failure, status=status, twilio_code=code)


NOT_REACHED = NotReached("Twilio could not be reached.", reason="connect_refused")
LOST = AnswerLost("Twilio's answer was lost.", reason="read_timeout")
BUSY = refused(429, Failure.RETRY_SAFE, 20429)
WRONG = refused(401, Failure.CONFIG, 20003)


def test_the_one_message_that_looks_alike_is_taken_for_it(office: Office) -> None:
    """Its SID is a guess, and the history says who made it."""
    key = office.lose()
    office.show(1)
    assert office.look() == 1
    entry = office[key]
    assert (entry.status, entry.sid, entry.guessed) == (Status.SENT, sid(1), True)
    assert entry.history[-1].step == "find"
    assert office.told() == ["found"]
    assert office.told("sid") == [sid(1)]
    assert office.told("looks") == [1]


def test_what_is_found_may_have_reached_its_end_already(office: Office) -> None:
    """The row's own status is a receipt."""
    key = office.lose()
    office.show(1, status="undelivered", error_code=30003)
    office.look()
    entry = office[key]
    assert (entry.status, entry.reason) == (Status.UNDELIVERED, "twilio_30003")


def test_a_row_of_a_messaging_service_has_neither_sender_nor_date_of_sending(
    office: Office,
) -> None:
    """While it is queued, both are null."""
    key = office.lose(message=Message(to=TO, sender=SERVICE, body=TEXT))
    office.show(1, from_=None, messaging_service_sid=SERVICE, status="accepted")
    office.look()
    assert office[key].sid == sid(1)


def test_a_row_of_a_messaging_service_shows_the_sender_that_was_chosen(office: Office) -> None:
    """Later; the sender of the entry is the service."""
    key = office.lose(message=Message(to=TO, sender=SERVICE, body=TEXT))
    office.show(1, messaging_service_sid=SERVICE, status="sent")
    office.look()
    assert office[key].sid == sid(1)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("It\u2019s here", "It's here"), ("One  two", "One two"), (TEXT, "")],
    ids=["smart encoding", "white space", "redacted"],
)
def test_twilio_may_have_altered_the_text(office: Office, ours: str, theirs: str) -> None:
    """It replaces characters, and takes texts away."""
    key = office.lose(message=Message(to=TO, sender=SENDER, body=ours))
    office.show(1, body=theirs)
    office.look()
    assert office[key].sid == sid(1)


@pytest.mark.parametrize(
    "changes",
    [{"body": "Hello Eve"}, {"from_": "+12015550111"}, {"direction": "inbound"}],
    ids=["text", "sender", "inbound"],
)
def test_what_does_not_look_alike_is_not_taken(office: Office, changes: dict[str, Any]) -> None:
    """Nothing is recorded, and it is asked again later, less and less often."""
    key = office.lose()
    office.show(1, **changes)
    assert [office.look(), office.look(), office.look(), office.look()] == [1, 1, 0, 1]
    assert office[key].status is Status.UNKNOWN
    assert office.told() == ["none"] * 3
    assert {line["level"] for line in office.lines} == {"debug"}


def test_the_list_is_asked_for_the_recipient_from_before_the_first_attempt_on(
    office: Office, clock: SetClock
) -> None:
    """With an hour between Twilio's clock and ours."""
    office.accept()
    began = clock.advance(hours=3)
    lease = Lease(token="a", until=began + timedelta(seconds=LEASE))
    key = key_of(ONE, A)
    office.ledger.claim(now=began, lease=lease, limit=1)
    office.tell(key, Kind.STARTED, lease=lease)
    clock.advance(seconds=30)
    office.tell(key, Kind.LOST, lease=lease)
    office.look()
    assert office.lists.asked == [(ONE, TO, began - MARGIN)]


@pytest.mark.parametrize(("hours", "found"), [(-1.02, False), (-0.99, True)])
def test_what_was_made_before_the_attempt_is_another_message(
    office: Office, clock: SetClock, hours: float, found: bool
) -> None:
    """A customer may have had the same text before; the clocks may differ by an hour."""
    key = office.lose()
    office.lists.rows[ONE] = [row(1, clock.now + timedelta(hours=hours))]
    office.look()
    assert (office[key].sid == sid(1)) is found


@pytest.mark.parametrize(("seconds", "found"), [(3600 + LEASE + 1, False), (3600 + LEASE, True)])
def test_what_was_made_long_after_the_answer_was_lost_is_another_message(
    office: Office, clock: SetClock, seconds: float, found: bool
) -> None:
    """An attempt may go on for as long as its lease."""
    key = office.lose()
    office.lists.rows[ONE] = [row(1, clock.now + timedelta(seconds=seconds))]
    office.look()
    assert (office[key].sid == sid(1)) is found


@pytest.mark.parametrize("hours", [-5, 0])
def test_our_clock_may_jump_back_during_an_attempt(
    office: Office, clock: SetClock, hours: float
) -> None:
    """Then it was lost before it began; either may be the right time."""
    key = office.start()
    clock.advance(hours=-5)
    office.tell(key, Kind.LOST, lease=office[key].lease)
    began = office[key].started_at
    assert began is not None
    office.lists.rows[ONE] = [row(1, began + timedelta(hours=hours))]
    office.look()
    assert office[key].sid == sid(1)


def test_several_that_look_alike_are_left_to_a_person(office: Office) -> None:
    """One of them is a stranger's, or was sent by hand."""
    key = office.lose()
    office.show(1, 2)
    office.look()
    entry = office[key]
    assert (entry.status, entry.reason) == (Status.HELD, "several_candidates")
    assert entry.history[-1].step == "find"
    assert (office.told(), office.told("status")) == (["several"], ["held"])
    assert office.look_at_last() == 0


def test_a_receipt_settles_what_is_left_to_a_person(office: Office) -> None:
    """Twilio's own word comes late."""
    key = office.lose()
    office.show(1, 2)
    office.look()
    office.tell(key, Kind.MADE, receipt=Receipt(sid=sid(2), status="sent"))
    assert (office[key].status, office[key].guessed) == (Status.SENT, False)


def test_messages_of_other_entries_are_no_candidates(office: Office) -> None:
    """One that is sent has its own; what is left is taken."""
    office.send(B, 1)
    key = office.lose()
    office.show(1, 2)
    office.look()
    assert office[key].sid == sid(2)


def test_a_message_is_never_taken_from_an_entry_that_has_it(office: Office) -> None:
    """Though it is the only one that looks alike."""
    office.send(B, 1)
    key = office.lose()
    office.show(1)
    office.look()
    assert office[key].status is Status.UNKNOWN
    assert office.told() == ["none"]


def test_a_message_that_another_entry_gets_while_we_ask_is_not_taken(office: Office) -> None:
    """Its answer arrives after the list was read: the ledger refuses the guess."""
    other = office.start(B)
    key = office.lose()
    office.show(1)
    own = Receipt(sid=sid(1), status="queued")
    office.lists.meanwhile = lambda: office.tell(other, Kind.MADE, receipt=own)
    office.look()
    assert (office[key].status, office[other].sid) == (Status.UNKNOWN, sid(1))


def test_what_settled_while_we_asked_is_left_as_it_is(office: Office) -> None:
    """Its callback names it, and the guess, the same or not, changes nothing."""
    key = office.lose()
    office.show(1)
    own = Receipt(sid=sid(7), status="delivered")
    office.lists.meanwhile = lambda: office.tell(key, Kind.MADE, receipt=own)
    office.look()
    entry = office[key]
    assert (entry.status, entry.sid, entry.guessed) == (Status.DELIVERED, sid(7), False)


def test_a_strangers_equal_message_gives_way_to_our_own(office: Office) -> None:
    """It was taken since it was listed first; then the callback names ours."""
    key = office.lose()
    office.show(1)
    office.look()
    office.tell(key, Kind.MADE, receipt=Receipt(sid=sid(2), status="sent"))
    entry = office[key]
    assert (entry.status, entry.sid, entry.guessed) == (Status.SENT, sid(2), False)


def test_who_guessed_anothers_message_looks_on(office: Office) -> None:
    """The other's callback names it; the entry is unknown again, and finds its own."""
    key = office.lose()
    office.show(1)
    office.look()
    other = office.lose(B)
    office.tell(other, Kind.MADE, receipt=Receipt(sid=sid(1), status="sent"))
    assert (office[key].status, office[key].reason) == (Status.UNKNOWN, "sid_of_another")
    assert office[other].sid == sid(1)
    office.show(2)
    office.look()
    assert (office[key].status, office[key].sid) == (Status.SENT, sid(2))


def test_two_equal_entries_get_one_message_each(office: Office) -> None:
    """Either way is right; the older entry gets the older message, in one call."""
    older = office.lose(B)
    office.show(2)
    office.clock.advance(seconds=2)
    younger = office.lose(A)
    office.show(1)
    assert office.look() == 2
    assert (office[older].sid, office[younger].sid) == (sid(2), sid(1))


def test_two_equal_entries_and_one_message_wait_for_the_other(office: Office) -> None:
    """The list may lag; when it shows both, each has its own."""
    keys = office.lose(A), office.lose(B)
    office.show(1)
    office.look()
    assert [office[key].status for key in keys] == [Status.UNKNOWN] * 2
    assert office.told() == ["waits", "waits"]
    office.lists.rows[ONE].append(row(2, office.clock.now))
    office.look(minutes=1)
    assert {office[key].sid for key in keys} == {sid(1), sid(2)}


def test_of_two_equal_entries_the_other_may_be_settled_first(office: Office) -> None:
    """A callback names one; what is left is the other's."""
    keys = office.lose(A), office.lose(B)
    office.show(1)
    office.look()
    office.tell(keys[1], Kind.MADE, receipt=Receipt(sid=sid(2), status="sent"))
    office.look(minutes=1)
    assert [office[key].sid for key in keys] == [sid(1), sid(2)]


def test_at_the_deadline_the_older_of_two_has_the_one_message(office: Office) -> None:
    """One was made; of the other nothing was found."""
    older = office.lose(B)
    office.clock.advance(seconds=1)
    younger = office.lose(A)
    office.show(1)
    office.look()
    office.look_at_last()
    assert (office[older].status, office[older].sid) == (Status.SENT, sid(1))
    assert (office[younger].status, office[younger].reason) == (Status.HELD, "not_found")


def test_three_messages_for_two_entries_are_left_to_a_person(office: Office) -> None:
    """One is a stranger's."""
    keys = office.lose(A), office.lose(B)
    office.show(1, 2, 3)
    office.look()
    assert [office[key].reason for key in keys] == ["several_candidates"] * 2


def test_while_an_equal_entry_is_being_sent_nothing_is_guessed(office: Office) -> None:
    """The message that is listed may be the one under way; its answer tells."""
    key, other = office.lose(A), office.start(B)
    office.show(1)
    office.look()
    assert office[key].status is Status.UNKNOWN
    assert office.told() == ["waits"]
    office.tell(other, Kind.MADE, receipt=Receipt(sid=sid(1), status="queued"))
    office.show(2)
    office.look(minutes=1)
    assert office[key].sid == sid(2)


def test_an_equal_entry_whose_worker_is_gone_counts_as_unknown(office: Office) -> None:
    """Nobody has swept it yet; its message may be listed, too."""
    key, other = office.lose(A), office.start(B)
    office.show(1, 2)
    office.look(seconds=LEASE)
    assert (office[key].sid, office[other].status) == (sid(1), Status.SENDING)


def test_another_text_to_the_same_recipient_is_not_waited_for(office: Office) -> None:
    """Messages that differ are told apart."""
    key = office.lose(A)
    other = office.start(B, message=Message(to=TO, sender=SENDER, body="Your code"))
    office.show(1)
    office.look()
    assert office[key].sid == sid(1)
    assert office[other].status is Status.SENDING


def test_equal_entries_of_different_days_are_told_apart(office: Office) -> None:
    """Of each only the messages of its own time count."""
    older = office.lose(A)
    office.clock.advance(hours=20)
    younger = office.lose(B)
    office.show(1)
    office.look()
    assert (office[older].status, office[younger].sid) == (Status.UNKNOWN, sid(1))


def test_an_entry_of_a_restored_ledger_is_looked_for_from_its_making_to_the_restore(
    office: Office, clock: SetClock
) -> None:
    """It was accepted when the backup was made; the part that is lost may have sent it."""
    key = office.accept()
    made = clock.now
    sent = clock.advance(hours=5)
    clock.advance(hours=5)
    office.ledger.mark_restored(clock.now)
    office.lists.rows[ONE] = [row(1, sent)]
    office.look()
    entry = office[key]
    assert (entry.status, entry.sid, entry.attempts) == (Status.SENT, sid(1), 0)
    assert office.lists.asked == [(ONE, TO, made - MARGIN)]


def test_until_the_deadline_a_miss_proves_nothing(office: Office) -> None:
    """Then the entry waits for a person."""
    key = office.lose()
    office.look(seconds=DEADLINE - 1)
    assert office[key].status is Status.UNKNOWN
    office.look(hours=1)
    entry = office[key]
    assert (entry.status, entry.reason) == (Status.HELD, "not_found")
    assert entry.history[-1].step == "find"
    assert (office.told(), office.told("reason")[-1]) == (["none", "deadline"], "not_found")


def test_what_is_found_by_the_last_look_counts(office: Office) -> None:
    """The list lagged for a day."""
    key = office.lose()
    office.show(1)
    office.look_at_last()
    assert office[key].sid == sid(1)


def test_a_search_that_fails_ends_nothing(office: Office) -> None:
    """The deadline is over, but Twilio has not answered."""
    key = office.lose()
    office.lists.ends[ONE] = [NOT_REACHED]
    office.look_at_last()
    assert office[key].status is Status.UNKNOWN
    office.look(hours=1)
    assert office[key].status is Status.HELD


def test_what_cannot_be_asked_about_in_twice_the_time_is_left_to_a_person(office: Office) -> None:
    """Nothing stays unknown for ever, whoever does not answer."""
    key = office.lose()
    office.lists.ends[ONE] = [NOT_REACHED] * 2
    office.look(hours=47)
    assert office[key].status is Status.UNKNOWN
    office.look(hours=2)
    assert (office[key].status, office[key].reason) == (Status.HELD, "not_answered")


def test_the_time_of_a_guess_does_not_put_the_deadline_off(office: Office) -> None:
    """It counts from the loss of the answer, not from the day the guess turned out wrong."""
    key = office.lose()
    office.show(1)
    office.look()
    office.clock.advance(seconds=DEADLINE)
    other = office.lose(B)
    office.tell(other, Kind.MADE, receipt=Receipt(sid=sid(1), status="sent"))
    office.look()
    assert office[key].reason == "not_found"


def test_a_message_that_another_tenants_entry_has_is_not_waited_for_for_ever(
    office: Office,
) -> None:
    """Two tenants may share an account: the list shows what only the ledger can refuse."""
    office.send(B, 1, TWO)
    key = office.lose()
    office.show(1)
    office.look()
    assert office[key].status is Status.UNKNOWN
    office.look_at_last()
    assert (office[key].status, office[key].reason) == (Status.HELD, "not_found")


def test_an_entry_without_a_message_is_not_searched_for(office: Office) -> None:
    """There is nothing to search by; at the deadline a person must look."""
    key = office.accept(message=None, status=Status.UNKNOWN)
    office.look()
    assert office.lists.asked == []
    office.look_at_last()
    assert office[key].reason == "not_found"


def test_a_tenant_may_have_lost_messages_sent_again(office: Office) -> None:
    """A new entry with a life of its own, linked both ways; the old one is closed."""
    office.tenants.set(ONE, unknown_after_deadline="resend")
    key = office.lose()
    office.look()
    assert office[key].status is Status.UNKNOWN
    office.look_at_last()
    old, new = office[key], office[key_of(ONE, f"{A}~again")]
    assert (old.status, old.reason) == (Status.CANCELED, "resent_after_deadline")
    assert (old.replayed_by, new.replay_of) == (new.key, old.key)
    assert old.history[-1].step == new.history[0].step == "find"
    assert new.status is Status.ACCEPTED
    assert new.message == old.message
    assert new.expires_at == office.clock.now + timedelta(seconds=TTL)
    assert office.told() == ["none", "deadline"]


def test_of_two_equal_entries_only_the_one_without_a_message_is_sent_again(
    office: Office,
) -> None:
    """One message was made, one is missing."""
    office.tenants.set(ONE, unknown_after_deadline="resend")
    keys = office.lose(A), office.lose(B)
    office.show(1)
    office.look_at_last()
    assert [office[key].status for key in keys] == [Status.SENT, Status.CANCELED]


def test_several_candidates_are_never_sent_again(office: Office) -> None:
    """A message is there, only not known which."""
    office.tenants.set(ONE, unknown_after_deadline="resend")
    key = office.lose()
    office.show(1, 2)
    office.look_at_last()
    assert (office[key].status, office[key].replayed_by) == (Status.HELD, None)


def test_a_process_that_dies_before_it_closes_the_old_entry_sends_again_once(
    office: Office,
) -> None:
    """The next look writes the same key."""
    office.tenants.set(ONE, unknown_after_deadline="resend")
    key = office.lose()
    office.clock.advance(seconds=DEADLINE)
    answers = [office.finding.ask(entry) for entry in office.finding.take(10)]
    office.ledger.away = True
    with pytest.raises(LedgerUnavailable):
        office.finding.record(answers)
    office.ledger.away = False
    assert office[key].status is Status.UNKNOWN
    office.look(hours=1)
    assert office[key].status is Status.CANCELED
    assert office[key_of(ONE, f"{A}~again")].repeats == 1


def test_recording_twice_changes_nothing(office: Office) -> None:
    """Whoever does not know whether it was written may do it again."""
    office.tenants.set(ONE, unknown_after_deadline="resend")
    key = office.lose()
    office.clock.advance(seconds=DEADLINE)
    answers = [office.finding.ask(entry) for entry in office.finding.take(10)]
    office.finding.record(answers)
    old = office[key]
    office.finding.record(answers)
    assert office[key] == old
    assert office[key_of(ONE, f"{A}~again")].status is Status.ACCEPTED


def test_what_settles_while_it_is_sent_again_takes_the_new_entry_back(office: Office) -> None:
    """Its callback came between the last look and its recording."""
    office.tenants.set(ONE, unknown_after_deadline="resend")
    key = office.lose()
    own = Receipt(sid=sid(1), status="sent")
    office.lists.meanwhile = lambda: office.tell(key, Kind.MADE, receipt=own)
    office.look_at_last()
    new = office[key_of(ONE, f"{A}~again")]
    assert (office[key].status, office[key].replayed_by) == (Status.SENT, None)
    assert (new.status, new.reason) == (Status.CANCELED, "found_meanwhile")
    assert new.history[-1].step == "find"


def test_what_was_sent_again_is_not_sent_a_third_time(office: Office) -> None:
    """Where nothing is ever found, a customer would get it every day."""
    office.tenants.set(ONE, unknown_after_deadline="resend")
    key = office.lose(replay_of=key_of(ONE, "first"))
    office.look_at_last()
    assert (office[key].status, office[key].reason) == (Status.HELD, "not_found")


def test_what_is_not_wanted_any_more_is_not_sent_again(office: Office, clock: SetClock) -> None:
    """Its time is set by more than the age of its event."""
    office.tenants.set(ONE, unknown_after_deadline="resend")
    key = office.lose(not_after=clock.now + timedelta(hours=2))
    office.look_at_last()
    assert (office[key].status, office[key].reason) == (Status.HELD, "not_found")


def test_what_is_sent_again_counts_for_its_recipient(office: Office, clock: SetClock) -> None:
    """The tenant's limit of a day holds for it, too; the new entry says so."""
    office.tenants.set(ONE, unknown_after_deadline="resend", messages_per_recipient_per_day=2)
    key = office.lose()
    clock.advance(seconds=DEADLINE)
    other = Message(to=TO, sender=SENDER, body="Another")
    office.send(B, 1, message=other)
    office.send(C, 2, message=other)
    office.look()
    new = office[key_of(ONE, f"{A}~again")]
    assert (new.status, new.reason) == (Status.SUPPRESSED, "recipient_limit")
    assert office[key].replayed_by == new.key


@pytest.mark.parametrize("end", [NOT_REACHED, LOST], ids=lambda end: end.reason)
def test_one_question_without_an_answer_keeps_nobody_elses(office: Office, end: SendFailed) -> None:
    """Twilio that answers now and then is asked on, up to three questions in a row."""
    keys = [office.send(f"guid-{number}", number) for number in range(6)]
    office.show(*range(6), status="delivered")
    office.lists.ends[ONE] = [end, end]
    assert office.look(hours=12) == 6
    assert [office[key].status for key in keys] == [Status.SENT] * 2 + [Status.DELIVERED] * 4


@pytest.mark.parametrize("end", [NOT_REACHED, LOST], ids=lambda end: end.reason)
def test_a_tenant_that_gets_no_answer_three_times_is_left_alone(
    office: Office, end: SendFailed
) -> None:
    """The rest of the call asks nothing for it; the next one does."""
    keys = [office.send(f"guid-{number}", number) for number in range(6)]
    office.show(*range(6), status="delivered")
    office.lists.ends[ONE] = [end, end, end]
    assert office.look(hours=12) == 6
    assert len(office.lists.asked) == 3
    assert {office[key].status for key in keys} == {Status.SENT}
    assert office.look(minutes=15) == 6
    assert {office[key].status for key in keys} == {Status.DELIVERED}


@pytest.mark.parametrize("end", [BUSY, WRONG], ids=lambda end: end.reason)
def test_a_tenant_whose_questions_are_refused_is_left_alone_for_the_rest_of_the_call(
    office: Office, end: SendFailed
) -> None:
    """Others go on; one line tells of it, and the next look asks again."""
    keys = [office.lose(A), office.lose(B), office.lose(C, TWO)]
    office.show(1, 2)
    office.show(3, tenant_id=TWO)
    office.lists.ends[ONE] = [end]
    assert office.look() == 3
    assert [office[key].status for key in keys] == [Status.UNKNOWN] * 2 + [Status.SENT]
    assert [tenant for tenant, _, _ in office.lists.asked] == [ONE, TWO]
    failed = [line for line in office.lines if line["event"] == "find.failed"]
    assert [(line["level"], line["reason"]) for line in failed] == [("warning", end.reason)]
    office.look(minutes=1)
    assert {office[key].status for key in keys} == {Status.SENT}


def test_a_question_that_twilio_refuses_for_its_own_sake_stops_no_other(office: Office) -> None:
    """Such as one for a recipient that it finds wrong."""
    keys = office.lose(A), office.lose(B, message=Message(to=TO, sender=SENDER, body="Two"))
    office.show(1)
    office.show(2, body="Two")
    office.lists.ends[ONE] = [refused(400, Failure.PERMANENT_REQUEST)]
    office.look()
    assert sorted(office[key].status for key in keys) == [Status.SENT, Status.UNKNOWN]
    assert [line["event"] for line in office.lines].count("find.failed") == 1


@pytest.mark.parametrize(("end", "count"), [(WRONG, 1), (BUSY, 0)], ids=["401", "429"])
def test_refused_credentials_have_the_tenant_read_again(
    office: Office, end: SendFailed, count: int
) -> None:
    """They may have been changed; the next question uses the new ones."""
    office.lose()
    office.lists.ends[ONE] = [end]
    office.look()
    assert office.tenants.reread_count == count


@pytest.mark.parametrize("error", [TenantUnknown, TenantUnavailable, TenantBroken])
def test_a_tenant_that_cannot_be_read_is_asked_about_later(
    office: Office, error: type[ConnectorError]
) -> None:
    """Nothing is recorded, whatever the time."""
    kept = office.tenants.now[ONE]
    key = office.lose()
    office.show(1)
    office.tenants.now[ONE] = error("No.")
    office.look_at_last()
    assert office[key].status is Status.UNKNOWN
    assert [line["reason"] for line in office.lines] == [error.code]
    office.tenants.now[ONE] = kept
    office.look(hours=1)
    assert office[key].sid == sid(1)


def test_a_ledger_that_cannot_be_written_is_the_callers_to_know(office: Office) -> None:
    """What was learned is written when it can be, without another question."""
    key = office.lose()
    office.show(1)
    office.ledger.away = True
    with pytest.raises(LedgerUnavailable):
        office.look()
    with pytest.raises(LedgerUnavailable):
        office.look()
    office.ledger.away = False
    assert office.look() == 0
    assert office[key].sid == sid(1)
    assert len(office.lists.asked) == 1


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("sending", Status.SENT),
        ("sent", Status.SENT),
        ("partially_delivered", Status.SENT),
        ("delivered", Status.DELIVERED),
        ("read", Status.READ),
        ("undelivered", Status.UNDELIVERED),
        ("failed", Status.FAILED),
        ("canceled", Status.CANCELED),
    ],
)
def test_a_message_without_a_final_status_is_asked_for_after_half_a_day(
    office: Office, said: str, status: Status
) -> None:
    """Its callbacks may have been lost; what Twilio says now counts like one."""
    key = office.send(A, 1)
    office.show(1, status=said)
    assert office.look(hours=11) == 0
    assert office.look(hours=1) == 1
    entry = office[key]
    assert (entry.status, entry.provider_status) == (status, said)
    assert office.told() == ["fetched"]
    assert office.lists.asked == [(ONE, sid(1), None)]


def test_the_error_of_a_final_status_is_kept(office: Office) -> None:
    """It is the reason."""
    key = office.send(A, 1)
    office.show(1, status="failed", error_code=30007)
    office.look(hours=12)
    assert (office[key].error_code, office[key].reason) == (30007, "twilio_30007")
    assert office[key].history[-1].step == "find"


def test_a_status_that_is_no_news_changes_nothing(office: Office) -> None:
    """A word that we do not know neither."""
    key = office.send(A, 1)
    office.show(1, status="pondering")
    office.look(hours=12)
    assert (office[key].status, office[key].provider_status) == (Status.SENT, "queued")


def test_a_message_that_twilio_has_deleted_stays_as_it_is(office: Office) -> None:
    """A line says so; it is asked for a few times more."""
    key = office.send(A, 1)
    office.look(hours=12)
    assert office[key].status is Status.SENT
    assert (office.told(), office.told("status")) == (["none"], ["sent"])
    assert office.lines[-1]["level"] == "info"


def test_a_message_with_a_final_status_is_not_asked_for(office: Office) -> None:
    """There is nothing to learn."""
    key = office.send(A, 1)
    office.tell(key, Kind.DELIVERED, receipt=Receipt(sid=sid(1), status="delivered"))
    assert office.look(hours=12) == 0


def test_a_call_asks_about_as_many_as_it_is_told_oldest_first(office: Office) -> None:
    """The rest has its turn in the next."""
    keys: list[Key] = []
    for guid in (C, A, B):
        to = f"+1201555017{len(keys)}"
        keys.append(office.lose(guid, message=Message(to=to, sender=SENDER, body=TEXT)))
        office.show(len(keys), to=to)
        office.clock.advance(seconds=1)
    office.clock.advance(seconds=10)
    assert [office.finding.find_many(2), office.finding.find_many(2)] == [2, 1]
    assert [office[key].sid for key in keys] == [sid(1), sid(2), sid(3)]
    assert [to[-1] for _, to, _ in office.lists.asked] == ["0", "1", "2"]


@pytest.mark.parametrize("failures", [[NOT_REACHED] * 2, [LOST] * 2, [BUSY], [WRONG]])
def test_a_failure_does_not_cost_half_a_day(office: Office, failures: list[SendFailed]) -> None:
    """Neither the message that was asked for nor those that then were not: none has been asked for."""
    keys = [office.send(A, 1), office.send(B, 2)]
    office.lists.ends[ONE] = failures
    office.show(1, 2, status="delivered")
    assert office.look(hours=12) == 2
    assert {office[key].looks for key in keys} == {0}
    assert office.look(minutes=14) == 0
    assert office.look(minutes=1) == 2
    assert {office[key].status for key in keys} == {Status.DELIVERED}


def test_messages_of_the_twin_are_found_and_fetched_over_http(
    twilio: Twilio, clock: SetClock
) -> None:
    """As Twilio's list and its resource show them."""
    clock.now = datetime.now(UTC)
    office = Office(clock)
    document = json.dumps(twilio.document())
    office.tenants.now[ONE] = parse_tenant(document, ONE, (twilio.host,))
    client = TwilioClient()
    finding = Finding(
        office.ledger,
        client,
        office.tenants,
        clock,
        Log(office.stream),
        event_ttl=TTL,
        lease_seconds=LEASE,
    )
    account = twilio.twin.authorize(twilio.account, twilio.token, twilio.account)
    form = {"To": [TO], "Body": [TEXT], "MessagingServiceSid": [SERVICE]}
    made = twilio.twin.create(account, form)["sid"]
    key = office.lose(message=Message(to=TO, sender=SERVICE, body=TEXT))
    clock.advance(seconds=10)
    assert finding.find_many(10) == 1
    assert (office[key].sid, office[key].guessed) == (made, True)
    clock.advance(hours=12)
    assert finding.find_many(10) == 1
    twilio.twin.delete(account, made)
    clock.advance(days=1)
    assert finding.find_many(10) == 1
    client.close()
    assert office.told() == ["found", "fetched", "none"]
