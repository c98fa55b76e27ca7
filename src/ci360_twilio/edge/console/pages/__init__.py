"""The pages, each with its routes; :data:`PAGES` are all that need somebody to be signed in."""

from __future__ import annotations

from ci360_twilio.edge.console.desk import Page
from ci360_twilio.edge.console.pages import (
    audit,
    consents,
    jobs,
    messages,
    pauses,
    people,
    phones,
    rehearsals,
    start,
    steering,
    workshop,
)

PAGES: tuple[Page, ...] = (
    *start.PAGES,
    *messages.PAGES,
    *workshop.PAGES,
    *steering.PAGES,
    *pauses.PAGES,
    *consents.PAGES,
    *jobs.PAGES,
    *rehearsals.PAGES,
    *phones.PAGES,
    *audit.PAGES,
    *people.PAGES,
)
