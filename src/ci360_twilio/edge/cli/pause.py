"""``pause`` and ``resume``."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from typing import Any

from ci360_twilio.core.entry import Status
from ci360_twilio.core.pause import Cause, Pause, Scope
from ci360_twilio.core.reasons import reason_words
from ci360_twilio.edge.cli.asking import (
    add_asking,
    add_reason,
    confirmed,
    counted,
    steering,
    who,
)
from ci360_twilio.edge.cli.given import country_named, sender_named, tenant_named
from ci360_twilio.edge.cli.screen import print_json, printable, table
from ci360_twilio.errors import NotKnown, SettingsError
from ci360_twilio.flow.decision import Standing, Target, target_of
from ci360_twilio.flow.steer import Steering

Run = Callable[[argparse.Namespace], int]


def add_pause(command: argparse.ArgumentParser) -> Run:
    """Declare ``pause``."""
    _add_target(command)
    command.add_argument("--json", action="store_true", help="print the list as JSON")
    add_reason(command)
    command.add_argument("--dry-run", action="store_true", help="only say what would be done")
    command.epilog = (
        "Without arguments it lists what is paused. When it returns, no message starts any more "
        "that it covers; what is not resumed in time expires."
    )
    return _pause


def add_resume(command: argparse.ArgumentParser) -> Run:
    """Declare ``resume``."""
    _add_target(command)
    add_reason(command)
    add_asking(command)
    command.epilog = "Lifts what was paused in just these words, by whomever or whatever."
    return _resume


def _add_target(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "scope",
        nargs="?",
        choices=[str(scope) for scope in Scope],
        metavar="WHAT",
        help=f"what is concerned: {', '.join(Scope)}",
    )
    command.add_argument(
        "value",
        nargs="?",
        metavar="WHICH",
        help="the tenant's id, the task's code, the sender, the country's two letters, or the job's id",
    )
    command.add_argument("--tenant", help="only as far as it is this tenant's")


def _target(options: argparse.Namespace) -> Target:
    scope, value = Scope(options.scope), (options.value or "").strip()
    if (scope in (Scope.ALL, Scope.REPORTS)) is bool(value):
        words = "takes nothing more" if value else "needs to be told which"
        raise SettingsError(f"{options.scope} {words}; see --help.")
    if scope is Scope.REPORTS:
        return Target(scope, tenant_named(options.tenant))
    if scope in (Scope.ALL, Scope.TENANT):
        if options.tenant:
            raise SettingsError("--tenant goes with a task, a sender, a country or reports.")
        return Target(scope, tenant_named(value or None))
    if scope is Scope.SENDER:
        value = sender_named(value)
    if scope is Scope.COUNTRY:
        value = country_named(value)
    return Target(scope, tenant_named(options.tenant), value)


def _pause(options: argparse.Namespace) -> int:
    if options.scope is None:
        if options.tenant or options.reason or options.dry_run:
            raise SettingsError("Say what is to be paused; see --help.")
        return _list(as_json=options.json)
    target = _target(options)
    with steering() as steer:
        if options.dry_run:
            _say_covered(steer, target)
            return 0
        pause, new = steer.pause(target, by=who(), text=options.reason)
        if new:
            print(f"Paused: {printable(target)}. {_PAUSED[target.scope is Scope.REPORTS]}")
        else:
            print(f"{_named(target)} paused already, {_since(pause)}.")
        print(f"To send again: {resume_words(pause)}", flush=True)
        _say_covered(steer, target)
    return 0


_PAUSED = {
    False: "Nothing starts any more that it covers.",
    True: "CI360 is told nothing more, and hears all of it later; messages are sent as ever.",
}


def _say_covered(steer: Steering, target: Target) -> None:
    if target.scope is Scope.REPORTS:
        return
    found = steer.covered(target)
    waiting, leaving = counted(found[Status.ACCEPTED]), found[Status.SENDING]
    print(f"Covered: {waiting} waiting to be sent, {leaving:,} just being sent.")
    if not found and target.scope is not Scope.ALL:
        print("If you expected any, check how it is written.")


def _list(*, as_json: bool) -> int:
    with steering() as steer:
        standing = steer.pauses()
    if as_json:
        print_json([_shown(one) for one in standing])
        return 0
    if not standing:
        print("Nothing is paused.")
        return 0
    head = ("PAUSED", "CAUSE", "SINCE (UTC)", "BY", "WAITING")
    rows = [
        (
            str(target_of(one.pause)),
            one.pause.cause if one.pause.cause is Cause.PERSON else one.pause.reason,
            f"{one.pause.since:%Y-%m-%d %H:%M:%S}",
            one.pause.by,
            f"{one.valid:,}",
        )
        for one in standing
    ]
    print(table(head, rows))
    print("\nTo send again:")
    for words in dict.fromkeys(resume_words(one.pause) for one in standing):
        print(f"  {words}")
    return 0


def _shown(standing: Standing) -> dict[str, Any]:
    pause = standing.pause
    return {
        "scope": pause.scope,
        "tenant": pause.tenant_id,
        "value": pause.value,
        "cause": pause.cause,
        "reason": pause.reason,
        "since": pause.since,
        "by": pause.by,
        "probe_at": pause.probe_at,
        "waiting": standing.valid,
    }


def _resume(options: argparse.Namespace) -> int:
    if options.scope is None:
        raise SettingsError("Say what is to be sent again; `ci360-twilio pause` lists the pauses.")
    target = _target(options)
    with steering() as steer:
        standing = _standing(steer, target)
        for one in standing:
            print(f"{_named(target)} paused {_since(one.pause)}.")
            if target.scope is not Scope.REPORTS:
                print(f"  Behind it: {counted(one.valid + one.expired)}, ", end="")
                print(f"{one.valid:,} can still be sent, {one.expired:,} have expired.")
        if options.dry_run:
            return 0
        if not confirmed("Send again?", yes=options.yes):
            return 1
        steer.resume(target, by=who(), text=options.reason)
        print(f"Resumed: {printable(target)}.")
        if left := steer.pauses():
            others = ", ".join(dict.fromkeys(str(target_of(one.pause)) for one in left))
            print(f"Still paused: {printable(others)}.")
    return 0


def _standing(steer: Steering, target: Target) -> list[Standing]:
    """Find the pauses of a target; where there are none, the words list those that there are."""
    try:
        return steer.standing(target)
    except NotKnown as exc:
        others = dict.fromkeys(str(target_of(one.pause)) for one in steer.pauses())
        raise NotKnown(f"{exc.message} Paused: {', '.join(others) or 'nothing'}.") from exc


def _since(pause: Pause) -> str:
    words = f"since {pause.since:%Y-%m-%d %H:%M:%S} UTC"
    if pause.cause is Cause.PERSON:
        return f"{words} by {printable(pause.by)}"
    return f"{words}: {printable(reason_words(pause.reason).rstrip('.'))}"


def resume_words(pause: Pause) -> str:
    """Give what the shell is to be told so that a pause is lifted."""
    target = target_of(pause)
    words = ["ci360-twilio", "resume", str(target.scope)]
    if target.scope is Scope.TENANT:
        words.append(str(target.tenant_id))
    elif target.scope is not Scope.ALL:
        words += [printable(target.value)] if target.value else []
        words += ["--tenant", target.tenant_id] if target.tenant_id else []
    return shlex.join(words)


def _named(target: Target) -> str:
    """Name a target at the start of a sentence, with its verb."""
    words = printable(target)
    verb = "are" if target.scope is Scope.REPORTS else "is"
    return f"{words[:1].upper()}{words[1:]} {verb}"
