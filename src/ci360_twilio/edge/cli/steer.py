"""``cancel``, ``replay``, ``resolve`` and ``audit``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping

from ci360_twilio.clients.twilio import TwilioClient
from ci360_twilio.core.entry import Entry, Status
from ci360_twilio.core.reasons import in_words
from ci360_twilio.core.receipt import MESSAGE_SID, ProviderStatus, Receipt
from ci360_twilio.core.replay import REPLAYABLE
from ci360_twilio.edge.cli.asking import (
    add_asking,
    add_reason,
    confirmed,
    counted,
    steering,
    who,
)
from ci360_twilio.edge.cli.given import (
    age,
    country_named,
    open_ledger,
    sender_named,
    tenant_named,
)
from ci360_twilio.edge.cli.screen import print_json, printable, table
from ci360_twilio.edge.twilio_look import look_up
from ci360_twilio.errors import NotKnown, SettingsError
from ci360_twilio.flow.decision import Resolution
from ci360_twilio.flow.selection import Chosen, Named, Selection
from ci360_twilio.logs import mask_number
from ci360_twilio.settings import Settings, read_settings
from ci360_twilio.wiring import make_tenants, utc_now

Run = Callable[[argparse.Namespace], int]


def add_cancel(command: argparse.ArgumentParser) -> Run:
    """Declare ``cancel``."""
    _add_choice(command)
    command.add_argument("--all", action="store_true", help="everything that is not sent yet")
    add_reason(command)
    add_asking(command)
    command.epilog = (
        "What is being sent at this moment cannot be taken back. Ends with 1 where nothing is "
        "canceled, or not all that is named."
    )
    return _cancel


def add_replay(command: argparse.ArgumentParser) -> Run:
    """Declare ``replay``."""
    _add_choice(command)
    command.add_argument(
        "--status",
        action="append",
        default=[],
        choices=sorted(REPLAYABLE),
        help="only this status; may be given several times",
    )
    command.add_argument(
        "--anyway", action="store_true", help="also what would probably fail in the same way again"
    )
    add_reason(command)
    add_asking(command)
    command.epilog = (
        "Each is sent as a new message that is linked to the old one. Ends with 1 where nothing "
        "is replayed, or not all that is named."
    )
    return _replay


def add_resolve(command: argparse.ArgumentParser) -> Run:
    """Declare ``resolve``."""
    command.add_argument("guid", metavar="GUID", help="the event's guid")
    command.add_argument(
        "resolution",
        choices=[str(resolution) for resolution in Resolution],
        help="sent: Twilio made it (name it with --sid); not-sent: it did not; resend: send it "
        "again, perhaps a second time",
    )
    command.add_argument("--sid", help="Twilio's SID of the message, SM or MM and 32 digits")
    command.add_argument(
        "--offline", action="store_true", help="do not ask Twilio whether the SID fits"
    )
    command.add_argument("--tenant", help="whose event it is, where several have that guid")
    add_reason(command)
    add_asking(command)
    command.epilog = "List what waits for you with: ci360-twilio messages --status held"
    return _resolve


def add_audit(command: argparse.ArgumentParser) -> Run:
    """Declare ``audit``."""
    command.add_argument("--limit", type=int, default=50, help="how many at most (%(default)s)")
    command.add_argument("--json", action="store_true", help="print them as JSON")
    return _audit


def _add_choice(command: argparse.ArgumentParser) -> None:
    command.add_argument("guids", metavar="GUID", nargs="*", help="guids of events, or SIDs")
    command.add_argument("--tenant", help="only this tenant's")
    command.add_argument("--task", help="only this task's, such as TSK_101")
    command.add_argument("--sender", help="only this sender's")
    command.add_argument("--country", help="only to this country, by two letters")
    command.add_argument("--since", metavar="AGE", help="only from the last 30m, 12h or 7d")


def _chosen(options: argparse.Namespace, statuses: frozenset[Status]) -> Chosen:
    tenant_id = tenant_named(options.tenant)
    selection = Selection(
        tenant_id=tenant_id,
        task=options.task,
        sender=sender_named(options.sender) if options.sender else None,
        country=country_named(options.country) if options.country else None,
        statuses=statuses,
        since=utc_now() - age(options.since) if options.since else None,
    )
    if not options.guids:
        return selection
    if selection != Selection(tenant_id=tenant_id):
        raise SettingsError("Name messages by their guids, or choose them by options, not both.")
    return Named(guids=tuple(dict.fromkeys(options.guids)), tenant_id=tenant_id)


def _cancel(options: argparse.Namespace) -> int:
    chosen = _chosen(options, frozenset())
    if options.all and chosen != Selection():
        raise SettingsError("--all is everything; leave out what narrows it.")
    if not options.all and chosen == Selection():
        raise SettingsError("Say what is to be canceled: guids, options that narrow, or --all.")
    with steering() as steer:
        plan = steer.cancel(chosen, by=who(), dry_run=True)
        print(f"{counted(plan.entries)} can be canceled.")
        _say(plan.left, "cannot: already")
        if not plan.entries or options.dry_run:
            return _code(chosen, plan.entries, plan.left)
        if not confirmed("Cancel?", yes=options.yes):
            return 1
        done = steer.cancel(chosen, by=who(), text=options.reason)
        print(f"{counted(done.entries)} canceled.")
        if done.left != plan.left:
            _say(done.left, "not: already")
        return _code(chosen, done.entries, done.left)


def _replay(options: argparse.Namespace) -> int:
    chosen = _chosen(options, frozenset(map(Status, options.status)))
    if chosen == Selection():
        raise SettingsError("Say what is to be sent again: guids, or options that narrow.")
    with steering(sends=True) as steer:
        plan = steer.replay(chosen, by=who(), anyway=options.anyway, dry_run=True)
        print(f"{counted(plan.entries)} can be sent again.")
        left = {against.words: number for against, number in plan.left.items()}
        _say(left, "cannot:")
        if any(not against.final for against in plan.left):
            print("Add --anyway to send again what would probably fail in the same way.")
        if not plan.entries or options.dry_run:
            return _code(chosen, plan.entries, left)
        if not confirmed("Send again?", yes=options.yes):
            return 1
        done = steer.replay(chosen, by=who(), text=options.reason, anyway=options.anyway)
        print(f"{counted(done.entries)} will be sent again.")
        left = {against.words: number for against, number in done.left.items()}
        if done.left != plan.left:
            _say(left, "will not:")
        return _code(chosen, done.entries, left)


def _resolve(options: argparse.Namespace) -> int:
    resolution = Resolution(options.resolution)
    if (resolution is Resolution.SENT) is not bool(options.sid):
        raise SettingsError("--sid names Twilio's message: with sent, and with nothing else.")
    if options.sid and not MESSAGE_SID.fullmatch(options.sid):
        raise SettingsError("A SID is SM or MM and 32 hexadecimal digits.")
    chosen = Named(guids=(options.guid,), tenant_id=tenant_named(options.tenant))
    sends = resolution is Resolution.RESEND
    with steering(sends=sends) as steer:
        entry = steer.open_one(chosen)
        print(f"{printable(entry.guid)} of tenant {entry.tenant_id}: {entry.status}")
        print(f"  {in_words(entry)}")
        if entry.message:
            print(f"  To {mask_number(entry.message.to)}, from {printable(entry.message.sender)}")
        receipt = None
        if options.sid:
            receipt = Receipt(sid=options.sid, status=ProviderStatus.ACCEPTED)
            receipt = receipt if options.offline else _looked_up(entry, receipt, read_settings())
        if sends:
            print("Its first message may exist: this may be a second one for the customer.")
        if options.dry_run:
            return 0
        if not confirmed(_QUESTIONS[resolution], yes=options.yes):
            return 1
        done = steer.resolve(entry, resolution, by=who(), receipt=receipt, text=options.reason)
        again = f", and sent again as {printable(done.again.guid)}" if done.again else ""
        print(f"It is {done.entry.status} now{again}.")
        return 0


_QUESTIONS: Mapping[Resolution, str] = {
    Resolution.SENT: "Take it for sent?",
    Resolution.NOT_SENT: "Close it as not sent?",
    Resolution.RESEND: "Send it again?",
}


def _looked_up(entry: Entry, receipt: Receipt, settings: Settings) -> Receipt:
    """Ask Twilio whether a message is to the entry's recipient; gives what it says of it."""
    client = TwilioClient(connections=1)
    try:
        return look_up(client, make_tenants(settings).get(entry.tenant_id), entry, receipt)
    except NotKnown as exc:
        raise NotKnown(f"{exc.message} If you know better, add --offline.") from exc
    finally:
        client.close()


def _say(left: Mapping[str, int], words: str) -> None:
    for what, number in sorted(left.items(), key=lambda pair: (-pair[1], pair[0])):
        print(f"  {number:,} {words} {what}")


def _code(chosen: Chosen, done: int, left: Mapping[str, int]) -> int:
    return 0 if done and not (isinstance(chosen, Named) and left) else 1


def _audit(options: argparse.Namespace) -> int:
    store = open_ledger()
    try:
        notes = store.notes(max(options.limit, 1))
    finally:
        store.close()
    if options.json:
        print_json(notes)
        return 0
    if not notes:
        print("Nobody has changed anything by hand.")
        return 0
    head = ("WHEN (UTC)", "WHO", "ACTION", "WHAT", "MESSAGES", "DETAIL")
    rows = [
        (f"{one.at:%Y-%m-%d %H:%M:%S}", one.by, one.action, one.subject, one.entries, one.detail)
        for one in notes
    ]
    print(table(head, rows))
    return 0
