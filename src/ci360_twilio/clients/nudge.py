"""A queue that says what is there to be done: entries by their keys alone, never by what they hold.

What it says may be lost, late or said twice: the ledger is the outbox, and a sweep finds what is due. The
same goes for bulk jobs and their chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ci360_twilio.aws import make_client

AT_ONCE = 10
"""Messages in one request (docs: SendMessageBatch)."""
CONFIG: dict[str, Any] = {
    "connect_timeout": 2,
    "read_timeout": 5,
    "retries": {"mode": "standard", "total_max_attempts": 2},
}
LONGEST_DELAY = 900
"""Seconds for which SQS holds a message back."""


class Nudge:
    """One SQS queue."""

    def __init__(self, url: str, client: Any = None, *, aside: str | None = None) -> None:
        """Make it.

        Args:
            url: of the queue; its region is in it, as AWS writes it.
            client: of botocore, for ``sqs``; made here unless given.
            aside: of the queue for what cannot be understood.

        Raises:
            SettingsError: the ``aws`` extra is not installed, or no region is set.
        """
        self._url = url
        self._aside = aside
        self._client = client or make_client("sqs", **CONFIG)

    def say(self, words: Sequence[tuple[str, float]]) -> int:
        """Say what is there, and in how many seconds each is due; gives how many were not said.

        Args:
            words: entries' keys, jobs' keys, or what stands for chunks.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        unsaid = 0
        for start in range(0, len(words), AT_ONCE):
            some = words[start : start + AT_ONCE]
            messages = [
                {
                    "Id": str(number),
                    "MessageBody": body,
                    "DelaySeconds": min(max(int(wait + 0.999), 0), LONGEST_DELAY),
                }
                for number, (body, wait) in enumerate(some)
            ]
            try:
                said = self._client.send_message_batch(QueueUrl=self._url, Entries=messages)
                unsaid += len(said.get("Failed", ()))
            except (BotoCoreError, ClientError):
                unsaid += len(some)
        return unsaid

    def set_aside(self, body: str, reason: str) -> bool:
        """Set a message aside with its reason, for a person to look at; tells whether that is done."""
        from botocore.exceptions import BotoCoreError, ClientError

        if self._aside is None:
            return False
        said = {"reason": {"DataType": "String", "StringValue": reason}}
        try:
            self._client.send_message(
                QueueUrl=self._aside, MessageBody=body, MessageAttributes=said
            )
        except (BotoCoreError, ClientError):
            return False
        return True
