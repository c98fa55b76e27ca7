"""``twin``: Twilio's look-alike, for rehearsals."""

from __future__ import annotations

import argparse
import json
import signal
import threading
from collections.abc import Callable

from ci360_twilio.errors import SettingsError
from ci360_twilio.twin.faults import FaultPlan
from ci360_twilio.twin.life import Life
from ci360_twilio.twin.server import TwinServer
from ci360_twilio.twin.twilio import TwilioTwin, TwinAccount
from ci360_twilio.twin.weather import Mishap, Weather
from ci360_twilio.wiring import utc_now

ACCOUNT = f"AC{'0' * 31}1"
TOKEN = "twin-token"  # noqa: S105 - opens nothing but a twin on loopback


def add_twin(command: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Declare ``twin``."""
    command.add_argument("--port", type=int, default=8365, help="port on loopback (%(default)s)")
    command.add_argument("--account", default=ACCOUNT, help="the account's SID (%(default)s)")
    command.add_argument("--token", default=TOKEN, help="the account's auth token (%(default)s)")
    command.add_argument(
        "--test-credentials",
        action="store_true",
        help="behave as with Twilio's test credentials: magic numbers, and nothing is made",
    )
    command.add_argument(
        "--latency", type=float, default=0.0, help="seconds that every answer takes (%(default)s)"
    )
    command.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="KIND=SHARE",
        help="let a share of the requests, rows or callbacks go wrong, such as http_429=0.1, "
        "lag:600=0.2 or late:3600=0.05",
    )
    command.add_argument("--seed", type=int, default=0, help="seed of all chance (%(default)s)")
    command.add_argument(
        "--deliver",
        action="store_true",
        help="let messages live: they are sent and delivered, and status callbacks are posted to "
        "addresses of this machine; the next three imply it",
    )
    command.add_argument("--rate", type=float, help="segments per second of each sender")
    command.add_argument(
        "--queue-seconds",
        type=float,
        help="how long a message may wait for its turn before it is refused (Twilio: 36000)",
    )
    command.add_argument(
        "--fate",
        action="append",
        default=[],
        metavar="KIND=SHARE",
        help="let a share of the messages end so, such as undelivered:30003=0.05 or failed:30007=0.01",
    )
    return _twin


def _twin(options: argparse.Namespace) -> int:
    try:
        shares = dict(map(_share, options.fault))
        weather = {kind: shares.pop(kind) for kind in [*shares] if _is_mishap(kind)}
        faults = FaultPlan(shares, seed=options.seed)
        account = TwinAccount(
            sid=options.account,
            auth_token=options.token,
            test=options.test_credentials,
            life=_life(options),
        )
        twin = TwilioTwin(
            accounts=[account],
            clock=utc_now,
            seed=options.seed,
            weather=Weather(weather, seed=options.seed),
        )
        server = TwinServer(twin, faults, port=options.port, latency=options.latency)
    except ValueError as exc:
        raise SettingsError(f"The twin cannot be set up so: {exc}") from exc
    if not 0 <= options.port <= 65_535:
        raise SettingsError("The twin cannot listen there: ports are 0 to 65535.")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        server.start()
    except OSError as exc:
        raise SettingsError(f"The twin cannot listen on port {options.port}.") from exc
    _explain(server.url, options)
    stop.wait()
    server.stop()
    print(f"{len(twin.messages)} messages were made.")
    return 0


def _share(text: str) -> tuple[str, float]:
    kind, _, share = text.partition("=")
    return kind, float(share or 1)


def _is_mishap(kind: str) -> bool:
    return kind.partition(":")[0] in {*Mishap}


def _life(options: argparse.Namespace) -> Life | None:
    """Give the life that the options ask for, if they do."""
    rate, longest = options.rate, options.queue_seconds
    if not options.deliver and not options.fate and rate is None and longest is None:
        return None
    return Life(rate=rate, queue_seconds=longest, fates=dict(map(_share, options.fate)))


def _explain(url: str, options: argparse.Namespace) -> None:
    document = {
        "twilio_api_url": f"{url}/2010-04-01/Accounts/{options.account}/Messages.json",
        "twilio_account_sid": options.account,
        "twilio_auth_token": options.token,
        "default_sender": "+15005550006",
    }
    print(f"Twilio's twin listens on {url}. It sends nothing to anybody.")
    print(f"Made messages: {url}/twin/messages")
    if _life(options) is not None:
        print(f"Delivered callbacks: {url}/twin/callbacks")
    print("\nA tenant's document for it (as <tenant id>.json in CI360_TWILIO_TENANTS):\n")
    print(json.dumps(document, indent=2))
    print(f"\nLet the connector call it: CI360_TWILIO_TWILIO_HOSTS={url.removeprefix('http://')}")
    print("Stop with Ctrl-C.", flush=True)
