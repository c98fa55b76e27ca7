"""``aws``: the whole connector on AWS as one stack, and its tenants."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from ci360_twilio.edge.cli.aws_package import add_package
from ci360_twilio.edge.cli.aws_stack import add_deploy, add_destroy, add_status
from ci360_twilio.edge.cli.aws_tenants import add_list, add_put, add_remove, add_test

Run = Callable[[argparse.Namespace], int]
Add = Callable[[argparse.ArgumentParser], Run]


def add_aws(command: argparse.ArgumentParser) -> Run:
    """Declare ``aws`` and what it can do."""
    command.epilog = (
        "Where AWS is and who you are is told as for the aws command: AWS_PROFILE, AWS_REGION. "
        "docs/aws.md goes through it from top to bottom."
    )
    actions = command.add_subparsers(metavar="ACTION", dest="action", required=True)
    _declare(
        actions,
        ("package", "Build the functions' zip.", add_package),
        ("deploy", "Make the stack, or bring it up to date; shows what that would do.", add_deploy),
        ("status", "Tell how the stack is, and what is to be entered in CI360.", add_status),
        ("destroy", "Take the stack down; what must not be lost stays.", add_destroy),
    )
    tenant = _added(actions, "tenant", "Set tenants up: their documents and keys.")
    doings = tenant.add_subparsers(metavar="ACTION", dest="doing", required=True)
    _declare(
        doings,
        ("put", "Make a tenant, or change what its document says.", add_put),
        ("list", "List the tenants.", add_list),
        ("test", "Look whether a tenant is served as it should be.", add_test),
        ("remove", "Shut a tenant out; its document can be had back for a month.", add_remove),
    )
    return lambda options: int(options.act(options))


def _added(actions: argparse._SubParsersAction, name: str, words: str) -> argparse.ArgumentParser:  # type: ignore[type-arg]
    made: argparse.ArgumentParser = actions.add_parser(
        name,
        help=words,
        description=words,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return made


def _declare(actions: argparse._SubParsersAction, *declared: tuple[str, str, Add]) -> None:  # type: ignore[type-arg]
    for name, words, add in declared:
        made = _added(actions, name, words)
        made.set_defaults(act=add(made))
