"""A browser for all tests here, and a connector with its console."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from tests.browser.chromium import find, running
from tests.browser.site import Site, lived_in, site


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Run Chromium; without one these tests are left out, which CI does not let pass."""
    path = find()
    if path is None:
        pytest.skip(
            "there is no Chromium, and it cannot be installed here: apt-get install chromium"
        )
    with running(path) as browser:
        yield browser


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Start a connector in which nothing has happened yet."""
    with site(tmp_path_factory.mktemp("site")) as running_site:
        yield running_site


@pytest.fixture(scope="module")
def old_console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Start a connector in which something of everything has happened."""
    with lived_in(tmp_path_factory.mktemp("old")) as running_site:
        yield running_site


class Seen:
    """What a page did besides showing itself."""

    def __init__(self, page: Page) -> None:
        self.requests: list[str] = []
        self.trouble: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.trouble.append(str(error)))
        page.on("console", self._hear)

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.trouble.append(message.text)


Open = Callable[..., tuple[Page, Seen]]


@pytest.fixture
def opening(chromium: Browser) -> Iterator[Open]:
    """Give a function that opens a page in a window of its own; takes Playwright's context options."""
    contexts = []

    def make(**options: Any) -> tuple[Page, Seen]:
        context = chromium.new_context(**options)
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        return page, Seen(page)

    yield make
    for context in contexts:
        context.close()
