"""What the pages show and do, for somebody who may do it all."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.console import MINE, OTHERS, Browser, Console, entry, text_of

from ci360_twilio.core.consent import Evidence, Sign, Source, Subject
from ci360_twilio.core.entry import Status
from ci360_twilio.core.job import Job, State
from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.core.person import Role
from ci360_twilio.flow.decision import Target
from ci360_twilio.ports import Note, Query
from ci360_twilio.twin.events import outbound_body
from ci360_twilio.wiring import Parts

if TYPE_CHECKING:
    from tests.conftest import Twilio

NUMBER = "+12015550123"


@pytest.fixture
def browser(console: Console) -> Browser:
    """Sign an administrator in."""
    return console.signed_in(Role.ADMINISTRATOR)


@pytest.fixture
def now(parts: Parts) -> datetime:
    """Tell the time."""
    return parts.clock()


def test_the_start_page_counts_what_came(browser: Browser, parts: Parts, now: datetime) -> None:
    """By status, task, country and reason; the chart's data are those of its table."""
    parts.store.insert_many(
        [
            *(entry(f"d{n}", now) for n in range(3)),
            entry("f", now, status=Status.FAILED, reason="twilio_30007", error_code=30007),
            entry("s", now, status=Status.SUPPRESSED, reason="opted_out", to="+447700900123"),
        ]
    )
    page = text_of(browser.get("?range=hour").text)
    assert "5 events came in 4 accepted 80.0 % 4 sent 100 % 3 delivered 75.0 %" in page
    assert "1 failed" in page
    assert "TSK_101" in page
    assert "The recipient has opted out." in page
    assert "GB" in page


def test_a_part_of_the_start_page_refreshes_itself(
    browser: Browser, parts: Parts, now: datetime
) -> None:
    """It has no frame, and the same figures."""
    parts.store.insert_many([entry("g", now)])
    part = browser.get("/now?range=hour")
    assert "<html" not in part.text
    assert "1 events came in" in text_of(part.text)


@pytest.mark.parametrize("of", ["hour", "today", "day", "week", "", "nonsense"])
def test_the_start_page_has_several_ranges(browser: Browser, of: str) -> None:
    """What it does not know is today."""
    page = browser.get(f"?range={of}")
    assert page.status_code == 200
    assert "No events came in this time." in page.text


def test_trouble_shows_on_the_start_page(browser: Browser, parts: Parts, now: datetime) -> None:
    """Twilio that refuses, a CI360 that is told nothing, messages that are late."""
    parts.store.insert_many([entry("late", now - timedelta(minutes=9), status=Status.ACCEPTED)])
    assert "have been due for 9 min" in text_of(browser.get().text)
    for scope in (Scope.TENANT, Scope.REPORTS):
        pause = Pause(
            scope=scope, tenant_id=MINE, cause=Cause.CONFIG, reason="twilio_20003", since=now
        )
        parts.store.pause(pause)
    page = text_of(browser.get().text)
    assert "Twilio: Refuses messages" in page
    assert "CI360: Is told nothing" in page


@pytest.mark.parametrize(
    "find",
    ["the-guid", f"SM{'a' * 32}", NUMBER, "(201) 555-0123", "D-the-guid", f"whatsapp:{NUMBER}"],
)
def test_a_message_is_found_by_whatever_names_it(
    browser: Browser, parts: Parts, now: datetime, find: str
) -> None:
    """Guid, SID, number in any form, identity: one field takes them all."""
    parts.store.insert_many(
        [entry("the-guid", now, sid=f"SM{'a' * 32}"), entry("another", now, to="+12015550199")]
    )
    browser.get("/messages")
    page = browser.post("/messages", {"find": find.replace("(201) 555", "+1 (201) 555")})
    assert "the-guid" in page.text
    assert "another" not in page.text


def test_all_of_one_moment_can_be_reached(browser: Browser, parts: Parts, now: datetime) -> None:
    """Events of one commit came in at one moment, and may be more than a page."""
    parts.store.insert_many([entry(f"guid-{n:03}", now) for n in range(130)])
    seen: list[str] = []
    page = browser.get("/messages")
    for _ in range(3):
        seen += re.findall(r'title="(guid-[0-9]+)"', page.text)
        older = page.text.partition('name="older_than" value="')[2].partition('"')[0]
        page = browser.post("/messages", {"older_than": older})
    assert sorted(seen) == [f"guid-{n:03}" for n in range(130)]


def test_figures_lead_to_the_messages_that_they_count(
    browser: Browser, parts: Parts, now: datetime
) -> None:
    """Of those statuses, that error, and that time."""
    parts.store.insert_many(
        [
            entry("old", now - timedelta(days=3)),
            *(entry(f"is-{status}", now, status=status, error_code=None) for status in Status),
            entry("code", now, status=Status.UNDELIVERED, error_code=30003),
        ]
    )
    links = re.findall(r'href="/console(/messages\?[^"]*status=[^"]*)"', browser.get().text)
    sent = next(link for link in links if "sent," in link).replace("&amp;", "&")
    found = set(re.findall(r'title="([^"]+)"', browser.get(sent).text))
    after = ("sent", "delivered", "read", "undelivered", "failed")
    assert found == {*(f"is-{status}" for status in after), "code"}
    coded = next(link for link in links if "error_code=30003" in link).replace("&amp;", "&")
    assert set(re.findall(r'title="([^"]+)"', browser.get(coded).text)) == {"code"}


def test_a_search_narrows(browser: Browser, parts: Parts, now: datetime) -> None:
    """By status, task, reason, country, sender, time and tenant, all together."""
    parts.store.insert_many(
        [
            entry("wanted", now, status=Status.SUPPRESSED, reason="opted_out", to="+447700900123"),
            entry("status", now, to="+447700900123"),
            entry("task", now, status=Status.SUPPRESSED, reason="opted_out", task="TSK_9"),
            entry("old", now - timedelta(days=3), status=Status.SUPPRESSED, reason="opted_out"),
            entry("theirs", now, tenant_id=OTHERS, status=Status.SUPPRESSED, reason="opted_out"),
        ]
    )
    browser.get("/messages")
    page = browser.post(
        "/messages",
        {
            "status": "suppressed",
            "task": "TSK_101",
            "reason": "opted_out",
            "country": "gb",
            "sender": "+15005550006",
            "since": f"{now - timedelta(days=1):%Y-%m-%dT%H:%M}",
            "before": f"{now + timedelta(minutes=1):%Y-%m-%dT%H:%M}",
            "tenant": "mine",
        },
    )
    found = [
        guid for guid in ("wanted", "status", "task", "old", "theirs") if f"{guid}</a>" in page.text
    ]
    assert found == ["wanted"]


def test_a_long_list_goes_on(browser: Browser, parts: Parts, now: datetime) -> None:
    """Page by page, each message once."""
    made = [entry(f"guid-{n:03}", now - timedelta(seconds=n)) for n in range(120)]
    parts.store.insert_many(made)
    seen: list[str] = []
    page = browser.get("/messages")
    for _ in range(3):
        seen += [one.guid for one in made if f'title="{one.guid}"' in page.text]
        older = page.text.partition('name="older_than" value="')[2].partition('"')[0]
        page = browser.post("/messages", {"older_than": older})
    assert seen == [one.guid for one in made]


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"status": "lost"}, "There is no such status."),
        ({"since": "yesterday"}, "A time is written like"),
        ({"tenant": "nobody"}, "Nothing is known of that."),
        ({"find": "no such thing"}, "Nothing is known of that."),
    ],
)
def test_a_search_that_finds_nothing_says_why(
    browser: Browser, form: dict[str, str], words: str
) -> None:
    """In words, on the same page."""
    browser.get("/messages")
    assert words in browser.post("/messages", form).text


def test_a_story_is_told_to_its_end(browser: Browser, parts: Parts, now: datetime) -> None:
    """What happened, what each gate said, what to do."""
    parts.store.insert_many([entry("g", now, status=Status.SUPPRESSED, reason="control_group")])
    page = text_of(browser.get("/messages/g?tenant=mine").text)
    assert "It was not sent, on purpose. The customer is in the control group." in page
    assert "What to do: Nothing: CI360 put the customer into the control group" in page
    assert "Control group: stopped." in page
    assert "Age: not asked." in page
    assert "The event's fields: passed." in page


def test_a_message_is_canceled_from_its_page(browser: Browser, parts: Parts, now: datetime) -> None:
    """First with a question, then for real; the audit has it."""
    parts.store.insert_many([entry("g", now, status=Status.ACCEPTED)])
    browser.get("/messages/g?tenant=mine")
    form = {"guid": "g", "tenant": "mine"}
    asked = browser.post("/cancel", form)
    assert "1 message can be canceled." in text_of(asked.text)
    [still] = parts.store.get_many([entry("g", now).key])
    assert still is not None
    assert still.status is Status.ACCEPTED
    done = browser.post("/cancel", form | {"confirmed": "yes", "reason": "wrong text"})
    assert "It was canceled" in text_of(done.text)
    note = parts.store.notes(1)[0]
    assert (note.action, note.detail, note.tenant_id) == ("cancel", "wrong text", MINE)


def test_what_failed_is_sent_again(browser: Browser, parts: Parts, now: datetime) -> None:
    """By a new entry that is linked to the old one."""
    parts.store.insert_many([entry("g", now, status=Status.FAILED, sid=f"SM{'b' * 32}")])
    browser.get("/steer")
    form = {"tenant": "mine", "task": "TSK_101"}
    assert "1 message can be sent again" in text_of(browser.post("/replay", form).text)
    assert "will be sent again" in browser.post("/replay", form | {"confirmed": "yes"}).text
    [old] = parts.store.get_many([entry("g", now).key])
    assert old is not None
    assert old.replayed_by == "mine/g~again"


def test_nothing_is_chosen_by_accident(browser: Browser, parts: Parts, now: datetime) -> None:
    """An empty form is not everything."""
    parts.store.insert_many([entry("g", now, status=Status.ACCEPTED)])
    browser.get("/steer")
    for path in ("/cancel", "/replay"):
        page = browser.post(path, {"confirmed": "yes"})
        assert "Say which messages are meant" in page.text
    [still] = parts.store.get_many([entry("g", now).key])
    assert still is not None
    assert still.status is Status.ACCEPTED


@pytest.mark.parametrize(
    ("resolution", "status"), [("not-sent", Status.CANCELED), ("resend", Status.CANCELED)]
)
def test_what_is_held_is_resolved(
    browser: Browser, parts: Parts, now: datetime, resolution: str, status: Status
) -> None:
    """Closed, or sent again."""
    parts.store.insert_many([entry("g", now, status=Status.HELD, reason="not_found")])
    browser.get("/messages/g?tenant=mine")
    form = {"guid": "g", "tenant": "mine", "resolution": resolution}
    assert browser.post("/resolve", form).status_code == 200
    browser.post("/resolve", form | {"confirmed": "yes"})
    [after] = parts.store.get_many([entry("g", now).key])
    assert after is not None
    assert after.status is status


def test_a_sid_is_looked_up_before_it_is_believed(
    browser: Browser, parts: Parts, now: datetime
) -> None:
    """Twilio knows of no such message: the entry is as it was."""
    parts.store.insert_many([entry("g", now, status=Status.HELD, reason="not_found")])
    browser.get("/messages/g?tenant=mine")
    form = {"guid": "g", "tenant": "mine", "resolution": "sent", "confirmed": "yes"}
    assert "32 hexadecimal digits" in browser.post("/resolve", form | {"sid": "SM1"}).text
    page = browser.post("/resolve", form | {"sid": f"SM{'c' * 32}"})
    assert "has no message of that SID" in page.text
    [still] = parts.store.get_many([entry("g", now).key])
    assert still is not None
    assert still.status is Status.HELD


@pytest.mark.parametrize(
    ("form", "target"),
    [
        ({"scope": "all"}, Target(Scope.ALL)),
        ({"scope": "tenant", "tenant": "mine"}, Target(Scope.TENANT, MINE)),
        ({"scope": "task", "value": "TSK_1"}, Target(Scope.TASK, None, "TSK_1")),
        (
            {"scope": "sender", "tenant": "mine", "value": " +19085551212 "},
            Target(Scope.SENDER, MINE, "+19085551212"),
        ),
        ({"scope": "country", "value": "gb"}, Target(Scope.COUNTRY, None, "GB")),
        ({"scope": "reports", "tenant": "mine"}, Target(Scope.REPORTS, MINE)),
    ],
)
def test_anything_is_paused_and_resumed(
    browser: Browser, parts: Parts, form: dict[str, str], target: Target
) -> None:
    """With the number that it concerns, and only once it is confirmed."""
    browser.get("/pauses")
    assert "messages that wait now would stay" in browser.post("/pauses", form).text
    assert parts.store.pauses() == []
    browser.post("/pauses", form | {"confirmed": "yes"})
    [pause] = parts.store.pauses()
    assert (pause.scope, pause.tenant_id, pause.value) == tuple(target)
    again = {"scope": target.scope, "tenant": target.tenant_id or "", "value": target.value or ""}
    browser.post("/pauses/resume", again)
    assert parts.store.pauses() == [pause]
    browser.post("/pauses/resume", again | {"confirmed": "yes"})
    assert parts.store.pauses() == []
    assert [note.action for note in parts.store.notes(2)] == ["resume", "pause"]


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"scope": "task"}, "Name the task"),
        ({"scope": "tenant"}, "Choose the tenant"),
        ({"scope": "sender", "value": "!"}, "A sender is a number"),
        ({"scope": "country", "value": "Wonderland"}, "two letters"),
        ({"scope": "moon"}, "Choose what is meant"),
        ({}, "Choose what is meant"),
    ],
)
def test_a_pause_that_is_not_clear_is_not_set(
    browser: Browser, parts: Parts, form: dict[str, str], words: str
) -> None:
    """The page says what is missing."""
    browser.get("/pauses")
    assert words in browser.post("/pauses", form | {"confirmed": "yes"}).text
    assert parts.store.pauses() == []


def test_a_wish_is_looked_up_and_changed(browser: Browser, parts: Parts) -> None:
    """Asked for once more before it is written; the audit has why."""
    browser.get("/consents")
    who = {"tenant": "mine", "number": NUMBER}
    assert "Nothing is known" in browser.post("/consents", who).text
    assert "number" in browser.post("/consents", who | {"number": "x"}).text
    asked = browser.post("/consents/change", who | {"sign": "out"})
    assert "Write that they are opted out?" in asked.text
    assert parts.store.consents([Subject(MINE, NUMBER)]) == [None]
    done = browser.post(
        "/consents/change", who | {"sign": "out", "confirmed": "yes", "reason": "by mail"}
    )
    assert "Opted out: nothing is sent." in done.text
    [consent] = parts.store.consents([Subject(MINE, NUMBER)])
    assert consent is not None
    assert consent.blocked
    assert parts.store.notes(1)[0].detail == "by mail"


@pytest.mark.parametrize(("decided", "blocked"), [("out", True), ("not", False)])
def test_a_text_is_read_and_judged(
    browser: Browser, console: Console, parts: Parts, decided: str, blocked: bool
) -> None:
    """Reading it is recorded."""
    sid = console.hear("please stop these messages", NUMBER)
    browser.get("/consents")
    which = {"tenant": "mine", "sid": sid}
    assert "please stop these messages" in browser.post("/consents/read", which).text
    assert parts.store.notes(1)[0].action == "unmask"
    assert (
        "There is nothing to read."
        in browser.post("/consents/judge", which | {"decided": decided}).text
    )
    [consent] = parts.store.consents([Subject(MINE, NUMBER)])
    assert consent is not None
    assert consent.blocked is blocked


def test_a_job_is_paused_resumed_and_canceled(
    browser: Browser, parts: Parts, now: datetime
) -> None:
    """Canceling asks; the page shows how far it is, and stops asking once it has ended."""
    job = Job(
        id="0123456789abcdef",
        tenant_id=MINE,
        occurrence_id="occ",
        state=State.RUNNING,
        created_at=now,
        updated_at=now,
        purge_at=now,
        running_at=now,
        rows=1_000,
        settled_rows=250,
    )
    parts.store.add_job(job)
    path = f"/jobs/mine/{job.id}"
    assert "250 of 1,000 rows" in text_of(browser.get(path).text)
    assert browser.get(f"{path}/now").status_code == 200
    assert "paused" in text_of(browser.post(f"{path}/pause").text)
    assert "running" in text_of(browser.post(f"{path}/resume").text)
    assert "750 may not be sent yet" in browser.post(f"{path}/cancel").text
    browser.post(f"{path}/cancel", {"confirmed": "yes"})
    kept = parts.store.job(job.key)
    assert kept is not None
    assert kept.canceled_by is not None
    assert job.id in browser.get("/jobs").text


def test_people_are_added_changed_and_removed(
    browser: Browser, console: Console, parts: Parts
) -> None:
    """Each change stands in the audit; a password never does."""
    browser.get("/people")
    form = {"name": "ben", "role": "marketer", "tenants": "mine", "password": "a long password"}
    browser.post("/people", form)
    account = console.accounts.account("ben")
    assert account is not None
    assert (account.person.role, account.person.tenants) == (Role.MARKETER, (MINE,))
    assert "ben" in browser.post("/people", form).text  # there is one already
    rights = {"name": "ben", "action": "rights", "role": "operator", "tenants": "mine others"}
    browser.post("/people/change", rights)
    account = console.accounts.account("ben")
    assert account is not None
    assert account.person.tenants == (MINE, OTHERS)
    browser.post(
        "/people/change", {"name": "ben", "action": "password", "password": "another long one"}
    )
    browser.post("/people/change", {"name": "ben", "action": "remove"})
    assert console.accounts.account("ben") is None
    actions = [note.action for note in parts.store.notes(4)]
    assert actions == ["remove person", "set password", "change person", "add person"]
    assert "password" not in json.dumps([note.detail for note in parts.store.notes(9)])


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"name": "ben", "role": "king", "password": "a long password"}, "Choose a role."),
        ({"name": "ben", "role": "viewer", "password": "short"}, "12 to 200 characters"),
        ({"name": "<b>", "role": "viewer", "password": "a long password"}, "A name is"),
        (
            {"name": "ben", "role": "viewer", "tenants": "../x", "password": "a long password"},
            "tenant",
        ),
    ],
)
def test_a_person_that_cannot_be_is_not_added(
    browser: Browser, console: Console, form: dict[str, str], words: str
) -> None:
    """The page says why."""
    before = console.accounts.people()
    browser.get("/people")
    page = browser.post("/people", form)
    assert page.status_code == 400
    assert words in text_of(page.text)
    assert console.accounts.people() == before


def test_the_workshop_judges_as_the_gates_do(browser: Browser) -> None:
    """Segments, encoding, price, problems with line and remedy, replacements."""
    browser.get("/workshop")
    creative = "TO:{{phone}};\nFROM:+15005550006;\nHi {{name}} – it’s Thursday!"
    filled = {"tag:phone": NUMBER, "tag:name": "Anna", "tenant": "mine"}
    page = text_of(browser.post("/workshop", {"creative": creative, **filled}).text)
    assert "This would be sent." in page
    assert "Hi Anna – it ’ s Thursday!" in page
    assert "UCS-2" in page
    assert "en dash" in page
    assert "0.0083 USD" in page
    empty = text_of(browser.post("/workshop", {"creative": creative, "tenant": "mine"}).text)
    assert "This would be refused" in empty
    assert "give the tag a default" in empty


def test_long_texts_show_where_segments_begin(browser: Browser) -> None:
    """With a mark for each border."""
    browser.get("/workshop")
    page = browser.post("/workshop", {"creative": f"TO:{NUMBER};\nFROM:+15005550006;\n{'a' * 400}"})
    assert page.text.count('class="border"') == 2
    assert "3 segments" in text_of(page.text)


def test_tags_are_filled_from_a_sample_event(browser: Browser, now: datetime) -> None:
    """Wherever in the event they stand; what is typed wins, and attributes count."""
    event = outbound_body(
        guid="g",
        tenant_id="mine",
        creative="x",
        generated_at=now,
        subject_id="4711",
        attributes={"to": NUMBER, "seminar": "Autumn"},
    ).decode()
    browser.get("/workshop")
    form = {
        "creative": "FROM:+15005550006;\n{{Subject_ID}} {{seminar}} {{externalCode}}",
        "event": event,
    }
    page = text_of(browser.post("/workshop", form).text)
    assert "4711 Autumn TSK_101" in page
    assert f"to {NUMBER}" in page
    typed = text_of(browser.post("/workshop", form | {"tag:seminar": "Spring"}).text)
    assert "4711 Spring TSK_101" in typed
    broken = text_of(browser.post("/workshop", form | {"event": "{"}).text)
    assert "not one JSON object" in broken


def test_fields_are_not_taken_from_under_a_cursor(browser: Browser) -> None:
    """Tags and numbers are shown anew only where there are others."""
    browser.get("/workshop")
    form = {
        "creative": "TO:{{phone}};\nHi",
        "known_tags": "phone",
        "tenant": "mine",
        "known_tenant": "mine",
    }
    assert "hx-swap-oob" not in browser.post("/workshop", form).text
    assert browser.post("/workshop", form | {"known_tags": ""}).text.count("hx-swap-oob") == 1
    assert browser.post("/workshop", form | {"known_tenant": ""}).text.count("hx-swap-oob") == 1


def test_a_test_goes_the_way_of_all_messages(browser: Browser, parts: Parts) -> None:
    """To the twin's phone that is named, not to the creative's recipient; CI360 is told nothing."""
    browser.get("/workshop")
    form = {
        "creative": "TO:+12015550199;\nFROM:+15005550006;\nHi",
        "tenant": "mine",
        "number": NUMBER,
    }
    page = browser.post("/workshop/send", form)
    assert "console test" in page.text
    [made] = parts.store.find(Query())
    assert made.message is not None
    assert (made.message.to, made.message.body, made.status) == (NUMBER, "Hi", Status.ACCEPTED)
    assert (made.tells, made.reports) == ((), ())
    assert parts.store.notes(1)[0].action == "test"


def test_a_test_asks_for_consent(browser: Browser, parts: Parts, now: datetime) -> None:
    """Who has opted out gets no test, either."""
    evidence = Evidence(sign=Sign.OUT, source=Source.PERSON, heard_at=now, dated_at=now)
    parts.store.attest_many([(Subject(MINE, NUMBER), evidence)], now=now)
    browser.get("/workshop")
    form = {"creative": f"TO:{NUMBER};\nFROM:+15005550006;\nHi", "tenant": "mine", "number": NUMBER}
    assert "The recipient has opted out." in browser.post("/workshop/send", form).text


def test_real_numbers_are_allowed_one_by_one(
    browser: Browser, parts: Parts, tenants_folder: Callable[..., Path]
) -> None:
    """Where messages go to Twilio itself, and not to a twin."""
    tenants_folder(MINE, twilio_api_url="https://api.twilio.com")
    browser.get("/workshop")
    form = {
        "creative": "TO:+12015550199;\nFROM:+15005550006;\nHi",
        "tenant": "mine",
        "number": NUMBER,
    }
    refused = browser.post("/workshop/send", form)
    assert refused.status_code == 403
    assert "administrator has allowed" in refused.text
    assert parts.store.find(Query()) == []
    browser.get("/people")
    browser.post("/people/numbers", {"tenant": "mine", "number": NUMBER, "label": "Dana"})
    shown = browser.post("/workshop", form | {"known_tenant": ""}).text
    assert "Dana" in shown
    which = re.findall(r'<option value="([0-9a-f]{24})"', shown)[0]
    form |= {"which": which}
    assert "console test" in browser.post("/workshop/send", form).text
    tenants_folder(OTHERS, twilio_api_url="https://api.twilio.com")
    assert browser.post("/workshop/send", form | {"tenant": "others"}).status_code == 403
    browser.get("/people")
    remove = {"tenant": "mine", "which": which, "action": "remove"}
    browser.post("/people/numbers", remove)
    assert browser.post("/workshop/send", form).status_code == 403


def test_a_second_click_sends_no_second_test(browser: Browser, parts: Parts) -> None:
    """The form brings along what it was made with."""
    once = re.findall(r'name="once" value="([^"]+)"', browser.get("/workshop").text)[0]
    form = {"creative": "FROM:+15005550006;\nHi", "tenant": "mine", "number": NUMBER, "once": once}
    for _ in range(2):
        assert "console test" in browser.post("/workshop/send", form).text
    assert [one.guid for one in parts.store.find(Query())] == [f"test-{once}"]


def test_a_proxy_on_this_machine_is_no_twin(browser: Browser, parts: Parts, twilio: Twilio) -> None:
    """What answers there must be one, before a number is taken that nobody has allowed."""
    twilio.twin._accounts.clear()  # its own resources answer 404 now, as a proxy's would
    browser.get("/workshop")
    form = {"creative": "FROM:+15005550006;\nHi", "tenant": "mine", "number": NUMBER}
    answer = browser.post("/workshop/send", form)
    assert answer.status_code == 404
    assert parts.store.find(Query()) == []


def test_what_a_tenant_does_not_send_is_told_before(
    browser: Browser, tenants_folder: Callable[..., Path]
) -> None:
    """A country that is not allowed, such as this one."""
    tenants_folder(MINE, countries=["GB"])
    browser.get("/workshop")
    form = {"creative": f"TO:{NUMBER};\nFROM:+15005550006;\nHi", "tenant": "mine"}
    page = text_of(browser.post("/workshop", form).text)
    assert "The tenant does not send to the recipient's country." in page


def test_tags_do_not_make_a_text_without_end(browser: Browser) -> None:
    """A value has a length, and what is filled in, too."""
    browser.get("/workshop")
    creative = "TO:+12015550123;\nFROM:+15005550006;\n" + "{{a}}" * 3_000
    event = json.dumps({"guid": "g", "a": "x" * 5_000})
    answer = browser.post("/workshop", {"creative": creative, "event": event, "tenant": "mine"})
    assert answer.status_code == 200
    assert len(answer.text) < 200_000


def test_what_would_be_refused_is_not_tried(browser: Browser, parts: Parts) -> None:
    """The page says what is wrong."""
    browser.get("/workshop")
    form = {"creative": "FROM:!!;\nHi", "tenant": "mine", "number": NUMBER}
    assert "It would be refused" in browser.post("/workshop/send", form).text
    assert "number" in browser.post("/workshop/send", form | {"number": "x"}).text
    assert parts.store.find(Query()) == []


@pytest.fixture
def rehearsed(parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rehearsals, which are processes of their own, find the same settings."""
    hosts = ",".join(parts.settings.twilio_hosts)
    monkeypatch.setenv("CI360_TWILIO_TENANTS", str(tmp_path / "tenants"))
    monkeypatch.setenv("CI360_TWILIO_LEDGER", f"sqlite:///{tmp_path / 'ledger.db'}")
    monkeypatch.setenv("CI360_TWILIO_TWILIO_HOSTS", hosts)


def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so, with patience."""
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


@pytest.mark.usefixtures("rehearsed")
def test_an_audience_is_rehearsed(browser: Browser, console: Console) -> None:
    """The report is shown and handed out; the file of customers is gone."""
    browser.get("/rehearsals")
    form = {"tenant": "mine", "creative": "TO:{{phone}};\nFROM:+15005550006;\nHi {{name}}"}
    rows = f"phone,name\n{NUMBER},Anna\nnone,Ben\n".encode()
    page = browser.post("/rehearsals", form, files={"audience": ("autumn.csv", io.BytesIO(rows))})
    [one] = console.desk.rehearsals.all()
    assert one._process is not None
    one._process.wait(60)
    page = browser.get(f"/rehearsals/{one.id}")
    words = text_of(page.text)
    assert "2 rows 1 would get a message" in words
    assert browser.get(f"/rehearsals/{one.id}/now").status_code == 286
    until(lambda: not (one._folder / "audience.csv").exists())
    report = browser.get(f"/rehearsals/{one.id}/report")
    assert report.headers["content-disposition"].startswith("attachment")
    assert "Rehearsal for mine" in report.text
    browser.post(f"/rehearsals/{one.id}/cancel")
    assert not one._folder.exists()
    assert browser.get(f"/rehearsals/{one.id}").status_code == 404


@pytest.mark.usefixtures("rehearsed")
def test_a_rehearsal_that_cannot_be_says_why(browser: Browser, console: Console) -> None:
    """A file without columns; a form without a file."""
    browser.get("/rehearsals")
    form = {"tenant": "mine", "creative": "TO:{{phone}};\nHi"}
    assert "choose a file" in browser.post("/rehearsals", form).text
    browser.post("/rehearsals", form, files={"audience": ("<b>.csv", io.BytesIO(b""))})
    [one] = console.desk.rehearsals.all()
    assert one._process is not None
    one._process.wait(60)
    page = browser.get(f"/rehearsals/{one.id}")
    assert "names no columns" in page.text
    assert "<b>" not in page.text


def test_the_audit_lists_what_people_did(browser: Browser, parts: Parts) -> None:
    """Newest first, from wherever it was done."""
    at = datetime(2026, 3, 2, tzinfo=UTC)
    parts.store.write_note(Note(at=at, by="dana", action="replay", subject="task TSK_1"))
    page = text_of(browser.get("/audit").text)
    assert page.index("task TSK_1") < page.index("sign in")
