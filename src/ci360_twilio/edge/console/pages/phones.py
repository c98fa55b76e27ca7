"""The phones of a twin: conversations, and what their owners write back."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from ci360_twilio.core.person import Right
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.console.desk import Page, Visit
from ci360_twilio.edge.console.twin_phones import TwinPhones
from ci360_twilio.errors import NotKnown, NoTwin

LONGEST = 1_600


def phones(visit: Visit) -> Response:
    """List the phones of all tenants that the person sees and whose messages go to a twin."""
    found: list[dict[str, Any]] = []
    away: list[str] = []
    for tenant_id, twin in _twins(visit):
        try:
            latest = twin.latest()
        except NoTwin as exc:
            away.append(f"{tenant_id}: {exc.message}")
        else:
            found += [
                one | {"tenant": tenant_id, "id": _id(visit, one["customer"])} for one in latest
            ]
    found.sort(key=lambda one: str(one["at"]), reverse=True)
    return visit.show("phones.html", phones=found, away=away)


def phone(visit: Visit) -> Response:
    """Show one phone."""
    return _shown(visit, "phone.html")


def conversation(visit: Visit) -> Response:
    """Show what of a phone changes."""
    return _shown(visit, "_conversation.html")


def write(visit: Visit) -> Response:
    """Have its owner write back; a button brings a text of its own."""
    twin, latest = _phone(visit)
    text = (visit.text("quick") or visit.text("text"))[:LONGEST]
    if text:
        twin.write(latest["customer"], text)
    return visit.go(f"/phones/{visit.path['tenant']}/{visit.path['phone']}")


def _shown(visit: Visit, template: str) -> Response:
    twin, latest = _phone(visit)
    return visit.show(
        template,
        tenant=visit.path["tenant"],
        phone=visit.path["phone"],
        latest=latest,
        messages=twin.conversation(latest["customer"]),
    )


def _twins(visit: Visit) -> list[tuple[TenantId, TwinPhones]]:
    return [
        (tenant_id, twin) for tenant_id in visit.tenants() if (twin := visit.twin_of(tenant_id))
    ]


def _phone(visit: Visit) -> tuple[TwinPhones, dict[str, Any]]:
    """Find a phone by the hash in its address: a number does not stand there.

    Raises:
        NoTwin: the tenant's messages go to none.
        NotKnown: it has no such phone.
    """
    tenant_id = visit.tenant_id(visit.path["tenant"])
    twin = visit.twin_of(tenant_id)
    if twin is None:
        raise NoTwin("This tenant's messages go to no twin.")
    for latest in twin.latest():
        if _id(visit, latest["customer"]) == visit.path["phone"]:
            return twin, latest
    raise NotKnown("The twin has no such phone, or nothing was written to it lately.")


def _id(visit: Visit, customer: str) -> str:
    return visit.store.keyed(f"phone {customer}")


PAGES = (
    Page("GET", "/phones", Right.CREATE, phones),
    Page("GET", "/phones/{tenant}/{phone}", Right.CREATE, phone),
    Page("GET", "/phones/{tenant}/{phone}/now", Right.CREATE, conversation, quiet=True),
    Page("POST", "/phones/{tenant}/{phone}", Right.CREATE, write),
)
