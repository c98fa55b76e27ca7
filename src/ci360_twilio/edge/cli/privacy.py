"""``erase`` and ``export``: what is known of one person, forgotten or handed out."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from ci360_twilio.core.ci360 import IDENTITY_KEYS
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.cli.asking import add_asking, add_reason, confirmed, counted, who
from ci360_twilio.edge.cli.given import (
    asked,
    asked_number,
    open_ledger,
    region_of,
    tenant_of,
)
from ci360_twilio.edge.cli.screen import new_file, print_json, printable
from ci360_twilio.edge.cli.serve import make_log
from ci360_twilio.errors import NotKnown
from ci360_twilio.flow.erase import Erasing, Person, dossier
from ci360_twilio.ports import About, Erased, Store
from ci360_twilio.settings import read_settings
from ci360_twilio.stores.traces import copies_beside, ledger_files, look_through
from ci360_twilio.wiring import ledger_path, utc_now

Run = Callable[[argparse.Namespace], int]

MOST_NOTES = 10_000


def add_erase(command: argparse.ArgumentParser) -> Run:
    """Declare ``erase``."""
    _add_person(command)
    add_reason(command)
    add_asking(command)
    command.epilog = (
        "Asks for the number or identity, or reads it from standard input: what stands in a "
        "command line, others on this machine can see. An opt-out stays in force. Ends with 1 "
        "where nothing is known, or something is left."
    )
    return _erase


def add_export(command: argparse.ArgumentParser) -> Run:
    """Declare ``export``."""
    _add_person(command)
    command.add_argument("--to", metavar="FILE", type=Path, help="write a file, not the screen")
    command.epilog = (
        "Asks for the number or identity, or reads it from standard input. Gives JSON with texts "
        "and numbers, for the person it is about."
    )
    return _export


def _add_person(command: argparse.ArgumentParser) -> None:
    command.add_argument("--tenant", required=True, help="whose customer it is")
    command.add_argument(
        "--identity",
        metavar="KIND",
        choices=IDENTITY_KEYS,
        help=f"name the person by an identity of CI360's ({', '.join(IDENTITY_KEYS)}) "
        "instead of a number",
    )
    command.add_argument(
        "--only",
        action="store_true",
        help="leave out what names only another number or identity of the same person",
    )


class _Asked(NamedTuple):
    """Who is meant."""

    tenant_id: TenantId
    number: str | None
    identity: tuple[str, str] | None


def _asked(options: argparse.Namespace) -> _Asked:
    tenant_id = tenant_of(options.tenant)
    if options.identity:
        return _Asked(tenant_id, None, (options.identity, asked(f"The {options.identity}: ")))
    return _Asked(tenant_id, asked_number(region_of(tenant_id)), None)


def _find(erasing: Erasing, who_: _Asked, *, widely: bool) -> Person:
    return erasing.find(who_.tenant_id, number=who_.number, identity=who_.identity, widely=widely)


def _erase(options: argparse.Namespace) -> int:
    person_asked = _asked(options)
    store = open_ledger()
    try:
        erasing = Erasing(store, utc_now, make_log(read_settings(), "erase"))
        try:
            person = _find(erasing, person_asked, widely=not options.only)
        except NotKnown:
            if not options.dry_run:
                _finish(erasing, person_asked)
            raise
        for words in _plan(person):
            print(words)
        if options.dry_run:
            return 0
        if not confirmed("Erase all of it?", yes=options.yes):
            return 1
        copies = _copies(store, person.since)  # a path may hold one of the words, and is cleared
        erased = erasing.erase(person, by=who(), text=options.reason)
        print(f"Erased at {utc_now():%Y-%m-%d %H:%M:%S} UTC: {_counts(erased)}.")
        if erased.busy:
            print(f"Left: {counted(erased.busy)} being sent at this moment. Erase again.")
        for words in (*_proof(person, copies), *_jobs(store, person.tenant_id)):
            print(printable(words))
        return 1 if erased.busy else 0
    finally:
        store.close()


def _finish(erasing: Erasing, asked_: _Asked) -> None:
    """Finish an erasure that failed at its end: nothing is known any more, but the files hold it.

    Nothing is said where they still do afterwards: then it is another tenant's.
    """
    numbers = frozenset({asked_.number} if asked_.number else ())
    identities = frozenset({asked_.identity} if asked_.identity else ())
    person = Person(asked_.tenant_id, numbers, identities, About([], [], []))
    if _is_held(person):
        erasing.erase(person, by=who())
        if not _is_held(person):
            print(
                "The rest of an erasure that had failed at its end is gone from the ledger's files."
            )


def _is_held(person: Person) -> bool:
    """Tell whether the ledger's files hold what may be a person's."""
    path = ledger_path(read_settings())
    files = ledger_files(path) if path else []
    return any(one.holds for one in look_through(files, person.words))


def _plan(person: Person) -> Iterator[str]:
    known = person.known
    yield (
        f"Tenant {person.tenant_id} knows of that person: {counted(len(known.entries))}, "
        f"{counted(len(known.inbound), 'text')} of theirs, "
        f"{counted(len(known.consents), 'consent')}; with "
        f"{counted(len(person.numbers), 'number')} and "
        f"{counted(len(person.identities), 'identity', 'identities')}."
    )
    if person.waiting:
        yield f"{counted(person.waiting)} not sent yet will never be sent."
    if person.untold:
        yield f"{counted(person.untold, 'outcome')} not told to CI360 yet will never be told."
    if any(one.blocked for one in known.consents):
        yield "The opt-out stays in force; only the number goes."


def _counts(erased: Erased) -> str:
    return (
        f"{counted(erased.entries)}, {counted(erased.inbound, 'text')}, the number in "
        f"{counted(erased.consents, 'consent')}, {counted(erased.notes, 'line')} of the audit"
    )


def _proof(person: Person, copies: Sequence[Path]) -> Iterator[str]:
    """Say what the ledger's files, copies and backups hold of a person who was erased just now."""
    path = ledger_path(read_settings())
    if path is None:
        return
    own = look_through(ledger_files(path), person.words)
    names = ", ".join(one.path.name for one in own)
    if any(one.holds for one in own):
        yield (
            f"Looked through {names} byte for byte: something like it is still there. It may be "
            "another tenant's, or part of something else; otherwise erase again."
        )
    else:
        yield f"Looked through {names} byte for byte: none of these numbers and identities is there."
    holding = [one for one in look_through(copies, person.words) if one.holds is not False]
    for looked in holding:
        if looked.holds is None:
            yield f"Backup {looked.path}: is gone or cannot be read; wherever it is, it holds them."
        else:
            yield f"Backup {looked.path}: still holds them; delete it."
    if holding:
        yield "Restoring one of these over this ledger erases them again."
    yield "What Twilio and CI360 keep is theirs to erase."


def _jobs(store: Store, tenant_id: TenantId) -> Iterator[str]:
    """Name the bulk jobs whose files may hold the person for now."""
    for job in store.jobs(tenant_id=tenant_id, is_open=True):
        if job.running_at is None or job.entered < job.chunks:
            yield (
                f"Bulk job {job.id} is {job.state}: the customers' file may hold that person until all"
                " rows are entered, and an entry may be made of it. Erase again after that, or cancel it:"
                f" ci360-twilio jobs cancel {job.id}"
            )


def _copies(store: Store, since: datetime | None) -> list[Path]:
    """List the backups that were made, or restored, since the first of what is known."""
    path = ledger_path(read_settings())
    beside = copies_beside(path) if path else []
    noted = [
        Path(note.detail)
        for note in store.notes(MOST_NOTES)
        if note.action in ("backup", "restore")
        and note.detail
        and (since is None or note.at >= since)
    ]
    return list(dict.fromkeys([*beside, *noted]))


def _export(options: argparse.Namespace) -> int:
    person_asked = _asked(options)
    store = open_ledger()
    try:
        erasing = Erasing(store, utc_now, make_log(read_settings(), "export"))
        person = _find(erasing, person_asked, widely=not options.only)
    finally:
        store.close()
    known = dossier(person, utc_now())
    if options.to is None:
        print_json(known)
        return 0
    with new_file(options.to) as file:
        file.write(msgspec.json.format(msgspec.json.encode(known)).decode())
    print(f"Written to {options.to}, which only you can read. It holds texts and numbers.")
    return 0
