"""A console whose ledger is away: it says so in plain words, and people can still sign in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.console import CHEAP, MINE, Console, entry, opened, text_of
from tests.unit.edge.console.stock import ASKED, Stock, put_people, send

from ci360_twilio.core.person import Role
from ci360_twilio.edge.console.accounts import Accounts
from ci360_twilio.edge.console.desk import Page
from ci360_twilio.edge.console.pages import PAGES
from ci360_twilio.errors import LedgerUnavailable
from ci360_twilio.wiring import Parts

pytestmark = pytest.mark.slow

WORDS = "The ledger is locked by another process."
NEEDS_NONE = {
    ("GET", "/workshop"),
    ("POST", "/workshop"),
    ("GET", "/steer"),
    ("GET", "/rehearsals"),
    ("POST", "/rehearsals"),
    ("GET", "/rehearsals/{rehearsal}"),
    ("GET", "/rehearsals/{rehearsal}/now"),
    ("GET", "/rehearsals/{rehearsal}/report"),
    ("POST", "/rehearsals/{rehearsal}/cancel"),
    ("GET", "/people"),
}
"""Pages that show nothing of the ledger's."""
STOCK = Stock(
    tenant=MINE,
    mark="apple",
    number="+12015550163",
    person="person apple",
    waits="waits",
    failed="failed",
    held="held",
    job="0" * 16,
    rehearsal="0" * 16,
    phone="0" * 24,
    test_number="0" * 24,
    sid=f"SM{'a' * 32}",
)


class Away:
    """A ledger that answers nothing at all."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Give a method that cannot be carried out."""

        def refuse(*_: object, **__: object) -> Any:
            raise LedgerUnavailable(WORDS)

        return refuse


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Accounts:
    """Give the accounts that all of these tests use, one after the other."""
    return Accounts(tmp_path_factory.mktemp("console") / "people", CHEAP)


@pytest.fixture
def console(parts: Parts, accounts: Accounts, tmp_path: Path) -> Iterator[Console]:
    """Open a console over a ledger that is away."""
    accounts.path.unlink(missing_ok=True)
    store, away = parts.store, Away()
    parts.store = away
    with opened(parts, tmp_path, accounts=accounts) as console:
        put_people(console, STOCK)
        yield console
    parts.store = store


every_page = pytest.mark.parametrize(
    "page", PAGES, ids=[f"{page.method} {page.path or '/'}" for page in PAGES]
)


@every_page
def test_every_page_says_that_the_ledger_is_away(console: Console, page: Page) -> None:
    """With 503, when to come back, and no more than that; pages that need no ledger go on."""
    browser = console.known(Role.ADMINISTRATOR, MINE)
    answer = send(browser, page.method, ASKED[page.method, page.path](STOCK))
    if page.path == "/people/numbers":  # nothing of that name is there to be removed
        assert answer.status_code in (400, 503)
    elif (page.method, page.path) in NEEDS_NONE:
        assert answer.status_code in (200, 400, 404)
    elif (
        "/phones" in page.path
    ):  # the twin is another process; a phone's name is hashed by the ledger
        assert answer.status_code in (200, 404, 503)
    else:
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "5"
        assert WORDS in text_of(answer.text)
        assert "This cannot be shown just now" in answer.text
    assert "Traceback" not in answer.text
    assert "LedgerUnavailable" not in answer.text
    log: Any = console.parts.log._stream
    assert "console.unexpected" not in log.getvalue()


CHANGES = [page for page in PAGES if page.path.startswith("/people") and page.method == "POST"]


@pytest.mark.parametrize("page", CHANGES, ids=[page.path for page in CHANGES])
def test_what_cannot_be_written_into_the_audit_is_not_done(console: Console, page: Page) -> None:
    """Nobody gets rights of which the audit says nothing."""
    before = console.accounts.path.read_bytes()
    form = dict(ASKED[page.method, page.path](STOCK).form)
    form["action"] = "" if page.path.endswith("numbers") else form.get("action", "")
    form |= {"label": "Anna", "number": STOCK.number}
    answer = console.known(Role.ADMINISTRATOR, MINE).post(page.path, form)
    assert answer.status_code == 503
    assert console.accounts.path.read_bytes() == before


def test_people_can_sign_in_and_out(console: Console) -> None:
    """They see why there is nothing to see."""
    console.accounts.path.unlink()
    console.add("root", Role.ADMINISTRATOR)
    browser = console.browser()
    answer = browser.sign_in("root")
    assert answer.status_code == 503
    assert WORDS in text_of(answer.text)
    assert browser.sign_in("root", "a wrong password").status_code == 403
    assert browser.get("/people").status_code == 200
    assert browser.post("/sign-out").url.path == "/console/sign-in"
    assert browser.get("/people").url.path == "/console/sign-in"


def test_nothing_is_unmasked_of_which_nothing_can_be_written_down(
    parts: Parts, accounts: Accounts, tmp_path: Path
) -> None:
    """A ledger that can be read and not written shows no number."""
    parts.store.insert_many([entry("g1", parts.clock())])
    store: Any = parts.store

    class Full:
        def __getattr__(self, name: str) -> Any:
            return getattr(Away() if name == "write_note" else store, name)

    parts.store = Full()
    accounts.path.unlink(missing_ok=True)
    with opened(parts, tmp_path, accounts=accounts) as console:
        put_people(console)
        browser = console.known(Role.OPERATOR)
        assert browser.get(f"/messages/g1?tenant={MINE}").status_code == 200
        answer = browser.post(f"/messages/g1?tenant={MINE}")
        assert answer.status_code == 503
        assert "Anna" not in answer.text
        assert "5550123" not in answer.text
    parts.store = store
