"""``ledger``: backup, restore, check."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from ci360_twilio.core.pause import Cause, Scope
from ci360_twilio.edge.cli.asking import confirmed, counted, steering, who
from ci360_twilio.edge.cli.given import open_ledger
from ci360_twilio.errors import SettingsError
from ci360_twilio.flow.decision import Target
from ci360_twilio.ports import Note
from ci360_twilio.settings import read_settings
from ci360_twilio.stores import backup
from ci360_twilio.stores.sqlite import SqliteStore
from ci360_twilio.wiring import hash_key_of, ledger_path, utc_now

Run = Callable[[argparse.Namespace], int]


def add_ledger(command: argparse.ArgumentParser) -> Run:
    """Declare ``ledger`` and what it can do."""
    actions = command.add_subparsers(metavar="ACTION", dest="action", required=True)
    text = "Copy the ledger to a new file, also while it is in use."
    made = actions.add_parser("backup", help=text, description=text)
    made.add_argument("file", metavar="FILE", type=Path, help="where the copy goes")
    made.set_defaults(act=_backup)
    text = "Put a backup in the ledger's place; nothing is sent until --resume."
    restored = actions.add_parser("restore", help=text, description=text)
    restored.add_argument("file", metavar="FILE", type=Path, nargs="?", help="the backup")
    restored.add_argument("--yes", action="store_true", help="do not ask")
    restored.add_argument("--resume", action="store_true", help="send again after a restore")
    restored.set_defaults(act=_restore)
    text = "Look through the ledger's file and every entry in it."
    checked = actions.add_parser("check", help=text, description=text)
    checked.add_argument("file", metavar="FILE", type=Path, nargs="?", help="a backup instead")
    checked.set_defaults(act=_check)
    return lambda options: int(options.act(options))


_CARRIED = "What customers wrote and wish, and whom you erased, is carried over from there."
_NOT_CARRIED = (
    "It is damaged: opt-outs by hand and by list, and erasures, since the backup must be made again."
    " What customers wrote since is listed from Twilio."
)


def _path() -> Path:
    settings = read_settings()
    path = ledger_path(settings)
    if path is None:
        raise SettingsError(
            "This works on a SQLite ledger; CI360_TWILIO_LEDGER names another kind."
        )
    return path


def _backup(options: argparse.Namespace) -> int:
    path = _path()
    backup.backup(path, options.file)
    _note("backup", options.file)
    print(f"The ledger is copied to {options.file}.")
    print(f"Keep a copy of {path}.key, too, apart from it: without that key opt-outs and deleted")
    print("events would not be recognised.")
    return 0


def _restore(options: argparse.Namespace) -> int:
    settings, path = read_settings(), _path()
    if options.resume:
        return _resume()
    if options.file is None:
        raise SettingsError("Name the backup to restore, or use --resume.")
    if path.exists() and not confirmed(f"Replace the ledger {path}?", yes=options.yes):
        return 1
    kept = backup.restore(options.file, path, hash_key=hash_key_of(settings, path), now=utc_now())
    _note("restore", options.file)
    print(f"The ledger is restored from {options.file}.")
    if kept:
        print(f"As it was before, it is kept in {kept.path}.")
        print(_CARRIED if kept.is_carried_over else _NOT_CARRIED)
    print("What was under way in it is now unknown: it may have gone out since the backup.")
    print("Nothing is sent until: ci360-twilio ledger restore --resume")
    return 0


def _recount() -> None:
    """Compare the ledger's counts with its entries, and put right what an older version left out."""
    store = open_ledger()
    try:
        wrong = store.recount() if isinstance(store, SqliteStore) else 0
    finally:
        store.close()
    if wrong:
        print(
            f"{counted(wrong, 'count')} of messages differed from the entries and were put right."
        )


def _note(action: str, file: Path) -> None:
    """Write into the audit where a copy lies: an erasure names what still holds whom it erased."""
    store = open_ledger()
    try:
        at = utc_now()
        store.write_note(
            Note(at=at, by=who(), action=action, subject="ledger", detail=str(file.resolve()))
        )
    finally:
        store.close()


def _resume() -> int:
    with steering() as steer:
        steer.resume(Target(Scope.ALL), by=who(), causes=frozenset({Cause.RESTORE}))
        left = steer.pauses()
    print("The ledger sends again." if not left else "The restore holds nothing back any more.")
    if left:
        print("Some is still paused; see: ci360-twilio pause")
    return 0


def _check(options: argparse.Namespace) -> int:
    path = options.file or _path()
    found = backup.check(path)
    print(
        f"{path}: schema {found.schema}, {found.entries:,} entries, {found.tombstones:,} tombstones"
    )
    for problem in found.problems:
        print(f"Problem: {problem}")
    print("It is sound." if not found.problems else "Restore a backup: ci360-twilio ledger restore")
    if not found.problems and options.file is None:
        _recount()
    return 1 if found.problems else 0
