"""Consents: who wants no messages, what waits for a reader, and changes by hand."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from starlette.responses import Response

from ci360_twilio.core.consent import EVERY_SENDER, Consent, Sign, Subject, person_of
from ci360_twilio.core.message import parse_recipient
from ci360_twilio.core.person import Right
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.console.desk import Page, Visit
from ci360_twilio.errors import ConnectorError, NotKnown, SettingsError
from ci360_twilio.flow.consenting import ToReview
from ci360_twilio.ports import InboundQuery

MOST_REVIEWED = 100
STATE_WORDS: Mapping[str, str] = {
    "out": "Opted out: nothing is sent.",
    "review": "Wrote something that is probably an opt-out: nothing is sent until a person has read it.",
    "in": "Opted in: messages are sent.",
}


def consents(visit: Visit) -> Response:
    """Offer to look somebody up, and list what waits for a reader."""
    return _shown(visit)


def look(visit: Visit) -> Response:
    """Tell what is known of one recipient's wish."""
    try:
        tenant_id, number = _whose(visit)
    except SettingsError as exc:
        return _shown(visit, words=exc.message)
    groups = visit.tenant(tenant_id).consent_groups.values()
    found = visit.desk.consenting.known(tenant_id, number, dict.fromkeys(groups))
    return _shown(visit, found=found, looked=(tenant_id, number))


def change(visit: Visit) -> Response:
    """Ask, then write a recipient's wish by hand."""
    tenant_id, number = _whose(visit)
    sign = visit.text("sign")
    if sign not in (Sign.OUT, Sign.IN):
        raise SettingsError("Say whether they are opted out or in.")
    group = visit.text("group")
    if group and group not in visit.tenant(tenant_id).consent_groups.values():
        raise SettingsError("The tenant has no such group of senders.")
    if sign == Sign.IN and visit.text("confirmed") == "yes" and not visit.text("reason"):
        raise SettingsError("Say where it is written down that they want messages; go back once.")
    if visit.text("confirmed") != "yes":
        opted = f"opted {sign}"
        return visit.show(
            "confirm.html",
            title=f"Write that they are {opted}?",
            action="/consents/change",
            button=f"Write: {opted}",
            is_red=sign == Sign.IN,
            lines=[
                "From now on nothing is sent to them."
                if sign == Sign.OUT
                else "From now on messages are sent to them again. Do you have their word for it? "
                "Say where it is written down."
            ],
            kept=[(name, visit.text(name)) for name in ("tenant", "number", "sign", "group")],
            back="/consents",
        )
    subject = Subject(tenant_id, number, group or EVERY_SENDER)
    reason = visit.text("reason") or None
    visit.desk.consenting.set(subject, Sign(sign), by=visit.person.name, text=reason)
    return look(visit)


def read(visit: Visit) -> Response:
    """Show a text that blocks, in clear, with what can be decided."""
    one = _to_review(visit)
    visit.unmask(f"text {one.sid}", one.consent.tenant_id)
    return visit.show("review.html", one=one)


def judge(visit: Visit) -> Response:
    """Write what a person found in a text."""
    one = _to_review(visit)
    decided = visit.text("decided")
    if decided not in ("out", "not"):
        raise SettingsError("Say whether it is an opt-out.")
    visit.desk.consenting.judge(one, is_out=decided == "out", by=visit.person.name)
    return visit.go("/consents")


def _shown(
    visit: Visit,
    *,
    found: list[Consent] | None = None,
    looked: tuple[TenantId, str] | None = None,
    words: str = "",
) -> Response:
    each = (
        one for tenant_id in visit.tenants() for one in visit.desk.consenting.to_review(tenant_id)
    )
    waiting = list(islice(each, MOST_REVIEWED))
    groups = sorted({*visit.tenant(looked[0]).consent_groups.values()}) if looked else []
    return visit.show(
        "consents.html",
        tenants=visit.tenants(),
        waiting=waiting,
        most=MOST_REVIEWED,
        found=found,
        looked=looked,
        groups=groups,
        state_words=STATE_WORDS,
        words=words,
    )


def _whose(visit: Visit) -> tuple[TenantId, str]:
    """Read whose wish it is.

    Raises:
        SettingsError: what was typed is no number.
        NotKnown: there is no such tenant.
    """
    tenant_id = visit.tenant_id(visit.text("tenant"))
    try:
        region = visit.tenant(tenant_id).default_region
    except ConnectorError:
        region = None
    recipient = parse_recipient(visit.text("number"), region)
    if recipient is None:
        raise SettingsError("That is no number; write it with its country, as +12015550123.")
    return tenant_id, person_of(recipient)


def _to_review(visit: Visit) -> ToReview:
    """Find a text that waits to be read; its answers lead to whose it is.

    Raises:
        NotKnown: nothing of that name waits, as far as the person may know.
    """
    tenant_id, sid = visit.tenant_id(visit.text("tenant")), visit.text("sid")
    if visit.store.find_inbound(InboundQuery(tenant_id=tenant_id, sid=sid, limit=1)):
        for one in visit.desk.consenting.to_review(tenant_id):
            if one.sid == sid:
                return one
    raise NotKnown("Nobody has to read that text any more.")


PAGES = (
    Page("GET", "/consents", Right.SEE, consents),
    Page("POST", "/consents", Right.SEE, look),
    Page("POST", "/consents/change", Right.STEER, change),
    Page("POST", "/consents/read", Right.UNMASK, read),
    Page("POST", "/consents/judge", Right.STEER, judge),
)
