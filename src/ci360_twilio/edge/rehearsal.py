"""A rehearsal set up: temporary files, the ledger that is asked, and helpers; see :mod:`flow.rehearse`."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from ci360_twilio.clients.files import FolderFiles
from ci360_twilio.clients.signed import SignedAddresses
from ci360_twilio.core.audience import CREATIVE, parse_columns, parse_options
from ci360_twilio.core.bulk import parse_bulk_payload, parse_job
from ci360_twilio.core.job import Job, State
from ci360_twilio.core.prices import LIST_PRICES, Prices
from ci360_twilio.core.tenant import Tenant, TenantId, parse_tenant_id
from ci360_twilio.edge.workshop import Helpers
from ci360_twilio.errors import AudienceBroken, Ci360Failed, NotKnown, SettingsError, TenantUnknown
from ci360_twilio.flow.accept import Acceptance
from ci360_twilio.flow.bulk import FETCH_SECONDS, FETCH_WORDS, MOST_METADATA
from ci360_twilio.flow.chunks import DATA, METADATA, Checked, Chunks, Fan, one_by_one
from ci360_twilio.flow.rehearse import Events, Report, Stage, Trial, limit_of, report_of
from ci360_twilio.flow.tally import Tally
from ci360_twilio.logs import Log
from ci360_twilio.ports import Foreseen, Store
from ci360_twilio.settings import Settings
from ci360_twilio.stores.firsts import TemporaryFirsts
from ci360_twilio.stores.memory import MemoryStore
from ci360_twilio.wiring import (
    hash_key_of,
    ledger_path,
    make_gates,
    make_store,
    make_tenants,
    utc_now,
)

ALONE = 500_000
"""Bytes of a file up to which helpers would cost more than they bring."""


class Asked(NamedTuple):
    """What a person wants rehearsed."""

    settings: Settings
    tenant_id: TenantId | None
    prices: Prices = LIST_PRICES
    with_ledger: bool = True
    """Whether the ledger is asked for opt-outs and what was sent already."""
    progress: Callable[[int], None] = lambda _: None
    """Hears how many rows were counted."""


def rehearse_audience(asked: Asked, creative: str, audience: Path) -> Report:
    """Rehearse a creative with a file of customers, whose first line names its columns."""
    tenant = _tenant(asked)
    head = _head_of(audience)
    now = utc_now()
    job = Job(
        id="0" * 16,
        tenant_id=tenant.id,
        occurrence_id="rehearsal",
        state=State.CHECKING,
        created_at=now,
        updated_at=now,
        purge_at=now,
        parameters={CREATIVE: creative},
    )

    def put(files: FolderFiles, job: Job) -> None:
        with files.making(f"{job.folder}/{METADATA}") as metadata:
            metadata.write(head)
        files.scratch(f"{job.folder}/{DATA}").with_name(DATA).symlink_to(audience.absolute())

    return _rehearsed(asked, tenant, job, put, kind="audience", size=audience.stat().st_size)


def rehearse_bulk(asked: Asked, body: bytes) -> Report:
    """Rehearse a bulk task: its files are fetched, and nothing else is done."""
    payload = parse_bulk_payload(body)
    if payload is None:
        raise SettingsError("The body asks for nothing.")
    tenant = _tenant(asked, payload.tenant_id)
    gates = make_gates(asked.settings)
    job, issues = parse_job(
        payload,
        tenant,
        utc_now(),
        gates.ttl,
        default_sender=gates.default_sender,
        names=gates.names,
    )
    if issues:
        words = "; ".join(f"{issue.field} {issue}" for issue in issues)
        raise SettingsError(f"The task cannot be used: {words}.")
    signed = SignedAddresses(asked.settings.bulk_hosts)

    def put(files: FolderFiles, job: Job) -> None:
        for name, url in ((METADATA, job.metadata_url), (DATA, job.data_url)):
            place = files.scratch(f"{job.folder}/{name}")
            try:
                signed.resume(url, place, timeout=FETCH_SECONDS)
            except Ci360Failed as exc:
                words = FETCH_WORDS.get(exc.reason, f"{exc.message} ({exc.reason})")
                raise NotKnown(f"The {name} file: {words}") from exc
            files.adopt(f"{job.folder}/{name}", place)

    return _rehearsed(asked, tenant, job, put, kind="bulk", size=ALONE + 1)


def rehearse_events(asked: Asked, lines: Iterator[bytes]) -> Report:
    """Rehearse events, each a line as CI360 would post it."""
    settings = asked.settings
    tenants = make_tenants(settings)
    with _ledger(asked) as store:
        acceptance = Acceptance(
            Trial(store, Foreseen()),
            tenants,
            utc_now,
            Log(level="error"),
            event_ttl=settings.event_ttl,
            default_sender=settings.default_sender,
            names=settings.attribute_names,
        )
        tally, found = Events(acceptance).tally(lines)
        found |= {asked.tenant_id} if asked.tenant_id is not None else set()
        if len(found) > 1:
            raise SettingsError("The events are of several tenants; rehearse each for itself.")
        if not found:
            raise SettingsError("No event is one of a known tenant; name it with --tenant.")
        return _report(asked, tenants.get(found.pop()), tally, store, "events")


def _head_of(audience: Path) -> bytes:
    """Give the first row of a file as it stands there; its names may hold line breaks."""
    lines: list[bytes] = []
    with audience.open("rb") as file:

        def each() -> Iterator[str]:
            while raw := file.readline(MOST_METADATA):
                lines.append(raw)
                yield raw.decode("utf-8-sig", errors="replace")

        try:
            next(csv.reader(each(), strict=True), None)
            head = b"".join(lines)
            parse_columns(head)
        except (csv.Error, AudienceBroken) as exc:
            words = f"The first line of {audience.name} names no columns; it must be a CSV header."
            raise SettingsError(words) from exc
    return head


def _rehearsed(
    asked: Asked,
    tenant: Tenant,
    job: Job,
    put: Callable[[FolderFiles, Job], None],
    *,
    kind: str,
    size: int,
) -> Report:
    with tempfile.TemporaryDirectory(prefix="ci360-twilio-rehearsal-") as folder:
        root = Path(folder)
        make = partial(_make_stage, asked, root, is_merged=kind == "audience")
        several = parse_options(job.parameters, []).duplicates == "all"
        # Where a recipient may get several messages, those of one chunk count for the next.
        helpers = Helpers(make) if size > ALONE and not several else None
        so_far = Foreseen(knows_keys=False) if several else None
        try:
            files = FolderFiles(root)
            put(files, job)
            with _ledger(asked) as store:
                chunks, stage = _staged(
                    asked, root, store, helpers, so_far, is_merged=kind == "audience"
                )
                job = msgspec.structs.replace(job, columns=chunks.columns(job).names)
                checked = chunks.check(job)
                tally = Tally()
                for one in (helpers or one_by_one)(stage.tally, job, chunks.plan(job)):
                    tally.add(one)
                    asked.progress(tally.rows)
                limit = limit_of(job)
                return _report(asked, tenant, tally, store, kind, checked=checked, limit=limit)
        finally:
            if helpers is not None:
                helpers.close()


def _make_stage(asked: Asked, root: Path, *, is_merged: bool) -> Stage:
    """Make a helper's part of a rehearsal."""
    store = _open(asked)
    return _staged(asked, root, store, None, None, is_merged=is_merged)[1]


def _staged(
    asked: Asked,
    root: Path,
    store: Store,
    fan: Fan | None,
    so_far: Foreseen | None,
    *,
    is_merged: bool,
) -> tuple[Chunks, Stage]:
    tenants, gates = make_tenants(asked.settings), make_gates(asked.settings)
    chunks = Chunks(
        Trial(store, so_far),
        FolderFiles(root),
        tenants,
        utc_now,
        gates,
        firsts=TemporaryFirsts,
        fan=fan or one_by_one,
    )
    return chunks, Stage(chunks, tenants, gates, is_merged=is_merged)


def _report(
    asked: Asked,
    tenant: Tenant,
    tally: Tally,
    store: Store,
    kind: str,
    checked: Checked | None = None,
    limit: float | None = None,
) -> Report:
    return report_of(
        tally,
        kind=kind,
        tenant=tenant,
        now=utc_now(),
        ttl=make_gates(asked.settings).ttl,
        pauses=store.pauses(),
        prices=asked.prices,
        checked=checked,
        limit=limit,
    )


def _tenant(asked: Asked, named: object = None) -> Tenant:
    if asked.tenant_id is None and named is None:
        raise SettingsError("Say whose campaign it is: --tenant T.")
    tenant_id = asked.tenant_id or parse_tenant_id(named)
    if named is not None and named != tenant_id:
        raise SettingsError("The task is of another tenant than --tenant says.")
    try:
        return make_tenants(asked.settings).get(tenant_id)
    except TenantUnknown as exc:
        raise SettingsError(f"There is no tenant {tenant_id}.") from exc


@contextmanager
def _ledger(asked: Asked) -> Iterator[Store]:
    store = _open(asked)
    try:
        yield store
    finally:
        store.close()


def _open(asked: Asked) -> Store:
    """Open the ledger that is asked; where there is none yet, one without anything in it."""
    settings = asked.settings
    path = ledger_path(settings)
    is_there = settings.ledger != "memory:" and (path is None or path.exists())
    if asked.with_ledger and is_there:
        return make_store(settings)
    key = hash_key_of(settings, path) if path is not None and path.exists() else b"rehearsal"
    return MemoryStore(hash_key=key)
