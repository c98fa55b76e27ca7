"""Who may see and change what: every page, for every role, and for people of another tenant."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.conftest import ACCOUNT, TOKEN, Twilio
from tests.console import CHEAP, MINE, OTHERS, Console, entry, opened, text_of
from tests.unit.edge.console.stock import ASKED, YES, Asked, Stock, put, put_people, send, state_of

from ci360_twilio.core.entry import Lease, Status
from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.core.person import Person, Right, Role
from ci360_twilio.edge.console.accounts import Accounts
from ci360_twilio.edge.console.desk import Page
from ci360_twilio.edge.console.pages import PAGES
from ci360_twilio.twin.faults import FaultPlan
from ci360_twilio.twin.server import TwinServer
from ci360_twilio.twin.twilio import TwilioTwin, TwinAccount
from ci360_twilio.wiring import Parts

pytestmark = pytest.mark.slow

OTHER_ACCOUNT = f"AC{'b2' * 16}"


class World(NamedTuple):
    """A console of two tenants, each with data and a twin of its own."""

    console: Console
    mine: Stock
    others: Stock
    twins: tuple[TwilioTwin, TwilioTwin]

    def state(self) -> list[object]:
        """Give all that people can change."""
        return state_of(self.console, *self.twins)


@pytest.fixture(scope="module")
def twilio() -> Iterator[Twilio]:
    """Run one twin for all of these tests."""
    yield from _twin(ACCOUNT, TOKEN)


@pytest.fixture(scope="module")
def others_twin() -> Iterator[Twilio]:
    """Run the twin that the other tenant's messages go to."""
    yield from _twin(OTHER_ACCOUNT, "another token")


def _twin(account_sid: str, token: str) -> Iterator[Twilio]:
    account = TwinAccount(sid=account_sid, auth_token=token)
    twin = TwilioTwin(accounts=[account], clock=lambda: datetime.now(UTC))
    faults = FaultPlan()
    with TwinServer(twin, faults) as server:
        yield Twilio(server, twin, faults)


@pytest.fixture
def parts(
    connector: Callable[..., Parts],
    tenants_folder: Callable[..., Path],
    twilio: Twilio,
    others_twin: Twilio,
) -> Parts:
    """Wire a connector with two tenants, each with an account of its own."""
    tenants_folder(MINE)
    path = f"/2010-04-01/Accounts/{OTHER_ACCOUNT}/Messages.json"
    tenants_folder(
        OTHERS,
        twilio_api_url=f"{others_twin.server.url}{path}",
        twilio_account_sid=OTHER_ACCOUNT,
        twilio_auth_token="another token",
    )
    hosts = f"{twilio.host},{others_twin.host}"
    return connector(ledger="memory:", twilio_hosts=hosts)


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Accounts:
    """Give the accounts that all of these tests use, one after the other."""
    return Accounts(tmp_path_factory.mktemp("console") / "people", CHEAP)


@pytest.fixture
def world(
    parts: Parts, accounts: Accounts, twilio: Twilio, others_twin: Twilio, tmp_path: Path
) -> Iterator[World]:
    """Open a console over both tenants' data."""
    accounts.path.unlink(missing_ok=True)
    theirs = others_twin.twin
    with opened(parts, tmp_path, accounts=accounts) as console:
        mine = put(
            console, "apple", twilio.twin, ACCOUNT, tenant=MINE, number="+12015550111", digit="a"
        )
        others = put(
            console, "zebra", theirs, OTHER_ACCOUNT, tenant=OTHERS, number="+12015550177", digit="f"
        )
        put_people(console, mine, others)
        yield World(console, mine, others, (twilio.twin, theirs))


def name_of(page: Page) -> str:
    """Name a page in a test's id."""
    return f"{page.method} {page.path or '/'}"


def asked_for(page: Page, stock: Stock) -> Asked:
    """Give a request for a page, about a tenant's data."""
    return ASKED[page.method, page.path](stock)


every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


def test_every_page_has_a_request_here() -> None:
    """A page that is added is covered by these tests, or fails them."""
    assert {(page.method, page.path) for page in PAGES} == set(ASKED)
    assert len(PAGES) == len(ASKED)


def test_what_changes_something_is_never_asked_for_by_a_link() -> None:
    """Rights that change things are only needed for forms, but for the pages that offer them."""
    reads = {page.path for page in PAGES if page.method == "GET" and page.right != Right.SEE}
    offers = {"/steer", "/people", "/workshop", "/rehearsals", "/phones"}
    assert {f"/{path.split('/')[1]}" for path in reads} == offers


@every_page
def test_whoever_is_not_signed_in_is_sent_to_sign_in(world: World, page: Page) -> None:
    """Nothing is shown or changed, and a part of a page sends the whole of it there."""
    browser, asked = world.console.browser(), asked_for(page, world.mine)
    before = world.state()
    answer = send(browser, page.method, asked)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/console/sign-in")
    assert answer.text == ""
    options = {"headers": {"HX-Request": "true"}} if page.method == "POST" else {"HX-Request": "1"}
    part = send(browser, page.method, asked, **options)
    assert part.status_code == 401
    assert part.headers["hx-redirect"] == "/console/sign-in"
    assert part.text == ""
    assert world.state() == before


@every_page
def test_a_page_opens_to_those_roles_alone_that_have_its_right(world: World, page: Page) -> None:
    """Everybody else gets a 403, and nothing is changed."""
    for role in Role:
        person, before = Person(name="-", role=role), world.state()
        answer = send(world.console.known(role, MINE), page.method, asked_for(page, world.mine))
        if person.may(page.right):
            assert answer.status_code != 403
            assert answer.status_code < 500
        else:
            assert answer.status_code == 403
            assert str(role) in answer.text
            assert not shown(world.mine, answer.text)
            assert world.state() == before


CHANGES = [page for page in PAGES if page.method == "POST"]
LOOKS = {"/messages", "/workshop", "/consents", "/rehearsals"}
"""Forms that change nothing: of rehearsals because the one asked for here has no creative."""


@pytest.mark.parametrize("page", CHANGES, ids=name_of)
def test_each_request_here_would_change_something_where_it_may(world: World, page: Page) -> None:
    """The requests by which these tests try what is forbidden do something to one's own data."""
    before = world.state()
    answer = send(
        world.console.known(Role.ADMINISTRATOR, MINE), page.method, asked_for(page, world.mine)
    )
    assert answer.status_code in ((200, 400) if page.path in LOOKS else (200, 303)), answer.text
    assert (world.state() != before) is (page.path not in LOOKS)


@every_page
def test_nobody_sees_or_changes_what_is_of_a_tenant_that_they_do_not_see(
    world: World, page: Page
) -> None:
    """An administrator of one tenant asks for another's: nothing is told of it, nothing is changed."""
    asked, before = asked_for(page, world.others), world.state()
    answer = send(world.console.known(Role.ADMINISTRATOR, MINE), page.method, asked)
    assert answer.status_code < 500
    names_it = OTHERS in f"{asked}" or any(sign in f"{asked}" for sign in world.others.signs)
    if names_it:
        assert answer.status_code in (200, 400, 403, 404)
    leaves_out(world.others, answer.text, asked)
    leaves_out(world.others, str(answer.headers), asked)
    assert world.state() == before


@pytest.mark.parametrize("page", [one for one in PAGES if "{" in one.path], ids=name_of)
def test_what_is_of_another_tenant_looks_as_what_is_nowhere(world: World, page: Page) -> None:
    """Nobody can tell from an answer whether another tenant has such a message, job or phone."""
    browser = world.console.known(Role.ADMINISTRATOR, MINE)
    theirs, nobodys = (
        world.others,
        world.others._replace(waits="nowhere", job="0" * 16, rehearsal="0" * 16, phone="0" * 24),
    )
    found, missing = (send(browser, page.method, asked_for(page, one)) for one in (theirs, nobodys))
    assert found.status_code == 404
    assert (found.status_code, found.text) == (missing.status_code, missing.text)


@pytest.mark.parametrize("tenant", ["", MINE, OTHERS])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("find", "waits-zebra"),
        ("find", "+1 (201) 555-0177"),
        ("find", "identity zebra"),
        ("find", f"SM{'f' * 32}"),
        ("task", "TSK_zebra"),
        ("status", "held"),
        ("sender", "zebra"),
        ("country", "US"),
        ("reason", "why zebra"),
        ("since", "2020-01-01T00:00"),
        ("before", "2100-01-01T00:00"),
        ("older_than", "2100-01-01T00:00:00+00:00"),
    ],
)
def test_no_search_finds_what_is_of_another_tenant(
    world: World, field: str, value: str, tenant: str
) -> None:
    """Whatever is looked for, and whichever tenant is named."""
    browser, form = world.console.known(Role.VIEWER, MINE), {field: value, "tenant": tenant}
    answer = browser.post("/messages", form)
    assert answer.status_code == (400 if tenant == OTHERS else 200)
    leaves_out(world.others, answer.text, Asked("", form))
    assert "message_path" not in answer.text
    assert ("/console/messages/" in answer.text) is (
        tenant != OTHERS and not re.search("zebra|0177|SM", value)
    )


@pytest.mark.parametrize("name", ["waits-zebra", f"SM{'f' * 32}", "waits-apple"])
def test_a_message_without_its_tenant_is_looked_for_among_ones_own(world: World, name: str) -> None:
    """The address may leave the tenant out; that shows nobody else's."""
    answer = world.console.known(Role.ADMINISTRATOR, MINE).get(f"/messages/{name}")
    assert answer.status_code == (200 if name == "waits-apple" else 404)
    leaves_out(world.others, answer.text, Asked(name))


def test_an_answer_to_a_message_of_another_tenant_shows_nothing(world: World) -> None:
    """A customer's text is found by its SID by people of its tenant alone."""
    for role in (Role.VIEWER, Role.ADMINISTRATOR):
        answer = world.console.known(role, MINE).post(
            "/consents/read", {"tenant": MINE, "sid": world.others.sid}
        )
        assert answer.status_code in (403, 404)
        leaves_out(world.others, answer.text, Asked(world.others.sid))


@pytest.mark.parametrize("value", ["", "TSK_none", "TSK_apple"])
def test_who_lifts_a_pause_that_is_none_is_not_told_what_else_is_paused(
    world: World, value: str
) -> None:
    """The words of what went wrong name no other tenant's pauses."""
    form = {"scope": "sender", "tenant": MINE, "value": value}
    answer = world.console.known(Role.OPERATOR, MINE).post("/pauses/resume", form)
    assert answer.status_code == 404
    leaves_out(world.others, answer.text, Asked("", form))


@pytest.mark.parametrize("path", ["/cancel", "/replay", "/pauses"])
@pytest.mark.parametrize(
    "form",
    [
        {"task": "TSK_zebra"},
        {"task": "TSK_zebra", "tenant": OTHERS},
        {"country": "US"},
        {"since": "7d"},
        {"scope": "all"},
        {"scope": "task", "value": "TSK_zebra"},
        {"scope": "country", "value": "US"},
        {"scope": "reports"},
        {"scope": "tenant", "tenant": OTHERS},
    ],
    ids=str,
)
def test_nothing_that_many_tenants_share_is_steered_by_somebody_of_one(
    world: World, path: str, form: dict[str, str]
) -> None:
    """What is not narrowed to a tenant of theirs would concern all."""
    browser, before = world.console.known(Role.ADMINISTRATOR, MINE), world.state()
    for confirmed in ("", "yes"):
        answer = browser.post(path, {**form, "confirmed": confirmed})
        leaves_out(world.others, answer.text, Asked(str(form)))
        if form != {"scope": "all", "tenant": MINE} or path != "/pauses":
            assert answer.status_code in (200, 400, 403, 404)
    now = world.state()
    assert now == before


def test_how_much_of_others_waits_behind_a_pause_of_all_is_not_told(world: World) -> None:
    """Whoever sees one tenant sees the pause, and counts their own messages."""
    store, now = world.console.parts.store, world.console.parts.clock()
    store.pause(
        Pause(scope=Scope.COUNTRY, value="US", cause=Cause.PERSON, reason="paused", since=now)
    )
    lease = Lease(token="worker", until=now + timedelta(minutes=1))
    more = [
        entry(f"w{place}", now, tenant_id=OTHERS, status=Status.ACCEPTED) for place in range(41)
    ]
    store.insert_many(more)
    store.claim(now=now, lease=lease, limit=100)
    assert sum(one.entries for one in store.waiting(now)) >= 41
    page = world.console.known(Role.VIEWER, MINE).get("/pauses").text
    assert "country US" in page
    assert [n for n in re.findall(r'<td class="num">([0-9,]+)</td>', page) if len(n) > 1] == []


@pytest.mark.parametrize("path", ["/messages/", "/messages/?tenant=mine", "/messages//"])
def test_a_message_without_a_name_is_none(world: World, path: str) -> None:
    """Nothing is found by an empty guid."""
    assert world.console.known(Role.VIEWER, MINE).get(path).status_code == 404


@pytest.mark.parametrize("status", ["delivered", "accepted", "none such", "FAILED"])
def test_a_status_that_cannot_be_sent_again_is_not_taken_for_any(world: World, status: str) -> None:
    """A selection that cannot be carried out as it stands is refused, never widened."""
    form = {"tenant": MINE, "task": "TSK_apple", "status": status, "anyway": "yes", **YES}
    before = world.state()
    world.console.known(Role.OPERATOR, MINE).post("/replay", form)
    assert world.state() == before


@pytest.mark.parametrize(
    "form",
    [
        {"name": "new", "role": "viewer", "tenants": ""},
        {"name": "new", "role": "viewer", "tenants": OTHERS},
        {"name": "new", "role": "administrator", "tenants": f"{MINE} {OTHERS}"},
        {"name": "new", "role": "administrator", "tenants": ","},
    ],
    ids=str,
)
def test_an_administrator_of_one_tenant_lets_nobody_see_another(
    world: World, form: dict[str, str]
) -> None:
    """Neither somebody new, nor themselves, nor somebody of theirs."""
    browser, before = world.console.known(Role.ADMINISTRATOR, MINE), world.state()
    added = browser.post("/people", {**form, "password": "a long enough password"})
    assert added.status_code == 403
    for name in (world.mine.person, "root", world.others.person):
        changed = browser.post("/people/change", {**form, "name": name, "action": "rights"})
        assert changed.status_code in (400, 403)
        leaves_out(world.others, changed.text, Asked(name))
    assert world.state() == before


@pytest.mark.parametrize("action", ["rights", "password", "remove"])
@pytest.mark.parametrize("name", ["root", "ROOT", "person zebra", "PERSON ZEBRA"])
def test_an_administrator_of_one_tenant_changes_nobody_of_more(
    world: World, name: str, action: str
) -> None:
    """They are not known to somebody who does not see all of their tenants."""
    before = world.state()
    form = {
        "name": name,
        "action": action,
        "role": "viewer",
        "tenants": MINE,
        "password": "a long enough password",
    }
    answer = world.console.known(Role.ADMINISTRATOR, MINE).post("/people/change", form)
    assert answer.status_code == 400
    assert "There is nobody of that name." in text_of(answer.text)
    leaves_out(world.others, answer.text, Asked(name))
    assert world.state() == before


def test_whoever_sees_all_tenants_sees_both(world: World) -> None:
    """The marks by which others' data is known are there for those who may see them."""
    browser = world.console.known(Role.ADMINISTRATOR)
    for path in (
        "",
        "/messages",
        "/pauses",
        "/jobs",
        "/rehearsals",
        "/phones",
        "/audit",
        "/people",
    ):
        page = browser.get(path).text
        assert shown(world.mine, page), path
        assert shown(world.others, page), path


def test_what_belongs_to_no_tenant_is_in_the_audit_of_whoever_sees_all(world: World) -> None:
    """Who signed in, or what was paused for everybody, is no single tenant's."""
    root = world.console.known(Role.OPERATOR, name="whoever sees all")
    root.post("/pauses", {"scope": "all", "confirmed": "yes"})
    assert "whoever sees all everything" in text_of(root.get("/audit").text).replace("pause ", "")
    mine = world.console.known(Role.ADMINISTRATOR, MINE)
    assert "whoever sees all" not in mine.get("/audit").text


def shown(of: Stock, page: str) -> list[str]:
    """List by what a tenant's data is known in a page."""
    return [sign for sign in of.signs if sign.casefold() in page.casefold()]


def leaves_out(of: Stock, page: str, asked: Asked) -> None:
    """See that a page shows nothing of a tenant's but what was asked for by name."""
    request = f"{asked.path} {dict(asked.form)}"
    for value in sorted(map(str, asked.form.values()), key=len, reverse=True):
        page = page.replace(value, "") if len(value) > 3 else page
    said = [sign for sign in shown(of, page) if sign not in asked.path]
    assert not said, (request, said)
    words = text_of(page).replace("all others", "")
    assert OTHERS not in words, request
