"""How fast a bulk job's rows are checked and written to the ledger, and that their number costs no memory."""

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from bench.child import BenchFailed, free_port, last_lines
from bench.event import TENANT
from bench.figure import Figure
from bench.plan import Plan
from bench.proc import family, memory_of, peak_of
from bench.product import HASH_KEY, Installation, command
from ci360_twilio.clients.files import FolderFiles
from ci360_twilio.core.event import Origin
from ci360_twilio.core.job import Job, State
from ci360_twilio.core.tenant import TenantId
from ci360_twilio.flow.chunks import DATA, METADATA
from ci360_twilio.flow.intake import chore_of
from ci360_twilio.stores.sqlite import SqliteStore

COLUMNS = "identity_id,first_name,mobile_phone,city_"
BODY = (
    "Hello {{first_name}}, your appointment in {{city}} is tomorrow at 10:30. Reply C to confirm."
)
_NUMBERS = 6_400_000_000
_SCRAMBLE = 3_999_999_979
"""Shares no factor with how many numbers there are, so that none comes twice and they are in no order."""


class Entered(msgspec.Struct, frozen=True, kw_only=True):
    """One job's way into the ledger."""

    checked: float
    """Seconds until the whole file was checked."""
    entered: float
    """Seconds until every row was in the ledger."""
    mebibytes: float
    """Memory of all processes that worked on it, at the most."""


def bench_bulk(folder: Path, plan: Plan) -> list[Figure]:
    """Take the figures of jobs of growing size, each in a ledger of its own."""
    figures: list[Figure] = []
    for rows in plan.bulk_rows:
        one = _entered(folder / str(rows), rows)
        print(
            f"  {rows:,} rows: checked in {one.checked:.1f} s, entered in {one.entered:.1f} s,"
            f" {one.mebibytes:.0f} MiB",
            file=sys.stderr,
        )
        name = f"bulk job of {rows:,} rows, checked and written"
        figures += [
            Figure(name=name, unit="rows/s", product=(rows / one.entered,), goal="> 10,000"),
            Figure(name="  of that the check", unit="s", product=(one.checked,)),
            Figure(
                name="  memory of all processes at the most",
                unit="MiB",
                product=(one.mebibytes,),
                goal="< 150",
            ),
        ]
    return [*figures, _rehearsal(folder / "rehearsal", plan.rehearsal_rows)]


def _rehearsal(folder: Path, rows: int) -> Figure:
    """Time a rehearsal of a creative with a file of customers."""
    product = Installation(folder, free_port())
    creative, audience = folder / "creative.txt", folder / "audience.csv"
    creative.write_text("TO:{{mobile_phone}};\n" + BODY)
    with audience.open("w") as file:
        file.write(f"{COLUMNS}\n")
        file.writelines(audience_line(row) for row in range(rows))
    whole = [*command(), "rehearse", "--creative", str(creative), "--audience", str(audience)]
    begun = time.monotonic()
    done = subprocess.run(
        [*whole, "--tenant", TENANT, "--json"],
        env=product.environment(),
        capture_output=True,
        check=False,
    )
    seconds = time.monotonic() - begun
    if done.returncode or msgspec.json.decode(done.stdout)["rows"] != rows:
        raise BenchFailed(f"the rehearsal ended: {done.stderr.decode()[-500:]}")
    return Figure(name=f"rehearsal of {rows:,} rows", unit="s", product=(seconds,), goal="< 20 s")


def audience_line(row: int) -> str:
    """Give a row of a data file: a customer with a number of their own, in no order."""
    area, rest = divmod(row * _SCRAMBLE % _NUMBERS, 10_000_000)
    return f"{row:08x}-5a1d-4c3e-9b2f-{row * 7919:012x},Robin{row % 977},+1{201 + area}{2_000_000 + rest % 7_999_999:07},Cary\n"


def _entered(folder: Path, rows: int) -> Entered:
    product = Installation(folder, free_port())
    store = SqliteStore(product.ledger, hash_key=HASH_KEY)
    now = datetime.now(UTC)
    job = Job(
        id="0123456789abcdef",
        tenant_id=TenantId(TENANT),
        occurrence_id="11111111-2222-3333-4444-555555555555",
        state=State.CHECKING,
        created_at=now,
        updated_at=now,
        purge_at=now + timedelta(days=90),
        origin=Origin(
            event_name="SMS Bulk",
            task_id="66666666-7777-8888-9999-000000000000",
            task_version_id="uWSsvAvdAMf4alp39tWWxsSpM7Gmjd1H",
            task_code="TSK_539",
            response_tracking_code="aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
        ),
        parameters={"to": "{{mobile_phone}}", "body": BODY},
    )
    files = FolderFiles(product.ledger.with_name(f"{product.ledger.name}.jobs"))
    with files.making(f"{job.folder}/{METADATA}") as file:
        file.write(COLUMNS.encode())
    with files.making(f"{job.folder}/{DATA}") as file:
        for row in range(rows):
            file.write(audience_line(row).encode())
    store.add_job(job)
    store.add_chores([chore_of(job.key)], due_at=now)
    try:
        return _watched(product, store, job)
    finally:
        store.close()


def _watched(product: Installation, store: SqliteStore, job: Job) -> Entered:
    """Have the product work on a job until all of it is entered, and watch it."""
    log = product.folder / "jobs.log"
    whole = [*command(), "jobs", "work", "--supervised"]
    begun = time.monotonic()
    checked = most = 0.0
    with log.open("ab") as out:
        process = subprocess.Popen(
            whole, stdin=subprocess.PIPE, stdout=out, stderr=out, env=product.environment()
        )
        try:
            while True:
                time.sleep(0.05)
                most = max(most, float(memory_of(process.pid).resident))
                now = store.job(job.key) or job
                if now.state is State.RUNNING and not checked:
                    checked = time.monotonic() - begun
                if now.chunks and now.entered == now.chunks:
                    break
                if now.ended or process.poll() is not None:
                    raise BenchFailed(f"the job ended: {now.words}\n{last_lines(log)}")
            entered = time.monotonic() - begun
            peaks = sum(map(peak_of, family(process.pid)))
        finally:
            if process.stdin:
                process.stdin.close()
            process.wait(60)
    return Entered(checked=checked, entered=entered, mebibytes=max(most, float(peaks)) / 1024)
