"""What is billed for a thousand messages, in Lambda's emulator: invocations' durations, as it reports them.

Twilio takes 100 ms, each request to AWS 5 ms; sizes of memory are the same on both sides. The reference sends
one message an invocation and does nothing else: no ledger, no receipts, no reports.
"""

import math
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.cloud.emulator import Emulated

from bench.child import BenchFailed
from bench.event import ACCOUNT, AUTH_TOKEN, TENANT
from bench.figure import Figure
from bench.lambdas import (
    DELIVER,
    PUBLIC_URL,
    RECEIVE,
    SAMPLE,
    WEBHOOK,
    Lambdas,
    gateway_request,
)
from bench.plan import Plan
from ci360_twilio.core.signature import signed

TWILIO_MS = 100.0
THOUSAND = 1_000
"""Messages that figures are given for."""
BATCH = 100
"""Keys in a batch of the queue, as the template has it."""


def bench_billed(folder: Path, plan: Plan) -> list[Figure]:
    """Measure warm instances, in turn."""
    taken: dict[str, list[float]] = {
        name: [] for name in ("sample", "deliver", "receive", "webhook")
    }
    with Lambdas(folder, twilio_ms=TWILIO_MS) as world:
        functions = [world.instance(one) for one in (SAMPLE, RECEIVE, DELIVER, WEBHOOK)]
        sample, receive, deliver, webhook = functions
        try:
            for number in range(plan.billed_rounds + 1):
                events = [world.event() for _ in range(BATCH)]
                figures = {
                    "sample": _per_thousand(
                        sample, [world.request() for _ in range(plan.billed_sample)]
                    ),
                    "receive": _per_thousand(receive, [world.request(one) for one in events]),
                    "deliver": _per_thousand(deliver, [_batch(events)], BATCH),
                    "webhook": _per_thousand(webhook, [_receipt(one) for one in world.sent(BATCH)]),
                }
                if number:  # what starts is no part of this
                    for name, figure in figures.items():
                        taken[name].append(figure)
        finally:
            for one in functions:
                one.stop()
    path = [sum(pair) for pair in zip(taken["receive"], taken["deliver"], strict=True)]
    return [
        _figure("deliver", taken["deliver"], taken["sample"], "<= 10 %"),
        _figure("receive", taken["receive"], taken["sample"]),
        _figure("receive and deliver", path, taken["sample"], "<= 33 %"),
        _figure("webhook, for each status", taken["webhook"], taken["sample"]),
    ]


def _figure(name: str, taken: list[float], sample: list[float], goal: str = "") -> Figure:
    return Figure(
        name=f"billed for 1,000 messages, {name}",
        unit="s",
        product=tuple(taken),
        reference=tuple(sample),
        goal=goal,
    )


def _per_thousand(instance: Emulated, events: list[Any], each: int = 1) -> float:
    """Invoke with each event; gives the seconds that a thousand messages would be billed."""
    before = len(instance.billed())
    for event in events:
        answer = instance.invoke(event)
        if answer.get("statusCode", 200) >= 300 or answer.get("batchItemFailures"):
            raise BenchFailed(f"a function answered {answer}")
    billed = sum(math.ceil(one.ms) for one in instance.billed()[before:])
    return billed * THOUSAND / (len(events) * each) / 1000


def _batch(events: list[dict[str, Any]]) -> dict[str, Any]:
    keys = [f"{TENANT}/{one['guid']}" for one in events]
    return {"Records": [{"messageId": str(n), "body": key} for n, key in enumerate(keys)]}


def _receipt(sent: dict[str, str]) -> dict[str, object]:
    """Give the callback that tells that a message was delivered."""
    form = {"MessageSid": sent["sid"], "MessageStatus": "delivered", "AccountSid": ACCOUNT}
    callback = sent["callback"].partition("#")[0]  # what follows is for Twilio alone
    address, query = callback.split("?", 1)
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Twilio-Signature": signed(callback, list(form.items()), AUTH_TOKEN),
    }
    return gateway_request(urlencode(form), address.removeprefix(PUBLIC_URL), query, **headers)
