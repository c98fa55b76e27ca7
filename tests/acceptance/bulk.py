"""What CI360 hands over for a bulk task: files at signed addresses of a local S3, and the body."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from tests.cloud.server import REGION, Moto

BUCKET = "ci360-audiences"
COLUMNS = "identity_id,first_name,mobile_phone,city_"
PARAMETERS = {
    "to": "{{mobile_phone}}",
    "body": "Hello {{FIRST_NAME}}, see you in {{city}} tomorrow!",
}


class Bucket:
    """A bucket in moto's S3 that signs addresses as CI360's does."""

    def __init__(self, moto: Moto) -> None:
        self._client = moto.client("s3")
        where = {"LocationConstraint": REGION}
        self._client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=where)
        self.host = moto.url.removeprefix("http://")

    def put(self, body: bytes, *, seconds: int = 900) -> str:
        """Put a file; gives its signed address."""
        key = f"path/{uuid.uuid4()}"
        self._client.put_object(Bucket=BUCKET, Key=key, Body=body)
        return self.sign(key, seconds=seconds)

    def sign(self, key: str, *, seconds: int = 900) -> str:
        """Sign an address."""
        url: str = self._client.generate_presigned_url(
            "get_object", Params={"Bucket": BUCKET, "Key": key}, ExpiresIn=seconds
        )
        return url

    def task(
        self,
        rows: Iterable[Sequence[str]] | bytes,
        *,
        columns: str | bytes = COLUMNS,
        tenant_id: str = "open-tenant",
        occurrence: str | None = None,
        parameters: dict[str, Any] | None = None,
        **members: Any,
    ) -> dict[str, Any]:
        """Make a bulk task's body, its files in the bucket."""
        data = rows if isinstance(rows, bytes) else "".join(map(line, rows)).encode()
        head = columns.encode() if isinstance(columns, str) else columns
        return {
            "occurrenceId": occurrence or str(uuid.uuid4()),
            "taskId": "66666666-7777-8888-9999-000000000000",
            "taskVersionId": "uWSsvAvdAMf4alp39tWWxsSpM7Gmjd1H",
            "outboundEventName": "SMS Bulk",
            "externalTenantId": tenant_id,
            "tenantMoniker": "tenant",
            "responseTrackingCode": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
            "presignedUrls": {"metadataFile": self.put(head), "dataFile": self.put(data)},
            "taskCode": "TSK_539",
            "sendParameters": PARAMETERS if parameters is None else parameters,
            "taskName": "My bulk task",
            **members,
        }


def line(cells: Sequence[str]) -> str:
    """Write a line of a data file as CI360 does."""
    return (
        ",".join(
            f'"{cell.replace(chr(34), chr(34) * 2)}"' if set(cell) & set(',"\n') else cell
            for cell in cells
        )
        + "\n"
    )


def encoded(task: dict[str, Any]) -> bytes:
    """Write a task's body."""
    return json.dumps(task).encode()
