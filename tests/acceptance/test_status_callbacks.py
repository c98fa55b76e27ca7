"""Status callbacks that the twin posts, signed, to a running connector; and life without them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from twilio.request_validator import RequestValidator

from ci360_twilio.core.entry import Entry, Status
from ci360_twilio.twin.faults import Fault

if TYPE_CHECKING:
    from tests.acceptance.conftest import Running

ACCOUNT, OTHER_ACCOUNT = f"AC{'7c' * 16}", f"AC{'9e' * 16}"
TOKEN, OTHER_TOKEN = "5e8a1c3f7b9d2e4f6a8c0b1d3f5e7a9c", "0c9b8a7f6e5d4c3b2a19087f6e5d4c3b"
API_KEY = "key-for-acceptance-3f9a7c1e5b2d"
GUARDED, OTHER = "guarded-tenant", "other-tenant"


def sent(running: Running, number: str, text: str = "Hello") -> str:
    """Post an event for a recipient; give its guid."""
    event = running.event(f"TO:{number};{text}", tenant_id=GUARDED)
    assert running.post(event, x_api_key=API_KEY)[0] == 202
    return str(event["guid"])


def is_(status: Status) -> Any:
    """Give what waits for a status."""
    return lambda entry: entry.status is status


def all_told(running: Running) -> bool:
    """Tell whether the twin has nothing more to post."""
    return running.twin.next_change_at() is None


class Forger:
    """Posts callbacks as if from Twilio, signed by Twilio's own library."""

    def __init__(self, running: Running) -> None:
        self._running = running

    def post(
        self,
        entry: Entry,
        status: str = "failed",
        *,
        tenant_id: str = GUARDED,
        token: str | None = TOKEN,
        query: str | None = None,
        posted_to: str | None = None,
        **members: str,
    ) -> int:
        """Post one; gives the status of the answer.

        Args:
            entry: whose message it is about.
            status: of the message.
            tenant_id: in the address that is signed.
            token: that signs; ``None``: no signature at all.
            query: in place of the entry's own, with its question mark.
            posted_to: the tenant in the address that is called, if it is another.
            members: in place of, or besides, those of the form.
        """
        form = {
            "MessageSid": entry.sid or "",
            "MessageStatus": status,
            "AccountSid": ACCOUNT,
            "ErrorCode": "30005" if status in ("failed", "undelivered") else "",
            "To": entry.message.to if entry.message else "",
        } | members
        query = f"?m={entry.correlation}" if query is None else query
        base = f"{self._running.url}/twilio/status"
        signed = {}
        if token is not None:
            url = f"{base}/{tenant_id}{query}"
            signed["X-Twilio-Signature"] = RequestValidator(token).compute_signature(url, form)
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = self._running.pool.request(
            "POST",
            f"{base}/{posted_to or tenant_id}{query}",
            body=urlencode(form),
            headers=kind | signed,
            timeout=30,
        )
        return answer.status


@pytest.fixture
def forger(called_back: Running) -> Iterator[Forger]:
    """Give one who knows the address; there are two tenants."""
    other = called_back.tenants / f"{OTHER}.json"
    called_back.exposed.add(OTHER_TOKEN)
    called_back.tenant(
        OTHER,
        twilio_api_url=f"{called_back.twilio_url}/2010-04-01/Accounts/{OTHER_ACCOUNT}/Messages.json",
        twilio_account_sid=OTHER_ACCOUNT,
        twilio_auth_token=OTHER_TOKEN,
        api_keys=["another-key-9d8c7b6a5f4e"],
    )
    yield Forger(called_back)
    other.unlink()


def left_at_sent(running: Running) -> Entry:
    """Send a message of which nothing more is heard than that it was sent; give its entry."""
    number = running.number()
    running.twin.plan_fates(number, ["sent"])
    guid = sent(running, number)
    running.reached(guid, lambda entry: entry.provider_status == "sent", GUARDED)
    running.until(lambda: all_told(running))
    return running.settled(guid, GUARDED)


@pytest.fixture(scope="module")
def silent(called_back: Running) -> Entry:
    """Give the entry of a message that may still become anything."""
    return left_at_sent(called_back)


FATES = {
    "delivered": (Status.DELIVERED, None, None),
    "read": (Status.READ, None, None),
    "undelivered:30003": (Status.UNDELIVERED, "twilio_30003", 30003),
    "failed:30007": (Status.FAILED, "twilio_30007", 30007),
}


@pytest.mark.parametrize("fate", FATES)
def test_what_becomes_of_a_message_is_told_with_its_reason(called_back: Running, fate: str) -> None:
    """From queued to its end, with Twilio's code where it failed."""
    number = called_back.number()
    called_back.twin.plan_fates(number, [fate])
    status, reason, code = FATES[fate]
    entry = called_back.reached(sent(called_back, number), is_(status), GUARDED)
    assert (entry.reason, entry.error_code) == (reason, code)
    (message,) = called_back.made_for(number)
    assert (message.sid, entry.provider_status, entry.guessed) == (entry.sid, status, False)
    trace = called_back.trace(entry.guid)
    assert (trace["status"], trace["reason"]) == (status, reason)
    assert trace["history"][-1]["step"] == "settle"


LOST = [Fault.RESET, Fault.CUT, Fault.HTTP_500_MADE, Fault.HTTP_503_MADE, "hang:3"]


@pytest.mark.parametrize("fault", LOST)
def test_a_callback_settles_what_no_answer_did(called_back: Running, fault: str) -> None:
    """The message names itself; that the list never shows it does not matter.

    Where Twilio hangs, its callback comes before the answer is given up.
    """
    number = called_back.number()
    called_back.faults.for_recipient(number, [fault])
    called_back.twin.weather.for_recipient(number, ["lag:100000"])
    guid = sent(called_back, number)
    entry = called_back.reached(guid, is_(Status.DELIVERED), GUARDED)
    (message,) = called_back.made_for(number)
    assert (entry.sid, entry.guessed, entry.attempts) == (message.sid, False, 1)
    made = next(step for step in entry.history if step.decision == "sent")
    assert made.step == "settle"
    if "hang" in fault:
        called_back.until(lambda: _ended(called_back, guid))
        entry = called_back.reached(guid, is_(Status.DELIVERED), GUARDED)
    assert called_back.faults.attempts[number] == 1
    assert len(called_back.made_for(number)) == 1


def _ended(running: Running, guid: str) -> bool:
    """Tell whether the worker has given up an attempt: its log says so."""
    lines = running.log.read_text().splitlines()
    return any(guid in line and '"connection_lost"' in line for line in lines)


def test_a_lost_answer_and_a_silent_network_end_as_sent(called_back: Running) -> None:
    """The last that is heard of the message is that it was sent."""
    number = called_back.number()
    called_back.faults.for_recipient(number, [Fault.RESET])
    called_back.twin.plan_fates(number, ["sent"])
    entry = called_back.reached(
        sent(called_back, number), lambda entry: entry.provider_status == "sent", GUARDED
    )
    assert (entry.status, entry.guessed) == (Status.SENT, False)
    assert len(called_back.made_for(number)) == 1


@pytest.mark.parametrize("mishaps", [["repeated"], ["disordered"], ["repeated", "disordered"]])
def test_repeated_and_disordered_callbacks_do_not_lower_a_status(
    called_back: Running, mishaps: list[str]
) -> None:
    """When all have come, the message is what it became in the end."""
    number = called_back.number()
    called_back.twin.weather.for_recipient(number, mishaps)
    called_back.twin.plan_fates(number, ["read"])
    guid = sent(called_back, number)
    called_back.reached(guid, is_(Status.READ), GUARDED)
    called_back.until(lambda: all_told(called_back))
    called_back.until(lambda: _heard(called_back, guid) >= 4 * (1 + ("repeated" in mishaps)))
    entry = called_back.reached(guid, is_(Status.READ), GUARDED)
    assert entry.provider_status == "read"
    decisions = [step.decision for step in entry.history if step.step == "settle"]
    assert decisions == sorted(decisions, key=["sent", "delivered", "read"].index)
    assert len(called_back.made_for(number)) == 1


def _heard(running: Running, guid: str) -> int:
    lines = running.log.read_text().splitlines()
    return sum("receipt.settled" in line and guid in line for line in lines)


def test_a_signed_callback_that_says_less_than_is_known_changes_nothing(
    called_back: Running, forger: Forger
) -> None:
    """Each is answered with 204: Twilio need not repeat it."""
    entry = called_back.reached(
        sent(called_back, called_back.number()), is_(Status.DELIVERED), GUARDED
    )
    called_back.until(lambda: all_told(called_back))
    before = called_back.settled(entry.guid, GUARDED)
    for status in ("queued", "sending", "sent", "delivered", "undelivered", "failed", "strange"):
        assert forger.post(entry, status, ErrorCode="") == 204
    assert called_back.settled(entry.guid, GUARDED) == before


FORGED: dict[str, dict[str, Any]] = {
    "no signature": {"token": None},
    "a signature of somebody's": {"token": "some-other-token-1234567890"},
    "another tenant's signature": {"token": OTHER_TOKEN},
    "another tenant's address": {"tenant_id": OTHER},
    "another tenant's address and signature": {"tenant_id": OTHER, "token": OTHER_TOKEN},
    "signed for another tenant's address": {"posted_to": OTHER},
    "an unknown tenant": {"tenant_id": "no-such-tenant"},
    "another account": {"AccountSid": OTHER_ACCOUNT},
    "no account": {"AccountSid": ""},
}


@pytest.mark.parametrize("how", FORGED)
def test_a_forged_callback_is_403_and_changes_nothing(
    called_back: Running, forger: Forger, silent: Entry, how: str
) -> None:
    """Whoever knows address, correlation id and SID still needs the account's token."""
    assert forger.post(silent, **FORGED[how]) == 403
    assert called_back.settled(silent.guid, GUARDED) == silent


def test_another_tenants_own_callback_does_not_reach_an_entry(
    called_back: Running, forger: Forger, silent: Entry
) -> None:
    """It is signed as it should be, and names a message and a correlation id of somebody else's."""
    own = {"tenant_id": OTHER, "token": OTHER_TOKEN, "AccountSid": OTHER_ACCOUNT}
    assert forger.post(silent, **own) == 204
    assert called_back.settled(silent.guid, GUARDED) == silent


def test_a_callback_for_no_message_of_ours_is_taken_and_forgotten(
    called_back: Running, forger: Forger, silent: Entry
) -> None:
    """Other programs may send from the same account; none of them concerns this entry."""
    sid = f"SM{uuid.uuid4().hex}"
    assert forger.post(silent, MessageSid=sid, SmsSid=sid) == 204
    assert forger.post(silent, MessageSid=sid, query="?m=nobodys") == 204
    assert forger.post(silent, MessageSid="", query="") == 204
    assert called_back.settled(silent.guid, GUARDED) == silent


def test_a_genuine_callback_counts_once_however_often_it_comes(
    called_back: Running, forger: Forger
) -> None:
    """What is posted as it should be is believed; whoever records it on its way gains nothing."""
    entry = left_at_sent(called_back)
    assert forger.post(entry, "undelivered") == 204
    after = called_back.settled(entry.guid, GUARDED)
    assert (after.status, after.reason) == (Status.UNDELIVERED, "twilio_30005")
    assert forger.post(entry, "undelivered") == 204
    assert called_back.settled(entry.guid, GUARDED) == after


def test_without_callbacks_the_list_tells(running: Running) -> None:
    """It is asked within ten seconds, and what looks like the message is taken for it."""
    guids: dict[str, str] = {}
    for fault in (Fault.RESET, Fault.HTTP_500_MADE, "hang:1"):
        number = running.number()
        running.faults.for_recipient(number, [fault])
        event = running.event(f"TO:{number};Where is it")
        assert running.post(event)[0] == 202
        guids[number] = event["guid"]
    for guid in guids.values():
        lost = running.reached(guid, is_(Status.UNKNOWN))
        assert lost.lost_at is not None
        assert lost.due_at - lost.lost_at < timedelta(seconds=10)
    for number, guid in guids.items():
        entry = running.reached(guid, is_(Status.SENT))
        (message,) = running.made_for(number)
        assert (message.status_callback, entry.sid) == (None, message.sid)
        assert (entry.guessed, entry.attempts) == (True, 1)
        assert entry.history[-1].step == "find"
        assert running.faults.attempts[number] == 1
