"""The body that CI360 posts for a bulk custom task -> :class:`Job`.

Its shape was read off the connectors of sassoftware/ci360-extensions and one real body of 2024, of
which only names and lengths are known. Where CI360 nests a member that is expected at the top, or the
reverse, it is found, too.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec

from ci360_twilio.core.audience import parse_options, parse_template
from ci360_twilio.core.creative import Creative
from ci360_twilio.core.event import Origin, Reading, loose, parse_body
from ci360_twilio.core.job import Job, State, job_id
from ci360_twilio.core.message import AttributeNames
from ci360_twilio.core.tenant import Tenant
from ci360_twilio.errors import Issue, Unprocessable

MAX_OCCURRENCE = 256


class BulkPayload(msgspec.Struct, frozen=True):
    """The members of the body that matter, as they came; all are hostile."""

    tenant_id: Any = msgspec.field(name="externalTenantId", default=None)
    occurrence_id: Any = msgspec.field(name="occurrenceId", default=None)
    task_id: Any = msgspec.field(name="taskId", default=None)
    task_version_id: Any = msgspec.field(name="taskVersionId", default=None)
    task_code: Any = msgspec.field(name="taskCode", default=None)
    task_name: Any = msgspec.field(name="taskName", default=None)
    event_name: Any = msgspec.field(name="outboundEventName", default=None)
    tracking_code: Any = msgspec.field(name="responseTrackingCode", default=None)
    urls: Any = msgspec.field(name="presignedUrls", default=None)
    parameters: Any = msgspec.field(name="sendParameters", default=None)
    data_file: Any = msgspec.field(name="dataFile", default=None)
    metadata_file: Any = msgspec.field(name="metadataFile", default=None)


def parse_bulk_payload(body: bytes) -> BulkPayload | None:
    """Decode the body of a bulk task; see :func:`ci360_twilio.core.event.parse_body`."""
    return parse_body(body, BulkPayload)


def parse_job(
    payload: BulkPayload,
    tenant: Tenant,
    now: datetime,
    ttl: timedelta,
    *,
    default_sender: str | None = None,
    names: AttributeNames,
) -> tuple[Job, tuple[Issue, ...]]:
    """Read a bulk task.

    Args:
        payload: the members of the body.
        tenant: whose task it is.
        now: when it came.
        ttl: how long its messages may be sent.
        default_sender: the connector's.
        names: of the parameters that stand for directives.

    Returns:
        The job, and what is wrong with it: where anything is, nothing can be sent.

    Raises:
        Unprocessable: it has no usable ``occurrenceId``, so nothing can be recorded under it.
    """
    read = Reading()
    occurrence = read.text(payload.occurrence_id, "occurrenceId")
    if occurrence is None or len(occurrence) > MAX_OCCURRENCE:
        words = f"must be a string of 1 to {MAX_OCCURRENCE} characters"
        raise Unprocessable("The task has no usable occurrenceId.", Issue("occurrenceId", words))
    version = read.text(payload.task_version_id, "taskVersionId")
    urls = read.members(payload.urls, "presignedUrls")
    data = read.text(urls.get("dataFile") or payload.data_file, "presignedUrls.dataFile")
    metadata = read.text(
        urls.get("metadataFile") or payload.metadata_file, "presignedUrls.metadataFile"
    )
    told = {issue.field for issue in read.issues}
    for name, url in (("dataFile", data), ("metadataFile", metadata)):
        if url is None and not told & {"presignedUrls", f"presignedUrls.{name}"}:
            read.issues.append(Issue(f"presignedUrls.{name}", "is missing"))
    members = read.members(payload.parameters, "sendParameters")
    parameters = {name.lower(): text for name, one in members.items() if (text := _text(one))}
    parse_options(parameters, read.issues)
    template = parse_template(parameters, names)
    fallback = tenant.default_sender or default_sender
    read.issues.extend(_gaps(template, fallback, names))
    job = Job(
        id=job_id(occurrence, version),
        tenant_id=tenant.id,
        occurrence_id=occurrence,
        state=State.RECEIVED,
        created_at=now,
        updated_at=now,
        purge_at=now + max(timedelta(days=tenant.retention_days), ttl),
        origin=Origin(
            event_name=read.text(payload.event_name, "outboundEventName"),
            task_id=read.text(payload.task_id, "taskId"),
            task_version_id=version,
            task_code=loose(payload.task_code),
            response_tracking_code=read.text(payload.tracking_code, "responseTrackingCode"),
        ),
        task_name=loose(payload.task_name),
        parameters=parameters,
        data_url=data,
        metadata_url=metadata,
    )
    return job, tuple(read.issues)


def _text(value: object) -> str | None:
    """Read a parameter, which somebody may have written as a number."""
    return str(value) if isinstance(value, float) else loose(value)


def _gaps(
    template: Creative,
    fallback: str | None,
    names: AttributeNames,
) -> list[Issue]:
    """Name what no row could make good."""
    issues = [Issue("sendParameters.creative", problem.message) for problem in template.problems]
    if template.to is None:
        words = f"names nobody; write for example {names.to} = {{{{mobile_phone}}}}"
        issues.append(Issue(f"sendParameters.{names.to}", words))
    if template.sender is None and fallback is None:
        words = "names no sender, and there is no default sender"
        issues.append(Issue(f"sendParameters.{names.sender}", words))
    if not template.body and not template.media_urls:
        words = "is empty, and there are no media: there is nothing to send"
        issues.append(Issue("sendParameters.body", words))
    return issues
