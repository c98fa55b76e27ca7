"""Contact preferences in CI360's twin: the jobs that bring them there, and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ci360_twilio.twin.ci360 import EXPORT, IMPORT, Ci360Twin, Preference, Refusal

if TYPE_CHECKING:
    from tests.conftest import SetClock

TENANT = "demo"
FIRST, SECOND, THIRD = "+12015550101", "+12015550102", "+12015550103"
HEAD = "identity_type,identity_value,preference_type,preference_value"


class Desk:
    """A twin, and what a tenant asks of it."""

    def __init__(self, clock: SetClock) -> None:
        self.twin = Ci360Twin(
            tenants={TENANT: "x", "other": "y"}, clock=clock, base=lambda: "http://127.0.0.1:8361"
        )

    def put(self, file: str | bytes) -> str:
        """Put a file; gives its address."""
        address = self.twin.hand_out(TENANT, "preferences")
        self.twin.put(token_of(address), file if isinstance(file, bytes) else file.encode())
        return address

    def start(self, kind: object, **members: Any) -> str:
        """Start a job; gives its id."""
        order = json.dumps({"jobType": kind} | members).encode()
        body = self.twin.start_job(TENANT, order).body
        assert body is not None
        return str(body["id"])

    def ask(self, job: str) -> dict[str, Any]:
        """Ask for a job."""
        body = self.twin.ask_job(TENANT, job).body
        assert body is not None
        assert body["id"] == job
        return body

    def imported(self, file: str | bytes, *, head: bool = True) -> dict[str, Any]:
        """Have a file taken over; gives what CI360 says in the end."""
        job = self.start(IMPORT, fileLocation=self.put(file), headerRowIncluded=head)
        return [self.ask(job) for _ in range(4)][-1]

    def exported(self, **members: Any) -> dict[str, str]:
        """Have all wishes written; gives the files by their path."""
        job = self.start(EXPORT, **members)
        items = [self.ask(job) for _ in range(3)][-1]["downloadItemList"]
        files = {}
        for item in items:
            content = self.twin.fetch(token_of(item["url"])).content
            assert content is not None
            files[item["path"]] = content.decode()
        return files


def token_of(address: str) -> str:
    """Give the token in an address that was handed out."""
    return address.partition("/files/")[2].partition("?")[0]


@pytest.fixture
def desk(clock: SetClock) -> Desk:
    """A twin on a morning in March 2026."""
    return Desk(clock)


def refused(desk: Desk, body: bytes) -> int:
    """Give the status with which a job is refused."""
    with pytest.raises(Refusal) as caught:
        desk.twin.start_job(TENANT, body)
    return caught.value.answer.status


# Taking over


@pytest.mark.parametrize("head", [True, False])
def test_a_file_of_wishes_is_taken_over(desk: Desk, clock: SetClock, head: bool) -> None:
    """With a head or without one, as the order says; also of single programs."""
    rows = f"sms_id,{FIRST},OPT-OUT,true\nsms_id,{SECOND},SPRING@OPT-OUT,false\n"
    assert desk.imported(f"{HEAD}\n{rows}" if head else rows, head=head)["status"] == "Imported"
    assert desk.twin.preferences == {
        FIRST: Preference(opted_out=True, source="IMPORT", at=clock.now),
        SECOND: Preference(opted_out=False, source="IMPORT", at=clock.now),
    }


def test_a_later_wish_replaces_an_earlier_one(desk: Desk) -> None:
    """Of the same number alone."""
    desk.twin.prefer(FIRST, opted_out=False)
    desk.twin.prefer(SECOND, opted_out=False)
    desk.imported(f"sms_id,{FIRST},OPT-OUT,true\n", head=False)
    known = {number: one.opted_out for number, one in desk.twin.preferences.items()}
    assert known == {FIRST: True, SECOND: False}


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (f"sms_id,{FIRST},OPT-OUT\n", "row 1 "),
        (f"sms_id,{FIRST},OPT-OUT,true,more\n", "row 1 "),
        (f"email_id,{FIRST},OPT-OUT,true\n", "row 1 "),
        (f"sms_id,{FIRST},OPT-IN,true\n", "row 1 "),
        (f"sms_id,{FIRST},OPT-OUT,TRUE\n", "row 1 "),
        (f"sms_id,{FIRST},OPT-OUT,true\nsms_id,{SECOND},OPT-OUT,yes\n", "row 2 "),
        (f"sms_id,{FIRST},OPT-OUT,true\n\n", "row 2 "),
        (f"{HEAD}\nsms_id,{FIRST},OPT-OUT,true\n", "row 1 "),
        (b"\xff\xfe", "cannot be read"),
        (b"sms_id,a\rb", "cannot be read"),
        ("x" * 200_000, "cannot be read"),
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_of_a_file_with_one_bad_row_nothing_is_taken_over(
    desk: Desk, file: str | bytes, words: str
) -> None:
    """The job says which, when it has come so far."""
    said = desk.imported(file, head=False)
    assert said["status"] == "Failed Validation"
    assert words in said["statusDescription"]
    assert desk.twin.preferences == {}


@pytest.mark.parametrize(
    "location", ["", "x", 7, None, f"http://127.0.0.1:8361/files/{'0' * 32}", "/files/../x"]
)
def test_nothing_is_taken_over_from_where_nothing_was_put(desk: Desk, location: object) -> None:
    """An address that was handed out is not a file yet, either."""
    handed_out = desk.twin.hand_out(TENANT, "preferences")
    for address in (location, handed_out):
        order = json.dumps({"jobType": IMPORT, "fileLocation": address}).encode()
        assert refused(desk, order) == 400


# Giving out


def test_wishes_are_written_in_parts_with_a_head_of_their_own(desk: Desk) -> None:
    """Source and time only where they are asked for."""
    for number in (FIRST, SECOND, THIRD):
        desk.twin.prefer(number, opted_out=number == SECOND)
    assert desk.exported() == {
        "preferences_header.csv": f"{HEAD}\n",
        "part-00000.csv": f"sms_id,{FIRST},OPT-OUT,false\nsms_id,{SECOND},OPT-OUT,true\n",
        "part-00001.csv": f"sms_id,{THIRD},OPT-OUT,false\n",
    }
    dated = desk.exported(includeSourceAndTimestamp=True)
    assert dated["preferences_header.csv"] == f"{HEAD},source,timestamp\n"
    assert dated["part-00001.csv"] == f"sms_id,{THIRD},OPT-OUT,false,CI360,2026-03-02T09:30:00Z\n"


@pytest.mark.parametrize("number", [0, 1])
def test_parts_that_are_empty_are_not_there(desk: Desk, number: int) -> None:
    """The head always is."""
    for one in (FIRST, SECOND)[:number]:
        desk.twin.prefer(one, opted_out=True)
    assert len(desk.exported()) == 1 + number


def test_an_export_holds_what_was_known_when_it_began(desk: Desk) -> None:
    """What comes later is in the next one."""
    job = desk.start(EXPORT)
    desk.twin.prefer(FIRST, opted_out=True)
    said = [desk.ask(job) for _ in range(3)][-1]
    assert len(said["downloadItemList"]) == 1


# Jobs


@pytest.mark.parametrize(
    ("kind", "stages"),
    [
        (IMPORT, ["Queued", "Processing Identities", "Processing Preferences", "Imported"]),
        (EXPORT, ["PROCESSING", "PROCESSING", "EXPORTED"]),
    ],
)
def test_a_job_gets_on_each_time_it_is_asked_for(desk: Desk, kind: str, stages: list[str]) -> None:
    """And stays where it has ended."""
    job = desk.start(kind, fileLocation=desk.put(""))
    assert [desk.ask(job)["status"] for _ in range(len(stages) + 2)] == [*stages, *stages[-1:] * 2]


def test_a_job_is_its_tenants_alone(desk: Desk) -> None:
    """Others do not learn that there is one."""
    job = desk.start(EXPORT)
    for tenant, number in (("other", job), (TENANT, "0" * 16), (TENANT, "")):
        with pytest.raises(Refusal) as caught:
            desk.twin.ask_job(tenant, number)
        assert caught.value.answer.status == 404


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b"null", b"\xff", b"[" * 100_000, b'{"jobType":null}', b'{"jobType":7}',
     b'{"jobType":["x"]}', b'{"jobType":{}}', b'{"jobType":"GDPR_DELETE"}', b'{"jobtype":"X"}'],
    ids=lambda body: ascii(body)[:40],
)  # fmt: skip
def test_other_jobs_are_not_there(desk: Desk, body: bytes) -> None:
    """The twin says so."""
    assert refused(desk, body) == 400
