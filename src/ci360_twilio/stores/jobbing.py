"""What is the same for bulk jobs in all stores."""

from __future__ import annotations

import msgspec

from ci360_twilio.core.job import Job
from ci360_twilio.core.seal import keyed_hash
from ci360_twilio.ports import Added

decode_job = msgspec.json.Decoder(Job).decode


def added(known: Job | None, job: Job) -> Added:
    """Give the job that is to stand under a key; see :meth:`ci360_twilio.ports.Jobs.add_job`."""
    if known is None:
        return Added(msgspec.structs.replace(job, version=1), created=True)
    news = {"repeats": known.repeats + 1, "version": known.version + 1}
    if known.is_restartable:
        return Added(msgspec.structs.replace(job, **news), created=True)
    return Added(msgspec.structs.replace(known, **news), created=False)


def kept(known: Job | None, job: Job) -> Job | None:
    """Give a job as it is to be written, if nobody has written it since it was read."""
    if known is None or known.version != job.version:
        return None
    return msgspec.structs.replace(job, version=job.version + 1)


def keyed(text: str, hash_key: bytes) -> str:
    """Give a keyed hash of a text; see :meth:`ci360_twilio.ports.Jobs.keyed`."""
    return keyed_hash(f"row\n{text}", hash_key).hex()[:24]
