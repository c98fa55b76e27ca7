"""Pictures of each page of the console, for its documentation: ``make screenshots``."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from itertools import product
from pathlib import Path

from playwright.sync_api import Browser, Page
from tests.browser.chromium import find, running
from tests.browser.site import Site, lived_in

from ci360_twilio.edge.cli.demo_stage import TENANT
from ci360_twilio.ports import Query

PICTURES = Path(__file__).parents[2] / "docs" / "console"
SIZES = {"wide": (1280, 860), "phone": (390, 844)}
CREATIVE = """\
TO:{{phone}};
MEDIA_URLS:https://www.example.com/images/map.png;
{{firstname}}, thank you for registering — we look forward to seeing you on Thursday!
Doors open at 6 p.m.; there’s parking behind the house.
"""


def _message(page: Page, site: Site) -> None:
    guid = next(entry.guid for entry in site.on.store.find(Query(limit=500)) if entry.error_code)
    page.goto(f"{site.address}/messages/{guid}?tenant={TENANT}")


def _workshop(page: Page, site: Site) -> None:
    page.goto(f"{site.address}/workshop")
    page.locator("#creative").fill(CREATIVE)
    page.get_by_text("Characters that cost extra").wait_for()


def _phone(page: Page, site: Site) -> None:
    page.goto(f"{site.address}/phones")
    page.get_by_role("link", name="+1").first.click()
    page.get_by_label("Write back").wait_for()


def _confirm(page: Page, site: Site) -> None:
    page.goto(f"{site.address}/pauses")
    page.locator("select[name=scope]").select_option("task")
    page.get_by_label("Which task", exact=False).fill("TSK_204")
    page.get_by_role("button", name="Pause …").click()
    page.get_by_role("heading", name="Pause task").wait_for()


def _consents(page: Page, site: Site) -> None:
    page.goto(f"{site.address}/consents")
    page.get_by_label("Number").fill("+12015550104")
    page.get_by_role("button", name="Look up").click()
    page.get_by_role("heading", name="What is known").wait_for()


def _rehearsal(page: Page, site: Site) -> None:
    rows = "".join(f"+1201555{n:04},Name {n}\n" for n in range(1000, 1400))
    page.goto(f"{site.address}/rehearsals")
    page.get_by_label("Customers").set_input_files(
        {
            "name": "autumn.csv",
            "mimeType": "text/csv",
            "buffer": f"phone,firstname\n{rows}".encode(),
        }
    )
    page.get_by_role("button", name="Rehearse").click()
    page.get_by_role("link", name="Download").wait_for()


def _plain(path: str) -> Callable[[Page, Site], None]:
    def go(page: Page, site: Site) -> None:
        page.goto(f"{site.address}{path}")

    return go


PAGES: dict[str, Callable[[Page, Site], None]] = {
    "start": _plain("?range=hour"),
    "messages": _plain("/messages"),
    "message": _message,
    "workshop": _workshop,
    "rehearsals": _plain("/rehearsals"),
    "rehearsal": _rehearsal,
    "jobs": _plain("/jobs"),
    "job": _plain(f"/jobs/{TENANT}/3f9a1c0d5e7b2468"),
    "pauses": _plain("/pauses"),
    "confirm": _confirm,
    "steering": _plain("/steer"),
    "consents": _consents,
    "phones": _plain("/phones"),
    "phone": _phone,
    "audit": _plain("/audit"),
    "people": _plain("/people"),
}
"""Every page, and how to come there."""


def _take(site: Site, browser: Browser, size: str, scheme: str) -> None:
    """Take one picture of each page."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(site.address)
    page.screenshot(path=PICTURES / f"sign-in-{size}-{scheme}.png")
    site.sign_in(page)
    for name, go in PAGES.items():
        go(page, site)
        page.wait_for_load_state("networkidle")
        page.screenshot(path=PICTURES / f"{name}-{size}-{scheme}.png")
    context.close()


def main() -> int:
    """Take them all."""
    path = find()
    if path is None:
        print("There is no Chromium; install it: apt-get install chromium", file=sys.stderr)
        return 2
    PICTURES.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        lived_in(Path(folder)) as site,
        running(path) as browser,
    ):
        for size, scheme in product(SIZES, ("light", "dark")):
            _take(site, browser, size, scheme)
    print(f"{4 * (len(PAGES) + 1)} pictures are in {PICTURES.relative_to(Path.cwd())}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
