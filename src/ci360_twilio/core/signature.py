"""Twilio's signature of a webhook: who posted this, to this very address.

Sources: Twilio's docs/usage/security, and ``RequestValidator`` of its Python package 9.13, the
oracle of the tests. The signature is the base64 of an HMAC over the address and, for a form, over
its sorted names and values: with the account's auth token and SHA-1, or with a shared key and
SHA-256, where the header ``X-Twilio-Webhooks-Signature-Settings`` names one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from urllib.parse import parse_qsl, urlsplit

HEADER = "x-twilio-signature"
SETTINGS = "x-twilio-webhooks-signature-settings"
MAX_FIELDS = 1_000
_PORTS = {"https": 443, "http": 80}
_DIGESTS = {"HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"}


def signed(url: str, pairs: Iterable[tuple[str, str]], secret: str, *, digest: str = "sha1") -> str:
    """Compute a signature.

    Args:
        url: the whole address with its query, without fragment.
        pairs: the form's decoded names and values; each pair counts once.
        secret: the auth token, or the shared key.
        digest: ``sha1``, or ``sha256`` with a shared key.
    """
    text = url + "".join(name + value for name, value in sorted(set(pairs)))
    mac = hmac.new(_bytes(secret), _bytes(text), digest)
    return base64.b64encode(mac.digest()).decode()


def is_signed(
    *,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    tokens: Sequence[str],
    webhook_keys: Mapping[str, str] = {},
) -> bool:
    """Tell whether a webhook was signed by one who knows one of the secrets. Never raises.

    The address is tried with and without its port, since Twilio's own parts do not agree on it. Of
    a body that is no form, ``bodySHA256`` in the query must be the hash. All secrets are tried, and
    compared in constant time. A shared key is taken only if the header names it, and an algorithm
    that is not known fits nothing.

    Args:
        url: the address as we gave it to Twilio, with the query byte for byte as it came.
        body: of the request.
        headers: of the request, names in lower case.
        tokens: the account's auth tokens that may have signed.
        webhook_keys: shared keys by their id.
    """
    given = _bytes(headers.get(HEADER, "").strip())
    settings = _settings(headers.get(SETTINGS, ""))
    digest = _DIGESTS.get(settings.get("algorithm", "HMAC_SHA1").upper())
    secrets = [*tokens] if digest == "sha1" else []
    if key := webhook_keys.get(settings.get("key", "")):
        secrets.append(key)
    pairs = _pairs(url, body, headers.get("content-type", ""))
    if digest is None or pairs is None or not given:
        return False
    fits = False
    for spelling in _spellings(url):
        for secret in filter(None, secrets):  # anybody can sign with an empty one
            made = signed(spelling, pairs, secret, digest=digest)
            fits |= hmac.compare_digest(made.encode(), given)
    return fits


def _pairs(url: str, body: bytes, content_type: str) -> list[tuple[str, str]] | None:
    """Give what the signature covers besides the address; ``None`` where the body is not covered."""
    query = url.partition("#")[0].partition("?")[2]
    claimed = [value for name, value in _form(query) or () if name == "bodySHA256"]
    if claimed:
        fits = hmac.compare_digest(_bytes(claimed[0]), hashlib.sha256(body).hexdigest().encode())
        return [] if fits else None
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in ("", "application/x-www-form-urlencoded"):
        return [] if not body else None
    try:
        return _form(body.decode())
    except UnicodeDecodeError:
        return None


def _form(text: str) -> list[tuple[str, str]] | None:
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        return None


def _spellings(url: str) -> Iterator[str]:
    """Give an address without fragment and user, with the standard port and without."""
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.netloc.rpartition("@")[2]
    except ValueError:
        return
    standard = _PORTS.get(parts.scheme, 80)
    scheme, _, rest = url.partition("#")[0].partition("://")
    path = rest[len(parts.netloc) :]
    name = host if port is None else host.rpartition(":")[0]
    for one in (name, f"{name}:{port or standard}"):
        yield f"{scheme}://{one}{path}"


def _settings(header: str) -> dict[str, str]:
    """Read ``key=...,algorithm=...``; what comes first counts, as in Twilio's package."""
    settings: dict[str, str] = {}
    for part in header.split(","):
        name, _, value = part.partition("=")
        if value.strip():
            settings.setdefault(name.strip(), value.strip())
    return settings


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")
