"""Two tenants on one server: neither can send, read, pause, settle, hear or erase the other's."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest
from twilio.request_validator import RequestValidator

from ci360_twilio.core.entry import Status
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.ports import InboundQuery, Query
from ci360_twilio.twin.life import Life

if TYPE_CHECKING:
    from tests.acceptance.conftest import Running

ACCOUNTS = {"guarded-tenant": f"AC{'7c' * 16}", "other-tenant": f"AC{'9e' * 16}"}
KEYS = {"guarded-tenant": "key-of-one-1a2b3c4d", "other-tenant": "key-of-the-other-9f8e7d6c"}
TOKENS = {
    "guarded-tenant": "5e8a1c3f7b9d2e4f6a8c0b1d3f5e7a9c",
    "other-tenant": "token-of-the-other-7777",
}
ONE, OTHER = KEYS
CUSTOMER = "+12015550700"
"""Of both: the same number is another person's business for each."""


@pytest.fixture(scope="module")
def shared(run_connector: Callable[..., AbstractContextManager[Running]]) -> Iterator[Running]:
    """Run a server with two tenants, each with an account and a CI360 of its own."""
    with run_connector(life=Life(until_sent=0.1, until_final=0.2), public_url="own") as running:
        for tenant_id, account in ACCOUNTS.items():
            running.exposed.add(KEYS[tenant_id], TOKENS[tenant_id])
            running.twin.rotate(account, TOKENS[tenant_id])
            url = f"{running.twilio_url}/2010-04-01/Accounts/{account}/Messages.json"
            running.tenant(
                tenant_id,
                twilio_api_url=url,
                twilio_account_sid=account,
                twilio_auth_token=TOKENS[tenant_id],
                api_keys=[KEYS[tenant_id]],
                **running.ci360.members,
            )
        running.exposed.add(CUSTOMER)
        yield running


def sent(running: Running, tenant_id: str, text: str = "Hello") -> str:
    """Have a tenant's message delivered; give the guid."""
    event = running.event(f"TO:{CUSTOMER};{text}", tenant_id=tenant_id)
    assert running.post(event, x_api_key=KEYS[tenant_id])[0] == 202
    guid = str(event["guid"])
    running.reached(guid, lambda entry: entry.status is Status.DELIVERED, tenant_id)
    return guid


def post(running: Running, path: str, form: dict[str, str], token: str) -> int:
    """Post a webhook, signed with a token."""
    url = f"{running.url}{path}"
    answer = running.pool.request(
        "POST",
        url,
        body=urlencode(form),
        headers={
            "Content-Type": "application/x-www-form-urlencoded",
            "X-Twilio-Signature": RequestValidator(token).compute_signature(url, form),
        },
        timeout=30,
    )
    return answer.status


def test_neither_can_send_as_the_other(shared: Running) -> None:
    """Each with a credential of its own."""
    made = len(shared.twin.messages)
    for mine, theirs in ((ONE, OTHER), (OTHER, ONE)):
        event = shared.event(f"TO:{CUSTOMER};Hello", tenant_id=theirs)
        assert shared.post(event, x_api_key=KEYS[mine])[0] == 403
        assert shared.post(event)[0] == 401
        assert shared.entries(guid=event["guid"]) == []
    assert len(shared.twin.messages) == made


def test_one_event_of_each_is_two_messages(shared: Running) -> None:
    """A guid is one tenant's; each message goes by its own account."""
    guid = str(uuid.uuid4())
    for tenant_id in KEYS:
        event = shared.event(f"TO:{CUSTOMER};For {tenant_id}", tenant_id=tenant_id, guid=guid)
        assert shared.post(event, x_api_key=KEYS[tenant_id])[0] == 202
        shared.reached(guid, lambda entry: entry.status is Status.DELIVERED, tenant_id)
    mine = [one for one in shared.twin.messages if one.body.startswith("For ")]
    assert {one.account: one.body for one in mine} == {
        account: f"For {tenant_id}" for tenant_id, account in ACCOUNTS.items()
    }


def test_neither_can_settle_the_others_message(shared: Running) -> None:
    """Whoever signs, and to whichever address."""
    guid = sent(shared, ONE)
    [entry] = shared.entries(guid=guid)
    form = {
        "MessageSid": entry.sid or "",
        "MessageStatus": "failed",
        "ErrorCode": "30007",
        "AccountSid": ACCOUNTS[ONE],
    }
    query = f"?m={entry.correlation}"
    theirs = form | {"AccountSid": ACCOUNTS[OTHER]}
    assert post(shared, f"/twilio/status/{ONE}{query}", form, TOKENS[OTHER]) == 403
    assert post(shared, f"/twilio/status/{ONE}{query}", theirs, TOKENS[ONE]) == 403
    assert post(shared, f"/twilio/status/{OTHER}{query}", form, TOKENS[ONE]) == 403
    assert post(shared, f"/twilio/status/{OTHER}{query}", form, TOKENS[OTHER]) == 403
    assert post(shared, f"/twilio/status/{OTHER}{query}", theirs, TOKENS[OTHER]) == 204
    assert shared.entries(guid=guid) == [entry]


def test_neither_hears_the_others_customers_nor_their_wishes(shared: Running) -> None:
    """A STOP to one is none to the other, and signed by the other it is none at all."""
    sent(shared, ONE)
    sent(shared, OTHER)
    sid = f"SM{uuid.uuid4().hex}"
    form = {"MessageSid": sid, "From": CUSTOMER, "To": "+12015550199", "Body": "STOP"}
    mine, theirs = ({**form, "AccountSid": ACCOUNTS[one]} for one in (ONE, OTHER))
    path = f"/twilio/inbound/{ONE}"
    assert post(shared, path, mine, TOKENS[OTHER]) == 403
    assert post(shared, path, theirs, TOKENS[OTHER]) == 403
    assert post(shared, path, theirs, TOKENS[ONE]) == 403
    sent(shared, ONE)
    assert post(shared, f"/twilio/inbound/{OTHER}", theirs, TOKENS[OTHER]) == 200
    sent(shared, ONE)
    event = shared.event(f"TO:{CUSTOMER};Hello", tenant_id=OTHER)
    shared.post(event, x_api_key=KEYS[OTHER])
    assert shared.settled(event["guid"], OTHER).reason == "opted_out"
    told = shared.until(lambda: shared.ci360.told("opt_out"))
    assert {one.tenant_id for one in told} == {OTHER}
    shown = shared.command("consent", "show", "--tenant", ONE, typed=CUSTOMER)
    assert "Nothing is known" in shown.stdout
    with shared.store() as store:
        assert {one.tenant_id for one in store.find_inbound(InboundQuery())} == {OTHER}


def test_a_pause_of_one_is_none_of_the_other(shared: Running) -> None:
    """Nor is what a person cancels, replays or lists under one tenant's name the other's."""
    assert shared.command("pause", "tenant", ONE).returncode == 0
    event = shared.event(f"TO:{CUSTOMER};Paused", tenant_id=ONE)
    guid = str(event["guid"])
    shared.post(event, x_api_key=KEYS[ONE])
    number = shared.number()
    other = shared.event(f"TO:{number};Not paused", tenant_id=OTHER)
    shared.post(other, x_api_key=KEYS[OTHER])
    shared.reached(other["guid"], lambda entry: entry.status is Status.DELIVERED, OTHER)
    assert shared.entries(guid=guid)[0].status is Status.ACCEPTED
    assert shared.command("cancel", guid, "--tenant", OTHER, "--yes").returncode == 1
    assert shared.command("trace", guid, "--tenant", OTHER).returncode == 1
    assert guid not in shared.command("messages", "--tenant", OTHER).stdout
    assert shared.entries(guid=guid)[0].status is Status.ACCEPTED
    assert shared.command("resume", "tenant", ONE, "--yes").returncode == 0
    shared.reached(guid, lambda entry: entry.status is Status.DELIVERED, ONE)


def test_neither_can_erase_or_hand_out_the_others(shared: Running) -> None:
    """The same number: what the one knows stays when the other forgets it."""
    guid = sent(shared, ONE, "Only the first tenant's")
    exported = shared.command("export", "--tenant", OTHER, typed=CUSTOMER)
    assert "Only the first tenant's" not in exported.stdout
    done = shared.command("erase", "--tenant", OTHER, "--yes", typed=CUSTOMER)
    assert done.returncode == 0, done.stderr
    assert "another tenant's" in done.stdout
    [entry] = shared.entries(guid=guid)
    assert entry.message is not None
    assert entry.message.body == "Only the first tenant's"
    with shared.store() as store:
        theirs = store.find(Query(tenant_id=TenantId(OTHER), limit=1000))
    assert not any(one.message and one.message.to == CUSTOMER for one in theirs)
