"""Pauses: what is not sent for now, and the red button."""

from __future__ import annotations

from starlette.responses import Response

from ci360_twilio.core.pause import Pause, Scope
from ci360_twilio.core.person import Right
from ci360_twilio.core.reasons import reason_words
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.cli.given import country_named, sender_named
from ci360_twilio.edge.console.desk import Page, Visit
from ci360_twilio.errors import Denied, NotKnown, SettingsError
from ci360_twilio.flow.decision import Target, target_of

SCOPES = (Scope.TENANT, Scope.TASK, Scope.SENDER, Scope.COUNTRY, Scope.REPORTS, Scope.ALL)
"""What can be paused here; a job has a page of its own."""


def pauses(visit: Visit, words: str = "") -> Response:
    """List what is paused, and offer to pause something."""
    shown = [
        (one, target_of(one.pause), reason_words(one.pause.reason), _may_lift(visit, one.pause))
        for one in visit.desk.steering.pauses()
        if one.pause.tenant_id is None or visit.person.sees(one.pause.tenant_id)
    ]
    return visit.show(
        "pauses.html",
        standing=shown,
        scopes=[scope for scope in SCOPES if _may_pause(visit, scope)],
        tenants=visit.tenants(),
        words=words,
        form=visit.form,
    )


def _may_lift(visit: Visit, pause: Pause) -> bool:
    return visit.person.may(Right.STEER) and visit.person.sees(pause.tenant_id)


def _may_pause(visit: Visit, scope: Scope) -> bool:
    return scope is not Scope.ALL or visit.person.tenants is None


def pause(visit: Visit) -> Response:
    """Say what would be paused and ask; then pause it."""
    try:
        target = _target(visit)
    except SettingsError as exc:
        return pauses(visit, exc.message)
    steering = visit.desk.steering
    if visit.text("confirmed") != "yes":
        covered = steering.covered(target)
        return visit.show(
            "confirm.html",
            title=f"Pause {target}?",
            action="/pauses",
            button="Pause",
            is_red=True,
            lines=[
                f"{sum(covered.values()):,} messages that wait now would stay.",
                "Once it is paused nothing of it starts any more; what is leaving goes out.",
                "Events are still accepted, and what waits may expire.",
            ],
            kept=_kept(visit, ("scope", "tenant", "value")),
            back="/pauses",
        )
    steering.pause(target, by=visit.person.name, text=visit.text("reason") or None)
    return visit.go("/pauses")


def resume(visit: Visit) -> Response:
    """Say what would go out and ask; then lift all pauses of the target."""
    target = _named(visit)
    steering = visit.desk.steering
    if visit.text("confirmed") != "yes":
        found = steering.standing(target)
        valid, expired = sum(one.valid for one in found), sum(one.expired for one in found)
        return visit.show(
            "confirm.html",
            title=f"Resume {target}?",
            action="/pauses/resume",
            button="Resume",
            is_red=False,
            lines=[
                f"{valid:,} messages that waited will be sent, as their senders' turns come.",
                f"{expired:,} have expired meanwhile, and will not.",
            ],
            kept=_kept(visit, ("scope", "tenant", "value")),
            back="/pauses",
        )
    steering.resume(target, by=visit.person.name, text=visit.text("reason") or None)
    return visit.go("/pauses")


def _kept(visit: Visit, names: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(name, visit.text(name)) for name in names]


def _target(visit: Visit) -> Target:
    """Read what is to be paused.

    Raises:
        SettingsError: the form does not say.
        Denied: it is more than the person sees.
    """
    scope = _scope(visit)
    if scope not in SCOPES:
        raise SettingsError("A job is paused on its own page.")
    tenant = visit.text("tenant")
    tenant_id = visit.tenant_id(tenant) if tenant else None
    value = visit.text("value") or None
    if scope is Scope.ALL:
        tenant_id = value = None
    elif scope in (Scope.TENANT, Scope.REPORTS):
        value = None
        if tenant_id is None and scope is Scope.TENANT:
            raise SettingsError("Choose the tenant that is to be paused.")
    elif value is None:
        raise SettingsError(f"Name the {scope} that is to be paused.")
    elif scope is Scope.SENDER:
        value = sender_named(value)
    elif scope is Scope.COUNTRY:
        value = country_named(value)
    return _checked(visit, Target(scope, tenant_id, value))


def _named(visit: Visit) -> Target:
    """Read which pause is meant; it was written by whoever set it, and is taken as it stands."""
    tenant = visit.text("tenant")
    target = Target(
        _scope(visit), TenantId(tenant) if tenant else None, visit.text("value") or None
    )
    return _checked(visit, target)


def _scope(visit: Visit) -> Scope:
    scope = visit.text("scope")
    if scope not in {*Scope}:
        raise SettingsError("Choose what is meant.")
    return Scope(scope)


def _checked(visit: Visit, target: Target) -> Target:
    if target.tenant_id is not None and not visit.person.sees(target.tenant_id):
        raise NotKnown("There is no such tenant.")
    if not visit.person.sees(target.tenant_id):
        raise Denied("That would concern tenants that you do not see; choose one of yours.")
    return target


PAGES = (
    Page("GET", "/pauses", Right.SEE, pauses),
    Page("POST", "/pauses", Right.STEER, pause),
    Page("POST", "/pauses/resume", Right.STEER, resume),
)
