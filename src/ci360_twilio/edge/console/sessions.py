"""Who is signed in: sessions that this process keeps, each known to a browser by a random token."""

from __future__ import annotations

import hashlib
import secrets
import threading
from datetime import datetime, timedelta
from typing import Any

import msgspec

from ci360_twilio.core.person import Person
from ci360_twilio.ports import Clock

IDLE = timedelta(hours=1)
"""A session ends after so long without a click; a page that refreshes itself is none."""
LONGEST = timedelta(hours=12)
MOST = 10_000
"""Sessions that are kept at one time; the oldest give way."""


class Session(msgspec.Struct, kw_only=True):
    """One browser's session."""

    csrf: str
    """What its forms must bring back."""
    began_at: datetime
    used_at: datetime
    person: Person | None = None
    """Who has signed in; where ``account`` is given, as they were then."""
    account: str | None = None
    """The name of the account, for who signed in with a password."""
    account_changed_at: datetime | None = None
    """When the password was set by which they did."""
    data: dict[str, Any] = {}
    """What a sign-in elsewhere needs to remember until it is through."""


class Sessions:
    """All sessions; a restart ends them. Safe for many threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    def begin(
        self,
        *,
        person: Person | None = None,
        account: str | None = None,
        account_changed_at: datetime | None = None,
    ) -> tuple[str, Session]:
        """Begin a session; gives the token for the browser, of which only a hash is kept."""
        token, now = secrets.token_urlsafe(32), self._clock()
        session = Session(
            csrf=secrets.token_urlsafe(24),
            began_at=now,
            used_at=now,
            person=person,
            account=account,
            account_changed_at=account_changed_at,
        )
        with self._lock:
            if len(self._sessions) >= MOST:
                self._sweep(now)
            self._sessions[_hashed(token)] = session
        return token, session

    def get(self, token: str, *, used: bool = True) -> Session | None:
        """Find a session that has not ended; ``used`` says whether that keeps it alive."""
        now = self._clock()
        with self._lock:
            session = self._sessions.get(_hashed(token))
            if session is None:
                return None
            if _is_over(session, now):
                del self._sessions[_hashed(token)]
                return None
            if used:
                session.used_at = now
            return session

    def end(self, token: str) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(_hashed(token), None)

    def _sweep(self, now: datetime) -> None:
        kept = {name: one for name, one in self._sessions.items() if not _is_over(one, now)}
        # Whoever only came by gives way before anybody who has signed in.
        oldest = sorted(kept, key=lambda name: (kept[name].person is not None, kept[name].used_at))
        for name in oldest[: max(len(kept) - MOST // 2, 0)]:
            del kept[name]
        self._sessions = kept


def _is_over(session: Session, now: datetime) -> bool:
    return now - session.used_at > IDLE or now - session.began_at > LONGEST


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


class Throttle:
    """Lets something happen so many times in a while, for each name. Safe for many threads."""

    def __init__(self, times: int, within: timedelta, clock: Clock, *, most: int = 10_000) -> None:
        """Make it; of more than ``most`` names the oldest are forgotten."""
        self._times, self._within, self._clock, self._most = times, within, clock, most
        self._seen: dict[str, list[datetime]] = {}
        self._lock = threading.Lock()

    def admits(self, name: str) -> bool:
        """Count one more; tells whether it is still one of those that may be."""
        now = self._clock()
        with self._lock:
            recent = [at for at in self._seen.pop(name, []) if now - at < self._within]
            may = len(recent) < self._times
            self._seen[name] = [*recent, now] if may else recent
            while len(self._seen) > self._most:
                del self._seen[next(iter(self._seen))]
        return may

    def forgive(self, name: str) -> None:
        """Do not count the latest one after all."""
        with self._lock:
            if self._seen.get(name):
                self._seen[name].pop()
