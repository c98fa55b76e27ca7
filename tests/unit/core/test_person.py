"""People: what each role may do, and whose messages they may see."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci360_twilio.core.person import NAME, Person, Right, Role
from ci360_twilio.core.tenant import TenantId

MINE, OTHERS = TenantId("mine"), TenantId("others")
RIGHTS = {
    Role.VIEWER: {Right.SEE},
    Role.MARKETER: {Right.SEE, Right.CREATE},
    Role.OPERATOR: {Right.SEE, Right.CREATE, Right.UNMASK, Right.STEER},
    Role.ADMINISTRATOR: set(Right),
}


def rights(role: Role) -> set[Right]:
    """Give all that a role may do."""
    return {right for right in Right if Person(name="-", role=role).may(right)}


@pytest.mark.parametrize("role", Role)
def test_a_role_has_just_these_rights(role: Role) -> None:
    """A right that is added is written down here, for each role."""
    assert rights(role) == RIGHTS[role]


def test_each_role_may_do_what_those_before_it_may_and_more() -> None:
    """Roles are in order, from the one that may least."""
    for lower, higher in pairwise(Role):
        assert rights(lower) < rights(higher)


@pytest.mark.parametrize("role", Role)
def test_a_role_says_nothing_of_whose_messages_are_seen(role: Role) -> None:
    """An administrator of one tenant sees no other's."""
    person = Person(name="ann", role=role, tenants=(MINE,))
    assert person.sees(MINE)
    assert not person.sees(OTHERS)


def test_what_belongs_to_no_tenant_takes_a_person_of_all() -> None:
    """A pause of everything is not for whoever sees some tenants."""
    assert not Person(name="ann", role=Role.ADMINISTRATOR, tenants=(MINE, OTHERS)).sees(None)
    assert Person(name="ann", role=Role.VIEWER).sees(None)


def test_whoever_sees_all_tenants_sees_any() -> None:
    """Also one that is added later."""
    person = Person(name="ann", role=Role.VIEWER)
    assert person.sees(MINE)
    assert person.sees(TenantId("of tomorrow"))


def test_whoever_sees_no_tenant_sees_nothing() -> None:
    """No tenants are not all tenants."""
    person = Person(name="ann", role=Role.ADMINISTRATOR, tenants=())
    assert not person.sees(MINE)
    assert not person.sees(None)


@pytest.mark.parametrize("tenant", ["MINE", "min", "mine ", "", "mine\x00", "ｍｉｎｅ"])
def test_a_tenant_is_seen_by_its_exact_name(tenant: str) -> None:
    """Nothing that looks like it will do."""
    assert not Person(name="ann", role=Role.VIEWER, tenants=(MINE,)).sees(TenantId(tenant))


@pytest.mark.parametrize(
    "name", ["ann", "a", "7", "Ann O-Neil", "ann.b+c@example.com", "Žaneta Ünal", "安娜", "x" * 100]
)
def test_people_may_be_called_by_names_and_addresses(name: str) -> None:
    """In any script."""
    assert NAME.fullmatch(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", " ann", "ann ", "-ann", "_ann", "ann<", "a\nb", "a\x00b", "a\u202eb", "a\tb"),
        *("ann\n", "a'b", 'a"b', "a&b", "a/b", "\ud800", "a\u200bb", "x" * 101),
    ],
    ids=ascii,
)
def test_nobody_is_called_by_what_could_mislead_whoever_reads_it(name: str) -> None:
    """No markup, nothing that is not seen, no space around it."""
    assert not NAME.fullmatch(name)


@given(st.text(max_size=120))
def test_a_name_is_one_line_without_markup(name: str) -> None:
    """Whatever is taken for a name can stand anywhere in a page and a log."""
    if NAME.fullmatch(name):
        assert not set(name) & set("<>&\"'\r\n\t\x00")
        assert name == name.strip()
        assert 1 <= len(name) <= 100
