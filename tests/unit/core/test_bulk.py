"""Bulk tasks: what is read out of CI360's body, and what of it is wrong."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci360_twilio.core.bulk import MAX_OCCURRENCE, BulkPayload, parse_bulk_payload, parse_job
from ci360_twilio.core.event import Origin
from ci360_twilio.core.job import Job, State, job_id
from ci360_twilio.core.message import DEFAULT_NAMES, AttributeNames
from ci360_twilio.core.tenant import Tenant, TenantId, parse_tenant
from ci360_twilio.errors import Issue, NotJson, Unprocessable

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
TTL = timedelta(days=1)
SENDER = "+12015550100"
DATA = "https://bucket.s3.amazonaws.com/data.csv?X-Amz-Signature=aa"
METADATA = "https://bucket.s3.amazonaws.com/metadata.csv?X-Amz-Signature=bb"
PARAMETERS = {"to": "{{mobile}}", "from": SENDER, "body": "Hi {{name}}!"}
LEAST: dict[str, Any] = {
    "externalTenantId": "demo",
    "occurrenceId": "occ-1",
    "presignedUrls": {"dataFile": DATA, "metadataFile": METADATA},
    "sendParameters": PARAMETERS,
}
WHOLE = LEAST | {
    "taskId": "t-1",
    "taskVersionId": "v-1",
    "taskCode": "TSK_1",
    "taskName": "March",
    "outboundEventName": "Bulk SMS",
    "responseTrackingCode": "rtc-1",
    "contactPolicyProductId": None,
    "other": {"a": [1, 2.5]},
}


def tenant(**members: Any) -> Tenant:
    """Give a tenant; members as its document has them."""
    least = {
        "twilio_api_url": "https://api.twilio.com",
        "twilio_account_sid": f"AC{'a1' * 16}",
        "twilio_auth_token": "a-token",
    }
    return parse_tenant(json.dumps(least | members), TenantId("demo"))


def read(
    members: dict[str, Any],
    of: Tenant | None = None,
    *,
    default_sender: str | None = None,
    names: AttributeNames = DEFAULT_NAMES,
) -> tuple[Job, list[tuple[str, str]]]:
    """Read a task from its members, through JSON; what is wrong by field."""
    payload = parse_bulk_payload(json.dumps(members).encode())
    assert payload is not None
    job, issues = parse_job(
        payload, of or tenant(), NOW, TTL, default_sender=default_sender, names=names
    )
    return job, [(issue.field, str(issue)) for issue in issues]


def job(**changes: Any) -> Job:
    """Read the least task with changes; nothing is wrong with it."""
    made, issues = read(LEAST | changes)
    assert issues == []
    return made


def issues(**changes: Any) -> list[tuple[str, str]]:
    """Tell what is wrong with the least task with changes."""
    return read(LEAST | changes)[1]


def without(*names: str) -> dict[str, Any]:
    """Give the least task without some members."""
    return {name: value for name, value in LEAST.items() if name not in names}


# The body


@pytest.mark.parametrize("body", [b"", b"{}", b" {\n} "])
def test_an_empty_body_is_the_endpoints_test(body: bytes) -> None:
    """As with single events."""
    assert parse_bulk_payload(body) is None


@pytest.mark.parametrize("body", [b"[]", b"null", b"{", b'{"occurrenceId":"o"} x', b"a=b", b"\xff"])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    """As with single events."""
    with pytest.raises(NotJson):
        parse_bulk_payload(body)


def test_members_are_taken_as_they_come() -> None:
    """What they are is looked at later; unknown ones are none."""
    assert parse_bulk_payload(b'{"other": 1}') == BulkPayload()
    found = parse_bulk_payload(b'{"occurrenceId": 5, "presignedUrls": [null]}')
    assert found == BulkPayload(occurrence_id=5, urls=[None])


# A task


def test_a_task_becomes_a_job() -> None:
    """All that is known of it is in it; nothing has happened yet."""
    assert job(**WHOLE) == Job(
        id=job_id("occ-1", "v-1"),
        tenant_id=TenantId("demo"),
        occurrence_id="occ-1",
        state=State.RECEIVED,
        created_at=NOW,
        updated_at=NOW,
        purge_at=NOW + timedelta(days=90),
        origin=Origin(
            event_name="Bulk SMS",
            task_id="t-1",
            task_version_id="v-1",
            task_code="TSK_1",
            response_tracking_code="rtc-1",
        ),
        task_name="March",
        parameters=PARAMETERS,
        data_url=DATA,
        metadata_url=METADATA,
    )


def test_a_task_needs_little() -> None:
    """Its occurrence, its files, and what is sent."""
    assert job() == Job(
        id=job_id("occ-1", None),
        tenant_id=TenantId("demo"),
        occurrence_id="occ-1",
        state=State.RECEIVED,
        created_at=NOW,
        updated_at=NOW,
        purge_at=NOW + timedelta(days=90),
        parameters=PARAMETERS,
        data_url=DATA,
        metadata_url=METADATA,
    )


@pytest.mark.parametrize(
    ("days", "ttl", "purged"), [(30, 1, 30), (0.5, 1, 1), (0.5, 7, 7), (90, 7, 90)]
)
def test_a_job_is_kept_as_long_as_its_messages(days: float, ttl: float, purged: float) -> None:
    """As the tenant says, but not shorter than they may be sent."""
    payload = parse_bulk_payload(json.dumps(LEAST).encode())
    assert payload is not None
    of = tenant(retention_days=days)
    made, _ = parse_job(payload, of, NOW, timedelta(days=ttl), names=DEFAULT_NAMES)
    assert made.purge_at == NOW + timedelta(days=purged)


def test_the_tenant_is_the_one_that_was_let_in() -> None:
    """What the body says of it was looked at before."""
    assert job(externalTenantId="other").tenant_id == "demo"


@pytest.mark.parametrize("value", [None, "", 5, True, [], {}, "x" * (MAX_OCCURRENCE + 1)])
def test_a_task_without_an_occurrence_cannot_be_written_down(value: object) -> None:
    """There is no name for the job; all else that is wrong does not matter then."""
    with pytest.raises(Unprocessable, match="no usable occurrenceId") as caught:
        read({"occurrenceId": value})
    words = "must be a string of 1 to 256 characters"
    assert caught.value.issues == (Issue("occurrenceId", words),)
    assert caught.value.issues[0].field == "occurrenceId"


def test_a_task_without_the_member_has_no_occurrence_either() -> None:
    """As with an empty one; a long one is no harm up to its limit."""
    with pytest.raises(Unprocessable):
        read(without("occurrenceId"))
    assert job(occurrenceId="x" * MAX_OCCURRENCE).occurrence_id == "x" * MAX_OCCURRENCE


# Its files


@pytest.mark.parametrize(
    "members",
    [
        {"presignedUrls": {"dataFile": DATA, "metadataFile": METADATA}},
        {"dataFile": DATA, "metadataFile": METADATA},
        {"presignedUrls": None, "dataFile": DATA, "metadataFile": METADATA},
        {"presignedUrls": "", "dataFile": DATA, "metadataFile": METADATA},
        {"presignedUrls": {"dataFile": DATA}, "metadataFile": METADATA},
        {"presignedUrls": {"metadataFile": METADATA, "dataFile": ""}, "dataFile": DATA},
        {"presignedUrls": {"dataFile": DATA, "metadataFile": None}, "metadataFile": METADATA},
        {
            "presignedUrls": {"dataFile": DATA, "metadataFile": METADATA},
            "dataFile": "https://example.com/other",
            "metadataFile": 5,
        },
    ],
)
def test_files_are_found_wherever_they_are_told(members: dict[str, Any]) -> None:
    """Among the signed addresses or at the top; the former win."""
    made, wrong = read(without("presignedUrls") | members)
    assert (made.data_url, made.metadata_url, wrong) == (DATA, METADATA, [])


@pytest.mark.parametrize("urls", [None, "", {}, {"dataFile": None, "metadataFile": ""}])
def test_both_files_are_needed(urls: object) -> None:
    """Which one is missing is told by its usual place."""
    both = [
        ("presignedUrls.dataFile", "is missing"),
        ("presignedUrls.metadataFile", "is missing"),
    ]
    assert issues(presignedUrls=urls) == both
    assert read(without("presignedUrls"))[1] == both
    assert issues(presignedUrls=urls, dataFile=DATA) == both[1:]
    assert issues(presignedUrls=urls, metadataFile=METADATA) == both[:1]


# What is wrong


@pytest.mark.parametrize("value", [5, 2.5, True, ["a"], {"a": "b"}])
@pytest.mark.parametrize(
    "name", ["taskId", "taskVersionId", "outboundEventName", "responseTrackingCode"]
)
def test_a_member_of_another_type_is_told(name: str, value: object) -> None:
    """By its name; the job is made all the same, so that it can be written down."""
    made, wrong = read(WHOLE | {name: value})
    assert wrong == [(name, "must be a string")]
    assert (made.occurrence_id, made.state) == ("occ-1", State.RECEIVED)


@pytest.mark.parametrize("value", [5, True, "x", ["a"]])
def test_members_that_are_no_objects_are_told(value: object) -> None:
    """With what is missing for it, as far as that tells more."""
    assert issues(presignedUrls=value) == [("presignedUrls", "must be an object")]
    found = issues(sendParameters=value)
    assert found[0] == ("sendParameters", "must be an object")
    assert [name for name, _ in found[1:]] == [
        "sendParameters.to",
        "sendParameters.from",
        "sendParameters.body",
    ]


@pytest.mark.parametrize("value", [5, True, ["a"], {"a": "b"}])
@pytest.mark.parametrize("name", ["dataFile", "metadataFile"])
def test_an_address_of_another_type_is_told(name: str, value: object) -> None:
    """Wherever it stands."""
    wrong = [(f"presignedUrls.{name}", "must be a string")]
    assert issues(presignedUrls={**LEAST["presignedUrls"], name: value}) == wrong
    urls = {one: url for one, url in LEAST["presignedUrls"].items() if one != name}
    assert issues(presignedUrls=urls, **{name: value}) == wrong


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        (
            {"taskVersionId": 5, "presignedUrls": None},
            {"taskVersionId", "presignedUrls.dataFile", "presignedUrls.metadataFile"},
        ),
        (
            {"presignedUrls": {"dataFile": 5}},
            {"presignedUrls.dataFile", "presignedUrls.metadataFile"},
        ),
    ],
)
def test_files_that_are_missing_are_told_with_all_else(
    changes: dict[str, Any], fields: set[str]
) -> None:
    """Nobody wants to hear of them one by one."""
    assert {field for field, _ in issues(**changes)} == fields


@pytest.mark.parametrize(
    "name",
    [
        "taskId",
        "taskVersionId",
        "taskCode",
        "taskName",
        "outboundEventName",
        "responseTrackingCode",
    ],
)
def test_null_and_empty_and_missing_are_the_same(name: str) -> None:
    """Everywhere, as with single events."""
    bare = {one: value for one, value in WHOLE.items() if one != name}
    expected = read(bare)
    assert expected[1] == []
    for value in (None, ""):
        assert read(bare | {name: value}) == expected


def test_an_id_of_a_task_may_be_a_number_where_people_write_it() -> None:
    """Its code and its name are."""
    made = job(taskCode=539, taskName=2026)
    assert (made.origin.task_code, made.task_name) == ("539", "2026")
    made = job(taskCode=True, taskName=["x"])
    assert (made.origin.task_code, made.task_name) == (None, None)


# Its parameters


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"TO": "a", "Body": "b"}, {"to": "a", "body": "b"}),
        ({"to": 12015550123, "body": 5}, {"to": "12015550123", "body": "5"}),
        ({"to": "a", "body": "b", "from": None, "identity": ""}, {"to": "a", "body": "b"}),
        ({"to": "a", "body": "b", "x": True, "y": [1], "z": {}}, {"to": "a", "body": "b"}),
        ({"to": "a", "body": "b", "Other": "Zoë"}, {"to": "a", "body": "b", "other": "Zoë"}),
        (
            {"to": "a", "body": "b", "bad_rows_limit": 0},
            {"to": "a", "body": "b", "bad_rows_limit": "0"},
        ),
    ],
)
def test_parameters_are_texts(parameters: dict[str, Any], expected: dict[str, str]) -> None:
    """Their names are in lower case; numbers are as good as texts, and what has no value is not there."""
    made, wrong = read(LEAST | {"sendParameters": parameters}, default_sender=SENDER)
    assert (made.parameters, wrong) == (expected, [])


@pytest.mark.parametrize("limit", [2.5, 0.0, 100.5])
def test_a_limit_with_decimals_is_heard(limit: float) -> None:
    """Taken, or told to be wrong: passed over it would let a bad file through."""
    made, wrong = read(LEAST | {"sendParameters": PARAMETERS | {"bad_rows_limit": limit}})
    fields = [field for field, _ in wrong]
    assert made.parameters.get("bad_rows_limit") == str(limit) or fields == [
        "sendParameters.bad_rows_limit"
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [("bad_rows_limit", "101"), ("bad_rows_limit", -1), ("duplicates", "some")],
)
def test_options_that_are_none_are_told(name: str, value: object) -> None:
    """With the parameter's name."""
    found = issues(sendParameters=PARAMETERS | {name: value})
    assert [field for field, _ in found] == [f"sendParameters.{name}"]


# What no row could make good


def test_nobody_to_send_to_is_told() -> None:
    """With what is to be written, under the name that the settings give."""
    bare = {"from": SENDER, "body": "Hi"}
    assert issues(sendParameters=bare) == [
        ("sendParameters.to", "names nobody; write for example to = {{mobile_phone}}")
    ]
    names = AttributeNames(to="Phone")
    _, wrong = read(LEAST | {"sendParameters": PARAMETERS}, names=names)
    assert wrong == [
        ("sendParameters.Phone", "names nobody; write for example Phone = {{mobile_phone}}")
    ]
    assert read(LEAST | {"sendParameters": bare | {"phone": "{{m}}"}}, names=names)[1] == []


def test_nobody_to_send_from_is_told() -> None:
    """Unless there is a default sender, the tenant's or the connector's."""
    bare = {"to": "{{mobile}}", "body": "Hi"}
    wrong = [("sendParameters.from", "names no sender, and there is no default sender")]
    assert issues(sendParameters=bare) == wrong
    task = LEAST | {"sendParameters": bare}
    assert read(task, default_sender=SENDER)[1] == []
    assert read(task, tenant(default_sender=SENDER))[1] == []


def test_nothing_to_send_is_told() -> None:
    """Neither text nor media."""
    wrong = [("sendParameters.body", "is empty, and there are no media: there is nothing to send")]
    bare = {"to": "{{mobile}}", "from": SENDER}
    assert issues(sendParameters=bare) == wrong
    assert issues(sendParameters=bare | {"body": " \n "}) == wrong
    assert issues(sendParameters=bare | {"body": "{{text}}"}) == []
    assert issues(sendParameters=bare | {"media_urls": "{{photo}}"}) == []


@pytest.mark.parametrize("parameters", [None, "", {}])
def test_no_parameters_lack_everything(parameters: object) -> None:
    """All is told at once."""
    fields = ["sendParameters.to", "sendParameters.from", "sendParameters.body"]
    assert [field for field, _ in issues(sendParameters=parameters)] == fields
    assert [field for field, _ in read(without("sendParameters"))[1]] == fields


def test_a_whole_creative_says_all() -> None:
    """Or part of it, with the rest as parameters."""
    whole = f"TO:{{{{mobile}}}};\nFROM:{SENDER};\nHi {{{{name}}}}!"
    assert job(sendParameters={"creative": whole}).parameters == {"creative": whole}
    assert issues(sendParameters={"creative": "Hi", "to": "{{mobile}}", "from": SENDER}) == []


def test_what_is_wrong_with_a_creative_is_told() -> None:
    """In words, under its name."""
    found = issues(sendParameters=PARAMETERS | {"creative": "<html>Hi</html>"})
    assert found == [
        ("sendParameters.creative", "This is an HTML page; use a plain text creative.")
    ]
    found = issues(sendParameters=PARAMETERS | {"creative": "TO:{{mobile}}\nFROM:Acme;\nHi"})
    assert [field for field, _ in found] == ["sendParameters.creative"]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
NAMES = [*WHOLE, "dataFile", "metadataFile"]
INNER = ["dataFile", "metadataFile", "to", "from", "body", "creative", "bad_rows_limit", "identity"]


@given(
    changes=st.dictionaries(
        st.sampled_from(NAMES),
        anything | st.dictionaries(st.sampled_from(INNER), anything, max_size=4),
        max_size=6,
    )
)
@settings(max_examples=200, deadline=None)
def test_no_task_fails_in_another_way(changes: dict[str, Any]) -> None:
    """It is a job, whose issues name members of the body, or cannot be written down at all."""
    try:
        made, wrong = read(WHOLE | changes)
    except (Unprocessable, NotJson):
        return
    assert made.id == job_id(made.occurrence_id, made.origin.task_version_id)
    assert {field.partition(".")[0] for field, _ in wrong} <= {*WHOLE}
    if not wrong:
        assert made.data_url
        assert made.metadata_url
