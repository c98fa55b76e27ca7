"""How Twilio signs what it posts (docs/usage/security#validating-requests)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping


def sign(token: str, url: str, form: Mapping[str, str]) -> str:
    """Give ``X-Twilio-Signature`` for a form.

    Args:
        token: the account's auth token.
        url: as it is called, with its query and without a fragment.
        form: the parameters.
    """
    signed = url + "".join(f"{name}{form[name]}" for name in sorted(form))
    digest = hmac.digest(token.encode(), signed.encode(), hashlib.sha1)
    return base64.b64encode(digest).decode()
