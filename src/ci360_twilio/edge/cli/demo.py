"""``demo``: the whole loop on this machine, with nothing set up: events, messages, replies, reports."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from ci360_twilio.core.ci360 import default_name
from ci360_twilio.core.entry import Entry, Key, Status, key_of
from ci360_twilio.core.inbound import Inbound, inbound_key
from ci360_twilio.core.outcome import EXTERNAL_CODE
from ci360_twilio.core.reasons import in_words
from ci360_twilio.edge.cli.demo_stage import SENDER, TENANT, Stage, stage
from ci360_twilio.edge.cli.screen import table
from ci360_twilio.ports import InboundQuery
from ci360_twilio.twin.ci360 import TakenEvent
from ci360_twilio.twin.events import outbound_body
from ci360_twilio.twin.faults import Fault
from ci360_twilio.wiring import utc_now

ANNA = "+12015550101"
TEXT = "Anna, thank you for registering; see you on Thursday!"


class Scene(NamedTuple):
    """One event that is played."""

    title: str
    recipient: str
    creative: str
    age: timedelta = timedelta(seconds=2)
    faults: tuple[Fault, ...] = ()
    control_group: bool = False
    repeats: int | None = None
    """The number of the scene whose event comes again."""


class Row(NamedTuple):
    """One line of the story: what happens, what is answered, and the document that keeps it."""

    title: str
    answer: str
    key: Key
    recipient: str = ""


EVENTS = (
    Scene("A customer registers", ANNA, f"TO:{ANNA};\nFROM:{SENDER};\n{TEXT}"),
    Scene("CI360 delivers the same event again", ANNA, "", repeats=0),
    Scene(
        "A message with a picture",
        "+12015550102",
        "TO:+1 (201) 555-0102;\nMEDIAL_URLS:https://www.example.com/map.png;\nHere is your way.",
    ),
    Scene(
        "An event that is two days old",
        "+12015550103",
        "TO:+12015550103;\nOnly today!",
        age=timedelta(days=2),
    ),
    Scene("A creative without its semicolon", "+12015550104", "TO:+12015550104\nHello there"),
    Scene("A customer without a first name", "+12015550105", "TO:+12015550105;\nHi {{firstname}}!"),
    Scene(
        "A customer of the control group",
        "+12015550106",
        "TO:+12015550106;\nHi!",
        control_group=True,
    ),
    Scene(
        "Twilio is busy twice (429)",
        "+12015550107",
        "TO:+12015550107;\nIt took three attempts, and you get one message.",
        faults=(Fault.HTTP_429, Fault.HTTP_429),
    ),
    Scene(
        "Twilio takes it and its answer is lost",
        "+12015550108",
        "TO:+12015550108;\nNobody may send this a second time.",
        faults=(Fault.RESET,),
    ),
)
"""They come at one time."""
QUESTION = "Is there parking, too?"
AFTER_STOP = Scene("The next event for her", ANNA, f"TO:{ANNA};\nDo not forget: Thursday!")
AFTER_START = Scene("Another event for her", ANNA, f"TO:{ANNA};\nGlad that you are back.")


def add_demo(command: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Declare ``demo``."""
    command.epilog = (
        "Starts a server with its worker, a ledger in a temporary folder, and look-alikes of "
        "Twilio and CI360, all on loopback; plays events and replies at them; and cleans up."
    )
    return _demo


def _demo(_options: argparse.Namespace) -> int:
    print("Starting the connector, its ledger, and look-alikes of Twilio and CI360 here ...")
    with (
        tempfile.TemporaryDirectory(prefix="ci360-twilio-demo-") as folder,
        stage(Path(folder)) as on,
    ):
        rows = [*_play_events(on), *_play_replies(on)]
        keys = [row.key for row in rows]
        on.until(lambda: all(_is_told(one) for one in _documents(on, keys).values()))
        documents, told = _documents(on, keys), on.ci360.events
        made = [message.to for message in on.twilio.messages]
    _print_story(rows, documents, told)
    events = {row.key for row in rows if row.recipient}
    sent = [one for one in documents.values() if isinstance(one, Entry) and one.sid]
    good = len(sent) == len(made) and all(_is_told(one) for one in documents.values())
    once = "at most one message for each" if good else "NOT ONE MESSAGE FOR EACH"
    print(
        f"\n{len(events)} events, {len(made)} messages: {once}; {len(told)} outcomes told to CI360."
    )
    print("Next: make a creative of your own and try `ci360-twilio preview`, or read the README.")
    return 0 if good and len(documents) == len({*keys}) else 1


def _play_events(on: Stage) -> list[Row]:
    """Have CI360 post the events, and wait until each has come as far as it can."""
    rows: list[Row] = []
    bodies: list[bytes] = []
    for scene in EVENTS:
        if scene.repeats is not None:
            known = rows[scene.repeats]
            bodies.append(bodies[scene.repeats])
            rows.append(known._replace(title=scene.title, answer=on.post(bodies[-1])))
        else:
            on.faults.for_recipient(scene.recipient, scene.faults)
            row, body = _post(on, scene)
            rows.append(row)
            bodies.append(body)
    on.until(lambda: all(_has_ended(one) for one in _documents(on, [r.key for r in rows]).values()))
    return rows


def _play_replies(on: Stage) -> list[Row]:
    """Have a customer reply, say STOP and START, and be written to after each."""
    rows = [_write(on, "She writes back", QUESTION), _write(on, "She writes STOP", "STOP")]
    rows.append(_post(on, AFTER_STOP)[0])
    time.sleep(1.1)  # Twilio's dates are whole seconds: a START of the same second is no later
    rows.append(_write(on, "She writes START", "START"))
    row = _post(on, AFTER_START)[0]
    on.until(lambda: all(_has_ended(one) for one in _documents(on, [row.key]).values()))
    return [*rows, row]


def _post(on: Stage, scene: Scene) -> tuple[Row, bytes]:
    guid = str(uuid.uuid4())
    body = outbound_body(
        guid=guid,
        tenant_id=TENANT,
        creative=scene.creative,
        generated_at=utc_now() - scene.age,
        control_group=scene.control_group,
    )
    return Row(scene.title, on.post(body), key_of(TENANT, guid), scene.recipient), body


def _write(on: Stage, title: str, text: str) -> Row:
    """Have the customer write, and wait until that is heard."""
    sid = on.write(ANNA, text)
    on.until(lambda: on.store.find_inbound(InboundQuery(sid=sid)))
    return Row(title, "200", inbound_key(TENANT, sid))


def _documents(on: Stage, keys: Iterable[Key]) -> dict[Key, Entry | Inbound]:
    wanted = {*keys}
    entries = [one for one in on.store.get_many(list(wanted)) if one is not None]
    letters = on.store.find_inbound(InboundQuery(tenant_id=TENANT))
    documents: list[Entry | Inbound] = [*entries, *letters]
    return {one.key: one for one in documents if one.key in wanted}


def _has_ended(one: Entry | Inbound) -> bool:
    return isinstance(one, Inbound) or (one.finished and one.status is not Status.SENT)


def _is_told(one: Entry | Inbound) -> bool:
    return bool(one.reports) and all(report.state == "told" for report in one.reports)


def _print_story(
    rows: list[Row],
    documents: dict[Key, Entry | Inbound],
    told: tuple[TakenEvent, ...],
) -> None:
    head = ("WHAT HAPPENS", "ANSWER", "OUTCOME", "MESSAGES", "TOLD TO CI360")
    print("What became of each:\n")
    print(table(head, [_line(row, documents.get(row.key)) for row in rows]))
    print("\nWhy:")
    for number, row in enumerate(rows):
        one = documents.get(row.key)
        if row.key in (other.key for other in rows[:number]):
            continue
        if isinstance(one, Entry) and one.reason and not one.sid:
            print(f"  {row.title}: {in_words(one)}")
            for _, words in one.problems:
                print(f"    {words}")
    reply = next((one for one in told if one.attributes.get("twilio_text") == QUESTION), None)
    if reply is not None:
        print("\nCI360 gets each outcome as an external event, such as this one:")
        kind, value = reply.identity
        shown = {"eventName": reply.name, kind: value, **reply.attributes}
        wanted = (*("eventName", kind, "responseTrackingCode", EXTERNAL_CODE), "twilio_text")
        print(f"  {json.dumps({name: shown.get(name) for name in wanted})}")


def _line(row: Row, one: Entry | Inbound | None) -> tuple[object, ...]:
    if one is None:
        return row.title, row.answer, "missing", "", ""
    names = ", ".join(f"{default_name(report.outcome)}" for report in one.reports)
    if isinstance(one, Inbound):
        return row.title, row.answer, _WISHES.get(one.wish.value, "a reply"), "", names
    more = f"{one.attempts} attempts" if one.attempts > 1 else "" if one.sid else one.reason
    outcome = f"{one.status}, {more}" if more and more != one.status else one.status
    return row.title, row.answer, outcome, 1 if one.sid else 0, names


_WISHES = {"out": "opted out", "in": "opted in"}
