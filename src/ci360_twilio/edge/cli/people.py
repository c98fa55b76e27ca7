"""``people``: who may sign in to the console."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ci360_twilio.core.person import Person, Role
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.cli.asking import who
from ci360_twilio.edge.cli.given import asked, tenant_of
from ci360_twilio.edge.cli.screen import table
from ci360_twilio.errors import SettingsError
from ci360_twilio.ports import Note
from ci360_twilio.settings import read_settings
from ci360_twilio.wiring import ledger_path, make_store, utc_now

if TYPE_CHECKING:
    from ci360_twilio.edge.console.accounts import Accounts

Run = Callable[[argparse.Namespace], int]


def add_people(command: argparse.ArgumentParser) -> Run:
    """Declare ``people`` and what can be done with one."""
    actions = command.add_subparsers(metavar="ACTION", dest="action")
    add = _action(actions, "add", "Let somebody sign in; asks for their password.", _add)
    _add_rights(add)
    rights = _action(actions, "rights", "Say what somebody may do, and for whom.", _rights)
    _add_rights(rights)
    _action(actions, "password", "Set somebody's password; their sessions end.", _password)
    _action(actions, "remove", "Let somebody sign in no longer.", _remove)
    command.set_defaults(act=_list)
    command.epilog = (
        "Roles: viewer sees, marketer tries creatives and rehearses, operator steers and unmasks, "
        "administrator says who may what. A password comes from standard input where there is no "
        "terminal. Without people the console answers on this machine alone."
    )
    return lambda options: int(options.act(options))


def _action(
    actions: argparse._SubParsersAction,  # type: ignore[type-arg]
    name: str,
    words: str,
    act: Run,
) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = actions.add_parser(name, help=words, description=words)
    made.add_argument("name", metavar="NAME", help="what they sign in by")
    made.set_defaults(act=act)
    return made


def _add_rights(command: argparse.ArgumentParser) -> None:
    command.add_argument("--role", required=True, choices=[*map(str, Role)], help="what for")
    command.add_argument(
        "--tenant",
        action="append",
        default=[],
        help="only this tenant's; may be given several times",
    )


@contextmanager
def _accounts() -> Iterator[Accounts]:
    try:
        from ci360_twilio.edge.console.accounts import Accounts
        from ci360_twilio.edge.console.opening import people_path
    except ImportError as exc:
        words = (
            f"people needs the extra: pip install 'ci360-twilio-connector[console]' ({exc.name})"
        )
        raise SettingsError(words) from exc
    yield Accounts(people_path(read_settings()))


def _noting(action: str, name: str, detail: str | None = None) -> Callable[[], None]:
    """Give what writes into the audit what is done; where there is no ledger yet there is no audit."""

    def write() -> None:
        settings = read_settings()
        path = ledger_path(settings)
        if settings.ledger == "memory:" or (path is not None and not path.exists()):
            return
        store = make_store(settings)
        try:
            store.write_note(
                Note(at=utc_now(), by=who(), action=action, subject=name, detail=detail)
            )
        finally:
            store.close()

    return write


def _tenants(options: argparse.Namespace) -> tuple[TenantId, ...] | None:
    return tuple(dict.fromkeys(map(tenant_of, options.tenant))) or None


def _typed() -> str:
    """Ask for a password without showing it; twice, since nobody sees what is typed."""
    if not sys.stdin.isatty():
        return asked("")
    first = getpass.getpass("Password: ")
    if first != getpass.getpass("Once more: "):
        raise SettingsError("The two are not the same; nothing was changed.")
    return first


def _list(_options: argparse.Namespace) -> int:
    with _accounts() as accounts:
        people = [account.person for account in accounts.people()]
    if not people:
        print("Nobody may sign in: the console answers on this machine alone.")
        return 0
    rows = [
        (one.name, one.role, "all" if one.tenants is None else ", ".join(one.tenants))
        for one in people
    ]
    print(table(("NAME", "ROLE", "TENANTS"), rows))
    return 0


def _add(options: argparse.Namespace) -> int:
    person = Person(name=options.name, role=Role(options.role), tenants=_tenants(options))
    with _accounts() as accounts:
        accounts.add(person, _typed(), _noting("add person", person.name, str(person)))
    print(f"{person.name} may sign in at /console, as {person.role}.")
    return 0


def _rights(options: argparse.Namespace) -> int:
    with _accounts() as accounts:
        person = Person(name=options.name, role=Role(options.role), tenants=_tenants(options))
        record = _noting("change person", person.name, str(person))
        accounts.set_rights(person.name, person.role, person.tenants, record)
    print(f"{options.name} is {options.role} now.")
    return 0


def _password(options: argparse.Namespace) -> int:
    with _accounts() as accounts:
        accounts.set_password(options.name, _typed(), _noting("set password", options.name))
    print(f"The password of {options.name} is set; their sessions have ended.")
    return 0


def _remove(options: argparse.Namespace) -> int:
    with _accounts() as accounts:
        accounts.drop(options.name, _noting("remove person", options.name))
    print(f"{options.name} may sign in no longer.")
    return 0
