"""A ledger in DynamoDB: what the suite for all stores cannot see, against moto."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from moto import mock_aws

from ci360_twilio.core.consent import EVERY_SENDER, Evidence, Sign, Source, Subject
from ci360_twilio.core.due import Work
from ci360_twilio.core.entry import Entry, Fact, Key, Kind, Lease, Status, key_of
from ci360_twilio.core.message import Message
from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.core.report import Outcome
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import LedgerUnavailable, LedgerUnusable, SettingsError
from ci360_twilio.settings import Settings
from ci360_twilio.stores.dynamodb import DynamoStore
from ci360_twilio.stores.dynamodb_items import KEPT_OVER
from ci360_twilio.stores.dynamodb_table import Row, Table, definition
from ci360_twilio.twin.table import TwinTable
from ci360_twilio.wiring import make_store

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
TENANT = TenantId("demo")
TO = "+12015550101"
LEASE = Lease(token="lease", until=NOW + timedelta(minutes=1))
KEY = b"k" * 32


class Watched(Table):
    """A table that has something happen after a row is written, or read."""

    then: Callable[[str], None] | None = None
    meanwhile: Callable[[], object] | None = None

    def read(self, pks: Collection[str]) -> dict[str, Row | None]:
        """Read rows."""
        found = super().read(pks)
        if self.meanwhile is not None:
            what, self.meanwhile = self.meanwhile, None
            what()
        return found

    def write(self, row: Row, *, before: int | None) -> bool:
        """Write a row."""
        done = super().write(row, before=before)
        if self.then is not None:
            self.then(row.pk)
        return done


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Give a client of moto, with a table."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "none")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        client = boto3.session.Session().client("dynamodb")
        client.create_table(**definition("ledger"))
        yield client


@pytest.fixture
def table(client: Any) -> Watched:
    """Give the table."""
    return Watched(client, "ledger", shards=2, clock=NOW.timestamp)


@pytest.fixture
def store(table: Watched) -> Iterator[DynamoStore]:
    """Give the ledger."""
    store = DynamoStore(table, hash_key=KEY)
    yield store
    store.close()


def entry(guid: str = "g1", **changes: Any) -> Entry:
    """Make an entry."""
    members: dict[str, Any] = {
        "status": Status.ACCEPTED,
        "created_at": NOW,
        "due_at": NOW,
        "expires_at": NOW + timedelta(days=1),
        "purge_at": NOW + timedelta(days=90),
        "message": Message(to=TO, sender="+15005550006", body="Hello"),
        "tells": (Outcome.OPT_OUT,),
    }
    return Entry(key=key_of(TENANT, guid), tenant_id=TENANT, guid=guid, **members | changes)


def claimed(store: DynamoStore, *guids: str) -> list[Key]:
    """Write entries, and claim them."""
    store.insert_many([entry(guid) for guid in guids])
    return [one.key for one in store.claim(now=NOW, lease=LEASE, limit=9).entries]


def start(store: DynamoStore, *keys: Key) -> list[Status | None]:
    """Have entries started."""
    begun = [(key, Fact(kind=Kind.STARTED, at=NOW, lease=LEASE, correlation=key)) for key in keys]
    return [None if one is None else one.status for one in store.record_many(begun)]


def stop(at: datetime = NOW, **members: Any) -> tuple[Subject, Evidence]:
    """Give the wish for no more messages."""
    wish = Evidence(sign=Sign.OUT, source=Source.PERSON, heard_at=at, **members)
    return Subject(TENANT, TO, EVERY_SENDER), wish


PAUSE = Pause(scope=Scope.ALL, cause=Cause.PERSON, reason="paused", since=NOW)


def once(table: Watched, pk: str, what: Callable[[], object]) -> None:
    """Have something happen after a row is written, once."""

    def then(written: str) -> None:
        if written == pk:
            table.then = None
            what()

    table.then = then


def test_a_claim_that_the_note_of_a_repeat_gets_in_the_way_of_is_made_again(
    client: Any, table: Watched, store: DynamoStore
) -> None:
    """The row has changed since it was read, and yet nobody else is at it."""
    other = DynamoStore(Table(client, "ledger", shards=2, clock=NOW.timestamp), hash_key=KEY)
    [(made, _)] = store.insert_many([entry("g1")])
    table.meanwhile = lambda: other.insert_many([entry("g1")])
    taken = store.claim(now=NOW, lease=LEASE, limit=1, keys=[made.key]).entries
    assert [(one.key, one.lease) for one in taken] == [(made.key, LEASE)]
    table.meanwhile = lambda: other.insert_many([entry("g1")])
    late = Lease(token="late", until=LEASE.until)
    assert store.claim(now=NOW, lease=late, limit=1, keys=[made.key]).entries == []
    other.close()


def test_a_start_that_a_pause_overtakes_is_taken_back(table: Watched, store: DynamoStore) -> None:
    """The pause is written between the start and the second look: nothing has left yet."""
    keys = claimed(store, "g1", "g2")
    once(table, f"E#{keys[0]}", lambda: store.pause(PAUSE))
    assert set(start(store, *keys)) == {Status.ACCEPTED}
    for found in store.get_many(keys):
        assert found is not None
        assert (found.status, found.place, found.attempts) == (Status.ACCEPTED, PAUSE.place, 0)
    store.resume([PAUSE.name])
    again = store.claim(now=NOW, lease=LEASE, limit=9).entries
    assert {one.key for one in again} == set(keys)


def test_a_start_that_an_opt_out_overtakes_is_taken_back(
    table: Watched, store: DynamoStore
) -> None:
    """As if it had been seen the first time."""
    [key] = claimed(store, "g1")
    once(table, f"E#{key}", lambda: store.attest_many([stop()], now=NOW))
    assert start(store, key) == [Status.SUPPRESSED]
    [found] = store.get_many([key])
    assert found is not None
    assert (found.status, found.reason, found.started_at) == (Status.SUPPRESSED, "opted_out", None)


def test_what_overtakes_nobody_lets_starts_be(table: Watched, store: DynamoStore) -> None:
    """Such as a pause of another tenant's, or another's wish."""
    [key] = claimed(store, "g1")
    other = Pause(
        scope=Scope.TENANT, tenant_id=TenantId("b"), cause=Cause.PERSON, reason="x", since=NOW
    )
    once(table, f"E#{key}", lambda: store.pause(other))
    assert start(store, key) == [Status.SENDING]


def test_an_opt_out_whose_attempt_broke_off_is_told_all_the_same(
    table: Watched, store: DynamoStore
) -> None:
    """The wish is written before the entry; where that fails the next attempt tells of it."""
    [key] = claimed(store, "g1")
    start(store, key)
    refused = Fact(kind=Kind.REFUSED, at=NOW, lease=LEASE, error_code=21610, reason="twilio_21610")

    def fail() -> None:
        raise LedgerUnavailable("Gone.")

    subject, _ = stop()
    [pk] = [f"W#{hashed}" for hashed in [store._rows().consent_pk(subject)[2:]]]
    once(table, pk, fail)
    with pytest.raises(LedgerUnavailable):
        store.record_many([(key, refused)])
    [consent] = store.consents([subject])
    assert consent is not None
    assert consent.state == "out"
    [after] = store.record_many([(key, refused)])
    assert after is not None
    assert [report.outcome for report in after.reports] == [Outcome.OPT_OUT]


def test_a_sid_is_one_entrys_though_two_take_it_at_once(table: Watched, store: DynamoStore) -> None:
    """Both have found it to be nobody's; the one that comes second looks anew."""
    first, second = claimed(store, "g1", "g2")
    start(store, first, second)
    made = Fact(kind=Kind.MADE, at=NOW, receipt=Receipt(sid="SM1", status="queued"))
    once(table, "sid#SM1", lambda: store.record_many([(second, made)]))
    store.record_many([(first, made)])
    sids = [one and one.sid for one in store.get_many([first, second])]
    assert sorted(sids, key=str) == [None, "SM1"]


def test_what_is_past_its_time_to_live_is_gone(client: Any, store: DynamoStore) -> None:
    """Though DynamoDB has not deleted it yet; its event may come again, and finds room."""
    store.insert_many([entry(status=Status.REFUSED)])
    later = NOW + timedelta(days=90, seconds=KEPT_OVER)
    table = Table(client, "ledger", shards=2, clock=later.timestamp)
    aged = DynamoStore(table, hash_key=KEY)
    assert aged.get_many([entry().key]) == [None]
    assert aged.insert_many([entry(purge_at=later + timedelta(days=90))])[0].created
    aged.close()


def test_another_hash_key_is_refused(client: Any, store: DynamoStore) -> None:
    """Every opt-out would be out of sight."""
    store.attest_many([stop()], now=NOW)
    with pytest.raises(LedgerUnusable, match="another hash key"):
        DynamoStore(Table(client, "ledger"), hash_key=b"other")


def test_a_table_that_is_not_there_cannot_be_used(client: Any) -> None:
    """It says so by AWS's own code."""
    with pytest.raises(LedgerUnavailable, match="ResourceNotFoundException"):
        DynamoStore(Table(client, "none"), hash_key=KEY)


def test_a_name_that_is_written_while_it_is_to_be_forgotten_stays(
    table: Watched, store: DynamoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or what is put into its place would not be found."""
    names = {"place": (f"names/{Work.PARKED}", "old")}
    used = names | {"place": (names["place"][0], "used")}
    table.overwrite([Row("R#parked#old", 1, b"old", names), Row("R#parked#used", 1, b"used", used)])

    def count(index: str, name: str, **_: object) -> int:
        if "/used" in name:
            table.overwrite([Row("R#parked#used", 2, b"used", used)])
        return 0

    monkeypatch.setattr(table, "count", count)
    store.purge(now=NOW, limit=9)
    found = table.read(["R#parked#old", "R#parked#used"])
    assert found["R#parked#old"] is None
    assert found["R#parked#used"] is not None


def test_rows_that_a_request_leaves_out_are_asked_for_again(client: Any, table: Watched) -> None:
    """DynamoDB answers with a part where a table is busy."""
    for number in range(150):
        assert table.write(Row(f"X#{number}", 0, b"gone"), before=None)
    batch_get, asked = client.batch_get_item, []

    def part(**request: Any) -> Any:
        keys = request["RequestItems"]["ledger"]["Keys"]
        asked.append(len(keys))
        some, left = keys[:30], keys[30:]
        wanted = {"ledger": request["RequestItems"]["ledger"] | {"Keys": some}}
        answer = batch_get(RequestItems=wanted)
        return answer | {"UnprocessedKeys": {"ledger": {"Keys": left}} if left else {}}

    table.client = type("Busy", (), {"batch_get_item": staticmethod(part)})()
    found = table.read([f"X#{number}" for number in range(150)])
    assert all(found.values())
    assert sorted(asked) == [10, 20, 40, 50, 70, 100]
    table.client = client


def test_the_settings_open_it(client: Any) -> None:
    """With a key of its own; the table is there already."""
    assert client
    store = make_store(Settings(ledger="dynamodb:ledger", hash_key="a long secret"))
    assert store.insert_many([entry()])[0].created
    store.close()
    with pytest.raises(SettingsError, match="CI360_TWILIO_HASH_KEY"):
        make_store(Settings(ledger="dynamodb:ledger"))


def standing_still(client: Any, name: str) -> Table:
    """Give a table on which time stands still."""
    return Table(client, name, clock=NOW.timestamp)


def test_a_restored_table_starts_paused(client: Any) -> None:
    """What was on its way may have been sent since: it is unknown, and nothing starts until told so."""
    store = DynamoStore(standing_still(client, "ledger"), hash_key=KEY)
    store.insert_many([entry("before")])
    client.create_table(**definition("restored"))
    for item in client.scan(TableName="ledger")["Items"]:
        client.put_item(TableName="restored", Item=item)
    store.close()

    other = DynamoStore(standing_still(client, "restored"), hash_key=KEY, lazily=True)
    then = NOW + timedelta(seconds=1)
    new = entry("after", created_at=then, generated_at=then)
    [inserted] = other.insert_many([new])
    assert inserted.created
    assert [pause.cause for pause in other.pauses()] == [Cause.RESTORE]
    later = NOW + timedelta(seconds=2)
    assert other.claim(now=later, lease=LEASE, limit=9).entries == []
    other.purge(now=later, limit=9)
    [old, fresh] = other.get_many([key_of(TENANT, "before"), new.key])
    assert old is not None
    assert fresh is not None
    assert (old.status, fresh.status) == (Status.UNKNOWN, Status.ACCEPTED)

    again = DynamoStore(standing_still(client, "restored"), hash_key=KEY)
    again.resume([pause.name for pause in again.pauses()])
    taken = again.claim(now=later, lease=LEASE, limit=9).entries
    assert [one.key for one in taken] == [new.key]
    assert again.pauses() == []


def test_a_pause_of_a_restored_table_is_lifted_when_all_is_settled(client: Any) -> None:
    """Though no sweep has been there yet."""
    store = DynamoStore(standing_still(client, "ledger"), hash_key=KEY)
    store.insert_many([entry("before")])
    store.begin_again(NOW)
    store.resume([pause.name for pause in store.pauses()])
    [old] = store.get_many([key_of(TENANT, "before")])
    assert old is not None
    assert old.status is Status.UNKNOWN


def test_a_restored_table_that_could_not_be_paused_is_not_used(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next piece of work notices once more, and nothing starts before the pause is written."""
    store = DynamoStore(standing_still(client, "ledger"), hash_key=KEY)
    store.insert_many([entry("before")])
    client.create_table(**definition("restored"))
    for item in client.scan(TableName="ledger")["Items"]:
        client.put_item(TableName="restored", Item=item)
    table = standing_still(client, "restored")
    other = DynamoStore(table, hash_key=KEY, lazily=True)

    def away(*_: object, **__: object) -> bool:
        raise LedgerUnavailable("Away.")

    with monkeypatch.context() as patch:
        patch.setattr(table, "write", away)
        with pytest.raises(LedgerUnavailable):
            other.claim(now=NOW, lease=LEASE, limit=9)
    assert other.claim(now=NOW, lease=LEASE, limit=9).entries == []
    assert [pause.cause for pause in other.pauses()] == [Cause.RESTORE]


# Counts


@pytest.mark.parametrize("status", [Status.DELIVERED, Status.ACCEPTED])
def test_of_many_entries_the_newest_are_counted(status: Status) -> None:
    """And it is told how far back that goes; a time after it is counted whole."""
    table = TwinTable(clock=NOW.timestamp, chance=random.Random(1), lag=0.0)
    store = DynamoStore(table, hash_key=KEY)
    made = [NOW + timedelta(minutes=number) for number in range(1_100)]
    batch = [
        Entry(
            key=key_of(TENANT, f"g{number}"),
            tenant_id=TENANT,
            guid=f"g{number}",
            status=status,
            created_at=at,
            due_at=at,
            expires_at=at + timedelta(days=1),
            purge_at=at + timedelta(days=90),
        )
        for number, at in enumerate(made)
    ]
    store.insert_many(batch)
    end = made[-1] + timedelta(minutes=5)
    counted, whole_since = store.counts(since=NOW, before=end)
    assert whole_since == made[100]
    assert sum(one.messages for one in counted) == 1_000
    counted, whole_since = store.counts(since=made[500], before=end)
    assert whole_since is None
    assert sum(one.messages for one in counted) == 600
    store.close()
