"""The audit: what people did."""

from __future__ import annotations

from starlette.responses import Response

from ci360_twilio.core.person import Right
from ci360_twilio.edge.console.desk import Page, Visit

MOST = 200
"""Lines that are shown."""
_READ = 2_000
"""Lines that are read, for whoever sees some tenants alone."""


def audit(visit: Visit) -> Response:
    """List what people did, newest first."""
    sees_all = visit.person.tenants is None
    found = visit.store.notes(MOST if sees_all else _READ)
    notes = [note for note in found if sees_all or visit.person.sees(note.tenant_id)]
    return visit.show("audit.html", notes=notes[:MOST], most=MOST)


PAGES = (Page("GET", "/audit", Right.SEE, audit),)
