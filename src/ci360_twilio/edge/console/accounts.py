"""Who may sign in to the console, and to which real numbers tests may go: one file, beside the ledger.

The file is JSON and only its owner reads it. Passwords are in it as Argon2id hashes (RFC 9106), with the
parameters that the library recommends. Several processes may change it, each change under a lock.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from ci360_twilio.core.message import parse_recipient
from ci360_twilio.core.person import NAME, Person, Role
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import NotKnown, PeopleUnreadable, SettingsError
from ci360_twilio.wiring import utc_now

SHORTEST, LONGEST = 12, 200
"""Characters of a password (NIST SP 800-63B asks for 8 at least, and for no rules of what is in it)."""


class Account(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody who signs in with a password."""

    person: Person
    password: str
    """The hash."""
    changed_at: datetime
    """When the password was set; a session begun before has ended."""


class TestNumber(msgspec.Struct, frozen=True, kw_only=True):
    """A real number to which tests may go, as an administrator allowed."""

    __test__ = False  # pytest collects what is called so

    tenant_id: TenantId
    number: str
    label: str
    """Whose it is."""
    by: str
    at: datetime


class _Document(msgspec.Struct, frozen=True, kw_only=True):
    people: tuple[Account, ...] = ()
    test_numbers: tuple[TestNumber, ...] = ()


class _Read(NamedTuple):
    stamp: tuple[int, int, int]
    document: _Document


_UNREADABLE = "Who may use the console cannot be read just now; the file of its people is damaged."
_decode = msgspec.json.Decoder(_Document).decode


Record = Callable[[], object]
"""Writes a change down elsewhere, before it is made and once it is known that it may be; where that
fails the change is not made."""


class Accounts:
    """The file. Safe for many threads and processes."""

    def __init__(self, path: Path, hasher: PasswordHasher | None = None) -> None:
        """Name it; it need not be there yet.

        Args:
            path: of the file.
            hasher: makes and checks the hashes of passwords; with the library's parameters unless told.
        """
        self.path = path
        self._hasher = hasher or PasswordHasher()
        self._read: _Read | None = None

    def people(self) -> list[Account]:
        """List who may sign in, by name."""
        return sorted(self._document().people, key=lambda one: one.person.name)

    def account(self, name: str) -> Account | None:
        """Find somebody by name, in any case."""
        wanted = name.casefold()
        found = (one for one in self._document().people if one.person.name.casefold() == wanted)
        return next(found, None)

    def let_in(self, name: str, password: str) -> Account | None:
        """Give the account whose name and password fit; takes as long where there is none."""
        account = self.account(name)
        if len(password) > LONGEST:
            return None
        try:
            self._hasher.verify(account.password if account else self._nobody, password)
        except (Argon2Error, InvalidHashError, UnicodeEncodeError):
            return None
        return account

    def add(self, person: Person, password: str, record: Record = lambda: None) -> None:
        """Let somebody in.

        Raises:
            SettingsError: there is somebody of that name, name or password cannot be used, or
                nobody administers everything yet.
        """
        if not NAME.fullmatch(person.name):
            raise SettingsError("A name is 1 to 100 letters, digits, and . _ @ + - between them.")
        account = Account(person=person, password=self._hashed(password), changed_at=utc_now())

        def change(document: _Document) -> _Document:
            if any(_is(one, person.name) for one in document.people):
                raise SettingsError(f"There is a person named {person.name} already.")
            return _kept(document, (*document.people, account))

        self._change(change, record)

    def set_password(
        self,
        name: str,
        password: str,
        record: Record = lambda: None,
        expected: Person | None = None,
    ) -> None:
        """Set somebody's password, which ends their sessions. Raises as :meth:`alter` does."""
        hashed = self._hashed(password)
        self.alter(name, record, expected, password=hashed, changed_at=utc_now())

    def set_rights(
        self,
        name: str,
        role: Role,
        tenants: tuple[TenantId, ...] | None,
        record: Record = lambda: None,
        expected: Person | None = None,
    ) -> None:
        """Say what somebody may do, and for which tenants. Raises as :meth:`alter` does."""
        known = self.known(name).person
        person = Person(name=known.name, role=role, tenants=tenants)
        self.alter(name, record, expected or known, person=person)

    def alter(
        self,
        name: str,
        record: Record = lambda: None,
        expected: Person | None = None,
        **changes: object,
    ) -> None:
        """Change an account.

        Args:
            name: of the account.
            record: see :data:`Record`.
            expected: what whoever changes it knows of them.
            changes: members of the account.

        Raises:
            NotKnown: there is nobody of that name.
            SettingsError: they are not as expected any more, or nobody would be left who administers
                everything.
        """

        def change(document: _Document) -> _Document:
            found = _found(document, name, expected)
            altered = msgspec.structs.replace(found, **changes)
            people = (altered if one is found else one for one in document.people)
            return _kept(document, tuple(people))

        self._change(change, record)

    def drop(
        self, name: str, record: Record = lambda: None, expected: Person | None = None
    ) -> None:
        """Let somebody in no longer. Raises as :meth:`alter` does."""

        def change(document: _Document) -> _Document:
            found = _found(document, name, expected)
            return _kept(document, tuple(one for one in document.people if one is not found))

        self._change(change, record)

    def test_numbers(self, tenant_id: TenantId) -> list[TestNumber]:
        """List the real numbers to which a tenant's tests may go."""
        return [one for one in self._document().test_numbers if one.tenant_id == tenant_id]

    def allow(self, number: TestNumber, record: Record = lambda: None) -> None:
        """Let tests go to a number; one that is listed gets the new label.

        Raises:
            SettingsError: it is no number.
        """
        if parse_recipient(number.number) != number.number:
            raise SettingsError("That is no number; write it with its country, as +12015550123.")

        def change(document: _Document) -> _Document:
            others = (one for one in document.test_numbers if not _same(one, number))
            return msgspec.structs.replace(document, test_numbers=(*others, number))

        self._change(change, record)

    def disallow(self, tenant_id: TenantId, number: str, record: Record = lambda: None) -> None:
        """Let tests go to a number no longer."""

        def change(document: _Document) -> _Document:
            left = tuple(
                one
                for one in document.test_numbers
                if (one.tenant_id, one.number) != (tenant_id, number)
            )
            return msgspec.structs.replace(document, test_numbers=left)

        self._change(change, record)

    @cached_property
    def _nobody(self) -> str:
        """The hash of a password that nobody has, for names that nobody has."""
        return self._hasher.hash(secrets.token_hex(16))

    def _hashed(self, password: str) -> str:
        if not SHORTEST <= len(password) <= LONGEST:
            raise SettingsError(f"A password is {SHORTEST} to {LONGEST} characters long.")
        try:
            return self._hasher.hash(password)
        except UnicodeEncodeError as exc:
            raise SettingsError("A password is made of characters.") from exc

    def known(self, name: str) -> Account:
        """Find somebody by name, in any case; raises ``NotKnown`` where there is nobody."""
        account = self.account(name)
        if account is None:
            raise NotKnown(f"There is nobody named {name}.")
        return account

    def _document(self) -> _Document:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return _Document()
        except OSError as exc:
            raise PeopleUnreadable(_UNREADABLE) from exc
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        known = self._read
        if known is None or known.stamp != stamp:
            known = self._read = _Read(stamp, self._load())
        return known.document

    def _load(self) -> _Document:
        try:
            return _decode(self.path.read_bytes())
        except FileNotFoundError:
            return _Document()
        except (OSError, msgspec.MsgspecError) as exc:
            raise PeopleUnreadable(_UNREADABLE) from exc

    def _change(self, change: Callable[[_Document], _Document], record: Record) -> None:
        try:
            with self._locked():
                document = change(self._load())
                record()
                made = self.path.with_name(f"{self.path.name}.new")
                descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(msgspec.json.format(msgspec.json.encode(document)))
                    file.flush()
                    os.fsync(descriptor)
                made.replace(self.path)
        except OSError as exc:
            words = f"The console's people cannot be written to {self.path}: {exc.strerror}."
            raise SettingsError(words) from exc

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = self.path.with_name(f"{self.path.name}.lock")
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _is(account: Account, name: str) -> bool:
    return account.person.name.casefold() == name.casefold()


def _found(document: _Document, name: str, expected: Person | None) -> Account:
    found = next((one for one in document.people if _is(one, name)), None)
    if found is None:
        raise NotKnown(f"There is nobody named {name}.")
    if expected is not None and found.person != expected:
        raise SettingsError("Somebody has changed that person meanwhile; look again.")
    return found


def _same(one: TestNumber, other: TestNumber) -> bool:
    return (one.tenant_id, one.number) == (other.tenant_id, other.number)


def _kept(document: _Document, people: tuple[Account, ...]) -> _Document:
    """Give the document with other people; without any the console would be open to this machine."""
    rules = (one.person for one in people)
    if not any(one.role is Role.ADMINISTRATOR and one.tenants is None for one in rules):
        raise SettingsError("Somebody must be left who is administrator of all tenants.")
    return msgspec.structs.replace(document, people=people)
