"""A DynamoDB table as the ledger uses it: rows under one key, read strongly, written under a condition.

There are no transactions. Every row has a version; a row is written only over the version that was read
(:meth:`Table.write`), so that of two who change one row one is told that it lost, and looks anew. Lists
come from sparse indexes that hold keys alone. They lag behind the table by some milliseconds, so that
what they name is read from the table before anything is made of it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar
from zlib import crc32

from ci360_twilio import aws
from ci360_twilio.errors import LedgerUnavailable

INDEXES = ("due", "place", "ended", "owed", "aside", "person")
"""Each is an attribute by which rows are found, with a time or the like beside it: ``due``, ``due_at``."""
SHARDS = 8
"""Parts of each list: one part takes about 1,000 writes a second (docs: partition throughput)."""
AT_ONCE = 100
"""Rows that one request reads (docs: BatchGetItem)."""
WRITTEN = 25
"""Rows that one request writes (docs: BatchWriteItem)."""
THREADS = 16
_ATTEMPTS = 6

T = TypeVar("T")
R = TypeVar("R")


class Row(NamedTuple):
    """One item."""

    pk: str
    version: int
    data: bytes
    names: Mapping[str, tuple[str, str]] = {}
    """Where it stands in the indexes: by index, the list and the place in it."""
    sequence: int = 0
    """When it was made, in nanoseconds: what is of one time is in this order."""
    ttl: int | None = None
    """Seconds since 1970 from which on it is as if gone; DynamoDB deletes it some time after."""


class Found(NamedTuple):
    """One place in a list."""

    at: str
    pk: str


class Table:
    """One table. Safe for many threads."""

    def __init__(
        self,
        client: Any,
        name: str,
        *,
        shards: int = SHARDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make it.

        Args:
            client: of botocore or boto3, for ``dynamodb``.
            name: of the table, which is there.
            shards: into how many parts lists are split; never changed for a table that is in use.
            clock: tells seconds since 1970, for what is past its time to live.
        """
        self.client = client
        self.name = name
        self.shards = shards
        self._clock = clock
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="ledger")

    def now(self) -> datetime:
        """Give the moment that it is for what is past its time to live."""
        return datetime.fromtimestamp(self._clock(), UTC)

    def close(self) -> None:
        """Let threads and connections go."""
        self._pool.shutdown()
        self.client.close()

    def each(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Do something for each item, several at one time; what fails raises once all are done."""
        todo = list(items)
        if len(todo) == 1:
            return [work(todo[0])]
        return [future.result() for future in [self._pool.submit(work, one) for one in todo]]

    def parts(self, name: str) -> list[str]:
        """Give the parts of a list."""
        return [f"{name}#{shard}" for shard in range(self.shards)]

    def part(self, name: str, pk: str) -> str:
        """Give the part of a list in which a row stands."""
        return f"{name}#{crc32(pk.encode()) % self.shards}"

    def read(self, pks: Collection[str]) -> dict[str, Row | None]:
        """Read rows, each as it is committed at that moment."""
        wanted = list(dict.fromkeys(pks))
        found: dict[str, Row | None] = dict.fromkeys(wanted)
        batches = [wanted[start : start + AT_ONCE] for start in range(0, len(wanted), AT_ONCE)]
        for items in self.each(self._read_batch, batches):
            for item in items:
                row = _row(item)
                found[row.pk] = None if self._is_over(row) else row
        return found

    def _read_batch(self, pks: list[str]) -> list[Mapping[str, Any]]:
        items: list[Mapping[str, Any]] = []
        left: list[Mapping[str, Any]] = [{"pk": {"S": pk}} for pk in pks]
        for attempt in range(_ATTEMPTS):
            with _reported():
                wanted = {self.name: {"Keys": left, "ConsistentRead": True}}
                answer = self.client.batch_get_item(RequestItems=wanted)
            items += answer["Responses"].get(self.name, [])
            left = answer.get("UnprocessedKeys", {}).get(self.name, {}).get("Keys", [])
            if not left:
                return items
            time.sleep(random.uniform(0, 0.05 * 2**attempt))
        raise LedgerUnavailable("The table does not keep up with what is read.")

    def write(self, row: Row, *, before: int | None) -> bool:
        """Write a row; tells whether it was still as it had been read.

        Args:
            row: as it is to be; its version is set here.
            before: the version that was read; ``None`` where there was no row.
        """
        item = _item(row, (before or 0) + 1)
        return self._conditional(self.client.put_item, before, Item=item)

    def delete(self, pk: str, *, before: int) -> bool:
        """Delete a row; tells whether it was still as it had been read."""
        return self._conditional(self.client.delete_item, before, Key={"pk": {"S": pk}})

    def _conditional(self, call: Callable[..., Any], before: int | None, **request: Any) -> bool:
        if before is None:
            # There was none. One past its time to live counts as none, too: DynamoDB may take two days
            # to delete it (docs: "Using time to live"), and it must not be in the way until then.
            condition = "attribute_not_exists(pk) OR #ttl <= :now"
            request["ExpressionAttributeNames"] = {"#ttl": "ttl"}
            request["ExpressionAttributeValues"] = {":now": {"N": str(int(self._clock()))}}
        else:
            # It is the one that was read: every write counts the version up, and a row that was
            # deleted has none. That alone keeps two workers from having one entry.
            condition = "version = :before"
            request["ExpressionAttributeValues"] = {":before": {"N": str(before)}}
        with _reported():
            try:
                call(TableName=self.name, ConditionExpression=condition, **request)
            except self.client.exceptions.ConditionalCheckFailedException:
                return False
        return True

    def overwrite(self, rows: Sequence[Row]) -> None:
        """Write rows over whatever stands there, with the versions that they bring."""
        batches = [rows[start : start + WRITTEN] for start in range(0, len(rows), WRITTEN)]
        self.each(self._write_batch, batches)

    def _write_batch(self, rows: Sequence[Row]) -> None:
        left: list[Any] = [{"PutRequest": {"Item": _item(row, row.version)}} for row in rows]
        for attempt in range(_ATTEMPTS):
            with _reported():
                answer = self.client.batch_write_item(RequestItems={self.name: left})
            left = answer.get("UnprocessedItems", {}).get(self.name, [])
            if not left:
                return
            time.sleep(random.uniform(0, 0.05 * 2**attempt))
        raise LedgerUnavailable("The table does not keep up with what is written.")

    def listed(
        self, index: str, name: str, *, upto: str = "", after: str = "", backward: bool = False
    ) -> Iterator[Found]:
        """Go through a list, by its order, reading on as far as it is gone through.

        Args:
            index: which.
            name: the list, or a part of it.
            upto: places that come after this are left out, if it is given.
            after: places up to this one are left out, if it is given.
            backward: from its end.
        """
        request = self._query(index, name, upto, after) | {"ScanIndexForward": not backward}
        size = 16
        while True:
            with _reported():
                answer = self.client.query(**request, Limit=size)
            for item in answer["Items"]:
                yield Found(item[f"{index}_at"]["S"], item["pk"]["S"])
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
            size = min(size * 4, 1_000)

    def count(self, index: str, name: str, *, upto: str = "", most: int | None = None) -> int:
        """Count what is in a list, or a part of it, up to ``most``."""
        request = self._query(index, name, upto, "") | {"Select": "COUNT"}
        number = 0
        while most is None or number < most:
            with _reported():
                limit = {} if most is None else {"Limit": most - number}
                answer = self.client.query(**request, **limit)
            number += answer["Count"]
            if "LastEvaluatedKey" not in answer:
                break
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
        return number

    def _query(self, index: str, name: str, upto: str, after: str) -> dict[str, Any]:
        values = {":name": {"S": name}}
        condition = "#name = :name"
        names = {"#name": index}
        for bound, sign, key in ((upto, "<=", ":upto"), (after, ">", ":after")):
            if bound:
                condition += f" AND #at {sign} {key}"
                values[key] = {"S": bound}
                names["#at"] = f"{index}_at"
        return {
            "TableName": self.name,
            "IndexName": index,
            "KeyConditionExpression": condition,
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": values,
        }

    def everything(self, prefix: str) -> Iterator[Row]:
        """Go through all rows of a kind, in no order: the whole table is read for it."""
        yield from self._scanned(
            FilterExpression="begins_with(pk, :prefix)",
            ExpressionAttributeValues={":prefix": {"S": prefix}},
        )

    def everything_in(self, index: str) -> Iterator[str]:
        """Go through the keys of all rows that stand in an index, in no order."""
        for item in self._scan(IndexName=index):
            yield item["pk"]["S"]

    def _scanned(self, **request: Any) -> Iterator[Row]:
        for item in self._scan(ConsistentRead=True, **request):
            row = _row(item)
            if not self._is_over(row):
                yield row

    def _scan(self, **request: Any) -> Iterator[Mapping[str, Any]]:
        while True:
            with _reported():
                answer = self.client.scan(TableName=self.name, **request)
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _is_over(self, row: Row) -> bool:
        return row.ttl is not None and row.ttl <= self._clock()


def make_client() -> Any:
    """Make a client that waits for a table, and has a connection for each thread.

    Raises:
        SettingsError: the ``aws`` extra is not installed, or no region is set.
    """
    return aws.make_client(
        "dynamodb",
        connect_timeout=2,
        read_timeout=5,
        retries={"mode": "standard", "total_max_attempts": 4},
        max_pool_connections=2 * THREADS,
    )


def definition(name: str) -> dict[str, Any]:
    """Give the request that makes a table, as the stack's template has it."""
    keys = ["pk", *(f"{index}{end}" for index in INDEXES for end in ("", "_at"))]
    return {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"} for key in keys],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        "GlobalSecondaryIndexes": [
            {
                "IndexName": index,
                "KeySchema": [
                    {"AttributeName": index, "KeyType": "HASH"},
                    {"AttributeName": f"{index}_at", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
            for index in INDEXES
        ],
    }


def _item(row: Row, version: int) -> dict[str, Any]:
    item: dict[str, Any] = {
        "pk": {"S": row.pk},
        "version": {"N": str(version)},
        "data": {"B": row.data},
        "sequence": {"N": str(row.sequence)},
    }
    for index, (name, at) in row.names.items():
        item |= {index: {"S": name}, f"{index}_at": {"S": at}}
    if row.ttl is not None:
        item["ttl"] = {"N": str(row.ttl)}
    return item


def _row(item: Mapping[str, Any]) -> Row:
    names = {
        index: (item[index]["S"], item[f"{index}_at"]["S"]) for index in INDEXES if index in item
    }
    return Row(
        pk=item["pk"]["S"],
        version=int(item["version"]["N"]),
        data=item["data"]["B"],
        names=names,
        sequence=int(item["sequence"]["N"]) if "sequence" in item else 0,
        ttl=int(item["ttl"]["N"]) if "ttl" in item else None,
    )


@contextmanager
def _reported() -> Iterator[None]:
    """Turn what AWS and the network do into the ledger's own error, once."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as exc:
        code = exc.response.get("Error", {}).get("Code", "")
        if code == "ConditionalCheckFailedException":
            raise
        raise LedgerUnavailable(f"The table cannot be used: {code}.") from exc
    except BotoCoreError as exc:
        raise LedgerUnavailable(f"The table cannot be used: {type(exc).__name__}.") from exc
