"""A rehearsal tells what the launch will do: over random audiences, and with a count of our own beside."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import phonenumbers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.audience import TENANT, Workplace

from ci360_twilio.core.consent import Evidence, Sign, Source, Subject
from ci360_twilio.core.job import Job, State
from ci360_twilio.flow.chunks import DATA, METADATA, PARTS, one_by_one
from ci360_twilio.flow.rehearse import Report, Stage, Trial, limit_of, report_of
from ci360_twilio.flow.tally import Tally
from ci360_twilio.ports import Foreseen
from ci360_twilio.stores.memory import MemoryStore

LIMIT = 3
OUT = "+12015550001"
NUMBERS = st.one_of(
    st.integers(0, 12).map(lambda n: f"+1201555{n:04}"),
    st.sampled_from(
        ["(201) 555-0003", "12015550004", "+447700900123", "+49 1512 3456789", "", "12", "x", "+1"]
    ),
)
NAMES = st.sampled_from(
    ["Anna", "Zoë", "李", "TO:+12015550777;", "{{mobile}}", "a\nb", "\x07", "–"]
)
ROWS = st.lists(
    st.tuples(st.integers(0, 9).map(lambda n: f"id-{n}"), NAMES, NUMBERS).map(list), max_size=60
)
TEMPLATES = st.sampled_from(
    [
        {"to": "{{mobile}}", "body": "Hello {{first_name}}"},
        {"to": "{{mobile}}", "body": "Hello {{first_name}}, " * 8, "duplicates": "all"},
        {"creative": "TO:{{mobile}};FROM:+12015550177;\n{{first_name}} — welcome"},
        {"to": "{{MOBILE}}", "media_urls": "https://www.example.com/a.jpg", "body": "Hi"},
    ]
)


def rehearsed(place: Workplace, task: dict[str, Any], job: Job) -> tuple[Report, Tally]:
    """Rehearse a job by the files of its task; the ledger is asked and not written."""
    files = place.files
    for name, key in ((DATA, "dataFile"), (METADATA, "metadataFile")):
        with files.making(f"{job.folder}/{name}") as file:
            file.write(Path(task["presignedUrls"][key]).read_bytes())
    trial = Trial(place.store, Foreseen(knows_keys=False))
    chunks = place.make_chunks(one_by_one, trial, files)
    job = msgspec.structs.replace(job, columns=chunks.columns(job).names)
    checked, stage, tally = chunks.check(job), Stage(chunks, place.tenants, place.gates), Tally()
    for chunk in chunks.plan(job):
        tally.add(stage.tally(job, chunk))
    report = report_of(
        tally,
        kind="bulk",
        tenant=place.tenants.tenant,
        now=place.clock(),
        ttl=place.gates.ttl,
        pauses=[],
        checked=checked,
        limit=limit_of(job),
    )
    files.drop(f"{job.folder}/{PARTS}")
    return report, tally


def expected_recipients(
    rows: list[list[str]], parameters: dict[str, str], before: int
) -> Counter[str]:
    """Count who is to get how many messages, straight from the rows and the rules.

    Args:
        rows: of the audience.
        parameters: of the task.
        before: messages that the first number has had today.
    """
    had = Counter({"+12015550000": before})
    to: Counter[str] = Counter()
    seen: set[Any] = set()
    for identity, name, said in rows:
        spelled = "+" + said if said[:1].isdigit() and len(said) > 7 else said
        try:
            parsed = phonenumbers.parse(spelled, "US")
        except phonenumbers.NumberParseException:
            continue
        if not phonenumbers.is_possible_number(parsed) or (
            name == "\x07" and parameters.get("body") != "Hi"
        ):
            continue
        number = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
        if not number.startswith(("+1201555", "+447700900")):
            continue  # neither of the United States nor of the United Kingdom
        key: Any = (identity, number) if parameters.get("duplicates") == "all" else number
        if key in seen:
            continue
        seen.add(key)
        if number != OUT and had[number] < LIMIT:
            had[number] += 1
            to[number] += 1
    return to


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=ROWS, parameters=TEMPLATES, before=st.integers(0, LIMIT), limit=st.sampled_from([20, 100])
)
def test_a_rehearsal_equals_the_launch(
    rows: list[list[str]], parameters: dict[str, str], before: int, limit: int
) -> None:
    """Verdicts, recipients, segments and whether it stops at all are the same, and are right."""
    with tempfile.TemporaryDirectory() as folder:
        place = Workplace(
            Path(folder),
            MemoryStore(),
            messages_per_recipient_per_day=LIMIT,
            countries=["US", "GB"],
            default_region="US",
        )
        out = Evidence(
            sign=Sign.OUT, source=Source.PERSON, heard_at=place.clock(), dated_at=place.clock()
        )
        place.store.attest_many([(Subject(TENANT, OUT), out)], now=place.clock())
        earlier = [[f"before-{n}", "Anna", "+12015550000"] for n in range(before)]
        if earlier:
            every = {"to": "{{mobile}}", "body": "Earlier", "duplicates": "all"}
            place.run(place.task(earlier, parameters=every, occurrence="before"))
        sent_before = len(place.twin.messages)
        task = place.task(rows, parameters={**parameters, "bad_rows_limit": str(limit)})
        job = place.take(task).job
        entries_before = len(place.store.about(TENANT, recipients=["+12015550000"]).entries)
        report, _ = rehearsed(place, task, job)
        assert len(place.store.about(TENANT, recipients=["+12015550000"]).entries) == entries_before
        done = place.run(task)
        made = place.twin.messages[sent_before:]

        assert (report.would_stop is not None) == (done.state is State.FAILED)
        assert sum(report.verdicts.values()) == report.rows == len(rows)
        assert report.bad == done.bad
        if done.state is State.FAILED:
            assert report.would_stop is not None
            assert report.would_stop["reason"] == done.reason
            assert not made
            return
        live = Counter({("accepted" if n == "sent" else n): c for n, c in done.outcomes.items()})
        assert Counter(report.verdicts) == live
        assert report.sendable == len(made)
        assert report.segments == sum(one.segments for one in made)
        assert Counter(one.to for one in made) == expected_recipients(rows, parameters, before)
        assert {one["country"]: one["messages"] for one in report.countries} == Counter(
            "GB" if one.to.startswith("+44") else "US" for one in made
        )


def test_what_is_rehearsed_twice_is_told_twice(tmp_path: Path) -> None:
    """A rehearsal leaves nothing by which the next would differ."""
    place = Workplace(tmp_path, MemoryStore())
    rows = [[f"id-{n}", "Anna", f"+1201555{n:04}"] for n in range(50)]
    task = place.task(rows)
    job = place.take(task).job
    first, _ = rehearsed(place, task, job)
    second, _ = rehearsed(place, task, job)
    assert first.verdicts == second.verdicts == {"accepted": 50}
    place.run(task)
    third, _ = rehearsed(place, place.task(rows), job)
    assert third.verdicts == {"duplicate": 50}
