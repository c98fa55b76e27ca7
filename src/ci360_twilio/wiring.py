"""The only place that chooses implementations."""

from __future__ import annotations

import os
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from ci360_twilio.clients.tenants import CachedTenants, Documents, Folder, Secrets
from ci360_twilio.clients.twilio import TwilioClient
from ci360_twilio.errors import LedgerUnavailable, LedgerUnusable, SettingsError
from ci360_twilio.flow.accept import Acceptance
from ci360_twilio.flow.find import Finding
from ci360_twilio.flow.pausing import Pausing
from ci360_twilio.flow.send import Sending
from ci360_twilio.flow.settle import Settlement
from ci360_twilio.logs import Log
from ci360_twilio.ports import Store
from ci360_twilio.settings import Settings

MEMORY_ENTRIES = 50_000
"""Entries that a ledger in memory keeps; about 2 KB each."""


def utc_now() -> datetime:
    """Give the present moment: the product's :class:`ci360_twilio.ports.Clock`."""
    return datetime.now(UTC)


class Parts(NamedTuple):
    """One process's implementations, chosen by its settings."""

    settings: Settings
    log: Log
    store: Store
    tenants: CachedTenants
    client: TwilioClient
    acceptance: Acceptance
    sending: Sending
    pausing: Pausing
    settlement: Settlement
    finding: Finding

    def close(self) -> None:
        """Let go of connections and files."""
        self.client.close()
        self.store.close()


def wire(settings: Settings, log: Log, *, trips: bool = True) -> Parts:
    """Make the parts of a process; ``trips`` as :class:`Pausing` takes it.

    Raises:
        SettingsError: the settings name no tenants, or something this version does not have.
        LedgerUnavailable: the ledger cannot be opened.
    """
    tenants = make_tenants(settings)
    store = make_store(settings)
    client = TwilioClient(connections=settings.connections)
    pausing = Pausing(store, tenants, utc_now, log, trips=trips)
    return Parts(
        settings=settings,
        log=log,
        store=store,
        tenants=tenants,
        client=client,
        acceptance=Acceptance(
            store,
            tenants,
            utc_now,
            log,
            event_ttl=settings.event_ttl,
            default_sender=settings.default_sender,
            names=settings.attribute_names,
        ),
        sending=Sending(
            store,
            client,
            tenants,
            pausing,
            utc_now,
            log,
            lease_seconds=settings.lease,
            public_url=settings.public_url,
        ),
        pausing=pausing,
        settlement=Settlement(store, store, tenants, utc_now, log, public_url=settings.public_url),
        finding=Finding(
            store,
            client,
            tenants,
            utc_now,
            log,
            unknown_deadline=settings.unknown_deadline,
            event_ttl=settings.event_ttl,
            lease_seconds=settings.lease,
        ),
    )


def make_documents(settings: Settings) -> Folder | Secrets:
    """Choose where tenants' documents come from."""
    if settings.tenants is not None:
        return Folder(settings.tenants)
    if settings.sm_secret_id_prefix is not None:
        return Secrets(settings.sm_secret_id_prefix, settings.secrets_region)
    words = (
        "There are no tenants: set CI360_TWILIO_TENANTS to a folder of <tenant id>.json, "
        "or sm_secret_id_prefix for AWS Secrets Manager."
    )
    raise SettingsError(words)


def make_tenants(settings: Settings) -> CachedTenants:
    """Put the cache in front of the documents."""
    documents: Documents = make_documents(settings)
    return CachedTenants(
        documents,
        hosts=settings.twilio_hosts,
        seconds=settings.tenant_cache,
        clock=time.monotonic,
    )


def ledger_path(settings: Settings) -> Path | None:
    """Give the file of a SQLite ledger, or ``None`` for other ledgers."""
    scheme, _, rest = settings.ledger.partition(":")
    return Path(rest.removeprefix("///")) if scheme == "sqlite" else None


def make_store(settings: Settings) -> Store:
    """Open the ledger that the settings name."""
    if settings.ledger == "memory:":
        from ci360_twilio.stores.memory import MemoryStore

        return MemoryStore(hash_key=secrets.token_bytes(32), most=MEMORY_ENTRIES)
    path = ledger_path(settings)
    if path is None:
        raise SettingsError("This version has no DynamoDB ledger; use sqlite:////path or memory:.")
    from ci360_twilio.stores.sqlite import SqliteStore

    return SqliteStore(path, hash_key=hash_key_of(settings, path))


def hash_key_of(settings: Settings, path: Path) -> bytes:
    """Give the key of the hashes, made once and kept beside the ledger, not in it."""
    if settings.hash_key:
        return settings.hash_key.encode()
    beside = path.with_name(f"{path.name}.key")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = beside.with_name(f"{beside.name}.{os.getpid()}")
        if not beside.exists():
            descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32))
                file.flush()
                os.fsync(descriptor)
            try:
                os.link(made, beside)  # the first of several processes wins
            except FileExistsError:
                pass
            finally:
                made.unlink()
        key = beside.read_bytes().strip()
    except OSError as exc:
        words = f"The ledger's hash key cannot be read or made: {exc.strerror}."
        raise LedgerUnavailable(words) from exc
    if not key:
        raise LedgerUnusable(f"{beside} is empty: put the ledger's key back.")
    return key
