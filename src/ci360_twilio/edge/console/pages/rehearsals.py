"""Rehearsals: what a campaign would do and cost, from a creative and a file of customers."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from ci360_twilio.core.person import Right
from ci360_twilio.edge.console.desk import ENOUGH, Page, Visit
from ci360_twilio.edge.console.rehearsing import Rehearsal
from ci360_twilio.errors import NotKnown, TooOften

SAMPLE = "TO:{{phone}};\nHi {{firstname}}, see you on Thursday!"
MOST_UPLOADED = 256 * 1024 * 1024


def rehearsals(visit: Visit, words: str = "") -> Response:
    """List rehearsals, and offer to start one."""
    shown = [one for one in visit.desk.rehearsals.all() if visit.person.sees(one.tenant_id)]
    return visit.show(
        "rehearsals.html",
        rehearsals=shown,
        tenants=visit.tenants(),
        words=words,
        creative=visit.whole("creative"),
        sample=SAMPLE,
        status=400 if words else 200,
    )


def begin(visit: Visit) -> Response:
    """Take a file, and start."""
    tenant_id = visit.tenant(visit.text("tenant")).id
    creative, audience = visit.whole("creative"), visit.upload("audience")
    if not creative.strip() or audience is None:
        return rehearsals(visit, "Write a creative, and choose a file of customers (CSV).")
    name = (audience.filename or "")[:100]
    try:
        one = visit.desk.rehearsals.start(
            tenant_id, visit.person.name, creative, name, audience.file
        )
    except TooOften as exc:
        return rehearsals(visit, exc.message)
    return visit.go(f"/rehearsals/{one.id}")


def rehearsal(visit: Visit) -> Response:
    """Show how far one is, or its report."""
    return visit.show("rehearsal.html", **_about(visit))


def progress(visit: Visit) -> Response:
    """Show what of it changes."""
    about = _about(visit)
    return visit.show("_rehearsal.html", 200 if about["is_running"] else ENOUGH, **about)


def cancel(visit: Visit) -> Response:
    """End one that runs, and delete what there is of it."""
    visit.desk.rehearsals.drop(_known(visit))
    return visit.go("/rehearsals")


def report(visit: Visit) -> Response:
    """Hand out the report as a page that can be mailed."""
    page = _known(visit).page()
    if page is None:
        raise NotKnown("There is no report.")
    headers = {"Content-Disposition": 'attachment; filename="rehearsal.html"'}
    return Response(page, media_type="text/html", headers=headers)


def _about(visit: Visit) -> dict[str, Any]:
    one = _known(visit)
    found = one.report()
    return {
        "one": one,
        "is_running": one.is_running,
        "rows": one.rows,
        "report": found,
        "trouble": "" if found or one.is_running else one.trouble,
    }


def _known(visit: Visit) -> Rehearsal:
    one = visit.desk.rehearsals.get(visit.path["rehearsal"])
    if one is None or not visit.person.sees(one.tenant_id):
        raise NotKnown("There is no such rehearsal; reports are kept for an hour.")
    return one


PAGES = (
    Page("GET", "/rehearsals", Right.CREATE, rehearsals),
    Page("POST", "/rehearsals", Right.CREATE, begin, most=MOST_UPLOADED),
    Page("GET", "/rehearsals/{rehearsal}", Right.CREATE, rehearsal),
    Page("GET", "/rehearsals/{rehearsal}/now", Right.CREATE, progress, quiet=True),
    Page("GET", "/rehearsals/{rehearsal}/report", Right.CREATE, report),
    Page("POST", "/rehearsals/{rehearsal}/cancel", Right.CREATE, cancel),
)
