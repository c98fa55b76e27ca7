"""Lists of wishes: our own, CI360's, and numbers alone, as people and programs write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci360_twilio.core.consent import Consent, Evidence, Sign, Source
from ci360_twilio.core.preference import (
    CI360,
    EXPORTED,
    NUMBERS,
    PREFERENCES,
    Bad,
    Layout,
    Wished,
    guess_layout,
    preference_row,
    read_head,
    read_row,
)
from ci360_twilio.core.tenant import TenantId

TO = "+12015550101"
DAY = datetime(2026, 3, 2, tzinfo=UTC)
MOMENT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
OWN = Layout(0, 1, 2)
DATED = ["sms_id", TO, "OPT-OUT", "true", "CI360", "2026-03-02T09:30:00Z"]


# The head


@pytest.mark.parametrize(
    ("fields", "layout"),
    [
        (EXPORTED, OWN._replace(group=4)),
        (["recipient"], Layout(0)),
        (["phone"], Layout(0)),
        (["sms_id"], Layout(0)),
        (["Mobile", "Consent"], Layout(0, 1)),
        (["name", "Phone_Number", "status"], Layout(1, 2)),
        (["date", "wish", "to"], Layout(2, 1, 0)),
        ([" RECIPIENT ", "\tState\t", "Since"], OWN),
        (["\ufeffrecipient", "state", "since"], OWN),
        (["number", "last_updated"], Layout(0, None, 1)),
        (["number", "Created_Timestamp"], Layout(0, None, 1)),
        (["phone", "recipient"], Layout(1)),
        (["recipient", "status", "state"], Layout(0, 2)),
        (["recipient", "time", "since"], Layout(0, None, 2)),
        (PREFERENCES, Layout(1, 3, None, 0, 2)),
        ([*PREFERENCES, "source", "timestamp"], Layout(1, 3, 5, 0, 2)),
        ([*PREFERENCES, "source", "preference_timestamp_dttm"], Layout(1, 3, 5, 0, 2)),
        (["\ufeffIDENTITY_TYPE", *PREFERENCES[1:]], Layout(1, 3, None, 0, 2)),
        (
            ["preference_value", "preference_type_cd", "identity_value", "identity_type"],
            Layout(2, 0, None, 3, 1),
        ),
        (["identity_value"], Layout(0)),
        (["identity_value", "preference_value"], Layout(0, 1)),
        (["recipient", "identity_value"], Layout(1)),
    ],
    ids=str,
)
def test_a_head_tells_where_things_stand(fields: list[str], layout: Layout) -> None:
    """In any case and order, and whatever else there is."""
    assert read_head(fields) == layout


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [""],
        [TO],
        [TO, "out", "2026-03-02"],
        DATED,
        DATED[:4],
        ["sms_id", "(201) 555-0101 ", "OPT-OUT", "true"],
        ["recipient", f"whatsapp:{TO}"],
        ["name", "email"],
        ["state", "since"],
        ["recipients"],
        ["identity_type", "preference_type", "preference_value"],
        ["\ufeff"],
        ["'recipient"],
    ],
    ids=str,
)
def test_a_row_that_names_no_recipient_is_no_head(fields: list[str]) -> None:
    """It is the first of the wishes."""
    assert read_head(fields) is None


@pytest.mark.parametrize(
    ("fields", "layout"),
    [
        ([TO], NUMBERS),
        ([TO, "x", "y"], NUMBERS),
        ([], NUMBERS),
        (DATED[:4], CI360),
        (DATED, CI360),
    ],
    ids=str,
)
def test_without_a_head_the_number_of_fields_tells(fields: list[str], layout: Layout) -> None:
    """CI360's have four at least; a list of numbers has the number first."""
    assert guess_layout(fields) == layout


# The rows


@pytest.mark.parametrize(
    ("state", "sign"),
    [
        *((word, Sign.OUT) for word in ("out", "OUT", " Opt-Out ", "optout", "opt_out", "STOP")),
        *((word, Sign.OUT) for word in ("unsubscribed", "no", "N")),
        *((word, Sign.IN) for word in ("in", "In", "opt-in", "OptIn", "opt_in", "START")),
        *((word, Sign.IN) for word in ("subscribed", "Yes", " y\t")),
    ],
)
def test_a_wish_is_read_in_the_words_that_are_in_use(state: str, sign: Sign) -> None:
    """In any case, with blanks around."""
    assert read_row(OWN, [TO, state, ""], None) == Wished(TO, sign, None)


@pytest.mark.parametrize(
    "state",
    ["", " ", "true", "false", "1", "0", "review", "maybe", "out!", "'out", "=out", "stopp", "null"],
)  # fmt: skip
def test_what_says_neither_in_nor_out_is_left_out(state: str) -> None:
    """Nobody guesses a wish; nor is a line for review one."""
    assert read_row(OWN, [TO, state, ""], None) is Bad.STATE


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("true", Sign.OUT),
        (" TRUE ", Sign.OUT),
        ("1", Sign.OUT),
        ("false", Sign.IN),
        ("False", Sign.IN),
        ("0", Sign.IN),
        ("", Bad.STATE),
        ("out", Bad.STATE),
        ("yes", Sign.OUT),
        ("2", Bad.STATE),
    ],
)
def test_a_preference_says_whether_the_opt_out_holds(value: str, read: Sign | Bad) -> None:
    """``false`` opts back in."""
    found = read_row(CI360, ["sms_id", TO, "OPT-OUT", value], None)
    assert found == (Wished(TO, read, None) if isinstance(read, Sign) else read)


@pytest.mark.parametrize(
    ("kind", "preference", "read"),
    [
        ("sms_id", "OPT-OUT", None),
        (" SMS_ID ", " opt-out ", None),
        ("email_id", "OPT-OUT", Bad.PROGRAM),
        ("subject_id", "OPT-OUT", Bad.PROGRAM),
        ("", "OPT-OUT", Bad.PROGRAM),
        ("sms_id", "SPRING@OPT-OUT", Bad.PROGRAM),
        ("sms_id", "OPT-IN", Bad.PROGRAM),
        ("sms_id", "", Bad.PROGRAM),
        ("sms_id", "OPT-OUT2", Bad.PROGRAM),
    ],
)
def test_only_the_wish_about_all_texts_counts(kind: str, preference: str, read: Bad | None) -> None:
    """Neither other channels nor single programs."""
    found = read_row(CI360, [kind, TO, preference, "true"], None)
    assert found == (read or Wished(TO, Sign.OUT, None))


@pytest.mark.parametrize(
    ("number", "region", "person"),
    [
        (TO, None, TO),
        ("12015550101", None, TO),
        ("+1 (201) 555-0101", None, TO),
        (" +12015550101\t", None, TO),
        ("'+12015550101", None, TO),
        ("''+12015550101", None, TO),
        ("=+12015550101", None, TO),
        ('="+12015550101"', None, TO),
        ("(201) 555-0101", "US", TO),
        ("2015550101", "US", TO),
        ("020 7946 0101", "GB", "+442079460101"),
        (f"whatsapp:{TO}", None, TO),
        ("WhatsApp: +1 201 555 0101", None, TO),
        (f"rcs:{TO}", None, TO),
        ("messenger:4711", None, "messenger:4711"),
    ],
)
def test_a_number_is_read_as_people_and_spreadsheets_write_it(
    number: str, region: str | None, person: str
) -> None:
    """On whatever channel, it is one person's; the mark that keeps a formula from running goes."""
    assert read_row(NUMBERS, [number], region) == Wished(person, Sign.OUT, None)


@pytest.mark.parametrize(
    "number",
    ["", " ", "'", "x", "0", "+", "+0", "911", "Acme", "1-800-FLOWERS", "+12015550101x4", "tel:+12015550101",
     "1.2015550101E10", "=1+2", "=cmd|' /C calc'!A0", "@SUM(1)", "+12015550101;+12015550102", "+1 201 555",
     "messenger:", "messenger:a b", "fax:+12015550101", "someone@example.com", "9" * 100, "\u2014"],
)  # fmt: skip
def test_what_is_no_number_is_left_out(number: str) -> None:
    """Formulas and two numbers in one field too."""
    assert read_row(NUMBERS, [number], None) is Bad.NUMBER


def test_a_national_number_needs_its_country() -> None:
    """Which the tenant's document names."""
    assert read_row(NUMBERS, ["020 7946 0101"], None) is Bad.NUMBER


@pytest.mark.parametrize(
    ("layout", "fields"),
    [
        (NUMBERS, []),
        (OWN, []),
        (OWN, [TO]),
        (Layout(2), [TO, TO]),
        (CI360, ["sms_id"]),
        (CI360, ["sms_id", TO]),
        (CI360, ["sms_id", TO, "OPT-OUT"]),
    ],
    ids=str,
)
def test_a_row_that_breaks_off_is_left_out(layout: Layout, fields: list[str]) -> None:
    """Half a row says nothing."""
    assert read_row(layout, fields, None) is Bad.SHORT


@pytest.mark.parametrize(
    ("written", "wanted", "is_taken"),
    [("", "", True), ("promotions", "promotions", True), ("", "promotions", False),
     ("promotions", "", False), (" promotions ", "promotions", True)],
)  # fmt: skip
def test_a_list_is_taken_for_one_group_of_senders(
    written: str, wanted: str, is_taken: bool
) -> None:
    """A group's wish never becomes one for all senders, nor the reverse."""
    layout = OWN._replace(group=4)
    found = read_row(layout, [TO, "out", "", "text", written], None, wanted)
    assert (found is Bad.GROUP) is not is_taken


@pytest.mark.parametrize(
    ("layout", "fields", "dated_at"),
    [
        (OWN, [TO, "in", "2026-03-02"], DAY),
        (OWN, [TO, "out", "2026-03-02"], DAY + timedelta(hours=23, minutes=59, seconds=59)),
        (OWN, [TO, "out", "20260302"], DAY + timedelta(hours=23, minutes=59, seconds=59)),
        (OWN, [TO, "out", "2026-03-02T00:00"], DAY),
        (OWN, [TO, "in", "yesterday"], None),
        (OWN, [TO, "in", ""], None),
        (OWN, [TO, "in"], None),
        (Layout(0, None, 1), [TO, "1772443800"], MOMENT),
        (CI360, DATED, MOMENT),
        (CI360, DATED[:5], None),
        (CI360, [*DATED, "more", "fields"], MOMENT),
        (NUMBERS, [TO, "2026-03-02"], None),
    ],
    ids=str,
)
def test_a_wish_has_the_date_that_its_row_gives(
    layout: Layout, fields: list[str], dated_at: datetime | None
) -> None:
    """Where that can be read; the wish counts all the same."""
    found = read_row(layout, fields, None)
    assert isinstance(found, Wished)
    assert found.dated_at == dated_at


@given(
    layout=st.sampled_from([NUMBERS, OWN, CI360, Layout(3, 0, 1)]),
    fields=st.lists(st.text(max_size=40) | st.sampled_from(DATED), max_size=7),
    region=st.sampled_from([None, "US", "GB"]),
)
@settings(max_examples=300, deadline=None)
def test_any_row_is_a_wish_or_left_out(
    layout: Layout, fields: list[str], region: str | None
) -> None:
    """A file that somebody else wrote may hold anything."""
    found = read_row(layout, fields, region)
    assert isinstance(found, Wished | Bad)
    read_head(fields)


# What CI360 takes over


def consent(*signs: Sign, recipient: str | None = TO, group: str = "") -> Consent:
    """Make a consent of evidence, each piece a minute after the one before."""
    evidence = [
        Evidence(
            sign=sign,
            source=Source.PERSON,
            heard_at=MOMENT + timedelta(minutes=number),
            dated_at=MOMENT + timedelta(minutes=number),
        )
        for number, sign in enumerate(signs)
    ]
    return Consent(
        tenant_id=TenantId("demo"),
        group=group,
        recipient=recipient,
        against=tuple(one for one in evidence if one.sign is not Sign.IN),
        favour=tuple(one for one in evidence if one.sign is Sign.IN),
    )


@pytest.mark.parametrize(
    ("signs", "value"),
    [
        ((Sign.OUT,), "true"),
        ((Sign.IN, Sign.OUT), "true"),
        ((Sign.OUT, Sign.MAYBE), "true"),
        ((Sign.OUT, Sign.IN), "false"),
        ((Sign.IN,), "false"),
        ((), "false"),
    ],
    ids=str,
)
def test_ci360_takes_over_whether_the_opt_out_holds(signs: tuple[Sign, ...], value: str) -> None:
    """In a row that says the same when it comes back."""
    made = preference_row(consent(*signs))
    assert made == ("sms_id", TO, "OPT-OUT", value)
    wished = Sign.OUT if value == "true" else Sign.IN
    assert read_row(guess_layout(made), made, None) == Wished(TO, wished, None)


@pytest.mark.parametrize(
    "kept",
    [
        consent(Sign.MAYBE),
        consent(Sign.IN, Sign.MAYBE),
        consent(Sign.OUT, recipient=None),
        consent(Sign.OUT, recipient="messenger:4711"),
        consent(Sign.OUT, recipient="20155"),
        consent(Sign.OUT, group="offers"),
        consent(Sign.OUT, Sign.IN, group="offers"),
    ],
    ids=[
        "review",
        "review after in",
        "erased",
        "messenger",
        "short code",
        "group",
        "in of a group",
    ],
)
def test_what_ci360_cannot_know_is_not_told(kept: Consent) -> None:
    """What a person must read first, who is no number, and what is about some senders alone."""
    assert preference_row(kept) is None
