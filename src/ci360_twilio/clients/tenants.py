"""Tenants' documents: from a folder or from AWS Secrets Manager, behind one cache."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ci360_twilio.aws import make_client
from ci360_twilio.core.tenant import Tenant, TenantId, parse_tenant, parse_tenant_id
from ci360_twilio.errors import (
    Issue,
    SettingsError,
    TenantBroken,
    TenantUnavailable,
    TenantUnknown,
)

UNKNOWN_SECONDS = 30.0
"""How long an unknown tenant, or a broken document, is remembered."""
OUTAGE_SECONDS = 3.0
"""How long a store that could not be asked is not asked again for the same tenant: every question
may take seconds, and other tenants' events wait behind it."""
REREAD_SECONDS = 5.0
"""At most one re-read of a tenant's document in this time."""
MAX_CACHED = 10_000
"""Remembered ids; beyond it the ones asked for longest ago are forgotten."""
SAMPLE_REGION = "us-east-1"
"""Where SAS's sample reads secrets, wherever it runs itself."""


class Documents(Protocol):
    """Where documents come from."""

    def read(self, tenant_id: TenantId) -> bytes | str:
        """Give a tenant's document.

        Raises:
            TenantUnknown: there is none.
            TenantUnavailable: it cannot be read just now.
        """
        ...


class Folder:
    """Documents as ``<tenant id>.json`` in a folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, tenant_id: TenantId) -> bytes:
        """Read one file; the id is checked again, since it becomes part of a path."""
        path = self._path / f"{parse_tenant_id(tenant_id)}.json"
        try:
            return path.read_bytes()
        except FileNotFoundError:
            if not self._path.is_dir():
                raise TenantUnavailable("The folder of tenants is not there.") from None
            raise TenantUnknown("There is no such tenant.") from None
        except OSError as exc:
            words = f"The tenant's file cannot be read: {exc.strerror}."
            raise TenantUnavailable(words) from exc

    def ids(self) -> list[TenantId]:
        """List the tenants that have a file."""
        return sorted(TenantId(path.stem) for path in self._path.glob("*.json"))


class Secrets:
    """Documents as secrets in AWS Secrets Manager: prefix and tenant id are the secret's name."""

    def __init__(self, prefix: str, region: str | None = None) -> None:
        """Make the reader; the client is made at the first read.

        Args:
            prefix: what stands before the tenant id in a secret's name.
            region: where the secrets are; the process's own region unless told.
        """
        self._prefix = prefix
        self._region = region
        self._clients: dict[str | None, Any] = {}
        self._lock = threading.Lock()

    def read(self, tenant_id: TenantId) -> str:
        """Read one secret; one missing in the own region is looked for where the sample keeps them."""
        name = f"{self._prefix}{parse_tenant_id(tenant_id)}"
        try:
            return self._read(name, self._region)
        except TenantUnknown:
            own = self._client(self._region).meta.region_name
            if self._region is not None or own == SAMPLE_REGION:
                raise
            return self._read(name, SAMPLE_REGION)

    def _read(self, name: str, region: str | None) -> str:
        client = self._client(region)  # which says what is missing, if botocore is
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            secret = client.get_secret_value(SecretId=name).get("SecretString")
        except ClientError as exc:
            code = exc.response.get("Error", {}).get("Code", "")
            # the latter is what a secret is said to be that was removed and can still be had back
            missing = code in ("ResourceNotFoundException", "InvalidRequestException")
            # a role made for the own region alone may not look elsewhere, and need not
            if missing or (code == "AccessDeniedException" and region != self._region):
                raise TenantUnknown("There is no such secret.") from None
            raise TenantUnavailable(f"Secrets Manager answered {code}.") from None
        except BotoCoreError as exc:
            words = f"Secrets Manager could not be asked ({type(exc).__name__})."
            raise TenantUnavailable(words) from None
        if not isinstance(secret, str):
            raise TenantBroken("The secret is binary.", Issue("document", "is not text"))
        return secret

    def _client(self, region: str | None) -> Any:
        with self._lock:
            if region not in self._clients:
                self._clients[region] = _secrets_client(region)
            return self._clients[region]


def _secrets_client(region: str | None) -> Any:
    retries = {"mode": "standard", "total_max_attempts": 2}
    try:
        return make_client(
            "secretsmanager", region, connect_timeout=3, read_timeout=5, retries=retries
        )
    except SettingsError as exc:
        raise TenantUnavailable(exc.message) from exc


class _Cached(NamedTuple):
    answer: Tenant | TenantUnknown | TenantBroken | TenantUnavailable
    read_at: float


class CachedTenants:
    """Tenants with a cache of bounded age and size; see :class:`ci360_twilio.ports.Tenants`."""

    def __init__(
        self,
        documents: Documents,
        *,
        hosts: tuple[str, ...] = (),
        ci360_hosts: tuple[str, ...] = (),
        seconds: float = 300.0,
        clock: Callable[[], float],
    ) -> None:
        """Make the cache.

        Args:
            documents: where documents come from.
            hosts: hosts that a document may name besides Twilio's.
            ci360_hosts: the same besides CI360's.
            seconds: how long a good document is used before it is read again.
            clock: gives seconds that only grow.
        """
        self._documents = documents
        self._hosts = hosts
        self._ci360_hosts = ci360_hosts
        self._seconds = seconds
        self._clock = clock
        self._cache: OrderedDict[TenantId, _Cached] = OrderedDict()
        self._reread_at: dict[TenantId, float] = {}
        self._lock = threading.Lock()

    def get(self, tenant_id: TenantId) -> Tenant:
        """Give a tenant from the cache, or read its document."""
        cached = self._cache.get(tenant_id)
        if cached is None or self._is_old(cached):
            cached = self._renew(tenant_id, cached)
        if isinstance(cached.answer, Tenant):
            return cached.answer
        raise type(cached.answer)(cached.answer.message, *cached.answer.issues)

    def reread(self, tenant_id: TenantId) -> Tenant:
        """Read the document now, at most once in a few seconds."""
        with self._lock:
            now, last = self._clock(), self._reread_at.get(tenant_id)
            due = last is None or now - last >= REREAD_SECONDS
            if due:
                self._reread_at[tenant_id] = now
        if due:
            self._renew(tenant_id, self._cache.get(tenant_id))
        return self.get(tenant_id)

    def known(self) -> list[Tenant]:
        """Give the tenants that have been asked for and could be used, as they were read last."""
        answers = [cached.answer for cached in list(self._cache.values())]
        return [answer for answer in answers if isinstance(answer, Tenant)]

    def _is_old(self, cached: _Cached) -> bool:
        most = self._seconds
        if isinstance(cached.answer, TenantUnavailable):
            most = min(OUTAGE_SECONDS, most)
        elif not isinstance(cached.answer, Tenant):
            most = min(UNKNOWN_SECONDS, most)
        return self._clock() - cached.read_at > most

    def _renew(self, tenant_id: TenantId, old: _Cached | None) -> _Cached:
        """Read and remember; while the store is down a good document stays in use."""
        answer = self._read(tenant_id)
        if isinstance(answer, TenantUnavailable) and old and isinstance(old.answer, Tenant):
            answer = old.answer
        fresh = _Cached(answer, self._clock())
        with self._lock:
            self._cache[tenant_id] = fresh
            self._cache.move_to_end(tenant_id)
            while len(self._cache) > MAX_CACHED:
                forgotten, _ = self._cache.popitem(last=False)
                self._reread_at.pop(forgotten, None)
        return fresh

    def _read(
        self, tenant_id: TenantId
    ) -> Tenant | TenantUnknown | TenantBroken | TenantUnavailable:
        try:
            document = self._documents.read(tenant_id)
            return parse_tenant(document, tenant_id, self._hosts, self._ci360_hosts)
        except (TenantUnknown, TenantBroken, TenantUnavailable) as exc:
            return exc.with_traceback(None)
