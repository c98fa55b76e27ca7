"""Tenants: the id, every field of the document, and the address that messages are posted to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ci360_twilio.core.ci360 import EVENTS_PATH, Ci360, bearer_of, default_name
from ci360_twilio.core.pace import Rate
from ci360_twilio.core.report import QUIET, Outcome
from ci360_twilio.core.tenant import Basic, Jwt, Tenant, TenantId, parse_tenant, parse_tenant_id
from ci360_twilio.errors import BadTenantId, TenantBroken

ACCOUNT = "AC" + "a1" * 16
PATH = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
API = f"https://api.twilio.com{PATH}"
TENANT = TenantId("demo")
SECRET = "s3cret-Xyzzy"
CI360 = f"https://demo.ci360.sas.com{EVENTS_PATH}"


def document(**changes: Any) -> str:
    """Give a document with changes; ``...`` removes a member."""
    members = {
        "twilio_api_url": API,
        "twilio_account_sid": ACCOUNT,
        "twilio_auth_token": SECRET,
    }
    kept = {name: value for name, value in (members | changes).items() if value is not ...}
    return json.dumps(kept)


def tenant(*hosts: str, **changes: Any) -> Tenant:
    """Read a document with changes."""
    return parse_tenant(document(**changes), TENANT, hosts)


def fields(*hosts: str, **changes: Any) -> list[str]:
    """Give the fields that are wrong in a document with changes."""
    with pytest.raises(TenantBroken) as raised:
        tenant(*hosts, **changes)
    assert all(issue and str(issue) in raised.value.message for issue in raised.value.issues)
    return [issue.field for issue in raised.value.issues]


# The id


@pytest.mark.parametrize("value", ["a", "A-b_9", "af5af6b8f500013eb0c90001", "-", "_", "x" * 64])
def test_a_tenant_id_is_letters_digits_underscore_and_hyphen(value: str) -> None:
    """One to 64 of them."""
    assert parse_tenant_id(value) == value


@pytest.mark.parametrize(
    "value",
    [
        "../x",
        "x/../y",
        "x.json",
        "/etc/passwd",
        "a\\b",
        "a b",
        "a\n",
        "\na",
        "a\x00",
        "%2e%2e",
        "arn:aws:secretsmanager:us-east-1:123456789012:secret:x",
        "\u0661\u0662\u0663",
        "\uff21",
        "é",
        "\ud800",
        "x" * 65,
        "x" * 10_240,
        5,
        True,
        1.5,
        ["a"],
        {"a": 1},
        b"a",
        float("nan"),
    ],
    ids=lambda value: ascii(value)[:24],
)
def test_any_other_tenant_id_is_refused_before_it_touches_anything(value: object) -> None:
    """Paths, secrets' names and queries are made of it."""
    with pytest.raises(BadTenantId) as raised:
        parse_tenant_id(value)
    assert [str(issue) for issue in raised.value.issues] == [
        "must be 1 to 64 letters, digits, _ or -"
    ]


@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_tenant_id_is_called_missing(value: object) -> None:
    """Null and the empty string are as if missing."""
    with pytest.raises(BadTenantId) as raised:
        parse_tenant_id(value)
    assert [(issue.field, str(issue)) for issue in raised.value.issues] == [
        ("externalTenantId", "missing")
    ]


# The document


def test_the_samples_three_members_are_enough() -> None:
    """All else has a default."""
    assert tenant() == Tenant(
        id=TENANT,
        messages_url=API,
        account=ACCOUNT,
        user=ACCOUNT,
        password=SECRET,
        webhook_tokens=(SECRET,),
        messages_per_recipient_per_day=20,
    )
    assert not tenant().has_credentials


def test_every_member_is_read() -> None:
    """Members of later versions are no harm."""
    found = tenant(
        twilio_api_key_sid="SK1",
        twilio_api_key_secret="key secret",
        default_sender="Acme",
        default_region="gb",
        recipient_from="attributes",
        recipient_check="valid",
        retention_days=7.5,
        twilio_auth_tokens=["older"],
        twilio_webhook_keys={"WK1": "shared"},
        sender_rates={"+12015550100": 10},
        unknown_after_deadline="resend",
        messages_per_hour=1000,
        messages_per_recipient_per_day=3,
        countries=["us", "GB"],
        api_keys=["one", "two"],
        basic={"username": "u", "password": "p"},
        bearer_tokens=["t"],
        jwt={"algorithm": "RS256", "key": "pem", "issuer": "i", "audience": "a"},
        ci360_api_url=CI360,
        ci360_client_secret="access point",
        ci360_events={"failed": "SMS failed", "held": None},
        opt_out_words=["BAJA", "dar de baja"],
        consent_groups={"ads": ["+1 201 555 0100", "Acme"], "care": ["20155"]},
        of_a_later_version=[1, {"a": None}],
    )
    names = {one: default_name(one) for one in Outcome if one not in QUIET | {Outcome.HELD}}
    names[Outcome.FAILED] = "SMS failed"
    assert found == Tenant(
        id=TENANT,
        messages_url=API,
        account=ACCOUNT,
        user="SK1",
        password="key secret",
        default_sender="Acme",
        default_region="GB",
        recipient_from="attributes",
        recipient_check="valid",
        retention_days=7.5,
        webhook_tokens=(SECRET, "older"),
        webhook_keys={"WK1": "shared"},
        sender_rates={"+12015550100": Rate("demo/+12015550100", 10.0)},
        unknown_after_deadline="resend",
        messages_per_hour=1000,
        messages_per_recipient_per_day=3,
        countries=frozenset({"US", "GB"}),
        api_keys=("one", "two"),
        basic=Basic(username="u", password="p"),
        bearer_tokens=("t",),
        jwt=Jwt(algorithm="RS256", key="pem", issuer="i", audience="a"),
        ci360=Ci360(
            events_url=CI360,
            bearer=bearer_of("demo", "access point"),
            names=names,
        ),
        opt_out_words=("BAJA", "dar de baja"),
        consent_groups={"+12015550100": "ads", "Acme": "ads", "20155": "care"},
    )


@pytest.mark.parametrize(
    "name",
    [
        "api_keys",
        "basic",
        "bearer_tokens",
        "ci360_api_url",
        "ci360_application_id",
        "ci360_bulk_threshold",
        "ci360_client_secret",
        "ci360_events",
        "ci360_identity_key",
        "ci360_preferences_hours",
        "ci360_reply_identity_format",
        "ci360_reply_identity_key",
        "ci360_rtc_key",
        "ci360_token",
        "consent_groups",
        "countries",
        "default_region",
        "default_sender",
        "jwt",
        "messages_per_hour",
        "messages_per_recipient_per_day",
        "opt_out_words",
        "recipient_check",
        "recipient_from",
        "retention_days",
        "sender_rates",
        "twilio_api_key_sid",
        "twilio_auth_tokens",
        "twilio_webhook_keys",
        "unknown_after_deadline",
    ],
)
@pytest.mark.parametrize("nothing", [None, ""], ids=["null", "empty"])
def test_null_and_the_empty_string_are_as_if_absent(name: str, nothing: object) -> None:
    """Forms write them."""
    assert tenant(**{name: nothing}) == tenant()
    told = {"ci360_api_url": CI360, "ci360_client_secret": SECRET, "ci360_token": "t"}
    assert tenant(**(told | {name: nothing})) == tenant(**(told | {name: ...}))


@pytest.mark.parametrize("name", ["twilio_api_url", "twilio_account_sid", "twilio_auth_token"])
@pytest.mark.parametrize("missing", [..., None, ""], ids=["missing", "null", "empty"])
def test_the_samples_three_members_are_required(name: str, missing: object) -> None:
    """The error names the one that is missing."""
    assert fields(**{name: missing}) == [name]


@pytest.mark.parametrize("kind", ["api_keys", "basic", "bearer_tokens", "jwt"])
def test_any_kind_of_credential_is_one(kind: str) -> None:
    """Then callers must present something."""
    values = {
        "api_keys": ["k"],
        "basic": {"username": "u", "password": "p"},
        "bearer_tokens": ["t"],
        "jwt": {"algorithm": "HS256", "key": "k" * 32},
    }
    assert tenant(**{kind: values[kind]}).has_credentials
    assert not tenant(**{kind: None}).has_credentials


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"twilio_account_sid": "SK" + "a1" * 16}, "twilio_account_sid"),
        ({"twilio_account_sid": f"{ACCOUNT}\n"}, "twilio_account_sid"),
        ({"twilio_account_sid": "AC../x"}, "twilio_account_sid"),
        ({"twilio_account_sid": 5}, "twilio_account_sid"),
        ({"twilio_auth_token": ["x"]}, "twilio_auth_token"),
        ({"twilio_api_key_sid": "SK1"}, "twilio_api_key_sid"),
        ({"twilio_api_key_secret": SECRET}, "twilio_api_key_sid"),
        ({"default_sender": 12015550100}, "default_sender"),
        ({"default_region": "USA"}, "default_region"),
        ({"default_region": "1"}, "default_region"),
        ({"default_region": "éé"}, "default_region"),
        ({"default_region": "US\n"}, "default_region"),
        ({"recipient_from": "creatives"}, "recipient_from"),
        ({"recipient_check": True}, "recipient_check"),
        ({"retention_days": 0}, "retention_days"),
        ({"retention_days": -1}, "retention_days"),
        ({"retention_days": 36_501}, "retention_days"),
        ({"retention_days": "90"}, "retention_days"),
        ({"api_keys": "one"}, "api_keys"),
        ({"api_keys": [1]}, "api_keys[0]"),
        ({"api_keys": ["one", ""]}, "api_keys"),
        ({"bearer_tokens": [""]}, "bearer_tokens"),
        ({"basic": {"username": "u"}}, "password"),
        ({"basic": {"username": "", "password": "p"}}, "basic"),
        ({"basic": {"username": "u", "password": ""}}, "basic"),
        ({"basic": "u:p"}, "basic"),
        ({"jwt": {"algorithm": "none", "key": "k"}}, "jwt.algorithm"),
        ({"jwt": {"algorithm": "HS256"}}, "key"),
        ({"jwt": {"algorithm": "HS256", "key": ""}}, "jwt.key"),
        ({"jwt": {"algorithm": "HS256", "key": "k", "require_exp": "no"}}, "jwt.require_exp"),
        ({"twilio_auth_tokens": "one"}, "twilio_auth_tokens"),
        ({"twilio_auth_tokens": ["one", ""]}, "twilio_auth_tokens"),
        ({"twilio_webhook_keys": ["one"]}, "twilio_webhook_keys"),
        ({"twilio_webhook_keys": {"WK1": ""}}, "twilio_webhook_keys"),
        ({"sender_rates": ["+12015550100"]}, "sender_rates"),
        ({"sender_rates": {"+12015550100": "fast"}}, "sender_rates[...]"),
        ({"sender_rates": {"+12015550100": 0}}, "sender_rates"),
        ({"sender_rates": {"+12015550100": 10_001}}, "sender_rates"),
        ({"sender_rates": {"": 1}}, "sender_rates"),
        ({"sender_rates": {" , ": 1}}, "sender_rates"),
        ({"sender_rates": {"+12015550100,+12015550100": 1}}, "sender_rates"),
        ({"sender_rates": {"+12015550100": 1, "Acme,+1 201 555 0100": 1}}, "sender_rates"),
        ({"unknown_after_deadline": "drop"}, "unknown_after_deadline"),
        ({"messages_per_hour": 0}, "messages_per_hour"),
        ({"messages_per_hour": 1.5}, "messages_per_hour"),
        ({"messages_per_recipient_per_day": -1}, "messages_per_recipient_per_day"),
        ({"countries": "US"}, "countries"),
        ({"countries": ["USA"]}, "countries"),
        ({"countries": [""]}, "countries"),
        ({"ci360_api_url": CI360}, "ci360_api_url"),
        ({"ci360_api_url": "https://example.com", "ci360_token": "t"}, "ci360_api_url"),
        ({"ci360_api_url": CI360, "ci360_token": "a b"}, "ci360_token"),
        ({"ci360_api_url": [CI360]}, "ci360_api_url"),
        ({"ci360_token": 5}, "ci360_token"),
        ({"ci360_client_secret": ["x"]}, "ci360_client_secret"),
        ({"ci360_events": ["sent"]}, "ci360_events"),
        ({"ci360_events": {"sent": True}}, "ci360_events[...]"),
        ({"ci360_reply_identity_format": "E164"}, "ci360_reply_identity_format"),
        ({"ci360_bulk_threshold": 1.5}, "ci360_bulk_threshold"),
        ({"ci360_preferences_hours": "6"}, "ci360_preferences_hours"),
        ({"opt_out_words": "BAJA"}, "opt_out_words"),
        ({"opt_out_words": ["BAJA", 5]}, "opt_out_words[1]"),
        ({"opt_out_words": ["BAJA", ""]}, "opt_out_words"),
        ({"opt_out_words": ["?!"]}, "opt_out_words"),
        ({"consent_groups": ["ads"]}, "consent_groups"),
        ({"consent_groups": {"ads": "Acme"}}, "consent_groups[...]"),
        ({"consent_groups": {"ads": []}}, "consent_groups"),
        ({"consent_groups": {"ads": [" "]}}, "consent_groups"),
        ({"consent_groups": {"": ["Acme"]}}, "consent_groups"),
        ({"consent_groups": {"a b": ["Acme"]}}, "consent_groups"),
        ({"consent_groups": {"x" * 65: ["Acme"]}}, "consent_groups"),
        ({"consent_groups": {"ads": ["Acme", "Acme"]}}, "consent_groups"),
        ({"consent_groups": {"ads": ["+12015550100"], "b": ["+1 201 555-0100"]}}, "consent_groups"),
    ],
    ids=ascii,
)
def test_a_wrong_member_is_told_by_its_name(changes: dict[str, Any], field: str) -> None:
    """So that somebody can find it in the document."""
    changes = {"twilio_api_url": "https://api.twilio.com"} | changes
    assert any(name.endswith(field) for name in fields(**changes))


def test_several_wrong_members_are_told_at_once() -> None:
    """As far as their types are right."""
    assert fields(
        retention_days=0, default_region="USA", api_keys=[""], twilio_api_key_sid="S"
    ) == [
        "twilio_api_key_sid",
        "retention_days",
        "default_region",
        "api_keys",
    ]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff",
        b"[" * 200_000,
        b'{"retention_days":1e999}',
        rb'{"twilio_auth_token":"\ud800"}',
        "\ud800",
        '{"twilio_auth_token":"\udcff"}',
    ],
    ids=lambda raw: ascii(raw)[:30],
)
def test_what_is_no_json_object_is_a_broken_document(raw: bytes | str) -> None:
    """Whatever the file or the secret holds, the tenant is told to be broken and no more."""
    with pytest.raises(TenantBroken) as raised:
        parse_tenant(raw, TENANT)
    assert [issue.field for issue in raised.value.issues] == ["document"]


@pytest.mark.parametrize(
    "changes",
    [
        {"twilio_account_sid": SECRET},
        {"twilio_auth_token": [SECRET]},
        {"twilio_auth_token": {SECRET: SECRET}},
        {"twilio_api_key_secret": SECRET},
        {"twilio_api_key_sid": SECRET},
        {"twilio_api_url": f"https://{SECRET}:{SECRET}@api.twilio.com"},
        {"twilio_api_url": f"https://api.twilio.com/?token={SECRET}"},
        {"twilio_api_url": f"https://{SECRET}.example.com"},
        {"twilio_api_url": f"https://[{SECRET}"},
        {"api_keys": SECRET},
        {"api_keys": {SECRET: 1}},
        {"api_keys": [{SECRET: SECRET}]},
        {"bearer_tokens": SECRET},
        {"basic": SECRET},
        {"basic": {"username": SECRET, "password": [SECRET]}},
        {"basic": {"username": SECRET, "password": ""}},
        {"jwt": {"algorithm": SECRET, "key": SECRET}},
        {"jwt": {"algorithm": "HS256", "key": [SECRET]}},
        {"twilio_auth_tokens": SECRET},
        {"twilio_auth_tokens": [[SECRET]]},
        {"twilio_webhook_keys": {SECRET: [SECRET]}},
        {"twilio_webhook_keys": {SECRET: ""}},
        {"sender_rates": {SECRET: SECRET}},
        {"sender_rates": {SECRET: -1}},
        {"unknown_after_deadline": SECRET},
        {"messages_per_hour": SECRET},
        {"countries": [SECRET]},
        {"recipient_from": SECRET},
        {"retention_days": SECRET},
        {"default_region": SECRET},
        {"ci360_api_url": SECRET, "ci360_token": SECRET},
        {"ci360_api_url": f"https://{SECRET}:{SECRET}@demo.ci360.sas.com", "ci360_token": "t"},
        {"ci360_api_url": CI360, "ci360_token": f"{SECRET} {SECRET}"},
        {"ci360_token": [SECRET]},
        {"ci360_client_secret": {SECRET: SECRET}},
        {"ci360_api_url": CI360, "ci360_token": "t", "ci360_events": {SECRET: SECRET}},
        {"ci360_events": {SECRET: [SECRET]}},
        {"ci360_api_url": CI360, "ci360_token": "t", "ci360_rtc_key": f"{SECRET}!"},
        {"ci360_reply_identity_format": SECRET},
        {"opt_out_words": SECRET},
        {"consent_groups": {SECRET: SECRET}},
        {"consent_groups": {f"{SECRET}!": [SECRET, SECRET]}},
    ],
    ids=ascii,
)
def test_an_error_holds_no_value_of_the_document(changes: dict[str, Any]) -> None:
    """It is logged and answered as it is, and any member may have been filled with a secret."""
    with pytest.raises(TenantBroken) as raised:
        tenant(**changes)
    shown = [raised.value.message, str(raised.value), *raised.value.issues]
    shown += [issue.field for issue in raised.value.issues]
    assert not [text for text in shown if SECRET.lower() in text.lower()]


# Limits and rates


def test_senders_separated_by_commas_share_one_budget() -> None:
    """Each sender is known by itself, as messages spell it."""
    rates = tenant(
        sender_rates={"+1 (201) 555-0100, Acme": 10, "whatsapp:+1 201 555 0101": 80, "20155,": 100}
    ).sender_rates
    shared = Rate("demo/+12015550100", 10.0)
    assert rates == {
        "+12015550100": shared,
        "Acme": shared,
        "whatsapp:+12015550101": Rate("demo/whatsapp:+12015550101", 80.0),
        "20155": Rate("demo/20155", 100.0),
    }


@pytest.mark.parametrize(("said", "limit"), [(..., 20), (None, 20), (1, 1), (500, 500), (0, None)])
def test_a_recipients_limit_is_twenty_a_day_unless_the_tenant_says_otherwise(
    said: object, limit: int | None
) -> None:
    """0 is no limit."""
    found = tenant(messages_per_recipient_per_day=said)
    assert found.messages_per_recipient_per_day == limit


def test_a_tenant_limits_neither_its_hours_nor_its_countries_unless_it_says_so() -> None:
    """An empty list of countries is as if absent."""
    assert (tenant().messages_per_hour, tenant().countries) == (None, None)
    assert tenant(countries=[]).countries is None


def test_the_accounts_own_token_comes_first_where_webhooks_are_verified() -> None:
    """With an API key to send with, too: keys sign nothing."""
    found = tenant(
        twilio_auth_tokens=["next"], twilio_api_key_sid="SK1", twilio_api_key_secret="key secret"
    )
    assert found.webhook_tokens == (SECRET, "next")


# Wishes, and what is told


def test_the_group_of_a_message_is_that_of_the_first_sender_that_is_in_one() -> None:
    """The number that a service has chosen, say, and else the service."""
    found = tenant(consent_groups={"ads": ["Acme", "+12015550100"], "care": ["20155"]})
    assert found.group_of("Acme") == "ads"
    assert found.group_of("20155", "Acme") == "care"
    assert found.group_of(None, "", "Other", "+12015550100", "20155") == "ads"
    assert found.group_of("Other", None) is None
    assert found.group_of() is None
    assert tenant().group_of("Acme") is None


def test_a_tenant_tells_nothing_without_ci360() -> None:
    """Else what its document says."""
    assert tenant().tells == ()
    told = tenant(ci360_api_url=CI360, ci360_token="t", ci360_events={"sent": "s"}).tells
    assert told == tuple(one for one in Outcome if one is not Outcome.READ)


def test_hosts_of_twilio_are_none_of_ci360s_and_the_reverse() -> None:
    """Each gets credentials of its own."""
    url = "http://127.0.0.1:8362"
    told = document(ci360_api_url=url, ci360_token="t")
    found = parse_tenant(told, TENANT, ci360_hosts=("127.0.0.1:8362",))
    assert found.ci360
    assert found.ci360.events_url == f"{url}{EVENTS_PATH}"
    with pytest.raises(TenantBroken) as raised:
        parse_tenant(told, TENANT, hosts=("127.0.0.1:8362",))
    assert {issue.field for issue in raised.value.issues} == {"ci360_api_url"}
    assert fields("demo.ci360.sas.com", ci360_api_url=API, ci360_token="t") == ["ci360_api_url"] * 2


# The address


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        (API, API),
        ("https://api.twilio.com", API),
        ("https://api.twilio.com/", API),
        (f" {API} ", API),
        (API.removesuffix(".json"), API),
        (f"https://api.dublin.ie1.twilio.com{PATH}", f"https://api.dublin.ie1.twilio.com{PATH}"),
        ("https://api.twilio.com:443", f"https://api.twilio.com:443{PATH}"),
        ("HTTPS://API.TWILIO.COM", f"https://API.TWILIO.COM{PATH}"),
    ],
)
def test_the_address_is_used_as_it_stands_or_completed(url: str, whole: str) -> None:
    """A bare base gets the path of the tenant's account."""
    assert tenant(twilio_api_url=url).messages_url == whole


@pytest.mark.parametrize(
    "base",
    [
        "https://api.twilio.com.evil.com",
        "https://eviltwilio.com",
        "https://twilio.com",
        "https://twilio.com.evil.com",
        "https://api.twilio.com@evil.com",
        "https://evil.com\\@api.twilio.com",
        "https://api.twilio.com\\.evil.com",
        "https://evil.com\\.twilio.com",
        "https://evil.com#.twilio.com",
        "https://evil.com?.twilio.com",
        "https://evil.com%2f.twilio.com",
        "https://api.twilio.com%2eevil.com",
        "https://api.twilio.com.",
        "https://api\u3002twilio.com",
        "https://api.tw\u0131lio.com",
        "https://api.twilio.com:8443",
        "https://api.twilio.com:99999",
        "https://api.twilio.com:x",
        "https://api.twilio.co\nm.evil.com",
        "https://[::1]",
        "https://localhost",
        "https://169.254.169.254",
        "https://",
        "//api.twilio.com",
        "api.twilio.com",
        "",
    ],
    ids=ascii,
)
def test_no_trick_leads_to_another_host(base: str) -> None:
    """Only hosts of Twilio's own domain, on their own port: the credentials go there."""
    assert set(fields(twilio_api_url=f"{base}{PATH}")) == {"twilio_api_url"}
    assert set(fields(twilio_api_url=base)) == {"twilio_api_url"}


@pytest.mark.parametrize(
    "url",
    [
        f"http://api.twilio.com{PATH}",
        f"http://api.twilio.com:443{PATH}",
        f"ftp://api.twilio.com{PATH}",
        f"https://user:pass@api.twilio.com{PATH}",
        f"https://@api.twilio.com{PATH}",
        f"{API}?x=1",
        f"{API}#x",
        "https://api.twilio.com/2010-04-01/Accounts/AC" + "b2" * 16 + "/Messages.json",
        f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT.lower()}/Messages.json",
        f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT}/Calls.json",
        f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT}/../x/Messages.json",
        f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT}",
        "https://api.twilio.com/2010-04-01",
        f"https://api.twilio.com/x{PATH}",
        f"https://api.twilio.com/{PATH}",
    ],
)
def test_an_address_that_is_not_the_accounts_own_is_refused(url: str) -> None:
    """Plain http, user names, queries, another account's path or another resource's."""
    assert set(fields(twilio_api_url=url)) == {"twilio_api_url"}


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("http://127.0.0.1:8361", ["127.0.0.1:8361"]),
        ("http://127.0.0.1:8361", ["other:1", "127.0.0.1:8361"]),
        ("https://127.0.0.1:8361", ["127.0.0.1:8361"]),
        ("http://Mock.Example.com", ["mock.example.com"]),
        ("http://mock.example.com", ["MOCK.example.com"]),
        ("http://mock.example.com:80", ["mock.example.com"]),
        ("https://mock.example.com:443", ["mock.example.com"]),
        ("http://[::1]:8361", ["[::1]:8361"]),
        ("http://api.twilio.com", ["api.twilio.com"]),
        ("https://api.twilio.com:8443", ["api.twilio.com:8443"]),
    ],
)
def test_hosts_that_the_settings_name_may_be_called(url: str, hosts: list[str]) -> None:
    """Over plain http too; the port counts unless it is the scheme's own."""
    assert tenant(*hosts, twilio_api_url=url).messages_url == f"{url}{PATH}"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://127.0.0.1:8361", "127.0.0.1"),
        ("http://127.0.0.1", "127.0.0.1:8361"),
        ("http://127.0.0.1:8362", "127.0.0.1:8361"),
        ("http://mock.example.com.evil.com", "mock.example.com"),
        ("http://evil.mock.example.com", "mock.example.com"),
        ("http://mock.example.com@evil.com", "mock.example.com"),
        ("http://user@mock.example.com", "mock.example.com"),
        ("ftp://mock.example.com", "mock.example.com"),
        ("http://api.twilio.com", "mock.example.com"),
        ("https://example.com", ""),
    ],
)
def test_a_named_host_opens_the_door_for_no_other(url: str, host: str) -> None:
    """Nor for another port, nor for the hosts below it."""
    assert set(fields(host, twilio_api_url=url)) == {"twilio_api_url"}
