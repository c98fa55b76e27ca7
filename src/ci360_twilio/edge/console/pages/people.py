"""People: who may do what, and to which real numbers tests may go."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from starlette.responses import Response

from ci360_twilio.core.message import parse_recipient
from ci360_twilio.core.person import Person, Right, Role
from ci360_twilio.core.tenant import TenantId, parse_tenant_id
from ci360_twilio.edge.console.accounts import SHORTEST, TestNumber
from ci360_twilio.edge.console.desk import Page, Visit
from ci360_twilio.edge.console.numbers import allowed_numbers, number_of
from ci360_twilio.errors import BadTenantId, Denied, NotKnown, SettingsError
from ci360_twilio.logs import mask_number


def people(visit: Visit, words: str = "") -> Response:
    """List people and numbers, as far as they concern the person's tenants."""
    accounts = visit.desk.accounts
    shown = [one.person for one in accounts.people() if _may_change(visit, one.person)]
    numbers = [one for tenant_id in visit.tenants() for one in allowed_numbers(visit, tenant_id)]
    return visit.show(
        "people.html",
        people=shown,
        numbers=numbers,
        roles=[*Role],
        tenants=visit.tenants(),
        shortest=SHORTEST,
        words=words,
        status=400 if words else 200,
    )


def add(visit: Visit) -> Response:
    """Let somebody in."""

    def act() -> None:
        name = visit.text("name")
        person = Person(name=name, role=_role(visit), tenants=_tenants(visit))
        record = partial(
            visit.note, "add person", name, detail=str(person), tenant_id=person.only_tenant
        )
        visit.desk.accounts.add(person, visit.whole("password"), record)

    return _done(visit, act)


def change(visit: Visit) -> Response:
    """Change what somebody may do, set their password, or let them in no longer."""

    def act() -> None:
        person, accounts = _known(visit), visit.desk.accounts
        match visit.text("action"):
            case "rights":
                role, tenants = _role(visit), _tenants(visit)
                changed = Person(name=person.name, role=role, tenants=tenants)
                record = partial(
                    visit.note,
                    "change person",
                    person.name,
                    detail=str(changed),
                    tenant_id=person.only_tenant,
                )
                accounts.set_rights(person.name, role, tenants, record, person)
            case "password":
                record = partial(
                    visit.note, "set password", person.name, tenant_id=person.only_tenant
                )
                accounts.set_password(person.name, visit.whole("password"), record, person)
            case "remove":
                record = partial(
                    visit.note, "remove person", person.name, tenant_id=person.only_tenant
                )
                accounts.drop(person.name, record, person)
            case _:
                raise SettingsError("Say what is to be changed.")

    return _done(visit, act)


def numbers(visit: Visit) -> Response:
    """Let tests go to a real number, or no longer."""

    def act() -> None:
        tenant_id = visit.tenant_id(visit.text("tenant"))
        accounts, subject = visit.desk.accounts, f"tenant {tenant_id}"
        if visit.text("action") == "remove":
            number = number_of(visit, tenant_id, visit.text("which"))
            if number is None:
                raise NotKnown("No test goes to that number any more.")
            record = partial(
                visit.note,
                "remove test number",
                subject,
                detail=mask_number(number),
                tenant_id=tenant_id,
            )
            accounts.disallow(tenant_id, number, record)
            return
        number = parse_recipient(visit.text("number"))
        if number is None:
            raise SettingsError("That is no number; write it with its country, as +12015550123.")
        allowed = TestNumber(
            tenant_id=tenant_id,
            number=number,
            label=visit.text("label")[:100] or "no name",
            by=visit.person.name,
            at=visit.now(),
        )
        accounts.allow(
            allowed, partial(visit.note, "allow test number", subject, tenant_id=tenant_id)
        )

    return _done(visit, act)


def _done(visit: Visit, act: Callable[[], None]) -> Response:
    try:
        act()
    except (SettingsError, NotKnown, BadTenantId) as exc:
        return people(visit, exc.message)
    return visit.go("/people")


def _known(visit: Visit) -> Person:
    account = visit.desk.accounts.account(visit.text("name"))
    if account is None or not _may_change(visit, account.person):
        raise NotKnown("There is nobody of that name.")
    return account.person


def _may_change(visit: Visit, person: Person) -> bool:
    """Tell whether somebody's tenants are all among the person's own."""
    mine = visit.person.tenants
    return mine is None or (person.tenants is not None and {*person.tenants} <= {*mine})


def _role(visit: Visit) -> Role:
    role = visit.text("role")
    if role not in {*Role}:
        raise SettingsError("Choose a role.")
    return Role(role)


def _tenants(visit: Visit) -> tuple[TenantId, ...] | None:
    """Read whose messages somebody may see; none named are all tenants.

    Raises:
        Denied: these are more than the person's own.
    """
    named = visit.text("tenants").replace(",", " ").split()
    tenants = tuple(dict.fromkeys(parse_tenant_id(name) for name in named)) or None
    if not _may_change(visit, Person(name="-", role=Role.VIEWER, tenants=tenants)):
        raise Denied("You can only let people see tenants that you see yourself.")
    return tenants


PAGES = (
    Page("GET", "/people", Right.ADMINISTER, people),
    Page("POST", "/people", Right.ADMINISTER, add),
    Page("POST", "/people/change", Right.ADMINISTER, change),
    Page("POST", "/people/numbers", Right.ADMINISTER, numbers),
)
