"""``consent``: who wants no messages, and since when; lists in and out, and what waits for a reader."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ci360_twilio.core.consent import EVERY_SENDER, Consent, Sign, Subject
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.edge.cli.asking import add_reason, counted, who
from ci360_twilio.edge.cli.consent_lists import (
    consenting,
    export_list,
    import_list,
    known_tenant,
    pull,
    push,
)
from ci360_twilio.edge.cli.given import asked_number, region_of, tenant_of
from ci360_twilio.edge.cli.screen import print_json, printable, table
from ci360_twilio.errors import BeforeSending, SettingsError
from ci360_twilio.flow.consenting import ToReview, moment_words
from ci360_twilio.logs import mask_number
from ci360_twilio.settings import read_settings
from ci360_twilio.wiring import make_tenants

Run = Callable[[argparse.Namespace], int]


def add_consent(command: argparse.ArgumentParser) -> Run:
    """Declare ``consent`` and what it can do."""
    actions = command.add_subparsers(metavar="ACTION", dest="action", required=True)

    def action(name: str, text: str, act: Run, *, tenant: bool = True) -> argparse.ArgumentParser:
        made = actions.add_parser(name, help=text, description=text)
        made.set_defaults(act=act)
        if tenant:
            made.add_argument("--tenant", required=True, help="whose recipients they are")
        return made

    made = action("import", "Take a list of opt-outs and opt-ins, a CSV file.", import_list)
    made.add_argument("file", metavar="FILE", help="the list; - for standard input")
    made.add_argument("--region", help="country of national numbers, by two letters")
    _add_group(made)
    made.epilog = (
        "Columns are recognised by their head: recipient,state,since (as `consent export` writes "
        "them), or identity_type,identity_value,preference_type,preference_value (as CI360 does). "
        "A list of numbers alone is one of opt-outs. Ends with 1 where rows were left out."
    )
    made = action("export", "Write a list of opt-outs and opt-ins, a CSV file.", export_list)
    made.add_argument("--to", metavar="FILE", type=Path, help="write a file, not the screen")
    made.add_argument(
        "--state", action="append", default=[], choices=["out", "review", "in"], help="only these"
    )
    made = action("show", "Tell what is known of one recipient's wish, and since when.", _show)
    made.add_argument("--json", action="store_true", help="print it as JSON")
    made = action("set", "Write one recipient's wish by hand.", _set)
    made.add_argument("sign", choices=["out", "in"], help="out: no messages; in: messages again")
    add_reason(made)
    _add_group(made)
    made = action("review", "Read texts that are probably opt-outs; they block meanwhile.", _review)
    made.add_argument("--list", action="store_true", help="only list them")
    action("verify", "Check that no history was changed behind our back.", _verify, tenant=False)
    action("pull", "Take over the contact preferences that CI360 has.", pull)
    made = action("push", "Have CI360 take over the wishes that are known here.", push)
    made.add_argument("--yes", action="store_true", help="do not ask")
    return lambda options: int(options.act(options))


def _add_group(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--group",
        default=EVERY_SENDER,
        help="a group of senders, as the tenant's document names it; all senders if not given",
    )


def _show(options: argparse.Namespace) -> int:
    tenant_id = tenant_of(options.tenant)
    person = asked_number(region_of(tenant_id))
    with consenting() as (_, wishes):
        found = wishes.known(tenant_id, person, _groups(tenant_id))
    if options.json:
        print_json([shown(consent) for consent in found])
        return 0
    if not found:
        print("Nothing is known of that recipient's wish: messages are sent.")
        return 0
    for consent in found:
        _tell(consent)
    return 0


def _groups(tenant_id: TenantId) -> tuple[str, ...]:
    try:
        groups = make_tenants(read_settings()).get(tenant_id).consent_groups
    except (SettingsError, BeforeSending):
        return ()
    return tuple(dict.fromkeys(groups.values()))


_STATES: Mapping[str, str] = {
    "out": "opted out; nothing is sent",
    "review": "wrote something that is probably an opt-out; nothing is sent until a person reads it",
    "in": "opted in; messages are sent",
}


def _in_words(consent: Consent) -> str:
    to = f"messages of group {printable(consent.group)}" if consent.group else "all messages"
    number = mask_number(consent.recipient) if consent.recipient else "An erased number"
    return f"{number}, {to}: {_STATES[consent.state]}."


def _tell(consent: Consent) -> None:
    print(_in_words(consent))
    if consent.undated:
        words = "An opt-in came; when it was written is being asked of Twilio, and until then"
        print(f"  {words} the opt-out stands.")
    head = ("WRITTEN (UTC)", "WHAT", "BY", "GIVEN (UTC)", "BLOCKED", "MESSAGE")
    rows = [
        (
            f"{line.at:%Y-%m-%d %H:%M:%S}",
            line.act,
            line.by or line.source,
            moment_words(line.dated_at) or "not known",
            "yes" if line.blocked else "no",
            line.sid,
        )
        for line in consent.history
    ]
    print(table(head, rows))


def shown(consent: Consent) -> dict[str, Any]:
    """Give a consent as JSON shows it; the number is masked."""
    return {
        "to": mask_number(consent.recipient) if consent.recipient else None,
        "group": consent.group or None,
        "state": consent.state,
        "blocked": consent.blocked,
        "since": consent.since,
        "history": [
            {
                "at": line.at,
                "act": line.act,
                "source": line.source,
                "by": line.by,
                "dated_at": line.dated_at,
                "blocked": line.blocked,
                "sid": line.sid,
            }
            for line in consent.history
        ],
    }


def _set(options: argparse.Namespace) -> int:
    tenant = known_tenant(options)
    subject = Subject(tenant.id, asked_number(tenant.default_region), options.group)
    with consenting(fresh=True) as (_, wishes):
        changed = wishes.set(subject, Sign(options.sign), by=who(), text=options.reason)
    if changed is None:
        print("That is what is known already; nothing was changed.")
        return 0
    print(f"Written: {_in_words(changed)}")
    return 0


def _review(options: argparse.Namespace) -> int:
    asks = not options.list and sys.stdin.isatty()
    with consenting() as (_, wishes):
        found = list(wishes.to_review(tenant_of(options.tenant)))
        if not found:
            print("There is nothing to read.")
            return 0
        for number, one in enumerate(found, start=1):
            print(f"{number} of {len(found)}: {_text_of(one)}")
            if not asks:
                continue
            if one.consent.recipient is None:
                print("  It cannot be decided any more, and they stay blocked.")
                continue
            answer = _answer()
            if answer == "q":
                break
            if answer in ("o", "n"):
                changed = wishes.judge(one, is_out=answer == "o", by=who())
                state = _STATES[changed.state] if changed else "somebody has decided it before"
                print(f"  {state}.")
    if not asks:
        print("Decide about them in a terminal: ci360-twilio consent review --tenant ...")
        return 1
    return 0


def _answer() -> str:
    while True:
        try:
            given = input("  [o]pt-out, [n]o opt-out, [s]kip, [q]uit: ").strip().lower()[:1]
        except EOFError:
            return "q"
        if given in ("o", "n", "s", "q"):
            return given


def _text_of(one: ToReview) -> str:
    number = mask_number(one.consent.recipient) if one.consent.recipient else "an erased number"
    if one.inbound is None:
        return f"{number}: the text is gone; Twilio has it as {one.sid}"
    at = f"{one.inbound.heard_at:%Y-%m-%d %H:%M} UTC"
    return f"{number} at {at}: {printable(one.inbound.heard.body)}"


def _verify(_options: argparse.Namespace) -> int:
    with consenting() as (_, wishes):
        checked, broken = wishes.verify()
    if not broken:
        print(f"{counted(checked, 'consent')} checked; every history is as it was written.")
        return 0
    print(f"{counted(checked, 'consent')} checked; {len(broken):,} were changed by something else:")
    for name in broken[:50]:
        print(f"  {printable(name)}")
    print("Compare with a backup: ci360-twilio ledger check; then write what is right by hand.")
    return 1
