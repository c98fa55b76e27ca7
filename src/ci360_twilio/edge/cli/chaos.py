"""``chaos``: play campaigns in which everything goes wrong, and compare the books."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from ci360_twilio.edge.cli.screen import print_json, printable, table
from ci360_twilio.errors import SettingsError
from ci360_twilio.twin.chaos import Campaign
from ci360_twilio.twin.conversing import EVENTS, Conversation
from ci360_twilio.twin.oracle import Verdict

SHOWN = 10
"""Problems of one campaign that are listed."""
MOST = 100_000
"""Events of one campaign; its recipients are fictional numbers, of which there are not more."""


def add_chaos(command: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Declare ``chaos``."""
    command.add_argument("--seed", type=int, default=0, help="of the first campaign (%(default)s)")
    command.add_argument(
        "--messages", type=int, default=1_000, help="events of each campaign (%(default)s)"
    )
    command.add_argument(
        "--seeds", type=int, default=1, help="how many campaigns, one seed after the other"
    )
    command.add_argument("--jobs", type=int, default=1, help="campaigns that are played at a time")
    command.add_argument(
        "--conversations",
        action="store_true",
        help="let customers write STOP and START meanwhile, and judge who was written to",
    )
    command.add_argument("--json", action="store_true", help="print the verdicts as JSON")
    command.epilog = (
        "Plays in memory on a virtual clock; nothing is sent and no ledger is touched. Twilio's "
        "answers are lost, late or wrong, its lists lag, callbacks are lost and repeated, CI360 fails, "
        "workers die and stand still, the ledger refuses. Ends with 0 if every promise was kept."
    )
    return _chaos


def _chaos(options: argparse.Namespace) -> int:
    if not 1 <= options.messages <= MOST or options.seeds < 1 or options.jobs < 1:
        raise SettingsError(f"--messages takes 1 to {MOST:,}; --seeds and --jobs at least 1.")
    verdicts = []
    for verdict in _played(options):
        verdicts.append(verdict)
        if not options.json:
            _tell(verdict, options)
    if options.json:
        print_json(verdicts)
    elif len(verdicts) > 1:
        print(f"\n{_total(verdicts)}")
    return 0 if all(verdict.good for verdict in verdicts) else 1


def _played(options: argparse.Namespace) -> Iterator[Verdict]:
    seeds = range(options.seed, options.seed + options.seeds)
    play = partial(_play, messages=options.messages, conversations=options.conversations)
    if options.jobs == 1:
        yield from map(play, seeds)
        return
    with ProcessPoolExecutor(options.jobs) as pool:
        yield from pool.map(play, seeds)


def _play(seed: int, messages: int, *, conversations: bool) -> Verdict:
    if conversations:
        return Conversation(seed, max(messages // EVENTS, 1)).run()
    return Campaign(seed, messages).run()


def _tell(verdict: Verdict, options: argparse.Namespace) -> None:
    if options.seeds == 1:
        rows = [(name, f"{value:,}") for name, value in _counts([verdict]).items()]
        print(table(("SEED", str(verdict.seed)), rows))
        print("\nWhat became of the events:")
        print(
            table(("STATUS", "EVENTS"), [(name, f"{n:,}") for name, n in verdict.statuses.items()])
        )
        print()
    words = "every promise was kept" if verdict.good else "PROMISES WERE BROKEN"
    counts = ", ".join(f"{name} {value:,}" for name, value in _counts([verdict]).items())
    print(
        f"seed {verdict.seed}: {words}" + (f"; {counts}" if options.seeds > 1 else ""), flush=True
    )
    for problem in verdict.problems[:SHOWN]:
        print(f"  {printable(problem)}")
    if not verdict.good:
        also = " --conversations" if options.conversations else ""
        again = f"ci360-twilio chaos --seed {verdict.seed} --messages {options.messages}{also}"
        print(f"  To see it again: {again}")


def _total(verdicts: list[Verdict]) -> str:
    bad = [str(verdict.seed) for verdict in verdicts if not verdict.good]
    counts = ", ".join(f"{name} {value:,}" for name, value in _counts(verdicts).items())
    words = f"broken promises in seeds {', '.join(bad)}" if bad else "every promise was kept"
    return f"{len(verdicts)} campaigns: {counts}: {words}."


def _counts(verdicts: list[Verdict]) -> dict[str, int]:
    names = (
        "events",
        "messages",
        "duplicates",
        "lost",
        "unknown",
        "held",
        "mistaken",
        "reports",
        "again",
    )
    return {name: sum(getattr(verdict, name) for verdict in verdicts) for name in names}
