"""Who may call: what a request presents, and whether it belongs to the tenant."""

from __future__ import annotations

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from ci360_twilio.core.access import NONE, Credentials, fits, parse_credentials
from ci360_twilio.core.tenant import Basic, Jwt, Tenant, TenantId

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
KEY = "a key of at least sixty-four bytes, so that no algorithm finds it short"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
RSA_PUBLIC = (
    RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
)
SOON = int((NOW + timedelta(minutes=5)).timestamp())


def tenant(**members: Any) -> Tenant:
    """Give a tenant; members as the document has them."""
    made = {"messages_url": "", "account": "", "user": "", "password": ""}
    return Tenant(id=TenantId("demo"), **(made | members))


def basic(text: str) -> str:
    """Give the header of a user name and a password."""
    return f"Basic {base64.b64encode(text.encode()).decode()}"


EVERYTHING = tenant(
    api_keys=("key one", "key two"),
    basic=Basic(username="Ann", password="pass:wörd"),
    bearer_tokens=("token one", "token two"),
    jwt=Jwt(algorithm="HS256", key=KEY),
)


# What a request presents


@pytest.mark.parametrize(
    ("headers", "credentials"),
    [
        ({}, NONE),
        ({"host": "example.com"}, NONE),
        ({"x-api-key": ""}, NONE),
        ({"authorization": ""}, NONE),
        ({"authorization": "Bearer"}, NONE),
        ({"authorization": "Bearer   "}, NONE),
        ({"x-api-key": "k"}, Credentials(api_key="k")),
        ({"authorization": "Bearer t"}, Credentials(bearer="t")),
        ({"authorization": "bearer  t "}, Credentials(bearer="t")),
        ({"authorization": basic("u:p")}, Credentials(basic="u:p")),
        ({"authorization": "BASIC dTpw"}, Credentials(basic="u:p")),
        ({"authorization": "Basic"}, Credentials(basic="")),
        ({"authorization": "Basic !!!"}, Credentials(basic="")),
        ({"authorization": "Basic dTp"}, Credentials(basic="")),
        ({"authorization": "Basic /w=="}, Credentials(basic="")),
        ({"authorization": "Basic \udc80"}, Credentials(basic="")),
        ({"authorization": "Basic é"}, Credentials(basic="")),
        ({"authorization": "Digest x"}, Credentials(basic="")),
        ({"authorization": "dTpw"}, Credentials(basic="")),
        ({"x-api-key": "k", "authorization": "Bearer t"}, Credentials(api_key="k", bearer="t")),
        ({"x-api-key": "k", "authorization": "Basic !"}, Credentials(api_key="k", basic="")),
        ({"x-api-key": "\udc80"}, Credentials(api_key="\udc80")),
    ],
    ids=ascii,
)
def test_credentials_are_read_from_two_headers(
    headers: dict[str, str], credentials: Credentials
) -> None:
    """What cannot be decoded was presented all the same, and fits nothing."""
    assert parse_credentials(headers) == credentials
    assert credentials.sent is (credentials != NONE)


# What belongs to the tenant


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": "key one"},
        {"x-api-key": "key two"},
        {"authorization": basic("Ann:pass:wörd")},
        {"authorization": "Bearer token one"},
        {"authorization": "Bearer token two"},
        {"x-api-key": "wrong", "authorization": "Bearer token two"},
        {"x-api-key": "key one", "authorization": "Basic !"},
    ],
    ids=ascii,
)
def test_any_one_of_the_tenants_credentials_is_enough(headers: dict[str, str]) -> None:
    """Lists are for rotation."""
    assert fits(parse_credentials(headers), EVERYTHING, NOW)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": "wrong"},
        {"x-api-key": "key"},
        {"x-api-key": "key one "},
        {"x-api-key": "KEY ONE"},
        {"x-api-key": "token one"},
        {"x-api-key": "Ann:pass:wörd"},
        {"authorization": "Bearer key one"},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Bearer {KEY}"},
        {"authorization": basic("Ann:wrong")},
        {"authorization": basic("Ann")},
        {"authorization": basic(":")},
        {"authorization": basic("")},
        {"authorization": "Basic key one"},
        {"authorization": "Digest token one"},
    ],
    ids=ascii,
)
def test_nothing_else_is(headers: dict[str, str]) -> None:
    """Nor a credential of another kind in its place."""
    assert not fits(parse_credentials(headers), EVERYTHING, NOW)


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": "key one"},
        {"authorization": basic("Ann:pass:wörd")},
        {"authorization": "Bearer token one"},
        {},
        {"authorization": "Basic "},
    ],
    ids=ascii,
)
def test_one_tenants_credentials_open_no_other(headers: dict[str, str]) -> None:
    """Also not one that has none at all: whether that is served is decided elsewhere."""
    other = tenant(
        api_keys=("another",),
        basic=Basic(username="Ann", password="another"),
        bearer_tokens=("another",),
    )
    assert not fits(parse_credentials(headers), other, NOW)
    assert not fits(parse_credentials(headers), tenant(), NOW)


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": "key one"},
        {"x-api-key": "wrong"},
        {"authorization": "Bearer token one"},
        {"authorization": basic("Ann:pass:wörd")},
    ],
    ids=ascii,
)
def test_credentials_are_compared_in_constant_time_with_all_there_are(
    headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the time an answer takes tells neither how much fits nor which one."""
    compared: list[bytes] = []
    real = hmac.compare_digest

    def spy(sent: bytes, wanted: bytes) -> bool:
        compared.append(wanted)
        return real(sent, wanted)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    fits(parse_credentials(headers), tenant_without_jwt(), NOW)
    wanted = {
        "x-api-key": [b"key one", b"key two"],
        "Bearer": [b"token one", b"token two"],
        "Basic": ["Ann:pass:wörd".encode()],
    }
    kind = next(iter(headers)) if "x-api-key" in headers else headers["authorization"].split()[0]
    assert compared == wanted[kind]


def tenant_without_jwt() -> Tenant:
    """Give a tenant with all kinds of credentials that are compared here."""
    return tenant(
        api_keys=EVERYTHING.api_keys,
        basic=EVERYTHING.basic,
        bearer_tokens=EVERYTHING.bearer_tokens,
    )


# JSON Web Tokens


def token(claims: object, key: Any = KEY, algorithm: str = "HS256", **header: Any) -> str:
    """Sign claims, whether they make sense or not."""
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    return jwt.PyJWS().encode(payload, key, algorithm, headers=header or None)


def admitted(sent: str, at: datetime = NOW, **rule: Any) -> bool:
    """Tell whether a token opens a tenant with a rule."""
    made = {"algorithm": "HS256", "key": KEY}
    return fits(Credentials(bearer=sent), tenant(jwt=Jwt(**(made | rule))), at)


def test_a_signed_token_is_a_credential_until_it_expires() -> None:
    """By the time that we are told, with a minute for clocks that differ."""
    sent = token({"exp": SOON})
    assert admitted(sent)
    assert admitted(sent, NOW + timedelta(minutes=5, seconds=59))
    assert not admitted(sent, NOW + timedelta(minutes=6))


def test_a_token_is_none_before_its_time() -> None:
    """With the same minute."""
    begin = int((NOW + timedelta(minutes=2)).timestamp())
    sent = token({"exp": SOON, "nbf": begin})
    assert not admitted(sent, NOW + timedelta(seconds=59))
    assert admitted(sent, NOW + timedelta(seconds=60))


def test_a_token_beside_static_ones_is_read_too() -> None:
    """A tenant may have both."""
    assert fits(Credentials(bearer=token({"exp": SOON})), EVERYTHING, NOW)
    assert not fits(Credentials(bearer=token({"exp": SOON})), tenant_without_jwt(), NOW)


@pytest.mark.parametrize("claims", [{}, {"exp": None}], ids=["missing", "null"])
def test_a_token_without_an_end_is_refused_unless_that_is_waived(claims: dict[str, Any]) -> None:
    """CI360's static tokens have none; the tenant's document has to say so."""
    assert not admitted(token(claims))
    assert admitted(token(claims), require_exp=False)


def test_a_waived_end_still_counts_where_there_is_one() -> None:
    """Waiving is for tokens that have none."""
    assert not admitted(token({"exp": SOON - 3600}), require_exp=False)


@pytest.mark.parametrize(
    "algorithm", ["HS256", "HS384", "HS512"]
)  # fmt: skip
def test_the_algorithm_is_the_pinned_one(algorithm: str) -> None:
    """Whatever the token says of itself."""
    assert admitted(token({"exp": SOON}, algorithm=algorithm), algorithm=algorithm)
    others = {"HS256", "HS384", "HS512"} - {algorithm}
    assert not any(admitted(token({"exp": SOON}, algorithm=o), algorithm=algorithm) for o in others)


def test_a_token_without_a_signature_is_refused() -> None:
    """The oldest trick."""
    assert not admitted(token({"exp": SOON}, None, "none"))
    signed = token({"exp": SOON})
    assert not admitted(signed.rpartition(".")[0] + ".")
    assert not admitted(signed[:-2] + ("AA" if signed[-2:] != "AA" else "BB"))


def test_a_public_key_is_no_shared_secret() -> None:
    """The second oldest: sign with the published key as if it were one."""
    head, body = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in ({"alg": "HS256", "typ": "JWT"}, {"exp": SOON})
    )
    digest = hmac.digest(RSA_PUBLIC.encode(), head + b"." + body, "sha256")
    forged = b".".join([head, body, base64.urlsafe_b64encode(digest).rstrip(b"=")]).decode()
    assert not admitted(forged, algorithm="RS256", key=RSA_PUBLIC)


def test_a_token_may_be_signed_with_a_private_key() -> None:
    """Then the document holds the public one."""
    sent = token({"exp": SOON}, RSA_KEY, "RS256")
    assert admitted(sent, algorithm="RS256", key=RSA_PUBLIC)
    assert not admitted(sent, algorithm="PS256", key=RSA_PUBLIC)
    assert not admitted(sent, algorithm="ES256", key=RSA_PUBLIC)
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert not admitted(token({"exp": SOON}, stranger, "RS256"), algorithm="RS256", key=RSA_PUBLIC)
    curve = token({"exp": SOON}, ec.generate_private_key(ec.SECP256R1()), "ES256")
    assert not admitted(curve, algorithm="RS256", key=RSA_PUBLIC)


@pytest.mark.parametrize(
    "key", ["no PEM", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"]
)
@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "PS256", "EdDSA"])
def test_a_broken_key_in_the_document_opens_nothing(algorithm: str, key: str) -> None:
    """Nor does it fail."""
    sent = token({"exp": SOON}, RSA_KEY, "RS256")
    assert not admitted(sent, algorithm=algorithm, key=key)


@pytest.mark.parametrize(
    ("claims", "admits"),
    [
        ({"aud": "us", "iss": "sas"}, True),
        ({"aud": ["them", "us"], "iss": "sas"}, True),
        ({"aud": "them", "iss": "sas"}, False),
        ({"aud": [], "iss": "sas"}, False),
        ({"aud": {"us": 1}, "iss": "sas"}, False),
        ({"iss": "sas"}, False),
        ({"aud": "us", "iss": "others"}, False),
        ({"aud": "us", "iss": ["sas"]}, False),
        ({"aud": "us"}, False),
    ],
    ids=ascii,
)
def test_audience_and_issuer_count_where_the_tenant_names_them(
    claims: dict[str, Any], admits: bool
) -> None:
    """And only there."""
    sent = token({"exp": SOON} | claims)
    assert admitted(sent, audience="us", issuer="sas") is admits
    assert admitted(sent)


@pytest.mark.parametrize(
    "claims",
    [
        b"[]",
        b'"exp"',
        b"{",
        b"\xff",
        b"[" * 2000,
        b'{"exp":"%d"}' % SOON,
        b'{"exp":true}',
        b'{"exp":[%d]}' % SOON,
        b'{"exp":NaN}',
        b'{"exp":-1e999}',
        b'{"exp":%d,"nbf":"0"}' % SOON,
        b'{"exp":%d,"nbf":NaN}' % SOON,
        b'{"exp":%d,"nbf":1e999}' % SOON,
        b'{"exp":%d,"nbf":1%b}' % (SOON, b"0" * 400),
        b'{"exp":1%b}' % (b"0" * 5000),
    ],
    ids=lambda claims: claims[:30].decode("latin-1"),
)
def test_claims_that_make_no_sense_are_refused(claims: bytes) -> None:
    """Signed, and still nothing to go by."""
    assert not admitted(token(claims))


def test_an_end_beyond_all_time_does_not_fail() -> None:
    """Whether it counts as one is left open."""
    admitted(token(b'{"exp":1%b}' % (b"0" * 400)))


@pytest.mark.parametrize(
    "sent",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "a.b.c.d",
        "\udc80.\ud800.x",
        "é.é.é",
        "\x00",
        base64.urlsafe_b64encode(b"[" * 3000).decode() + ".e30.eA",
        base64.urlsafe_b64encode(b'{"alg":["HS256"]}').decode() + ".e30.eA",
        base64.urlsafe_b64encode(b'{"alg":"HS256","crit":["b64"],"b64":false}').decode()
        + ".e30.eA",
        base64.urlsafe_b64encode(b'{"alg":"HS256","x":%b1}' % (b'{"a":' * 3000)).decode() + ".e30.",
        "." * 65_536,
        "a" * 65_536,
    ],
    ids=lambda sent: ascii(sent)[:30],
)
def test_a_token_that_is_none_is_refused(sent: str) -> None:
    """Nothing that a caller sends fails."""
    assert not admitted(sent)


# Hostile headers

hostile = st.one_of(
    st.text(st.characters()),
    st.builds("{} {}".format, st.sampled_from(["Basic", "Bearer", "bearer"]), st.text()),
    st.builds(lambda raw: f"Basic {base64.b64encode(raw).decode()}", st.binary()),
    st.lists(
        st.builds(lambda raw: base64.urlsafe_b64encode(raw).decode(), st.binary()), min_size=3
    ).map(lambda parts: "Bearer " + ".".join(parts)),
)


@given(headers=st.fixed_dictionaries({}, optional={"x-api-key": hostile, "authorization": hostile}))
@settings(max_examples=200, deadline=None)
def test_no_header_fails_and_none_opens(headers: dict[str, str]) -> None:
    """Whatever bytes a server hands on, as lone surrogates for what is no text."""
    assert fits(parse_credentials(headers), EVERYTHING, NOW) is False
