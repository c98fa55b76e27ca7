"""Messages: recipient, sender, text and media, from a creative, the task's attributes and the tenant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ci360_twilio.core.creative import parse_creative
from ci360_twilio.core.message import (
    AttributeNames,
    Channel,
    Message,
    compose,
    parse_recipient,
    parse_sender,
)
from ci360_twilio.core.tenant import Tenant, TenantId

RECIPIENT, SENDER = "+12015550123", "+12015550100"
HEAD = f"TO:{RECIPIENT};\nFROM:{SENDER};\n"
SERVICE = "MG" + "0aF" * 10 + "12"
LOGO = "https://www.example.com/logo.jpg"


def tenant(**members: Any) -> Tenant:
    """Give a tenant; members as the document has them."""
    made = {"messages_url": "", "account": "", "user": "", "password": ""}
    return Tenant(id=TenantId("demo"), **(made | members))


def composed(
    text: str, attributes: Mapping[str, str] | None = None, of: Tenant | None = None, **options: Any
) -> tuple[Message | None, list[tuple[str, int | None]]]:
    """Compose a message; problems by code and line."""
    message, problems = compose(parse_creative(text), attributes or {}, of or tenant(), **options)
    return message, [(problem.code, problem.line) for problem in problems if problem.error]


def test_the_documented_creative_becomes_a_message() -> None:
    """Nothing of it is lost."""
    message, problems = composed(f"{HEAD}MEDIAL_URLS:{LOGO};\nAnn, thank you; see you there!")
    assert problems == []
    assert message == Message(
        to=RECIPIENT,
        sender=SENDER,
        body="Ann, thank you; see you there!",
        media_urls=(LOGO,),
    )


# What the published parser makes of creatives that people write


@pytest.mark.parametrize(
    ("text", "body"),
    [
        (f"TO:{RECIPIENT};\nFROM:Acme;\nMEDIA_URLS:{LOGO};\nHi Ann", "Hi Ann"),
        (f"TO:{RECIPIENT};FROM:Acme;MEDIA_URLS:{LOGO};Hi; reply STOP; bye", "Hi; reply STOP; bye"),
        (
            f"TO:{RECIPIENT};FROM:Acme;MEDIA_URLS:{LOGO};Tom &amp; Jerry&#39;s",
            "Tom & Jerry's",
        ),
        (f"TO:{RECIPIENT};FROM:Acme;MEDIA_URLS:{LOGO};Hi;", "Hi;"),
        (f"\r\n\nTO:{RECIPIENT};FROM:Acme;MEDIA_URLS:{LOGO};Hi", "Hi"),
        (f"TO: {RECIPIENT};FROM: Acme ;MEDIA_URLS: {LOGO} ;Hi", "Hi"),
    ],
    ids=[
        "many lines",
        "semicolons in the text",
        "entities",
        "a semicolon at the end",
        "a line in front",
        "spaces",
    ],
)
def test_what_the_published_parser_mishandles_is_read_whole(text: str, body: str) -> None:
    """It loses the sender and the media, or all but the end of the text, or the whole message."""
    message, problems = composed(text)
    assert problems == []
    assert message == Message(to=RECIPIENT, sender="Acme", body=body, media_urls=(LOGO,))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (HEAD, "empty_message"),
        (f"TO:{{{{phone}}}};FROM:{SENDER};Hi", "merge_tag"),
        (f"{HEAD}Dear {{{{firstname}}}}", "merge_tag"),
        (f"<html><body>TO:{RECIPIENT};FROM:{SENDER};hi</body></html>", "html_creative"),
    ],
)
def test_what_the_published_parser_sends_all_the_same_is_refused(text: str, code: str) -> None:
    """No text, unmerged tags, a page with its tags."""
    assert [name for name, _ in composed(text)[1]] == [code]


def test_an_html_page_gives_no_message() -> None:
    """Not even for a preview; other problems would be about nothing."""
    assert composed("<html>Hi</html>") == (None, [("html_creative", 1)])


# Nothing to send, to nobody, from nobody


def test_a_message_needs_a_recipient_a_sender_and_something_to_send() -> None:
    """All that is missing is told at once, the text on the line where it would start."""
    assert composed("")[1] == [("no_recipient", None), ("no_sender", None), ("empty_message", 1)]
    assert composed(HEAD)[1] == [("empty_message", 2)]
    assert composed(f"FROM:{SENDER};Hi")[1] == [("no_recipient", None)]
    assert composed(f"TO:{RECIPIENT};Hi")[1] == [("no_sender", None)]


def test_media_need_no_text() -> None:
    """A picture says enough."""
    message, problems = composed(f"{HEAD}MEDIA_URLS:{LOGO};")
    assert (message and message.body, message and message.media_urls, problems) == ("", (LOGO,), [])


# Recipients


@pytest.mark.parametrize(
    ("written", "region", "to"),
    [
        (RECIPIENT, None, RECIPIENT),
        ("+1 (201) 555-0123", None, RECIPIENT),
        ("+1.201.555.0123", "GB", RECIPIENT),
        ("+44 (0)7700 900123", None, "+447700900123"),
        ("+4407700900123", None, "+447700900123"),
        ("12015550123", None, RECIPIENT),
        ("1 201 555-0123", None, RECIPIENT),
        ("447700900123", None, "+447700900123"),
        ("(201) 555-0123", "US", RECIPIENT),
        ("12015550123", "US", RECIPIENT),
        ("07700 900123", "GB", "+447700900123"),
        ("0044 7700 900123", "GB", "+447700900123"),
        ("011 44 7700 900123", "US", "+447700900123"),
        ("\uff0b\uff11201 555 0123", None, RECIPIENT),
    ],
)
def test_a_recipient_becomes_e164(written: str, region: str | None, to: str) -> None:
    """As people write numbers, national ones with the tenant's region."""
    assert parse_recipient(written, region) == to
    message, problems = composed(f"TO:{written};FROM:{SENDER};Hi", of=tenant(default_region=region))
    assert (message and message.to, problems) == (to, [])


@pytest.mark.parametrize(
    ("written", "region"),
    [
        ("1234567", None),
        ("1234567890123456", None),
        ("07700900123", None),
        ("00447700900123", None),
        ("12015550123", "GB"),
        ("+07700900123", None),
        ("+1911", None),
        ("+1201555012", None),
        ("+120155501234", None),
        ("555-0123", "US"),
        ("911", "US"),
        ("+1 201 555 CALL", "US"),
        ("+12015550123 ext 4", None),
        ("tel:+12015550123", None),
        ("sms:+12015550123", None),
        ("me", None),
        ("+", None),
        ("+12015550123 +12015550124", None),
        ("+12015550123/+12015550124", None),
        ("+1201\t5550123", None),
        ("+" + "0" * 10_000, None),
    ],
    ids=ascii,
)
def test_what_is_not_a_possible_number_is_refused(written: str, region: str | None) -> None:
    """On the line of ``TO``; local numbers without an area code, too."""
    assert parse_recipient(written, region) is None
    text = f"FROM:{SENDER};\nTO:{written};\nHi"
    assert composed(text, of=tenant(default_region=region))[1] == [("invalid_recipient", 2)]


@pytest.mark.parametrize(
    ("written", "to"),
    [
        ("whatsapp:+12015550123", "whatsapp:+12015550123"),
        ("WhatsApp: +1 201 555-0123", "whatsapp:+12015550123"),
        ("whatsapp:447700900123", "whatsapp:+447700900123"),
        ("rcs:+12015550123", "rcs:+12015550123"),
        ("messenger:1234567890", "messenger:1234567890"),
    ],
)
def test_a_channels_prefix_stays_in_front_of_the_recipient(written: str, to: str) -> None:
    """The number behind it becomes E.164 as any."""
    message, problems = composed(f"TO:{written};FROM:{SENDER};Hi")
    assert (message and message.to, problems) == (to, [])
    assert message
    assert message.channel == to.partition(":")[0]


def test_without_a_prefix_a_message_is_an_sms() -> None:
    """Or an MMS, which is no channel of its own."""
    assert Message(to=RECIPIENT, sender=SENDER).channel is Channel.SMS


@pytest.mark.parametrize(
    "written",
    [
        "whatsapp:",
        "whatsapp:me",
        "rcs:agent",
        "messenger:",
        "messenger:a b",
        "whatsapp:whatsapp:+12015550123",
        "telegram:+12015550123",
        "what\u017fapp:+12015550123",
        "rc\u017f:+12015550123",
        "me\u017fsenger:1234567890",
    ],
    ids=ascii,
)
def test_an_address_of_no_channel_is_refused(written: str) -> None:
    """Nor one whose prefix only looks like a channel's."""
    assert parse_recipient(written) is None


def test_a_region_stands_in_front_of_national_numbers_of_channels() -> None:
    """The tenant's region counts there as well."""
    assert parse_recipient("whatsapp:07700 900123", "GB") == "whatsapp:+447700900123"


@pytest.mark.parametrize("to", ["+11115550123", "whatsapp:+11115550123", "+447700900123"])
def test_a_tenant_may_ask_for_valid_numbers(to: str) -> None:
    """A possible number outside the numbering plan is sent to, unless the tenant wants better."""
    text = f"FROM:{SENDER};\nTO:{to};\nHi"
    assert composed(text)[1] == []
    strict = tenant(recipient_check="valid")
    assert composed(text, of=strict)[1] == [("not_in_numbering_plan", 2)]
    assert composed(f"{HEAD}Hi", of=strict)[1] == []
    assert composed("TO:messenger:123;FROM:messenger:456;Hi", of=strict)[1] == []


@pytest.mark.parametrize("check", ["possible", "valid"])
def test_a_preview_warns_of_numbers_outside_the_numbering_plan(check: str) -> None:
    """A warning keeps nothing from being sent; the tenant's check does."""
    creative = parse_creative(f"TO:+11115550123;FROM:{SENDER};Hi")
    _, (problem,) = compose(creative, {}, tenant(recipient_check=check), warn=True)
    assert (problem.code, problem.error) == ("not_in_numbering_plan", check == "valid")


# Senders


@pytest.mark.parametrize(
    ("written", "sender"),
    [
        (SENDER, SENDER),
        ("+1 (201) 555-0100", SENDER),
        ("+1\u2010201\u00a0555\u20110100", SENDER),
        ("+1234567", "+1234567"),
        ("+" + "9" * 15, "+" + "9" * 15),
        ("12345", "12345"),
        ("Acme", "Acme"),
        ("ACME Shop 2", "ACME Shop 2"),
        ("1234567890a", "1234567890a"),
        ("A&P", "A&P"),
        (SERVICE, SERVICE),
        ("whatsapp:+12015550100", "whatsapp:+12015550100"),
        ("WhatsApp: +1 201 555 0100", "whatsapp:+12015550100"),
        ("rcs:acme_agent", "rcs:acme_agent"),
        ("messenger:1234567890", "messenger:1234567890"),
    ],
    ids=ascii,
)
def test_a_sender_has_a_shape_that_twilio_knows(written: str, sender: str) -> None:
    """E.164 whatever the numbering plan, a short code, a name, a service, a channel's."""
    assert parse_sender(written) == sender
    message, problems = composed(f"TO:{RECIPIENT};FROM:{written};Hi")
    assert (message and message.sender, problems) == (sender, [])


@pytest.mark.parametrize(
    "written",
    [
        "12015550100",
        "+0123456789",
        "+" + "9" * 16,
        "+1201555CALL",
        "twelve chars",
        "Größe",
        "Acme!",
        "&",
        "12",
        "whatsapp:Acme",
        "whatsapp:",
        "what\u017fapp:+12015550100",
        "+120155501\uff10\uff10",
        "\u0661\u0662\u0663\u0664\u0665",
        "MG" + "g" * 32,
        SERVICE + "0",
    ],
    ids=ascii,
)
def test_any_other_sender_is_refused(written: str) -> None:
    """On the line of ``FROM``."""
    assert parse_sender(written) is None
    text = f"TO:{RECIPIENT};\nFROM:{written};\nHi"
    assert composed(text)[1] == [("invalid_sender", 2)]


@pytest.mark.parametrize(("sender", "service"), [(SERVICE, True), ("MG123", False), ("+1", False)])
def test_only_a_whole_sid_names_a_messaging_service(sender: str, service: bool) -> None:
    """A name may begin with MG."""
    assert Message(to=RECIPIENT, sender=sender).is_service is service


@pytest.mark.parametrize(
    ("creative", "attribute", "tenants", "connectors", "sender"),
    [
        ("one", "two", "three", "four", "one"),
        ("", "two", "three", "four", "two"),
        ("", "  ", "three", "four", "three"),
        ("", "", None, "four", "four"),
    ],
)
def test_the_sender_falls_back_step_by_step(
    creative: str, attribute: str, tenants: str | None, connectors: str, sender: str
) -> None:
    """The creative, the task's attribute, the tenant, the connector."""
    message, problems = composed(
        f"TO:{RECIPIENT};FROM:{creative};Hi",
        {"from": attribute},
        tenant(default_sender=tenants),
        default_sender=connectors,
    )
    assert (message and message.sender, problems) == (sender, [])


def test_a_default_sender_of_no_shape_is_refused() -> None:
    """It has no line, since it does not stand in the creative."""
    _, problems = composed(f"TO:{RECIPIENT};Hi", default_sender="12015550100")
    assert problems == [("invalid_sender", None)]


@pytest.mark.parametrize("where", ["tenant", "connector"])
def test_a_merge_tag_as_default_sender_is_refused(where: str) -> None:
    """Nobody fills it in, and Twilio would be asked to send from ``{{sender}}``."""
    of = tenant(default_sender="{{sender}}" if where == "tenant" else None)
    _, problems = composed(f"TO:{RECIPIENT};Hi", of=of, default_sender="{{sender}}")
    assert problems


@pytest.mark.parametrize("braces", ["{{a}b}}", "}}{{", "{{a{b}}"])
def test_braces_that_are_no_merge_tag_are_no_address_either(braces: str) -> None:
    """What is not told as a left-over merge tag is read as a number or a name, and refused."""
    assert [code for code, _ in composed(f"TO:{braces};FROM:{SENDER};Hi")[1]] == [
        "invalid_recipient"
    ]
    assert [code for code, _ in composed(f"TO:{RECIPIENT};FROM:{braces};Hi")[1]] == [
        "invalid_sender"
    ]


# The task's attributes


def test_attributes_may_stand_in_for_directives() -> None:
    """Of a custom task; the creative is then text alone, semicolons and all."""
    attributes = {"to": " 201-555-0123 ", "from": "Acme", "media_urls": f"{LOGO}, {LOGO}?2"}
    message, problems = composed("; Hi; there;", attributes, tenant(default_region="US"))
    assert problems == []
    assert message == Message(
        to=RECIPIENT, sender="Acme", body="; Hi; there;", media_urls=(LOGO, f"{LOGO}?2")
    )


def test_the_creative_wins_over_the_attributes() -> None:
    """Also where an attribute would be refused."""
    attributes = {"to": "me", "from": "{{x}}", "media_urls": "\x00"}
    message, problems = composed(f"{HEAD}MEDIA_URLS:{LOGO};Hi", attributes)
    assert problems == []
    assert message == Message(to=RECIPIENT, sender=SENDER, body="Hi", media_urls=(LOGO,))


def test_the_names_of_the_attributes_are_configurable() -> None:
    """In any case; the usual names then mean nothing."""
    names = AttributeNames(to="Mobile", sender="SENDER", media_urls="Pictures")
    attributes = {"mobile": RECIPIENT, "sender": "Acme", "pictures": LOGO, "to": "me", "from": "!"}
    message, problems = composed("Hi", attributes, names=names)
    assert problems == []
    assert message == Message(to=RECIPIENT, sender="Acme", body="Hi", media_urls=(LOGO,))


@pytest.mark.parametrize(
    ("attributes", "codes"),
    [
        ({"to": "me"}, ["invalid_recipient"]),
        ({"to": "{{phone}}"}, ["merge_tag"]),
        ({"to": RECIPIENT, "media_urls": f"{LOGO}\x07"}, ["control_character"]),
        ({"to": " \t "}, ["no_recipient"]),
        ({"to": RECIPIENT, "from": "Acme!"}, ["invalid_sender"]),
        ({"to": RECIPIENT, "from": "{{sender}}"}, ["merge_tag"]),
        ({"to": RECIPIENT, "media_urls": "logo.jpg"}, ["invalid_media_url"]),
        ({"to": RECIPIENT, "media_urls": f"{LOGO} " * 11}, ["too_many_media"]),
        ({"to": RECIPIENT, "media_urls": f"{LOGO}?{{{{x}}}}"}, ["merge_tag"]),
    ],
    ids=ascii,
)
def test_an_attribute_is_checked_as_a_directive_is(
    attributes: dict[str, str], codes: list[str]
) -> None:
    """Its problems have no line, since they do not stand in the creative."""
    _, problems = composed("Hi", attributes, default_sender=SENDER)
    assert problems == [(code, None) for code in codes]


def test_a_tenant_may_take_recipients_from_attributes_alone() -> None:
    """The creative says the rest."""
    of = tenant(recipient_from="attributes")
    message, problems = composed(f"TO:;\nFROM:{SENDER};\nHi", {"to": RECIPIENT}, of)
    assert (message and message.to, problems) == (RECIPIENT, [])
    assert composed(f"FROM:{SENDER};Hi", {}, of)[1] == [("no_recipient", None)]


@pytest.mark.parametrize("to", ["+12015550199", "{{phone}}", "me"])
def test_then_a_recipient_in_the_creative_is_refused(to: str) -> None:
    """So that no customer's name can move it, merged into a line of its own."""
    of = tenant(recipient_from="attributes")
    message, problems = composed(f"FROM:{SENDER};\nTO:{to};\nHi", {"to": RECIPIENT}, of)
    assert ("recipient_in_creative", 2) in problems
    assert message
    assert not message.to


# Warnings


@pytest.mark.parametrize(
    ("to", "sender", "warned"),
    [
        ("whatsapp:+12015550123", SENDER, True),
        ("whatsapp:+12015550123", "whatsapp:+12015550100", False),
        ("whatsapp:+12015550123", SERVICE, False),
        (RECIPIENT, SENDER, False),
    ],
)
def test_a_preview_warns_of_a_sender_of_another_channel(to: str, sender: str, warned: bool) -> None:
    """Twilio would refuse it; a Messaging Service may have a sender for the channel."""
    creative = parse_creative(f"TO:{to};FROM:{sender};Hi")
    _, problems = compose(creative, {}, tenant(), warn=True)
    assert [(problem.code, problem.error) for problem in problems] == (
        [("channel_mismatch", False)] if warned else []
    )
    assert compose(creative, {}, tenant())[1] == ()


@pytest.mark.parametrize(
    "to", ["tel:{{phone}}", "{{phone}}", "what\u017fapp:+12015550123"], ids=ascii
)
def test_a_preview_tells_of_a_broken_recipient_instead_of_failing(to: str) -> None:
    """Whatever stands in front of the colon."""
    creative = parse_creative(f"TO:{to};FROM:{SENDER};Hi")
    _, problems = compose(creative, {}, tenant(), warn=True)
    assert problems[0].error
