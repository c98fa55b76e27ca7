"""``consent import``, ``export``, ``pull`` and ``push``: lists of wishes, in and out."""

from __future__ import annotations

import argparse
import csv
import gc
import io
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ci360_twilio.core.consent import EVERY_SENDER, Consent
from ci360_twilio.core.preference import EXPORTED, Bad
from ci360_twilio.core.tenant import Tenant
from ci360_twilio.edge.cli.asking import confirmed, counted, who
from ci360_twilio.edge.cli.given import country_named, open_ledger, tenant_of
from ci360_twilio.edge.cli.screen import cell, new_file, printable
from ci360_twilio.edge.cli.serve import make_log
from ci360_twilio.errors import Ci360Failed, SettingsError
from ci360_twilio.flow.consenting import Consenting, Imported, csv_rows, moment_words
from ci360_twilio.flow.preferences import STEP, Preferences, Stage
from ci360_twilio.ports import Store
from ci360_twilio.settings import read_settings
from ci360_twilio.wiring import make_ci360, make_store, make_tenants, utc_now

_BAD = {
    Bad.NUMBER: "hold no number that can be read (national ones need --region)",
    Bad.STATE: "say neither in nor out",
    Bad.PROGRAM: "are about something else than all text messages",
    Bad.GROUP: "are about another group of senders (name it with --group)",
    Bad.SHORT: "have too few fields",
}
_PATIENCE = 3_600.0
"""Seconds for which a job of CI360's is waited for."""


@contextmanager
def consenting(*, fresh: bool = False) -> Iterator[tuple[Store, Consenting]]:
    """Open the ledger; ``fresh`` lets it be made."""
    settings = read_settings()
    store = make_store(settings) if fresh and settings.ledger != "memory:" else open_ledger()
    try:
        yield store, Consenting(store, utc_now, make_log(settings, "consent"))
    finally:
        store.close()


def known_tenant(options: argparse.Namespace) -> Tenant:
    """Give the tenant that is named, and has the group of senders that is named, if one is.

    Wishes of a tenant or group that does not exist would hold for nobody.
    """
    tenant = make_tenants(read_settings()).get(tenant_of(options.tenant))
    groups = set(tenant.consent_groups.values())
    if options.group not in {EVERY_SENDER, *groups}:
        known = ", ".join(sorted(groups)) or "none"
        raise SettingsError(f"The tenant has no such group of senders; it has {known}.")
    return tenant


def import_list(options: argparse.Namespace) -> int:
    """Carry out ``consent import``."""
    tenant = known_tenant(options)
    region = country_named(options.region) if options.region else tenant.default_region
    with (
        _opened(options.file) as (text, whole),
        consenting(fresh=True) as (_, wishes),
        _bar("rows", whole) as at,
        _uncollected(),
    ):
        done = wishes.import_rows(
            tenant.id,
            csv_rows(text),
            by=who(),
            group=options.group,
            region=region,
            progress=lambda rows: at(rows, _position(text)),
        )
    return _tell_imported(done)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Look for no garbage in cycles meanwhile: of what rows make, nothing lies in any."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _tell_imported(done: Imported) -> int:
    print(f"{counted(done.rows, 'row')} read, {counted(done.changed, 'consent')} changed.")
    if done.stateless:
        print("  No column says in or out: all were taken for opt-outs.")
    for bad, number in done.bad.most_common():
        print(f"  {number:,} left out: they {_BAD[bad]}.")
    if done.lines:
        lines = ", ".join(f"{line:,}" for line, _ in done.lines)
        more = " and more" if done.bad.total() > len(done.lines) else ""
        print(f"  Lines {lines}{more}.")
    return 1 if done.bad else 0


@contextmanager
def _opened(name: str) -> Iterator[tuple[IO[str], int | None]]:
    """Open a list; gives its size, too, if that is known."""
    if name == "-":
        yield io.TextIOWrapper(sys.stdin.buffer, "utf-8-sig", errors="replace", newline=""), None
        return
    path = Path(name)
    try:
        file = path.open(encoding="utf-8-sig", errors="replace", newline="")
    except OSError as exc:
        raise SettingsError(f"{name} cannot be read: {exc.strerror}.") from exc
    with file:
        yield file, path.stat().st_size


def _position(text: IO[str]) -> int:
    """Tell how many bytes of a file were read; 0 for what is no file."""
    try:
        return text.buffer.tell() if text is not sys.stdin else 0  # type: ignore[attr-defined]
    except OSError:
        return 0


@contextmanager
def _bar(noun: str, whole: int | None) -> Iterator[Callable[[int, int], None]]:
    """Show how far a command has come, on a terminal and where the library for it is installed.

    What is given is told how many there are by now, and how many bytes of the whole were read.
    """
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda _number, _read: None
        return
    with tqdm(total=whole, unit="B", unit_scale=True, disable=None, leave=False) as bar:

        def at(number: int, read: int) -> None:
            bar.set_postfix_str(f"{number:,} {noun}", refresh=False)
            bar.update(read - bar.n)

        yield at


def export_list(options: argparse.Namespace) -> int:
    """Carry out ``consent export``."""
    with consenting() as (_, wishes), _target(options.to) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(EXPORTED)
        written = erased = 0
        for consent in wishes.each(tenant_of(options.tenant), tuple(options.state)):
            if consent.recipient is None:
                erased += 1
                continue
            writer.writerow(map(cell, _exported(consent)))
            written += 1
    if options.to is not None:
        print(f"{counted(written, 'consent')} written to {options.to}, which only you can read.")
    if erased:
        words = f"{counted(erased, 'consent')} of erased people left out: in force, but nameless."
        print(words, file=sys.stderr)
    return 0


def _exported(consent: Consent) -> tuple[str, ...]:
    standing = consent.standing or consent.favour
    source = standing[-1].source.value if standing else ""
    since = moment_words(consent.since)
    return (consent.recipient or "", consent.state, since, source, consent.group)


@contextmanager
def _target(path: Path | None) -> Iterator[IO[str]]:
    """Open a file that only its owner reads, or the screen."""
    if path is None:
        yield sys.stdout
        return
    with new_file(path) as file:
        yield file


@contextmanager
def _preferences(options: argparse.Namespace) -> Iterator[tuple[Tenant, Preferences]]:
    settings = read_settings()
    tenants = make_tenants(settings)
    tenant = tenants.get(tenant_of(options.tenant))
    if tenant.ci360 is None:
        raise SettingsError("The tenant's document names no ci360_api_url; see docs/tenants.md.")
    client = make_ci360(settings)
    try:
        with consenting(fresh=True) as (store, _):
            log = make_log(settings, "consent")
            yield tenant, Preferences(store, client, tenants, utc_now, log)
    finally:
        client.close()


def pull(options: argparse.Namespace) -> int:
    """Carry out ``consent pull``."""
    try:
        with _preferences(options) as (tenant, preferences):
            files = _wait(preferences, tenant, preferences.start_pull(tenant))
            if files is None:
                return 1
            with _bar("rows", None) as at:
                done = preferences.take(
                    tenant, files, by=who(), progress=lambda rows: at(rows, rows)
                )
    except Ci360Failed as exc:
        return _failed(exc)
    return max([_tell_imported(one) for one in done], default=0)


def push(options: argparse.Namespace) -> int:
    """Carry out ``consent push``."""
    try:
        with _preferences(options) as (tenant, preferences):
            pages = list(preferences.to_push(tenant.id))
            number = sum(map(len, pages))
            if not number:
                print("There is no wish that CI360 could take over.")
                return 0
            print(f"CI360 will take over {counted(number, 'wish', 'wishes')}.")
            if not confirmed("Push?", yes=options.yes):
                return 1
            for page in pages:
                if _wait(preferences, tenant, preferences.start_push(tenant, page)) is None:
                    return 1
    except Ci360Failed as exc:
        return _failed(exc)
    print(f"CI360 has taken over {counted(number, 'wish', 'wishes')}.")
    return 0


def _wait(preferences: Preferences, tenant: Tenant, job: str) -> Sequence[Mapping[str, Any]] | None:
    """Wait for a job; gives the files that it made, or ``None`` if it came to nothing."""
    print(f"CI360's job {printable(job)} is under way; this takes minutes.", flush=True)
    until, pause = time.monotonic() + _PATIENCE, 1.0
    while True:
        found = preferences.ask(tenant, job)
        if found.stage is Stage.DONE:
            return found.files
        if found.stage is Stage.FAILED or time.monotonic() > until:
            print(f"It came to nothing: {printable(found.words)}.", file=sys.stderr)
            return None
        time.sleep(pause)
        pause = min(pause * 2, STEP.total_seconds())


def _failed(exc: Ci360Failed) -> int:
    said = f" CI360 says: {printable(exc.said)}" if exc.said not in ("", exc.message) else ""
    print(f"ci360-twilio: {exc.message} ({exc.reason}){said}", file=sys.stderr)
    return 1
