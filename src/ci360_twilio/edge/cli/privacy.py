"""``erase`` and ``export``: what is known of one person, forgotten or handed out."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from ci360_twilio.core.ci360 import IDENTITY_KEYS
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.cli.asking import confirmed, counted, who
from ci360_twilio.edge.cli.given import asked, asked_number, open_ledger, tenant_of
from ci360_twilio.edge.cli.screen import new_file, print_json, printable
from ci360_twilio.edge.cli.serve import make_log
from ci360_twilio.flow.erase import Erasing, Person, dossier
from ci360_twilio.ports import Erased, Store
from ci360_twilio.settings import read_settings
from ci360_twilio.stores.traces import copies_beside, ledger_files, look_through
from ci360_twilio.wiring import ledger_path, utc_now

Run = Callable[[argparse.Namespace], int]

MOST_NOTES = 10_000


def add_erase(command: argparse.ArgumentParser) -> Run:
    """Declare ``erase``."""
    _add_person(command)
    command.add_argument("--reason", metavar="TEXT", help="why, for the audit; it is not logged")
    command.add_argument("--dry-run", action="store_true", help="only say what would be erased")
    command.add_argument("--yes", action="store_true", help="do not ask")
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
    return _Asked(tenant_id, asked_number(), None)


def _find(erasing: Erasing, who_: _Asked, *, widely: bool) -> Person:
    return erasing.find(who_.tenant_id, number=who_.number, identity=who_.identity, widely=widely)


def _erase(options: argparse.Namespace) -> int:
    person_asked = _asked(options)
    store = open_ledger()
    try:
        erasing = Erasing(store, utc_now, make_log(read_settings(), "erase"))
        person = _find(erasing, person_asked, widely=not options.only)
        for words in _plan(person):
            print(words)
        if options.dry_run:
            return 0
        if not confirmed("Erase all of it?", yes=options.yes):
            print("Nothing was changed.")
            return 1
        erased = erasing.erase(person, by=who(), text=options.reason)
        print(f"Erased at {utc_now():%Y-%m-%d %H:%M:%S} UTC: {_counts(erased)}.")
        if erased.busy:
            print(f"Left: {counted(erased.busy)} being sent at this moment. Erase again.")
        left = list(_proof(store, person))
        for words in left:
            print(printable(words))
        return 1 if erased.busy else 0
    finally:
        store.close()


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


def _proof(store: Store, person: Person) -> Iterator[str]:
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
        yield f"Looked through {names} byte for byte: neither number nor identity is there."
    for looked in look_through(_copies(store, person.since), person.words):
        if looked.holds is None:
            yield f"Backup {looked.path}: cannot be read, or was moved; it still holds them."
        elif looked.holds:
            yield f"Backup {looked.path}: still holds them; delete it."
    yield (
        "Restoring one of these over this ledger erases them again. What Twilio and CI360 keep "
        "is theirs to erase."
    )


def _copies(store: Store, since: datetime | None) -> list[Path]:
    """List the backups that were made since the first of what was erased."""
    path = ledger_path(read_settings())
    beside = copies_beside(path) if path else []
    noted = [
        Path(note.detail)
        for note in store.notes(MOST_NOTES)
        if note.action == "backup" and note.detail and (since is None or note.at >= since)
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
