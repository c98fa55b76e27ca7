"""The phones of a twin of Twilio, as the console reads and writes them: on this machine only."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from ci360_twilio.core.tenant import Tenant
from ci360_twilio.errors import NoTwin
from ci360_twilio.twin.loopback import names_loopback

MOST_PHONES, MOST_MESSAGES = 50, 100
SECONDS = 3.0


class TwinPhones:
    """The phones that a tenant's messages go to."""

    def __init__(self, host: str, account: str) -> None:
        self._host = host
        self._account = account

    @classmethod
    def of(cls, tenant: Tenant, hosts: tuple[str, ...]) -> TwinPhones | None:
        """Give the phones of a tenant whose messages go to a twin.

        Args:
            tenant: whose document says where messages go; nothing that a request says counts.
            hosts: that may be called over plain HTTP.
        """
        parts = urlsplit(tenant.messages_url)
        is_twin = parts.scheme == "http" and names_loopback(parts.netloc)
        return cls(parts.netloc, tenant.account) if is_twin and parts.netloc in hosts else None

    def latest(self) -> list[dict[str, Any]]:
        """List the phones that were written to or from lately, each with its latest message.

        Raises:
            NoTwin: no twin answers.
        """
        said = self._call("/twin/phones", {"most": MOST_PHONES})
        if not isinstance(said.get("phones"), list):
            raise NoTwin("What answers at the tenant's Twilio address is no twin.")
        return list(said["phones"])

    def conversation(self, customer: str) -> list[dict[str, Any]]:
        """Give a phone's messages, oldest first. Raises as :meth:`latest`."""
        said = self._call("/twin/conversation", {"customer": customer, "most": MOST_MESSAGES})
        return list(said.get("messages", []))[::-1]

    def write(self, customer: str, text: str) -> None:
        """Have a customer write to whoever wrote to them last. Raises as :meth:`latest`."""
        self._call("/twin/letters", {"from": customer, "body": text})

    def _call(self, path: str, order: Mapping[str, Any]) -> dict[str, Any]:
        body = json.dumps({"account": self._account, **order})
        try:
            with closing(http.client.HTTPConnection(self._host, timeout=SECONDS)) as caller:
                caller.request("POST", path, body)
                answer = caller.getresponse()
                said: dict[str, Any] = json.loads(answer.read() or b"{}")
        except (OSError, http.client.HTTPException, ValueError) as exc:
            raise NoTwin("The twin does not answer; start it with: ci360-twilio twin") from exc
        if answer.status >= 400:
            raise NoTwin(f"The twin will not: {said.get('error', answer.status)}.")
        return said
