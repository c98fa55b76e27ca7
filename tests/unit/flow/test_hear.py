"""What customers write: who is believed, what is written of it, and what changes nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec
import pytest

from ci360_twilio.core.inbound import Heard, Medium, inbound_key
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.core.wish import Wish
from ci360_twilio.errors import TenantUnavailable
from ci360_twilio.flow.addresses import STATUS
from ci360_twilio.flow.webhook import MAX_WEBHOOK
from ci360_twilio.logs import INBOUND_HEARD, INBOUND_REFUSED

if TYPE_CHECKING:
    from tests.unit.flow.conftest import World

ACME, OTHER = TenantId("acme"), TenantId("other")
CUSTOMER, OURS = "+12015550142", "+12015550199"
PICTURE = "https://api.twilio.com/2010-04-01/Accounts/AC1/Messages/MM1/Media/ME1"
SECRETS = ("+12015550142", "2015550142", "Call me back", "rtc-1", "dh-1", PICTURE)
"""What no line may show."""


# What is taken


def test_a_message_is_written_before_it_is_answered(world: World) -> None:
    """With all that Twilio says of it."""
    made = world.write("Call me back", media=(PICTURE,), button_text="Yes", button_payload="yes-1")
    [webhook] = world.posted()
    assert world.hear(webhook) == ["taken"]
    assert world.letter.key == inbound_key(ACME, made.sid)
    assert world.letter.heard == Heard(
        sid=made.sid,
        sender=CUSTOMER,
        to=OURS,
        body="Call me back",
        media=(Medium(PICTURE, "image/jpeg"),),
        media_count=1,
        button_text="Yes",
        button_payload="yes-1",
    )
    assert (world.letter.wish, world.letter.repeats) == (Wish.NONE, 0)


@pytest.mark.parametrize("days", [None, 30, 0.5])
def test_a_message_is_kept_as_long_as_the_tenant_says(world: World, days: float | None) -> None:
    """From when we heard of it."""
    world.papers.write(ACME, retention_days=days)
    world.listen("Hello")
    assert world.letter.heard_at == world.clock.now
    assert world.letter.purge_at == world.clock.now + timedelta(days=days or 90)


def test_a_batch_is_one_commit_and_answered_in_its_order(world: World) -> None:
    """Whatever stands between what is taken."""
    first, second = world.post("One"), world.post("Two", tenant_id=OTHER)
    forged = world.sign(world.form(), token="guessed")
    elsewhere = world.sign(world.form(MessageStatus="delivered"))
    answers = world.hear(forged, first, elsewhere, second, first)
    assert answers == ["403 forbidden", "taken", "ignored", "taken", "duplicate"]
    assert world.store.commits == ["hear_many"]
    assert {(one.tenant_id, one.heard.body) for one in world.inbound} == {
        (ACME, "One"),
        (OTHER, "Two"),
    }


def test_what_writes_nothing_costs_no_commit(world: World) -> None:
    """Neither does an empty batch."""
    assert world.hear() == []
    world.hear(world.sign(world.form(), token="guessed"), world.sign(world.form(To=None)))
    assert world.store.commits == []


@pytest.mark.parametrize("word", ["delivered", "sent", "queued", "read"])
def test_a_status_callback_that_was_sent_here_is_no_message(world: World, word: str) -> None:
    """Somebody has entered the wrong address at Twilio; it need not come again."""
    assert world.hear(world.sign(world.form(MessageStatus=word))) == ["ignored"]
    assert world.inbound == []
    assert world.told(INBOUND_HEARD, "reason") == ["not_inbound"]


@pytest.mark.parametrize("name", ["SmsSid", "SmsMessageSid"])
def test_the_message_is_named_by_any_of_its_old_names(world: World, name: str) -> None:
    """Twilio posts all three, and once posted fewer."""
    named: dict[str, Any] = {name: "SM1", "MessageStatus": "received"}
    webhook = world.sign(world.form(MessageSid=None, **named))
    assert world.hear(webhook) == ["taken"]
    assert world.letter.heard.sid == "SM1"


# What changes nothing


UNREADABLE: dict[str, dict[str, Any]] = {
    "no SID": {"MessageSid": None},
    "a SID that is none": {"MessageSid": "SM1/../2"},
    "no customer": {"From": None},
    "an empty customer": {"From": ""},
    "no number of ours": {"To": None},
    "a number with a line break": {"To": f"{OURS}\n"},
    "a number without an end": {"From": "+" + "1" * 400},
}


@pytest.mark.parametrize("changes", UNREADABLE.values(), ids=UNREADABLE)
def test_a_signed_webhook_that_names_too_little_is_told_so(
    world: World, changes: dict[str, Any]
) -> None:
    """Nothing is written of it."""
    assert world.hear(world.sign(world.form(**changes))) == ["400 malformed"]
    assert (world.inbound, world.store.commits) == ([], [])


FORGED: dict[str, dict[str, Any]] = {
    "unsigned": {"headers": {"content-type": "application/x-www-form-urlencoded"}},
    "another text": {"body": urlencode({"MessageSid": "SM1", "Body": "STOP"}).encode()},
    "another tenant": {"tenant_id": "other"},
    "an unknown tenant": {"tenant_id": "nobody"},
    "a query": {"query": "fallback=1"},
    "over the limit": {"body": b"x" * (MAX_WEBHOOK + 1)},
}


@pytest.mark.parametrize("changes", FORGED.values(), ids=FORGED)
def test_a_forged_webhook_changes_nothing(world: World, changes: dict[str, Any]) -> None:
    """Neither messages nor wishes."""
    world.send()
    webhook = msgspec.structs.replace(world.post("STOP"), **changes)
    [answer] = world.hear(webhook)
    assert answer in ("403 forbidden", "413 too_large")
    assert (world.inbound, world.state(), world.store.commits) == ([], None, [])


def test_a_webhook_of_anothers_account_changes_nothing(world: World) -> None:
    """Signed with our token, and about somebody else's account."""
    form = world.form(OTHER, Body="STOP")
    assert world.hear(world.sign(form)) == ["403 forbidden"]
    assert world.hear(world.sign(form, tenant_id=OTHER)) == ["taken"]
    assert (world.state(), world.state(tenant_id=OTHER)) == (None, "out")


def test_a_webhook_signed_for_the_other_route_changes_nothing(world: World) -> None:
    """A status callback that is replayed here is not signed for this address."""
    status = world.sign(world.form(Body="STOP"), route=STATUS)
    assert world.hear(status) == ["403 forbidden"]


def test_a_replayed_webhook_changes_nothing(world: World) -> None:
    """Whoever has recorded it may post it as often as they like; only the repetitions are counted."""
    world.send()
    webhook = world.post("STOP")
    assert world.hear(webhook) == ["taken"]
    before, consent = world.letter, world.consent()
    world.clock.advance(days=3)
    assert world.hear(webhook, webhook) == ["duplicate", "duplicate"]
    assert world.letter == msgspec.structs.replace(before, repeats=2)
    assert world.consent() == consent


def test_a_webhook_that_is_replayed_after_its_message_was_deleted_changes_nothing(
    world: World,
) -> None:
    """A tombstone stands for it; the wish in it holds."""
    world.send()
    start, stop = world.post("START"), world.post("STOP")
    world.hear(start, stop)
    world.clock.advance(days=91)
    assert world.store.purge(now=world.clock.now, limit=100) == 3
    consent = world.consent()
    assert world.hear(start, stop) == ["duplicate", "duplicate"]
    assert (world.inbound, world.consent(), world.state()) == ([], consent, "out")


@pytest.mark.parametrize("verb", ["conversations", "hear_many"])
def test_where_the_ledger_is_away_the_webhook_may_come_again(world: World, verb: str) -> None:
    """Only those that need it hear of that."""
    webhook, forged = world.post("STOP"), world.sign(world.form(), token="guessed")
    world.store.away = {verb}
    assert world.hear(webhook, forged) == ["503 ledger_unavailable", "403 forbidden"]
    assert world.told(INBOUND_REFUSED) == [503, 403]
    world.store.away = set()
    assert world.hear(webhook) == ["taken"]


def test_where_the_document_is_away_the_webhook_may_come_again(world: World) -> None:
    """Other tenants' are taken meanwhile."""
    world.papers.errors[ACME] = TenantUnavailable("The document is away.")
    answers = world.hear(world.post("One"), world.post("Two", tenant_id=OTHER))
    assert answers == ["503 tenant_unavailable", "taken"]


# What is listed, and what is logged


def test_what_is_listed_is_heard_with_its_date(world: World) -> None:
    """Known messages are not changed by it."""
    key = world.send()
    made = world.write("STOP")
    dated = world.clock.now
    heard = Heard(sid=made.sid, sender=CUSTOMER, to=OURS, body="STOP", dated_at=dated)
    world.clock.advance(hours=2)
    tenant = world.tenant()
    first = world.listening.hear_listed(tenant, [heard])
    again = world.listening.hear_listed(tenant, [heard])
    assert [(one.created, one.inbound.answers) for one in (*first, *again)] == [
        (True, key),
        (False, key),
    ]
    consent = world.consent()
    assert consent is not None
    assert (consent.since, world.listening.hear_listed(tenant, [])) == (dated, [])


def test_lines_tell_ids_and_decisions_and_nothing_of_the_content(world: World) -> None:
    """Neither numbers nor texts, whatever became of the message."""
    world.send("5d0c5a0e-6f43-4a53-9b3c-8f2f4f6c1a77")
    webhook = world.post("Call me back", media=(PICTURE,))
    forged = world.sign(world.form(Body="Call me back"), token="guessed")
    world.hear(webhook, forged, world.post("STOP"))
    world.hear(webhook, world.sign(world.form(Body="Call me back", To=None)))
    assert world.told(INBOUND_HEARD) == ["taken", "taken", "duplicate"]
    assert world.told(INBOUND_HEARD, "consent") == [None, "out", None]
    assert set(world.told(INBOUND_HEARD, "guid")) == {"5d0c5a0e-6f43-4a53-9b3c-8f2f4f6c1a77"}
    assert world.told(INBOUND_REFUSED, "reason") == ["signature", "malformed"]
    assert [secret for secret in SECRETS if secret in world.stream.getvalue()] == []
