"""What customers write: whose it is, what it wishes, and what CI360 is owed of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ci360_twilio.core.consent import Source
from ci360_twilio.core.entry import Status
from ci360_twilio.core.report import Outcome
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.core.wish import Wish
from ci360_twilio.flow.hear import Taken

if TYPE_CHECKING:
    from tests.unit.flow.conftest import World

ACME, OTHER = TenantId("acme"), TenantId("other")
CUSTOMER, ANOTHER = "+12015550142", "+12015550143"
OURS, OURS_TOO, SERVICE = "+12015550199", "+12015550198", f"MG{'c3' * 16}"


def outcomes(world: World) -> list[tuple[str, Outcome]]:
    """Give what CI360 is owed of messages, by their texts, first heard first."""
    return [(one.heard.body, owed.outcome) for one in world.inbound[::-1] for owed in one.reports]


# Whose it is


def test_a_reply_is_the_customers_of_the_latest_message_between_the_two(world: World) -> None:
    """With all that CI360 knows the customer by."""
    world.send("g1", datahub_id="dh-1")
    world.clock.advance(minutes=1)
    key = world.send("g2", datahub_id="dh-2")
    world.listen("Yes please")
    assert world.letter.answers == key
    assert world.letter.origin == world.entry(key).origin


ELSEWHERE: dict[str, dict[str, Any]] = {
    "another tenant": {"tenant_id": OTHER},
    "another of our numbers": {"sender": OURS_TOO},
    "another customer": {"to": ANOTHER},
    "another channel": {"to": f"whatsapp:{CUSTOMER}", "sender": f"whatsapp:{OURS}"},
    "a Messaging Service that chose another number": {"sender": SERVICE, "via": OURS_TOO},
    "a message that was not begun": {"started_at": None, "status": Status.SUPPRESSED},
}


@pytest.mark.parametrize("changes", ELSEWHERE.values(), ids=ELSEWHERE)
def test_a_message_elsewhere_is_not_answered(world: World, changes: dict[str, Any]) -> None:
    """Even where it is later than the one between the two, or the only one."""
    world.listen("Hello")
    assert world.letter.answers is None
    key = world.send("between")
    world.clock.advance(minutes=1)
    world.send("elsewhere", **changes)
    world.listen("Hello again")
    assert world.inbound[0].answers == key


@pytest.mark.parametrize(("via", "said"), [(OURS, None), (None, SERVICE), (OURS_TOO, SERVICE)])
def test_a_message_of_a_messaging_service_is_answered_by_either_of_its_names(
    world: World, via: str | None, said: str | None
) -> None:
    """By the number that it chose, as far as that is known, or where the webhook names the service."""
    key = world.send(sender=SERVICE, via=via)
    assert world.hear(world.sign(world.form(MessagingServiceSid=said))) == ["taken"]
    assert world.letter.answers == key


def test_a_reply_on_a_channel_answers_the_message_on_that_channel(world: World) -> None:
    """The wish counts for the number on every channel."""
    world.send("sms")
    key = world.send("wa", to=f"whatsapp:{CUSTOMER}", sender=f"whatsapp:{OURS}")
    world.listen("Stop", sender=f"whatsapp:{CUSTOMER}", to=f"whatsapp:{OURS}")
    assert (world.letter.answers, world.state(CUSTOMER)) == (key, "out")


def test_several_customers_of_a_batch_are_told_apart(world: World) -> None:
    """Each answers a message of their own."""
    keys = [world.send("g1"), world.send("g2", to=ANOTHER, datahub_id="dh-2")]
    world.hear(world.post("One"), world.post("Two", sender=ANOTHER))
    assert {one.heard.sender: one.answers for one in world.inbound} == dict(
        zip((CUSTOMER, ANOTHER), keys, strict=True)
    )


# What it wishes


WISHES: dict[str, tuple[str, Wish, str | None]] = {
    "a word of Twilio's": ("STOP", Wish.OUT, "out"),
    "in any case": (" stop. ", Wish.OUT, "out"),
    "a word of the tenant's": ("Genug jetzt", Wish.OUT, "out"),
    "a sentence that probably is": ("please stop texting me", Wish.MAYBE_OUT, "review"),
    "help": ("HELP", Wish.HELP, None),
    "something else": ("can't stop laughing", Wish.NONE, None),
    "nothing": ("", Wish.NONE, None),
    "messages again": ("START", Wish.IN, "in"),
}


@pytest.mark.parametrize(("body", "wish", "state"), WISHES.values(), ids=WISHES)
def test_a_text_is_read_for_a_wish(world: World, body: str, wish: Wish, state: str | None) -> None:
    """What may be one blocks until a person has read it."""
    world.papers.write(ACME, opt_out_words=["genug jetzt"])
    world.listen(body)
    assert (world.letter.wish, world.state()) == (wish, state)


def test_what_twilio_takes_a_text_for_counts(world: World) -> None:
    """It knows the account's own words, in every language."""
    assert world.hear(world.sign(world.form(Body="ARRET", OptOutType="STOP"))) == ["taken"]
    assert (world.letter.wish, world.state()) == (Wish.OUT, "out")


def test_a_wish_is_evidence_of_its_message_without_a_date(world: World) -> None:
    """Webhooks do not say when a message was written."""
    [answer] = world.listening.hear_many([world.post("STOP")])
    assert isinstance(answer, Taken)
    assert answer.consent is not None
    assert answer.consent == world.consent()
    [evidence] = answer.consent.against
    assert (evidence.source, evidence.sid) == (Source.TEXT, world.letter.heard.sid)
    assert (evidence.heard_at, evidence.dated_at) == (world.clock.now, None)


def test_a_stop_blocks_what_is_accepted_after_it(world: World) -> None:
    """From any sender of the tenant's, and from no other tenant's."""
    world.listen("STOP")
    given: list[dict[str, Any]] = [{}, {"sender": OURS_TOO}, {"tenant_id": OTHER}]
    keys = [
        world.send(f"g{number}", status=Status.ACCEPTED, started_at=None, **changes)
        for number, changes in enumerate(given)
    ]
    assert [world.entry(key).status for key in keys] == ["suppressed", "suppressed", "accepted"]


@pytest.mark.parametrize(
    ("form", "group"),
    [
        ({}, "offers"),
        ({"To": OURS_TOO}, ""),
        ({"To": OURS_TOO, "MessagingServiceSid": SERVICE}, "news"),
    ],
    ids=["a number", "no group", "a service"],
)
def test_a_stop_to_a_sender_of_a_group_counts_for_the_group(
    world: World, form: dict[str, Any], group: str
) -> None:
    """Where the tenant keeps wishes by groups of senders; else it counts for all."""
    world.papers.write(ACME, consent_groups={"offers": [OURS], "news": [SERVICE]})
    world.hear(world.sign(world.form(Body="STOP", **form)))
    states = {one: world.state(group=one) for one in ("", "offers", "news")}
    assert states == {"": None, "offers": None, "news": None} | {group: "out"}


def test_a_start_does_not_free_by_itself(world: World) -> None:
    """It may have been written before the STOP and come late: Twilio is to be asked for the dates."""
    world.listen("STOP")
    world.clock.advance(hours=1)
    world.listen("START")
    consent = world.consent()
    assert consent is not None
    assert (consent.state, consent.ask_at) == ("out", world.clock.now)
    assert [one.sign for one in consent.undated] == ["in", "out"]


@pytest.mark.parametrize("order", [("STOP", "START"), ("START", "STOP")])
def test_in_whatever_order_two_wishes_come_the_opt_out_stands_for_now(
    world: World, order: tuple[str, str]
) -> None:
    """In one batch or in two."""
    webhooks = {word: world.post(word) for word in ("STOP", "START")}
    world.hear(*(webhooks[word] for word in order))
    assert world.state() == "out"


# What CI360 is owed


def test_a_reply_and_what_it_turns_are_owed_with_the_message(world: World) -> None:
    """A STOP that changes nothing any more is a reply and no second opt-out."""
    for body in ("Hello", "STOP", "Stop!"):
        world.listen(body)
        world.clock.advance(seconds=1)
    assert outcomes(world) == [
        ("Hello", Outcome.REPLY),
        ("STOP", Outcome.REPLY),
        ("STOP", Outcome.OPT_OUT),
        ("Stop!", Outcome.REPLY),
    ]


@pytest.mark.parametrize(
    ("changes", "owed"),
    [
        ({"ci360_events": {"reply": None}}, [Outcome.OPT_OUT]),
        ({"ci360_events": {"opt_out": None}}, [Outcome.REPLY]),
        ({"ci360_api_url": None}, []),
    ],
    ids=["no replies", "no opt-outs", "no CI360"],
)
def test_only_what_the_tenant_wants_told_is_owed(
    world: World, changes: dict[str, Any], owed: list[Outcome]
) -> None:
    """The wish counts all the same."""
    world.papers.write(ACME, **changes)
    world.listen("STOP")
    assert [outcome for _, outcome in outcomes(world)] == owed
    assert world.state() == "out"
