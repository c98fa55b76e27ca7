"""CI360's gateway: external events, files of events, and contact preferences.

Addresses and bodies are those of SAS's own samples (sassoftware/ci360-extensions: ``ci360-scr-gateway``
for events, ``ci-360-manage-contact-preferences`` for preferences). What a refusal looks like is not
documented: only statuses and the error ids of SAS's agent are told apart.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ci360_twilio import __version__
from ci360_twilio.clients.answers import json_object, seconds_of
from ci360_twilio.clients.connections import (
    Connections,
    HttpAnswer,
    NoAnswer,
    NotConnected,
)
from ci360_twilio.clients.signed import SignedAddresses
from ci360_twilio.core.ci360 import Ci360
from ci360_twilio.core.outcome import ExternalEvent
from ci360_twilio.core.tenant import Tenant
from ci360_twilio.errors import AddressRefused, Ci360Failed, Trouble

IMPORT, EXPORT = "CONTACT_PREFERENCE_SMS_IMPORT", "CONTACT_PREFERENCE_SMS_EXPORT"
_LONGEST_SAID = 500
"""Characters of CI360's words that are kept."""
_DENIED_IDS = re.compile(r"MKTCMN(?:74224|74248|74261|74265|74282)")
"""A token that is bad, of no tenant, or of no access point; an agent too old; no licence."""
_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


class Ci360Client:
    """Talks to CI360; keeps one pool of connections per address, safe for many threads."""

    def __init__(self, signed: SignedAddresses, *, connections: int = 50) -> None:
        """Make a client.

        Args:
            signed: moves files to and from the addresses that CI360 hands out.
            connections: that are kept for each address.
        """
        self._signed = signed
        self._connections = connections
        self._pools: dict[tuple[str, str, int | None], Connections] = {}

    def tell(self, tenant: Tenant, event: ExternalEvent, *, timeout: float = 10.0) -> None:
        """Post one event; see :class:`ci360_twilio.ports.Reporter` for the contract."""
        ci360 = _ci360(tenant)
        self._request("POST", ci360.events_url, ci360, event.body, timeout)

    def tell_many(
        self, tenant: Tenant, events: Sequence[ExternalEvent], *, timeout: float = 120.0
    ) -> None:
        """Upload a file of events; see :class:`ci360_twilio.ports.Reporter` for the contract."""
        address = self.bulk_location(tenant)
        self._move(lambda: self._signed.put(address, rows(events), _BYTES, timeout=timeout))

    def bulk_location(self, tenant: Tenant, *, timeout: float = 10.0) -> object:
        """Ask for an address for a file of events; nothing comes of one that is not used.

        Raises:
            Ci360Failed: CI360 gave none.
        """
        ci360 = _ci360(tenant)
        body = msgspec.json.encode({"version": 1, "applicationId": ci360.application_id})
        answer = self._request("POST", ci360.bulk_url, ci360, body, timeout)
        links = json_object(answer.body).get("links")
        found = [
            link.get("href")
            for link in (links if isinstance(links, list) else [])
            if isinstance(link, dict) and link.get("rel") == "self"
        ]
        if not found:
            raise _unreadable()
        return found[0]

    def upload_preferences(self, tenant: Tenant, file: bytes, *, timeout: float = 300.0) -> object:
        """Put a file of contact preferences where CI360 says; gives its address.

        Raises:
            Ci360Failed: it was not taken.
        """
        ci360 = _ci360(tenant)
        url = f"{ci360.data_url}/fileTransferLocation"
        address = json_object(self._request("POST", url, ci360, b"", 30.0).body).get("signedURL")
        self._move(lambda: self._signed.put(address, file, "text/csv", timeout=timeout))
        return address

    def start_job(self, tenant: Tenant, kind: str, **members: Any) -> str:
        """Start a job on contact preferences; gives its id. Raises as :meth:`tell`."""
        ci360 = _ci360(tenant)
        body = msgspec.json.encode({"jobType": kind, **members})
        url = f"{ci360.data_url}/tableJobs/"
        job = json_object(self._request("POST", url, ci360, body, 30.0).body).get("id")
        if not isinstance(job, str) or not _JOB_ID.fullmatch(job):
            raise _unreadable()
        return job

    def ask_job(self, tenant: Tenant, job: str) -> dict[str, Any]:
        """Ask how a job is doing; gives what CI360 says of it. Raises as :meth:`tell`."""
        ci360 = _ci360(tenant)
        url = f"{ci360.data_url}/tableJobs/{job}"
        return json_object(self._request("GET", url, ci360, None, 30.0).body)

    def fetch_file(
        self, address: object, into: io.BufferedRandom, *, timeout: float = 600.0
    ) -> int:
        """Fetch a file that a job has made; gives its size. Raises as :meth:`tell`."""
        sizes: list[int] = []
        self._move(lambda: sizes.append(self._signed.fetch(address, into, timeout=timeout)))
        return sizes[0]

    def close(self) -> None:
        """Close all connections that rest."""
        for pool in list(self._pools.values()):
            pool.close()

    def _request(
        self, method: str, url: str, ci360: Ci360, body: bytes | None, timeout: float
    ) -> HttpAnswer:
        parts = urlsplit(url)
        address = (parts.scheme, parts.hostname or "", parts.port)
        pool = self._pools.get(address)
        if pool is None:
            pool = self._pools.setdefault(address, Connections(*address, keep=self._connections))
        headers = {
            "Authorization": f"Bearer {ci360.bearer}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": f"ci360-twilio-connector/{__version__}",
        }
        try:
            answer = pool.request(method, parts.path, headers, body, timeout)
        except (NotConnected, NoAnswer) as exc:
            words = "CI360 could not be reached, or its answer was lost."
            raise Ci360Failed(words, trouble=Trouble.AWAY, reason=str(exc)) from exc
        if not 200 <= answer.status < 300:
            raise _failed(answer)
        return answer

    def _move(self, transfer: Any) -> None:
        """Move a file; an address that may not be called is as if CI360 had given none."""
        try:
            transfer()
        except AddressRefused as exc:
            raise Ci360Failed(
                exc.message, trouble=Trouble.REFUSED, reason=exc.code, said=exc.message
            ) from exc


_BYTES = "application/octet-stream"


def rows(events: Sequence[ExternalEvent]) -> bytes:
    """Write a file of events: ``name,identity,value,attribute,value,...`` by line, without a header."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(event.row for event in events)
    return text.getvalue().encode()


def _ci360(tenant: Tenant) -> Ci360:
    if tenant.ci360 is None:
        raise Ci360Failed(
            "The tenant's document names no CI360.", trouble=Trouble.DENIED, reason="not_set_up"
        )
    return tenant.ci360


def _failed(answer: HttpAnswer) -> Ci360Failed:
    """Tell what an error answer means.

    A 403 says that more was sent than is allowed (700,000 requests in 5 minutes from one address,
    communities.sas.com ta-p/973818) as well as that the token is wrong; only an error id tells.
    """
    status, said = answer.status, _said(answer)
    trouble = Trouble.REFUSED
    if status == HTTPStatus.UNAUTHORIZED or _DENIED_IDS.search(said) or 300 <= status < 400:
        trouble = Trouble.DENIED
    elif status in (HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS):
        trouble = Trouble.THROTTLED
    elif status >= 500 or status == HTTPStatus.REQUEST_TIMEOUT:
        trouble = Trouble.AWAY
    elif status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED) and not json_object(
        answer.body
    ):
        trouble = Trouble.DENIED  # not CI360's own words: the address leads elsewhere
    return Ci360Failed(
        f"CI360 answered {status}.",
        trouble=trouble,
        reason=f"ci360_http_{status}",
        said=said,
        retry_after=seconds_of(answer.headers.get("Retry-After")),
    )


def _said(answer: HttpAnswer) -> str:
    """Give CI360's words: the message of its JSON, or the text as it is."""
    message = json_object(answer.body).get("message")
    text = message if isinstance(message, str) else answer.body[:4_096].decode(errors="replace")
    return " ".join(text.split())[:_LONGEST_SAID]


def _unreadable() -> Ci360Failed:
    words = "CI360's answer cannot be read."
    return Ci360Failed(words, trouble=Trouble.AWAY, reason="unreadable_answer")
