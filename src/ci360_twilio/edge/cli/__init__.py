"""The command ``ci360-twilio``: one file per group of commands, loaded when it is needed."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ci360_twilio import __version__
from ci360_twilio.edge.cli.screen import printable
from ci360_twilio.errors import ConnectorError, SettingsError


class Command(NamedTuple):
    """Where a command lives and what it does, in a line."""

    module: str
    help: str


COMMANDS: Mapping[str, Command] = {
    "demo": Command("demo", "Show the whole journey of a few events, with nothing set up."),
    "console": Command("console", "Show the console while a campaign runs, with nothing set up."),
    "serve": Command("serve", "Answer CI360 over HTTP, and send what it asks for."),
    "worker": Command("serve", "Send what is due; for a server started with --no-worker."),
    "twin": Command("twin", "Run look-alikes of Twilio and CI360 here, to rehearse with."),
    "phone": Command("phone", "Hold a customer's phone of the twin: read, and write back."),
    "chaos": Command("chaos", "Rehearse with everything going wrong, and compare the books."),
    "send": Command("send", "Take one event from a file through all gates and send it now."),
    "preview": Command("preview", "Show what a creative would send, and what it would cost."),
    "rehearse": Command("rehearse", "Show what a campaign would do and cost, sending nothing."),
    "check": Command("check", "Look through a whole set-up, and say what to do."),
    "ci360-setup": Command("setup", "Print what is to be entered in CI360 and in Twilio."),
    "messages": Command("messages", "List messages, newest first."),
    "trace": Command("trace", "Tell the whole story of one event: why it was sent or not."),
    "jobs": Command("jobs", "List bulk jobs and how far they are; pause, resume or cancel one."),
    "pause": Command("pause", "Stop sending, at once and everywhere; or list what is paused."),
    "resume": Command("pause", "Send again what was paused."),
    "cancel": Command("steer", "Take messages back that are not sent yet."),
    "replay": Command("steer", "Send messages again that were refused or failed."),
    "resolve": Command("steer", "Decide about a message that waits for a person."),
    "reports": Command("reports", "List what CI360 would not hear, or send it once more."),
    "consent": Command("consent", "Who wants no messages: lists, single wishes, texts to read."),
    "export": Command("privacy", "Hand out all that is known of one person."),
    "erase": Command("privacy", "Forget one person; an opt-out stays in force."),
    "people": Command("people", "Say who may sign in to the console, and what for."),
    "audit": Command("steer", "List what people did: who paused, canceled or replayed what."),
    "ledger": Command("ledger", "Back up, restore or check the ledger."),
    "aws": Command("aws", "Run it all on AWS: the stack, and its tenants."),
}

EPILOG = """\
Settings are environment variables: CI360_TWILIO_<NAME>, and SAS's event_ttl, default_sender and
sm_secret_id_prefix. Start with: ci360-twilio demo
"""


def parser(only: str | None = None) -> argparse.ArgumentParser:
    """Make the parser of all commands; with ``only``, no other command's module is loaded."""
    root = argparse.ArgumentParser(
        prog="ci360-twilio",
        description="Sends SAS CI360 events as Twilio messages, at most once each.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action="version", version=f"ci360-twilio {__version__}")
    commands = root.add_subparsers(metavar="COMMAND", dest="command", required=True)
    for name, command in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=command.help,
            description=command.help,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if only in (None, name):
            module = importlib.import_module(f"ci360_twilio.edge.cli.{command.module}")
            sub.set_defaults(run=getattr(module, f"add_{name.replace('-', '_')}")(sub))
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; gives 0 for success, 1 for a *no*, 2 for a command that could not be run."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may not speak UTF-8
    given = sys.argv[1:] if arguments is None else arguments
    options = parser(only=next(iter(given), "")).parse_args(given)
    try:
        return int(options.run(options))
    except ConnectorError as exc:
        words = "\n".join(map(printable, exc.message.split("\n")))
        print(f"ci360-twilio: {words}", file=sys.stderr)
        return 2 if isinstance(exc, SettingsError) else 1
    except BrokenPipeError:
        # the reader (head, less) has gone; keep the interpreter from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as exc:
        print(f"ci360-twilio: {exc.strerror or type(exc).__name__}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
