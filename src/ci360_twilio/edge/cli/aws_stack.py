"""``aws deploy``, ``aws status`` and ``aws destroy``."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from ci360_twilio.clients.stacks import Change, Stacks, State, Step, refuse
from ci360_twilio.edge.cli.asking import add_asking, confirmed, counted
from ci360_twilio.edge.cli.aws_package import PLATFORMS, PYTHON, Zip, build, infra, look_at
from ci360_twilio.edge.cli.screen import printable, table
from ci360_twilio.edge.http import is_loopback
from ci360_twilio.errors import AwsFailed, NotKnown, SettingsError
from ci360_twilio.settings import PREFIX, read_settings

Run = Callable[[argparse.Namespace], int]

KEPT = {
    "Ledger": "the ledger: every message, report and opt-out",
    "HashKey": "the key of its hashes, without which opt-outs are not found",
}
"""What stays when the stack goes."""
_DONE = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE", "DELETE_SKIPPED")


def add_stack(command: argparse.ArgumentParser) -> None:
    """Declare which stack is meant."""
    command.add_argument(
        "--stack", default="ci360-twilio", metavar="NAME", help="the stack's name (ci360-twilio)"
    )
    command.add_argument("--region", help="where it is; your usual region unless told")


def add_deploy(command: argparse.ArgumentParser) -> Run:
    """Declare ``aws deploy``."""
    add_stack(command)
    command.add_argument(
        "--set",
        action="append",
        default=[],
        dest="given",
        metavar="NAME=VALUE",
        help="a parameter of the template, such as AlarmEmail=you@example.com; may be repeated",
    )
    command.add_argument(
        "--bucket", help="for the functions' zip; one is made at first unless told"
    )
    command.add_argument(
        "--zip", type=Path, metavar="FILE", help="built before; built now unless told"
    )
    command.add_argument(
        "--architecture", choices=sorted(PLATFORMS), help="as it is; arm64 at first"
    )
    command.add_argument("--python", metavar="VERSION", help=f"as it is; {PYTHON} at first")
    add_asking(command)
    command.epilog = "Parameters that were set once stay as they are until they are set anew."
    return _deploy


def add_status(command: argparse.ArgumentParser) -> Run:
    """Declare ``aws status``."""
    add_stack(command)
    command.epilog = "Ends with 1 where an alarm rings or something was set aside."
    return _status


def add_destroy(command: argparse.ArgumentParser) -> Run:
    """Declare ``aws destroy``."""
    add_stack(command)
    add_asking(command)
    return _destroy


def found_stack(options: argparse.Namespace) -> tuple[Stacks, State]:
    """Give the stack that is meant, and how it is.

    Raises:
        NotKnown: there is none.
    """
    stacks = Stacks(options.stack, options.region)
    state = stacks.state()
    if state is None or not state.is_there:
        words = f"There is no stack {options.stack} in {stacks.region}; see `aws deploy`."
        raise NotKnown(words)
    return stacks, state


def _deploy(options: argparse.Namespace) -> int:
    given = _parameters(options.given)
    stacks = Stacks(options.stack, options.region)
    account, state = stacks.account(), stacks.state()
    if state is not None:
        refuse(stacks.name, state.status)
    known = state.parameters if state is not None else {}
    usual = f"ci360-twilio-{account}-{stacks.region}"
    bucket = options.bucket or known.get("CodeBucket") or usual
    if not known:
        given.setdefault("TenantSecretPrefix", f"{stacks.name}/")
    print(f"Stack {stacks.name} in {stacks.region}, account {account}.")
    with tempfile.TemporaryDirectory() as folder:
        zip_ = _zip(options, known, Path(folder))
        print(zip_)
        key = f"{stacks.name}/{zip_.digest[:16]}.zip"
        given |= {
            "CodeBucket": bucket,
            "CodeKey": key,
            "Architecture": zip_.architecture,
            "Runtime": f"python{zip_.python}",
        }
        template = infra("template.yaml", "infra/template.yaml").read_text()
        name, changes = stacks.plan(template, given, state)
        if not name:
            print("It is up to date: nothing would change.")
            return 0
        try:
            _print_changes(changes)
            if options.dry_run:
                print(f"The zip would be s3://{bucket}/{key}. Nothing was changed.")
                stacks.drop(name)
                return 0
            if not confirmed("Do this?", yes=options.yes):
                stacks.drop(name)
                return 1
            print(f"Uploading the zip to s3://{bucket}/{key} ...", flush=True)
            stacks.upload(zip_.path, bucket, key, account, make=bucket == usual)
        except (AwsFailed, SettingsError, KeyboardInterrupt):
            stacks.drop(name)
            raise
        _follow(stacks.run(name), len(changes))
    return _tell_end(stacks)


def _zip(options: argparse.Namespace, known: Mapping[str, str], folder: Path) -> Zip:
    """Build the zip for what is wanted, or else for what the stack runs; or take one that is there."""
    if options.zip is not None:
        return look_at(options.zip)
    architecture = options.architecture or known.get("Architecture") or "arm64"
    python = options.python or known.get("Runtime", f"python{PYTHON}").removeprefix("python")
    print("Building the functions' zip ...", flush=True)
    return build(folder, architecture, python)


def _parameters(given: Sequence[str]) -> dict[str, str]:
    """Read parameters; one that a function would not start with is refused here, by its own rule."""
    found = {}
    for one in given:
        name, sign, value = one.partition("=")
        if not sign or not name.isalnum():
            raise SettingsError(f"--set takes NAME=VALUE, not {printable(one)!r}.")
        if name in _BY_OPTION:
            raise SettingsError(f"{name} is told by {_BY_OPTION[name]}.")
        found[name] = value
    named = {
        f"{PREFIX}{setting}": found[name] for name, setting in _SETTINGS.items() if name in found
    }
    read_settings({**named, f"{PREFIX}LEDGER": "memory:"})
    if not _is_safe(found.get("PublicUrl", "")):
        raise SettingsError(
            "PublicUrl must begin with https://: keys would cross the net in clear."
        )
    return found


def _is_safe(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme != "http" or is_loopback(parts.hostname or "")


_BY_OPTION = {
    "Architecture": "--architecture",
    "CodeBucket": "--bucket",
    "CodeKey": "--zip",
    "Runtime": "--python",
}
_SETTINGS = {
    "CorsOrigin": "CORS_ORIGIN",
    "EventTtl": "EVENT_TTL",
    "PublicUrl": "PUBLIC_URL",
}
"""Parameters that become settings of the functions."""


def _print_changes(changes: Sequence[Change]) -> None:
    rows = [(one.action, one.name, one.kind, "replaced" if one.replaced else "") for one in changes]
    print(table(("CHANGE", "RESOURCE", "TYPE", ""), rows))
    print(f"{counted(len(changes), 'change')}.")
    for one in changes:
        if one.name in KEPT and (one.action == "Remove" or one.replaced):
            print(f"CAREFUL: {one.name} would be replaced or removed: {KEPT[one.name]}.")


def _follow(steps: Iterable[Step], expected: int) -> None:
    """Print what happens as it happens; what failed, with its reason."""
    done = 0
    for one in steps:
        if one.status in _DONE and one.kind != "AWS::CloudFormation::Stack":
            done += 1
            print(f"[{done}/{max(expected, done)}] {one.status}  {one.name}", flush=True)
        elif one.status.endswith("FAILED"):
            print(f"{one.status}  {one.name}: {printable(one.reason)}", flush=True)


def _tell_end(stacks: Stacks) -> int:
    state = stacks.state()
    if state is None or state.status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        status = state.status if state else "gone"
        print(f"It did not work: the stack is {status}. The lines with FAILED say why.")
        return 1
    print(f"Done: {state.status}.\n")
    _print_outputs(state.outputs)
    print("\nNext: ci360-twilio aws tenant put TENANT --file document.json")
    return 0


def _print_outputs(outputs: Mapping[str, str]) -> None:
    print(table(("OUTPUT", "VALUE"), sorted(outputs.items())))


def _status(options: argparse.Namespace) -> int:
    stacks, state = found_stack(options)
    print(
        f"Stack {stacks.name} in {stacks.region}: {state.status}, {state.changed_at:%F %H:%M} UTC.\n"
    )
    _print_outputs(state.outputs)
    print()
    print(table(("PARAMETER", "VALUE"), sorted(state.parameters.items())))
    ringing = stacks.ringing()
    print("\nNo alarm rings." if not ringing else "\nAlarms that ring:")
    for name, words in ringing:
        print(f"  {name}: {printable(words)}")
    if "DeadLetterQueueUrl" not in state.outputs:  # it was never made
        return 1
    waiting, aside = stacks.queued(state.outputs)
    print(f"In the queue: {waiting:,}. Set aside: {aside:,}.")
    return 1 if ringing or aside else 0


def _destroy(options: argparse.Namespace) -> int:
    stacks = Stacks(options.stack, options.region)
    state = stacks.state()
    if state is None:
        raise NotKnown(f"There is no stack {options.stack} in {stacks.region}.")
    names = stacks.resources()
    gone = [name for name in names if name not in KEPT]
    print(f"To be deleted: {counted(len(gone), 'resource')} of the stack {stacks.name}.")
    files = names.get("JobFiles", "")
    if files:
        print(f"With them all that is in the bucket {files}: files of bulk jobs and their results.")
    print("To stay:")
    for name, words in KEPT.items():
        if names.get(name):
            print(f"  {names[name]}: {words}")
    print("  the tenants' secrets, whose keys go with the gateway; the bucket with the zips")
    if options.dry_run:
        print("Nothing was changed.")
        return 0
    if not confirmed("Take it down?", yes=options.yes):
        return 1
    stacks.forget_keys(names.get("Plan", ""))
    stacks.empty(files)
    _follow(stacks.destroy(), len(names))
    left = stacks.state()
    if left is not None:
        print(f"It did not work: the stack is {left.status}. The lines with FAILED say why.")
        return 1
    print("Done: the stack is gone.")
    return 0
