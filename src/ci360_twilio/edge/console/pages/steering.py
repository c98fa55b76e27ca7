"""Cancel, replay, resolve: first what would be done, with its number; then, once confirmed, the deed."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from ci360_twilio.clients.twilio import TwilioClient
from ci360_twilio.core.entry import Entry, Status
from ci360_twilio.core.person import Right
from ci360_twilio.core.receipt import MESSAGE_SID, ProviderStatus, Receipt
from ci360_twilio.core.replay import REPLAYABLE
from ci360_twilio.edge.cli.given import age, country_named, sender_named
from ci360_twilio.edge.console.desk import Page, Visit
from ci360_twilio.edge.console.words import path_of, plural
from ci360_twilio.edge.twilio_look import look_up
from ci360_twilio.errors import Denied, SettingsError
from ci360_twilio.flow.decision import Resolution
from ci360_twilio.flow.selection import Chosen, Named, Selection

_FIELDS = ("guid", "tenant", "task", "sender", "country", "status", "since", "anyway")


def steer(visit: Visit, words: str = "") -> Response:
    """Offer to cancel or replay many messages at one time."""
    return visit.show(
        "steer.html",
        tenants=visit.tenants(),
        statuses=sorted(REPLAYABLE),
        words=words,
        form=visit.form,
    )


def cancel(visit: Visit) -> Response:
    """Take back what is not sent yet."""
    try:
        chosen = _chosen(visit)
    except SettingsError as exc:
        return steer(visit, exc.message)
    steering, by = visit.desk.steering, visit.person.name
    if visit.text("confirmed") != "yes":
        plan = steering.cancel(chosen, by=by, dry_run=True)
        lines = [f"{plural(plan.entries, 'message')} can be canceled."]
        lines += [f"{number:,} cannot: already {status}." for status, number in _most(plan.left)]
        return _confirm(visit, "Cancel", f"Cancel {chosen}?", "/cancel", lines, plan.entries)
    done = steering.cancel(chosen, by=by, text=visit.text("reason") or None)
    return _done(visit, f"{plural(done.entries, 'message')} canceled.", chosen)


def replay(visit: Visit) -> Response:
    """Send again what was refused or failed."""
    try:
        chosen = _chosen(visit)
    except SettingsError as exc:
        return steer(visit, exc.message)
    steering, by = visit.desk.steering, visit.person.name
    anyway = visit.text("anyway") == "yes"
    if visit.text("confirmed") != "yes":
        plan = steering.replay(chosen, by=by, anyway=anyway, dry_run=True)
        lines = [f"{plural(plan.entries, 'message')} can be sent again, each as a new one."]
        left = {against.words: number for against, number in plan.left.items()}
        lines += [f"{number:,} cannot. {words}" for words, number in _most(left)]
        return _confirm(
            visit, "Send again", f"Send {chosen} again?", "/replay", lines, plan.entries
        )
    done = steering.replay(chosen, by=by, text=visit.text("reason") or None, anyway=anyway)
    return _done(visit, f"{plural(done.entries, 'message')} will be sent again.", chosen)


def resolve(visit: Visit) -> Response:
    """Decide about what nobody could find out."""
    named = _named(visit)
    entry = visit.desk.steering.open_one(named)
    given = visit.text("resolution")
    if given not in {*Resolution}:
        raise SettingsError("Say how it is resolved: sent, not sent, or to be sent again.")
    resolution, sid = Resolution(given), visit.text("sid")
    if resolution is Resolution.SENT and not MESSAGE_SID.fullmatch(sid):
        raise SettingsError("Name Twilio's message: SM or MM and 32 hexadecimal digits.")
    if visit.text("confirmed") != "yes":
        kept = [*_kept(visit), ("resolution", given), ("sid", sid)]
        return visit.show(
            "confirm.html",
            title=_TITLES[resolution],
            action="/resolve",
            button="Resolve",
            is_red=resolution is Resolution.RESEND,
            lines=_LINES[resolution],
            kept=kept,
            back=_path_of(named),
        )
    receipt = _looked_up(visit, entry, sid) if resolution is Resolution.SENT else None
    text = visit.text("reason") or None
    visit.desk.steering.resolve(entry, resolution, by=visit.person.name, receipt=receipt, text=text)
    return visit.go(_path_of(named))


_TITLES: Mapping[Resolution, str] = {
    Resolution.SENT: "Take it for sent?",
    Resolution.NOT_SENT: "Close it as not sent?",
    Resolution.RESEND: "Send it again?",
}
_LINES: Mapping[Resolution, list[str]] = {
    Resolution.SENT: ["Twilio is asked whether its message is to this recipient."],
    Resolution.NOT_SENT: ["It is closed; nothing more is sent for it."],
    Resolution.RESEND: ["Its first message may exist: the customer may get a second one."],
}


def _looked_up(visit: Visit, entry: Entry, sid: str) -> Receipt:
    client = TwilioClient(connections=1)
    try:
        receipt = Receipt(sid=sid, status=ProviderStatus.ACCEPTED)
        return look_up(client, visit.tenant(entry.tenant_id), entry, receipt)
    finally:
        client.close()


def _chosen(visit: Visit) -> Chosen:
    """Read which messages are meant, and see that the person may change them all.

    Raises:
        SettingsError: the form does not say.
        Denied: they may be of tenants that the person does not see.
    """
    if visit.text("guid"):
        return _named(visit)
    tenant = visit.text("tenant")
    status, since = visit.text("status"), visit.text("since")
    if status and status not in REPLAYABLE:
        raise SettingsError("Messages of that status cannot be sent again.")
    selection = Selection(
        tenant_id=visit.tenant_id(tenant) if tenant else None,
        task=visit.text("task") or None,
        sender=sender_named(visit.text("sender")) if visit.text("sender") else None,
        country=country_named(visit.text("country")) if visit.text("country") else None,
        statuses=frozenset({Status(status)} if status else ()),
        since=visit.now() - age(since) if since else None,
    )
    if selection == Selection():
        raise SettingsError("Say which messages are meant: narrow them by one field at least.")
    if not visit.person.sees(selection.tenant_id):
        raise Denied("That would concern tenants that you do not see; choose one of yours.")
    return selection


def _named(visit: Visit) -> Named:
    """Give the one message that the form names.

    Raises:
        NotKnown: there is none that the person may see.
    """
    tenant_id = visit.tenant_id(visit.text("tenant"))
    return Named(guids=(visit.whole("guid"),), tenant_id=tenant_id)


def _kept(visit: Visit) -> list[tuple[str, str]]:
    return [(name, visit.whole(name)) for name in _FIELDS if visit.whole(name)]


def _most(left: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(left.items(), key=lambda pair: (-pair[1], pair[0]))


def _confirm(
    visit: Visit, button: str, title: str, action: str, lines: list[str], entries: int
) -> Response:
    return visit.show(
        "confirm.html",
        title=title,
        action=action,
        button=f"{button} {plural(entries, 'message')}" if entries else "",
        is_red=True,
        lines=lines,
        kept=_kept(visit),
        back="/steer",
    )


def _done(visit: Visit, words: str, chosen: Chosen) -> Response:
    if isinstance(chosen, Named):
        return visit.go(_path_of(chosen))
    return visit.show("done.html", words=words, back="/steer")


def _path_of(chosen: Named) -> str:
    return path_of(chosen.guids[0], chosen.tenant_id or "")


PAGES = (
    Page("GET", "/steer", Right.STEER, steer),
    Page("POST", "/cancel", Right.STEER, cancel),
    Page("POST", "/replay", Right.STEER, replay),
    Page("POST", "/resolve", Right.STEER, resolve),
)
