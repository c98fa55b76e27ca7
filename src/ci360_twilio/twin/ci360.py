"""CI360's gateway as the twin keeps it: events, files of events, contact preferences and their jobs.

Addresses and bodies are those of SAS's own samples (sassoftware/ci360-extensions:
``ci360-scr-gateway/testing``, ``ci-360-manage-contact-preferences``). How CI360 refuses is not
documented: statuses and words here are the twin's own, error ids those of SAS's agent.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import hmac
import io
import re
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from ci360_twilio.twin.answer import Answer

IDENTITIES = ("datahub_id", "subject_id", "customer_id", "login_id")
MOST_ATTRIBUTES = 4_000
"""Characters of an event's attributes together."""
IMPORT, EXPORT = "CONTACT_PREFERENCE_SMS_IMPORT", "CONTACT_PREFERENCE_SMS_EXPORT"
_STAGES = {
    IMPORT: ("Queued", "Processing Identities", "Processing Preferences", "Imported"),
    EXPORT: ("PROCESSING", "PROCESSING", "EXPORTED"),
}
HEAD = ("identity_type", "identity_value", "preference_type", "preference_value")


class Refusal(Exception):
    """A request that CI360 would refuse."""

    def __init__(self, status: int, words: str, error_id: str = "") -> None:
        super().__init__(words)
        self.answer = refusal(status, words, error_id)


def refusal(status: int, words: str, error_id: str = "") -> Answer:
    """Give an error as CI360 answers it."""
    said = f"{error_id}: {words}" if error_id else words
    return Answer(status, {"httpStatusCode": status, "message": said})


class TakenEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An external event that CI360 took."""

    at: datetime
    tenant_id: str
    name: str
    identity: tuple[str, str]
    attributes: dict[str, str]
    by_file: bool = False


class Preference(msgspec.Struct, frozen=True, kw_only=True):
    """What CI360 knows of a number's wish."""

    opted_out: bool
    source: str
    at: datetime


class _Job(msgspec.Struct, kw_only=True):
    kind: str
    tenant_id: str
    asked: int = 0
    trouble: str = ""
    files: list[dict[str, str]] = []


class Ci360Twin:
    """One gateway with its tenants. May be called from many threads.

    Args:
        tenants: the client secret of each tenant's access point, by tenant id.
        clock: tells the time.
        published: the events that are published; ``None``: any.
        base: the address at which the twin itself is reached, for the addresses that it hands out.
    """

    def __init__(
        self,
        *,
        tenants: Mapping[str, str],
        clock: Callable[[], datetime],
        published: Iterable[str] | None = None,
        base: Callable[[], str] = lambda: "",
    ) -> None:
        self._secrets = dict(tenants)
        self._clock = clock
        self._published = None if published is None else set(published)
        self._base = base
        self._lock = threading.Lock()
        self._events: list[TakenEvent] = []
        self._places: dict[str, tuple[str, str]] = {}
        """Addresses that were handed out, by their token: for what, and whose."""
        self._files: dict[str, bytes] = {}
        self._jobs: dict[str, _Job] = {}
        self._preferences: dict[str, Preference] = {}

    @property
    def events(self) -> tuple[TakenEvent, ...]:
        """All events that were taken, in the order in which they came."""
        with self._lock:
            return tuple(self._events)

    @property
    def preferences(self) -> dict[str, Preference]:
        """What is known of numbers' wishes."""
        with self._lock:
            return dict(self._preferences)

    def now(self) -> datetime:
        """Give the time of the twin's clock."""
        return self._clock()

    def publish(self, names: Iterable[str] | None) -> None:
        """Replace the events that are published; ``None``: any."""
        with self._lock:
            self._published = None if names is None else set(names)

    def change_secret(self, tenant_id: str, secret: str) -> None:
        """Replace an access point's client secret; tokens made with the old one stop working."""
        with self._lock:
            self._secrets[tenant_id] = secret

    def prefer(self, number: str, *, opted_out: bool, source: str = "CI360") -> None:
        """Write what CI360 knows of a number's wish."""
        with self._lock:
            self._preferences[number] = Preference(
                opted_out=opted_out, source=source, at=self._clock()
            )

    def authorize(self, authorization: str) -> str:
        """Check a token; gives the tenant that it is of.

        Raises:
            Refusal: 401 where it is none, or of no access point.
        """
        scheme, _, token = authorization.partition(" ")
        head, _, rest = token.partition(".")
        claims, _, signature = rest.partition(".")
        tenant_id = _decoded(claims).get("clientID")
        if scheme.lower() != "bearer" or _decoded(head).get("alg") != "HS256":
            raise Refusal(401, "the token is no JWT of ours", "MKTCMN74224")
        secret = self._secrets.get(tenant_id) if isinstance(tenant_id, str) else None
        if secret is None:
            raise Refusal(401, "the token names no tenant", "MKTCMN74248")
        key = base64.b64encode(secret.encode())
        mac = hmac.digest(key, f"{head}.{claims}".encode(), hashlib.sha256)
        if not hmac.compare_digest(_segment(mac).encode(), signature.encode()):
            raise Refusal(401, "the token matches no access point", "MKTCMN74261")
        return str(tenant_id)

    def take_event(self, tenant_id: str, body: bytes) -> Answer:
        """Take one event.

        Raises:
            Refusal: it is none, or is not published.
        """
        members = _object(body)
        if members is None:
            raise Refusal(400, "the body is not one event")
        name = members.pop("eventName", members.pop("eventname", None))
        known = [(kind, members.pop(kind)) for kind in IDENTITIES if kind in members]
        nested = members.pop("attributes", {})
        members |= nested if isinstance(nested, dict) else {}
        self._keep(tenant_id, name, known, members, by_file=False)
        return Answer(200, {"status": "accepted"})

    def hand_out(self, tenant_id: str, what: str) -> str:
        """Give an address that a file may be put to, once."""
        token = secrets.token_hex(16)
        with self._lock:
            self._places[token] = (what, tenant_id)
        return f"{self._base()}/files/{token}?X-Amz-Expires=900&X-Amz-Signature={token[::-1]}"

    def put(self, token: str, content: bytes) -> Answer:
        """Take a file at an address that was handed out; of one that cannot be read nobody hears.

        Raises:
            Refusal: 403 where that was not, or a file was put there before.
        """
        with self._lock:
            what, tenant_id = self._places.pop(token, ("", ""))
        if not what:
            raise Refusal(403, "the address has expired")
        self._files[token] = content
        if what == "events":
            for row in _rows(content) or ():
                self._keep_row(tenant_id, row)
        return Answer(200, None, b"")

    def fetch(self, token: str) -> Answer:
        """Give a file. Raises ``Refusal`` where there is none."""
        content = self._files.get(token)
        if content is None:
            raise Refusal(403, "the address has expired")
        return Answer(200, None, content)

    def start_job(self, tenant_id: str, body: bytes) -> Answer:
        """Start a job on contact preferences. Raises ``Refusal`` for one that is not known."""
        order = _object(body) or {}
        kind = order.get("jobType")
        if not isinstance(kind, str) or kind not in _STAGES:
            raise Refusal(400, "there is no such job")
        job = _Job(kind=kind, tenant_id=tenant_id)
        if kind == IMPORT:
            location = str(order.get("fileLocation", ""))
            content = self._files.get(_token(location))
            if content is None:
                raise Refusal(400, "nothing was put at that address")
            job.trouble = self._import(content, head=order.get("headerRowIncluded") is True)
        else:
            job.files = self._export(dated=order.get("includeSourceAndTimestamp") is True)
        number = secrets.token_hex(8)
        with self._lock:
            self._jobs[number] = job
        return Answer(200, {"id": number, "status": _STAGES[kind][0]})

    def ask_job(self, tenant_id: str, number: str) -> Answer:
        """Tell how a job is doing; each question brings it one stage on."""
        with self._lock:
            job = self._jobs.get(number)
            if job is None or job.tenant_id != tenant_id:
                raise Refusal(404, "there is no such job")
            stages = _STAGES[job.kind]
            stage = stages[min(job.asked, len(stages) - 1)]
            job.asked += 1
        if stage == "Imported" and job.trouble:
            return Answer(
                200, {"id": number, "status": "Failed Validation", "statusDescription": job.trouble}
            )
        done = {"downloadItemList": job.files} if stage == "EXPORTED" else {}
        return Answer(200, {"id": number, "status": stage, **done})

    def _keep_row(self, tenant_id: str, row: list[str]) -> None:
        """Take a line of a file; of one that is no event nobody hears."""
        if len(row) < 3:
            return
        name, kind, value, *rest = row
        attributes = dict(zip(rest[::2], rest[1::2], strict=False))
        try:
            self._keep(tenant_id, name, [(kind, value)], attributes, by_file=True)
        except Refusal:
            return

    def _keep(
        self,
        tenant_id: str,
        name: object,
        known: list[tuple[str, Any]],
        attributes: Mapping[str, Any],
        *,
        by_file: bool,
    ) -> None:
        with self._lock:
            published = self._published
        if not isinstance(name, str) or not name:
            raise Refusal(400, "the event has no eventName")
        if published is not None and name not in published:
            raise Refusal(400, f"there is no published external event {name}")
        if len(known) != 1 or not known[0][1]:
            raise Refusal(400, "the event names no identity, or several")
        if sum(len(key) + len(str(value)) for key, value in attributes.items()) > MOST_ATTRIBUTES:
            raise Refusal(400, "the attributes are too long")
        kind, value = known[0]
        taken = TakenEvent(
            at=self._clock(),
            tenant_id=tenant_id,
            name=name,
            identity=(kind, str(value)),
            attributes={key: str(value) for key, value in attributes.items()},
            by_file=by_file,
        )
        with self._lock:
            self._events.append(taken)

    def _import(self, content: bytes, *, head: bool) -> str:
        """Take wishes over; gives what is wrong with the file, if anything."""
        rows = _rows(content)
        if rows is None:
            return "the file cannot be read"
        rows = rows[1 if head else 0 :]
        for number, row in enumerate(rows, start=1):
            sound = len(row) == len(HEAD) and row[0] == "sms_id" and row[2].endswith("OPT-OUT")
            if not sound or row[3] not in ("true", "false"):
                return f"row {number} is not valid"
        for _, value, _, wish in rows:
            self.prefer(value, opted_out=wish == "true", source="IMPORT")
        return ""

    def _export(self, *, dated: bool) -> list[dict[str, str]]:
        """Write files of all wishes: the head, then the rows in two parts."""
        columns = [*HEAD, "source", "timestamp"] if dated else [*HEAD]
        rows = []
        for number, one in self.preferences.items():
            more = [one.source, f"{one.at:%Y-%m-%dT%H:%M:%SZ}"] if dated else []
            rows.append(["sms_id", number, "OPT-OUT", str(one.opted_out).lower(), *more])
        half = (len(rows) + 1) // 2
        parts = {"preferences_header.csv": [columns]}
        parts |= {"part-00000.csv": rows[:half], "part-00001.csv": rows[half:]}
        return [{"path": path, "url": self._file(part)} for path, part in parts.items() if part]

    def _file(self, rows: list[list[str]]) -> str:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        token = secrets.token_hex(16)
        self._files[token] = text.getvalue().encode()
        return f"{self._base()}/files/{token}?X-Amz-Expires=900"


_FILE = re.compile(r"/files/([0-9a-f]{32})(?:\?|$)")


def _token(location: str) -> str:
    found = _FILE.search(location)
    return found[1] if found else ""


def _rows(content: bytes) -> list[list[str]] | None:
    """Read the lines of a file; ``None`` where it is no CSV in UTF-8."""
    try:
        return list(csv.reader(io.StringIO(content.decode())))
    except (UnicodeDecodeError, csv.Error):
        return None


def _object(text: bytes) -> dict[str, Any] | None:
    """Read a JSON object; ``None`` where it is none."""
    try:
        members = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return members if isinstance(members, dict) else None


def _decoded(segment: str) -> dict[str, Any]:
    try:
        text = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except ValueError:
        return {}
    return _object(text) or {}


def _segment(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")
