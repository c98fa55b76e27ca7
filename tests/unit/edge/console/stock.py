"""What tests of the console's pages share: a tenant's data with marks in it, and a request for each page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
from tests.console import Browser, Console, entry

from ci360_twilio.core.consent import EVERY_SENDER, Evidence, Sign, Source, Subject
from ci360_twilio.core.entry import Status
from ci360_twilio.core.event import Origin
from ci360_twilio.core.inbound import Heard, Inbound, inbound_key
from ci360_twilio.core.job import Job, State, job_id
from ci360_twilio.core.message import Message
from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.core.person import Person, Role
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.console.accounts import Account, Accounts, TestNumber
from ci360_twilio.edge.console.rehearsing import Rehearsal
from ci360_twilio.ports import Hearing, InboundQuery, Note, Query
from ci360_twilio.twin.phone import Letter
from ci360_twilio.twin.twilio import TwilioTwin

CSV = b"phone\n+12015550123\n"


class Stock(NamedTuple):
    """What a tenant has; every text of it holds the mark, so that it is known wherever it turns up."""

    tenant: TenantId
    mark: str
    number: str
    """The customer's."""
    person: str
    """Somebody of this tenant's alone."""
    waits: str
    """The guid of a message that can be canceled."""
    failed: str
    held: str
    job: str
    rehearsal: str
    phone: str
    test_number: str
    """What forms call the number by to which tests may go."""
    sid: str
    """Of a text that waits to be read."""

    @property
    def writer(self) -> str:
        """The number of the customer whose text waits to be read."""
        return f"{self.number[:-1]}0"

    @property
    def signs(self) -> tuple[str, ...]:
        """All by which its data is known: nobody of another tenant may see any of these."""
        numbers = self.number[-10:], self.writer[-10:]
        return (self.mark, *numbers, self.job, self.rehearsal, self.phone, self.sid)


def put(console: Console, mark: str, twin: TwilioTwin, account: str, **own: Any) -> Stock:
    """Give a tenant messages, a job, pauses, consents, notes, a rehearsal and a phone.

    ``own`` are its ``tenant``, ``number`` and ``digit``, which tells its SIDs from others'.
    """
    tenant, number, digit = TenantId(own["tenant"]), str(own["number"]), str(own["digit"])
    store, now = console.parts.store, console.parts.clock()
    job = Job(
        id=job_id(f"occ {mark}", None),
        tenant_id=tenant,
        occurrence_id=f"occ {mark}",
        state=State.RUNNING,
        created_at=now,
        updated_at=now,
        purge_at=now + timedelta(days=90),
        task_name=f"job {mark}",
        origin=Origin(task_code=f"TSK_{mark}", event_name=f"event {mark}"),
        rows=5,
    )
    store.add_job(job)
    stock = Stock(
        tenant=tenant,
        mark=mark,
        number=number,
        person=f"person {mark}",
        waits=f"waits-{mark}",
        failed=f"failed-{mark}",
        held=f"held-{mark}",
        job=job.id,
        rehearsal=_rehearsed(console, tenant, mark, now),
        phone=store.keyed(f"phone {number}"),
        test_number=store.keyed(f"test number {number}"),
        sid=f"SM{digit * 32}",
    )
    _put_messages(console, stock, now)
    _put_words(console, stock, now)
    console.accounts.allow(
        TestNumber(tenant_id=tenant, number=number, label=f"label {mark}", by="root", at=now)
    )
    own_account = twin._accounts[account]
    sent = {"To": number, "From": "+15005550006", "Body": f"twin's body {mark}"}
    twin.create(own_account, {name: [value] for name, value in sent.items()})
    twin.write(account, Letter(sender=number, to="+15005550006", body=f"letter {mark}"))
    return stock


def _put_messages(console: Console, stock: Stock, now: datetime) -> None:
    about: dict[str, Any] = {
        "tenant_id": stock.tenant,
        "message": Message(
            to=stock.number,
            sender=f"{stock.mark[:9]}",
            body=f"body {stock.mark}",
            media_urls=(f"https://m.example/{stock.mark}",),
        ),
        "origin": Origin(
            task_code=f"TSK_{stock.mark}",
            event_name=f"event {stock.mark}",
            identities={f"kind {stock.mark}": f"identity {stock.mark}"},
        ),
        "job": stock.job,
    }
    problems = ((f"field {stock.mark}", f"issue {stock.mark}"),)
    console.parts.store.insert_many(
        [
            entry(stock.waits, now, status=Status.ACCEPTED, problems=problems, **about),
            entry(stock.failed, now, status=Status.FAILED, reason=f"why {stock.mark}", **about),
            entry(stock.held, now, status=Status.HELD, sid=None, **about),
        ]
    )


def _put_words(console: Console, stock: Stock, now: datetime) -> None:
    """Put a text to be read, a pause, and lines of the audit."""
    store = console.parts.store
    inbound = Inbound(
        key=inbound_key(stock.tenant, stock.sid),
        tenant_id=stock.tenant,
        heard=Heard(
            sid=stock.sid, sender=stock.writer, to="+15005550006", body=f"reply {stock.mark}"
        ),
        heard_at=now,
        purge_at=now + timedelta(days=1),
        answers=None,
    )
    evidence = Evidence(sign=Sign.MAYBE, source=Source.TEXT, heard_at=now, sid=stock.sid)
    subject = Subject(stock.tenant, stock.writer, EVERY_SENDER)
    store.hear_many([Hearing(inbound, subject, evidence)], now=now)
    store.pause(
        Pause(
            scope=Scope.TASK,
            tenant_id=stock.tenant,
            value=f"TSK_{stock.mark}",
            cause=Cause.PERSON,
            reason="paused",
            since=now,
            by=f"by {stock.mark}",
        )
    )
    store.write_note(
        Note(
            at=now,
            by=f"by {stock.mark}",
            action=f"did {stock.mark}",
            subject=f"subject {stock.mark}",
            detail=f"detail {stock.mark}",
            tenant_id=stock.tenant,
        )
    )


def _rehearsed(console: Console, tenant: TenantId, mark: str, now: datetime) -> str:
    """Put a rehearsal that has ended, without the process that it takes."""
    one = Rehearsal(tenant, f"by {mark}", f"{mark}.csv", now)
    (one._folder / "err").write_text(f"ci360-twilio: trouble {mark}\n")
    (one._folder / "report.html").write_text(f"report {mark}")
    console.desk.rehearsals._known[one.id] = one
    return one.id


def people_with(accounts: Accounts, *people: Person) -> None:
    """Write people whose passwords nobody knows, which costs no hash."""
    accounts._change(
        lambda document: msgspec.structs.replace(
            document,
            people=tuple(
                Account(
                    person=one,
                    password="none",
                    changed_at=datetime.fromisoformat("2026-01-01T00:00:00+00:00"),
                )
                for one in people
            ),
        ),
        lambda: None,
    )


def put_people(console: Console, *stocks: Stock) -> None:
    """Write an administrator of all tenants, and somebody of each tenant's."""
    people_with(
        console.accounts,
        Person(name="root", role=Role.ADMINISTRATOR),
        *(Person(name=one.person, role=Role.VIEWER, tenants=(one.tenant,)) for one in stocks),
    )


class Asked(NamedTuple):
    """A request for a page, as somebody makes it who means it."""

    path: str
    form: Mapping[str, str] = {}
    files: Mapping[str, Any] | None = None


def send(browser: Browser, method: str, asked: Asked, **options: Any) -> Any:
    """Send it, without following where it leads."""
    if method == "GET":
        return browser.get(asked.path, follow=False, **options)
    return browser.post(asked.path, asked.form, files=asked.files, follow=False, **options)


_Make = Callable[[Stock], Asked]
YES = {"confirmed": "yes", "reason": "for a reason"}

ASKED: Mapping[tuple[str, str], _Make] = {
    ("GET", ""): lambda of: Asked(f"?tenant={of.tenant}&range=week"),
    ("GET", "/now"): lambda of: Asked(f"/now?tenant={of.tenant}"),
    ("GET", "/messages"): lambda of: Asked(f"/messages?tenant={of.tenant}"),
    ("POST", "/messages"): lambda of: Asked("/messages", {"tenant": of.tenant}),
    ("GET", "/messages/{guid:path}"): lambda of: Asked(
        f"/messages/{quote(of.waits, safe='')}?tenant={of.tenant}"
    ),
    ("POST", "/messages/{guid:path}"): lambda of: Asked(
        f"/messages/{quote(of.waits, safe='')}?tenant={of.tenant}"
    ),
    ("GET", "/workshop"): lambda _: Asked("/workshop"),
    ("POST", "/workshop"): lambda of: Asked("/workshop", {"tenant": of.tenant, "creative": "Hi"}),
    ("POST", "/workshop/send"): lambda of: Asked(
        "/workshop/send",
        {"tenant": of.tenant, "creative": "FROM:+15005550006;\nHi", "number": "+12015550144"},
    ),
    ("GET", "/steer"): lambda _: Asked("/steer"),
    ("POST", "/cancel"): lambda of: Asked(
        "/cancel", {"guid": of.waits, "tenant": of.tenant, **YES}
    ),
    ("POST", "/replay"): lambda of: Asked(
        "/replay", {"guid": of.failed, "tenant": of.tenant, "anyway": "yes", **YES}
    ),
    ("POST", "/resolve"): lambda of: Asked(
        "/resolve", {"guid": of.held, "tenant": of.tenant, "resolution": "not-sent", **YES}
    ),
    ("GET", "/pauses"): lambda _: Asked("/pauses"),
    ("POST", "/pauses"): lambda of: Asked(
        "/pauses", {"scope": "tenant", "tenant": of.tenant, "value": "", **YES}
    ),
    ("POST", "/pauses/resume"): lambda of: Asked(
        "/pauses/resume",
        {"scope": "task", "tenant": of.tenant, "value": f"TSK_{of.mark}", **YES},
    ),
    ("GET", "/consents"): lambda _: Asked("/consents"),
    ("POST", "/consents"): lambda of: Asked(
        "/consents", {"tenant": of.tenant, "number": of.number}
    ),
    ("POST", "/consents/change"): lambda of: Asked(
        "/consents/change", {"tenant": of.tenant, "number": of.number, "sign": "out", **YES}
    ),
    ("POST", "/consents/read"): lambda of: Asked(
        "/consents/read", {"tenant": of.tenant, "sid": of.sid}
    ),
    ("POST", "/consents/judge"): lambda of: Asked(
        "/consents/judge", {"tenant": of.tenant, "sid": of.sid, "decided": "out"}
    ),
    ("GET", "/jobs"): lambda _: Asked("/jobs"),
    ("GET", "/jobs/{tenant}/{job}"): lambda of: Asked(f"/jobs/{of.tenant}/{of.job}"),
    ("GET", "/jobs/{tenant}/{job}/now"): lambda of: Asked(f"/jobs/{of.tenant}/{of.job}/now"),
    ("POST", "/jobs/{tenant}/{job}/{action}"): lambda of: Asked(
        f"/jobs/{of.tenant}/{of.job}/cancel", YES
    ),
    ("GET", "/rehearsals"): lambda _: Asked("/rehearsals"),
    ("POST", "/rehearsals"): lambda of: Asked(
        "/rehearsals", {"tenant": of.tenant, "creative": " "}, {"audience": ("a.csv", CSV)}
    ),
    ("GET", "/rehearsals/{rehearsal}"): lambda of: Asked(f"/rehearsals/{of.rehearsal}"),
    ("GET", "/rehearsals/{rehearsal}/now"): lambda of: Asked(f"/rehearsals/{of.rehearsal}/now"),
    ("GET", "/rehearsals/{rehearsal}/report"): lambda of: Asked(
        f"/rehearsals/{of.rehearsal}/report"
    ),
    ("GET", "/phones"): lambda _: Asked("/phones"),
    ("GET", "/phones/{tenant}/{phone}"): lambda of: Asked(f"/phones/{of.tenant}/{of.phone}"),
    ("GET", "/phones/{tenant}/{phone}/now"): lambda of: Asked(
        f"/phones/{of.tenant}/{of.phone}/now"
    ),
    ("POST", "/phones/{tenant}/{phone}"): lambda of: Asked(
        f"/phones/{of.tenant}/{of.phone}", {"text": "What is this?"}
    ),
    ("GET", "/audit"): lambda _: Asked("/audit"),
    ("GET", "/people"): lambda _: Asked("/people"),
    ("POST", "/people"): lambda of: Asked(
        "/people",
        {
            "name": "somebody new",
            "role": "viewer",
            "tenants": of.tenant,
            "password": "a long enough password",
        },
    ),
    ("POST", "/people/change"): lambda of: Asked(
        "/people/change",
        {"name": of.person, "action": "rights", "role": "marketer", "tenants": of.tenant},
    ),
    ("POST", "/rehearsals/{rehearsal}/cancel"): lambda of: Asked(
        f"/rehearsals/{of.rehearsal}/cancel"
    ),
    ("POST", "/people/numbers"): lambda of: Asked(
        "/people/numbers", {"tenant": of.tenant, "which": of.test_number, "action": "remove"}
    ),
}
"""For every page a request that does, or shows, something of a tenant's."""


def state_of(console: Console, *twins: TwilioTwin) -> list[object]:
    """Give all that people can change from the console."""
    store, accounts = console.parts.store, console.accounts
    found: list[object] = [
        store.find(Query(limit=1000)),
        store.find_inbound(InboundQuery(limit=1000)),
        store.pauses(),
        store.notes(1000),
        store.jobs(limit=1000),
        accounts.path.read_bytes() if accounts.path.exists() else b"",
        [one.id for one in console.desk.rehearsals.all()],
        [len(twin.letters) for twin in twins],
    ]
    tenants = console.desk.tenant_ids()
    found += [store.list_consents(tenant, limit=1000) for tenant in tenants]
    return found
