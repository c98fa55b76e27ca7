"""The console in a real browser: what people come for, from signing in to STOP."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from playwright.sync_api import Page, expect
from tests.browser.conftest import Open
from tests.browser.site import Site

from ci360_twilio.core.entry import Status
from ci360_twilio.edge.cli.demo_stage import SENDER, TENANT

ANNA = "+12015550111"


def _figure(page: Page, words: str) -> int:
    """Read a figure of the funnel."""
    text = page.locator(".funnel li", has_text=words).locator("b").inner_text()
    return int(text.replace(",", ""))


def test_the_start_page_shows_a_campaign_as_it_runs(console: Site, opening: Open) -> None:
    """Nothing is loaded anew by hand: the figures and the chart follow what happens."""
    page, seen = opening()
    console.sign_in(page)
    before = _figure(page, "delivered")
    for number in range(5):
        console.post(f"+1201555{200 + number:04}")
    expect(page.locator(".funnel li", has_text="delivered").locator("b")).to_have_text(
        str(before + 5), timeout=20_000
    )
    expect(page.locator("figure.chart canvas")).to_be_visible()
    expect(page.get_by_role("link", name="TSK_101")).to_be_visible()
    assert seen.trouble == []


def test_a_wrong_password_lets_nobody_in(console: Site, opening: Open) -> None:
    """The words do not say which of the two is wrong; the right ones then lead where one wanted to go."""
    page, _ = opening()
    page.goto(f"{console.address}/audit")
    page.get_by_label("Name").fill("root")
    page.get_by_label("Password").fill("wrong wrong wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("Name and password do not fit.")
    page.get_by_label("Name").fill("root")
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Audit")).to_be_visible()


def test_a_message_is_found_by_its_number_and_tells_its_story(console: Site, opening: Open) -> None:
    """The number stays out of the address; number and text are masked until they are asked for."""
    guid = console.post(ANNA, "Anna, see you on Thursday!")
    console.on.until(lambda: console.entry(guid).status is Status.DELIVERED)
    page, seen = opening()
    console.sign_in(page)
    page.get_by_role("link", name="Messages").click()
    page.get_by_label("Event, message, number or customer").fill(ANNA)
    page.get_by_role("button", name="Search").click()
    page.locator(f"a[title='{guid}']").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("It was delivered.")
    story = page.get_by_role("region", name="What happened")
    expect(story).to_contain_text("The event passed all gates and was written down.")
    expect(story).to_contain_text("A receipt says that it arrived.")
    expect(page.get_by_role("region", name="Told to CI360")).to_contain_text("delivered")
    assert ANNA not in page.content()
    page.get_by_role("button", name="Show number and text").click()
    expect(page.get_by_text("Anna, see you on Thursday!")).to_be_visible()
    expect(page.get_by_text(ANNA)).to_be_visible()
    assert not [url for url in seen.requests if ANNA[1:] in url]
    page.goto(f"{console.address}/audit")
    expect(page.get_by_role("region", name="What people did")).to_contain_text("unmask")


def test_a_creative_is_mended_in_the_workshop_and_tried(console: Site, opening: Open) -> None:
    """A missing semicolon is named with its line, a costly character is replaced by one click."""
    page, seen = opening()
    console.sign_in(page)
    page.get_by_role("link", name="Workshop").click()
    creative, result = page.locator("#creative"), page.locator("#preview")
    creative.fill("TO:{{phone}}\nHi {{firstname}} – it’s Thursday!")
    expect(result).to_contain_text("This would be refused")
    page.get_by_role("button", name="Line 1").click()
    assert page.evaluate("document.activeElement.id") == "creative"
    assert page.evaluate("getSelection().toString()") == "TO:{{phone}}"
    creative.fill("TO:{{phone}};\nHi {{firstname}} – it’s Thursday!")
    expect(result).to_contain_text("This would be sent.")
    expect(result).to_contain_text("UCS-2")
    page.get_by_role("button", name="Replace all that can be").click()
    expect(result).to_contain_text("GSM-7")
    expect(creative).to_have_value("TO:{{phone}};\nHi {{firstname}} - it's Thursday!")
    page.get_by_role("textbox", name="firstname", exact=True).fill("Berta")
    expect(result.locator(".bubble")).to_have_text("Hi Berta - it's Thursday!")
    page.get_by_label("To the twin's phone of").fill("+12015550122")
    page.get_by_role("button", name="Send it now").click()
    expect(page.get_by_role("region", name="The event")).to_contain_text("console test")
    phone = page.get_by_role("link", name="+12015550122")

    def has_arrived() -> bool:
        page.get_by_role("link", name="Twin's phones").click()
        return phone.is_visible()

    assert console.on.until(has_arrived)
    phone.click()
    expect(page.locator(".bubble").last).to_have_text("Hi Berta - it's Thursday!")
    assert seen.trouble == []


def test_enter_in_a_field_of_the_workshop_sends_nothing(console: Site, opening: Open) -> None:
    """A test may cost, and reach somebody: it takes the button."""
    page, _ = opening()
    console.sign_in(page)
    page.goto(f"{console.address}/workshop")
    before = len(console.on.twilio.messages)
    for field in ("firstname", "phone"):
        page.get_by_role("textbox", name=field, exact=True).press("Enter")
    page.get_by_label("To the twin's phone of").press("Enter")
    expect(page.get_by_role("heading", name="Creative workshop")).to_be_visible()
    assert page.url.endswith("/workshop")
    assert len(console.on.twilio.messages) == before


def test_what_is_open_stays_open_while_the_page_refreshes_itself(
    console: Site, opening: Open
) -> None:
    """And the chart is the same one, drawn anew."""
    page, _ = opening()
    console.post("+12015550166")
    console.sign_in(page)
    page.get_by_text("Figures", exact=True).click()
    came = page.locator(".funnel li", has_text="events came in").locator("b")
    before = int(came.inner_text())
    console.post("+12015550167")
    expect(came).to_have_text(str(before + 1), timeout=20_000)
    expect(page.get_by_role("group", name="Table").first).to_be_visible()
    assert page.locator("details[open]").count() == 1
    assert page.locator("figure.chart canvas").count() == 1


def test_what_is_paused_waits_until_it_is_resumed(console: Site, opening: Open) -> None:
    """Both are asked for, with a number; nothing goes out in between."""
    page, _ = opening()
    console.sign_in(page)
    page.get_by_role("link", name="Pauses").click()
    page.locator("select[name=scope]").select_option("task")
    page.get_by_label("Which task, sender or country").fill("TSK_777")
    page.get_by_role("button", name="Pause …").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Pause task TSK_777")
    page.get_by_label("Why, for the audit").fill("wrong text")
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.get_by_role("region", name="What is paused")).to_contain_text("task TSK_777")
    guid = console.post("+12015550133", task="TSK_777")
    page.goto(f"{console.address}/messages/{guid}?tenant={TENANT}")
    expect(page.get_by_role("region", name="Where it stands")).to_contain_text("end of a pause")
    assert console.entry(guid).status is Status.ACCEPTED
    page.get_by_role("link", name="Pauses").click()
    page.get_by_role("button", name="Resume task TSK_777").click()
    page.get_by_role("button", name="Resume", exact=True).click()
    expect(page.get_by_role("region", name="What is paused")).to_contain_text("Nothing is paused")
    console.on.until(lambda: console.entry(guid).status is Status.DELIVERED)
    page.goto(f"{console.address}/messages/{guid}?tenant={TENANT}")
    expect(page.get_by_role("heading", level=1)).to_have_text("It was delivered.")


def test_stop_on_the_twins_phone_opts_the_customer_out(console: Site, opening: Open) -> None:
    """The consent changes, and the next event for them is suppressed."""
    customer = "+12015550144"
    guid = console.post(customer, "Hello")
    console.on.until(lambda: console.entry(guid).status is Status.DELIVERED)
    page, _ = opening()
    console.sign_in(page)
    page.get_by_role("link", name="Twin's phones").click()
    page.get_by_role("link", name=customer).click()
    expect(page.locator(".bubble").first).to_have_text("Hello")
    page.get_by_role("button", name="STOP").click()
    expect(page.locator(".bubble.theirs")).to_have_text("STOP")

    def is_out() -> bool:
        page.goto(f"{console.address}/consents")
        page.get_by_label("Number").fill(customer)
        page.get_by_role("button", name="Look up").click()
        return page.get_by_text("Opted out: nothing is sent.").is_visible()

    assert console.on.until(is_out)
    again = console.post(customer, "Hello again")
    page.goto(f"{console.address}/messages/{again}?tenant={TENANT}")
    expect(page.get_by_role("heading", level=1)).to_contain_text("The recipient has opted out.")


def test_an_audience_is_rehearsed(console: Site, opening: Open) -> None:
    """A file is uploaded, its progress shown, and its report read and taken along."""
    page, seen = opening()
    console.sign_in(page)
    page.get_by_role("link", name="Rehearsals").click()
    rows = "phone,firstname\n+12015550155,Anna\n+12015550156,Ben\nnone,Carl\n"
    page.get_by_label("Customers").set_input_files(
        {"name": "autumn.csv", "mimeType": "text/csv", "buffer": rows.encode()}
    )
    page.get_by_role("button", name="Rehearse").click()
    expect(page.get_by_role("region", name="What it would do")).to_contain_text("3", timeout=30_000)
    expect(page.get_by_role("region", name="Verdicts")).to_contain_text("invalid_recipient")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the whole report").click()
    assert b"Rehearsal for demo" in download.value.path().read_bytes()
    assert seen.trouble == []


def test_pages_load_nothing_from_elsewhere_and_are_light(console: Site, opening: Open) -> None:
    """All that the start page takes, from an empty cache, is under 300 KB."""
    page, seen = opening()
    console.sign_in(page)
    size = page.evaluate(
        "performance.getEntries().filter(one => one.transferSize !== undefined)"
        ".reduce((sum, one) => sum + Math.max(one.transferSize, one.encodedBodySize), 0)"
    )
    assert 50_000 < size < 300_000
    here = urlsplit(console.address).netloc
    assert {urlsplit(url).netloc for url in seen.requests} == {here}
    assert seen.trouble == []


def test_everything_can_be_done_by_keyboard(console: Site, opening: Open) -> None:
    """The first stop skips the navigation; the pause button is reached and pressed without a mouse."""
    page, _ = opening()
    console.sign_in(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the page"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "page"
    page.get_by_role("link", name="Pauses").press("Enter")
    page.locator("select[name=scope]").focus()
    for key in ("ArrowDown", "ArrowDown", "Tab", "Tab"):  # to the sender, over the tenant
        page.keyboard.press(key)
    page.keyboard.type(SENDER)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(r"Pause sender \+1500"))


def test_a_session_that_ended_leads_back_to_signing_in(console: Site, opening: Open) -> None:
    """Also where only a part of the page is asked for, every few seconds."""
    page, _ = opening()
    console.sign_in(page)
    page.context.clear_cookies()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible(timeout=15_000)
