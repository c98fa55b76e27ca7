"""``trace``: what CI360 was told, what the customer answered and wishes, and when the carrier was done."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from ci360_twilio.core.entry import Fact, Kind, key_of
from ci360_twilio.core.inbound import Medium
from ci360_twilio.core.receipt import parse_callback
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.wiring import utc_now

if TYPE_CHECKING:
    from tests.conftest import Twilio
    from tests.unit.edge.cli.conftest import Connect, Gateway, Hear, Home, Run, Type

TENANT = TenantId("af5af6b8f500013eb0c90001")
TO, OTHER, SHOP = "+12015550142", "+12015550143", "+12015550199"
OF = ("--tenant", TENANT)


def lines(run: Run, guid: str = "g") -> list[str]:
    """Give the story in words; no number or text is in it."""
    done = run("trace", guid)
    assert done.code == 0
    for secret in ("2015550142", "Hello", "nine"):
        assert secret not in done.out + done.err
    return [line.strip() for line in done.out.splitlines()]


# Answers


def test_what_the_customer_answered_is_told_without_a_word_of_it(
    run: Run, home: Home, hear: Hear
) -> None:
    """By Twilio's SID, with its length, its media and what it was read as; oldest first."""
    run("send", home.event(guid="g"))
    picture = Medium("https://api.twilio.com/m", "image/jpeg")
    first = hear("At nine?", media=(picture,), media_count=1)
    second = hear("Stop")
    told = [line for line in lines(run) if line.startswith("Answered at 2")]
    assert [line.partition(" by ")[2] for line in told] == [
        f"{first}: 8 characters, 1 media.",
        f"{second}: 4 characters, 0 media, read as out.",
    ]
    replies = run("trace", "g", "--json").read()["replies"]
    assert set(replies[0]) == {"sid", "heard_at", "wish", "characters", "media", "reports"}
    assert [(one["sid"], one["wish"], one["media"]) for one in replies] == [
        (first, "none", 1),
        (second, "out", 0),
    ]


def test_an_answer_leads_to_its_event(run: Run, home: Home, hear: Hear) -> None:
    """By the answer's own SID; it belongs to the latest message between the two numbers."""
    run("send", home.event(guid="older"))
    run("send", home.event(guid="g"))
    sid = hear("Thanks")
    assert run("trace", sid, "--json").read()["key"] == f"{TENANT}/g"
    assert not [line for line in lines(run, "older") if line.startswith("Answered")]


def test_a_text_that_answers_nothing_is_told_so(run: Run, home: Home, hear: Hear) -> None:
    """Exit code 1; it is known all the same."""
    run("send", home.event(guid="g"))
    sid = hear("Who is this?", sender=OTHER)
    done = run("trace", sid)
    assert done.code == 1
    assert "nothing is known to have been sent" in done.err
    assert run("trace", sid, "--tenant", "second").err.startswith("ci360-twilio: Nothing is known")


def test_answers_on_a_channel_are_found_like_others(run: Run, home: Home, hear: Hear) -> None:
    """WhatsApp's addresses have a prefix."""
    creative = f"TO:whatsapp:{TO};\nFROM:whatsapp:{SHOP};\nHello"
    run("send", home.event(creative, guid="g"))
    sid = hear("Thanks", sender=f"whatsapp:{TO}", to=f"whatsapp:{SHOP}")
    assert [one["sid"] for one in run("trace", "g", "--json").read()["replies"]] == [sid]
    assert any(f"by {sid}: 6 characters" in line for line in lines(run))


@pytest.mark.parametrize("body", ["\x1b[2J\x1b]0;x\x07", "\u202e\u2028\x9b31m", "a\nb\r\n" * 9])
def test_an_answer_cannot_steer_the_terminal(run: Run, home: Home, hear: Hear, body: str) -> None:
    """Nor can the event's name, or who it is of; ``run`` looks for what would."""
    run("send", home.event(guid="\x1b[2Jg", task_code="\x1b]0;x\x07", datahub_id="\x9b31m"))
    sid = hear(body)
    for name in ("\x1b[2Jg", sid):
        assert "Answered at 2" in run("trace", name).out
        assert run("trace", name, "--json").read()["replies"][0]["characters"] == len(body)


# The recipient's wish


@pytest.mark.parametrize(
    ("text", "state", "words"),
    [
        ("Stop", "out", "The recipient is opted out since 2"),
        ("please stop texting me", "review", "blocked until a person has read a text"),
    ],
)
def test_the_recipients_wish_is_told(
    run: Run, home: Home, hear: Hear, text: str, state: str, words: str
) -> None:
    """As it is now, whatever it was when the message was sent."""
    run("send", home.event(guid="g"))
    assert run("trace", "g", "--json").read()["consent"] is None
    hear(text)
    assert any(words in line for line in lines(run))
    consent = run("trace", "g", "--json").read()["consent"]
    assert consent["state"] == state
    assert datetime.fromisoformat(consent["since"]).tzinfo is not None


def test_an_opt_in_is_told_too(run: Run, home: Home, hear: Hear, pipe: Type) -> None:
    """With its date."""
    run("send", home.event(guid="g"))
    for sign in ("out", "in"):
        pipe(TO)
        run("consent", "set", sign, *OF)
    assert any(line.startswith("The recipient is opted in since 2") for line in lines(run))


def test_the_wish_is_told_that_decides(run: Run, home: Home, pipe: Type) -> None:
    """For the message's own group of senders, or for all."""
    home.write(consent_groups={"shop": [SHOP], "news": ["+12015550198"]})
    run("send", home.event(f"TO:{TO};\nFROM:{SHOP};\nHello", guid="g"))
    run("send", home.event(guid="other"))
    pipe(TO)
    run("consent", "set", "out", *OF, "--group", "news")
    assert run("trace", "g", "--json").read()["consent"] is None
    pipe(TO)
    run("consent", "set", "out", *OF, "--group", "shop")
    assert run("trace", "g", "--json").read()["consent"]["state"] == "out"
    assert run("trace", "other", "--json").read()["consent"] is None


def test_an_event_without_a_message_has_no_recipient(run: Run, home: Home) -> None:
    """Nobody is asked about."""
    run("send", home.event("Hello", guid="g"))
    story = run("trace", "g", "--json").read()
    assert (story["consent"], story["replies"]) == (None, [])


# Reports


def test_what_ci360_was_told_is_told(
    run: Run, home: Home, gateway: Gateway, hear: Hear, connect: Connect
) -> None:
    """Of the message and of its answers: owed, acknowledged, or set aside."""
    run("send", home.event(guid="g"))
    hear("Stop")
    table = lines(run)[-2:]
    assert [row.split()[:2] for row in table] == [["reply", "owed"], ["opt_out", "owed"]]
    assert all(" 0         sent next 2" in row for row in table)
    gateway.twin.publish(["twilio_sms_reply"])
    with connect() as parts:
        assert parts.reporting.report_all(64) == 2
    reply, opt_out = lines(run)[-2:]
    assert reply.split()[:2] == ["reply", "told"]
    assert " 1         acknowledged 2" in reply
    assert opt_out.split()[:2] == ["opt_out", "aside"]
    assert opt_out.endswith("there is no published external event twilio_sms_opt_out")


def test_reports_of_an_event_are_told_to_scripts(
    run: Run, home: Home, gateway: Gateway, connect: Connect
) -> None:
    """With the key under which CI360 counts them once."""
    run("send", home.event("no recipient", guid="g"))
    [owed] = run("trace", "g", "--json").read()["reports"]
    assert (owed["outcome"], owed["state"], owed["attempts"]) == ("refused", "owed", 0)
    with connect() as parts:
        parts.reporting.report_all(64)
    [told] = run("trace", "g", "--json").read()["reports"]
    assert (told["key"], told["state"], told["due_at"]) == (owed["key"], "told", None)
    [event] = gateway.twin.events
    assert event.attributes["twilio_report_key"] == told["key"]


def test_a_report_of_an_answer_waits_behind_the_pause_too(
    run: Run, home: Home, gateway: Gateway, hear: Hear
) -> None:
    """It is said why CI360 hears nothing."""
    run("send", home.event(guid="g"))
    hear("Thanks")
    run("pause", "reports", "--tenant", TENANT)
    assert "CI360 is told nothing at present: Somebody has paused it." in lines(run)
    run("resume", "reports", "--tenant", TENANT, "--yes")
    run("pause", "reports", "--tenant", "second")
    assert not [line for line in lines(run) if line.startswith("CI360 is told nothing")]


# The carrier


@pytest.mark.parametrize(
    ("date", "words"),
    [
        ("2603020931", "2026-03-02 09:31 by its own clock"),
        ("260302", "260302 by its own clock"),
        ("20260302093115", "20260302093115 by its own clock"),
        ("\x1b[2J", None),
    ],
)
def test_when_the_carrier_was_done_is_told_by_its_own_clock(
    run: Run, home: Home, connect: Connect, twilio: Twilio, date: str, words: str | None
) -> None:
    """As the receipt of an SMS has it; of what is not written as usual nothing is made up."""
    run("send", home.event(guid="g"))
    assert run("trace", "g", "--json").read()["carrier_done"] is None
    [message] = twilio.twin.messages
    form = {"MessageSid": message.sid, "MessageStatus": "delivered", "RawDlrDoneDate": date}
    fact = Fact(kind=Kind.DELIVERED, at=utc_now(), receipt=parse_callback(form))
    with connect() as parts:
        parts.store.record_many([(key_of(TENANT, "g"), fact)])
    told = [line for line in lines(run) if line.startswith("The carrier was done with it")]
    assert told == ([f"The carrier was done with it at {words}."] if words else [])
    assert run("trace", "g", "--json").read()["carrier_done"] == (date if words else None)
