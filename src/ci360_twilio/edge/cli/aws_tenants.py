"""``aws tenant``: documents in Secrets Manager, and the gateway's keys that belong to them.

No secret stands in a command line, and none is printed but the key that CI360 is to be given, if that is
asked for.
"""

from __future__ import annotations

import argparse
import getpass
import json
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ci360_twilio.clients.reach import knock
from ci360_twilio.clients.stacks import State
from ci360_twilio.clients.tenant_admin import RECOVERY_DAYS, TenantAdmin
from ci360_twilio.core.tenant import Tenant, TenantId, parse_tenant
from ci360_twilio.edge.cli.asking import add_asking, confirmed, counted
from ci360_twilio.edge.cli.aws_stack import add_stack, found_stack
from ci360_twilio.edge.cli.check_tenants import look_at_tenants
from ci360_twilio.edge.cli.finding import Finding
from ci360_twilio.edge.cli.given import tenant_of
from ci360_twilio.edge.cli.screen import printable, table
from ci360_twilio.errors import NotKnown, SendFailed, SettingsError, TenantBroken
from ci360_twilio.settings import Settings, read_settings

Run = Callable[[argparse.Namespace], int]

TOKEN = "twilio_auth_token"  # noqa: S105 - a name
SHORTEST_KEY, LONGEST_KEY = 20, 128
"""Characters of a key of API Gateway's (docs: CreateApiKey)."""
CACHED = "Functions that run take it over within five minutes."
EVENTS, INBOUND = "/ci360/events", "/twilio/inbound/"


def add_put(command: argparse.ArgumentParser) -> Run:
    """Declare ``aws tenant put``."""
    _add_tenant(command)
    command.add_argument(
        "--file",
        metavar="FILE",
        help="JSON with members of the document (docs/tenants.md); - for standard input; "
        "others stay as they are, and null removes one",
    )
    command.add_argument(
        "--ask",
        action="append",
        default=[],
        metavar="MEMBER",
        help="ask for this member's value, without showing it; may be repeated",
    )
    command.add_argument(
        "--new-key", action="store_true", help="make one more key for CI360; others go on working"
    )
    command.add_argument(
        "--retire-keys", action="store_true", help="let only the newest key in from now on"
    )
    command.add_argument("--show-key", action="store_true", help="print the newest key, for CI360")
    command.add_argument("--dry-run", action="store_true", help="only say what would be changed")
    command.epilog = f"Asks for {TOKEN} where the document has neither that nor an API key."
    return _put


def add_list(command: argparse.ArgumentParser) -> Run:
    """Declare ``aws tenant list``."""
    add_stack(command)
    return _list


def add_test(command: argparse.ArgumentParser) -> Run:
    """Declare ``aws tenant test``."""
    _add_tenant(command)
    command.add_argument(
        "--offline", action="store_true", help="ask AWS alone: not the gateway, Twilio or CI360"
    )
    command.epilog = "Sends nothing to anybody. Ends with 0 if nothing is to be done."
    return _test


def add_remove(command: argparse.ArgumentParser) -> Run:
    """Declare ``aws tenant remove``."""
    _add_tenant(command)
    add_asking(command)
    return _remove


def _add_tenant(command: argparse.ArgumentParser) -> None:
    command.add_argument("tenant", metavar="TENANT", help="CI360's external tenant id")
    add_stack(command)


def _opened(options: argparse.Namespace) -> tuple[TenantAdmin, State]:
    stacks, state = found_stack(options)
    plan = state.outputs.get("UsagePlan", "")
    prefix = state.parameters.get("TenantSecretPrefix", "")
    if not plan or not prefix:
        raise NotKnown(f"The stack {stacks.name} is {state.status}, and not ready for tenants.")
    return TenantAdmin(stacks.name, prefix, plan, stacks.region), state


def _put(options: argparse.Namespace) -> int:
    tenant_id = tenant_of(options.tenant)
    admin, _ = _opened(options)
    if not options.dry_run and admin.had_back(tenant_id):
        print("Its secret had been removed, and is had back.")
    known = admin.document(tenant_id)
    document = (known or {}) | (_read(options.file) if options.file else {})
    asked = list(options.ask)
    if not document.get(TOKEN) and not document.get("twilio_api_key_sid") and TOKEN not in asked:
        asked.append(TOKEN)
    document |= {name: _hidden(name) for name in asked}
    document = {name: value for name, value in document.items() if value is not None}
    document["api_keys"] = _keys(document, options)
    _parsed(document, tenant_id)
    changes = list(_changes(known or {}, document))
    bound = set(admin.keys(tenant_id).values()) == set(document["api_keys"])
    print(f"Tenant {tenant_id}, stack {options.stack}:")
    print("\n".join(f"  {words}" for words in changes) or "  the document stays as it is")
    if not bound:
        print("  the gateway will let in just the document's keys")
    if options.dry_run:
        print("Nothing was changed.")
    elif changes or not bound:
        admin.put(tenant_id, document)
        print(f"Done. {CACHED}" if known is not None else "Done.")
    if options.show_key and not options.dry_run:
        print(f"Header x-api-key for CI360: {document['api_keys'][0]}")
    elif not options.dry_run:
        print(f"The key for CI360: ci360-twilio aws tenant put {tenant_id} --show-key")
    return 0


def _read(name: str) -> dict[str, Any]:
    """Read members of a document."""
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text()
        given = json.loads(text)
    except OSError as exc:
        raise SettingsError(f"{name} cannot be read: {exc.strerror}.") from exc
    except ValueError:
        raise SettingsError(f"{printable(name)} is not JSON.") from None
    if not isinstance(given, dict):
        raise SettingsError(f"{printable(name)} is not a JSON object; docs/tenants.md shows one.")
    return given


def _hidden(name: str) -> str:
    """Ask for a secret on the terminal; it is not shown."""
    if not sys.stdin.isatty():
        words = (
            f"{name} is missing, and nobody can be asked: put it into the file, or pipe that in."
        )
        raise SettingsError(words)
    if not (value := getpass.getpass(f"{name} (not shown): ").strip()):
        raise SettingsError(f"No {name} was given.")
    return value


def _keys(document: Mapping[str, Any], options: argparse.Namespace) -> list[str]:
    """Give the keys that the document is to name, the newest first."""
    keys = document.get("api_keys") or []
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise SettingsError("api_keys must be a list of texts.")
    if options.new_key or not keys:
        keys = [secrets.token_urlsafe(32), *keys]
    keys = keys[:1] if options.retire_keys else keys
    if not all(SHORTEST_KEY <= len(key) <= LONGEST_KEY for key in keys):
        words = f"The gateway's keys have {SHORTEST_KEY} to {LONGEST_KEY} characters"
        raise SettingsError(f"{words}; one of api_keys has not.")
    return keys


def _parsed(document: Mapping[str, Any], tenant_id: TenantId) -> Tenant:
    settings = read_settings()
    try:
        return parse_tenant(
            json.dumps(document), tenant_id, settings.twilio_hosts, settings.ci360_hosts
        )
    except TenantBroken as exc:
        listed = "\n".join(f"  {issue.field} {issue}" for issue in exc.issues)
        raise SettingsError(f"The document cannot be used; nothing was changed:\n{listed}") from exc


def _changes(known: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[str]:
    """Say what changes, without saying to what."""
    for name in sorted({*known, *document}):
        if name not in known:
            yield f"new: {printable(name)}"
        elif name not in document:
            yield f"removed: {printable(name)}"
        elif known[name] != document[name]:
            yield f"changed: {printable(name)}"


def _list(options: argparse.Namespace) -> int:
    admin, _ = _opened(options)
    found = admin.listed()
    if not found:
        print("There are no tenants yet; see `aws tenant put`.")
        return 0
    rows = [
        (
            one.tenant_id,
            f"{one.changed_at:%Y-%m-%d %H:%M}" if one.changed_at else "there" * one.has_secret,
            one.keys or "none: the gateway lets it not in",
        )
        for one in found
    ]
    print(table(("TENANT", "DOCUMENT CHANGED (UTC)", "KEYS"), rows))
    return 0


def _test(options: argparse.Namespace) -> int:
    tenant_id = tenant_of(options.tenant)
    admin, state = _opened(options)
    base = state.outputs["EventsUrl"].removesuffix(EVENTS)
    settings = msgspec.structs.replace(
        read_settings(),
        tenants=None,
        sm_secret_id_prefix=state.parameters["TenantSecretPrefix"],
        secrets_region=options.region,
        public_url=base,
    )
    findings = list(_look(admin, tenant_id, settings, offline=options.offline))
    for one in findings:
        print(f"{'ok  ' if one.good else 'FIX '} {printable(one.subject)}: {printable(one.words)}")
        if one.advice:
            print(f"     {one.advice}")
    wrong = sum(not one.good for one in findings)
    print(f"\n{counted(wrong, 'thing')} to do." if wrong else "\nAll is well.")
    return 1 if wrong else 0


def _look(
    admin: TenantAdmin, tenant_id: TenantId, settings: Settings, *, offline: bool
) -> Iterator[Finding]:
    again = f"ci360-twilio aws tenant put {tenant_id}"
    document = admin.document(tenant_id)
    if document is None:
        yield Finding(False, f"tenant {tenant_id}", "there is no secret", again)
        return
    named, bound = document.get("api_keys") or [], admin.keys(tenant_id)
    if not named or set(named) != set(bound.values()):
        words = "the gateway does not let in just the keys of the document"
        yield Finding(False, "keys", words, again)
    else:
        yield Finding(True, "keys", f"the gateway lets in {counted(len(named), 'key')}")
    if named and not offline:
        yield _knocked(f"{settings.public_url}{EVENTS}", named[0])
    yield from look_at_tenants(settings, [tenant_id], offline=offline)


def _knocked(url: str, key: str) -> Finding:
    try:
        answers = knock(url, key)
    except SendFailed as exc:
        return Finding(False, "gateway", f"{exc.message} ({exc.reason})", f"Is {url} right?")
    if answers.signed == 200 and answers.unsigned == 403:
        return Finding(True, "gateway", "an event gets through with the key, and without it none")
    words = f"answers {answers.signed} with the key, and {answers.unsigned} without it"
    return Finding(False, "gateway", words, "See the log group of the function Receive.")


def _remove(options: argparse.Namespace) -> int:
    tenant_id = tenant_of(options.tenant)
    admin, _ = _opened(options)
    keys, document = admin.keys(tenant_id), admin.document(tenant_id)
    if not keys and document is None:
        raise NotKnown(f"There is no tenant {tenant_id}.")
    print(f"Tenant {tenant_id}: {counted(len(keys), 'key')} deleted, so that CI360 gets a 403;")
    print(f"  the secret removed, to be had back for {RECOVERY_DAYS} days (`aws tenant put`).")
    print("  What waits to be sent stays unsent. Messages, reports and opt-outs stay.")
    if options.dry_run:
        print("Nothing was changed.")
        return 0
    if not confirmed("Remove it?", yes=options.yes):
        return 1
    admin.remove(tenant_id)
    print(f"Done. {CACHED}")
    return 0
