"""The file of who may sign in, and of the real numbers to which tests may go."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from argon2 import PasswordHasher, extract_parameters
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.console import CHEAP, MINE, OTHERS, PASSWORD
from tests.unit.edge.console.stock import people_with

from ci360_twilio.core.person import Person, Role
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.console.accounts import LONGEST, SHORTEST, Accounts, TestNumber
from ci360_twilio.errors import NotKnown, PeopleUnreadable, SettingsError
from ci360_twilio.wiring import utc_now

pytestmark = pytest.mark.slow

ROOT = Person(name="root", role=Role.ADMINISTRATOR)
ANN = Person(name="Ann", role=Role.OPERATOR, tenants=(MINE,))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Accounts:
    """Give accounts for all of these tests."""
    return Accounts(tmp_path_factory.mktemp("accounts") / "people", CHEAP)


@pytest.fixture
def accounts(shared: Accounts) -> Accounts:
    """Give accounts whose file is not there yet."""
    shared.path.unlink(missing_ok=True)
    return shared


def number(tenant_id: TenantId = MINE, to: str = "+12015550123", label: str = "Ann") -> TestNumber:
    """Give a number to which tests may go."""
    return TestNumber(tenant_id=tenant_id, number=to, label=label, by="root", at=utc_now())


def names(accounts: Accounts) -> list[str]:
    """Name everybody."""
    return [one.person.name for one in accounts.people()]


def test_a_file_that_is_not_there_has_nobody(accounts: Accounts) -> None:
    """Looking makes no file."""
    assert accounts.people() == []
    assert accounts.account("ann") is None
    assert accounts.let_in("ann", PASSWORD) is None
    assert accounts.test_numbers(MINE) == []
    assert not accounts.path.exists()


def test_only_its_owner_reads_the_file(tmp_path: Path, accounts: Accounts) -> None:
    """Nor what is beside it, whatever the process's mask."""
    own = shallow(accounts, tmp_path / "folder" / "people")
    before = os.umask(0)
    try:
        own.add(ROOT, PASSWORD)
        own.allow(number())
    finally:
        os.umask(before)
    modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in own.path.parent.iterdir()}
    assert modes == {"people": 0o600, "people.lock": 0o600}
    assert stat.S_IMODE(own.path.parent.stat().st_mode) == 0o700


def test_a_password_is_kept_as_an_argon2id_hash_alone(tmp_path: Path) -> None:
    """With the parameters of RFC 9106; two equal passwords have hashes that differ."""
    accounts = Accounts(tmp_path / "people")
    accounts.add(ROOT, PASSWORD)
    accounts.add(ANN, PASSWORD)
    written = accounts.path.read_text()
    assert PASSWORD not in written
    hashes = {one["password"] for one in msgspec.json.decode(written)["people"]}
    assert len(hashes) == 2
    for made in hashes:
        assert made.startswith("$argon2id$v=19$")
        found = extract_parameters(made)
        assert found.memory_cost >= 64 * 1024
        assert found.time_cost >= 3
        assert PasswordHasher().verify(made, PASSWORD)


def test_whoever_has_name_and_password_is_let_in(accounts: Accounts) -> None:
    """The name in any case; the password as it is, space and all."""
    accounts.add(ROOT, f" {PASSWORD} ")
    for name in ("root", "ROOT", "Root"):
        found = accounts.let_in(name, f" {PASSWORD} ")
        assert found is not None
        assert found.person == ROOT


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("root", ""),
        ("root", PASSWORD.upper()),
        ("root", f"{PASSWORD} "),
        ("root", f"{PASSWORD}\x00"),
        ("root", PASSWORD[:-1]),
        ("root", "x" * 100_000),
        ("root", "\ud800" * 12),
        ("root ", PASSWORD),
        ("r\u043e\u043et", PASSWORD),
        ("", PASSWORD),
        ("nobody", PASSWORD),
        ("\ud800", PASSWORD),
        ("root\x00", PASSWORD),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_nobody_else_is_let_in(accounts: Accounts, name: str, password: str) -> None:
    """Whatever is sent in their place; it is an answer, not an error."""
    if not accounts.people():
        people_with(accounts, ROOT)
        hashed = CHEAP.hash(PASSWORD)
        accounts.alter("root", password=hashed)
    assert accounts.let_in(name, password) is None


def test_an_unknown_name_costs_a_hash_as_a_known_one_does(accounts: Accounts) -> None:
    """What is verified for it has the same parameters, so that time tells no names."""
    accounts.add(ROOT, PASSWORD)
    known = accounts.account("root")
    assert known is not None
    assert extract_parameters(accounts._nobody) == extract_parameters(known.password)


def test_nobody_has_the_password_of_a_name_that_is_unknown(accounts: Accounts) -> None:
    """Not even whoever guessed what the hash is of that is verified then."""
    accounts.__dict__["_nobody"] = CHEAP.hash(PASSWORD)
    assert accounts.let_in("nobody", PASSWORD) is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"null", b"\xff", b'{"people": [{}]}'])
def test_a_damaged_file_lets_nobody_in_and_is_not_written_over(
    accounts: Accounts, damage: bytes
) -> None:
    """It is not taken for an empty one, which would open the console to this machine."""
    accounts.path.write_bytes(damage)
    acts: list[Callable[[], object]] = [
        accounts.people,
        lambda: accounts.let_in("root", PASSWORD),
        lambda: accounts.test_numbers(MINE),
        lambda: accounts.add(ROOT, PASSWORD),
        lambda: accounts.drop("root"),
        lambda: accounts.allow(number()),
    ]
    for act in acts:
        with pytest.raises(PeopleUnreadable, match="cannot be read"):
            act()
    assert accounts.path.read_bytes() == damage


def test_a_file_in_a_place_that_is_none_is_an_error_in_words(
    tmp_path: Path, accounts: Accounts
) -> None:
    """Reading and writing say which file they mean."""
    (tmp_path / "a file").write_bytes(b"")
    own = shallow(accounts, tmp_path / "a file" / "people")
    with pytest.raises(SettingsError, match="cannot be written"):
        own.allow(number())
    with pytest.raises(PeopleUnreadable, match="cannot be read"):
        own.people()


def test_what_another_process_wrote_is_seen_at_once(accounts: Accounts) -> None:
    """Nobody has to restart the server."""
    other = Accounts(accounts.path)
    accounts.add(ROOT, PASSWORD)
    assert names(other) == ["root"]
    other.add(ANN, PASSWORD)
    assert names(accounts) == ["Ann", "root"]
    accounts.path.unlink()
    assert other.people() == []


def test_people_are_listed_by_name(accounts: Accounts) -> None:
    """Whatever the order in which they came."""
    people_with(accounts, *(Person(name=name, role=Role.ADMINISTRATOR) for name in "cab"))
    assert names(accounts) == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["Ann", "ann", "ANN"])
def test_a_name_is_one_persons_in_any_case(accounts: Accounts, name: str) -> None:
    """Nobody is added beside somebody who is called so."""
    people_with(accounts, ROOT, ANN)
    with pytest.raises(SettingsError, match="already"):
        accounts.add(Person(name=name, role=Role.VIEWER), PASSWORD)
    assert names(accounts) == ["Ann", "root"]


@pytest.mark.parametrize("name", ["", " ", "a\nb", "<b>", "x" * 101, "ann\u202e"])
def test_a_name_that_cannot_be_used_is_refused(accounts: Accounts, name: str) -> None:
    """Before anything is written."""
    with pytest.raises(SettingsError, match="A name is"):
        accounts.add(Person(name=name, role=Role.ADMINISTRATOR), PASSWORD)
    assert not accounts.path.exists()


@pytest.mark.parametrize("length", [0, SHORTEST - 1, LONGEST + 1, 100_000])
def test_a_password_that_is_too_short_or_long_is_refused(accounts: Accounts, length: int) -> None:
    """Both where somebody is added and where it is changed."""
    with pytest.raises(SettingsError, match="characters long"):
        accounts.add(ROOT, "x" * length)
    people_with(accounts, ROOT)
    with pytest.raises(SettingsError, match="characters long"):
        accounts.set_password("root", "x" * length)


@pytest.mark.parametrize("length", [SHORTEST, LONGEST])
def test_passwords_of_both_lengths_at_the_limits_open_the_door(
    accounts: Accounts, length: int
) -> None:
    """In any script."""
    accounts.add(ROOT, "ж" * length)
    assert accounts.let_in("root", "ж" * length) is not None


@pytest.mark.parametrize(
    "person",
    [
        Person(name="ann", role=Role.OPERATOR),
        Person(name="ann", role=Role.ADMINISTRATOR, tenants=(MINE,)),
        Person(name="ann", role=Role.ADMINISTRATOR, tenants=()),
    ],
)
def test_the_first_person_is_administrator_of_all(accounts: Accounts, person: Person) -> None:
    """Else nobody could add others, and nobody else could get in."""
    with pytest.raises(SettingsError, match="administrator of all"):
        accounts.add(person, PASSWORD)
    assert not accounts.path.exists()


def test_the_last_administrator_of_all_stays(accounts: Accounts) -> None:
    """They are neither removed nor made less, as long as there is no other."""
    people_with(accounts, ROOT, Person(name="ann", role=Role.ADMINISTRATOR, tenants=(MINE, OTHERS)))
    acts: list[Callable[[], None]] = [
        lambda: accounts.drop("root"),
        lambda: accounts.drop("ROOT"),
        lambda: accounts.set_rights("root", Role.OPERATOR, None),
        lambda: accounts.set_rights("root", Role.ADMINISTRATOR, (MINE, OTHERS)),
        lambda: accounts.set_rights("root", Role.ADMINISTRATOR, ()),
    ]
    for act in acts:
        with pytest.raises(SettingsError, match="administrator of all"):
            act()
    accounts.set_rights("ann", Role.ADMINISTRATOR, None)
    accounts.drop("root")
    assert names(accounts) == ["ann"]
    with pytest.raises(SettingsError, match="administrator of all"):
        accounts.drop("ann")


def test_two_administrators_who_remove_each_other_at_once_leave_one(accounts: Accounts) -> None:
    """Each change sees what the one before it has left."""
    for _ in range(10):
        people_with(accounts, ROOT, Person(name="ann", role=Role.ADMINISTRATOR))
        at_once = threading.Barrier(2)

        def drop(name: str, at_once: threading.Barrier = at_once) -> bool:
            at_once.wait()
            try:
                accounts.drop(name)
            except SettingsError:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            assert sum(pool.map(drop, ["root", "ann"])) == 1
        assert len(accounts.people()) == 1


def test_rights_change_without_the_password(accounts: Accounts) -> None:
    """And the name stays as it was written first."""
    people_with(accounts, ROOT, ANN)
    before = accounts.account("ann")
    accounts.set_rights("ANN", Role.VIEWER, (OTHERS,))
    after = accounts.account("ann")
    assert before is not None
    assert after is not None
    assert after.person == Person(name="Ann", role=Role.VIEWER, tenants=(OTHERS,))
    assert (after.password, after.changed_at) == (before.password, before.changed_at)


def test_a_new_password_replaces_the_old_one(accounts: Accounts) -> None:
    """And says since when it is in force."""
    accounts.add(ROOT, PASSWORD)
    before = accounts.account("root")
    accounts.set_password("ROOT", "another password")
    after = accounts.account("root")
    assert before is not None
    assert after is not None
    assert after.changed_at > before.changed_at
    assert accounts.let_in("root", PASSWORD) is None
    assert accounts.let_in("root", "another password") is not None


def test_nobody_of_that_name_can_be_changed(accounts: Accounts) -> None:
    """It is an error that says so, and nothing is written."""
    people_with(accounts, ROOT)
    written = accounts.path.read_bytes()
    acts: list[Callable[[], None]] = [
        lambda: accounts.drop("ann"),
        lambda: accounts.set_rights("ann", Role.VIEWER, None),
        lambda: accounts.set_password("ann", PASSWORD),
    ]
    for act in acts:
        with pytest.raises(NotKnown, match="nobody named ann"):
            act()
    assert accounts.path.read_bytes() == written


def test_numbers_are_allowed_for_one_tenant_each(accounts: Accounts) -> None:
    """What one tenant's tests may go to, another's may not; the same number twice is listed once."""
    accounts.allow(number())
    accounts.allow(number(OTHERS, label="Bob"))
    accounts.allow(number(label="Ann's new phone"))
    assert [one.label for one in accounts.test_numbers(MINE)] == ["Ann's new phone"]
    assert [one.label for one in accounts.test_numbers(OTHERS)] == ["Bob"]
    accounts.disallow(MINE, "+12015550123")
    accounts.disallow(MINE, "+12015550123")
    assert accounts.test_numbers(MINE) == []
    assert len(accounts.test_numbers(OTHERS)) == 1


@pytest.mark.parametrize("to", ["", "2015550123", "+1 201 555 0123", "nobody", "+1"])
def test_only_whole_numbers_are_allowed(accounts: Accounts, to: str) -> None:
    """Written as messages have them."""
    with pytest.raises(SettingsError, match="no number"):
        accounts.allow(number(to=to))


def test_many_threads_that_change_the_file_lose_nothing(accounts: Accounts) -> None:
    """Each reads what the one before it wrote."""
    people_with(accounts, ROOT)
    at_once = threading.Barrier(8)

    def change(place: int) -> None:
        own = accounts if place % 2 else shallow(accounts)
        at_once.wait()
        for count in range(10):
            own.allow(number(to=f"+1201555{place:02}{count:02}"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(change, range(8)))
    assert len(accounts.test_numbers(MINE)) == 80
    assert names(accounts) == ["root"]
    assert {one.name for one in accounts.path.parent.iterdir()} == {"people", "people.lock"}


def shallow(accounts: Accounts, path: Path | None = None) -> Accounts:
    """Give accounts of the same file, as another process has them."""
    return Accounts(path or accounts.path, CHEAP)


ADDING = """
import sys
from pathlib import Path
from ci360_twilio.core.person import Person, Role
from ci360_twilio.edge.console.accounts import Accounts
accounts = Accounts(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for name in sys.argv[2:]:
    accounts.add(Person(name=name, role=Role.VIEWER), "a long enough password")
"""


@pytest.mark.slow
def test_several_processes_that_add_people_at_once_lose_nobody(accounts: Accounts) -> None:
    """Nor does a reader ever see half a file."""
    people_with(accounts, ROOT)
    added = [[f"p{process} {count}" for count in range(3)] for process in range(3)]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", ADDING, str(accounts.path), *some],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for some in added
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        while any(worker.poll() is None for worker in workers):
            assert "root" in names(accounts)
        assert [worker.wait() for worker in workers] == [0, 0, 0]
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    assert names(accounts) == sorted(["root", *(name for some in added for name in some)])


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(name=st.text(max_size=40), tenants=st.lists(st.text(max_size=10), max_size=3))
def test_whatever_is_written_can_be_read(accounts: Accounts, name: str, tenants: list[str]) -> None:
    """A person whose name is taken is found by it; any other is refused, and nothing is broken."""
    people_with(accounts, ROOT)
    person = Person(name=name, role=Role.VIEWER, tenants=tuple(map(TenantId, tenants)) or None)
    cheap = CHEAP
    try:
        people_with(accounts, ROOT, person)
        accounts.alter(name, password=cheap.hash(PASSWORD))
    except SettingsError:
        return
    found = accounts.account(name.upper().casefold())
    if name.casefold() == name.upper().casefold() and name.casefold() != "root":
        assert found is not None
        assert found.person == person
    assert "root" in names(shallow(accounts))
