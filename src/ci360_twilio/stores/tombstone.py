"""What is left of a deleted entry: a keyed hash that still stops duplicates."""

from __future__ import annotations

import hashlib

from ci360_twilio.core.entry import Key


def tombstone(key: Key, hash_key: bytes) -> bytes:
    """Hash a key so that only who holds ``hash_key`` can tell whether an event was here."""
    return hashlib.blake2b(
        key.encode(errors="surrogatepass"), key=hash_key[:64], digest_size=20
    ).digest()
