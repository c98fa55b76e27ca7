"""``steer``: what a person does to the ledger, from wherever: pause, resume, cancel, replay, resolve.

Everything is told who does it, and writes one line into the audit and one into the log; a dry run
writes nothing. Selections are gone through in pages, each a commit of its own.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from ci360_twilio.core.due import sweep
from ci360_twilio.core.entry import Entry, Fact, Key, Kind, Status
from ci360_twilio.core.pause import Cause, Pause
from ci360_twilio.core.receipt import Receipt
from ci360_twilio.core.replay import REPLAYABLE, Objection, objection
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.errors import NotKnown
from ci360_twilio.flow.covered import count_covered, count_expired
from ci360_twilio.flow.decision import (
    Canceled,
    Paused,
    Replayed,
    Resolution,
    Resolved,
    Standing,
    Target,
    about,
    target_of,
)
from ci360_twilio.flow.resend import Resending, kept_back
from ci360_twilio.flow.selection import Chosen, Named, Selection, named, pages
from ci360_twilio.logs import Log
from ci360_twilio.ports import Clock, Note, Store, Tenants

RESOLVABLE = frozenset({Status.HELD, Status.UNKNOWN})
"""Statuses that a person may end; what is unknown would else be looked for until its deadline."""

_CANCELABLE = frozenset({Status.ACCEPTED})


class Steering:
    """Carries out what a person decides. Holds nothing between calls."""

    def __init__(
        self,
        store: Store,
        tenants: Tenants,
        clock: Clock,
        log: Log,
        *,
        event_ttl: float = 86_400.0,
    ) -> None:
        """Make it.

        Args:
            store: what is steered.
            tenants: whose gates hold for what is sent again; nothing else asks for them.
            clock: tells the time.
            log: hears of every change.
            event_ttl: for how many seconds an event lives, and what is sent again.
        """
        self._store = store
        self._ttl = timedelta(seconds=event_ttl)
        self._resending = Resending(store, tenants, self._ttl)
        self._clock = clock
        self._log = log

    def pauses(self) -> list[Standing]:
        """List what is not sent for now, oldest first, with what waits behind it as far as is met.

        What has expired is counted until a worker comes by; :meth:`standing` counts all of it.
        """
        waiting = {
            one.place: (one.entries - one.expired, one.expired)
            for one in self._store.waiting(self._clock())
        }
        return [
            Standing(pause, *waiting.get(pause.place, (0, 0))) for pause in self._store.pauses()
        ]

    def pause(self, target: Target, *, by: str, text: str | None = None) -> Paused:
        """Pause; once this returns, nothing starts any more that it covers.

        Args:
            target: what is paused. Where a person has paused it already nothing is changed.
            by: who does it.
            text: why, for the audit.
        """
        fresh = self._pause_of(target, by)
        note = Note(
            at=fresh.since,
            by=by,
            action="pause",
            subject=str(target),
            detail=text,
            tenant_id=target.tenant_id,
        )
        if self._store.pause(fresh, note=note):
            self._log.info("steer.pause", by=by, **about(target))
            return Paused(fresh, new=True)
        standing = (pause for pause in self._store.pauses() if pause.name == fresh.name)
        return Paused(next(standing, fresh), new=False)

    def covered(self, target: Target) -> Counter[Status]:
        """Count what a pause would keep from being sent, and what is being sent at this moment."""
        return count_covered(self._store, self._pause_of(target, ""))

    def standing(
        self, target: Target, causes: frozenset[Cause] = frozenset(Cause)
    ) -> list[Standing]:
        """Give the pauses of just this target, with what waits or has expired behind them.

        Raises:
            NotKnown: there is none.
        """
        return [
            one._replace(expired=one.expired + count_expired(self._store, one.pause, self._ttl))
            for one in self._matching(target, causes)
        ]

    def resume(
        self,
        target: Target,
        *,
        by: str,
        text: str | None = None,
        causes: frozenset[Cause] = frozenset(Cause),
    ) -> list[Standing]:
        """Lift all pauses of just this target, whatever set them; gives them as they were.

        Args:
            target: what is paused.
            by: who does it.
            text: why, for the audit.
            causes: pauses of other causes stay.

        Raises:
            NotKnown: it is not paused.
        """
        lifted = self._matching(target, causes)
        entries = sum(one.valid for one in lifted)
        note = Note(
            at=self._clock(),
            by=by,
            action="resume",
            subject=str(target),
            entries=entries,
            detail=text,
            tenant_id=target.tenant_id,
        )
        self._store.resume([one.pause.name for one in lifted], note=note)
        self._log.info("steer.resume", by=by, entries=entries, **about(target))
        return lifted

    def cancel(
        self, chosen: Chosen, *, by: str, text: str | None = None, dry_run: bool = False
    ) -> Canceled:
        """Take back what is not sent yet, also what a worker has claimed and not started.

        Raises:
            NotKnown: a named entry is not known; nothing is changed.
        """
        done, left = 0, Counter[str]()
        try:
            for page in pages(self._store, chosen, _CANCELABLE):
                now = self._clock()
                swept = [sweep(entry, now) for entry in page]
                keys = [entry.key for entry in swept if entry.status in _CANCELABLE]
                left.update(str(one.status) for one in swept if one.status not in _CANCELABLE)
                late = [] if dry_run else self._withdraw(keys)
                left.update(str(one.status) for one in late)
                done += len(keys) - len(late)
        finally:
            if done and not dry_run:  # a part is told of, too, where the rest could not be written
                self._tell("cancel", chosen, done, by, text)
        return Canceled(done, left)

    def replay(
        self,
        chosen: Chosen,
        *,
        by: str,
        text: str | None = None,
        anyway: bool = False,
        dry_run: bool = False,
    ) -> Replayed:
        """Send what was refused, or failed, again: each by a new entry, linked to the old one.

        Args:
            chosen: which entries.
            by: who does it.
            text: why, for the audit.
            anyway: also what would probably fail in the same way again.
            dry_run: only tell; the recipients' limits are not asked.

        Raises:
            NotKnown: a named entry is not known; nothing is changed.
        """
        done, left = 0, Counter[Objection]()
        try:
            for page in pages(self._store, chosen, REPLAYABLE):
                judged = [(one, self.objection(one, anyway=anyway)) for one in self._anew(page)]
                left.update(against for _, against in judged if against is not None)
                ready = [entry for entry, against in judged if against is None]
                refused = Counter[Objection]() if dry_run else self._replay(ready)
                left.update(refused)
                done += len(ready) - refused.total()
        finally:
            if done and not dry_run:
                self._tell("replay", chosen, done, by, text)
        return Replayed(done, left)

    def objection(self, entry: Entry, *, anyway: bool = False) -> Objection | None:
        """Tell what speaks against a replay; with ``anyway`` only what insisting does not help."""
        against = objection(entry)
        if against is not None and (against.final or not anyway):
            return against
        return self._resending.gate(entry, self._clock())

    def open_one(self, chosen: Named) -> Entry:
        """Give the entry that is to be resolved.

        Raises:
            NotKnown: it is not known, or does not wait for a decision.
        """
        entry = named(self._store, chosen)[0]
        if entry.status not in RESOLVABLE:
            raise NotKnown(f"There is nothing to resolve: {entry.guid} is {entry.status}.")
        return entry

    def resolve(
        self,
        entry: Entry,
        resolution: Resolution,
        *,
        by: str,
        receipt: Receipt | None = None,
        text: str | None = None,
    ) -> Resolved:
        """End what is held or unknown.

        Args:
            entry: as :meth:`open_one` gave it.
            resolution: what is decided.
            by: who does it.
            receipt: names Twilio's message, for ``SENT``.
            text: why, for the audit.

        Raises:
            NotKnown: it was settled meanwhile, the SID is another entry's, or a gate keeps the
                message from being sent again. The entry is as it was.
        """
        reason = f"resolved_{resolution.name.lower()}"
        fresh = self._resend(entry, reason) if resolution is Resolution.RESEND else None
        fact = Fact(
            kind=Kind.CLOSED if receipt is None else Kind.MADE,
            at=self._clock(),
            reason=reason,
            receipt=receipt,
            link=fresh.key if fresh else None,
            by="steer",
        )
        after = self._store.record_many([(entry.key, fact)])[0]
        if after is None:
            if fresh is not None:
                self._withdraw([fresh.key])
            words = "it was settled meanwhile, or the SID is another message's"
            raise NotKnown(f"{entry.guid} is left as it is: {words}.")
        detail = f"{resolution}: {text}" if text else str(resolution)
        self._store.write_note(
            Note(
                at=fact.at,
                by=by,
                action="resolve",
                subject=entry.key,
                entries=1,
                detail=detail,
                tenant_id=entry.tenant_id,
            )
        )
        one = Named(guids=(entry.guid,), tenant_id=entry.tenant_id)
        self._log.info("steer.resolve", by=by, decision=resolution, entries=1, **about(one))
        return Resolved(after, fresh)

    def report_again(self, tenant_id: TenantId | None, *, by: str, text: str | None = None) -> int:
        """Have the reports that CI360 refused sent once more; gives their number.

        Args:
            tenant_id: whose; all tenants' if there is none.
            by: who does it.
            text: why, for the audit.
        """
        number = self._store.owe_again(tenant_id, now=self._clock())
        if number:
            self._tell("report again", Selection(tenant_id=tenant_id), number, by, text)
        return number

    def _matching(self, target: Target, causes: frozenset[Cause]) -> list[Standing]:
        found = [
            one
            for one in self.pauses()
            if target_of(one.pause) == target and one.pause.cause in causes
        ]
        if not found:
            raise NotKnown("There is no such pause.")
        return found

    def _pause_of(self, target: Target, by: str) -> Pause:
        return Pause(
            scope=target.scope,
            tenant_id=target.tenant_id,
            value=target.value,
            cause=Cause.PERSON,
            reason="paused",
            since=self._clock(),
            by=by,
        )

    def _withdraw(self, keys: list[Key]) -> list[Entry]:
        """Take entries back, in one commit; gives those for which it comes too late."""
        fact = Fact(kind=Kind.WITHDRAWN, at=self._clock(), reason="withdrawn")
        changed = self._store.record_many([(key, fact) for key in keys])
        late = [key for key, entry in zip(keys, changed, strict=True) if entry is None]
        return [entry for entry in self._store.get_many(late) if entry is not None]

    def _replay(self, entries: list[Entry]) -> Counter[Objection]:
        """Write the new entries and link the old ones to them; gives what keeps some from going."""
        now = self._clock()
        written = self._resending.write(entries, now, "replayed")
        links = [
            (entry.key, Fact(kind=Kind.LINKED, at=now, link=fresh.key, reason="replayed"))
            for entry, fresh in zip(entries, written, strict=True)
        ]
        self._store.record_many(links)
        left = Counter(against for fresh in written if (against := kept_back(fresh)))
        by_key = {entry.key: entry for entry in self._anew(entries)}
        settled = {
            fresh.key: old
            for entry, fresh in zip(entries, written, strict=True)
            if (old := by_key.get(entry.key)) and old.replayed_by != fresh.key
        }
        self._withdraw(list(settled))  # they have arrived after all
        left.update(against for old in settled.values() if (against := objection(old)))
        return left

    def _anew(self, entries: list[Entry]) -> list[Entry]:
        """Give entries as they are now; they may have been read a while ago."""
        found = self._store.get_many([entry.key for entry in entries])
        return [entry for entry in found if entry is not None]

    def _resend(self, entry: Entry, reason: str) -> Entry:
        now = self._clock()
        against, fresh = self._resending.gate(entry, now), None
        if against is None:
            fresh = self._resending.write([entry], now, reason)[0]
            against = kept_back(fresh)
        if fresh is None or against is not None:
            words = against.words if against else ""
            raise NotKnown(f"{entry.guid} is left as it is, and not sent again. {words}")
        return fresh

    def _tell(self, action: str, chosen: Chosen, entries: int, by: str, text: str | None) -> None:
        self._store.write_note(
            Note(
                at=self._clock(),
                by=by,
                action=action,
                subject=str(chosen),
                entries=entries,
                detail=text,
                tenant_id=chosen.tenant_id,
            )
        )
        step = action.replace(" ", "_")
        self._log.info(f"steer.{step}", by=by, entries=entries, **about(chosen))
