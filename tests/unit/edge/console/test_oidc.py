"""Sign-in by OpenID Connect, at a provider that behaves and at one that does not."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest
from tests.unit.edge.console.provider import (
    CLIENT,
    DISCOVERY,
    KEYS,
    PUBLISHED,
    SECRET,
    TOKEN,
    USERINFO,
    Answer,
    Key,
    Provider,
    b64,
    ec_key,
    es256,
    hs256_of_client_secret,
    hs256_of_public_key,
    hs256_of_published_key,
    ps256,
    rsa_key,
    unsigned,
)

from ci360_twilio.core.person import Role
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.console import oidc as module
from ci360_twilio.edge.console import provider as calls
from ci360_twilio.edge.console.groups import Group, map_groups
from ci360_twilio.edge.console.oidc import Oidc, OidcSettings, SignedIn
from ci360_twilio.edge.console.provider import SignInRefused
from ci360_twilio.errors import SettingsError

pytestmark = pytest.mark.slow

CALLBACK = "https://sms.example.com/console/sign-in/back"
ANN = SignedIn(subject="u-1", name="ann@example.com", groups=("sms-operators",))


class Clock:
    """The present, until it is moved."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        """Give the moment."""
        return datetime.now(UTC) + self.ahead

    def advance(self, seconds: float) -> None:
        """Move it."""
        self.ahead += timedelta(seconds=seconds)


class Console:
    """What the console has of it: sign-in, a session, and a clock that the provider shares."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.clock = Clock()
        provider.now = lambda: self.clock().timestamp()
        self.session: dict[str, Any] = {}
        self.settings = OidcSettings(provider.issuer, CLIENT, SECRET)
        self.use(self.settings)

    def use(self, settings: OidcSettings) -> None:
        """Start anew with other settings."""
        self.settings = settings
        self.oidc = Oidc(settings, CALLBACK, clock=self.clock)

    def begin(self) -> str:
        """Begin an attempt; the session goes through JSON, as one that is stored does."""
        address = asyncio.run(self.oidc.begin(self.session))
        self.session = json.loads(json.dumps(self.session))
        return address

    def finish(self, query: dict[str, str]) -> SignedIn:
        """Come back."""
        return asyncio.run(self.oidc.finish(self.session, query))

    def sign_in(self) -> SignedIn:
        """Go all the way."""
        return self.finish(self.provider.let_in(self.begin()))

    def refused(self, step: Callable[[], object] | None = None) -> str:
        """Give the reason why nobody is signed in; nothing secret may be told with it."""
        with pytest.raises(SignInRefused) as caught:
            (step or self.sign_in)()
        told = f"{caught.value.message} {caught.value.reason} {caught.value!r}"
        assert SECRET not in told
        assert "ann@example.com" not in told
        assert module.SESSION_KEY not in self.session or step
        return caught.value.reason


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A provider that behaves, until it is told otherwise."""
    with Provider() as running:
        yield running


@pytest.fixture
def console(provider: Provider) -> Console:
    """A console that signs people in there."""
    return Console(provider)


def test_who_is_let_in_by_the_provider_is_signed_in(console: Console) -> None:
    """With the client's secret and the code's verifier at the back, where no browser sees them."""
    assert console.sign_in() == ANN
    assert console.session == {}
    packing = {call.headers["accept-encoding"] for call in console.provider.calls}
    assert packing == {"identity"}


def test_the_browser_is_sent_with_state_nonce_and_challenge(console: Console) -> None:
    """And with nothing that must stay here."""
    address = console.begin()
    asked = dict(parse_qsl(urlsplit(address).query))
    [(state, attempt)] = console.session[module.SESSION_KEY].items()
    digest = hashlib.sha256(attempt["verifier"].encode()).digest()
    assert asked == {
        "response_type": "code",
        "client_id": CLIENT,
        "redirect_uri": CALLBACK,
        "scope": "openid email profile",
        "state": state,
        "nonce": attempt["nonce"],
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    assert attempt["verifier"] not in address


def test_no_two_attempts_share_anything(console: Console) -> None:
    """Each has its own state, nonce and verifier."""
    for _ in range(3):
        console.begin()
    attempts = console.session[module.SESSION_KEY]
    said = [*attempts, *(one[name] for one in attempts.values() for name in ("nonce", "verifier"))]
    assert len({*said}) == 9


@pytest.mark.parametrize("announced", [None, ["client_secret_basic", "client_secret_post"]])
def test_the_secret_goes_in_the_header_encoded_as_the_standard_has_it(
    console: Console, announced: list[str] | None
) -> None:
    """Not in the form, which is written to logs more easily."""
    console.provider.discovery = {"token_endpoint_auth_methods_supported": announced}
    assert console.sign_in() == ANN
    [call] = [one for one in console.provider.calls if one.path == TOKEN]
    assert call.headers["authorization"].startswith("Basic ")
    assert "client_secret" not in call.body


def test_the_secret_goes_in_the_form_where_the_provider_takes_it_only_there(
    console: Console,
) -> None:
    """The provider says so in its discovery document."""
    console.provider.discovery = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    assert console.sign_in() == ANN


@pytest.mark.parametrize("methods", [["private_key_jwt"], [], "client_secret_basic", 5])
def test_a_provider_that_takes_no_secret_is_of_no_use(console: Console, methods: object) -> None:
    """It is said before anybody is sent there."""
    console.provider.discovery = {"token_endpoint_auth_methods_supported": methods}
    assert console.refused(console.begin) == "discovery_auth_methods"


def test_a_wrong_secret_is_told_by_its_step(console: Console) -> None:
    """An administrator finds the step and the status in the log."""
    console.use(OidcSettings(console.provider.issuer, CLIENT, "wrong"))
    assert console.refused() == "token_http_401"


# The attempt


def test_a_state_that_was_never_given_is_refused(console: Console) -> None:
    """Somebody else's answer is not taken, and does no harm to the attempt under way."""
    back = console.provider.let_in(console.begin())
    assert console.refused(lambda: console.finish({**back, "state": "x" * 43})) == "state"
    assert console.refused(lambda: console.finish({"code": back["code"]})) == "state"
    assert console.provider.count(TOKEN) == 0
    assert console.finish(back) == ANN


def test_a_state_of_another_session_is_refused(console: Console) -> None:
    """Nobody can be made to sign in as who sends them a link."""
    back = console.provider.let_in(console.begin())
    console.session = {}
    assert console.refused(lambda: console.finish(back)) == "state"


def test_a_state_is_taken_once(console: Console) -> None:
    """Coming back a second time is refused before the provider is asked."""
    back = console.provider.let_in(console.begin())
    assert console.finish(back) == ANN
    assert console.refused(lambda: console.finish(back)) == "state"
    assert console.provider.count(TOKEN) == 1


def test_an_attempt_that_failed_is_over_as_well(console: Console) -> None:
    """The code may have been seen by others."""
    back = console.provider.let_in(console.begin())
    console.provider.instead[TOKEN] = Answer(500)
    assert console.refused(lambda: console.finish(back)) == "token_http_500"
    del console.provider.instead[TOKEN]
    assert console.refused(lambda: console.finish(back)) == "state"


def test_an_attempt_is_over_after_ten_minutes(console: Console) -> None:
    """And one that is over is not kept."""
    late, early = console.provider.let_in(console.begin()), console.provider.let_in(console.begin())
    console.clock.advance(module.ATTEMPT_SECONDS - 5)
    assert console.finish(early) == ANN
    console.clock.advance(10)
    assert console.refused(lambda: console.finish(late)) == "state"
    assert console.session == {}


def test_several_tabs_may_sign_in_each_on_its_own(console: Console) -> None:
    """The oldest gives way when there are too many."""
    tabs = [console.provider.let_in(console.begin()) for _ in range(module.MOST_ATTEMPTS + 1)]
    assert console.refused(lambda: console.finish(tabs[0])) == "state"
    assert [console.finish(tab) for tab in reversed(tabs[1:])] == [ANN] * module.MOST_ATTEMPTS


@pytest.mark.parametrize(
    ("said", "reason", "words"),
    [
        ("access_denied", "access_denied", "cancelled"),
        ("login_required", "login_required", "did not let you in"),
        ("temporarily_unavailable", "temporarily_unavailable", "try again"),
        ("<script>ann@example.com", "provider_error", "administrator"),
    ],
)
def test_what_the_provider_sends_people_back_with_becomes_plain_words(
    console: Console, said: str, reason: str, words: str
) -> None:
    """Its own words are not shown: anybody may write them into a link."""
    state = console.provider.let_in(console.begin())["state"]
    back = {"error": said, "error_description": "ann@example.com", "state": state}
    with pytest.raises(SignInRefused, match=words) as caught:
        console.finish(back)
    assert caught.value.reason == reason
    assert "script" not in caught.value.message
    assert console.session == {}


@pytest.mark.parametrize("code", ["", "a\nb", "ü", "x" * (module.MOST_CODE + 1)])
def test_a_code_that_is_none_goes_nowhere(console: Console, code: str) -> None:
    """The provider is not asked."""
    back = console.provider.let_in(console.begin())
    assert console.refused(lambda: console.finish({**back, "code": code})) == "no_code"
    assert console.provider.count(TOKEN) == 0


def test_a_code_of_another_attempt_is_refused(console: Console) -> None:
    """The verifier does not fit, so the provider says no."""
    one, other = (console.provider.let_in(console.begin()) for _ in range(2))
    mixed = {**one, "code": other["code"]}
    assert console.refused(lambda: console.finish(mixed)) == "token_http_400"


def test_an_answer_that_names_another_issuer_is_refused(console: Console) -> None:
    """As is one that names none, of a provider that says it does (RFC 9207)."""
    back = {**console.provider.let_in(console.begin()), "iss": "https://evil.example.com"}
    assert console.refused(lambda: console.finish(back)) == "other_issuer"
    console.provider.discovery = {"authorization_response_iss_parameter_supported": True}
    console.use(console.settings)
    assert console.refused() == "other_issuer"
    back = {**console.provider.let_in(console.begin()), "iss": console.provider.issuer}
    assert console.finish(back) == ANN


# The ID token


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"nonce": "another"}, "id_token_nonce"),
        ({"nonce": None}, "id_token_nonce"),
        ({"nonce": ["another"]}, "id_token_nonce"),
        ({"aud": "another"}, "id_token_aud"),
        ({"aud": ["another"]}, "id_token_aud"),
        ({"aud": []}, "id_token_aud"),
        ({"aud": None}, "id_token_aud"),
        ({"aud": {CLIENT: 1}}, "id_token_aud"),
        ({"aud": [CLIENT, "another"]}, "id_token_azp"),
        ({"aud": [CLIENT, "another"], "azp": "another"}, "id_token_azp"),
        ({"azp": "another"}, "id_token_azp"),
        ({"iss": "https://evil.example.com"}, "id_token_iss"),
        ({"iss": None}, "id_token_iss"),
        ({"exp": None}, "id_token_exp"),
        ({"exp": "never"}, "id_token_exp"),
        ({"exp": float("nan")}, "id_token_exp"),
        ({"exp": True}, "id_token_exp"),
        ({"iat": None}, "id_token_iat"),
        ({"sub": None}, "id_token_sub"),
        ({"sub": ""}, "id_token_sub"),
        ({"sub": 5}, "id_token_sub"),
        ({"sub": "x" * 256}, "id_token_sub"),
        ({"sub": "u\n1"}, "id_token_sub"),
        ({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, "id_token_at_hash"),
        ({"at_hash": [{}]}, "id_token"),
    ],
)
def test_claims_that_are_not_of_this_attempt_are_refused(
    console: Console, claims: dict[str, Any], reason: str
) -> None:
    """However well they are signed."""
    console.provider.claims = claims
    assert console.refused() == reason


@pytest.mark.parametrize(
    ("claim", "away", "reason"),
    [
        ("exp", -(module.LEEWAY_SECONDS + 5), "id_token_exp"),
        ("exp", -(module.LEEWAY_SECONDS - 5), None),
        ("iat", module.LEEWAY_SECONDS + 5, "id_token_iat"),
        ("iat", module.LEEWAY_SECONDS - 5, None),
        ("nbf", module.LEEWAY_SECONDS + 5, "id_token_nbf"),
    ],
)
def test_clocks_may_differ_by_a_minute(
    console: Console, claim: str, away: int, reason: str | None
) -> None:
    """A token is refused when it is expired by more, or comes from further in the future."""
    console.provider.claims = {claim: int(time.time()) + away}
    if reason:
        assert console.refused() == reason
    else:
        assert console.sign_in() == ANN


def test_several_audiences_are_fine_where_the_token_was_made_for_us(console: Console) -> None:
    """``azp`` says for whom it was made."""
    console.provider.claims = {"aud": [CLIENT, "another"], "azp": CLIENT}
    assert console.sign_in() == ANN


@pytest.mark.parametrize(
    ("sign", "key"),
    [(ps256, rsa_key("first")), (es256, ec_key("curve"))],
)
def test_each_algorithm_that_keeps_its_key_at_the_provider_is_taken(
    console: Console, sign: Callable[[Key, bytes], bytes], key: Key
) -> None:
    """Besides the usual RS256."""
    console.provider.sign, console.provider.key = sign, key
    assert console.sign_in() == ANN


@pytest.mark.parametrize("sign", [unsigned, hs256_of_public_key, hs256_of_client_secret])
@pytest.mark.parametrize("kid", ["first", None])
@pytest.mark.filterwarnings("ignore")  # a warning of the library's is not what refuses it
def test_a_token_that_others_can_make_is_refused(
    console: Console, sign: Callable[[Key, bytes], bytes], kid: str | None
) -> None:
    """Unsigned, signed with the public key as if it were a secret, or with a secret we share."""
    console.provider.sign, console.provider.header = sign, {"kid": kid}
    assert console.refused() == "id_token_signature"


def test_a_shared_secret_among_the_keys_is_passed_over(console: Console) -> None:
    """As is a key that nobody can read, and one for encryption."""
    oct_key = {"kty": "oct", "kid": "first", "k": b64(PUBLISHED)}
    broken = {"kty": "RSA", "kid": "first", "n": "!", "e": 5}
    right = console.provider.key.jwk()
    encryption = {**rsa_key("other").jwk(), "kid": "first", "use": "enc"}
    console.provider.published = [oct_key, broken, "key", encryption, right]
    assert console.sign_in() == ANN
    console.provider.sign = hs256_of_published_key
    assert console.refused() == "id_token_signature"
    console.provider.published = [oct_key, broken]
    console.use(console.settings)
    assert console.refused() == "keys_none"


def test_a_token_signed_by_somebody_else_is_refused(console: Console) -> None:
    """Even under the right key's name."""
    console.provider.published = [console.provider.key.jwk()]
    console.provider.key = Key("first", rsa_key("other").private)
    assert console.refused() == "id_token_signature"


@pytest.mark.parametrize(
    "token", ["", "a.b", "a.b.c", "a.b.c.d.e", "ü", "x" * 200_000, f"{'[' * 400}.e30.AA"]
)
def test_a_text_that_is_no_token_is_refused(console: Console, token: str) -> None:
    """Whatever it makes the library do."""
    console.provider.tokens = {"id_token": token}
    assert console.refused() == "id_token_signature"


@pytest.mark.parametrize("token", [None, 5, {"a": 1}])
def test_an_answer_without_a_token_is_refused(console: Console, token: object) -> None:
    """OAuth alone does not tell who somebody is."""
    console.provider.tokens = {"id_token": token}
    assert console.refused() == "id_token_missing"


def test_a_new_key_is_fetched_when_a_token_names_it(console: Console) -> None:
    """Once, and not for every token that names a key nobody knows."""
    assert console.sign_in() == ANN
    console.provider.key = rsa_key("second")
    assert console.refused() == "id_token_key"
    assert console.provider.count(KEYS) == 1
    console.clock.advance(calls.KEYS_REST_SECONDS)
    assert console.sign_in() == ANN
    assert console.provider.count(KEYS) == 2
    console.clock.advance(calls.KEYS_REST_SECONDS)
    console.provider.header = {"kid": "unknown"}
    assert console.refused() == "id_token_key"
    assert console.refused() == "id_token_key"
    assert console.provider.count(KEYS) == 3


def test_a_token_that_names_no_key_is_taken_only_where_there_is_but_one(console: Console) -> None:
    """Else it would be a matter of trying."""
    console.provider.header = {"kid": None}
    assert console.sign_in() == ANN
    console.provider.published = [console.provider.key.jwk(), rsa_key("other").jwk()]
    console.use(console.settings)
    assert console.refused() == "id_token_key"


# Name and groups


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"email_verified": True}, "ann@example.com"),
        ({"email_verified": "true"}, "ann@example.com"),
        ({"email_verified": False}, "u-1"),
        ({"email_verified": "false"}, "u-1"),
        ({"email_verified": []}, "u-1"),
        ({"email": "x" * 200}, "x" * 200),
        ({"email": "x" * 201}, "u-1"),
        ({"email": "a\nb"}, "u-1"),
        ({"email": "a\u202eb"}, "u-1"),
        ({"email": "  "}, "u-1"),
        ({"email": ["ann@example.com"]}, "u-1"),
        ({"email": "Änn Ünal"}, "Änn Ünal"),
    ],
)
def test_a_name_that_cannot_be_shown_or_is_not_verified_is_not_used(
    console: Console, claims: dict[str, Any], name: str
) -> None:
    """The subject stands for it."""
    console.provider.claims = claims
    assert console.sign_in().name == name


def test_another_claim_may_give_the_name_and_another_the_groups(console: Console) -> None:
    """Whether an address is verified does not matter to a name that is none."""
    console.use(
        OidcSettings(
            console.provider.issuer, CLIENT, SECRET, groups_claim="roles", name_claim="nick"
        )
    )
    console.provider.claims = {"nick": "Ann", "roles": "one", "email_verified": False}
    assert console.sign_in() == SignedIn("u-1", "Ann", ("one",))
    assert console.provider.count(USERINFO) == 0


def test_what_the_token_lacks_is_asked_of_userinfo(console: Console) -> None:
    """Many providers put nothing but the subject into the token."""
    console.provider.claims = {"email": None, "groups": None}
    console.provider.userinfo = {"email": "ann@example.com", "groups": ["sms-operators"]}
    assert console.sign_in() == ANN


def test_what_the_token_says_counts_more_than_userinfo(console: Console) -> None:
    """And whether an address is verified is taken from who tells the address."""
    console.provider.claims = {"groups": None}
    console.provider.userinfo = {"email": "b@example.com", "email_verified": False, "groups": ["b"]}
    assert console.sign_in() == ANN._replace(groups=("b",))


def test_userinfo_of_somebody_else_is_refused(console: Console) -> None:
    """The access token may have been swapped (Core, section 5.3.2)."""
    console.provider.claims = {"groups": None}
    for sub in ("u-2", None):
        console.provider.userinfo = {"sub": sub, "groups": ["administrators"]}
        assert console.refused() == "userinfo_sub"


def test_userinfo_that_fails_signs_nobody_in(console: Console) -> None:
    """Who has no groups for a moment would be told that they may not come in."""
    console.provider.claims = {"groups": None}
    console.provider.instead[USERINFO] = Answer(503)
    assert console.refused() == "userinfo_http_503"


def test_an_access_token_that_would_break_a_header_is_not_sent(console: Console) -> None:
    """It comes from outside."""
    console.provider.claims = {"groups": None}
    console.provider.tokens = {"access_token": "a\r\nb"}
    assert console.refused() == "access_token"


def test_a_provider_without_userinfo_gives_no_groups(console: Console) -> None:
    """Which then fit nothing."""
    console.provider.claims = {"groups": None}
    console.provider.discovery = {"userinfo_endpoint": None}
    assert console.sign_in() == ANN._replace(groups=())


def test_groups_that_are_no_names_are_passed_over(console: Console) -> None:
    """The others count."""
    console.provider.claims = {"groups": ["a", 5, None, ["b"], "c\n", "d" * 257, "\ud800"]}
    assert console.sign_in().groups == ("a",)


# The provider's answers


def test_discovery_is_kept_for_an_hour(console: Console) -> None:
    """As are the keys."""
    for _ in range(3):
        console.sign_in()
    assert (console.provider.count(DISCOVERY), console.provider.count(KEYS)) == (1, 1)
    console.clock.advance(3600)
    console.sign_in()
    assert (console.provider.count(DISCOVERY), console.provider.count(KEYS)) == (2, 2)


@pytest.mark.parametrize("issuer", ["https://evil.example.com", None, "{own}/"])
def test_a_discovery_document_of_another_issuer_is_refused(
    console: Console, issuer: str | None
) -> None:
    """The names must be equal to the letter."""
    named = issuer and issuer.replace("{own}", console.provider.issuer)
    console.provider.discovery = {"issuer": named}
    assert console.refused(console.begin) == "discovery_issuer"


def test_an_issuer_that_ends_in_a_slash_is_found(console: Console) -> None:
    """The slash belongs to its name and not to where its document is."""
    issuer = f"{console.provider.issuer}/"
    console.provider.discovery, console.provider.claims = {"issuer": issuer}, {"iss": issuer}
    console.use(OidcSettings(issuer, CLIENT, SECRET))
    assert console.sign_in() == ANN


@pytest.mark.parametrize(
    "name", ["authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"]
)
@pytest.mark.parametrize(
    "address",
    [
        "http://idp.example.com/x",
        "ftp://127.0.0.1/x",
        "http://127.0.0.1@evil.example.com/x",
        "https://127.0.0.1@evil.example.com/x",
        "https://idp.example.com\\x",
        "https://idp.example.com:99999/x",
        "https://idp.example.com/x#y",
        "https:///x",
        "/x",
        "https://[x",
        "javascript:alert(1)",
        5,
    ],
)
def test_an_address_that_is_not_safe_is_not_called(
    console: Console, name: str, address: object
) -> None:
    """Nor is anybody sent there."""
    console.provider.discovery = {name: address}
    assert console.refused(console.begin) == f"discovery_{name}"


def test_a_provider_elsewhere_cannot_point_to_this_machine_in_the_clear() -> None:
    """Loopback is for a provider that runs there itself."""
    issuer = "https://idp.example.com"
    found = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": "http://127.0.0.1:8360/token",
        "jwks_uri": f"{issuer}/keys",
    }
    with pytest.raises(SignInRefused) as caught:
        calls.announced_of(found, issuer)
    assert caught.value.reason == "discovery_token_endpoint"


def test_an_address_that_must_be_there_and_is_not_is_refused(console: Console) -> None:
    """Only userinfo may be left out."""
    console.provider.discovery = {"jwks_uri": None}
    assert console.refused(console.begin) == "discovery_jwks_uri"


STEPS = {DISCOVERY: "discovery", TOKEN: "token", KEYS: "keys", USERINFO: "userinfo"}


@pytest.mark.parametrize("path", STEPS)
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(200, b'{"a": "' + b"x" * calls.MOST_BYTES + b'"}'), "too_large"),
        (Answer(200, b"[" * 100_000), "not_json"),
        (Answer(200, b"[]"), "not_json"),
        (Answer(200, b'{"a": NaN}'), "not_json"),
        (Answer(200, b'{"\xff": 1}'), "not_json"),
        (Answer(200, b""), "not_json"),
        (Answer(200, gzip.compress(b"{}"), (("Content-Encoding", "gzip"),)), "encoded"),
        (Answer(302, b"{}", (("Location", "/elsewhere"),)), "http_302"),
        (Answer(307, b"{}", (("Location", "/elsewhere"),)), "http_307"),
        (Answer(404), "http_404"),
        (Answer(503), "http_503"),
        (Answer(200, b"{}", (("Content-Length", "500"),)), "away"),
    ],
)
def test_an_answer_that_is_none_is_refused_at_every_step(
    console: Console, path: str, answer: Answer, reason: str
) -> None:
    """Redirects lead nowhere, and what is too long is not read."""
    console.provider.claims = {"groups": None}
    console.provider.instead[path] = answer
    assert console.refused() == f"{STEPS[path]}_{reason}"
    assert console.provider.count("/elsewhere") == 0


def test_a_provider_that_is_down_is_away(console: Console) -> None:
    """Before somebody is sent there, or while they are there."""
    back = console.provider.let_in(console.begin())
    console.provider.stop()
    assert console.refused(lambda: console.finish(back)) == "token_away"
    console.use(console.settings)
    assert console.refused(console.begin) == "discovery_away"


def test_a_provider_that_never_ends_its_answer_is_away(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time is for the whole call."""
    monkeypatch.setattr(calls, "CALL_SECONDS", 0.2)
    console.provider.hold.clear()
    begun = time.monotonic()
    assert console.refused(console.begin) == "discovery_away"
    assert time.monotonic() - begun < 10


def test_https_goes_through_the_proxy(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one is set; one that is no address leads nowhere."""
    for name in ("NO_PROXY", "no_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    console.use(OidcSettings("https://idp.example.com", CLIENT, SECRET))
    console.provider.instead["idp.example.com:443"] = Answer(502)
    monkeypatch.setenv("HTTPS_PROXY", console.provider.issuer)
    assert console.refused(console.begin) == "discovery_away"
    [call] = console.provider.calls
    assert (call.method, call.path) == ("CONNECT", "idp.example.com:443")
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1")
    assert console.refused(console.begin) == "discovery_away"


def test_loopback_goes_through_no_proxy(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment has."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert console.sign_in() == ANN


def test_nothing_secret_is_logged(console: Console, caplog: pytest.LogCaptureFixture) -> None:
    """Neither by us nor by the libraries, as far as their logs go."""
    caplog.set_level(logging.DEBUG)
    back = console.provider.let_in(console.begin())
    [attempt] = console.session[module.SESSION_KEY].values()
    console.finish(back)
    for secret in (back["code"], attempt["verifier"], attempt["nonce"], SECRET, "ann@example.com"):
        assert secret not in caplog.text


# Settings


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"issuer": "http://idp.example.com"}, "issuer"),
        ({"issuer": "https://idp.example.com?a=b"}, "issuer"),
        ({"issuer": ""}, "issuer"),
        ({"client_id": ""}, "client_id"),
        ({"client_secret": ""}, "client_secret"),
        ({"scopes": ("email",)}, "scopes"),
        ({"redirect_uri": "http://sms.example.com/console/sign-in/back"}, "redirect_uri"),
    ],
)
def test_settings_that_cannot_work_are_told_at_the_start(
    change: dict[str, Any], field: str
) -> None:
    """By their names."""
    usual = {"issuer": "https://idp.example.com", "client_id": CLIENT, "client_secret": SECRET}
    values = {**usual, "redirect_uri": CALLBACK, **change}
    redirect_uri = values.pop("redirect_uri")
    with pytest.raises(SettingsError) as caught:
        Oidc(OidcSettings(**values), redirect_uri)
    assert [issue.field for issue in caught.value.issues] == [field]


def test_the_secret_is_not_shown_with_the_settings() -> None:
    """A log line that shows settings shows none."""
    assert SECRET not in repr(OidcSettings("https://idp.example.com", CLIENT, SECRET))


def test_the_module_is_read_without_the_extra_and_says_what_is_missing() -> None:
    """Whoever maps groups, or reads settings, need not have it."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, check=False, timeout=60, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "ci360-twilio-connector[oidc]" in done.stdout


WITHOUT = f"""
import sys
sys.path[:0] = {sys.path!r}
for name in ("authlib", "httpx", "joserfc"):
    sys.modules[name] = None
from ci360_twilio.edge.console.oidc import Oidc, OidcSettings
from ci360_twilio.errors import SettingsError
try:
    Oidc(OidcSettings("https://idp.example.com", "a", "b"), "https://sms.example.com/x")
except SettingsError as exc:
    print(exc)
"""


# Groups

X, Y, Z = TenantId("x"), TenantId("y"), TenantId("z")
TABLE = {
    "viewers": Group(Role.VIEWER),
    "view-y": Group(Role.VIEWER, (Y,)),
    "market-x": Group(Role.MARKETER, (X,)),
    "operate-x": Group(Role.OPERATOR, (X,)),
    "operate-z": Group(Role.OPERATOR, (Z, X)),
    "operate-all": Group(Role.OPERATOR),
    "administer-none": Group(Role.ADMINISTRATOR, ()),
}


@pytest.mark.parametrize(
    ("groups", "given"),
    [
        ((), None),
        (("strangers", "Viewers", ""), None),
        (("administer-none",), None),
        (("view-y",), Group(Role.VIEWER, (Y,))),
        (("view-y", "strangers"), Group(Role.VIEWER, (Y,))),
        (("view-y", "viewers"), Group(Role.VIEWER)),
        (("operate-x", "view-y"), Group(Role.OPERATOR, (X,))),
        (("operate-x", "viewers"), Group(Role.OPERATOR, (X,))),
        (("market-x", "view-y"), Group(Role.MARKETER, (X,))),
        (("operate-z", "operate-x", "operate-x"), Group(Role.OPERATOR, (X, Z))),
        (("operate-x", "operate-all"), Group(Role.OPERATOR)),
        (("administer-none", "view-y"), Group(Role.VIEWER, (Y,))),
    ],
)
def test_the_highest_role_counts_for_the_tenants_it_is_given_for(
    groups: tuple[str, ...], given: Group | None
) -> None:
    """Nobody becomes operator of a tenant that they may only look at."""
    assert map_groups(groups, TABLE) == given
    assert map_groups(reversed(groups), TABLE) == given


def test_the_table_may_be_read_from_a_file() -> None:
    """Roles that do not exist are told."""
    text = b'{"ops": {"role": "operator", "tenants": ["x"]}, "all": {"role": "viewer"}}'
    table = msgspec.json.decode(text, type=dict[str, Group])
    assert table == {"ops": Group(Role.OPERATOR, (X,)), "all": Group(Role.VIEWER)}
    with pytest.raises(msgspec.ValidationError, match="role"):
        msgspec.json.decode(b'{"ops": {"role": "owner"}}', type=dict[str, Group])
