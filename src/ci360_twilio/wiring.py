"""The only place that chooses implementations."""

from __future__ import annotations

import os
import secrets
import time
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ci360_twilio.clients.tenants import CachedTenants, Documents, Folder, Secrets
from ci360_twilio.errors import LedgerUnavailable, LedgerUnusable, SettingsError
from ci360_twilio.flow.accept import Acceptance
from ci360_twilio.logs import Log
from ci360_twilio.ports import Clock, Store
from ci360_twilio.settings import Settings

if TYPE_CHECKING:
    from ci360_twilio.clients.ci360 import Ci360Client
    from ci360_twilio.clients.twilio import TwilioClient
    from ci360_twilio.flow.audience import Gates
    from ci360_twilio.flow.bulk import Bulk, Elsewhere
    from ci360_twilio.flow.catchup import CatchingUp
    from ci360_twilio.flow.chunks import Chunks, Fan
    from ci360_twilio.flow.dating import Dating
    from ci360_twilio.flow.find import Finding
    from ci360_twilio.flow.hear import Listening
    from ci360_twilio.flow.intake import Intake
    from ci360_twilio.flow.pausing import Pausing
    from ci360_twilio.flow.preferences import Preferences
    from ci360_twilio.flow.report import Reporting
    from ci360_twilio.flow.send import Sending
    from ci360_twilio.flow.settle import Settlement
    from ci360_twilio.flow.webhook import Doorkeeper
    from ci360_twilio.ports import Files

LIST_SECONDS, POLL_SECONDS = 600.0, 60.0
"""How often a number's inbound messages are listed: in case a webhook was missed, and where none come."""
REPORTS_AT_ONCE = 100
"""Reports to CI360 that may be under way at one time: at 100 ms each, 1,000 in a second."""
MEMORY_ENTRIES = 50_000
"""Entries that a ledger in memory keeps; about 2 KB each."""


def utc_now() -> datetime:
    """Give the present moment: the product's :class:`ci360_twilio.ports.Clock`."""
    return datetime.now(UTC)


class Parts:
    """One process's implementations, chosen by its settings.

    Each is made when it is first asked for, and only then imported: the direct Lambda needs few.
    """

    def __init__(
        self,
        settings: Settings,
        log: Log,
        store: Store,
        tenants: CachedTenants,
        *,
        trips: bool,
        clock: Clock = utc_now,
    ) -> None:
        self.clock = clock
        self.settings = settings
        self.log = log
        self.store = store
        self.tenants = tenants
        self._trips = trips
        self.fan: Fan | None = None
        """How the chunks of bulk jobs are worked on, if not one by one."""
        self.elsewhere: Elsewhere | None = None
        """Has others enter chunks of bulk jobs, if they are not entered here."""

    @cached_property
    def client(self) -> TwilioClient:
        """Talks to Twilio."""
        from ci360_twilio.clients.twilio import TwilioClient

        return TwilioClient(connections=self.settings.connections)

    @cached_property
    def pausing(self) -> Pausing:
        """Pauses what configuration errors concern."""
        from ci360_twilio.flow.pausing import Pausing

        return Pausing(self.store, self.tenants, self.clock, self.log, trips=self._trips)

    @cached_property
    def acceptance(self) -> Acceptance:
        """Accepts events."""
        return Acceptance(
            self.store,
            self.tenants,
            self.clock,
            self.log,
            event_ttl=self.settings.event_ttl,
            default_sender=self.settings.default_sender,
            names=self.settings.attribute_names,
        )

    @cached_property
    def sending(self) -> Sending:
        """Makes attempts."""
        from ci360_twilio.flow.send import Sending

        return Sending(
            self.store,
            self.client,
            self.tenants,
            self.pausing,
            self.clock,
            self.log,
            lease_seconds=self.settings.lease,
            public_url=self.settings.public_url,
        )

    @cached_property
    def doorkeeper(self) -> Doorkeeper:
        """Lets webhooks in."""
        from ci360_twilio.flow.webhook import Doorkeeper

        return Doorkeeper(self.tenants, public_url=self.settings.public_url)

    @cached_property
    def settlement(self) -> Settlement:
        """Takes status callbacks."""
        from ci360_twilio.flow.settle import Settlement

        return Settlement(self.store, self.store, self.doorkeeper, self.clock, self.log)

    @cached_property
    def listening(self) -> Listening:
        """Takes inbound messages."""
        from ci360_twilio.flow.hear import Listening

        return Listening(self.store, self.doorkeeper, self.clock, self.log)

    @cached_property
    def dating(self) -> Dating:
        """Asks when customers wrote."""
        from ci360_twilio.flow.dating import Dating

        return Dating(self.store, self.client, self.tenants, self.clock, self.log)

    @cached_property
    def catching_up(self) -> CatchingUp:
        """Lists inbound messages that no webhook brought."""
        from ci360_twilio.flow.catchup import CatchingUp

        every = LIST_SECONDS if self.settings.public_url else POLL_SECONDS
        return CatchingUp(
            self.store,
            self.client,
            self.listening,
            self.tenants,
            self.clock,
            self.log,
            every=every,
        )

    @cached_property
    def finding(self) -> Finding:
        """Asks what became of messages."""
        from ci360_twilio.flow.find import Finding

        return Finding(
            self.store,
            self.client,
            self.tenants,
            self.clock,
            self.log,
            unknown_deadline=self.settings.unknown_deadline,
            event_ttl=self.settings.event_ttl,
            lease_seconds=self.settings.lease,
        )

    @cached_property
    def ci360(self) -> Ci360Client:
        """Talks to CI360."""
        return make_ci360(self.settings)

    @cached_property
    def reporting(self) -> Reporting:
        """Tells CI360 of outcomes."""
        from ci360_twilio.flow.report import Reporting

        return Reporting(self.store, self.store, self.ci360, self.tenants, self.clock, self.log)

    @cached_property
    def gates(self) -> Gates:
        """Decides about messages of bulk jobs, besides tenants' documents."""
        return make_gates(self.settings)

    @cached_property
    def intake(self) -> Intake:
        """Takes bulk tasks."""
        from ci360_twilio.flow.intake import Intake

        return Intake(self.store, self.tenants, self.clock, self.log, self.gates)

    @cached_property
    def files(self) -> Files:
        """Keeps bulk jobs' files."""
        return make_files(self.settings)

    @cached_property
    def chunks(self) -> Chunks:
        """Works on the rows of bulk jobs."""
        from ci360_twilio.flow.chunks import Chunks, one_by_one
        from ci360_twilio.stores.firsts import TemporaryFirsts

        return Chunks(
            self.store,
            self.files,
            self.tenants,
            self.clock,
            self.gates,
            firsts=TemporaryFirsts,
            fan=self.fan or one_by_one,
        )

    @cached_property
    def bulk(self) -> Bulk:
        """Works on bulk jobs."""
        from ci360_twilio.clients.signed import SignedAddresses
        from ci360_twilio.flow.bulk import Bulk

        return Bulk(
            self.store,
            self.files,
            self.chunks,
            SignedAddresses(self.settings.bulk_hosts),
            self.clock,
            self.log,
            elsewhere=self.elsewhere,
        )

    @cached_property
    def preferences(self) -> Preferences:
        """Pulls and pushes contact preferences."""
        from ci360_twilio.flow.preferences import Preferences

        return Preferences(self.store, self.ci360, self.tenants, self.clock, self.log)

    def close(self) -> None:
        """Let go of connections and files."""
        for client in ("client", "ci360"):
            if client in self.__dict__:
                getattr(self, client).close()
        self.store.close()


def wire(
    settings: Settings,
    log: Log,
    *,
    trips: bool = True,
    lazily: bool = False,
    writes_many: bool = False,
) -> Parts:
    """Make the parts of a process.

    Args:
        settings: of the process.
        log: hears of everything.
        trips: as :class:`Pausing` takes it.
        lazily: whether a table is opened when something is first written.
        writes_many: whether this process writes a great many rows at one go.

    Raises:
        SettingsError: the settings name no tenants, or something this version does not have.
        LedgerUnavailable: the ledger cannot be opened.
    """
    tenants = make_tenants(settings)
    return Parts(
        settings,
        log,
        make_store(settings, lazily=lazily, writes_many=writes_many),
        tenants,
        trips=trips,
    )


def make_ci360(settings: Settings) -> Ci360Client:
    """Make the client of CI360."""
    from ci360_twilio.clients.ci360 import Ci360Client
    from ci360_twilio.clients.signed import SignedAddresses

    signed = SignedAddresses(settings.bulk_hosts)
    return Ci360Client(signed, connections=REPORTS_AT_ONCE)


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
        ci360_hosts=settings.ci360_hosts,
        seconds=settings.tenant_cache,
        clock=time.monotonic,
    )


def ledger_path(settings: Settings) -> Path | None:
    """Give the file of a SQLite ledger, or ``None`` for other ledgers."""
    scheme, _, rest = settings.ledger.partition(":")
    return Path(rest.removeprefix("///")) if scheme == "sqlite" else None


def make_store(settings: Settings, *, lazily: bool = False, writes_many: bool = False) -> Store:
    """Open the ledger that the settings name; a table when something is first written, if told so."""
    if settings.ledger == "memory:":
        from ci360_twilio.stores.memory import MemoryStore

        return MemoryStore(hash_key=secrets.token_bytes(32), most=MEMORY_ENTRIES)
    path = ledger_path(settings)
    if path is None:
        return _make_table(settings, lazily=lazily)
    from ci360_twilio.stores.sqlite import SqliteStore

    return SqliteStore(path, hash_key=hash_key_of(settings, path), writes_many=writes_many)


def _make_table(settings: Settings, *, lazily: bool) -> Store:
    """Open a ledger in DynamoDB. Its hash key cannot lie beside it: whoever has both could try numbers."""
    if not settings.hash_key:
        words = "A DynamoDB ledger needs CI360_TWILIO_HASH_KEY: a long random secret, kept apart from it."
        raise SettingsError(words)
    from ci360_twilio.stores.dynamodb import DynamoStore
    from ci360_twilio.stores.dynamodb_table import Table, make_client

    name = settings.ledger.partition(":")[2]
    table = Table(make_client(), name)
    return DynamoStore(table, hash_key=settings.hash_key.encode(), lazily=lazily)


def make_gates(settings: Settings) -> Gates:
    """Give what decides about messages of audiences, besides tenants' documents."""
    from ci360_twilio.flow.audience import Gates

    ttl = timedelta(seconds=settings.event_ttl)
    return Gates(ttl, settings.default_sender, settings.attribute_names)


def has_files(settings: Settings) -> bool:
    """Tell whether bulk jobs' files have a place."""
    return settings.files is not None or ledger_path(settings) is not None


def make_files(settings: Settings) -> Files:
    """Choose where bulk jobs' files are.

    Raises:
        SettingsError: a ledger that is nowhere in particular needs to be told.
    """
    from ci360_twilio.clients.files import FolderFiles, make_s3_files

    if settings.files is not None and settings.files.startswith("s3://"):
        return make_s3_files(settings.files)
    if settings.files is not None:
        return FolderFiles(Path(settings.files))
    path = ledger_path(settings)
    if path is not None:
        return FolderFiles(path.with_name(f"{path.name}.jobs"))
    words = "Bulk jobs need CI360_TWILIO_FILES with this ledger: a folder, or s3://bucket/prefix."
    raise SettingsError(words)


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
