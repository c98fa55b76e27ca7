"""Twilio's error codes: what each means for a message, in words a marketer understands.

Twilio describes every code under docs/api/errors; classes and words are our own judgement of what
stands there. Its texts differ between answer and page, and change: only the number counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from ci360_twilio.errors import Failure


class Code(NamedTuple):
    """One error code: its class, what it means, and what to do about it."""

    number: int
    failure: Failure
    meaning: str
    advice: str


def failure_of(code: int | None, http_status: int | None) -> Failure:
    """Tell what a failure means for its message.

    A 5xx is ambiguous whatever its code, and so are 408 and any status that is not an error: none of
    them says that no message was made. Then the code decides; where it is unknown, the status.

    An unknown code without a status comes with a message that Twilio had made, so it decides
    nothing about sending. It counts as transient, the class that blames nobody: it neither suppresses
    the recipient, nor condemns the content, nor pauses the sender.

    Args:
        code: Twilio's error code, if it gave one.
        http_status: the status of Twilio's answer; ``None`` for a receipt.
    """
    if http_status is not None and (http_status >= 500 or http_status == 408 or http_status < 300):
        return Failure.AMBIGUOUS
    if code is not None and code in CODES:
        return CODES[code].failure
    if http_status is None:
        return Failure.TRANSIENT
    if http_status == 429:
        return Failure.RETRY_SAFE
    if http_status < 400 or http_status in (401, 403, 404):
        return Failure.CONFIG
    return Failure.PERMANENT_REQUEST


def explain(code: int) -> Code:
    """Describe a code; one that is not in the table gets words that fit any."""
    return CODES.get(code) or Code(
        code,
        failure_of(code, None),
        f"Twilio gave error {code}, which this release does not describe.",
        f"Look up {code} in Twilio's list of errors, docs/api/errors.",
    )


# fmt: off
_ROWS: Mapping[Failure, tuple[tuple[int, str, str], ...]] = {
    Failure.RETRY_SAFE: (
        (20429, "Too many requests were open at Twilio at the same time.", "Nothing to do; the connector tries again. If it happens often, lower the number of parallel sends."),
    ),
    Failure.RETRY_LATER: (
        # Queues and rates
        (14107, "Too many messages went between the same two numbers within seconds.", "Look for a loop, such as an automatic reply to an automatic reply; then send again later."),
        (21611, "More messages are waiting for this sender than Twilio will queue.", "Spread the campaign over more time, or use a Messaging Service with more senders."),
        (30001, "More messages were waiting for this sender than Twilio will queue.", "Spread the campaign over more time, or use a Messaging Service with more senders."),
        (30022, "The US brand or campaign sent faster than its registration allows.", "Slow the campaign down, or ask Twilio for a higher rate."),
        (63017, "Messages went out faster than Twilio accepts.", "Slow the campaign down and send again later."),
        (63018, "Messages went out faster than the channel accepts.", "Slow the campaign down and send again later."),
        # Daily limits
        (30023, "The US brand has used up its messages for today.", "Send again tomorrow, or ask Twilio to raise the limit of the brand."),
        (30027, "The US brand has used up its messages to T-Mobile for today.", "Send again tomorrow, or ask Twilio to raise the limit of the brand."),
        (30454, "The Twilio account has used up its number of messages for now.", "Send again when the period is over, or ask Twilio to raise the limit."),
        (63038, "The Twilio account has used up its messages for today.", "Send again tomorrow, or ask Twilio to raise the limit."),
        (35125, "The Twilio account already holds as many scheduled messages as it may.", "Wait until some of them are sent, or cancel those no longer wanted."),
        # Quiet hours
        (30610, "It is the recipient's quiet hours, when marketing must not be sent.", "Send again during the day at the recipient's place."),
    ),
    Failure.TRANSIENT: (
        (30003, "The phone was switched off, out of reach or unable to receive.", "Send again later, once or twice; then check the number."),
        (30008, "The carrier did not say why it failed.", "Send again once; if many messages fail so, ask Twilio's support."),
        (30009, "A part of a long message was lost on its way.", "Send the message again."),
        (30017, "The carrier's network was overloaded.", "Send again later."),
        (30035, "The US sender number is still being set up for its campaign.", "Wait until the set-up is finished, which may take days, then send again."),
        (30410, "The carrier or provider did not answer in time.", "Send again later."),
        (30500, "Something went wrong inside Twilio.", "Send again later; see status.twilio.com for a known incident."),
        (30646, "Twilio could not store the recipient's consent.", "Store it again, then send the message again."),
        (63009, "The channel's provider had an internal fault.", "Send again later."),
        (63010, "Twilio had an internal fault while it handled the message.", "Send again later; see status.twilio.com for a known incident."),
        (63012, "The channel's provider had a fault inside its service.", "Send again later."),
        (63023, "The channel reported a fault and did not say which.", "Send again once; if many messages fail so, ask Twilio's support."),
    ),
    Failure.CONFIG: (
        # Credentials and account
        (20003, "Twilio did not accept the credentials, or they may not send messages.", "Check the account SID, the key and its permissions in the tenant's document."),
        (20005, "The Twilio account is closed or suspended.", "Ask the owner of the Twilio account, or Twilio's support, to open it again."),
        (20006, "The Twilio account may not use this function.", "Check the permissions of the account and of the key."),
        (20008, "Test credentials were used for something they cannot do.", "Put live credentials into the tenant's document."),
        (20404, "Twilio does not find what the request names.", "Check the account SID in the tenant's document, and that the key belongs to it."),
        (30002, "The Twilio account was suspended while the message waited.", "Ask Twilio's support why; send again when it is active."),
        (30037, "Sending is switched off for this Twilio account.", "Ask Twilio's support why, and to switch it on again."),
        (21607, "A trial account may send only from the number of its sandbox.", "Upgrade the Twilio account, or send from that number."),
        (21608, "A trial account may send only to numbers that are verified in it.", "Upgrade the Twilio account, or verify the recipient's number in its console."),
        (21408, "The Twilio account may not send to the recipient's country.", "Switch the country on under messaging geographic permissions in Twilio's console."),
        (30029, "The chosen time for keeping message texts is not one Twilio offers.", "Correct the privacy settings of the Twilio account."),
        (30030, "The chosen time for keeping phone numbers is not one Twilio offers.", "Correct the privacy settings of the Twilio account."),
        # Sender
        (21212, "The sender is not a phone number, short code or name that Twilio can use.", "Correct FROM in the creative, or the tenant's default sender."),
        (21606, "The sender does not belong to the account or cannot message this recipient.", "Choose a sender of the account that can send messages to the recipient's country."),
        (21616, "The sender fits several numbers of the account.", "Write the sender's number in full, with plus sign and country code."),
        (21621, "The sender cannot send pictures or other media.", "Choose a sender with MMS, or leave out the media."),
        (21622, "The Twilio account cannot send pictures or other media.", "Have MMS switched on for the account, or leave out the media."),
        (21657, "The sender's name or number is not a valid one.", "Correct FROM in the creative, or the tenant's default sender."),
        (21659, "The account may not use this sender, or not in the recipient's country.", "Choose a sender of the account that is allowed in the recipient's country."),
        (21660, "The sender belongs to another Twilio account.", "Choose a sender of this account, or use the credentials of the other."),
        (21664, "The substitute sender cannot be used.", "Correct or remove the substitute sender at Twilio."),
        (21665, "The substitute sender cannot be used as it is set.", "Correct or remove the substitute sender at Twilio."),
        (21666, "The substitute sender cannot be used for this message.", "Correct or remove the substitute sender at Twilio."),
        (21667, "The substitute sender cannot be used together with this sender.", "Correct or remove the substitute sender at Twilio."),
        (21910, "Sender and recipient are on different channels, such as SMS and WhatsApp.", "Use the same prefix, such as whatsapp:, for both or for neither."),
        # Messaging Service
        (21701, "This account has no such Messaging Service.", "Correct the SID that starts with MG in the creative or the tenant's document."),
        (21702, "At present nothing can be sent by the Messaging Service.", "Check its set-up in Twilio's console."),
        (21703, "The Messaging Service has no sender that is fit for this recipient.", "Add a sender that covers the recipient's country and the kind of message."),
        (21704, "The Messaging Service has no sender at all.", "Add a sender to it in Twilio's console."),
        (21705, "The request names a Messaging Service in a form Twilio cannot read.", "Correct the SID that starts with MG in the creative or the tenant's document."),
        (21710, "The service contains the number already.", "Nothing has to be added; check the set-up that tried to."),
        (21711, "The sender is not one of the Messaging Service's.", "Add it to the service, or leave out FROM so that the service chooses."),
        (21712, "Some other service owns the sender.", "Send by that service, or move the sender to this one."),
        # Registration of senders
        (30018, "The country wants senders to be registered first, and this one is not.", "Register the sender with Twilio for that country."),
        (30024, "The carrier does not know this number as a sender.", "Ask Twilio's support to have the number set up at the carrier, or use another."),
        (30032, "US carriers want toll-free senders to be verified first, and this one is not.", "Verify it in Twilio's console, or send from another number."),
        (30033, "The US campaign of this sender has been suspended.", "See the reason in Twilio's console and have the campaign reinstated."),
        (30034, "The US number belongs to no registered campaign.", "Add the number to a registered campaign in Twilio's console."),
        (30040, "The recipient's carrier wants senders to be registered, and this one is not.", "Register the sender with Twilio for that country."),
        (30041, "The sender's name is not registered for the United Kingdom.", "Register the name with Twilio, or send from a number."),
        # WhatsApp and other channels
        (63001, "The channel did not accept its credentials.", "Connect the channel anew in Twilio's console."),
        (63002, "The channel does not know the sender.", "Correct FROM, or register the sender with the channel."),
        (63007, "Twilio has no sender of this name for the channel.", "Correct FROM, its prefix included, or register the sender in Twilio's console."),
        (63008, "The channel is not set up correctly at Twilio.", "Check the channel in Twilio's console."),
        (63013, "The message breaks a rule of the channel.", "Read the channel's rules for businesses before more is sent."),
        (63015, "The sandbox sends only to those who have joined it.", "Let the recipient join the sandbox, or use a sender that is approved."),
        (63020, "The Meta business account has a problem, such as unpaid bills.", "See the account in Meta's business manager."),
        (63022, "The certificate of the WhatsApp sender's name is not valid.", "Register the sender again in Twilio's console."),
        (63031, "Sender and recipient are the same.", "Correct TO or FROM."),
        (63033, "The channel keeps messages away from this recipient.", "See Twilio's page on 63033 for the reasons, and whether others are concerned."),
        (63035, "The RCS sender is not launched, and the recipient is not one of its testers.", "Launch the sender, or invite the recipient as a tester."),
        (63040, "The template was rejected by WhatsApp.", "Change the template and submit it again."),
        (63041, "The template is paused, since recipients did not like it.", "Wait until the pause is over, or use another template."),
        (63042, "The template is switched off for good, since recipients did not like it.", "Use another template."),
        (63051, "WhatsApp has locked the account of the business.", "See the reason in Meta's business manager and have it unlocked."),
    ),
    Failure.OPTED_OUT: (
        (21610, "The recipient has asked for no more messages from this sender.", "Do not send again; the recipient can lift this by texting START."),
        (63014, "The recipient has blocked the sender on this channel.", "Do not send again on this channel; only the recipient can lift this."),
    ),
    Failure.PERMANENT_RECIPIENT: (
        (21211, "The recipient's number is not a phone number.", "Correct the customer's number in CI360."),
        (21214, "No call or message gets through to the recipient's number.", "Check the customer's number in CI360."),
        (21401, "The phone number is not a valid one.", "Correct the customer's number in CI360."),
        (21601, "The phone number cannot take part in SMS.", "Use the customer's mobile number."),
        (21612, "There is no way from this sender to this recipient.", "Check the number and its country, or use another sender."),
        (21614, "The recipient's number is no mobile phone's.", "Use the customer's mobile number."),
        (21635, "The recipient's number is that of a fixed line.", "Use the customer's mobile number."),
        (30004, "The recipient's phone or carrier does not accept the message.", "Do not send again unless the customer has had the block lifted."),
        (30005, "The number is unknown or no longer in use.", "Correct or remove the customer's number in CI360."),
        (30006, "The number is a landline, or its carrier does not take SMS.", "Use the customer's mobile number."),
        (30011, "The recipient's phone or country cannot receive media.", "Send this customer a text with a link instead."),
        (30640, "The number is on a list of people who sue over marketing messages.", "Remove the number from marketing."),
        (63003, "The channel does not know the recipient.", "Check the number, or reach the customer by SMS."),
        (63024, "The recipient cannot receive on this channel.", "Check the number, or reach the customer by SMS."),
        (63032, "WhatsApp holds messages to this recipient back under a limit of its own.", "Reach the customer by SMS, or try another day."),
        (63036, "The recipient's phone has no RCS, or has it switched off.", "Reach the customer by SMS."),
    ),
    Failure.PERMANENT_CONTENT: (
        # Missing or malformed
        (21602, "The message has neither text nor media.", "Add a text to the creative."),
        (21603, "The message has no sender.", "Add FROM to the creative, or a default sender to the tenant."),
        (21604, "The message has no recipient.", "Add TO to the creative, and see that the customer has a number."),
        (21605, "The text is over 160 characters, the limit of an outdated way of sending.", "Shorten the text, or send by the present API."),
        (21609, "The address for delivery receipts is not a usable web address.", "Correct the connector's public address in its settings."),
        (21617, "The text is over 1,600 characters.", "Shorten the text of the creative."),
        (21618, "Twilio does not send a text like this.", "Change the text; see Twilio's messaging policy."),
        (21619, "Twilio could make no message of what the request holds.", "Check the creative's text, media, sender and recipient."),
        (21620, "A media address cannot be used.", "Correct MEDIA_URLS; each must be a public web address."),
        (21623, "The message has more media than Twilio allows.", "Leave at most ten in MEDIA_URLS."),
        (21624, "The time within which the message must be sent is out of bounds.", "Correct the life time of events in the tenant's document."),
        (21652, "The message's subject is too long: over 40 characters.", "Shorten the subject."),
        (21654, "The content template is missing.", "Name the template that is to be sent."),
        (21655, "The content template does not exist in this account.", "Correct the template's SID, which starts with HX."),
        (21656, "The values for the template's variables cannot be used.", "Give every variable of the template a value that is not empty."),
        (21658, "A part of the request is longer than Twilio allows.", "Shorten the text, and the values of the template's variables."),
        # Filtered; the same text would be filtered again
        (30007, "A filter of Twilio's or the carrier's stopped the message as unwanted.", "Change the text and its links, and check that customers have agreed; do not resend it as it is."),
        (30019, "The message is larger than the carrier takes.", "Shorten the text, or use smaller media."),
        (30038, "A filter took the text for a one-time password.", "Change the text; send passwords by a service made for them."),
        (30450, "A protection against fraud stopped the message.", "Check where the number came from, and Twilio's settings against SMS pumping, before more is sent there."),
        (30485, "A protective rule stopped the message.", "See Twilio's page on 30485, then change what it objects to; do not resend it as it is."),
        # WhatsApp and other channels
        (63005, "The channel refused the content.", "Check text and media against what the channel allows."),
        (63006, "The content cannot be put into the form the channel wants.", "Check text and media against what the channel allows."),
        (63016, "WhatsApp takes free text only within 24 hours of the customer's last message.", "Send an approved template instead."),
        (63019, "The channel could not fetch the media.", "Check that the address in MEDIA_URLS is public and answers quickly."),
        (63021, "The channel found the content invalid.", "Check text, media and template against what the channel allows."),
        (63025, "The same media had been stored before.", "Use the stored media, or give the file another name."),
        (63026, "The channel considers the content unwanted advertising.", "Change the content; do not resend it as it is."),
        (63027, "The template has no version in this language.", "Add the language to the template, or choose another."),
        (63028, "The number of values does not fit the template's variables.", "Give exactly one value for each variable of the template."),
        (63029, "The template did not reach the recipient's phone whole.", "Shorten the template, or reach the customer by SMS."),
        (63030, "The message holds a parameter that the channel does not know.", "Leave it out, or send on a channel that knows it."),
        (63034, "The media is larger than the channel takes.", "Use a smaller file."),
    ),
    Failure.PERMANENT_REQUEST: (
        (20001, "The request holds a parameter that Twilio does not know.", "Update the connector; tell its maintainers if that does not help."),
        (20004, "The request used a method that is not allowed there.", "Update the connector; check the Twilio address in its settings."),
        (20409, "The request clashes with something done at the same time.", "See in Twilio's console what became of the message before it is sent again."),
        (20422, "A parameter of the request has a value that Twilio does not take.", "Check the creative and the tenant's sender."),
        (30010, "The message would have cost more than the limit set for it.", "Raise or remove the limit on the price."),
        (30409, "It is too late to call the message back.", "Nothing to do; only messages that are still scheduled can be."),
        # Scheduling
        (35111, "The message is to be scheduled, and no time is given.", "Give the time at which it is to go out."),
        (35114, "The time for the scheduled message cannot be read.", "Give it as date and time with a time zone."),
        (35115, "The time for the scheduled message is not one that can be used.", "Give it as date and time with a time zone."),
        (35117, "The time for the scheduled message is too near or too far.", "Choose a time from a quarter of an hour to some weeks ahead."),
        (35118, "Only a Messaging Service can schedule messages, and none is given.", "Name a Messaging Service as the sender."),
        (35126, "This channel cannot schedule messages in the way asked for.", "Send the message without a schedule."),
    ),
    Failure.EXPIRED: (
        (30036, "The message waited longer than it was meant to live, and was dropped.", "Send again only if it still matters; allow more time, or send less at once."),
    ),
    Failure.AMBIGUOUS: (
        (20500, "Something went wrong inside Twilio; the message may have gone out.", "Nothing to do; the connector looks for the message. Do not send again before it has."),
        (20503, "Twilio was not available; the message may have gone out.", "Nothing to do; the connector looks for the message. Do not send again before it has."),
        (21730, "Twilio was being serviced; the message may have gone out.", "Nothing to do; the connector looks for the message. Do not send again before it has."),
    ),
    Failure.WEBHOOK: (
        (11200, "Twilio could not deliver a receipt to the connector.", "Check that the connector's public address can be reached from the internet."),
    ),
}
# fmt: on

CODES: Mapping[int, Code] = {
    number: Code(number, failure, meaning, advice)
    for failure, rows in _ROWS.items()
    for number, meaning, advice in rows
}
"""Every code we describe, by its number."""


class Concern(StrEnum):
    """Whom a configuration error keeps from sending, so that the rest need not try."""

    TENANT = "tenant"
    SENDER = "sender"
    COUNTRY = "country"


_CONCERNS: Mapping[Concern, frozenset[int]] = {
    Concern.TENANT: frozenset({20003, 20005, 20006, 20008, 20404, 30002, 30037}),
    Concern.SENDER: frozenset(
        {21212, 21606, 21607, 21616, 21657, 21659, 21660}
        | {21664, 21665, 21666, 21667, 21701, 21702, 21703, 21704, 21705, 21711, 21712}
        | {30018, 30024, 30032, 30033, 30034, 30040, 30041}
        | {63001, 63002, 63007, 63008, 63020, 63022, 63051}
    ),
    Concern.COUNTRY: frozenset({21408}),
}
_CONCERN_OF = {code: concern for concern, codes in _CONCERNS.items() for code in codes}


def concern_of(code: int | None, http_status: int) -> Concern | None:
    """Tell whom a configuration error concerns, or ``None`` where it is about one message alone.

    Args:
        code: Twilio's error code, if it gave one.
        http_status: the status of Twilio's answer. 401, and 403 or 404 without a code, say that
            the account or its credentials are wrong.
    """
    if code is None:
        return Concern.TENANT if http_status in (401, 403, 404) else None
    return Concern.TENANT if http_status == 401 else _CONCERN_OF.get(code)


SENDER_TROUBLE = _CONCERNS[Concern.SENDER] | {30007, 30038, 30450, 30485, 63013, 63026}
"""Codes of a final status that speak against the sender: unregistered, filtered, suspended. Where
most recent messages of a sender end so, more of them only make it worse."""
