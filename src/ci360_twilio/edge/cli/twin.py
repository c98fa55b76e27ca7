"""``twin``: look-alikes of Twilio and of CI360, for rehearsals."""

from __future__ import annotations

import argparse
import json
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

from ci360_twilio.errors import SettingsError
from ci360_twilio.twin.ci360 import Ci360Twin
from ci360_twilio.twin.ci360_server import Ci360Server
from ci360_twilio.twin.faults import FaultPlan
from ci360_twilio.twin.life import Life
from ci360_twilio.twin.server import TwinServer
from ci360_twilio.twin.twilio import TwilioTwin, TwinAccount
from ci360_twilio.twin.weather import Mishap, Weather
from ci360_twilio.wiring import utc_now

ACCOUNT = f"AC{'0' * 31}1"
TOKEN = "twin-token"  # noqa: S105 - opens nothing but a twin on loopback
CI360_SECRET = "twin-secret"  # noqa: S105 - the same
LONGEST_LATENCY = 3_600.0


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
    command.add_argument(
        "--inbound-url",
        default="",
        metavar="URL",
        help="where texts that customers write are posted to, on this machine: "
        "http://127.0.0.1:8360/twilio/inbound/<tenant id>#rc=5&rp=all",
    )
    command.add_argument(
        "--no-blocks",
        action="store_true",
        help="let those who wrote STOP have messages all the same; only the connector stops them",
    )
    command.add_argument(
        "--advanced-opt-out",
        action="store_true",
        help="say in webhooks what a text was taken for (OptOutType), as Advanced Opt-Out does",
    )
    command.add_argument(
        "--ci360",
        action="append",
        default=[],
        metavar="TENANT",
        help="run a look-alike of CI360, too, on the next port, for this tenant id",
    )
    command.add_argument(
        "--publish",
        action="append",
        metavar="EVENT",
        help="the external events that are published in that CI360; any if none is named",
    )
    return _twin


def _twin(options: argparse.Namespace) -> int:
    try:
        if not 0 <= options.latency < LONGEST_LATENCY:
            raise ValueError(f"latency must be from 0 to {LONGEST_LATENCY:,g} seconds")
        shares = dict(map(_share, options.fault))
        weather = {kind: shares.pop(kind) for kind in [*shares] if _is_mishap(kind)}
        faults = FaultPlan(shares, seed=options.seed)
        account = TwinAccount(
            sid=options.account,
            auth_token=options.token,
            test=options.test_credentials,
            life=_life(options),
            inbound_url=options.inbound_url,
            blocks=not options.no_blocks,
            advanced=options.advanced_opt_out,
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
    with ExitStack() as running:
        try:
            running.enter_context(server)
            ci360 = _ci360(options, int(server.url.rpartition(":")[2]))
            if ci360 is not None:
                running.enter_context(ci360.server)
        except OSError as exc:
            ports = f"port {options.port}{' and the next one' if options.ci360 else ''}"
            raise SettingsError(f"The twin cannot listen on {ports}.") from exc
        _explain(server.url, ci360.server.url if ci360 else "", options)
        stop.wait()
    print(f"{len(twin.messages)} messages were made.")
    if ci360 is not None:
        print(f"{len(ci360.twin.events)} events were taken by CI360.")
    return 0


class _Ci360(NamedTuple):
    twin: Ci360Twin
    server: Ci360Server


def _ci360(options: argparse.Namespace, port: int) -> _Ci360 | None:
    """Make CI360's twin, if it is asked for, next to Twilio's."""
    if not options.ci360:
        return None
    twin = Ci360Twin(
        tenants=dict.fromkeys(options.ci360, CI360_SECRET),
        clock=utc_now,
        published=options.publish,
        base=lambda: server.url,
    )
    # where any port will do for Twilio's, any will do for CI360's
    server = Ci360Server(twin, port=port + 1 if options.port and port < 65_535 else 0)
    return _Ci360(twin, server)


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


def _explain(url: str, ci360: str, options: argparse.Namespace) -> None:
    document = {
        "twilio_api_url": f"{url}/2010-04-01/Accounts/{options.account}/Messages.json",
        "twilio_account_sid": options.account,
        "twilio_auth_token": options.token,
        "default_sender": "+15005550006",
    }
    if ci360:
        document |= {
            "ci360_api_url": f"{ci360}/marketingGateway/events",
            "ci360_client_secret": CI360_SECRET,
        }
    print(f"Twilio's twin listens on {url}. It sends nothing to anybody.")
    print(f"Made messages: {url}/twin/messages")
    if _life(options) is not None:
        print(f"Delivered callbacks: {url}/twin/callbacks")
    if options.inbound_url:
        print("A customer's phone: ci360-twilio phone +12015550123")
    if ci360:
        print(f"CI360's twin listens on {ci360}. Events that it took: {ci360}/twin/events")
    print("\nA tenant's document for it (as <tenant id>.json in CI360_TWILIO_TENANTS):\n")
    print(json.dumps(document, indent=2))
    print(f"\nLet the connector call it: CI360_TWILIO_TWILIO_HOSTS={url.removeprefix('http://')}")
    if ci360:
        host = ci360.removeprefix("http://")
        print(f"                           CI360_TWILIO_CI360_HOSTS={host}")
        print(f"                           CI360_TWILIO_BULK_HOSTS={host}")
    print("Stop with Ctrl-C.", flush=True)
