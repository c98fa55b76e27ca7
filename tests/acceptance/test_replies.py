"""Customers who write back, to a running connector: replies, STOP and START, and what CI360 is told."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from twilio.request_validator import RequestValidator

from ci360_twilio.core.entry import Status
from ci360_twilio.ports import InboundQuery

if TYPE_CHECKING:
    from tests.acceptance.conftest import Running

ACCOUNT = f"AC{'7c' * 16}"
TOKEN, API_KEY = "5e8a1c3f7b9d2e4f6a8c0b1d3f5e7a9c", "key-for-acceptance-3f9a7c1e5b2d"
SENDER, GUARDED = "+12015550199", "guarded-tenant"
FORM = "application/x-www-form-urlencoded"


def send(running: Running, number: str, text: str = "See you at nine", **members: Any) -> str:
    """Post an event for a recipient; give its guid."""
    event = running.event(f"TO:{number};{text}", tenant_id=GUARDED, **members)
    running.post(event, x_api_key=API_KEY)
    return str(event["guid"])


def delivered(running: Running, number: str, **members: Any) -> str:
    """Have a message delivered; give its guid."""
    guid = send(running, number, **members)
    running.reached(guid, lambda entry: entry.status is Status.DELIVERED, GUARDED)
    return guid


def test_a_reply_is_told_to_ci360_as_its_customers(looped: Running) -> None:
    """With text, media and buttons, the response tracking code and the task of what it answers."""
    number = looped.number()
    guid = delivered(
        looped, number, task_code="TSK_77", subject_id="s-77", response_tracking_code="rtc-77"
    )
    sid = looped.write(
        number,
        "Is there parking\x1b[31m, too?",
        media=("https://api.twilio.com/2010-04-01/media/1",),
        button_text="Yes, please",
        button_payload="seat:yes",
    )
    assert looped.heard(sid).answers == f"{GUARDED}/{guid}"
    [told] = looped.until(lambda: looped.ci360.told("reply", twilio_message_sid=sid))
    assert told.identity[0] == "datahub_id"
    assert told.attributes == {
        "responseTrackingCode": "rtc-77",
        "externalCode": "TSK_77",
        "twilio_report_key": told.attributes["twilio_report_key"],
        "twilio_at": told.attributes["twilio_at"],
        "twilio_message_sid": sid,
        "twilio_sender": SENDER,
        "twilio_text": "Is there parking [31m, too?",
        "twilio_media": "https://api.twilio.com/2010-04-01/media/1",
        "twilio_media_count": "1",
        "twilio_button_text": "Yes, please",
        "twilio_button_payload": "seat:yes",
    }
    story = looped.trace(guid)
    assert [one["sid"] for one in story["replies"]] == [sid]
    assert [one["outcome"] for one in story["reports"]] == ["delivered"]


def test_a_stop_holds_until_a_start_and_ci360_hears_of_both(looped: Running) -> None:
    """The event between them sends nothing, and its customer is not charged."""
    number = looped.number()
    delivered(looped, number)
    stop = looped.write(number, "Stop!")
    looped.until(lambda: looped.ci360.told("opt_out", twilio_message_sid=stop))
    guid = send(looped, number)
    entry = looped.settled(guid, GUARDED)
    assert (entry.status, entry.reason) == (Status.SUPPRESSED, "opted_out")
    looped.until(lambda: looped.ci360.told("suppressed", twilio_guid=guid))
    at = looped.heard(stop).heard_at.timestamp()
    looped.until(lambda: looped.twin.now().timestamp() > at + 1.1)
    start = looped.write(number, "START")
    looped.until(lambda: looped.ci360.told("opt_in", twilio_message_sid=start))
    delivered(looped, number)
    assert len(looped.made_for(number)) == 2


def test_a_refusal_for_opting_out_is_a_stop(looped: Running) -> None:
    """Twilio knew of it before us."""
    number = looped.number()
    looped.faults.for_recipient(number, ["http_400:21610"])
    guid = send(looped, number)
    looped.reached(guid, lambda entry: entry.status is Status.REFUSED, GUARDED)
    assert looped.settled(send(looped, number), GUARDED).reason == "opted_out"
    looped.until(lambda: looped.ci360.told("opt_out", twilio_guid=guid))


@pytest.mark.parametrize("text", ["please stop texting me", "can't stop laughing"])
def test_a_text_that_may_be_a_stop_waits_for_a_reader(looped: Running, text: str) -> None:
    """It blocks meanwhile; one that is none does not."""
    number = looped.number()
    delivered(looped, number)
    looped.heard(looped.write(number, text))
    entry = looped.settled(send(looped, number), GUARDED)
    blocks = text.startswith("please")
    assert (entry.status is Status.SUPPRESSED) is blocks
    shown = looped.command("consent", "review", "--list", "--tenant", GUARDED)
    assert (text in shown.stdout) is blocks


def test_texts_of_a_downtime_are_caught_up(looped: Running) -> None:
    """Twilio gives its webhooks up; the list tells of them when the server is there again."""
    number = looped.number()
    delivered(looped, number)
    looped.stop()
    sid = looped.write(number, "STOP")
    looped.until(lambda: looped.twin.next_change_at() is None, 60)
    with looped.store() as store, store._file.writing() as db:
        db.execute("UPDATE chores SET due_at = 0")  # the ten minutes are over
    looped.start()
    assert looped.heard(sid).heard.body == "STOP"
    assert looped.settled(send(looped, number), GUARDED).reason == "opted_out"


class Forger:
    """Posts texts as if from Twilio, signed by Twilio's own library."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.url = f"{running.url}/twilio/inbound/{GUARDED}"
        self.sid = f"SM{uuid.uuid4().hex}"

    def form(self, **members: str) -> dict[str, str]:
        """Give the form of a STOP."""
        usual = {"MessageSid": self.sid, "AccountSid": ACCOUNT, "From": "+12015550999"}
        return usual | {"To": SENDER, "Body": "STOP", "NumMedia": "0"} | members

    def post(self, body: bytes, url: str = "", **headers: str | None) -> int:
        """Post something; gives the status of the answer."""
        named = {name.replace("_", "-"): value for name, value in headers.items() if value}
        answer = self.running.pool.request(
            "POST", url or self.url, body=body, headers={"Content-Type": FORM} | named, timeout=30
        )
        return answer.status

    def signed(self, form: dict[str, str], token: str = TOKEN, url: str = "") -> str:
        """Sign a form."""
        return str(RequestValidator(token).compute_signature(url or self.url, form))

    def is_heard(self) -> bool:
        """Tell whether the text has come in."""
        with self.running.store() as store:
            return bool(store.find_inbound(InboundQuery(sid=self.sid)))

    def counted(self, decision: str) -> float:
        """Give how many texts were counted so."""
        page = self.running.pool.request("GET", f"{self.running.url}/metrics").data.decode()
        lines = re.findall(
            rf'^ci360_twilio_inbound_total{{decision="{decision}".*}} (.*)$', page, re.M
        )
        return sum(map(float, lines))


def test_what_twilio_has_not_signed_changes_nothing(looped: Running) -> None:
    """Nor what it has signed for another, or what is too large or no form; all of it is counted."""
    forger = Forger(looped)
    form = forger.form()
    body, right = urlencode(form).encode(), forger.signed(form)
    foreign = forger.form(AccountSid=f"AC{'9e' * 16}")
    other = f"{looped.url}/twilio/inbound/other-tenant"
    long = forger.form(Body="x" * 70_000)
    nobody = {"AccountSid": ACCOUNT, "Body": "STOP"}
    before = {status: forger.counted(status) for status in ("403", "413", "400", "taken")}
    assert [
        forger.post(body),
        forger.post(body, X_Twilio_Signature="bm90IG15IHNpZ25hdHVyZQ=="),
        forger.post(body, X_Twilio_Signature=forger.signed(form, token="another")),
        forger.post(body, X_Twilio_Signature=forger.signed(form, url=other)),
        forger.post(body.replace(b"STOP", b"START"), X_Twilio_Signature=right),
        forger.post(body, url=f"{forger.url}?x=1", X_Twilio_Signature=right),
        forger.post(urlencode(foreign).encode(), X_Twilio_Signature=forger.signed(foreign)),
        forger.post(body, url=other, X_Twilio_Signature=right),
        forger.post(urlencode(long).encode(), X_Twilio_Signature=forger.signed(long)),
        forger.post(urlencode(nobody).encode(), X_Twilio_Signature=forger.signed(nobody)),
    ] == [403] * 8 + [413, 400]
    assert not forger.is_heard()
    after = {status: forger.counted(status) for status in before}
    assert {status: after[status] - before[status] for status in before} == {
        "403": 8, "413": 1, "400": 1, "taken": 0,
    }  # fmt: skip


def test_a_text_counts_once_however_often_it_comes(looped: Running) -> None:
    """The same webhook again, and a START of before the STOP, change nothing."""
    number = looped.number()
    forger = Forger(looped)
    start = forger.form(From=number, Body="START")
    assert forger.post(urlencode(start).encode(), X_Twilio_Signature=forger.signed(start)) == 200
    looped.heard(looped.write(number, "STOP"))
    for _ in range(3):
        assert (
            forger.post(urlencode(start).encode(), X_Twilio_Signature=forger.signed(start)) == 200
        )
    assert looped.settled(send(looped, number), GUARDED).reason == "opted_out"


def test_json_and_shared_keys_are_signed_as_forms_and_tokens_are(looped: Running) -> None:
    """The newer ways of Twilio's."""
    number = looped.number()
    looped.exposed.add("shared-webhook-key-77aa")
    looped.tenant(
        "newer",
        api_keys=[API_KEY],
        twilio_webhook_keys={"WK1": "shared-webhook-key-77aa"},
    )
    forger = Forger(looped)
    body = json.dumps(forger.form(From=number)).encode()
    base = f"{looped.url}/twilio/inbound/newer"
    url = f"{base}?bodySHA256={hashlib.sha256(body).hexdigest()}"
    sign = forger.signed({}, url=url)
    kind = "application/json"
    assert forger.post(body + b" ", url=url, X_Twilio_Signature=sign, Content_Type=kind) == 403
    assert forger.post(body, url=url, X_Twilio_Signature=sign, Content_Type=kind) == 200
    forger.sid = f"SM{uuid.uuid4().hex}"
    form = forger.form(From=number)
    text = base + "".join(name + form[name] for name in sorted(form))
    mac = hmac.new(b"shared-webhook-key-77aa", text.encode(), "sha256").digest()
    headers = {
        "X_Twilio_Signature": base64.b64encode(mac).decode(),
        "X_Twilio_Webhooks_Signature_Settings": "algorithm=HMAC_SHA256,key=WK1",
    }
    assert forger.post(urlencode(form).encode(), url=base, **headers) == 200
    headers["X_Twilio_Signature"] = base64.b64encode(mac[::-1]).decode()
    assert forger.post(urlencode(form).encode(), url=base, **headers) == 403
