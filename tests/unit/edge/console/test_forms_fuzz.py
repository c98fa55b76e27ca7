"""Hostile forms, queries and data: no page breaks, and none takes what it is given for markup."""

from __future__ import annotations

import gc
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_from_bytes

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import ACCOUNT, TOKEN, Twilio
from tests.console import CHEAP, MINE, Browser, Console, Later, entry, opened
from tests.unit.edge.console.stock import ASKED, Stock, people_with, put, put_people, send

from ci360_twilio.core.consent import EVERY_SENDER, Subject
from ci360_twilio.core.entry import Key, Status, Step
from ci360_twilio.core.event import Origin
from ci360_twilio.core.inbound import Heard, Inbound, inbound_key
from ci360_twilio.core.message import Message
from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.core.person import Person, Role
from ci360_twilio.core.report import Outcome, Report
from ci360_twilio.edge.console.accounts import Accounts
from ci360_twilio.edge.console.desk import Page
from ci360_twilio.edge.console.pages import PAGES
from ci360_twilio.edge.console.rehearsing import AT_ONCE, Rehearsal
from ci360_twilio.ports import Hearing
from ci360_twilio.twin.faults import FaultPlan
from ci360_twilio.twin.server import TwinServer
from ci360_twilio.twin.twilio import TwilioTwin, TwinAccount
from ci360_twilio.wiring import Parts

pytestmark = pytest.mark.slow

BOUNDARY = "b-o-u-n-d"
MARKUP = "\"'><xss onx=1>{{7*7}}</script></textarea></title><xss>&lt;xss&gt;<!--"
EVIL: Sequence[str] = (
    MARKUP,
    "<script>xss()</script>",
    "' onx='1",
    '" onx="1',
    "javascript:xss()",
    "\x00",
    "a\x00b\r\nSet-Cookie: xss=1",
    "\u202eevil\u202c\u2066\ufeff\u200b",
    "\ud800\udfff\ud800",
    "\uffff\U0010ffff",
    "x" * 20_001,
    "😀" * 5_000,
    "%00%ff%ud800%",
    "../../../../etc/passwd",
    "/" * 300,
    "-1",
    "1" * 5_000,
    "9" * 30,
    "1e309",
    "NaN",
    "\u0663\u0664",
    "0001-01-01T00:00+23:59",
    "9999-12-31T23:59:59.999999-23:59",
    "2026-03-01T09:30",
    "99999d",
    "+12015550123",
    "whatsapp:+12015550123",
    f"SM{'0' * 32}",
    "MG" + "0" * 32,
    "all",
    "tenant",
    "task",
    "job",
    "reports",
    "yes",
    "resend",
    "sent",
    "administrator",
    "US",
    "{" * 20_000,
    "{{" * 5_000 + "}}" * 5_000,
    "TO:{{phone}};\nFROM:" + "x" * 500 + ";\n{{xss onx=1}}",
    '{"eventName":' + "[" * 5_000,
    '{"guid": "\\ud800", "n": ' + "1" * 5_000 + "}",
    "A;" * 5_000,
)
"""Texts that something somewhere has once tripped over."""
NAMES: Sequence[str] = (
    *("find", "task", "status", "sender", "country", "reason", "since", "before", "tenant"),
    *("older_than", "guid", "anyway", "confirmed", "resolution", "sid", "scope", "value", "number"),
    *(
        "sign",
        "group",
        "decided",
        "creative",
        "event",
        "known_tags",
        "tag:phone",
        "tag:<xss onx=1>",
    ),
    *("audience", "name", "role", "tenants", "password", "action", "label", "text", "quick"),
    *("range", "next", "csrf", "", "\x00", MARKUP),
)
hostile = st.one_of(
    st.sampled_from(EVIL),
    st.text(st.characters(exclude_categories=()), max_size=30),
    st.text(max_size=10).map(lambda text: text + MARKUP),
)
fields = st.lists(st.tuples(st.sampled_from(NAMES), hostile), max_size=6)
FUZZED = settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def twilio() -> Iterator[Twilio]:
    """Run one twin for all of these tests."""
    twin = TwilioTwin(
        accounts=[TwinAccount(sid=ACCOUNT, auth_token=TOKEN)], clock=lambda: datetime.now(UTC)
    )
    faults = FaultPlan()
    with TwinServer(twin, faults) as server:
        yield Twilio(server, twin, faults)


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Accounts:
    """Give accounts for all of these tests; that nobody is known under a name costs little here."""
    return Accounts(tmp_path_factory.mktemp("console") / "people", CHEAP)


@pytest.fixture
def parts(connector: Callable[..., Parts], tenants_folder: Callable[..., Path]) -> Parts:
    """Wire a connector with one tenant more, on SQLite, which takes less than memory does."""
    tenants_folder(MINE)
    made = connector()
    made.clock = Later()
    return made


@pytest.fixture
def console(parts: Parts, accounts: Accounts, tmp_path: Path) -> Iterator[Console]:
    """Open a console."""
    accounts.path.unlink(missing_ok=True)
    with opened(parts, tmp_path, accounts=accounts) as console:
        yield console


@pytest.fixture
def stock(console: Console, twilio: Twilio) -> Stock:
    """Put a tenant's data into the ledger."""
    made = put(
        console, "apple", twilio.twin, ACCOUNT, tenant=MINE, number="+12015550163", digit="a"
    )
    put_people(console, made)
    return made


class Reader(HTMLParser):
    """Reads a page as browsers do, and keeps which elements and attributes it has."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.addresses: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element, its attributes and addresses."""
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.addresses |= {
            value or "" for name, value in attrs if name in ("href", "src", "action", "hx-get")
        }


ELEMENTS = frozenset(
    [
        "a",
        "b",
        "body",
        "button",
        "code",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figure",
        "form",
        "h1",
        "h2",
        "h3",
        "head",
        "header",
        "html",
        "input",
        "label",
        "legend",
        "li",
        "link",
        "main",
        "mark",
        "meta",
        "meter",
        "nav",
        "ol",
        "optgroup",
        "option",
        "p",
        "progress",
        "script",
        "section",
        "select",
        "small",
        "span",
        "summary",
        "table",
        "tbody",
        "td",
        "textarea",
        "th",
        "thead",
        "time",
        "title",
        "tr",
        "ul",
        "br",
    ]
)


def check(console: Console, answer: httpx.Response) -> None:
    """See that an answer is in order, whatever was asked."""
    stream: Any = console.parts.log._stream
    assert "console.unexpected" not in stream.getvalue(), stream.getvalue()[-300:]
    assert answer.status_code < 500
    assert "Traceback" not in answer.text
    assert "xss" not in answer.headers.get("set-cookie", "")
    if answer.headers.get("content-type", "").startswith("text/html"):
        read_as_text(answer.text)


def read_as_text(page: str) -> None:
    """See that nothing in a page became markup that is not of a template."""
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.elements <= ELEMENTS
    assert [name for name in reader.attributes if name.startswith("on") or "<" in name] == []
    for address in reader.addresses:
        assert address.startswith(("/console", "#")), address


def raw(text: str) -> bytes:
    """Encode a text; half a pair of surrogates, too."""
    return text.encode("utf-8", "surrogatepass")


def urlencoded(form: Sequence[tuple[str, str]]) -> bytes:
    """Write a form as browsers do, in its order, with whatever it holds."""
    pairs = (
        f"{quote_from_bytes(raw(name))}={quote_from_bytes(raw(value))}" for name, value in form
    )
    return "&".join(pairs).encode()


def multipart(form: Sequence[tuple[str, str]], as_files: bool = False) -> bytes:
    """Write a form in parts, each a text or a file."""
    body = b""
    for name, value in form:
        clean = raw(name).replace(b'"', b"%22").replace(b"\r", b"").replace(b"\n", b"")
        body += f"--{BOUNDARY}\r\n".encode() + b'Content-Disposition: form-data; name="' + clean
        body += b'"; filename="' + clean + b'.csv"' if as_files and name != "csrf" else b'"'
        body += b"\r\n\r\n" + raw(value) + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


def post(
    browser: Browser, path: str, body: bytes, kind: str = "application/x-www-form-urlencoded"
) -> httpx.Response:
    """Send a body as it is."""
    return browser.raw("POST", f"/console{path}", content=body, headers={"Content-Type": kind})


def path_of(page: Page, stock: Stock) -> str:
    """Give the address of a page for data that is there."""
    return ASKED[page.method, page.path](stock).path


def is_kept_from_running(console: Console, stack: ExitStack) -> None:
    """Have as many rehearsals running as may, so that none is started here."""
    for _ in range(AT_ONCE):
        one = Rehearsal(MINE, "somebody", "a.csv", console.parts.clock())
        waits = [sys.executable, "-c", "import sys; sys.stdin.read()"]
        one._process = subprocess.Popen(waits, stdin=subprocess.PIPE)
        assert one._process.stdin is not None
        stack.callback(one._process.stdin.close)
        console.desk.rehearsals._known[one.id] = one


def named(pages: Sequence[Page]) -> pytest.MarkDecorator:
    """Make a test go through pages."""
    return pytest.mark.parametrize(
        "page", pages, ids=[f"{page.method} {page.path}" for page in pages]
    )


POSTED = [page for page in PAGES if page.method == "POST"]
GOTTEN = [page for page in PAGES if page.method == "GET"]


@named(POSTED)
@FUZZED
@given(changed=fields, how=st.sampled_from(["urlencoded", "multipart", "files"]))
def test_no_form_breaks_a_page(
    console: Console, stock: Stock, page: Page, changed: list[tuple[str, str]], how: str
) -> None:
    """Fields of any content, repeated, unknown, or files; with those that the page expects."""
    browser = console.known(Role.ADMINISTRATOR)
    asked = ASKED[page.method, page.path](stock)
    expected = {**asked.form, "csrf": browser.csrf}
    expected |= {"password": "short"} if "password" in expected else {}  # is not hashed
    form = [*expected.items(), *((name, value) for name, value in changed if name != "csrf")]
    with ExitStack() as stack:
        if page.path == "/rehearsals":
            is_kept_from_running(console, stack)
        if how == "urlencoded":
            answer = post(browser, asked.path, urlencoded(form))
        else:
            kind = f"multipart/form-data; boundary={BOUNDARY}"
            body = multipart(form, as_files=how == "files")
            answer = post(browser, asked.path, body, kind)
        check(console, answer)


@named(POSTED)
@FUZZED
@given(value=hostile, name=st.sampled_from(NAMES))
def test_no_field_alone_breaks_a_page(
    console: Console, stock: Stock, page: Page, value: str, name: str
) -> None:
    """Where all the others are missing, or one of those that are expected is something else."""
    browser = console.known(Role.OPERATOR, MINE)
    asked = ASKED[page.method, page.path](stock)
    form = {**asked.form, name: value} if name in asked.form else {name: value}
    form["csrf"] = browser.csrf
    with ExitStack() as stack:
        if page.path == "/rehearsals":
            is_kept_from_running(console, stack)
        check(console, post(browser, asked.path, urlencoded([*form.items()])))


@named(GOTTEN)
@FUZZED
@given(query=fields)
def test_no_query_breaks_a_page(
    console: Console, stock: Stock, page: Page, query: list[tuple[str, str]]
) -> None:
    """Known members and others, of any content."""
    browser = console.known(Role.ADMINISTRATOR)
    path, short = path_of(page, stock), [(name, value[:3000]) for name, value in query]
    joint = "&" if "?" in path else "?"
    answer = browser.raw("GET", f"/console{path}{joint}{urlencoded(short).decode()}")
    check(console, answer)


@named([page for page in PAGES if "{" in page.path])
@FUZZED
@given(parts_of=st.lists(hostile, min_size=3, max_size=3))
def test_no_address_breaks_a_page(
    console: Console, stock: Stock, page: Page, parts_of: list[str]
) -> None:
    """Whatever stands where a name is expected."""
    path, places = page.path.replace("{guid:path}", "{guid}"), iter(parts_of)
    for name in ("{guid}", "{tenant}", "{job}", "{rehearsal}", "{phone}", "{action}"):
        if name in path:
            text = quote_from_bytes(raw(next(places)[:3000]), safe="/" if name == "{guid}" else "")
            path = path.replace(name, text)
    browser = console.known(Role.ADMINISTRATOR)
    form = urlencoded([("csrf", browser.csrf)])
    address = f"/console{path}"
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    options: dict[str, Any] = {"content": form, "headers": kind} if page.method == "POST" else {}
    check(console, browser.raw(page.method, address, **options))


@FUZZED
@given(form=fields, how=st.sampled_from(["urlencoded", "multipart", "files"]), next_=hostile)
def test_no_sign_in_breaks(
    console: Console, form: list[tuple[str, str]], how: str, next_: str
) -> None:
    """Anybody can send these."""
    put_people(console)
    later: Any = console.parts.clock
    later.advance(minutes=6)
    browser = console.browser()
    check(
        console, browser.raw("GET", f"/console/sign-in?next={quote_from_bytes(raw(next_))[:9000]}")
    )
    browser.get("/sign-in")
    own = [("csrf", browser.csrf), *((name, value) for name, value in form if name != "csrf")]
    if how == "urlencoded":
        check(console, post(browser, "/sign-in", urlencoded(own)))
    else:
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        check(console, post(browser, "/sign-in", multipart(own, how == "files"), kind))


broken = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(
        [
            b"",
            b"--",
            b"\r\n" * 50,
            f"--{BOUNDARY}".encode(),
            f"--{BOUNDARY}--".encode(),
            f"--{BOUNDARY}\r\n\r\n\r\n--{BOUNDARY}--".encode(),
            f"--{BOUNDARY}\r\nContent-Disposition: form-data\r\n\r\nx\r\n--{BOUNDARY}--".encode(),
            f"--{BOUNDARY}\r\nContent-Disposition: xss; name=\r\n\r\nx".encode(),
            f"--{BOUNDARY}\r\n: x\r\n\r\n--{BOUNDARY}".encode(),
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="csrf'.encode(),
            f"--{BOUNDARY}\r\n{'A' * 70_000}: x\r\n\r\n".encode(),
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="a"; filename="\x00"\r\n\r\nx'.encode(),
            multipart([("a", "b")] * 300),
            multipart([("audience", "b")] * 3, as_files=True),
            b"&" * 10_000,
            b"=" * 10_000,
            b"a=b;" * 5_000,
            b"%" * 10_000,
            b"a=%&b=%u&c=%zz&d=%0",
            b"&".join(b"x=" + b"y" * 10 for _ in range(2_000)),
        ]
    ),
    st.binary(max_size=40).map(lambda some: multipart([("csrf", "x")])[:-20] + some),
)
KINDS = [
    "application/x-www-form-urlencoded",
    f"multipart/form-data; boundary={BOUNDARY}",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=" + "x" * 200,
    f"multipart/form-data; boundary={BOUNDARY}; charset=none-such",
    "application/json",
    "text/plain",
    "",
    ";;;=",
]


@pytest.mark.parametrize("path", ["/sign-in", "/sign-out", "/pauses", "/rehearsals", "/workshop"])
@FUZZED
@given(body=broken, kind=st.sampled_from(KINDS))
def test_no_broken_body_breaks_a_page(console: Console, path: str, body: bytes, kind: str) -> None:
    """It is told to be damaged, or none of ours."""
    browser = console.known(Role.ADMINISTRATOR)
    answer = post(browser, path, body, kind)
    check(console, answer)
    assert answer.status_code in (400, 403, 413)


def test_files_that_are_sent_to_sign_in_are_closed(console: Console) -> None:
    """They are given back at once, not whenever somebody tidies up."""
    browser = console.browser()
    browser.get("/sign-in")
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for path in ("/sign-in", "/sign-out"):
            form = [("csrf", browser.csrf), ("name", "a file")]
            check(console, post(browser, path, multipart(form, as_files=True), kind))
        gc.collect()
    assert [one.message for one in told if issubclass(one.category, ResourceWarning)] == []


CHARSETS = ("utf-8", "latin-1", "utf-16", "ascii", "none-such", "hex", "x" * 300, "")
ODD_CHARSETS = ("utf-7", "raw_unicode_escape", "undefined", "punycode", "idna")


@pytest.mark.parametrize("charset", [*CHARSETS, *ODD_CHARSETS])
@pytest.mark.parametrize("path", ["/sign-in", "/workshop"])
def test_no_charset_breaks_a_page(console: Console, stock: Stock, path: str, charset: str) -> None:
    """A form names the encoding of its texts; what it names may give half a character, or fail."""
    browser = console.known(Role.ADMINISTRATOR)
    texts = ("+2AA-", "\\ud800", "xn--\xff", "a" * 70 + ".b")
    for text in texts:
        form = [("csrf", browser.csrf), ("name", text), ("password", text), ("next", f"/{text}")]
        form += [("creative", text), ("event", text), ("tag:x", text), (text, text)]
        kind = f"multipart/form-data; boundary={BOUNDARY}; charset={charset}"
        check(console, post(browser, path, multipart(form), kind))


@named(POSTED)
def test_a_body_that_is_too_large_is_told_so(console: Console, stock: Stock, page: Page) -> None:
    """Up to its limit a page takes it; beyond, it is not read to its end."""
    browser = console.known(Role.ADMINISTRATOR)
    asked = ASKED[page.method, page.path](stock)
    for size in (30_000, 70_000, 1_300_000):
        form = [("csrf", browser.csrf), ("anything", "x" * size)]
        answer = post(browser, asked.path, urlencoded(form))
        check(console, answer)
        assert (answer.status_code == 413) is (size > page.most)


@pytest.mark.parametrize("header", ["Cookie", "Origin", "Host", "Sec-Fetch-Site", "HX-Request"])
@pytest.mark.parametrize(
    "value",
    [b"\xff\xfe", b"console=\xff", b"console=;console=", b"\x01", b"x" * 9000, b"\xed\xa0\x80"],
)
def test_no_header_breaks_a_page(console: Console, header: str, value: bytes) -> None:
    """Bytes that are no text, and more than there should be."""
    put_people(console)
    for method in ("GET", "POST"):
        for path in ("/console", "/console/sign-in"):
            answer = console.browser().raw(method, path, headers=[(header.encode(), value)])
            check(console, answer)


def marked(console: Console, twilio: Twilio) -> Stock:
    """Put data of which every text is markup into the ledger."""
    made = put(
        console,
        f"<xss onx=1>{MARKUP}",
        twilio.twin,
        ACCOUNT,
        tenant=MINE,
        number="+12015550163",
        digit="a",
    )
    put_people(console, made)
    store, now = console.parts.store, console.parts.clock()
    report = Report(
        outcome=Outcome.SENT, key="k", at=now, due_at=None, aside=MARKUP, reason=MARKUP, sid=MARKUP
    )
    odd = entry(
        made.held + "/odd",
        now,
        tenant_id=MINE,
        status=Status.SENT,
        reason=MARKUP,
        message=Message(
            to=MARKUP, sender=MARKUP, body=MARKUP, media_urls=("javascript:xss()", MARKUP)
        ),
        origin=Origin(
            task_code=MARKUP, event_name=MARKUP, identities={MARKUP: MARKUP, "javascript:": "x"}
        ),
        problems=((MARKUP, MARKUP),),
        job=MARKUP,
        sid=MARKUP,
        provider_status=MARKUP,
        error_code=30003,
        via=MARKUP,
        carrier_done=MARKUP,
        replay_of=Key(MARKUP),
        replayed_by=Key(MARKUP),
        consent_group=MARKUP,
        reports=(report,),
        history=(Step(at=now, step=MARKUP, decision=MARKUP, reason=MARKUP),),
    )
    store.insert_many([odd, entry("javascript:xss()", now, task="javascript:xss()")])
    answer = Inbound(
        key=inbound_key(MINE, MARKUP),
        tenant_id=MINE,
        heard=Heard(sid=MARKUP, sender=MARKUP, to=MARKUP, body=MARKUP),
        heard_at=now,
        purge_at=now,
        answers=odd.key,
        reports=(report,),
    )
    store.hear_many([Hearing(answer, Subject(MINE, MARKUP, EVERY_SENDER))], now=now)
    for scope in (Scope.SENDER, Scope.COUNTRY, Scope.REPORTS):
        store.pause(
            Pause(
                scope=scope,
                tenant_id=MINE,
                value=MARKUP,
                cause=Cause.CONFIG,
                reason=MARKUP,
                since=now,
                by=MARKUP,
            )
        )
    job = msgspec.structs.replace(
        store.jobs(limit=1)[0],
        words=MARKUP,
        reason=MARKUP,
        checked={MARKUP: 1},
        outcomes={MARKUP: 2},
        canceled_by=MARKUP,
    )
    assert store.keep_job(job)
    return made._replace(failed=odd.guid)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ADMINISTRATOR])
def test_every_page_shows_what_the_ledger_holds_as_text(
    console: Console, twilio: Twilio, role: Role
) -> None:
    """Whatever came with an event, from a customer, from CI360 or from a person, is no markup."""
    made = marked(console, twilio)
    browser = console.known(role, MINE, name=MARKUP)
    seen = ""
    for page in PAGES:
        if page.method == "GET" or page.path in (
            "/messages/{guid:path}",
            "/messages",
            "/consents/read",
            "/consents",
        ):
            answer = send(browser, page.method, ASKED[page.method, page.path](made))
            if page.path == "/rehearsals/{rehearsal}/report":
                continue  # a file of its own, which is saved and not shown
            check(console, answer)
            seen += answer.text
    for guid in (made.failed, "javascript:xss()"):
        for method in ("GET", "POST"):
            path = f"/console/messages/{quote(guid, safe='')}?tenant={MINE}"
            answer = browser.raw(
                method, path, **({"data": {"csrf": browser.csrf}} if method == "POST" else {})
            )
            check(console, answer)
            seen += answer.text
    assert "&lt;xss onx=1&gt;" in seen
    assert "{{7*7}}" in seen


def test_a_preview_shows_creative_tags_and_values_as_text(console: Console, stock: Stock) -> None:
    """What somebody types comes back into their page, and so might what they were mailed."""
    browser = console.known(Role.MARKETER)
    event: Mapping[str, Any] = {
        "eventName": MARKUP,
        "guid": "g",
        "attributes": {"x": MARKUP, MARKUP: "y"},
    }
    creatives = [
        MARKUP,
        f"TO:{MARKUP};\nFROM:{MARKUP};\n{MARKUP}",
        "TO:+12015550123;\nFROM:+15005550006;\nMEDIA_URL:javascript:xss();\nж" + MARKUP,
        "{{<xss onx=1>}} {{\"' onx=1}}",
    ]
    for creative in creatives:
        form = {"creative": creative, "event": msgspec.json.encode(event).decode(), "tag:x": MARKUP}
        check(console, browser.post("/workshop", {**form, "tenant": MINE, "number": MARKUP}))
        check(console, browser.post("/workshop", {**form, "number": MARKUP}))


def test_people_and_labels_are_shown_as_text(console: Console) -> None:
    """Names are checked when they are given; were one written into the file, it would do nothing."""
    browser = console.known(Role.ADMINISTRATOR, name=MARKUP)
    form = {"tenant": MINE, "number": "+12015550123", "label": MARKUP}
    check(console, browser.post("/people/numbers", form))
    people = (Person(name="root", role=Role.ADMINISTRATOR), Person(name=MARKUP, role=Role.VIEWER))
    people_with(console.accounts, *people)
    page = browser.get("/people")
    check(console, page)
    assert "&lt;xss onx=1&gt;" in page.text
