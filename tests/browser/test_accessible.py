"""Every page, as axe sees it (WCAG 2.2 AA): wide and on a phone, by day and by night."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from tests.browser.conftest import Open
from tests.browser.screenshots import PAGES
from tests.browser.site import Site

from ci360_twilio.edge.console.pages import PAGES as ROUTES

RULES: dict[str, Any] = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_no_page_has_a_violation(old_console: Site, opening: Open, width: int, scheme: str) -> None:
    """None of the checker's, and none is wider than the window."""
    page, seen = opening(
        viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce"
    )
    axe, found = Axe(), dict[str, list[str]]()
    page.goto(old_console.address)
    names = ["sign-in", *PAGES]
    for name in names:
        if name == "sign-in":
            page.get_by_role("heading", name="Sign in").wait_for()
        else:
            if name == names[1]:
                old_console.sign_in(page)
            PAGES[name](page, old_console)
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        violations = axe.run(page, options=RULES).response["violations"]
        if violations:
            found[name] = [
                f"{one['id']}: {node['html'][:150]}" for one in violations for node in one["nodes"]
            ]
        wide = page.evaluate("document.documentElement.scrollWidth")
        if wide > width:
            found.setdefault(name, []).append(f"is {wide} wide")
    assert found == {}, found
    assert seen.trouble == []


def test_every_page_is_looked_at() -> None:
    """A page that is added must be added to the pictures, too."""
    shown = {route.path.split("/")[1] if route.path else "" for route in ROUTES}
    pictured = {"", "messages", "workshop", "rehearsals", "jobs", "pauses", "steer", "consents"}
    assert shown - {"now", "cancel", "replay", "resolve"} == {
        *pictured,
        "phones",
        "audit",
        "people",
    }
