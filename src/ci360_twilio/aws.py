"""Clients of AWS, all from one session: what botocore knows of AWS is read once for a process.

Where AWS is, and who we are, is told by its usual settings.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ci360_twilio.errors import AwsFailed, SettingsError

_lock = threading.Lock()
_session: Any = None


def make_client(service: str, region: str | None = None, **config: Any) -> Any:
    """Make a client.

    Args:
        service: as botocore calls it, such as ``dynamodb``.
        region: whose service it is; the process's own unless told.
        config: as :class:`botocore.config.Config` takes it.

    Raises:
        SettingsError: the ``aws`` extra is not installed, or no region is set.
    """
    try:
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session
    except ImportError as exc:
        words = "AWS needs the extra: pip install 'ci360-twilio-connector[aws]'"
        raise SettingsError(words) from exc
    global _session
    try:
        with _lock:
            if _session is None:
                _session = Session()
            # botocore does not look for AWS_REGION, by which people and Lambda say it as well
            region = region or os.environ.get("AWS_REGION") or None
            return _session.create_client(service, region_name=region, config=Config(**config))
    except BotoCoreError as exc:
        words = f"AWS cannot be used ({type(exc).__name__}): {exc}"
        raise SettingsError(words) from exc


_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403"})
_NO_LOGIN = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "NoCredentialsError",
        "PartialCredentialsError",
        "SSOTokenLoadError",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
        "UnrecognizedClientException",
    }
)


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn what AWS does not do into an error that tells a person what to do.

    Args:
        what: was tried, as it follows *cannot*: ``read the stack``.

    Raises:
        AwsFailed: it was not done.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as exc:
        error = exc.response.get("Error", {})
        code, said = error.get("Code", ""), error.get("Message", "")
        raise AwsFailed(f"Cannot {what}. {_advice(code)}AWS says: {said} ({code})") from exc
    except BotoCoreError as exc:
        code = type(exc).__name__
        raise AwsFailed(f"Cannot {what}. {_advice(code)}{exc} ({code})") from exc


def _advice(code: str) -> str:
    if code in _DENIED:
        return "The login lacks a right; docs/aws.md lists what is needed. "
    if code in _NO_LOGIN:
        return "Log in first, as for the aws command: AWS_PROFILE, aws sso login. "
    if code.startswith("Throttl") or code == "TooManyRequestsException":
        return "AWS wants to hear less for a while; try again. "
    return ""


def code_of(exc: BaseException | None) -> str:
    """Give the code by which AWS names an error, or nothing."""
    response = getattr(exc, "response", {})
    return str(response.get("Error", {}).get("Code", ""))
