"""Statuses and reasons in words that a marketer understands."""

from __future__ import annotations

from collections.abc import Mapping

from ci360_twilio.core.codes import explain
from ci360_twilio.core.entry import Entry, Status

STATUS_WORDS: Mapping[Status, str] = {
    Status.ACCEPTED: "It is written down and will be sent.",
    Status.SENDING: "It is being handed to Twilio right now.",
    Status.UNKNOWN: "Twilio's answer was lost: the message may or may not exist. It is not sent again.",
    Status.HELD: "It waits for a person to decide.",
    Status.SENT: "Twilio made the message.",
    Status.DELIVERED: "It was delivered.",
    Status.READ: "It was read.",
    Status.UNDELIVERED: "Twilio sent it, and it was not delivered.",
    Status.FAILED: "Twilio could not send it.",
    Status.REFUSED: "It was not sent.",
    Status.EXPIRED: "It was not sent: its time was over.",
    Status.SUPPRESSED: "It was not sent, on purpose.",
    Status.CANCELED: "It was canceled; nothing more is sent for it.",
}

REASON_WORDS: Mapping[str, str] = {
    "address_expired": "The address of a file is expired or forbidden.",
    "address_refused": "The address of a file is none that may be called.",
    "ambiguous_column": "Several columns of the file have the name that the template uses.",
    "bad_encoding": "The line is not UTF-8.",
    "body_too_long": "The text is longer than Twilio takes.",
    "check_unfinished": "The file could not be checked in the time that there is.",
    "compressed": "The file is compressed; it must be plain CSV.",
    "connect_failed": "Twilio could not be reached.",
    "connect_refused": "Twilio could not be reached: the connection was refused.",
    "connect_timeout": "Twilio could not be reached in time.",
    "connection_lost": "The connection broke before Twilio answered.",
    "control_character": "The text holds a control character.",
    "control_group": "The customer is in the control group.",
    "country_not_allowed": "The tenant does not send to the recipient's country.",
    "directive_not_terminated": "A directive of the creative is not ended by a semicolon.",
    "dns": "Twilio's name could not be looked up.",
    "duplicate": "The same customer and number, or the same event, came before.",
    "duplicate_directive": "A directive stands twice in the creative.",
    "duplicate_number": "The number stands on an earlier row of the same audience, which got the message.",
    "empty_file": "The data file holds no rows.",
    "empty_message": "The creative holds neither text nor media.",
    "erased": "The person was erased.",
    "expired": "The event was older than the time to live when its turn came.",
    "file_lost": "A file of the job was gone before all rows were entered.",
    "file_too_large": "The file is larger than is taken.",
    "found_meanwhile": "The message that it was to send again has turned up; it was taken back.",
    "hourly_limit": "The tenant has sent as many messages as it allows in an hour; a person must resume it.",
    "html_creative": "The creative is an HTML page; it must be plain text.",
    "invalid_event": "The event's own fields are wrong.",
    "invalid_media_url": "A media address is none.",
    "invalid_recipient": "The recipient is not a possible telephone number.",
    "invalid_sender": "The sender is none that Twilio knows.",
    "invalid_task": "The bulk task's own fields are wrong.",
    "job_canceled": "The bulk job was canceled before the message was sent.",
    "job_failed": "CI360 could not do the job.",
    "lease_ended": "The worker that was sending it has not been heard of again.",
    "list_too_long": "Twilio lists more messages to the recipient than are looked through.",
    "merge_tag": "A merge tag was not filled in: the customer has no such attribute.",
    "metadata_unreadable": "The metadata file names no columns.",
    "no_identity": "The event named no customer that CI360 could be told of.",
    "no_message": "The entry holds no message.",
    "no_recipient": "Neither the creative nor the task names a recipient.",
    "no_sender": "No sender is named, and there is no default sender.",
    "not_answered": "Twilio could not be asked about it in twice the time allowed.",
    "not_csv": "The file is a page, not CSV.",
    "not_found": "Nothing was found of it at Twilio in the time allowed, which does not prove that it was not sent.",
    "not_in_numbering_plan": "The recipient is not a valid number of its country.",
    "not_set_up": "The tenant's document names no CI360.",
    "nul_byte": "The line holds a NUL byte.",
    "older_than_restore": "The event is older than the ledger's restore and may have been sent before.",
    "opted_out": "The recipient has opted out.",
    "paused": "Somebody has paused it.",
    "proxy": "The proxy did not let the request through.",
    "purged": "The event was handled long ago; its details are deleted.",
    "quote_not_closed": "A quote is opened on the line and not closed at the end of a cell.",
    "read_timeout": "Twilio did not answer in time.",
    "recipient_in_creative": "The creative names a recipient, and this tenant does not allow that.",
    "recipient_limit": "The recipient has had as many messages as the tenant allows in a day.",
    "replayed": "Somebody had the message sent again.",
    "resent_after_deadline": "Nothing was found of it in the time allowed, and the tenant has such messages sent again.",
    "resolved_not_sent": "Somebody closed it as not sent.",
    "resolved_resend": "Somebody had it sent again, without knowing what became of the first message.",
    "resolved_sent": "Somebody found the message at Twilio.",
    "restored": "The ledger was restored from a backup while this was under way.",
    "row_too_long": "The row is longer than any message needs.",
    "row_unreadable": "The line is no CSV.",
    "sender_rate": "It waits for its sender's turn.",
    "several_candidates": "Twilio lists several messages that may be this one; a person must tell which.",
    "sid_of_another": "The message that was found for it turned out to be another's.",
    "tenant_broken": "The tenant's document cannot be used.",
    "tenant_unavailable": "The tenant's document could not be read.",
    "tenant_unknown": "The tenant's document is gone.",
    "tenant_waits": "Twilio refuses the tenant's credentials; all its messages wait.",
    "tls": "No secure connection to Twilio could be made.",
    "too_many_bad_rows": "More of the file's rows cannot be sent to than the task allows.",
    "too_many_media": "There are more media than a message takes.",
    "unexpected_error": "Something unforeseen happened while sending; the log names it.",
    "unknown_column": "The template names a column that the file does not have.",
    "unknown_directive": "The creative holds a directive that is not known.",
    "unmatched": "Nobody knows who wrote: no message was sent to that number from the one it was written to.",
    "unreadable_answer": "Twilio's answer could not be understood.",
    "withdrawn": "Somebody took it back before it was sent.",
    "worker_stopped": "The worker was stopped before its turn came.",
    "wrong_column_count": "The row has more or fewer cells than there are columns.",
}


def reason_words(reason: str) -> str:
    """Say what a reason means.

    Twilio's codes are ``twilio_<code>``, its bare statuses ``twilio_http_<status>``, CI360's
    ``ci360_http_<status>``.
    """
    if reason in REASON_WORDS:
        return REASON_WORDS[reason]
    if reason.startswith("ci360_http_"):
        return f"CI360 answered {reason.removeprefix('ci360_http_')}."
    number = reason.removeprefix("twilio_")
    if number.isdecimal():
        return f"{explain(int(number)).meaning} (Twilio's error {number})"
    return f"Twilio answered {number.removeprefix('http_')}." if number != reason else reason


def in_words(entry: Entry) -> str:
    """Say where an entry stands and why."""
    words = STATUS_WORDS[entry.status]
    if entry.status is Status.ACCEPTED and entry.reason:
        words = "It has not been sent yet, and will be tried again."
    return f"{words} {reason_words(entry.reason)}" if entry.reason else words
