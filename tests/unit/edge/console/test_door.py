"""Who comes in: headers, cookies, forged forms, sessions, consoles without people, and what is masked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from tests.conftest import ACCOUNT, Twilio
from tests.console import (
    CHEAP,
    HERE,
    MINE,
    OTHERS,
    PASSWORD,
    Browser,
    Console,
    Later,
    opened,
    text_of,
)
from tests.unit.edge.console.stock import Stock, people_with, put

from ci360_twilio.core.person import Person, Role
from ci360_twilio.edge.console.accounts import Accounts
from ci360_twilio.edge.console.desk import UNMASKED_PER_HOUR
from ci360_twilio.edge.console.door import HEADERS
from ci360_twilio.edge.console.signing import BY_ADDRESS, BY_NAME, BY_NAME_ANYWHERE
from ci360_twilio.wiring import Parts

pytestmark = pytest.mark.slow

PUBLIC = "https://connector.example"
Open = Callable[..., Console]


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Accounts:
    """Give the accounts that all of these tests use, one after the other."""
    return Accounts(tmp_path_factory.mktemp("console") / "people", CHEAP)


@pytest.fixture(scope="module")
def ann(accounts: Accounts) -> bytes:
    """Give a file of two people who can sign in: it is written once, since hashes take their time."""
    people_with(accounts, Person(name="root", role=Role.ADMINISTRATOR))
    accounts.set_password("root", PASSWORD)
    accounts.add(Person(name="Ann", role=Role.OPERATOR, tenants=(MINE,)), PASSWORD)
    return accounts.path.read_bytes()


@pytest.fixture
def later(parts: Parts) -> Later:
    """Give the connector's clock."""
    parts.clock = later = Later()
    return later


@pytest.fixture
def console(
    parts: Parts, later: Later, accounts: Accounts, ann: bytes, tmp_path: Path
) -> Iterator[Console]:
    """Open a console of two people."""
    accounts.path.write_bytes(ann)
    with opened(parts, tmp_path, accounts=accounts) as console:
        yield console


@pytest.fixture
def empty(parts: Parts, later: Later, accounts: Accounts, tmp_path: Path) -> Iterator[Open]:
    """Give a function that opens a console without people."""
    accounts.path.unlink(missing_ok=True)
    made: list[Any] = []

    def make(**options: Any) -> Console:
        context = opened(parts, tmp_path, accounts=accounts, **options)
        made.append(context)
        return context.__enter__()

    yield make
    for context in made:
        context.__exit__(None, None, None)


@pytest.fixture
def stock(console: Console, twilio: Twilio) -> Stock:
    """Put a tenant's data into the ledger."""
    return put(
        console, "apple", twilio.twin, ACCOUNT, tenant=MINE, number="+12015550163", digit="a"
    )


def cookie_of(answer: httpx.Response) -> str:
    """Give the one cookie that an answer sets."""
    [found] = answer.headers.get_list("set-cookie")
    return str(found)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/console", 200),
        ("GET", "/console/now", 200),
        ("HEAD", "/console", 200),
        ("GET", "/console/sign-in", 200),
        ("GET", "/console/static/console.css?v=1", 200),
        ("GET", "/console/static/console.js?v=1", 200),
        ("GET", "/console/static/none.css", 404),
        ("GET", "/console/static/../app.py", 404),
        ("GET", "/console/static/%2e%2e/app.py", 404),
        ("GET", "/console/static/..%2fapp.py", 404),
        ("POST", "/console/static/console.css?v=1", 405),
        ("GET", "/console/nowhere", 404),
        ("GET", "/console/messages/none", 404),
        ("POST", "/console/audit", 405),
        ("DELETE", "/console/messages", 405),
        ("OPTIONS", "/console", 405),
        ("TRACE", "/console/sign-in", 405),
        ("POST", "/console/messages", 403),
        ("GET", "/console/", 307),
        ("POST", "/console/sign-in", 403),
    ],
)
def test_every_answer_tells_the_browser_to_do_nothing_that_no_page_asks_it_to(
    console: Console, method: str, path: str, status: int
) -> None:
    """Pages, files, redirects and errors alike; only files whose address changes are kept."""
    answer = console.known(Role.VIEWER).raw(method, path)
    assert answer.status_code == status
    is_file = status == 200 and "/static/" in path
    for name, value in HEADERS.items():
        if name == "Cache-Control" and is_file:
            assert answer.headers[name] == "public, max-age=31536000, immutable"
        else:
            assert answer.headers[name] == value
    assert answer.headers.get_list("content-security-policy") == [
        HEADERS["Content-Security-Policy"]
    ]
    assert "server" not in answer.headers


def test_who_is_sent_to_sign_in_gets_the_same_headers(console: Console) -> None:
    """A redirect, and the answer to a part of a page."""
    browser = console.browser()
    for answer in (
        browser.get("/audit", follow=False),
        browser.get("/audit", follow=False, **{"HX-Request": "true"}),
    ):
        assert answer.status_code in (303, 401)
        assert (
            HEADERS.items()
            <= {
                name.title().replace("X-Content", "X-Content"): value
                for name, value in answer.headers.items()
            }.items()
        )


def test_the_policy_lets_nothing_in_that_is_not_ours() -> None:
    """No script or style in a page, nothing from elsewhere, no frame, no form to elsewhere."""
    parts = (part.split() for part in HEADERS["Content-Security-Policy"].split(";"))
    policy = {name: set(values) for name, *values in parts}
    assert policy["default-src"] == {"'none'"}
    assert policy["frame-ancestors"] == policy["base-uri"] == {"'none'"}
    assert policy["script-src"] == policy["style-src"] == policy["form-action"] == {"'self'"}
    allowed = set().union(*policy.values())
    assert allowed == {"'none'", "'self'", "data:"}


@pytest.mark.parametrize("path", ["", "/messages", "/workshop", "/people", "/sign-in"])
def test_no_page_has_a_script_style_or_handler_in_itself(console: Console, path: str) -> None:
    """The policy would stop them: pages work without."""
    text = console.known(Role.ADMINISTRATOR).get(path).text
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", text)
    for script in re.findall(r"<script([^>]*)>", text):
        assert "src=" in script or 'type="application/json"' in script


def test_over_plain_http_on_this_machine_the_cookie_is_for_the_server_alone(
    console: Console,
) -> None:
    """No script reads it, and no other site has it sent."""
    browser = console.browser()
    browser.get("/sign-in")
    answer = browser.post("/sign-in", {"name": "ann", "password": PASSWORD}, follow=False)
    found = cookie_of(answer)
    assert re.fullmatch(r"console=[\w-]{43}; HttpOnly; Max-Age=43200; Path=/; SameSite=lax", found)


@pytest.mark.parametrize("how", ["tls", "proxy"])
def test_over_https_the_cookie_never_leaves_it(
    parts: Parts, accounts: Accounts, ann: bytes, tmp_path: Path, later: Later, how: str
) -> None:
    """It is secure, of this host alone, and its name makes browsers see to both."""
    accounts.path.write_bytes(ann)
    with opened(parts, tmp_path, accounts=accounts, is_https=how == "proxy") as console:
        browser = console.browser(peer="203.0.113.7", base=PUBLIC)
        first = browser.get("/sign-in")
        answer = browser.post("/sign-in", {"name": "ann", "password": PASSWORD}, follow=False)
        for found in (cookie_of(first), cookie_of(answer)):
            assert re.fullmatch(
                r"__Host-console=[\w-]{43}; HttpOnly; Max-Age=43200; Path=/; SameSite=lax; Secure",
                found,
            )
        assert browser.get("/audit").status_code == 200
        gone = cookie_of(browser.post("/sign-out", follow=False))
        assert gone.startswith('__Host-console=""; ')
        assert "Max-Age=0" in gone
        assert gone.endswith("Secure")


def test_over_https_the_cookie_of_plain_http_opens_nothing(console: Console) -> None:
    """Whoever can write a cookie without the prefix, such as another host of the domain, is nobody."""
    token, _ = console.sessions.begin(person=Person(name="x", role=Role.ADMINISTRATOR))
    browser = console.browser(peer="203.0.113.7", base=PUBLIC)
    for name, status in (("console", 303), ("__Host-console", 200)):
        answer = browser.raw("GET", "/console/people", headers={"Cookie": f"{name}={token}"})
        assert answer.status_code == status


def test_no_token_ever_stands_in_an_address(console: Console, stock: Stock) -> None:
    """Addresses are kept in histories and logs, and sent to other sites."""
    browser = console.known(Role.ADMINISTRATOR)
    token = browser.cookies["console"]
    for path in ("", "/messages", "/pauses", "/people", "/workshop", f"/jobs/{MINE}/{stock.job}"):
        text = browser.get(path).text
        assert token not in text
        for address in re.findall(r'(?:href|src|action|hx-get|hx-post)="([^"]*)"', text):
            assert browser.csrf not in address
    answer = browser.post("/pauses", {"scope": "tenant", "tenant": MINE, "confirmed": "yes"})
    for one in (*answer.history, answer):
        assert token not in f"{one.url} {one.headers}"
        assert browser.csrf not in f"{one.url} {one.headers}"
    for name in ("csrf", "console", "token"):
        query = f"/console/audit?{name}={token}"
        assert console.browser().raw("GET", query).status_code == 303


FORGED: dict[str, Callable[[Browser, str], httpx.Response]] = {
    "no token": lambda browser, _: browser.post("/pauses", {"csrf": ""}),
    "a wrong token": lambda browser, _: browser.post("/pauses", {"csrf": "x" * 32}),
    "a part of the token": lambda browser, _: browser.post("/pauses", {"csrf": browser.csrf[:-1]}),
    "a token that is no ASCII": lambda browser, _: browser.post("/pauses", {"csrf": "ж\x00"}),
    "another session's token": lambda browser, other: browser.post("/pauses", {"csrf": other}),
    "the token, then another": lambda browser, other: browser.post(
        "/pauses", {"csrf": [browser.csrf, other]}
    ),
    "a token as a file": lambda browser, _: browser.post(
        "/pauses", {"csrf": ""}, files={"csrf": ("a", browser.csrf)}
    ),
    "the token in the query": lambda browser, _: browser.post(
        f"/pauses?csrf={browser.csrf}", {"csrf": ""}
    ),
    "the token in a header": lambda browser, _: browser.post(
        "/pauses", {"csrf": ""}, headers={"X-CSRF-Token": browser.csrf}
    ),
    "the token as JSON": lambda browser, _: browser.raw(
        "POST", "/console/pauses", json={"csrf": browser.csrf}
    ),
    "the token as plain text": lambda browser, _: browser.raw(
        "POST",
        "/console/pauses",
        content=f"csrf={browser.csrf}",
        headers={"Content-Type": "text/plain"},
    ),
    **{
        f"an origin {origin}": lambda browser, _, origin=origin: browser.post(  # type: ignore[misc]
            "/pauses", {}, headers={"Origin": origin}
        )
        for origin in (
            "https://evil.example",
            "null",
            "",
            "http://127.0.0.1",
            "http://127.0.0.1:83600",
            "http://127.0.0.1:8360.evil.example",
            "http://evil.example/127.0.0.1:8360",
            "http://user@127.0.0.1:8360",
        )
    },
    **{
        f"from a site {site}": lambda browser, _, site=site: browser.post(  # type: ignore[misc]
            "/pauses", {}, headers={"Sec-Fetch-Site": site}
        )
        for site in ("cross-site", "same-site", "", "anything else")
    },
}


@pytest.mark.parametrize("how", FORGED)
def test_a_form_that_no_page_of_ours_sent_does_nothing(console: Console, how: str) -> None:
    """It is told to be out of date, and nothing is paused."""
    browser, other = console.known(Role.ADMINISTRATOR), console.known(Role.ADMINISTRATOR)
    assert browser.csrf != other.csrf
    answer = FORGED[how](browser, other.csrf)
    assert answer.status_code == 403
    assert "This form is out of date" in answer.text
    assert console.parts.store.pauses() == []
    assert console.parts.store.notes(9) == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": HERE},
        {"Origin": HERE, "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
    ids=str,
)
def test_a_form_of_ours_is_taken(console: Console, headers: dict[str, str]) -> None:
    """Also from browsers that say nothing of where it comes from."""
    form = {"scope": "tenant", "tenant": MINE, "confirmed": "yes"}
    answer = console.known(Role.OPERATOR).post("/pauses", form, headers=headers)
    assert answer.status_code == 200
    assert len(console.parts.store.pauses()) == 1


@pytest.mark.parametrize("csrf", ["", "x" * 32])
def test_nobody_is_signed_in_or_out_by_another_site(console: Console, csrf: str) -> None:
    """Neither as somebody else, nor at all."""
    browser = console.browser()
    browser.get("/sign-in")
    answer = browser.post("/sign-in", {"name": "ann", "password": PASSWORD, "csrf": csrf})
    assert answer.status_code == 403
    assert browser.get("/audit", follow=False).status_code == 303
    known = console.known(Role.VIEWER)
    assert known.post("/sign-out", {"csrf": csrf}).status_code == 403
    assert known.get("/audit", follow=False).status_code == 200


def test_a_sign_in_without_the_session_of_its_page_is_refused(console: Console) -> None:
    """Cookies that are switched off are told of as a form that is out of date."""
    form = {"name": "ann", "password": PASSWORD, "csrf": ""}
    assert console.browser().post("/sign-in", form).status_code == 403


def test_a_session_ends_when_it_is_not_used(console: Console, later: Later) -> None:
    """A page that refreshes itself does not keep it alive."""
    browser = console.known(Role.VIEWER)
    for _ in range(3):
        later.advance(minutes=59)
        assert browser.get("/audit", follow=False).status_code == 200
    for _ in range(5):
        later.advance(minutes=11)
        assert browser.get("/now", follow=False).status_code == 200
    later.advance(minutes=6)
    assert browser.get("/now", follow=False, **{"HX-Request": "true"}).status_code == 401
    assert browser.get("/audit", follow=False).status_code == 303


def test_a_session_ends_after_half_a_day(console: Console, later: Later) -> None:
    """However much it is used."""
    browser = console.known(Role.VIEWER)
    for _ in range(23):
        later.advance(minutes=31)
        assert browser.get("/audit", follow=False).status_code == 200
    later.advance(minutes=10)
    assert browser.get("/audit", follow=False).status_code == 303


def test_signing_in_gives_a_token_that_nobody_knew_before(console: Console) -> None:
    """Who slipped somebody a cookie is not signed in with them; nor is a made-up token taken."""
    browser, other = console.browser(), console.browser()
    browser.get("/sign-in")
    planted = browser.cookies["console"]
    csrf = browser.csrf
    answer = browser.post("/sign-in", {"name": "Ann", "password": PASSWORD})
    assert answer.status_code == 200
    assert browser.cookies["console"] != planted
    assert browser.csrf != csrf
    for token in (planted, "made-up"):
        answer = other.raw("GET", "/console/audit", headers={"Cookie": f"console={token}"})
        assert answer.status_code == 303
        page = other.raw("GET", "/console/sign-in", headers={"Cookie": f"console={token}"})
        assert f"console={token}" not in cookie_of(page)


def test_signing_in_anew_ends_the_session_before(console: Console) -> None:
    """Somebody else at the same browser leaves no session of the first behind."""
    browser = console.browser()
    browser.sign_in("ann")
    before = browser.cookies["console"]
    browser.sign_in("root")
    assert "root, administrator" in text_of(browser.get("").text)
    answer = console.browser().raw("GET", "/console", headers={"Cookie": f"console={before}"})
    assert answer.status_code == 303


def test_signing_out_ends_the_session_itself(console: Console) -> None:
    """The token is worth nothing afterwards, whoever has kept it."""
    browser = console.browser()
    browser.sign_in("ann")
    token = browser.cookies["console"]
    answer = browser.post("/sign-out", follow=False)
    assert answer.headers["location"] == "/console/sign-in"
    assert "Max-Age=0" in cookie_of(answer)
    assert "console" not in browser.cookies
    kept = console.browser().raw("GET", "/console", headers={"Cookie": f"console={token}"})
    assert kept.status_code == 303


def test_a_new_password_ends_all_sessions_of_the_old_one(console: Console) -> None:
    """In every browser; the others' go on."""
    browsers = [console.browser(), console.browser()]
    for browser in browsers:
        browser.sign_in("ann")
    root = console.browser()
    root.sign_in("root")
    form = {"name": "Ann", "action": "password", "password": "quite another password"}
    assert root.post("/people/change", form).status_code == 200
    for browser in browsers:
        assert browser.get("/audit", follow=False).status_code == 303
        assert browser.post("/pauses", follow=False).status_code == 303
    assert root.get("/audit", follow=False).status_code == 200
    assert browsers[0].sign_in("ann").status_code == 403
    assert browsers[0].sign_in("ann", "quite another password").status_code == 200


def test_who_is_removed_is_out_at_once_and_stays_out_if_added_anew(console: Console) -> None:
    """An old session is not the new person's, who may be somebody else of that name."""
    browser, root = console.browser(), console.known(Role.ADMINISTRATOR)
    browser.sign_in("ann")
    assert root.post("/people/change", {"name": "ann", "action": "remove"}).status_code == 200
    assert browser.get("/audit", follow=False).status_code == 303
    form = {"name": "Ann", "role": "administrator", "tenants": "", "password": PASSWORD}
    assert root.post("/people", form).status_code == 200
    assert browser.get("/audit", follow=False).status_code == 303


def test_a_change_of_rights_takes_effect_at_once(console: Console, stock: Stock) -> None:
    """In sessions that are open: more rights, fewer, and other tenants."""
    browser = console.browser()
    browser.sign_in("ann")
    assert browser.get("/people").status_code == 403
    assert browser.get("/steer").status_code == 200
    console.accounts.set_rights("ann", Role.ADMINISTRATOR, (MINE,))
    assert browser.get("/people").status_code == 200
    assert browser.get(f"/messages/{stock.waits}").status_code == 200
    console.accounts.set_rights("ann", Role.VIEWER, (OTHERS,))
    assert browser.get("/steer").status_code == 403
    assert browser.get(f"/messages/{stock.waits}").status_code == 404


def test_a_console_without_people_is_the_administrators_who_sits_at_the_machine(
    empty: Open,
) -> None:
    """No sign-in is asked for, and forms are still checked."""
    browser = empty().browser()
    assert "this machine, administrator" in text_of(browser.get("").text)
    assert browser.get("/sign-in", follow=False).headers["location"] == "/console"
    assert browser.get("/people").status_code == 200
    assert browser.post("/pauses", {"csrf": "wrong"}).status_code == 403
    form = {"scope": "all", "confirmed": "yes"}
    assert browser.post("/pauses", form).status_code == 200
    assert browser.cookies["console"]


@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        ("203.0.113.7", {}),
        ("10.0.0.1", {"Host": "127.0.0.1:8360"}),
        ("169.254.169.254", {}),
        ("::ffff:203.0.113.7", {}),
        ("", {}),
        ("127.0.0.1", {"Host": "evil.example"}),
        ("127.0.0.1", {"Host": "127.0.0.1.evil.example:8360"}),
        ("127.0.0.1", {"Host": "localhost.evil.example"}),
        ("127.0.0.1", {"Host": "evil.example:8360@127.0.0.1"}),
        ("127.0.0.1", {"Host": ""}),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}),
        ("127.0.0.1", {"x-forwarded-proto": "https"}),
        ("127.0.0.1", {"X-Forwarded-Host": "localhost"}),
        ("127.0.0.1", {"Forwarded": "for=127.0.0.1"}),
        ("127.0.0.1", {"Via": "1.1 proxy"}),
        ("127.0.0.1", {"X-Real-IP": "127.0.0.1"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/console", "/console/sign-in", "/console/people"])
def test_a_console_without_people_answers_nobody_else(
    empty: Open, peer: str, headers: dict[str, str], path: str
) -> None:
    """Neither from elsewhere, nor through a proxy, nor to a page that has its own name lead here."""
    browser = empty().browser(peer=peer)
    answer = browser.raw("GET", path, headers=headers)
    assert answer.status_code == 403
    assert "ci360-twilio people add" in text_of(answer.text)
    assert "set-cookie" not in answer.headers
    posted = browser.raw("POST", path, headers=headers, data={"csrf": ""})
    assert posted.status_code in (403, 405)


def test_a_console_without_people_answers_nobody_where_the_server_is_reached_from_elsewhere(
    empty: Open,
) -> None:
    """A server that listens on all addresses cannot tell who is at the machine."""
    console = empty(on_loopback=False)
    assert console.browser().get("").status_code == 403
    assert console.browser(base="http://localhost:8360").get("").status_code == 403


@pytest.mark.parametrize("path", ["", "/sign-in", "/people"])
def test_a_damaged_file_of_people_opens_the_console_to_nobody(console: Console, path: str) -> None:
    """It is not taken for one without people; whoever asks is not told where it is."""
    known = console.known(Role.ADMINISTRATOR)
    console.accounts.path.write_bytes(b"{")
    for browser in (known, console.browser()):
        answer = browser.get(path, follow=False)
        assert answer.status_code in (400, 503)
        assert "this machine" not in answer.text
        assert str(console.accounts.path) not in answer.text


@pytest.mark.parametrize("base", ["http://localhost:1", "http://[::1]:8360", "http://127.0.0.2"])
@pytest.mark.parametrize("peer", ["127.0.0.1", "::1"])
def test_this_machine_has_several_names(empty: Open, base: str, peer: str) -> None:
    """All of loopback is this machine."""
    assert empty().browser(base=base, peer=peer).get("").status_code == 200


def test_whoever_was_at_the_machine_signs_in_once_somebody_is_added(
    empty: Open, ann: bytes
) -> None:
    """The session from before has no person."""
    console = empty()
    browser = console.browser()
    browser.get("")
    console.accounts.path.write_bytes(ann)
    assert browser.get("", follow=False).headers["location"] == "/console/sign-in"
    assert browser.post("/pauses", {"scope": "all", "confirmed": "yes"}).status_code == 200
    assert console.parts.store.pauses() == []


@pytest.mark.parametrize("path", ["/console", "/console/sign-in", "/console/audit"])
@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        ("203.0.113.7", {}),
        ("203.0.113.7", {"X-Forwarded-Proto": "https"}),
        ("203.0.113.7", {"Forwarded": "proto=https"}),
        ("127.0.0.1", {"Host": "connector.example"}),
    ],
    ids=str,
)
def test_nothing_is_shown_over_plain_http_to_elsewhere(
    console: Console, peer: str, headers: dict[str, str], path: str
) -> None:
    """Whatever a header says that anybody can write; and no password is asked for."""
    known = console.known(Role.ADMINISTRATOR)
    browser = console.browser(peer=peer)
    sent = {"Cookie": f"console={known.cookies['console']}", **headers}
    for method in ("GET", "POST"):
        answer = browser.raw(method, path, headers=sent)
        assert answer.status_code in (403, 405)
        assert "<input" not in answer.text
        assert "set-cookie" not in answer.headers
    assert "plain HTTP" in text_of(browser.raw("GET", path, headers=sent).text)


def test_a_server_on_all_addresses_shows_nothing_over_plain_http(
    parts: Parts, accounts: Accounts, ann: bytes, tmp_path: Path
) -> None:
    """Nor to this machine itself: a proxy beside it looks the same."""
    accounts.path.write_bytes(ann)
    with opened(parts, tmp_path, accounts=accounts, on_loopback=False) as console:
        assert console.browser().get("/sign-in").status_code == 403


@pytest.mark.parametrize(
    "where",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "\t//evil.example",
        "/%0d%0aSet-Cookie:x=y",
        "/\r\nSet-Cookie: x=y",
        "javascript:alert(1)",
        "data:text/html,x",
        "@evil.example",
        ".evil.example",
        ":80@evil.example",
        "/@evil.example",
        "/..//evil.example",
        "/../..//evil.example/",
        "/%2e%2e//evil.example",
        "///evil.example",
        "/sign-out",
        "/sign-in?next=/sign-in",
        "/ж",
        "/\x00",
        "/" + "x" * 5000,
        " /audit",
    ],
    ids=ascii,
)
def test_no_sign_in_leads_to_elsewhere(console: Console, where: str) -> None:
    """Whatever the address says that somebody was sent."""
    browser = console.browser()
    page = browser.raw("GET", "/console/sign-in", params={"next": where})
    assert page.status_code == 200
    token = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert token
    form = {"name": "ann", "password": PASSWORD, "next": where, "csrf": token[1]}
    answer = browser.post("/sign-in", form, follow=False)
    assert answer.status_code == 303
    location = answer.headers["location"]
    assert location == "/console" or location.startswith("/console/")
    led = httpx.URL(HERE).join(location)
    assert (led.scheme, led.host, led.port) == ("http", "127.0.0.1", 8360)
    assert urlsplit(location).netloc == ""
    assert not led.path.startswith("/console/sign")
    assert len(answer.headers.get_list("set-cookie")) == 1


@pytest.mark.parametrize("path", ["/audit", "/messages/a%20b", "/jobs/mine/00"])
def test_a_sign_in_leads_back_to_where_somebody_was_going(console: Console, path: str) -> None:
    """The page that they asked for, within the console."""
    browser = console.browser()
    page = browser.get(path)
    assert page.url.path == "/console/sign-in"
    found = re.search(r'name="next" value="([^"]*)"', page.text)
    assert found
    form = {"name": "ann", "password": PASSWORD, "next": found[1]}
    answer = browser.post("/sign-in", form, follow=False)
    assert answer.headers["location"] == f"/console{path}"


def test_a_name_can_be_tried_so_often(console: Console, later: Later) -> None:
    """In any case; then not even the right password opens from there, for five minutes."""
    browser = console.browser()
    for name in ("ann", "ANN", "Ann", " ann ", "aNN"):
        answer = browser.sign_in(name, "a wrong password")
        assert answer.status_code == 403
        assert "do not fit" in answer.text
    assert browser.sign_in("ann").status_code == 429
    assert "tried too often" in browser.sign_in("ANN").text
    later.advance(minutes=4)
    assert browser.sign_in("ann").status_code == 429
    later.advance(minutes=1, seconds=1)
    assert browser.sign_in("ann").status_code == 200


def test_nobody_is_kept_out_by_others_who_try_their_name(console: Console) -> None:
    """Unless they do so from very many places: then passwords are being guessed."""
    for place in range(BY_NAME_ANYWHERE):
        stranger = console.browser(peer=f"127.0.1.{place + 1}")
        stranger.get("/sign-in")
        if place == BY_NAME:
            assert console.browser().sign_in("ann").status_code == 200
        form = {"name": "ann", "password": "x" * 201}  # is not hashed
        assert stranger.post("/sign-in", form).status_code == 403
    assert console.browser().sign_in("ann").status_code == 429


def test_who_signs_in_often_is_let_in(console: Console) -> None:
    """Only what fails is counted."""
    browser = console.browser()
    for _ in range(BY_NAME + 2):
        assert browser.sign_in("ann").status_code == 200


def test_an_address_can_try_so_often(console: Console, later: Later) -> None:
    """Whatever the names; others go on signing in."""
    browser = console.browser()
    browser.get("/sign-in")
    for place in range(BY_ADDRESS):
        form = {"name": f"name {place}", "password": "x" * 201}  # is not hashed
        assert browser.post("/sign-in", form).status_code == 403
    assert browser.sign_in("ann").status_code == 429
    assert console.browser(peer="127.0.0.2").sign_in("ann").status_code == 200
    later.advance(minutes=5, seconds=1)
    assert browser.sign_in("ann").status_code == 200


def test_a_wrong_password_and_an_unknown_name_look_the_same(console: Console) -> None:
    """Nobody learns who there is."""
    browser = console.browser()
    pages = [browser.sign_in(name, "a wrong password") for name in ("ann", "nobody")]
    words = {(page.status_code, text_of(page.text)) for page in pages}
    assert len(words) == 1
    [(status, said)] = words
    assert status == 403
    assert "Name and password do not fit." in said


@pytest.mark.parametrize("role", Role)
def test_numbers_and_texts_are_masked_on_every_page(
    console: Console, stock: Stock, role: Role
) -> None:
    """Whatever the role, before somebody unmasks one: lists, a message, consents, jobs, the audit."""
    browser = console.known(role, MINE)
    hidden = [stock.number, stock.writer, f"body {stock.mark}", f"reply {stock.mark}"]
    hidden += [f"identity {stock.mark}", f"m.example/{stock.mark}"]
    pages = ["", "/now", "/messages", "/jobs", f"/jobs/{MINE}/{stock.job}", "/pauses"]
    pages += ["/consents", "/audit"]
    pages += [f"/messages/{guid}?tenant={MINE}" for guid in (stock.waits, stock.failed, stock.held)]
    pages += ["/steer"] if role in (Role.OPERATOR, Role.ADMINISTRATOR) else []
    for path in pages:
        page = browser.get(path)
        assert page.status_code == 200
        assert [one for one in hidden if one in page.text] == [], path
    found = browser.post("/messages", {"tenant": MINE, "status": "held"}).text
    assert stock.held in found
    assert [one for one in hidden if one in found] == []
    assert "+*********63" in found


def test_a_number_to_which_tests_may_go_is_masked(console: Console, stock: Stock) -> None:
    """In the list of those that are allowed; also in what its form brings back."""
    page = console.known(Role.ADMINISTRATOR, MINE).get("/people").text
    assert f"label {stock.mark}" in page
    assert stock.number not in page


def test_unmasking_shows_one_message_once_and_is_written_down(
    console: Console, stock: Stock
) -> None:
    """Who, when and which; never what was shown. The page is masked again when it is loaded anew."""
    browser = console.known(Role.OPERATOR, MINE, name="Olga")
    path = f"/messages/{stock.waits}?tenant={MINE}"
    assert "This is written into the audit" in browser.get(path).text
    clear = browser.post(path).text
    for shown in (stock.number, f"body {stock.mark}", f"identity {stock.mark}"):
        assert shown in clear
    assert stock.number not in browser.get(path).text
    note = console.parts.store.notes(1)[0]
    assert (note.by, note.action, note.tenant_id) == ("Olga", "unmask", MINE)
    assert note.subject == f"{MINE}/{stock.waits}"
    assert stock.number[-10:] not in repr(note)
    assert "Olga" in browser.get("/audit").text
    log = log_of(console)
    assert '"decision": "unmask"' in log or '"decision":"unmask"' in log
    for kept in (stock.number[-10:], "body", "identity"):
        assert kept not in log


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MARKETER])
def test_who_may_not_unmask_is_not_offered_it(console: Console, stock: Stock, role: Role) -> None:
    """Nor is it written down that they tried."""
    browser, before = console.known(role, MINE), console.parts.store.notes(100)
    path = f"/messages/{stock.waits}?tenant={MINE}"
    assert "Show number and text" not in browser.get(path).text
    assert 'action="/console/consents/read"' not in browser.get("/consents").text
    for answer in (
        browser.post(path),
        browser.post("/consents/read", {"tenant": MINE, "sid": stock.sid}),
    ):
        assert answer.status_code == 403
        assert stock.number not in answer.text
        assert f"reply {stock.mark}" not in answer.text
    assert console.parts.store.notes(100) == before


def test_a_text_that_is_to_be_read_shows_no_number(console: Console, stock: Stock) -> None:
    """The text in clear, whose it is masked; it is written down that somebody read it."""
    browser = console.known(Role.OPERATOR, MINE)
    page = browser.post("/consents/read", {"tenant": MINE, "sid": stock.sid}).text
    assert f"reply {stock.mark}" in page
    assert stock.writer not in page
    assert console.parts.store.notes(1)[0].subject == f"text {stock.sid}"


def test_somebody_unmasks_so_many_in_an_hour(console: Console, stock: Stock, later: Later) -> None:
    """Messages and texts count together, in all sessions of a person; others have their own count."""
    browsers = [console.known(Role.OPERATOR, MINE, name="Olga") for _ in range(2)]
    path = f"/messages/{stock.waits}?tenant={MINE}"
    read = {"tenant": MINE, "sid": stock.sid}
    for count in range(UNMASKED_PER_HOUR):
        browser = browsers[count % 2]
        done = browser.post("/consents/read", read) if count % 3 else browser.post(path)
        assert done.status_code == 200
    written = len(console.parts.store.notes(1000))
    for browser in browsers:
        for refused in (browser.post(path), browser.post("/consents/read", read)):
            assert refused.status_code == 429
            assert stock.number not in refused.text
    assert len(console.parts.store.notes(1000)) == written
    assert console.known(Role.OPERATOR, MINE, name="Otto").post(path).status_code == 200
    for browser in browsers:
        browser.get("")
    later.advance(minutes=59)
    assert browsers[0].post(path).status_code == 429
    later.advance(minutes=2)
    assert browsers[0].post(path).status_code == 200


def test_no_password_number_or_text_is_in_the_log(console: Console, stock: Stock) -> None:
    """Whatever people do, and whatever goes wrong."""
    browser = console.browser()
    browser.sign_in("ann", "a password that is wrong")
    browser.sign_in("ann")
    secrets = [
        "a password that is wrong",
        PASSWORD,
        stock.number[-10:],
        "a secret body",
        "a new one!!!",
    ]
    browser.post("/messages", {"find": stock.number})
    browser.post("/consents", {"tenant": MINE, "number": stock.number})
    change = {"tenant": MINE, "number": stock.number, "sign": "out", "confirmed": "yes"}
    browser.post("/consents/change", change)
    creative = {"creative": "FROM:+15005550006;\na secret body", "tenant": MINE}
    browser.post("/workshop/send", {**creative, "number": stock.number})
    browser.post("/workshop/send", {**creative, "number": "+12015550144"})
    root = console.browser()
    root.sign_in("root")
    root.post("/people/change", {"name": "ann", "action": "password", "password": "a new one!!!"})
    root.post("/people/numbers", {"tenant": MINE, "number": stock.number, "label": "Anna"})
    secrets += [browser.csrf, root.csrf, root.cookies["console"]]
    log = log_of(console)
    assert "console.signed_in" in log
    assert "console.refused" in log
    assert [one for one in secrets if one in log] == []
    assert "console.unexpected" not in log
    notes = repr(console.parts.store.notes(1000))
    assert [one for one in secrets if one in notes] == []


def log_of(console: Console) -> str:
    """Give all that was logged."""
    stream: Any = console.parts.log._stream
    return str(stream.getvalue())


def test_a_session_begun_with_an_old_password_ends_however_late_it_began(console: Console) -> None:
    """Whoever was let in just before the password was set is out when it is."""
    browser = console.signed_in(Role.VIEWER, MINE, name="eve")
    console.accounts.set_password("eve", "another long password")
    for session in console.sessions._sessions.values():
        session.began_at = datetime.now(UTC) + timedelta(seconds=1)
    assert browser.get("/messages").url.path == "/console/sign-in"


def test_a_proxy_that_changes_the_host_lets_forms_through(
    parts: Parts, accounts: Accounts, tmp_path: Path
) -> None:
    """Pages of the address that browsers know are ours, too."""
    with opened(
        parts,
        tmp_path,
        accounts=accounts,
        is_https=True,
        public_origin="https://sms.example.com",
    ) as console:
        browser = console.known(Role.OPERATOR, MINE, base="https://127.0.0.1:8360")
        ours = {"Origin": "https://sms.example.com"}
        assert browser.post(
            "/pauses", {"scope": "tenant", "tenant": "mine"}, headers=ours
        ).is_success
        theirs = {"Origin": "https://sms.example.org"}
        assert browser.post("/pauses", headers=theirs).status_code == 403
