"""What Twilio's own validator finds of a request, we find; whatever is changed of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlencode

from hypothesis import event, given, settings
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from ci360_twilio.core.signature import HEADER, SETTINGS, is_signed

FORM, JSON = "application/x-www-form-urlencoded", "application/json"


class Form(dict[str, list[str]]):
    """A form as Twilio's validator takes repeated names."""

    def getall(self, name: str) -> list[str]:
        """Give all values of a name."""
        return self[name]


class Request(NamedTuple):
    """What one side signs, or the other side gets."""

    url: str
    pairs: tuple[tuple[str, str], ...]
    token: str

    @property
    def form(self) -> Form:
        """The pairs as Twilio's validator takes them."""
        form = Form()
        for name, value in self.pairs:
            form.setdefault(name, []).append(value)
        return form


texts = st.text(max_size=6) | st.sampled_from(
    ["", " ", "+", "a b", "%2B", "&=", "\u00e4", "\U0001f44d"]
)
urls = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["http", "https"]),
    st.sampled_from(["sms.example.com", "sms.example.com:443", "sms.example.com:8443", "a:80"]),
    st.sampled_from(["", "/", "/twilio/status/t", "/a%2fb//c/"]),
    st.sampled_from(["", "?m=Ab3", "?b=1&a=%2B&a=+", "?x=%c3%a4&y=a/b?c", "?&&="]),
)
requests = st.builds(
    Request,
    url=urls,
    pairs=st.lists(st.tuples(st.sampled_from("abA") | texts, texts), max_size=5).map(tuple),
    token=st.sampled_from(["12345", "t\u00f6ken"]),
)


def found(
    request: Request, signature: str, algorithm: str | None, keys: Mapping[str, str] | None = None
) -> bool:
    """Give what we find of a request."""
    headers = {HEADER: signature, "content-type": FORM}
    if algorithm is not None:
        headers[SETTINGS] = f"key=k1,algorithm={algorithm}"
    return is_signed(
        url=request.url,
        body=urlencode(request.pairs).encode(),
        headers=headers,
        tokens=[request.token],
        webhook_keys=keys or {},
    )


@given(signs=requests, gets=requests, same=st.sets(st.sampled_from(Request._fields)))
@settings(max_examples=500, deadline=None)
def test_we_find_what_twilios_validator_finds(
    signs: Request, gets: Request, same: set[str]
) -> None:
    """Of the request that was signed, or with another address, form or token."""
    gets = gets._replace(**{name: getattr(signs, name) for name in same})
    signature = RequestValidator(signs.token).compute_signature(signs.url, signs.form)
    valid = RequestValidator(gets.token).validate(gets.url, gets.form, signature)
    event(f"valid: {valid}")
    assert found(gets, signature, None) is valid


@given(signs=requests, gets=requests, same=st.sets(st.sampled_from(Request._fields)))
@settings(max_examples=200, deadline=None)
def test_shared_keys_are_found_as_by_twilios_validator(
    signs: Request, gets: Request, same: set[str]
) -> None:
    """With SHA-256, where the header says so; the auth token is no shared key."""
    gets, algorithm = gets._replace(**{name: getattr(signs, name) for name in same}), "HMAC_SHA256"
    signature = RequestValidator(signs.token).compute_signature(signs.url, signs.form, algorithm)
    valid = RequestValidator(gets.token).validate(gets.url, gets.form, signature, algorithm)
    assert found(gets, signature, algorithm, {"k1": gets.token}) is valid
    assert not found(gets, signature, algorithm, {"k2": gets.token})
    assert not found(gets, signature, None, {"k1": gets.token})


@given(
    request=requests, body=st.dictionaries(texts, texts, max_size=3), other=st.binary(max_size=9)
)
@settings(max_examples=200, deadline=None)
def test_bodies_that_are_no_form_are_found_as_by_twilios_validator(
    request: Request, body: dict[str, str], other: bytes
) -> None:
    """By their hash in the address; no other body has it."""
    raw = json.dumps(body).encode()
    join = "&" if "?" in request.url else "?"
    url = f"{request.url}{join}bodySHA256={hashlib.sha256(raw).hexdigest()}"
    validator = RequestValidator(request.token)
    signature = validator.compute_signature(url, {})
    assert validator.validate(url, raw.decode(), signature)
    headers = {HEADER: signature, "content-type": JSON}
    tokens = ["another", request.token]
    assert is_signed(url=url, body=raw, headers=headers, tokens=tokens)
    assert not is_signed(url=url, body=other, headers=headers, tokens=tokens) or other == raw
    assert not is_signed(url=request.url, body=raw, headers=headers, tokens=tokens)
