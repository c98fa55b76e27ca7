"""What to do about a message that did not arrive, for whoever is asked why."""

from __future__ import annotations

from collections.abc import Mapping

from ci360_twilio.core.codes import explain
from ci360_twilio.core.entry import Entry, Status

_BY_REASON: Mapping[str, str] = {
    "body_too_long": "Shorten the text to 1,600 characters.",
    "control_character": "Delete the character; it often comes along when text is pasted.",
    "control_group": "Nothing: CI360 put the customer into the control group, to measure the others by.",
    "country_not_allowed": "If the tenant should send there, add the country to its document.",
    "directive_not_terminated": "End every directive of the creative by a semicolon, then publish the task anew.",
    "duplicate_directive": "Leave one of the two in the creative.",
    "empty_message": "Write a text, or name media, in the creative.",
    "hourly_limit": "Look whether this many messages are meant, then resume the tenant.",
    "html_creative": "Make the creative a Plain Text one in CI360.",
    "invalid_event": "Compare the event with what docs/http.md says; CI360's own events are right as they are.",
    "invalid_media_url": "Write whole addresses of the media, with https:// in front.",
    "invalid_recipient": "Correct the customer's number in the customer data; it needs its country's code.",
    "invalid_sender": "Name a number, short code or Messaging Service of the tenant's Twilio account.",
    "merge_tag": "Fill the customer's attribute, or give the tag a default in the creative.",
    "no_recipient": "Name the recipient: TO in the creative, or the attribute of the task.",
    "no_sender": "Name a sender: FROM in the creative, or default_sender in the tenant's document.",
    "not_in_numbering_plan": "Correct the customer's number: its country has no such number.",
    "older_than_restore": "Look in Twilio's log whether the message went out, then resolve this entry.",
    "opted_out": "Nothing: the recipient does not want messages. They may write START to the sender.",
    "paused": "Resume what is paused once the cause is gone.",
    "recipient_in_creative": "Take TO out of the creative; this tenant's recipients come from the task's attributes.",
    "recipient_limit": "Nothing, if the limit is meant; messages_per_recipient_per_day in the tenant's document sets it.",
    "several_candidates": "Compare Twilio's log for this recipient, then resolve the entry with the right SID.",
    "tenant_broken": "Mend the tenant's document: ci360-twilio check names what is wrong.",
    "tenant_waits": "Give the tenant's document the account's present credentials.",
    "too_many_media": "Leave ten media at most.",
    "unknown_directive": "Correct the directive's name, or write it so that it does not look like one.",
}

_BY_STATUS: Mapping[Status, str] = {
    Status.UNKNOWN: "Nothing yet: Twilio is asked what became of it. It is never sent again by itself.",
    Status.HELD: "Look in Twilio's log whether the message went out, then resolve this entry.",
    Status.EXPIRED: "Find what kept it waiting: a pause, a sender's queue, an outage. Then have CI360 send anew, if it still matters.",
    Status.UNDELIVERED: "If the number is right, replay it later; the carrier did not say more.",
    Status.FAILED: "Look up the error in Twilio's log; replay it once the cause is gone.",
}


def advice_for(code: str) -> str | None:
    """Say how to mend a problem of an event or creative, by its code."""
    return _BY_REASON.get(code)


def advice_on(entry: Entry) -> str | None:
    """Say what to do about an entry; ``None`` where there is nothing to do."""
    if entry.error_code and entry.status not in (Status.DELIVERED, Status.READ):
        return explain(entry.error_code).advice
    if entry.reason is not None and entry.reason in _BY_REASON:
        return _BY_REASON[entry.reason]
    return _BY_STATUS.get(entry.status)
