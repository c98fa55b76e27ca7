"""Clients of AWS, all from one session: what botocore knows of AWS is read once for a process.

Where AWS is, and who we are, is told by its usual settings.
"""

from __future__ import annotations

import threading
from typing import Any

from ci360_twilio.errors import SettingsError

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
            return _session.create_client(service, region_name=region, config=Config(**config))
    except BotoCoreError as exc:
        words = f"AWS cannot be used ({type(exc).__name__}): {exc}"
        raise SettingsError(words) from exc
