"""What a campaign would do and cost, told before it is launched: the launch itself, with nothing written.

The same code reads, judges and enters every row or event as when it is live; only the ledger in which they
would be entered is asked what would come of them (:class:`ci360_twilio.ports.Foresight`), so that opt-outs,
recipients' limits and what was sent already count as they would. Twilio and CI360 hear nothing.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any, Protocol

import msgspec

from ci360_twilio.core.audience import CREATIVE, Columns, parse_options
from ci360_twilio.core.creative import MERGE_TAG, parse_creative
from ci360_twilio.core.entry import Entry, Status
from ci360_twilio.core.job import Chunk, Job
from ci360_twilio.core.message import compose
from ci360_twilio.core.pause import Pause, Scope
from ci360_twilio.core.prices import LIST_PRICES, Prices
from ci360_twilio.core.reasons import reason_words
from ci360_twilio.core.segments import replacement_of
from ci360_twilio.core.tenant import Tenant, TenantId
from ci360_twilio.core.verdict import judge
from ci360_twilio.errors import ConnectorError
from ci360_twilio.flow.accept import Acceptance, Accepted, Ignored
from ci360_twilio.flow.arrival import Arrival
from ci360_twilio.flow.audience import FIELD, Gates
from ci360_twilio.flow.chunks import Checked, Chunks, Judged, why_not
from ci360_twilio.flow.queues import usual_rate
from ci360_twilio.flow.rows import Row
from ci360_twilio.flow.tally import Example, Sum, Tally, ordered
from ci360_twilio.ports import NO_LIMITS, Foreseen, Foresight, Inserted, Tenants

BATCH = 500
"""Events that are judged together."""
SHOWN_CHARACTERS = 20
DUPLICATE = "duplicate"


class Rehearsed(Foresight, Protocol):
    """A ledger, as far as a rehearsal asks it."""

    def keyed(self, text: str) -> str:
        """Hash a text; see :meth:`ci360_twilio.ports.Jobs.keyed`."""
        ...


class Trial:
    """A ledger in which entries would be written: it is asked what would come of them."""

    def __init__(self, ledger: Rehearsed, so_far: Foreseen | None = None) -> None:
        """Make it; ``so_far`` remembers what would have been written before, if that matters."""
        self._ledger = ledger
        self._so_far = so_far
        self.keyed = ledger.keyed

    def insert_many(
        self, entries: Sequence[Entry], *, recipient_limits: Mapping[TenantId, int] = NO_LIMITS
    ) -> list[Inserted]:
        """Tell what would come of entries."""
        return self._ledger.foresee(entries, recipient_limits=recipient_limits, so_far=self._so_far)


class Stage:
    """Rehearses a job's rows, chunk by chunk; its methods are what helpers do."""

    def __init__(
        self, chunks: Chunks, tenants: Tenants, gates: Gates, *, is_merged: bool = False
    ) -> None:
        """Make it.

        Args:
            chunks: does the work, with a :class:`Trial` as its ledger.
            tenants: who sends.
            gates: as those of ``chunks``.
            is_merged: whether CI360 will fill the creative's merge tags itself, as for triggered tasks.
        """
        self._chunks = chunks
        self._tenants = tenants
        self._gates = gates
        self._is_merged = is_merged

    def judge(self, job: Job, chunk: Chunk) -> Judged:
        """Judge the rows of a chunk, as the check does."""
        return self._chunks.judge(job, chunk)

    def tally(self, job: Job, chunk: Chunk) -> Tally:
        """Enter the rows of a chunk, as it were, and count what would come of them."""
        tally = Tally()
        for mark, inserted in self._chunks.entered(job, chunk):
            if inserted is None:
                reason = mark.reason or DUPLICATE
                is_bad = reason != DUPLICATE
                tally.count(reason, mark.row, mark.line, mark.words or "", is_bad=is_bad)
            else:
                count(tally, inserted, mark.row, mark.line)
        if self._is_merged:
            self._count_merged(job, chunk, tally)
        return tally

    def _count_merged(self, job: Job, chunk: Chunk, tally: Tally) -> None:
        """Count rows of which CI360 would make another creative, as it fills merge tags before we read."""
        text, columns = job.parameters[CREATIVE], Columns(job.columns)
        tenant = self._tenants.get(job.tenant_id)
        audience = self._chunks.audience(job)
        for row in self._chunks.rows(job, chunk):
            if not isinstance(row, Row) or not any(map(_STEERS.search, row.cells)):
                continue
            cells = row.cells

            def cell(tag: re.Match[str], cells: list[str] = cells) -> str:
                place = columns.find(tag[1])
                return tag[0] if place is None else cells[place]

            message, found = compose(
                parse_creative(MERGE_TAG.sub(cell, text)),
                {},
                tenant,
                default_sender=self._gates.default_sender,
                names=self._gates.names,
            )
            merged = judge(message, found, tenant, FIELD)
            ours = audience.judge(row).verdict
            if (merged.status, merged.message) != (ours.status, ours.message):
                tally.otherwise += 1
                if len(tally.otherwise_rows) < 3:
                    tally.otherwise_rows.append(Example(row.number, row.line, merged.reason or ""))


_STEERS = re.compile(r"[;:{}&<\r\n]|^\s|\s$")


def count(tally: Tally, inserted: Inserted, row: int, line: int) -> None:
    """Count what would come of an entry."""
    entry, created = inserted
    if not created:
        tally.count(DUPLICATE, row, line, "It was accepted before, and is not sent again.")
    elif entry.status is Status.ACCEPTED:
        tally.count_sendable(entry)
    else:
        words = "; ".join(text for _, text in entry.problems)
        reason = entry.reason or str(entry.status)
        is_bad = entry.status is Status.REFUSED
        tally.count(reason, row, line, words or reason_words(reason), is_bad=is_bad)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a rehearsal tells, as it is shown and written as JSON."""

    kind: str
    """``audience``, ``bulk`` or ``events``."""
    tenant: str
    made_at: datetime
    rows: int
    sendable: int
    verdicts: dict[str, int]
    """Rows by ``accepted``, or why they get no message; they add up to ``rows``."""
    reasons: list[dict[str, Any]]
    """The same with words and examples, the accepted left out."""
    would_stop: dict[str, str] | None
    """Why nothing would be sent at all: ``reason`` and ``message``."""
    bad: int
    bad_percent: float
    bad_limit_percent: float | None
    numbers: dict[str, int]
    """Of the sendable: ``valid``, and ``outside_numbering_plan``."""
    channels: dict[str, int]
    countries: list[dict[str, Any]]
    encodings: dict[str, int]
    segments: int
    segments_per_message: dict[int, int]
    smart_encoding_saves: int
    characters: list[dict[str, Any]]
    cost: dict[str, Any]
    senders: list[dict[str, Any]]
    would_expire: int
    pauses: list[str]
    warnings: list[str]


def report_of(
    tally: Tally,
    *,
    kind: str,
    tenant: Tenant,
    now: datetime,
    ttl: timedelta,
    pauses: Sequence[Pause],
    prices: Prices = LIST_PRICES,
    checked: Checked | None = None,
    limit: float | None = None,
) -> Report:
    """Make the report of what was counted.

    Args:
        tally: what was counted.
        kind: of the rehearsal.
        tenant: whose campaign it is.
        now: when.
        ttl: how long a message may wait.
        pauses: what is not sent for now.
        prices: see :mod:`ci360_twilio.core.prices`.
        checked: what a job's check found.
        limit: the share of bad rows beyond which a job stops, in percent.
    """
    stop = why_not(checked, limit) if checked is not None and limit is not None else None
    sendable = tally.verdicts.get("accepted", 0)
    senders = [_sender(name, one, tenant, ttl) for name, one in _largest(tally.senders)]
    held = [pause for pause in pauses if _holds(pause, tenant)]
    return Report(
        kind=kind,
        tenant=tenant.id,
        made_at=now,
        rows=tally.rows,
        sendable=sendable,
        verdicts=ordered(tally.verdicts),
        reasons=[
            {
                "verdict": verdict,
                "rows": number,
                "words": reason_words(verdict),
                "examples": [msgspec.structs.asdict(one) for one in tally.examples[verdict]],
            }
            for verdict, number in ordered(tally.verdicts).items()
            if verdict != "accepted"
        ],
        would_stop=None if stop is None else {"reason": stop[0], "message": stop[1]},
        bad=tally.bad,
        bad_percent=round(tally.bad * 100 / tally.rows, 2) if tally.rows else 0.0,
        bad_limit_percent=limit,
        numbers={"valid": sendable - tally.outside, "outside_numbering_plan": tally.outside},
        channels=ordered(tally.channels),
        countries=[_country(name, one, prices) for name, one in _largest(tally.countries)],
        encodings=ordered(tally.encodings),
        segments=tally.sent.segments,
        segments_per_message=dict(sorted(tally.lengths.items())),
        smart_encoding_saves=tally.smart_saving,
        characters=_characters(tally),
        cost=_cost(tally, prices),
        senders=senders,
        would_expire=sum(one["would_expire"] for one in senders),
        pauses=[pause.name for pause in held],
        warnings=list(_warnings(tally, tenant, held, sendable)),
    )


def _largest(sums: Mapping[str, Sum]) -> list[tuple[str, Sum]]:
    return sorted(sums.items(), key=lambda pair: (-pair[1].messages, pair[0]))


def _country(name: str, one: Sum, prices: Prices) -> dict[str, Any]:
    cost = _cost_of(name, one, prices)
    return {
        "country": name,
        "messages": one.messages,
        "segments": one.segments,
        "media_messages": one.media,
        "cost": None if cost is None else _money(cost),
    }


def _cost_of(country: str, one: Sum, prices: Prices) -> Decimal | None:
    price = prices.of(country)
    if price is None or (one.media and price.mms is None):
        return None
    texts = one.segments - one.media - one.other
    return price.sms * texts + (price.mms or Decimal(0)) * one.media


def _cost(tally: Tally, prices: Prices) -> dict[str, Any]:
    by_country = {
        name: cost
        for name, one in _largest(tally.countries)
        if (cost := _cost_of(name, one, prices)) is not None
    }
    unpriced = sum(
        one.other if name in by_country else one.messages for name, one in tally.countries.items()
    )
    return {
        "total": _money(sum(by_country.values(), Decimal(0))),
        "currency": prices.currency,
        "by_country": {name: _money(cost) for name, cost in by_country.items()},
        "unpriced_messages": unpriced,
        "prices": prices.source,
    }


def _money(amount: Decimal) -> float:
    return float(round(amount, 4))


def _characters(tally: Tally) -> list[dict[str, Any]]:
    worst = sorted(
        tally.characters.items(), key=lambda pair: (-pair[1].more, -pair[1].messages, pair[0])
    )
    return [
        {
            "character": character,
            "code_point": f"U+{ord(character):04X}",
            "name": unicodedata.name(character, "unnamed").lower(),
            "messages": one.messages,
            "segments_more": one.more,
            "replacement": replacement_of(character),
        }
        for character, one in worst[:SHOWN_CHARACTERS]
    ]


def _sender(name: str, one: Sum, tenant: Tenant, ttl: timedelta) -> dict[str, Any]:
    """Tell how long a sender takes, alone at its work, and what would expire meanwhile."""
    paced = tenant.sender_rates.get(name)
    rate = paced.per_second if paced else usual_rate(name)
    seconds = one.segments / rate if rate else None
    late = 0
    if rate and one.segments > rate * ttl.total_seconds():
        in_time = rate * ttl.total_seconds() / one.segments
        late = math.ceil(one.messages * (1 - in_time))
    return {
        "sender": name,
        "messages": one.messages,
        "segments": one.segments,
        "segments_per_second": rate,
        "paced": paced is not None,
        "seconds": None if seconds is None else round(seconds, 1),
        "would_expire": late,
    }


def _holds(pause: Pause, tenant: Tenant) -> bool:
    return pause.tenant_id in (None, tenant.id) and pause.scope is not Scope.REPORTS


def _warnings(tally: Tally, tenant: Tenant, held: Sequence[Pause], sendable: int) -> Iterator[str]:
    if held:
        names = ", ".join(pause.name for pause in held)
        yield f"Sending is paused at this moment ({names}): what it covers would wait."
    most = tenant.messages_per_hour
    if most is not None and sendable > most:
        yield (
            f"The tenant allows {most:,} messages in an hour: sending would pause after these, until"
            " a person resumes it."
        )
    if tally.outside:
        yield (
            f"{tally.outside:,} numbers are possible but outside the numbering plan of their country"
            " as we know it; Twilio may refuse them."
        )
    if tally.otherwise:
        rows = ", ".join(f"{one.row}" for one in tally.otherwise_rows)
        yield (
            f"{tally.otherwise:,} rows hold text that a triggered task would read otherwise, since"
            f" CI360 fills its merge tags before the creative is read (such as rows {rows})."
        )


class Events:
    """Rehearses events, each the body that CI360 would post."""

    def __init__(self, acceptance: Acceptance) -> None:
        """Make it; ``acceptance`` is the product's own, with a :class:`Trial` as its ledger."""
        self._acceptance = acceptance

    def tally(self, bodies: Iterable[bytes]) -> tuple[Tally, set[TenantId]]:
        """Count what would come of events; gives their tenants, too."""
        tally, tenants = Tally(), set[TenantId]()
        numbered = ((n, body) for n, body in enumerate(bodies, 1) if body.strip())
        while some := list(islice(numbered, BATCH)):
            arrivals = [Arrival(body=body, trusted=True) for _, body in some]
            answers = self._acceptance.accept_many(arrivals)
            for (row, _), answer in zip(some, answers, strict=True):
                if isinstance(answer, Accepted):
                    tenants.add(answer.entry.tenant_id)
                    count(tally, Inserted(answer.entry, not answer.duplicate), row, row)
                elif isinstance(answer, Ignored):
                    tally.count(answer.reason, row, row, "It asks for no message.")
                elif isinstance(answer, ConnectorError):
                    tally.count(answer.code, row, row, answer.message, is_bad=True)
        return tally, tenants


def limit_of(job: Job) -> float:
    """Give the share of bad rows beyond which a job stops, in percent."""
    return parse_options(job.parameters, []).bad_rows_limit
