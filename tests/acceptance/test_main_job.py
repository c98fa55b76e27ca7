"""The main job: what CI360 posts, what reaches Twilio, and what is known afterwards."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ci360_twilio.core.entry import Status
from ci360_twilio.twin.faults import Fault

SENDER = "+12015550199"
LONG = "A sentence that is as long as it needs to be; " * 34


def test_a_documented_creative_becomes_one_message(running: Any) -> None:
    """The creative of the sample's page, its semicolon in the text included."""
    number = running.number()
    event = running.event(
        f"TO:{number};\nFROM:+12015550177;\nMEDIAL_URLS:https://www.example.com/logo.jpg;\n"
        "Anna, thank you for registering; see you there!"
    )
    assert running.post(event)[0] == 202
    entry = running.settled(event["guid"])
    (message,) = running.made_for(number)
    assert (message.sid, message.sender) == (entry.sid, "+12015550177")
    assert message.body == "Anna, thank you for registering; see you there!"
    assert message.media == ("https://www.example.com/logo.jpg",)


# What SAS's sample did with each of these is told in docs/migrate.md and docs/creative.md.
PITFALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "multi-line: FROM and MEDIA_URLS count": (
        "TO:{to};\nFROM:+12015550178;\nMEDIA_URLS:https://example.com/a.jpg;\nHi",
        {"sender": "+12015550178", "body": "Hi", "media": ("https://example.com/a.jpg",)},
    ),
    "a semicolon in the text": ("TO:{to};Hi; reply STOP; bye", {"body": "Hi; reply STOP; bye"}),
    "HTML entities": ("TO:{to};Tom &amp; Jerry&#39;s &lt;3", {"body": "Tom & Jerry's <3"}),
    "a blank line before TO": ("\n\nTO:{to};Hi", {"body": "Hi"}),
    "a space behind the colon": ("TO: {to} ;FROM: +12015550179;Hi", {"sender": "+12015550179"}),
    "a line break in the text": (
        "TO:{to};\nfirst\nsecond\n\nthird",
        {"body": "first\nsecond\n\nthird"},
    ),
    "CRLF": ("TO:{to};\r\nFROM:+12015550178;\r\nfirst\r\nsecond", {"body": "first\nsecond"}),
    "a byte order mark": ("\ufeffTO:{to};Hi", {"body": "Hi"}),
    "the default sender": ("TO:{to};Hi", {"sender": SENDER}),
    "a number in national spelling with +": ("TO:+1 (201) {local};Hi", {"body": "Hi"}),
    "a number without +": ("TO:{bare};Hi", {"body": "Hi"}),
    "emoji and other scripts": ("TO:{to};Grüße 👋🏽 こんにちは", {"body": "Grüße 👋🏽 こんにちは"}),
    "media without text": (
        "TO:{to};MEDIA_URL:https://example.com/a,b.jpg, https://example.com/c.jpg;",
        {"body": "", "media": ("https://example.com/a,b.jpg", "https://example.com/c.jpg")},
    ),
    "a Messaging Service": (f"TO:{{to}};FROM:MG{'0a' * 16};Hi", {"service": f"MG{'0a' * 16}"}),
    "a long text": (f"TO:{{to}};{LONG}", {"body": LONG.strip()}),
}


@pytest.mark.parametrize("case", PITFALLS)
def test_a_creative_that_the_sample_mishandled_is_sent_whole(running: Any, case: str) -> None:
    """Each pitfall of the published sample, as a message that arrives."""
    template, expected = PITFALLS[case]
    number = running.number()
    creative = template.format(to=number, bare=number[1:], local=f"{number[5:8]}-{number[8:]}")
    event = running.event(creative)
    assert running.post(event)[0] == 202
    assert running.settled(event["guid"]).status is Status.SENT
    (message,) = running.made_for(number)
    found = {
        "sender": message.sender,
        "body": message.body,
        "media": message.media,
        "service": message.service,
    }
    assert {name: found[name] for name in expected} == expected


REFUSED = {
    "merge_tag": "TO:{to};Hi {{{{firstname}}}}",
    "html_creative": "<html>\n    <body>TO:{to};Hi</body>\n</html>",
    "empty_message": "TO:{to};\n",
    "no_recipient": "Hi there",
    "invalid_recipient": "TO:+12;Hi",
    "invalid_sender": "TO:{to};FROM:an impossible sender;Hi",
    "body_too_long": "TO:{to};" + "x" * 1601,
    "too_many_media": "TO:{to};MEDIA_URLS:" + " ".join(["https://example.com/a"] * 11) + ";Hi",
    "invalid_media_url": "TO:{to};MEDIA_URLS:ftp://example.com/a;Hi",
    "control_character": "TO:{to};Hi\x07",
    "duplicate_directive": "TO:{to};TO:{to};Hi",
    "unknown_directive": "SENDER:x;TO:{to};Hi",
    "directive_not_terminated": "TO:{to}\nHi",
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_cannot_be_sent_is_refused_by_name(running: Any, code: str) -> None:
    """The exact error reaches CI360 and the trace, and Twilio hears nothing."""
    number = running.number()
    event = running.event(REFUSED[code].format(to=number))
    status, body = running.post(event)
    assert (status, body["reason"], body["error"]["code"]) == (422, code, code)
    assert running.trace(event["guid"])["reason"] == code
    assert not running.made_for(number)


def test_recipient_sender_and_media_may_be_attributes_of_the_task(running: Any) -> None:
    """Names in any case; the creative is text alone."""
    number = running.number()
    attributes = {"To": number, "FROM": "+12015550176", "Media_Urls": "https://example.com/a.jpg"}
    event = running.event("Just the text; nothing else", attributes=attributes)
    assert running.post(event)[0] == 202
    running.settled(event["guid"])
    (message,) = running.made_for(number)
    assert (message.sender, message.body) == ("+12015550176", "Just the text; nothing else")
    assert message.media == ("https://example.com/a.jpg",)


@pytest.mark.parametrize("rtc", ["", None])
def test_an_event_without_a_response_tracking_code_is_sent(running: Any, rtc: str | None) -> None:
    """Most real events carry none."""
    event = running.event(f"TO:{running.number()};Hi", response_tracking_code=rtc)
    assert running.post(event)[0] == 202


def test_members_that_are_not_needed_may_be_missing_or_new(running: Any) -> None:
    """CI360's schema drifts: nothing is required that is not used."""
    whole = running.event(f"TO:{running.number()};Hi")
    needed = ("guid", "eventType", "externalTenantId", "impression")
    event = {name: whole[name] for name in needed} | {"brandNewMember": {"deep": [1, 2, 3]}}
    assert running.post(event)[0] == 202


def test_one_event_posted_fifty_times_at_once_is_one_message(running: Any) -> None:
    """Every caller gets an answer of success, Twilio one request."""
    number = running.number()
    event = running.event(f"TO:{number};Only once")
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: running.post(event), range(50)))
    assert {status for status, _ in answers} <= {200, 202}
    assert sum("duplicate" not in body for _, body in answers) == 1
    entry = running.settled(event["guid"])
    assert len(running.made_for(number)) == 1
    assert (entry.attempts, entry.repeats) == (1, 49)


def test_twilios_refusal_is_told_with_its_meaning(running: Any) -> None:
    """A permanent error ends the entry at the first attempt."""
    number = running.number()
    running.faults.for_recipient(number, ["http_400:21614"])
    event = running.event(f"TO:{number};To a landline")
    running.post(event)
    entry = running.settled(event["guid"])
    assert (entry.status, entry.reason, entry.attempts) == (Status.REFUSED, "twilio_21614", 1)
    assert "21614" in running.command("trace", event["guid"]).stdout


def test_a_busy_twilio_is_asked_again(running: Any) -> None:
    """429 means that nothing was made."""
    number = running.number()
    running.faults.for_recipient(number, [Fault.HTTP_429, Fault.HTTP_429])
    event = running.event(f"TO:{number};At the third try")
    running.post(event)
    entry = running.settled(event["guid"])
    assert (entry.status, entry.attempts) == (Status.SENT, 3)
    decisions = [step["decision"] for step in running.trace(event["guid"])["history"]]
    assert decisions == ["accepted", "sending", "retry", "sending", "retry", "sending", "sent"]


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.HTTP_500, Fault.HTTP_503])
def test_a_lost_answer_is_unknown_and_never_sent_again(running: Any, fault: Fault) -> None:
    """A message may exist, so there is no second request."""
    number = running.number()
    running.faults.for_recipient(number, [fault])
    event = running.event(f"TO:{number};Perhaps")
    running.post(event)
    assert running.settled(event["guid"]).status is Status.UNKNOWN
    status, body = running.post(event)
    assert (status, body["status"], body["duplicate"]) == (202, "unknown", True)
    assert running.faults.attempts[number] == 1


def test_a_rotated_token_is_picked_up_at_the_first_401(running: Any) -> None:
    """The document is read again, and the message goes out without a failure."""
    first, second = "rotating-token-one-1a2b3c", "rotating-token-two-4d5e6f"
    account = f"AC{'9e' * 16}"
    running.exposed.add(first, second)
    running.twin.rotate(account, first)
    url = f"{running.twilio_url}/2010-04-01/Accounts/{account}/Messages.json"
    login = {"twilio_api_url": url, "twilio_account_sid": account}
    running.tenant("rotating", twilio_auth_token=first, **login)
    before = running.event(f"TO:{running.number()};Before", tenant_id="rotating")
    assert running.post(before)[0] == 202
    assert running.settled(before["guid"], "rotating").status is Status.SENT
    # Its number is listed once it was sent from; that would meet the 401 first, and read the document.
    listed = re.compile(r'"event":"inbound.listed"[^\n]*"tenant":"rotating"')
    running.until(lambda: listed.search(running.log.read_text()))
    running.twin.rotate(account, second)
    running.tenant("rotating", twilio_auth_token=second, **login)
    number = running.number()
    after = running.event(f"TO:{number};After", tenant_id="rotating")
    assert running.post(after)[0] == 202
    entry = running.settled(after["guid"], "rotating")
    assert (entry.status, entry.attempts) == (Status.SENT, 2)
    assert len(running.made_for(number)) == 1


@pytest.mark.parametrize(
    "tenant_id",
    [
        "../open-tenant",
        "..%2fopen-tenant",
        "arn:aws:secretsmanager:eu-west-1:1:secret:x",
        "a" * 10_240,
    ],
    ids=["parent", "encoded", "arn", "10 KB"],
)
def test_a_hostile_tenant_id_touches_no_file(running: Any, tenant_id: str) -> None:
    """It is refused by its form, before anything is looked up."""
    event = running.event(f"TO:{running.number()};Hi", tenant_id=tenant_id)
    assert running.post(event)[0] == 400


def test_send_takes_an_event_from_a_file(running: Any) -> None:
    """The command line goes through the same gates and the same ledger."""
    number = running.number()
    event = running.event(f"TO:{number};By hand", tenant_id="guarded-tenant")
    path = running.folder / "event.json"
    path.write_text(json.dumps(event))
    done = running.command("send", str(path), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "sent"
    again = running.command("send", str(path))
    assert (again.returncode, "known" in again.stdout) == (0, True)
    assert len(running.made_for(number)) == 1


def test_messages_lists_what_happened_without_showing_numbers(running: Any) -> None:
    """The list is for people who look over each other's shoulders."""
    number = running.number()
    event = running.event(f"TO:{number};Listed")
    running.post(event)
    running.settled(event["guid"])
    done = running.command("messages", "--limit", "500")
    assert event["guid"] in done.stdout
    assert number not in done.stdout


def test_trace_of_an_unknown_event_ends_with_one(running: Any) -> None:
    """And says where else to look."""
    done = running.command("trace", "0a0a0a0a-0000-4000-8000-000000000000", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Nothing is known" in done.stderr


@pytest.mark.parametrize("tenant", ["open-tenant", "guarded-tenant"])
def test_check_finds_the_set_up_good(running: Any, tenant: str) -> None:
    """It asks the twin for a tenant, as it would ask Twilio."""
    done = running.command("check", "--tenant", tenant)
    assert done.returncode == 0, done.stdout
    assert "Twilio lets it in" in done.stdout


def test_check_finds_tenants_that_share_a_number(running: Any) -> None:
    """An inbound message to the number would reach but one of them."""
    done = running.command("check", "--tenant", "open-tenant", "--tenant", "guarded-tenant")
    assert done.returncode == 1
    assert "open-tenant, guarded-tenant send from" in done.stdout
