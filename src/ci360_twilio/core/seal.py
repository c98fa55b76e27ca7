"""Keyed hashes: under which a consent is kept, and which show whether its history was touched.

The key lies outside the ledger. Whoever has the ledger alone can neither tell whose consent it is
once the number is erased, nor change a line, leave one out or add one without being found out.
"""

from __future__ import annotations

import hashlib

import msgspec

from ci360_twilio.core.consent import Consent, Line, Subject

SIZE = 20
"""Bytes of a hash."""

_encode = msgspec.json.Encoder().encode


def keyed_hash(text: str, key: bytes) -> bytes:
    """Hash a text so that only who holds the key can tell what it was."""
    return hashlib.blake2b(
        text.encode(errors="surrogatepass"), key=key[:64], digest_size=SIZE
    ).digest()


def subject_hash(subject: Subject, key: bytes) -> bytes:
    """Give the hash under which a subject's consent is kept."""
    tenant_id, recipient, group = subject
    return keyed_hash(f"consent\n{tenant_id}\n{group}\n{recipient}", key)


def key_check(key: bytes) -> str:
    """Give what a ledger remembers of its key, to be opened with no other."""
    return keyed_hash("key_check", key).hex()


BROKEN = "broken"
"""The seal of a consent that somebody touched before: nothing that is added makes it whole again."""


def sealed(consent: Consent, before: Consent | None, subject: bytes, key: bytes) -> Consent:
    """Seal the lines that are new, and the consent as it is now.

    Args:
        consent: whose older lines are sealed.
        before: as it stood until now, if it did.
        subject: the hash that it is kept under.
        key: of the seals.
    """
    history, last = list[Line](), b""
    for line in consent.history:
        if not line.seal:
            line = msgspec.structs.replace(line, seal=_seal(last, subject, line, key))
        history.append(line)
        last = line.seal.encode()
    whole = BROKEN
    if before is None or is_intact(before, subject, key):
        whole = _whole(consent, last, subject, key)
    return msgspec.structs.replace(consent, history=tuple(history), seal=whole)


def is_intact(consent: Consent, subject: bytes, key: bytes) -> bool:
    """Tell whether a consent is as it was sealed, line by line and as a whole."""
    last = b""
    for line in consent.history:
        bare = msgspec.structs.replace(line, seal="")
        if line.seal != _seal(last, subject, bare, key):
            return False
        last = line.seal.encode()
    return consent.seal == _whole(consent, last, subject, key)


def _seal(last: bytes, subject: bytes, line: Line, key: bytes) -> str:
    return _mac(b"line", last, subject + _encode(line), key)


def _whole(consent: Consent, last: bytes, subject: bytes, key: bytes) -> str:
    evidence = _encode((len(consent.history), consent.against, consent.favour))
    return _mac(b"whole", last, subject + evidence, key)


def _mac(kind: bytes, last: bytes, rest: bytes, key: bytes) -> str:
    """Hash what is sealed; the seal before it has its length in front, so that nothing looks alike."""
    framed = bytes((len(last),)) + last + rest
    return hashlib.blake2b(framed, key=key[:64], digest_size=SIZE, person=kind).hexdigest()
