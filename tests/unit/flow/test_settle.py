"""Status callbacks: who is believed, what they change, and what is answered. Signed by Twilio's own."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec
import pytest
from twilio.request_validator import RequestValidator

from ci360_twilio.core.advance import advance
from ci360_twilio.core.entry import Entry, Fact, Key, Kind, Lease, Status, key_of
from ci360_twilio.core.message import Message
from ci360_twilio.core.pause import Pause, Scope
from ci360_twilio.core.receipt import RANKS, Receipt
from ci360_twilio.core.tenant import Tenant, TenantId, parse_tenant
from ci360_twilio.core.trip import LEAST
from ci360_twilio.errors import (
    ConnectorError,
    LedgerUnavailable,
    TenantBroken,
    TenantUnavailable,
    TenantUnknown,
)
from ci360_twilio.flow.settle import Settled, Settlement
from ci360_twilio.flow.webhook import MAX_WEBHOOK, Doorkeeper, Webhook
from ci360_twilio.logs import PAUSE_LIFTED, PAUSE_TRIPPED, Log
from ci360_twilio.ports import NO_LIMITS, Mark
from ci360_twilio.stores.memory import MemoryStore

if TYPE_CHECKING:
    from tests.conftest import SetClock

PUBLIC = "https://sms.example.com"
TENANT, OTHER, TWINNED = TenantId("acme"), TenantId("other"), TenantId("acme-eu")
ACCOUNT, OTHERS_ACCOUNT = "AC" + "d4" * 16, "AC" + "e5" * 16
TOKEN, OTHERS_TOKEN = "the-token-of-acme", "the-token-of-other"
NUMBER, SENDER = "+12015550142", "+12015550199"
SID, SECOND_SID = "SM" + "1a" * 16, "MM" + "2b" * 16
GUID = "5d0c5a0e-6f43-4a53-9b3c-8f2f4f6c1a77"
M = "c0rrelat10n"
FILTERED = 30007


class Ledger(MemoryStore):
    """A ledger in memory that counts what it is asked for, and can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[int] = []
        self.commits: list[int] = []
        self.lookups = 0
        self.away: set[str] = set()
        self.between: Callable[[], object] = lambda: None
        """What another process does between our reading and writing."""

    def _open(self, verb: str) -> None:
        if verb in self.away:
            raise LedgerUnavailable("The ledger is away.")

    def marked(self, marks: Sequence[Mark]) -> list[Entry | None]:
        """Find, unless away."""
        self._open("marked")
        self.reads.append(len(marks))
        found = super().marked(marks)
        self.between()
        return found

    def record_many(
        self,
        facts: Sequence[tuple[Key, Fact]],
        *,
        hourly_limits: Mapping[TenantId, int] = NO_LIMITS,
    ) -> list[Entry | None]:
        """Write, unless away."""
        self._open("record_many")
        self.commits.append(len(facts))
        return super().record_many(facts, hourly_limits=hourly_limits)

    def pauses(self) -> list[Pause]:
        """List, unless away."""
        self._open("pauses")
        self.lookups += 1
        return super().pauses()

    def pause(self, pause: Pause, **options: Any) -> bool:
        """Write, unless away."""
        self._open("pause")
        return super().pause(pause, **options)


class Register:
    """Tenants as they are cached, and as their documents are now; errors are raised."""

    def __init__(self) -> None:
        self.cached: dict[str, Tenant | ConnectorError] = {}
        self.fresh: dict[str, Tenant | ConnectorError] = {}
        self.asked: list[str] = []
        self.reread_ids: list[str] = []

    def get(self, tenant_id: TenantId) -> Tenant:
        """Give a tenant, as the port says."""
        self.asked.append(tenant_id)
        return self._given(self.cached.get(tenant_id))

    def reread(self, tenant_id: TenantId) -> Tenant:
        """Give a tenant as it is now."""
        self.reread_ids.append(tenant_id)
        found = self.fresh.get(tenant_id) or self.cached.get(tenant_id)
        if isinstance(found, Tenant):
            self.cached[tenant_id] = found
        return self._given(found)

    def _given(self, found: Tenant | ConnectorError | None) -> Tenant:
        if isinstance(found, Tenant):
            return found
        if found is None:
            raise TenantUnknown("There is no such tenant.")
        raise type(found)(found.message)


def tenant(tenant_id: TenantId, **changes: Any) -> Tenant:
    """Make a tenant from a document."""
    document = {
        "twilio_api_url": "https://api.twilio.com",
        "twilio_account_sid": ACCOUNT,
        "twilio_auth_token": TOKEN,
        "api_keys": ["not-asked-for-here"],
        **changes,
    }
    return parse_tenant(json.dumps(document), tenant_id)


class Desk:
    """A settlement with its ledger, tenants, log and clock, and what Twilio would post to it."""

    def __init__(self, clock: SetClock, public_url: str | None = PUBLIC) -> None:
        self.clock = clock
        self.ledger = Ledger()
        self.tenants = Register()
        other = {"twilio_account_sid": OTHERS_ACCOUNT, "twilio_auth_token": OTHERS_TOKEN}
        self.tenants.cached = {
            TENANT: tenant(TENANT),
            OTHER: tenant(OTHER, **other),
            TWINNED: tenant(TWINNED),
        }
        self.stream = io.StringIO()
        self.settlement = Settlement(
            self.ledger,
            self.ledger,
            Doorkeeper(self.tenants, public_url=public_url),
            clock,
            Log(self.stream, level="debug"),
        )
        self._numbers = itertools.count()

    # What there is

    def entry(
        self,
        *facts: Fact,
        guid: str | None = None,
        tenant_id: TenantId = TENANT,
        m: str = M,
        sender: str = SENDER,
    ) -> Key:
        """Write an entry whose bytes have left, and what came of it."""
        now = self.clock.now
        key = key_of(tenant_id, guid or f"guid-{next(self._numbers)}")
        made = Entry(
            key=key,
            tenant_id=tenant_id,
            guid=key.partition("/")[2],
            status=Status.ACCEPTED,
            created_at=now,
            due_at=now,
            expires_at=now + timedelta(days=1),
            purge_at=now + timedelta(days=90),
            message=Message(to=NUMBER, sender=sender, body="Hello"),
        )
        lease = Lease(token="lease", until=now + timedelta(seconds=60))
        start = Fact(kind=Kind.STARTED, at=now, lease=lease, correlation=m)
        claim = Fact(kind=Kind.CLAIMED, at=now, lease=lease)
        for fact in (claim, start, *facts):
            changed = advance(made, fact)
            assert changed is not None
            made = changed
        assert self.ledger.insert_many([made])[0].created
        return key

    def fact(
        self, kind: Kind, sid: str | None = None, status: str = "accepted", **more: Any
    ) -> Fact:
        """Make a fact of what came of the attempt."""
        lease = Lease(token="lease", until=self.clock.now)
        receipt = Receipt(sid=sid, status=status) if sid else None
        return Fact(kind=kind, at=self.clock.now, lease=lease, receipt=receipt, **more)

    def made(self, sid: str = SID, **more: Any) -> Fact:
        """Make the fact that Twilio named the message."""
        return self.fact(Kind.MADE, sid, **more)

    def now(self, key: Key) -> Entry:
        """Give an entry as it is."""
        (found,) = self.ledger.get_many([key])
        assert found is not None
        return found

    # What Twilio posts

    def callback(
        self,
        status: str = "delivered",
        *,
        sid: str = SID,
        m: str | None = M,
        code: int | None = None,
        tenant_id: str = TENANT,
        token: str = TOKEN,
        query: str | None = None,
        public_url: str = PUBLIC,
        drop: Iterable[str] = (),
        **params: str,
    ) -> Webhook:
        """Make a callback as Twilio does, signed with its own package."""
        form = {
            "ApiVersion": "2010-04-01",
            "AccountSid": ACCOUNT,
            "From": SENDER,
            "To": NUMBER,
            "MessageSid": sid,
            "SmsSid": sid,
            "MessageStatus": status,
            "SmsStatus": status,
            **({"ErrorCode": str(code)} if code else {}),
            **params,
        }
        form = {name: value for name, value in form.items() if name not in drop}
        if query is None:
            query = "" if m is None else f"m={m}"
        url = f"{public_url}/twilio/status/{tenant_id}" + (f"?{query}" if query else "")
        return Webhook(
            tenant_id=tenant_id,
            query=query,
            headers={
                "content-type": "application/x-www-form-urlencoded; charset=UTF-8",
                "x-twilio-signature": RequestValidator(token).compute_signature(url, form),
            },
            body=urlencode(form).encode(),
            request_id="r-1",
        )

    def settle(self, *callbacks: Webhook) -> list[str]:
        """Hand in callbacks as one batch; gives the answers in a word or two."""
        return [told(answer) for answer in self.settlement.settle_many(callbacks)]

    def hear(self, *statuses: str, **more: Any) -> list[str]:
        """Hand in callbacks one by one."""
        return [self.settle(self.callback(status, **more))[0] for status in statuses]

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log."""
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


def told(answer: Settled | ConnectorError) -> str:
    """Give an answer in a word or two."""
    if isinstance(answer, ConnectorError):
        return f"{answer.http_status} {answer.code}"
    if answer.ignored is not None:
        return f"ignored {answer.ignored}"
    assert answer.entry is not None
    return str(answer.entry.status)


@pytest.fixture
def desk(clock: SetClock) -> Desk:
    """A desk with two tenants of accounts of their own, and one that shares the first's."""
    return Desk(clock)


def replaced(callback: Webhook, **changes: Any) -> Webhook:
    """Change a callback after it was signed."""
    return msgspec.structs.replace(callback, **changes)


# What a callback changes


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("accepted", "ignored no_news"),
        ("queued", "sent"),
        ("sending", "sent"),
        ("sent", "sent"),
        ("partially_delivered", "sent"),
        ("delivered", "delivered"),
        ("read", "read"),
        ("undelivered", "undelivered"),
        ("failed", "failed"),
        ("canceled", "canceled"),
    ],
)
def test_a_status_is_settled(desk: Desk, word: str, status: str) -> None:
    """Each of Twilio's words has its status; what is no news changes nothing."""
    key = desk.entry(desk.made())
    assert desk.hear(word) == [status]
    entry = desk.now(key)
    assert entry.status == (status if " " not in status else "sent")
    assert entry.provider_status == word


def test_the_reason_is_kept_with_the_step(desk: Desk) -> None:
    """Twilio's code tells why a message did not arrive."""
    key = desk.entry(desk.made())
    desk.clock.advance(seconds=9)
    assert desk.hear("undelivered", code=30005) == ["undelivered"]
    entry = desk.now(key)
    assert (entry.reason, entry.error_code) == ("twilio_30005", 30005)
    step = entry.history[-1]
    assert (step.step, step.decision, step.reason) == ("settle", "undelivered", "twilio_30005")
    assert step.at == desk.clock.now


@pytest.mark.parametrize("before", [[], [Kind.LOST], [Kind.LOST, Kind.HELD]])
@pytest.mark.parametrize("word", ["sent", "delivered", "undelivered", "canceled", "flying"])
def test_a_sid_that_never_came_is_found_by_the_correlation_id(
    desk: Desk, before: list[Kind], word: str
) -> None:
    """While the answer is still awaited, after it was lost, and where a person was to decide."""
    key = desk.entry(*(desk.fact(kind, reason="read_timeout") for kind in before))
    expected = word if word in set(Status) else "sent"
    assert desk.hear(word) == [expected]
    entry = desk.now(key)
    assert (entry.sid, entry.status, entry.provider_status) == (SID, expected, word)
    assert not entry.guessed
    assert [step.step for step in entry.history[-1:]] == ["settle"]


def test_the_answer_may_be_written_between_reading_and_writing(desk: Desk) -> None:
    """The status must not be lost because somebody else has just written the SID."""
    key = desk.entry()
    desk.ledger.between = lambda: MemoryStore.record_many(desk.ledger, [(key, desk.made())])
    assert desk.hear("delivered") == ["delivered"]
    assert desk.now(key).status is Status.DELIVERED


def test_the_answer_may_come_after_the_callback(desk: Desk) -> None:
    """Then it is old news."""
    key = desk.entry()
    assert desk.hear("delivered") == ["delivered"]
    assert MemoryStore.record_many(desk.ledger, [(key, desk.made())]) == [None]
    assert desk.now(key).status is Status.DELIVERED


def test_a_callback_without_a_correlation_id_goes_by_its_sid(desk: Desk) -> None:
    """Callbacks may be set at the Messaging Service, too."""
    key = desk.entry(desk.made())
    assert desk.hear("delivered", m=None) == ["delivered"]
    assert desk.hear("read", m="unknown") == ["read"]
    assert desk.now(key).status is Status.READ


def test_a_message_that_is_not_ours_is_ignored(desk: Desk) -> None:
    """The account may send from elsewhere; Twilio need not repeat it."""
    key = desk.entry()
    before = desk.now(key)
    assert desk.hear("delivered", m=None) == ["ignored no_entry"]
    assert desk.hear("delivered", m="unknown") == ["ignored no_entry"]
    assert desk.now(key) == before
    assert desk.ledger.commits == []


@pytest.mark.parametrize(
    "query",
    [
        f"m={M}&m=other",
        f"m={M}&m={M}",
        "m=",
        "m",
        f"M={M}",
        f"m={M}%20",
        f"m={M}+",
        f"m=%63{M[1:]}",
        f"m={M}/..",
        f"m=\u00e9{M}",
        f"m={'a' * 65}",
        f"xm={M}",
        f"x=1;m={M}",
        f"m[]={M}",
    ],
)
def test_what_is_not_one_token_is_as_no_correlation_id(desk: Desk, query: str) -> None:
    """Then only the SID counts."""
    key = desk.entry()
    assert desk.hear("delivered", query=query) == ["ignored no_entry"]
    assert desk.now(key).sid is None


def test_other_members_of_the_query_do_not_matter(desk: Desk) -> None:
    """As long as they are signed."""
    desk.entry()
    assert desk.hear("delivered", query=f"a=b&m={M}&c") == ["delivered"]


def test_what_the_signature_does_not_cover_is_not_read(desk: Desk) -> None:
    """A fragment is no part of what Twilio signs."""
    desk.entry()
    genuine = desk.callback(m=None)
    assert desk.settle(replaced(genuine, query=f"#&m={M}")) != ["delivered"]
    genuine = desk.callback(query="a=1")
    assert desk.settle(replaced(genuine, query=f"a=1#&m={M}")) != ["delivered"]


# Late, repeated and out of order


def test_a_repeated_callback_changes_nothing(desk: Desk) -> None:
    """Neither the status nor the history."""
    key = desk.entry(desk.made())
    assert desk.hear("delivered") == ["delivered"]
    before = desk.now(key)
    desk.clock.advance(minutes=5)
    assert desk.hear("delivered", "delivered") == ["ignored no_news"] * 2
    assert desk.now(key) == before


@pytest.mark.parametrize(
    "words", [*itertools.permutations(["sending", "sent", "delivered", "read"])]
)
@pytest.mark.parametrize("known", [True, False], ids=["sid known", "sid lost"])
def test_order_does_not_matter(desk: Desk, words: tuple[str, ...], known: bool) -> None:
    """One by one or all in one batch, the highest wins."""
    single = desk.entry(*[desk.made()] * known)
    desk.hear(*words)
    batch = desk.entry(*[desk.made(SECOND_SID)] * known, m="second")
    desk.settle(*(desk.callback(word, sid=SECOND_SID, m="second") for word in words))
    for key in (single, batch):
        assert (desk.now(key).status, desk.now(key).provider_status) == ("read", "read")


@pytest.mark.parametrize(("first", "second"), [*itertools.permutations(RANKS, 2)])
def test_a_status_is_never_lowered(desk: Desk, first: str, second: str) -> None:
    """Whatever two come in whatever order, the lower one leaves no trace behind the higher."""
    key = desk.entry(desk.made())
    desk.hear(first)
    before = desk.now(key)
    desk.hear(second)
    if RANKS[second] <= RANKS[first]:
        assert desk.now(key) == before
    else:
        assert desk.now(key).provider_status in (first, second)


def test_a_batch_is_settled_in_its_order_with_one_read_and_one_commit(desk: Desk) -> None:
    """Several of one message among them, the first of which brings its SID."""
    first, second = desk.entry(), desk.entry(desk.made(SECOND_SID), m="second")
    answers = desk.settle(
        desk.callback("sent"),
        desk.callback("failed", sid=SECOND_SID, m="second", code=30008),
        desk.callback("sent"),
        desk.callback("delivered"),
        desk.callback("sending"),
        desk.callback("delivered", sid="SM" + "0" * 32, m=None),
    )
    assert answers == [
        "sent",
        "failed",
        "ignored no_news",
        "delivered",
        "ignored no_news",
        "ignored no_entry",
    ]
    assert (desk.now(first).status, desk.now(second).status) == ("delivered", "failed")
    assert len(desk.ledger.reads) == len(desk.ledger.commits) == 1


def test_a_callback_without_a_correlation_id_is_not_matched_by_a_sid_of_the_same_batch(
    desk: Desk,
) -> None:
    """It was read before the SID was written; Twilio's other callbacks carry the id."""
    key = desk.entry()
    assert desk.settle(desk.callback("sent"), desk.callback("delivered", m=None)) == [
        "sent",
        "ignored no_entry",
    ]
    assert desk.hear("delivered") == ["delivered"]
    assert desk.now(key).status is Status.DELIVERED


def test_no_callbacks_are_no_work(desk: Desk) -> None:
    """Nor a line."""
    assert desk.settle() == []
    assert (desk.ledger.reads, desk.ledger.commits, desk.lines) == ([], [], [])


# Whose entry it is


def test_another_tenants_correlation_id_leads_nowhere(desk: Desk) -> None:
    """Not even where both use one account, so that the signature is right for both."""
    key = desk.entry()
    before = desk.now(key)
    assert desk.hear("delivered", tenant_id=TWINNED) == ["ignored no_entry"]
    theirs = {"tenant_id": OTHER, "token": OTHERS_TOKEN, "AccountSid": OTHERS_ACCOUNT}
    assert desk.hear("delivered", **theirs) == ["ignored no_entry"]
    assert desk.now(key) == before


def test_another_tenants_sid_leads_nowhere(desk: Desk) -> None:
    """One tenant's callbacks never touch another's entries."""
    key = desk.entry(desk.made())
    before = desk.now(key)
    assert desk.hear("delivered", tenant_id=TWINNED, m=None) == ["ignored no_entry"]
    assert desk.now(key) == before


def test_an_entry_that_has_a_sid_takes_no_other(desk: Desk) -> None:
    """A second message under one correlation id would be another's, or a mistake of ours."""
    key = desk.entry(desk.made())
    before = desk.now(key)
    assert desk.hear("delivered", sid=SECOND_SID) == ["ignored other_sid"]
    assert desk.now(key) == before


def test_of_two_sids_in_one_batch_the_first_is_taken(desk: Desk) -> None:
    """The other changes nothing."""
    key = desk.entry()
    assert desk.settle(desk.callback("sent"), desk.callback("delivered", sid=SECOND_SID)) == [
        "sent",
        "ignored other_sid",
    ]
    assert (desk.now(key).sid, desk.now(key).status) == (SID, "sent")


def test_a_guessed_sid_gives_way_to_twilios_word(desk: Desk) -> None:
    """It was found by looking alike."""
    key = desk.entry(desk.fact(Kind.LOST), desk.made(SECOND_SID, guessed=True))
    assert desk.hear("delivered") == ["delivered"]
    entry = desk.now(key)
    assert (entry.sid, entry.guessed, entry.status) == (SID, False, "delivered")


def test_a_guess_at_another_entrys_sid_is_taken_back(desk: Desk) -> None:
    """The one whose correlation id comes with it is right."""
    wrong = desk.entry(desk.fact(Kind.LOST), desk.made(SID, guessed=True), m="wrong")
    right = desk.entry(desk.fact(Kind.LOST))
    assert desk.hear("delivered") == ["delivered"]
    assert (desk.now(right).sid, desk.now(right).status) == (SID, "delivered")
    assert (desk.now(wrong).sid, desk.now(wrong).status) == (None, "unknown")


def test_a_sid_that_belongs_to_another_entry_is_not_taken(desk: Desk) -> None:
    """Its own entry has it from Twilio's answer."""
    owner = desk.entry(desk.made())
    key = desk.entry(m="second")
    before = desk.now(owner), desk.now(key)
    assert desk.hear("delivered", m="second") == ["ignored not_expected"]
    assert (desk.now(owner), desk.now(key)) == before


@pytest.mark.parametrize("kind", [Kind.REFUSED, Kind.RETRIED])
def test_an_entry_of_which_twilio_said_that_nothing_was_made_is_sent_all_the_same(
    desk: Desk, kind: Kind
) -> None:
    """The callback proves that there is a message: nothing is sent again."""
    key = desk.entry(desk.fact(kind, reason="twilio_21610"))
    assert desk.hear("delivered") == ["delivered"]
    assert desk.now(key).status is Status.DELIVERED


# Who is believed


def _unsigned(callback: Webhook) -> Webhook:
    return replaced(callback, headers={"content-type": callback.headers["content-type"]})


def _signed_with(signature: str) -> Callable[[Webhook], Webhook]:
    def change(callback: Webhook) -> Webhook:
        return replaced(callback, headers={**callback.headers, "x-twilio-signature": signature})

    return change


FORGERIES: dict[str, Callable[[Webhook], Webhook]] = {
    "no signature": _unsigned,
    "empty signature": _signed_with(""),
    "short signature": _signed_with("A"),
    "odd signature": _signed_with("\u00fc\udcff\0"),
    "long signature": _signed_with("A" * 60_000),
    "status changed": lambda c: replaced(c, body=c.body.replace(b"delivered", b"failed")),
    "sid changed": lambda c: replaced(c, body=c.body.replace(SID.encode(), SECOND_SID.encode())),
    "parameter added": lambda c: replaced(c, body=c.body + b"&ErrorCode=30007"),
    "parameter doubled": lambda c: replaced(c, body=c.body + b"&MessageStatus=failed"),
    "body gone": lambda c: replaced(c, body=b""),
    "correlation changed": lambda c: replaced(c, query="m=another"),
    "query grown": lambda c: replaced(c, query=f"{c.query}&m=another"),
    "query re-encoded": lambda c: replaced(c, query=c.query.replace("m=c", "m=%63")),
    "query gone": lambda c: replaced(c, query=""),
    "another tenant": lambda c: replaced(c, tenant_id=OTHER),
    "same account's other tenant": lambda c: replaced(c, tenant_id=TWINNED),
    "as JSON": lambda c: replaced(c, headers={**c.headers, "content-type": "application/json"}),
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forged_callback_is_refused_and_changes_nothing(
    desk: Desk, forge: Callable[[Webhook], Webhook]
) -> None:
    """403, whatever was changed after it was signed."""
    keys = [
        desk.entry(desk.made()),
        desk.entry(desk.made(SECOND_SID), m="another"),
        desk.entry(tenant_id=OTHER),
    ]
    before = [desk.now(key) for key in keys]
    assert desk.settle(forge(desk.callback())) == ["403 forbidden"]
    assert [desk.now(key) for key in keys] == before
    assert (desk.ledger.reads, desk.ledger.commits) == ([], [])


@pytest.mark.parametrize(
    "changes",
    [
        {"token": "a-guess"},
        {"token": OTHERS_TOKEN},
        {"token": ""},
        {"public_url": "https://evil.example.com"},
        {"public_url": "http://sms.example.com"},
        {"public_url": f"{PUBLIC}/prefix"},
        {"public_url": f"{PUBLIC}:8443"},
    ],
    ids=str,
)
def test_a_callback_that_was_signed_otherwise_is_refused(
    desk: Desk, changes: dict[str, Any]
) -> None:
    """By another secret, or for another address."""
    key = desk.entry(desk.made())
    before = desk.now(key)
    assert desk.hear("delivered", **changes) == ["403 forbidden"]
    assert desk.now(key) == before


def test_what_the_request_claims_of_its_host_does_not_matter(desk: Desk) -> None:
    """Neither for the good nor for the bad: a proxy's headers are anybody's."""
    desk.entry(desk.made())
    claims = {"host": "evil.example.com", "x-forwarded-host": "e", "x-forwarded-proto": "http"}
    genuine = desk.callback()
    assert desk.settle(replaced(genuine, headers={**genuine.headers, **claims})) == ["delivered"]
    forged = desk.callback("read", public_url="https://evil.example.com")
    assert desk.settle(replaced(forged, headers={**forged.headers, **claims})) == ["403 forbidden"]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("https://sms.example.com", "https://sms.example.com:443"),
        ("https://sms.example.com:443", "https://sms.example.com"),
        ("http://sms.example.com", "http://sms.example.com:80"),
        ("https://sms.example.com:8443", "https://sms.example.com:8443"),
        ("https://example.com/sms/v1", "https://example.com/sms/v1"),
    ],
)
def test_the_standard_port_may_be_named_or_not(clock: SetClock, ours: str, theirs: str) -> None:
    """Twilio's own parts do not agree on it; a path in front of our routes is part of it."""
    desk = Desk(clock, public_url=ours)
    desk.entry(desk.made())
    assert desk.hear("delivered", public_url=theirs) == ["delivered"]


def test_any_accepted_token_may_have_signed(desk: Desk) -> None:
    """A rotation has a time in which both are good."""
    desk.tenants.cached[TENANT] = tenant(TENANT, twilio_auth_tokens=["next", "one-before"])
    desk.entry(desk.made())
    assert desk.hear("sent", token="one-before") == ["sent"]
    assert desk.hear("delivered", token="next") == ["delivered"]
    assert desk.hear("read", token=TOKEN) == ["read"]
    assert desk.tenants.reread_ids == []


def test_an_api_key_does_not_sign(clock: SetClock) -> None:
    """Twilio signs with the account's token, whatever the tenant sends with."""
    desk = Desk(clock)
    login = {"twilio_api_key_sid": "SK" + "f6" * 16, "twilio_api_key_secret": "the-secret"}
    desk.tenants.cached[TENANT] = tenant(TENANT, **login)
    desk.entry(desk.made())
    assert desk.hear("delivered", token="the-secret") == ["403 forbidden"]
    assert desk.hear("delivered") == ["delivered"]


def test_a_shared_key_may_have_signed(desk: Desk) -> None:
    """With SHA-256, as the header says."""
    desk.tenants.cached[TENANT] = tenant(TENANT, twilio_webhook_keys={"key-1": "the-shared-key"})
    desk.entry(desk.made())
    callback = desk.callback()
    form = dict(pair.split("=") for pair in callback.body.decode().split("&"))
    form = {name: value.replace("%2B", "+") for name, value in form.items()}
    url = f"{PUBLIC}/twilio/status/{TENANT}?m={M}"
    headers = {
        **callback.headers,
        "x-twilio-webhooks-signature-settings": "key=key-1,algorithm=HMAC_SHA256",
        "x-twilio-signature": RequestValidator("the-shared-key").compute_signature(
            url, form, "HMAC_SHA256"
        ),
    }
    other = {**headers, "x-twilio-webhooks-signature-settings": "key=2,algorithm=HMAC_SHA256"}
    assert desk.settle(replaced(callback, headers=other)) == ["403 forbidden"]
    assert desk.settle(replaced(callback, headers=headers)) == ["delivered"]


def signed_json(desk: Desk, body: bytes, claimed: bytes | None = None) -> Webhook:
    """Make a callback with a JSON body, its hash in the query, and the signature over that."""
    digest = hashlib.sha256(body if claimed is None else claimed).hexdigest()
    query = f"m={M}&bodySHA256={digest}"
    url = f"{PUBLIC}/twilio/status/{TENANT}?{query}"
    signature = RequestValidator(TOKEN).compute_signature(url, {})
    return Webhook(
        tenant_id=TENANT,
        query=query,
        body=body,
        headers={"content-type": "application/json", "x-twilio-signature": signature},
    )


JSON = {"AccountSid": ACCOUNT, "MessageSid": SID, "MessageStatus": "delivered", "Odd": {"a": [1]}}


def test_a_json_body_is_signed_by_its_hash(desk: Desk) -> None:
    """``bodySHA256`` in the query ties it to the signature."""
    desk.entry(desk.made())
    body = json.dumps(JSON).encode()
    assert desk.settle(signed_json(desk, body + b" ", claimed=body)) == ["403 forbidden"]
    assert desk.settle(signed_json(desk, body)) == ["delivered"]


def test_the_account_of_the_body_must_be_the_tenants(desk: Desk) -> None:
    """A signature alone says only that somebody with the token posted it."""
    key = desk.entry(desk.made())
    before = desk.now(key)
    foreign = desk.hear("delivered", AccountSid=OTHERS_ACCOUNT)
    missing = desk.hear("delivered", drop=["AccountSid"])
    empty = desk.hear("delivered", AccountSid="")
    assert foreign == missing == empty == ["403 forbidden"]
    assert desk.now(key) == before
    assert [line["reason"] for line in desk.lines] == ["account"] * 3


# Tenants


@pytest.mark.parametrize(
    "tenant_id",
    ["", "..", "../acme", "acme/", "acme/x", "acme\n", "acme\0", "a" * 65, "%61cme", "ac\u043ce"],
)
def test_a_malformed_tenant_id_is_never_looked_up(desk: Desk, tenant_id: str) -> None:
    """It touches no path, no secret's name and no query."""
    assert desk.settle(replaced(desk.callback(), tenant_id=tenant_id)) == ["403 forbidden"]
    assert desk.tenants.asked == []


def test_whatever_is_refused_gets_the_same_answer(clock: SetClock) -> None:
    """Nobody learns which tenants there are, nor what was wrong."""
    desk, closed = Desk(clock), Desk(clock, public_url=None)
    asked = [
        (desk, replaced(desk.callback(), tenant_id="nobody")),
        (desk, replaced(desk.callback(), tenant_id="../x")),
        (desk, _unsigned(desk.callback())),
        (desk, desk.callback(token="wrong")),
        (desk, desk.callback(AccountSid=OTHERS_ACCOUNT)),
        (closed, closed.callback()),
        (closed, replaced(closed.callback(), tenant_id="nobody")),
    ]
    answers = [one.settlement.settle_many([callback])[0] for one, callback in asked]
    shown = {
        (answer.http_status, answer.code, answer.message, answer.issues)
        for answer in answers
        if isinstance(answer, ConnectorError)
    }
    words = "The request is not from this tenant's Twilio account."
    assert shown == {(403, "forbidden", words, ())}
    assert all(isinstance(answer, ConnectorError) for answer in answers)


def test_without_a_public_address_nothing_is_believed(clock: SetClock) -> None:
    """There is nothing to compare a signature with; no tenant is looked up either."""
    desk = Desk(clock, public_url=None)
    key = desk.entry(desk.made())
    for public_url in (PUBLIC, "None", ""):
        assert desk.hear("delivered", public_url=public_url) == ["403 forbidden"]
    assert desk.tenants.asked == []
    assert desk.now(key).status is Status.SENT


@pytest.mark.parametrize("error", [TenantUnavailable("Down."), TenantBroken("Wrong.")])
def test_a_document_that_cannot_be_read_is_503(desk: Desk, error: ConnectorError) -> None:
    """Twilio comes again."""
    desk.entry(desk.made())
    good = desk.tenants.cached[TENANT]
    desk.tenants.cached[TENANT] = error
    assert desk.hear("delivered") == [f"503 {error.code}"]
    desk.tenants.cached[TENANT] = good
    assert desk.hear("delivered") == ["delivered"]


def test_a_rotated_token_is_read_again(desk: Desk) -> None:
    """Once, and then it is known."""
    desk.entry(desk.made())
    desk.tenants.fresh[TENANT] = tenant(TENANT, twilio_auth_token="rotated")
    assert desk.hear("sent", token="rotated") == ["sent"]
    assert desk.hear("delivered", token="rotated") == ["delivered"]
    assert desk.tenants.reread_ids == [TENANT]


def test_a_bad_signature_has_the_document_read_again_once(desk: Desk) -> None:
    """A good one never."""
    desk.entry(desk.made())
    assert desk.hear("delivered", token="wrong") == ["403 forbidden"]
    assert desk.tenants.reread_ids == [TENANT]
    assert desk.hear("delivered") == ["delivered"]
    assert desk.tenants.reread_ids == [TENANT]


def test_an_account_that_changed_with_the_token_is_the_one_that_counts(desk: Desk) -> None:
    """The document as it was read last."""
    desk.entry(desk.made())
    moved = {"twilio_account_sid": OTHERS_ACCOUNT, "twilio_auth_token": "rotated"}
    desk.tenants.fresh[TENANT] = tenant(TENANT, **moved)
    assert desk.hear("delivered", token="rotated") == ["403 forbidden"]
    assert desk.hear("delivered", token="rotated", AccountSid=OTHERS_ACCOUNT) == ["delivered"]


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (TenantBroken("Wrong."), "503 tenant_broken"),
        (TenantUnavailable("Down."), "503 tenant_unavailable"),
        (TenantUnknown("Gone."), "403 forbidden"),
    ],
)
def test_a_document_that_has_become_unreadable_meanwhile(
    desk: Desk, error: ConnectorError, answer: str
) -> None:
    """Whoever signed with the next token is told to come again; a tenant that is gone is gone."""
    desk.tenants.fresh[TENANT] = error
    assert desk.hear("delivered", token="rotated") == [answer]


# Bodies


def test_a_body_of_just_64_kib_is_taken(desk: Desk) -> None:
    """The limit is meant to the byte, and looked at before any tenant."""
    desk.entry(desk.made())
    size = len(desk.callback(Pad="").body)
    assert desk.hear("delivered", Pad="x" * (MAX_WEBHOOK - size)) == ["delivered"]
    desk.tenants.asked.clear()
    assert desk.hear("delivered", Pad="x" * (MAX_WEBHOOK - size + 1)) == ["413 too_large"]
    assert desk.tenants.asked == []


@pytest.mark.parametrize(
    "drop",
    [
        ["MessageSid", "SmsSid"],
        ["MessageStatus", "SmsStatus"],
        ["MessageSid", "SmsSid", "MessageStatus", "SmsStatus"],
    ],
)
def test_a_callback_that_says_nothing_is_ignored(desk: Desk, drop: list[str]) -> None:
    """204: it would say no more the next time."""
    key = desk.entry(desk.made())
    before = desk.now(key)
    assert desk.hear("delivered", drop=drop) == ["ignored no_receipt"]
    assert desk.now(key) == before
    assert desk.ledger.reads == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ChannelStatusMessage", "\u00dcber +12015550142 \U0001f600"),
        ("RawDlrDoneDate", "2603020930"),
        ("EventType", "READ"),
        ("messageStatus", "failed"),
        ("", ""),
        ("a=b&c", "d;e%26 f\r\n"),
        ("nul\0", "\0"),
    ],
)
def test_parameters_that_are_new_change_nothing(desk: Desk, name: str, value: str) -> None:
    """Twilio adds some without notice, and signs them like the others."""
    desk.entry(desk.made())
    assert desk.hear("delivered", **{name: value}) == ["delivered"]


@pytest.mark.parametrize("word", ["flying", "expired", "held", "made", "repeated", "disowned", "x"])
@pytest.mark.parametrize("known", [True, False], ids=["sid known", "sid lost"])
def test_a_status_that_we_do_not_know_is_no_end(desk: Desk, word: str, known: bool) -> None:
    """Even where a fact of ours has the same name; what is known still follows."""
    key = desk.entry(*[desk.made()] * known)
    assert desk.hear(word) == ["ignored no_news" if known else "sent"]
    assert desk.now(key).status is Status.SENT
    assert desk.now(key).repeats == 0
    assert desk.hear("delivered") == ["delivered"]


HOSTILE = {
    "nothing": b"",
    "not UTF-8": b"AccountSid=\xff\xfe",
    "nul": b"\x00" * 1000,
    "surrogates, encoded": b"AccountSid=%ED%A0%80&MessageSid=%ED%A0%80",
    "many parameters": b"&".join(b"a%d=1" % number for number in range(8_000)),
    "many separators": b"&" * 60_000,
    "no separators": b"=" * 60_000,
    "one long name": b"a" * 60_000,
    "percents": b"%" * 60_000,
    "JSON": json.dumps(JSON).encode(),
    "deep JSON": b"[" * 60_000,
    "deep object": b'{"a":' * 12_000,
    "no object": b"[]",
    "numbers": b'{"AccountSid":1e999}',
    "lone surrogate": b'{"AccountSid":"\\ud800"}',
    "multipart": b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n--x--",
}
TYPES = ["application/x-www-form-urlencoded", "application/json", "multipart/form-data", "", "\0"]


@pytest.mark.parametrize("content_type", TYPES)
@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("hashed", [True, False], ids=["hash signed", "plain"])
def test_hostile_bodies_are_refused(
    desk: Desk, body: bytes, content_type: str, hashed: bool
) -> None:
    """Signed or not, they never raise, and nothing is read or written for them."""
    callback = signed_json(desk, body)
    if not hashed:
        callback = replaced(callback, query=f"m={M}")
    callback = replaced(callback, headers={**callback.headers, "content-type": content_type})
    believed = hashed and content_type == TYPES[1] and body == HOSTILE["JSON"]
    desk.entry(desk.made())
    [answer] = desk.settle(callback)
    if believed:
        assert answer == "delivered"
    else:
        assert answer in ({"403 forbidden", "400 malformed"} if hashed else {"403 forbidden"})


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff", b'{"AccountSid":"\\ud800"}'], ids=ascii
)
def test_a_signed_body_that_cannot_be_read_is_400(desk: Desk, body: bytes) -> None:
    """It is from somebody with the token, and says nothing."""
    desk.entry(desk.made())
    assert desk.settle(signed_json(desk, body)) == ["400 malformed"]
    assert desk.ledger.reads == []


@pytest.mark.parametrize(
    "query",
    ["\0", "\u00ff" * 1000, "&" * 60_000, "%" * 60_000, "m=" * 30_000, "#", "?", "bodySHA256="],
)
def test_hostile_queries_are_refused(desk: Desk, query: str) -> None:
    """They are not what was signed."""
    assert desk.settle(replaced(desk.callback(), query=query)) == ["403 forbidden"]


# The ledger away


@pytest.mark.parametrize("verb", ["marked", "record_many"])
def test_where_the_ledger_is_away_twilio_is_told_to_come_again(desk: Desk, verb: str) -> None:
    """Those that need it; the others have their answers. The next time all is as if the first."""
    key = desk.entry()
    batch = [
        desk.callback("sent"),
        desk.callback(token="wrong"),
        desk.callback(drop=["MessageSid", "SmsSid"]),
        desk.callback("delivered"),
    ]
    before = desk.now(key)
    desk.ledger.away = {verb}
    unavailable, forbidden = "503 ledger_unavailable", "403 forbidden"
    assert desk.settle(*batch) == [unavailable, forbidden, "ignored no_receipt", unavailable]
    assert desk.now(key) == before
    desk.ledger.away = set()
    assert desk.settle(*batch) == ["sent", forbidden, "ignored no_receipt", "delivered"]


def test_what_needs_no_writing_does_not_wait_for_it(desk: Desk) -> None:
    """Nothing is known of the message, which will not change."""
    desk.ledger.away = {"record_many"}
    assert desk.hear("delivered", m=None) == ["ignored no_entry"]


# The log


def test_each_callback_has_a_line(desk: Desk) -> None:
    """Ids, Twilio's word and ours."""
    desk.entry(desk.made(), guid=GUID)
    desk.settle(desk.callback("undelivered", code=30005), desk.callback("undelivered"))
    first, second = desk.lines
    for line in (first, second):
        del line["at"], line["ms"]
    common = {
        "level": "info",
        "event": "receipt.settled",
        "request_id": "r-1",
        "batch": 2,
        "tenant": TENANT,
        "guid": GUID,
        "sid": SID,
        "provider_status": "undelivered",
    }
    assert first == common | {"decision": "undelivered", "reason": "twilio_30005"}
    assert second == common | {"decision": "ignored", "reason": "no_news"}


@pytest.mark.parametrize(
    ("changes", "decision", "reason", "known"),
    [
        ({"token": "wrong"}, 403, "signature", TENANT),
        ({"AccountSid": "AC"}, 403, "account", TENANT),
        ({"tenant_id": "12015550142"}, 403, "tenant", None),
        ({"tenant_id": "+12015550142"}, 403, "tenant", None),
        ({"Pad": "x" * MAX_WEBHOOK}, 413, "too_large", None),
    ],
)
def test_what_is_refused_has_a_line_with_the_reason(
    desk: Desk, changes: dict[str, Any], decision: int, reason: str, known: str | None
) -> None:
    """The caller does not learn it; a tenant is named only if it is one."""
    desk.hear("delivered", **changes)
    (line,) = desk.lines
    assert line["event"] == "receipt.refused"
    assert (line["decision"], line["reason"], line["tenant"]) == (decision, reason, known)


def test_no_line_holds_a_number_a_text_or_a_credential(desk: Desk) -> None:
    """Whatever comes in, and whatever becomes of it."""
    desk.entry(desk.made(), guid="+12015550142")
    desk.hear("sent", "delivered", "sent", ChannelStatusMessage="for +12015550142")
    desk.hear("sent", token="wrong", Body="for +12015550142")
    desk.settle(replaced(desk.callback(), tenant_id="+12015550142", query="+12015550142"))
    for number in range(LEAST):
        desk.entry(desk.made(f"SM{number:032}"), m=f"m{number}")
        desk.hear("failed", sid=f"SM{number:032}", m=f"m{number}", code=FILTERED)
    assert PAUSE_TRIPPED in {line["event"] for line in desk.lines}
    for secret in ("2015550142", "2015550199", TOKEN, "Hello", "ChannelStatus"):
        assert secret not in desk.stream.getvalue()


# Senders that trip; how they are counted is told in test_tripping.py


def on_its_way(desk: Desk, number: int) -> Any:
    """Write an entry whose message Twilio has made; gives what its callbacks hold."""
    sid, m = f"SM{number:032x}", f"m{number}"
    desk.entry(desk.made(sid), guid=m, m=m)
    return {"sid": sid, "m": m, "code": FILTERED}


def test_a_sender_whose_messages_are_filtered_is_paused(desk: Desk) -> None:
    """Not before there are enough of them."""
    for number in range(LEAST):
        assert desk.ledger.pauses() == []
        desk.hear("failed", **on_its_way(desk, number))
    (pause,) = desk.ledger.pauses()
    assert (pause.scope, pause.tenant_id, pause.value) == (Scope.SENDER, TENANT, SENDER)


def test_one_batch_may_trip_a_sender(desk: Desk) -> None:
    """Pauses are read once for it, and one is written."""
    messages = [on_its_way(desk, number) for number in range(50)]
    desk.settle(*(desk.callback("undelivered", **message) for message in messages))
    assert desk.ledger.lookups == 1
    assert [line["event"] for line in desk.lines].count(PAUSE_TRIPPED) == 1
    assert len(desk.ledger.pauses()) == 1


def test_a_message_counts_once(desk: Desk) -> None:
    """However often and in how many words its end is told."""
    for number in range(LEAST - 1):
        message = on_its_way(desk, number)
        desk.settle(*(desk.callback("failed", **message) for _ in range(5)))
        desk.hear("undelivered", "failed", "undelivered", "sent", **message)
    assert desk.ledger.pauses() == []


def test_what_is_not_final_costs_no_look_at_the_pauses(desk: Desk) -> None:
    """Nor does what is final and no news."""
    desk.entry(desk.made())
    desk.hear("sending", "sent")
    assert desk.ledger.lookups == 0
    desk.hear("delivered", "delivered", "read")
    assert desk.ledger.lookups == 1


def test_forged_receipts_trip_nothing(desk: Desk) -> None:
    """Nobody can stop a sender by posting."""
    for number in range(LEAST * 2):
        desk.hear("failed", token="wrong", **on_its_way(desk, number))
    assert desk.ledger.lookups == 0
    assert desk.ledger.pauses() == []


def test_a_probe_that_arrives_lifts_the_pause(desk: Desk) -> None:
    """It is known by its key; that it was sent says nothing yet."""
    messages = [on_its_way(desk, number) for number in range(LEAST)]
    desk.settle(*(desk.callback("failed", **message) for message in messages))
    probe = on_its_way(desk, LEAST)
    (pause,) = desk.ledger.pauses()
    key = key_of(TENANT, probe["m"])
    assert desk.ledger.pause(msgspec.structs.replace(pause, probe=key), replace=True)
    desk.hear("sending", "sent", **probe)
    assert len(desk.ledger.pauses()) == 1
    assert desk.hear("delivered", **probe | {"code": None}) == ["delivered"]
    assert desk.ledger.pauses() == []
    assert desk.lines[-1]["event"] == PAUSE_LIFTED


@pytest.mark.parametrize("verb", ["pauses", "pause"])
def test_receipts_stand_where_the_pause_cannot_be_written(desk: Desk, verb: str) -> None:
    """They are in the ledger already, and Twilio is told so."""
    messages = [on_its_way(desk, number) for number in range(LEAST)]
    desk.ledger.away = {verb}
    answers = desk.settle(*(desk.callback("failed", **message) for message in messages))
    assert answers == ["failed"] * LEAST
    desk.ledger.away = set()
    assert desk.ledger.pauses() == []
