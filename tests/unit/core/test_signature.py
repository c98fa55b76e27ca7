"""Signatures of webhooks, with Twilio's own validator as the oracle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from ci360_twilio.core.signature import HEADER, MAX_FIELDS, SETTINGS, is_signed, signed

TOKEN, OTHER = "12345", "67890"
URL = "https://example.com/myapp.php?foo=1&bar=2"
CALL = {
    "CallSid": "CA1234567890ABCDE",
    "Caller": "+14158675310",
    "Digits": "1234",
    "From": "+14158675310",
    "To": "+18005551212",
}
SIGNATURE = "L/OH5YylLD5NRKLltdqwSvS0BnU="
BODY = b'{"CallSid":"CA1234567890ABCDE","Caller":"+12349013030"}'
BODY_HASH = "5ccde7145dfb8f56479710896586cb9d5911809d83afbe34627818790db0aec9"
FORM, JSON = "application/x-www-form-urlencoded", "application/json"
KEYS = {"webhooks_sharedkey_1": "shared", "webhooks_sharedkey_2": "another"}


class Values(dict[str, list[str]]):
    """A form as Twilio's validator takes repeated names."""

    def getall(self, name: str) -> list[str]:
        """Give all values of a name."""
        return self[name]


def oracle(
    url: str, pairs: Sequence[tuple[str, str]], token: str, algorithm: str | None = None
) -> str:
    """Sign as Twilio's own package does."""
    form = Values()
    for name, value in pairs:
        form.setdefault(name, []).append(value)
    return str(RequestValidator(token).compute_signature(url, form, algorithm))


def check(
    signature: str,
    *,
    url: str = URL,
    body: bytes | Mapping[str, str] = CALL,
    kind: str = FORM,
    tokens: Sequence[str] = (TOKEN,),
    keys: Mapping[str, str] = KEYS,
    algorithm: str | None = None,
) -> bool:
    """Check the signature of a request, a form unless its body is bytes."""
    headers = {HEADER: signature, "content-type": kind}
    if algorithm is not None:
        headers[SETTINGS] = algorithm
    return is_signed(
        url=url,
        body=body if isinstance(body, bytes) else urlencode(body).encode(),
        headers=headers,
        tokens=tokens,
        webhook_keys=keys,
    )


# Forms


def test_the_example_of_twilios_page_is_signed_as_there() -> None:
    """From docs/usage/security, and recomputed with its package."""
    assert signed(URL, [*CALL.items()], TOKEN) == SIGNATURE
    assert check(SIGNATURE)


names = st.text(min_size=1, max_size=8)
forms = st.lists(st.tuples(names, st.text(max_size=8)), max_size=8)
repeating = st.lists(st.tuples(st.sampled_from("abA"), st.sampled_from(["", "x", "y"])), max_size=8)
hosts = st.sampled_from(["example.com", "example.com:443", "example.com:80", "example.com:8443"])
urls = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["http", "https"]),
    hosts,
    st.sampled_from(["", "/", "/twilio/status/t", "/a%2fb//c/"]),
    st.sampled_from(["", "?m=Ab3", "?b=1&a=%2B&a=+", "?x=%c3%a4&y=a/b?c", "?&&=", "?a"]),
)


@given(url=urls, pairs=forms | repeating, token=st.text(max_size=40))
@settings(max_examples=300, deadline=None)
def test_what_twilios_package_signs_is_signed_the_same(
    url: str, pairs: list[tuple[str, str]], token: str
) -> None:
    """Any text, repeated names, empty values."""
    assert signed(url, pairs, token) == oracle(url, pairs, token)
    made = signed(url, pairs, token, digest="sha256")
    assert made == oracle(url, pairs, token, "HMAC_SHA256")


@given(url=urls, pairs=forms | repeating, token=st.text(min_size=1, max_size=40))
@settings(max_examples=300, deadline=None)
def test_what_twilios_package_finds_valid_is_signed(
    url: str, pairs: list[tuple[str, str]], token: str
) -> None:
    """Ports included, as a request brings it: encoded, in any order."""
    signature, form = oracle(url, pairs, token), Values()
    for name, value in pairs:
        form.setdefault(name, []).append(value)
    body = urlencode(pairs[::-1]).encode()
    valid = RequestValidator(token).validate(url, form, signature)
    assert valid
    assert check(signature, url=url, body=body, tokens=[OTHER, token])
    more = "z" * (1 + max(len(name) for name, _ in pairs)) if pairs else "z"
    assert not check(signature, url=url, body=body + f"&{more}=1".encode(), tokens=[OTHER, token])


@pytest.mark.parametrize(
    ("signs", "called"),
    [
        ("https://example.com:443/a?b", "https://example.com/a?b"),
        ("https://example.com/a?b", "https://example.com:443/a?b"),
        ("http://example.com:80/a", "http://example.com/a"),
        ("http://example.com/a", "http://example.com:80/a"),
        ("https://example.com/a", "https://example.com:8443/a"),
        ("https://example.com:8443/a", "https://example.com:8443/a"),
        ("https://example.com/a", "https://example.com/a#rc=5&rp=all"),
        ("https://example.com/a?b", "https://me:secret@example.com/a?b#c"),
        ("https://example.com:443/a", "https://me@example.com/a"),
        ("https://[::1]/a", "https://[::1]:443/a"),
        ("https://[::1]:443/a", "https://[::1]/a"),
        ("https://example.com", "https://example.com:443"),
    ],
)
def test_port_user_and_fragment_do_not_matter(signs: str, called: str) -> None:
    """Twilio signs with the standard port or without it; the two others it never signs."""
    assert check(oracle(signs, [*CALL.items()], TOKEN), url=called)


@pytest.mark.parametrize(
    "called",
    [
        "http://example.com/myapp.php?foo=1&bar=2",
        "https://example.org/myapp.php?foo=1&bar=2",
        "https://example.com:444/myapp.php/?foo=1&bar=2",
        "https://example.com/myapp.php/?foo=1&bar=2",
        "https://example.com/myapp.php?bar=2&foo=1",
        "https://example.com/myapp.php?foo=%31&bar=2",
        "https://example.com/myapp.php?foo=1&bar=2&",
        "https://example.com/myapp.php",
        "https://example.com/MYAPP.php?foo=1&bar=2",
    ],
)
def test_another_address_is_not_what_was_signed(called: str) -> None:
    """Path and query count byte for byte."""
    assert not check(SIGNATURE, url=called)


@pytest.mark.parametrize(
    "body",
    [
        CALL | {"Digits": "1235"},
        CALL | {"Extra": ""},
        {name: value for name, value in CALL.items() if name != "To"},
        {},
        b"\xff\xfe",
        b"&" * MAX_FIELDS + b"&".join(b"a=%d" % number for number in range(MAX_FIELDS + 1)),
    ],
    ids=["value", "more", "less", "none", "no text", "too many"],
)
def test_another_form_is_not_what_was_signed(body: bytes | Mapping[str, str]) -> None:
    """One member is enough."""
    assert not check(SIGNATURE, body=body)


@pytest.mark.parametrize(
    "signature", ["", " ", "L/OH5YylLD5NRKLltdqwSvS0BnU", SIGNATURE.lower(), "\udc80", "ä" * 28]
)
def test_another_signature_fits_nothing(signature: str) -> None:
    """Whatever stands in the header."""
    assert not check(signature)


def test_a_request_without_headers_is_not_signed() -> None:
    """It has no signature, and no type."""
    assert not is_signed(url=URL, body=b"", headers={}, tokens=[TOKEN])


@pytest.mark.parametrize("kind", [FORM, f"{FORM}; charset=UTF-8", FORM.upper(), ""])
def test_a_form_may_be_declared_in_several_ways(kind: str) -> None:
    """And a body without type is taken for one."""
    assert check(SIGNATURE, kind=kind)


def test_blanks_around_a_signature_do_not_matter() -> None:
    """A gateway may put them there."""
    assert check(f" {SIGNATURE} ")


# Secrets


def test_any_accepted_token_may_have_signed() -> None:
    """During a rotation there are two."""
    for tokens in ([TOKEN, OTHER], [OTHER, TOKEN], ["", TOKEN], [TOKEN, TOKEN]):
        assert check(SIGNATURE, tokens=tokens)
    for tokens in ([OTHER], [], [TOKEN + "6"]):
        assert not check(SIGNATURE, tokens=tokens)


def test_an_empty_secret_signs_nothing() -> None:
    """Else everybody could."""
    pairs = [*CALL.items()]
    assert not check(oracle(URL, pairs, ""), tokens=["", TOKEN])
    made = oracle(URL, pairs, "", "HMAC_SHA256")
    assert not check(made, keys={"k": ""}, algorithm="key=k,algorithm=HMAC_SHA256")


@pytest.mark.parametrize(
    ("algorithm", "secret", "digest", "fits"),
    [
        ("key=webhooks_sharedkey_1,algorithm=HMAC_SHA256", "shared", "HMAC_SHA256", True),
        ("algorithm=HMAC_SHA256 , key=webhooks_sharedkey_2", "another", "HMAC_SHA256", True),
        ("key=webhooks_sharedkey_1,algorithm=hmac_sha256", "shared", "HMAC_SHA256", True),
        ("key=webhooks_sharedkey_1,algorithm=HMAC_SHA1", "shared", "HMAC_SHA1", True),
        ("key=webhooks_sharedkey_1", "shared", "HMAC_SHA1", True),
        ("algorithm=HMAC_SHA1", TOKEN, "HMAC_SHA1", True),
        ("", TOKEN, "HMAC_SHA1", True),
        ("nonsense", TOKEN, "HMAC_SHA1", True),
        ("algorithm=,algorithm=HMAC_SHA256,key=webhooks_sharedkey_1", "shared", "HMAC_SHA256", True),
        ("key=webhooks_sharedkey_1,algorithm=HMAC_SHA256,algorithm=x", "shared", "HMAC_SHA256", True),
        ("key=webhooks_sharedkey_2,algorithm=HMAC_SHA256", "shared", "HMAC_SHA256", False),
        ("key=webhooks_sharedkey_3,algorithm=HMAC_SHA256", "shared", "HMAC_SHA256", False),
        ("algorithm=HMAC_SHA256", "shared", "HMAC_SHA256", False),
        ("key=webhooks_sharedkey_1,algorithm=HMAC_SHA256", "shared", "HMAC_SHA1", False),
        ("key=webhooks_sharedkey_1,algorithm=HMAC_SHA256", TOKEN, "HMAC_SHA256", False),
        ("key=webhooks_sharedkey_1,algorithm=HMAC_SHA512", "shared", "HMAC_SHA256", False),
        ("algorithm=HMAC_SHA512", TOKEN, "HMAC_SHA1", False),
        ("algorithm=none", TOKEN, "HMAC_SHA1", False),
        ("", "shared", "HMAC_SHA1", False),
    ],
)  # fmt: skip
def test_the_header_names_key_and_algorithm(
    algorithm: str, secret: str, digest: str, fits: bool
) -> None:
    """The auth token signs with SHA-1; a shared key signs only under its own name."""
    made = oracle(URL, [*CALL.items()], secret, digest)
    assert check(made, algorithm=algorithm) is fits


# Other bodies


def json_url(body: bytes, url: str = URL) -> str:
    """Give the address of a request with a body that is no form."""
    return f"{url}&bodySHA256={hashlib.sha256(body).hexdigest()}"


def test_the_hash_of_a_body_is_as_in_twilios_package() -> None:
    """From its own tests."""
    assert json_url(BODY).endswith(BODY_HASH)
    assert RequestValidator(TOKEN).compute_hash(BODY.decode()) == BODY_HASH


@given(
    body=st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=4,
    )
)
@settings(max_examples=100, deadline=None)
def test_a_body_that_is_no_form_is_signed_by_its_hash(body: Any) -> None:
    """The signature is over the address alone."""
    raw = json.dumps(body, ensure_ascii=False).encode()
    url = json_url(raw)
    signature = oracle(url, [], TOKEN)
    assert RequestValidator(TOKEN).validate(url, raw.decode(), signature)
    assert check(signature, url=url, body=raw, kind=JSON)
    assert not check(signature, url=url, body=raw + b" ", kind=JSON)
    assert not check(signature, url=url, body=b"", kind=JSON)


def test_a_shared_key_signs_other_bodies_too() -> None:
    """With SHA-256, over the address."""
    url = json_url(BODY)
    made = oracle(url, [], "shared", "HMAC_SHA256")
    algorithm = "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256"
    assert check(made, url=url, body=BODY, kind=JSON, algorithm=algorithm)
    assert not check(made, url=url, body=BODY, kind=JSON)


@pytest.mark.parametrize(
    "query", ["", "&bodySHA256", "&bodySHA256=", "&bodysha256=" + BODY_HASH, "&bodySHA256=\udc80",
              "&bodySHA256=" + BODY_HASH.upper(), "&bodySHA256=x&bodySHA256=" + BODY_HASH]
)  # fmt: skip
def test_a_body_that_nothing_covers_is_not_signed(query: str) -> None:
    """Though the address is."""
    url = URL + query
    assert not check(signed(url, [], TOKEN), url=url, body=BODY, kind=JSON)


def test_a_request_without_body_is_signed_by_its_address() -> None:
    """Whatever type it declares."""
    for kind in (JSON, FORM, "", "text/plain"):
        assert check(oracle(URL, [], TOKEN), body=b"", kind=kind)


# Hostile requests


@given(
    url=st.text() | st.builds("https://{}".format, st.text()),
    body=st.binary(),
    headers=st.dictionaries(
        st.sampled_from([HEADER, SETTINGS, "content-type"]),
        st.text(alphabet=st.characters()) | st.sampled_from([FORM, JSON, "key=,algorithm="]),
    ),
    tokens=st.lists(st.text(alphabet=st.characters()), max_size=2),
)
@settings(max_examples=300, deadline=None)
def test_no_request_fails(
    url: str, body: bytes, headers: dict[str, str], tokens: list[str]
) -> None:
    """And none is signed by accident."""
    assert not is_signed(url=url, body=body, headers=headers, tokens=tokens, webhook_keys=KEYS)


@pytest.mark.parametrize(
    "url",
    ["", "x", "https://", "https://[", "https://[::1", "https://a:b", "https://a:99999", "//a",
     "https://a@b@c", "https://\udc80", "ftp://a", "https://a\n/b", "https://a\u2100b"],
    ids=ascii,
)  # fmt: skip
def test_an_address_that_is_none_does_not_fail(url: str) -> None:
    """Nobody knows what a public URL will be set to."""
    assert not check(SIGNATURE, url=url)
    assert not check(SIGNATURE, url=f"{url}?bodySHA256={BODY_HASH}", body=BODY, kind=JSON)


@pytest.mark.parametrize("piece", [b"a", b"a=1&", b"&", b"%", b"=", b"%00", b";", b"a&"], ids=ascii)
def test_huge_requests_end(piece: bytes) -> None:
    """A megabyte anywhere; the test would not end if it took quadratic time."""
    huge = piece * (1_000_000 // len(piece))
    text = huge.decode()
    assert not check(SIGNATURE, body=huge)
    assert not check(SIGNATURE, url=f"{URL}&bodySHA256={quote(text)}", body=huge, kind=JSON)
    assert not check(SIGNATURE, url=f"{URL}&bodySHA256=x&{text}", body=huge, kind=JSON)
    assert not check(text, algorithm=text.replace("&", ","), kind=text)
