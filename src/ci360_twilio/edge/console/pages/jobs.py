"""Bulk jobs: how far they are, and pausing, resuming and canceling one."""

from __future__ import annotations

from starlette.responses import Response

from ci360_twilio.core.job import Job, state_of
from ci360_twilio.core.person import Right
from ci360_twilio.core.reasons import reason_words
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.console.desk import ENOUGH, Page, Visit
from ci360_twilio.errors import NotKnown
from ci360_twilio.flow.jobs import find_job

MOST = 100


def jobs(visit: Visit) -> Response:
    """List jobs, newest first."""
    found = [
        job
        for tenant_id in visit.scope()
        for job in visit.store.jobs(tenant_id=tenant_id, limit=MOST)
    ]
    found.sort(key=lambda job: job.created_at, reverse=True)
    shown = [(job, _state(visit, job)) for job in found[:MOST]]
    return visit.show("jobs.html", jobs=shown)


def job(visit: Visit) -> Response:
    """Tell all about one job."""
    return _told(visit, "job.html")


def progress(visit: Visit) -> Response:
    """Tell what of it changes."""
    return _told(visit, "_job.html", until_ended=True)


def _told(visit: Visit, template: str, *, until_ended: bool = False) -> Response:
    found = _job(visit)
    counts = [
        (title, sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
        for title, counts in (("Checked", found.checked), ("Settled", found.outcomes))
        if counts
    ]
    return visit.show(
        template,
        ENOUGH if until_ended and found.ended else 200,
        job=found,
        state=_state(visit, found),
        counts=counts,
        reason_words=reason_words,
        left=found.left(),
    )


def _state(visit: Visit, found: Job) -> str:
    is_paused = not found.ended and bool(visit.desk.foreman.pauses(found))
    return state_of(found, is_paused=is_paused)


def act(visit: Visit) -> Response:
    """Pause or resume at once; cancel after asking."""
    found, action = _job(visit), visit.path["action"]
    path = f"/jobs/{found.tenant_id}/{found.id}"
    foreman, by, text = visit.desk.foreman, visit.person.name, visit.text("reason") or None
    if action == "pause":
        if not found.ended:
            foreman.pause(found, by=by, text=text)
    elif action == "resume":
        foreman.resume(found, by=by, text=text)
    elif action == "cancel" and visit.text("confirmed") == "yes":
        foreman.cancel(found, by=by, text=text)
    elif action != "cancel":
        raise NotKnown("That cannot be done with a job.")
    else:
        left = found.rows - found.settled_rows
        return visit.show(
            "confirm.html",
            title=f"Cancel job {found.id}?",
            action=f"{path}/cancel",
            button="Cancel the job",
            is_red=True,
            lines=[f"Of {found.rows:,} rows {left:,} may not be sent yet; they are taken back."],
            kept=[],
            back=path,
        )
    return visit.go(path)


def _job(visit: Visit) -> Job:
    """Find a job of a tenant that the person sees; raises ``NotKnown`` where there is none."""
    tenant_id: TenantId = visit.tenant_id(visit.path["tenant"])
    return find_job(visit.store.jobs(tenant_id=tenant_id, limit=1000), visit.path["job"])


PAGES = (
    Page("GET", "/jobs", Right.SEE, jobs),
    Page("GET", "/jobs/{tenant}/{job}", Right.SEE, job),
    Page("GET", "/jobs/{tenant}/{job}/now", Right.SEE, progress, quiet=True),
    Page("POST", "/jobs/{tenant}/{job}/{action}", Right.STEER, act),
)
