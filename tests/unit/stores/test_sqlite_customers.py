"""Customers' messages, wishes and reports in the file: what is overwritten, sealed, and only read."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ci360_twilio.core.consent import Evidence, Sign, Source, Subject
from ci360_twilio.core.entry import Entry, Fact, Key, Kind, Lease
from ci360_twilio.core.event import Origin
from ci360_twilio.core.inbound import Heard, Inbound, Medium, inbound_key
from ci360_twilio.core.message import Message
from ci360_twilio.core.report import Answer, Outcome, Verdict
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import LedgerUnavailable, LedgerUnusable
from ci360_twilio.ports import (
    Conversation,
    Erased,
    Hearing,
    InboundQuery,
    Note,
    Query,
    Store,
    Stray,
    Verified,
)
from ci360_twilio.stores.backup import backup, check, restore
from ci360_twilio.stores.sqlite import SqliteStore

Make = Callable[..., Entry]
Open = Callable[..., SqliteStore]
Act = Callable[[Store], object]

HASH_KEY = b"k" * 32
TENANT = TenantId("af5af6b8f500013eb0c90001")
CUSTOMER, OURS = "+12015550142", "+15005550006"
SUBJECT = Subject(TENANT, CUSTOMER)
TEXT, IDENTITY = "A text that nobody may read again", "identity-of-the-customer"
SECRETS = (CUSTOMER, TEXT, IDENTITY)
ORIGIN = Origin(task_code="TSK_1", identities={"datahub_id": IDENTITY})


def other(path: Path) -> closing[sqlite3.Connection]:
    """Open the file as another program would."""
    return closing(sqlite3.connect(path, isolation_level=None, timeout=0))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep everybody from writing."""
    with other(path) as db:
        db.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def being_read(path: Path) -> Iterator[None]:
    """Be in the middle of reading the ledger as it is now."""
    with other(path) as db:
        db.execute("BEGIN")
        db.execute("SELECT count(*) FROM entries").fetchone()
        yield
        db.execute("ROLLBACK")


def everything(folder: Path) -> bytes:
    """Give the bytes of all files of a folder."""
    return b"".join(file.read_bytes() for file in sorted(folder.iterdir()))


def left_of(path: Path, *words: str) -> list[str]:
    """Tell which words stand anywhere in the ledger's files."""
    found = everything(path.parent)
    return [word for word in words if word.encode() in found]


def hearing(
    now: datetime, sid: str = "SM1", sign: Sign | None = Sign.OUT, **changes: Any
) -> Hearing:
    """Make a message of the customer's, and the wish in it."""
    heard: dict[str, Any] = {"sender": CUSTOMER, "to": OURS, "body": TEXT}
    heard |= {name: changes.pop(name) for name in ("sender", "body", "media") if name in changes}
    members: dict[str, Any] = {
        "heard_at": now,
        "purge_at": now + timedelta(days=1),
        "origin": ORIGIN,
        "tells": (Outcome.REPLY, Outcome.OPT_OUT),
    }
    inbound = Inbound(
        key=inbound_key(TENANT, sid),
        tenant_id=TENANT,
        heard=Heard(sid=sid, **heard),
        **members | changes,
    )
    subject = SUBJECT._replace(recipient=heard["sender"])
    if sign is None:
        return Hearing(inbound, subject)
    evidence = Evidence(sign=sign, source=Source.TEXT, heard_at=now, sid=sid)
    return Hearing(inbound, subject, evidence)


def sent(store: Store, entry: Make, now: datetime, guid: str = "g1", **changes: Any) -> Key:
    """Send a message to the customer that Twilio refuses, so that it is written several times."""
    lease = Lease(token="worker", until=now + timedelta(minutes=1))
    message = Message(to=CUSTOMER, sender=OURS, body=TEXT)
    members: dict[str, Any] = {"message": message, "origin": ORIGIN, "tells": (Outcome.REFUSED,)}
    one = entry(guid, **members | changes)
    store.insert_many([one])
    store.claim(now=now, lease=lease, limit=9, keys=[one.key])
    for kind in (Kind.STARTED, Kind.REFUSED):
        store.record_many([(one.key, Fact(kind=kind, at=now, lease=lease, reason="because"))])
    store.take_reports(TENANT, now=now, until=now, limit=9)
    return one.key


def erase_customer(store: Store, now: datetime, entries: list[Key], sids: list[str]) -> Erased:
    """Erase the customer, as somebody asked who named the number and the identity."""
    return store.erase(
        TENANT,
        entries=entries,
        inbound=[inbound_key(TENANT, sid) for sid in sids],
        recipients=[CUSTOMER],
        words=[CUSTOMER, IDENTITY],
        note=Note(at=now, by="ada", action="erase", subject=TENANT),
    )


# What is erased is gone


def fill(store: Store, entry: Make, now: datetime) -> tuple[list[Key], list[str]]:
    """Have a customer write and be written to, and notes be taken; give the keys and the SIDs."""
    keys = [sent(store, entry, now, f"g{n}") for n in range(40)]
    sids = [f"SM{n}" for n in range(40)]
    signs = (Sign.OUT, Sign.IN, Sign.MAYBE, None)
    media = (Medium(f"https://api.example.com/{IDENTITY}", "image/jpeg"),)
    for number, sid in enumerate(sids):
        store.hear_many([hearing(now, sid, signs[number % 4], media=media * (number % 3))], now=now)
    store.take_undated(now=now, limit=9)
    store.judge(SUBJECT, sids[2], is_out=False, now=now, by="ada")
    detail = f"answers {CUSTOMER} ({IDENTITY}): {TEXT}"
    store.write_note(Note(at=now, by="ada", action="resolve", subject="demo/g1", detail=detail))
    return keys, sids


@pytest.mark.parametrize("is_open", [True, False])
def test_nothing_of_an_erased_person_is_left(
    entry: Make, open_store: Open, path: Path, now: datetime, is_open: bool
) -> None:
    """Neither number nor text nor identity, in any file, used or free; others' documents stay."""
    store = open_store()
    keys, sids = fill(store, entry, now)
    store.insert_many([entry("guid-that-stays")])
    assert left_of(path, *SECRETS) == [*SECRETS]
    assert erase_customer(store, now, keys, sids) == Erased(40, 40, 1, 1)
    if not is_open:
        store.close()
    assert left_of(path, *SECRETS, "guid-that-stays") == ["guid-that-stays"]
    assert check(path).problems == ()


def test_nothing_is_left_in_the_wal_where_another_process_has_it_open(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """Whoever else reads and writes the ledger keeps nothing of it there."""
    store, another = open_store(), open_store()
    keys, sids = fill(store, entry, now)
    another.insert_many([entry("another")])
    assert another.find_inbound(InboundQuery(customer=CUSTOMER)) != []
    erase_customer(another, now, keys, sids)
    assert left_of(path, *SECRETS) == []
    assert store.find_inbound(InboundQuery()) == []
    assert [one.guid for one in store.find(Query())] == ["another"]


def test_an_erasure_that_cannot_clear_the_wal_says_so(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """Somebody reads what it holds for longer than is waited; repeated, the erasure completes."""
    store = open_store()
    keys, sids = fill(store, entry, now)
    with being_read(path), pytest.raises(LedgerUnavailable, match="erase again"):
        erase_customer(store, now, keys, sids)
    assert store.find(Query()) == []
    assert erase_customer(store, now, keys, sids) == Erased(0, 0, 0, 0)
    assert left_of(path, *SECRETS) == []


def test_an_erasure_under_another_processs_lock_is_none(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """Nothing of it is written."""
    store = open_store()
    keys, sids = fill(store, entry, now)
    with locked(path), pytest.raises(LedgerUnavailable, match="BUSY"):
        erase_customer(store, now, keys, sids)
    assert len(store.find(Query())) == 40
    assert left_of(path, *SECRETS) == [*SECRETS]


class Crowd:
    """Sixty customers, of whom some are erased now and then while the others go on."""

    def __init__(self, store: SqliteStore, path: Path, now: datetime, seed: int) -> None:
        self._store, self._path, self._now = store, path, now
        self._rng = random.Random(seed)
        self._people = [f"+1201555{n:04}" for n in range(60)]
        self._known: dict[str, list[Key]] = {person: [] for person in self._people}

    def live(self, entry: Make, steps: int) -> int:
        """Let them write and be written to; gives how many were erased."""
        erased = 0
        for step in range(steps):
            person, moment = self._rng.choice(self._people), self._rng.random()
            if moment < 0.45:
                self._store.insert_many([self._sent_to(entry, person, step)])
            elif moment < 0.85:
                self._hear(person, step)
            elif moment < 0.92:
                self._store.take_reports(TENANT, now=self._now, until=self._now, limit=5)
            else:
                self._erase(person)
                erased += 1
        return erased

    def _words(self, person: str) -> tuple[str, str]:
        return f"text-of-{person[1:]}", f"identity-of-{person[1:]}"

    def _told(self, person: str) -> tuple[str, Origin]:
        text, identity = self._words(person)
        body = text + "y" * self._rng.choice([0, 10, 200, 1500, 5000])
        return body, Origin(identities={"datahub_id": identity})

    def _sent_to(self, entry: Make, person: str, step: int) -> Entry:
        body, origin = self._told(person)
        made = self._now + timedelta(minutes=self._rng.randrange(5000))
        message = Message(to=person, sender=OURS, body=body)
        one = entry(f"g{step}", created_at=made, message=message, origin=origin)
        self._known[person].append(one.key)
        return one

    def _hear(self, person: str, step: int) -> None:
        body, origin = self._told(person)
        sign = self._rng.choice([Sign.OUT, Sign.IN, Sign.MAYBE, None])
        one = hearing(self._now, f"SM{step}", sign, sender=person, body=body, origin=origin)
        self._store.hear_many([one], now=self._now)
        self._known[person].append(one.inbound.key)

    def _erase(self, person: str) -> None:
        keys, self._known[person] = self._known[person], []
        self._store.erase(
            TENANT,
            entries=[key for key in keys if not key.startswith("inbound:")],
            inbound=[key for key in keys if key.startswith("inbound:")],
            recipients=[person],
            words=[person],
            note=Note(at=self._now, by="ada", action="erase", subject=TENANT),
        )
        assert left_of(self._path, person, *self._words(person)) == []


@pytest.mark.parametrize("seed", [2, 3, 8])
def test_nothing_is_left_where_rows_were_moved_from_page_to_page(
    entry: Make, open_store: Open, path: Path, now: datetime, seed: int
) -> None:
    """Of what grew, copies lie in the unused middle of pages; these seeds have found some."""
    assert Crowd(open_store(), path, now, seed).live(entry, 400) > 20
    assert check(path).problems == ()


def test_a_wish_that_outlives_its_number_can_be_checked(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """And it is found by who has the number again, and the key."""
    store = open_store()
    keys, sids = fill(store, entry, now)
    [before] = store.consents([SUBJECT])
    erase_customer(store, now, keys, sids)
    [after] = store.consents([SUBJECT])
    assert before is not None
    assert after is not None
    assert (after.history, after.blocked) == (before.history, True)
    assert store.verify_consents(limit=9) == Verified(1, (), None)


# What is purged is gone


@pytest.mark.parametrize("is_open", [True, False])
def test_nothing_of_a_purged_message_is_left(
    open_store: Open, path: Path, now: datetime, is_open: bool
) -> None:
    """While the ledger is open, and when it is closed; others' messages stay."""
    store = open_store()
    for number in range(100):
        sender = CUSTOMER if number % 2 else f"+120155502{number:02}"
        store.hear_many([hearing(now, f"SM-of-old-{number}", None, sender=sender)], now=now)
    stays = {"purge_at": now + timedelta(days=9), "sender": "+12015550101", "origin": Origin()}
    store.hear_many([hearing(now, "SM-that-stays", None, body="Hello", **stays)], now=now)
    assert left_of(path, *SECRETS) == [*SECRETS]
    assert store.purge(now=now + timedelta(days=2), limit=1000) == 100
    if not is_open:
        store.close()
    kept = ["SM-that-stays", "+12015550101"]
    assert left_of(path, *SECRETS, "SM-of-old", "+120155502", *kept) == kept


# What was sealed


KNOWN = Subject(TENANT, "+12015550101")


def sealed(store: Store, now: datetime) -> str:
    """Write two consents with some history; give the name of the one that will be touched."""
    for number, subject in enumerate((SUBJECT, KNOWN)):
        for step, sign in enumerate((Sign.OUT, Sign.IN, Sign.MAYBE)):
            moment = now + timedelta(minutes=step)
            evidence = Evidence(
                sign=sign,
                source=Source.TEXT,
                heard_at=moment,
                dated_at=moment,
                sid=f"SM{number}-{step}",
            )
            store.attest_many([(subject, evidence)], now=moment)
    assert store.verify_consents(limit=9) == Verified(2, (), None)
    return CUSTOMER


def touch(path: Path, change: Callable[[dict[str, Any]], None], person: str = CUSTOMER) -> str:
    """Edit a consent in the file by hand; give by what name it is told of."""
    with other(path) as db:
        sql = "SELECT id, hex(subject), data FROM consents WHERE recipient = ?"
        row, hashed, data = db.execute(sql, (person,)).fetchone()
        document = json.loads(data)
        change(document)
        changed = json.dumps(document, ensure_ascii=False).encode()
        db.execute("UPDATE consents SET data = ? WHERE id = ?", (changed, row))
    return f"{TENANT}/{hashed.lower()}"


def _unsealed(consent: dict[str, Any]) -> None:
    consent.pop("seal")
    for line in consent["history"]:
        line.pop("seal")


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "evidence removed": lambda one: one["against"].pop(),
    "all evidence against removed": lambda one: one.pop("against"),
    "evidence in favour removed": lambda one: one.pop("favour"),
    "evidence added": lambda one: one["favour"].append(one["favour"][0] | {"sid": "SM9"}),
    "a sign changed": lambda one: one["against"][0].update(sign="maybe"),
    "a date changed": lambda one: one["favour"][0].update(dated_at="2027-01-01T00:00:00Z"),
    "a date removed": lambda one: one["against"][-1].pop("dated_at"),
    "a source changed": lambda one: one["against"][0].update(source="import"),
    "a line changed": lambda one: one["history"][0].update(act="in"),
    "who changed": lambda one: one["history"][1].update(by="bob"),
    "when changed": lambda one: one["history"][2].update(at="2026-03-02T09:30:00Z"),
    "the first line removed": lambda one: one["history"].pop(0),
    "a line removed": lambda one: one["history"].pop(1),
    "the last line removed": lambda one: one["history"].pop(),
    "all lines removed": lambda one: one.pop("history"),
    "a line twice": lambda one: one["history"].append(one["history"][-1]),
    "lines swapped": lambda one: one["history"].reverse(),
    "the seal changed": lambda one: one.update(seal="0" * 40),
    "the seal removed": lambda one: one.pop("seal"),
    "the seal of a line removed": lambda one: one["history"][1].pop("seal"),
    "all seals removed": _unsealed,
    "everything removed": lambda one: [
        one.pop(n) for n in ("against", "favour", "history", "seal")
    ],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_consent_that_was_touched_is_found(
    open_store: Open, path: Path, now: datetime, change: str
) -> None:
    """And stays broken, whatever is added or decided after that; others are sound."""
    store = open_store()
    sealed(store, now)
    name = touch(path, CHANGES[change])
    broken = Verified(2, (name,), None)
    assert store.verify_consents(limit=9) == broken
    later = now + timedelta(days=1)
    for step, sign in enumerate((Sign.OUT, Sign.IN, Sign.MAYBE)):
        moment = later + timedelta(minutes=step)
        fresh = Evidence(
            sign=sign, source=Source.TEXT, heard_at=moment, dated_at=moment, sid=f"SM-late-{step}"
        )
        for subject in (SUBJECT, KNOWN):
            store.attest_many([(subject, fresh)], now=moment)
        assert store.verify_consents(limit=9) == broken
    for subject in (SUBJECT, KNOWN):
        assert store.judge(subject, "SM-late-2", is_out=True, now=later, by="ada") is not None
    assert store.verify_consents(limit=9) == broken
    assert store.verify_consents(after=1, limit=9).broken == ()


def test_a_touched_consent_is_named_by_its_hash(
    open_store: Open, path: Path, now: datetime
) -> None:
    """Never by the number: the name goes into logs."""
    store = open_store()
    sealed(store, now)
    name = touch(path, CHANGES["a line changed"])
    assert CUSTOMER not in name
    assert store.verify_consents(limit=9).broken == (name,)


def test_consents_that_changed_places_are_found(
    open_store: Open, path: Path, now: datetime
) -> None:
    """Each is sealed as one person's: another's wish cannot be put in its place."""
    store = open_store()
    sealed(store, now)
    with other(path) as db:
        db.execute(
            "UPDATE consents SET data = (SELECT data FROM consents WHERE id = 3 - c.id)"
            " FROM consents AS c WHERE c.id = consents.id AND consents.id = 1"
        )
    assert len(store.verify_consents(limit=9).broken) == 1


@pytest.mark.parametrize(
    ("column", "value"), [("state", "in"), ("state", "review"), ("tenant", "other")]
)
def test_a_column_that_says_other_than_its_consent_is_found(
    open_store: Open, path: Path, now: datetime, column: str, value: str
) -> None:
    """By it the consent is listed, and counted; the next evidence puts it right."""
    store = open_store()
    evidence = Evidence(sign=Sign.OUT, source=Source.PERSON, heard_at=now, by="ada")
    store.attest_many([(SUBJECT, evidence)], now=now)
    with other(path) as db:
        db.execute(f"UPDATE consents SET {column} = ?", (value,))  # noqa: S608 - named above
    assert len(store.verify_consents(limit=9).broken) == 1
    assert check(path).problems == ("1 consents cannot be read",)
    later = Evidence(sign=Sign.OUT, source=Source.TEXT, heard_at=now, sid="SM1")
    store.attest_many([(SUBJECT, later)], now=now)
    assert store.verify_consents(limit=9) == Verified(1, (), None)
    assert check(path).problems == ()


def test_a_ledger_is_not_opened_with_another_key(
    open_store: Open, path: Path, now: datetime
) -> None:
    """Nobody's opt-out would be found, nor any deleted event."""
    store = open_store()
    sealed(store, now)
    with pytest.raises(LedgerUnusable, match="another hash key"):
        SqliteStore(path, hash_key=b"x" * 32)
    assert store.verify_consents(limit=9).broken == ()


def test_a_ledger_without_a_mark_of_its_key_gets_one(
    open_store: Open, path: Path, now: datetime
) -> None:
    """As one that was made by an older version."""
    store = open_store()
    sealed(store, now)
    store.close()
    with other(path) as db:
        db.execute("DELETE FROM state WHERE name = 'key_check'")
    open_store().close()
    with pytest.raises(LedgerUnusable):
        SqliteStore(path, hash_key=b"x" * 32)


def test_a_consent_of_a_backup_is_as_sound_as_it_was(
    open_store: Open, path: Path, tmp_path: Path, now: datetime
) -> None:
    """What was touched before stays touched, what was not can be checked."""
    store = open_store()
    sealed(store, now)
    name = touch(path, CHANGES["a line changed"])
    backup(path, tmp_path / "backup.db")
    restore(tmp_path / "backup.db", path, hash_key=HASH_KEY, now=now)
    assert store.verify_consents(limit=9) == Verified(2, (name,), None)


# What may befall an open ledger


def busy_store(store: Store, entry: Make, now: datetime) -> None:
    """Fill a ledger so that every call has something to write."""
    sent(store, entry, now)
    store.hear_many(
        [
            hearing(now, "SM-out", Sign.OUT),
            hearing(now, "SM-in", Sign.IN),
            hearing(now, "SM-maybe", Sign.MAYBE, sender="+12015550101"),
        ],
        now=now,
    )
    [first, second] = store.take_reports(TENANT, now=now, until=now, limit=2)
    said = Answer(Verdict.ASIDE, now, words="not published")
    store.answer_reports([(first.of.key, one.key, said) for one in first.reports])
    assert second.reports
    store.add_chores(["hear:a", "hear:b"], due_at=now)


def calls(store: Store, now: datetime) -> dict[str, Act]:
    """Give every call that changes something in such a ledger, in one commit."""
    words = "x" * 9000
    later = now + timedelta(days=1)
    new = Evidence(sign=Sign.OUT, source=Source.PERSON, heard_at=later, dated_at=later, by=words)
    dated = Evidence(sign=Sign.IN, source=Source.TEXT, heard_at=now, dated_at=later, sid="SM-in")
    [owed] = [one for one in store.take_reports(TENANT, now=now, until=now, limit=1) if one.reports]
    answer = Answer(Verdict.ASIDE, now, words=words)
    stray = Stray(tenant_id=TENANT, sid=words, status="sent", first_at=now, last_at=now)
    return {
        "hear_many": lambda one: one.hear_many(
            [hearing(now, "new", Sign.OUT, sender="+12015550199", body=words)], now=now
        ),
        "attest_many": lambda one: one.attest_many([(SUBJECT, new)], now=now),
        "date_many": lambda one: one.date_many([(SUBJECT, dated)], now=now),
        "judge": lambda one: one.judge(KNOWN, "SM-maybe", is_out=True, now=now, by=words),
        "take_undated": lambda one: one.take_undated(now=now, limit=9),
        "take_reports": lambda one: one.take_reports(TENANT, now=now, until=later, limit=9),
        "answer_reports": lambda one: one.answer_reports(
            [(owed.of.key, owed.reports[0].key, answer)]
        ),
        "owe_again": lambda one: one.owe_again(None, now=now),
        "add_chores": lambda one: one.add_chores([words], due_at=now),
        "take_chore": lambda one: one.take_chore("hear", now=now, until=later),
        "end_chore": lambda one: one.end_chore("hear:a", due_at=now, mark=words),
        "drop_chores": lambda one: one.drop_chores(["hear:a"]),
        "keep_strays": lambda one: one.keep_strays([stray]),
    }


CALLS = [
    *("hear_many", "attest_many", "date_many", "judge", "take_undated"),
    *("take_reports", "answer_reports", "owe_again"),
    *("add_chores", "take_chore", "end_chore", "drop_chores", "keep_strays"),
]
GROWING = ["hear_many", "attest_many", "judge", "answer_reports", "add_chores", "keep_strays"]


def contents(path: Path) -> list[list[tuple[object, ...]]]:
    """Give all that a ledger holds of customers, reports and chores."""
    tables = ("entries", "inbound", "consents", "chores", "strays")
    with other(path) as db:
        return [db.execute(f"SELECT * FROM {table}").fetchall() for table in tables]  # noqa: S608


def refused(store: SqliteStore, act: Act, path: Path, match: str) -> None:
    """Require that a call fails with our error and has written nothing."""
    before = contents(path)
    with pytest.raises(LedgerUnavailable, match=match) as raised:
        act(store)
    assert not isinstance(raised.value, LedgerUnusable)
    assert contents(path) == before


def writer(store: SqliteStore) -> sqlite3.Connection:
    """Give the connection that a store writes with, to put SQLite's own limits on it."""
    store.probe()
    assert store._file._writer is not None
    return store._file._writer


@pytest.mark.parametrize("call", CALLS)
def test_a_locked_ledger_refuses_every_change_and_comes_back(
    entry: Make, open_store: Open, path: Path, now: datetime, call: str
) -> None:
    """Another connection is writing, for longer than is waited."""
    store = open_store()
    busy_store(store, entry, now)
    act = calls(store, now)[call]
    with locked(path):
        refused(store, act, path, "BUSY")
    before = contents(path)
    act(store)
    assert contents(path) != before
    assert check(path).problems == ()


@pytest.mark.parametrize("call", CALLS)
def test_a_read_only_ledger_refuses_every_change_and_comes_back(
    entry: Make, open_store: Open, path: Path, now: datetime, call: str
) -> None:
    """By SQLite's own switch; the next call opens the file afresh."""
    store = open_store()
    busy_store(store, entry, now)
    act = calls(store, now)[call]
    before = contents(path)
    writer(store).execute("PRAGMA query_only = ON")
    refused(store, act, path, "READONLY")
    act(store)
    assert contents(path) != before
    assert check(path).problems == ()


@pytest.mark.parametrize("call", GROWING)
def test_a_full_ledger_writes_nothing_of_a_call_and_comes_back(
    entry: Make, open_store: Open, path: Path, now: datetime, call: str
) -> None:
    """By SQLite's own limit on pages: no message without its wish, no wish without its message."""
    store = open_store()
    busy_store(store, entry, now)
    act = calls(store, now)[call]
    before = contents(path)
    pages = writer(store).execute("PRAGMA page_count").fetchone()[0]
    writer(store).execute(f"PRAGMA max_page_count = {pages}")
    refused(store, act, path, "FULL")
    act(store)
    assert contents(path) != before
    assert check(path).problems == ()


def test_what_has_nothing_to_do_only_reads(
    entry: Make, open_store: Open, path: Path, now: datetime
) -> None:
    """A worker asks every few seconds; nobody who accepts waits behind that."""
    store = open_store()
    busy_store(store, entry, now)
    with locked(path):
        assert store.take_chore("pull", now=now, until=now) is None
        assert store.take_chore("hear", now=now - timedelta(seconds=1), until=now) is None
        assert store.take_undated(now=now - timedelta(seconds=1), limit=9) == []
        assert [one.tenant_id for one in store.owing(now, most=9)] == [TENANT]
        assert len(store.aside(None, 9)) == 1
        assert store.conversations([Conversation(TENANT, CUSTOMER, [OURS])]) != []
        assert len(store.find_inbound(InboundQuery())) == 3
        assert store.is_heard([inbound_key(TENANT, "SM-out")]) == [True]
        assert len(store.consents([SUBJECT])) == 1
        assert len(store.list_consents(TENANT, limit=9)[0]) == 2
        assert store.verify_consents(limit=9).broken == ()
        assert len(store.about(TENANT, recipients=[CUSTOMER]).entries) == 1
        assert store.strays(9) == []
        store.add_chores([], due_at=now)
        store.answer_reports([])
        store.keep_strays([])


@pytest.mark.parametrize(
    "broken", [b'{"tenant_id"', b"\xff", b"[]", b'{"tenant_id":"demo","seal":1}']
)
def test_a_consent_that_cannot_be_read_lets_no_message_through(
    entry: Make, open_store: Open, path: Path, now: datetime, broken: bytes
) -> None:
    """It is called damage, by whoever would have to know of it; a message is not sent on a guess."""
    store = open_store()
    lease = Lease(token="worker", until=now + timedelta(minutes=1))
    to = Message(to=CUSTOMER, sender=OURS)
    evidence = Evidence(sign=Sign.OUT, source=Source.PERSON, heard_at=now, by="ada")
    store.insert_many([entry("taken", lease=lease, message=to)])
    store.attest_many([(SUBJECT, evidence)], now=now)
    with other(path) as db:
        db.execute("UPDATE consents SET data = ?", (broken,))
    start = Fact(kind=Kind.STARTED, at=now, lease=lease)
    acts: list[Act] = [
        lambda one: one.insert_many([entry("new", message=to)]),
        lambda one: one.record_many([(entry("taken").key, start)]),
        lambda one: one.hear_many([hearing(now)], now=now),
        lambda one: one.consents([SUBJECT]),
    ]
    for act in acts:
        with pytest.raises(LedgerUnusable, match="restore a backup"):
            act(store)
    assert store.get_many([entry("new").key]) == [None]
    assert store.get_many([entry("taken").key]) == [entry("taken", lease=lease, message=to)]
    assert check(path).problems == ("1 consents cannot be read",)


def test_a_message_that_cannot_be_read_is_called_damage(
    open_store: Open, path: Path, now: datetime
) -> None:
    """Whoever lists it, hears it again, or takes its reports, is told."""
    store = open_store()
    one = hearing(now)
    store.hear_many([one], now=now)
    with other(path) as db:
        db.execute("UPDATE inbound SET data = ?", (b'{"key":1}',))
    acts: list[Act] = [
        lambda store: store.find_inbound(InboundQuery()),
        lambda store: store.hear_many([one], now=now),
        lambda store: store.take_reports(TENANT, now=now, until=now, limit=9),
    ]
    for act in acts:
        with pytest.raises(LedgerUnusable, match="restore a backup"):
            act(store)
    assert check(path).problems == ("1 inbound messages cannot be read",)


@pytest.mark.parametrize(
    "change",
    [
        "inbound SET sid = 'SM2'",
        "inbound SET tenant = 'other'",
        "inbound SET customer = '+12015550101'",
        "inbound SET heard_at = 1",
        "inbound SET purge_at = 1",
        "inbound SET report_at = NULL",
        "inbound SET aside = 1",
        "consents SET state = 'in'",
        "consents SET recipient = NULL",
        "consents SET ask_at = 1",
        "entries SET report_at = NULL",
        "entries SET report_at = 1",
        "entries SET aside = 1",
    ],
)
def test_a_row_that_says_other_than_its_document_is_found(
    entry: Make, open_store: Open, path: Path, now: datetime, change: str
) -> None:
    """By these columns it is found, listed, taken and purged."""
    store = open_store()
    sent(store, entry, now)
    store.hear_many([hearing(now)], now=now)
    store.close()
    assert check(path).problems == ()
    with other(path) as db:
        db.execute(f"UPDATE {change}")
    assert len(check(path).problems) == 1


# How things are found


def plans(store: SqliteStore, act: Act) -> list[str]:
    """Give how SQLite goes about the statements that a call makes."""
    seen: list[str] = []
    connections = [store._file._writer, store._file._reader]
    for db in connections:
        assert db is not None
        db.set_trace_callback(seen.append)
    act(store)
    for db in connections:
        assert db is not None
        db.set_trace_callback(None)
    reader = connections[1]
    assert reader is not None
    asked = [sql for sql in dict.fromkeys(seen) if any(f" {table}" in sql for table in TABLES)]
    assert asked
    return [row[3] for sql in asked for row in reader.execute(f"EXPLAIN QUERY PLAN {sql}")]


TABLES = ("entries", "inbound", "consents", "chores")
ENDS = ("INDEX entries_created", "INDEX consents_subject")
"""Of which one end is looked at, or whether there is anything in them."""
FEW = ("INDEX entries_aside", "INDEX inbound_aside")
"""In which few documents are, and may be gone through."""


def test_no_call_of_a_worker_or_a_server_goes_through_everything(
    entry: Make, open_store: Open, now: datetime
) -> None:
    """However many documents there are, an index leads to those that are wanted."""
    store = open_store()
    busy_store(store, entry, now)
    later = now + timedelta(days=1)
    customer = Conversation(TENANT, CUSTOMER, [OURS])
    own = calls(store, now)
    acts: dict[str, Act] = {name: own[name] for name in CALLS if name != "keep_strays"}
    acts |= {
        "accept": lambda one: one.insert_many([entry("new")]),
        "conversations": lambda one: one.conversations([customer]),
        "is_heard": lambda one: one.is_heard([inbound_key(TENANT, "SM-out")]),
        "hear again": lambda one: one.hear_many([hearing(now, "SM-out")], now=now),
        "owing": lambda one: one.owing(now, most=9),
        "purge": lambda one: one.purge(now=later, limit=9),
        "aside": lambda one: one.aside(TENANT, 9),
    }
    steps = {name: plans(store, act) for name, act in acts.items()}
    scans = tuple(f"SCAN {table}" for table in TABLES)
    wrong = {name: [step for step in done if _scans(step, scans)] for name, done in steps.items()}
    assert wrong == {name: [] for name in acts}
    sorted_in = {name for name, done in steps.items() if any("TEMP B-TREE" in one for one in done)}
    assert sorted_in <= {"conversations", "take_chore"}


def _scans(step: str, scans: tuple[str, ...]) -> bool:
    return step.startswith(scans) and not step.endswith((*ENDS, *FEW))
