"""Consents: what the evidence for and against messages comes to, and its history."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import permutations

import msgspec
import pytest

from ci360_twilio.core.consent import (
    EVERY_SENDER,
    LATEST,
    LONGEST,
    MOST,
    Consent,
    Evidence,
    Sign,
    Source,
    Subject,
    attest,
    confirm,
    dismiss,
    person_of,
)
from ci360_twilio.core.tenant import TenantId

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
MICROSECOND, SECOND, MINUTE, HOUR, DAY = (
    timedelta(seconds=s) for s in (0.000001, 1, 60, 3600, 86_400)
)
NUMBER = "+12015550142"
SUBJECT = Subject(TenantId("demo"), NUMBER)


def text(sign: Sign, sid: str, heard: datetime, dated: datetime | None = None) -> Evidence:
    """Give what a customer wrote."""
    return Evidence(sign=sign, source=Source.TEXT, heard_at=heard, dated_at=dated, sid=sid)


def listed(sign: Sign, heard: datetime, dated: datetime | None = None) -> Evidence:
    """Give a row of a list; it names no message."""
    return Evidence(sign=sign, source=Source.IMPORT, heard_at=heard, dated_at=dated)


def dated(evidence: Evidence, at: datetime) -> Evidence:
    """Give evidence with its date."""
    return msgspec.structs.replace(evidence, dated_at=at)


def after(*evidence: Evidence, start: Consent | None = None) -> Consent:
    """Give a consent after evidence, each heard when it says; what says nothing new is passed over."""
    known = start
    for one in evidence:
        known = attest(known, SUBJECT, one, one.heard_at) or known
    assert known is not None
    return known


def acts(consent: Consent) -> list[tuple[str, bool]]:
    """Give what was done, and whether the recipient was blocked from then on."""
    return [(line.act, line.blocked) for line in consent.history]


STOP = text(Sign.OUT, "SM1", NOW, NOW)
START = text(Sign.IN, "SM2", NOW + MINUTE, NOW + MINUTE)
MAYBE = text(Sign.MAYBE, "SM3", NOW, NOW)


# Who


@pytest.mark.parametrize(
    ("address", "person"),
    [
        (NUMBER, NUMBER),
        (f"whatsapp:{NUMBER}", NUMBER),
        (f"rcs:{NUMBER}", NUMBER),
        ("messenger:4711", "messenger:4711"),
        ("", ""),
    ],
)
def test_a_wish_counts_for_a_number_on_every_channel(address: str, person: str) -> None:
    """Where people are known by something else, it counts for that."""
    assert person_of(address) == person


def test_a_consent_is_its_subjects() -> None:
    """By tenant, recipient and group."""
    stop = attest(None, Subject(TenantId("demo"), NUMBER, "ads"), STOP, NOW)
    assert stop
    assert (stop.tenant_id, stop.recipient, stop.group) == ("demo", NUMBER, "ads")
    assert after(STOP).group == EVERY_SENDER


def test_an_erased_number_is_known_again_when_it_writes() -> None:
    """Until then the wish stays in force without it."""
    erased = msgspec.structs.replace(after(STOP), recipient=None)
    assert erased.blocked
    assert after(START, start=erased).recipient == NUMBER
    nameless = attest(erased, Subject(TenantId("demo"), ""), START, NOW)
    assert nameless
    assert nameless.recipient is None


# Out and in


def test_without_evidence_nobody_is_blocked() -> None:
    """Nor since any time."""
    nothing = Consent(tenant_id=TenantId("demo"))
    assert (nothing.blocked, nothing.state, nothing.since) == (False, "in", None)
    assert nothing.undated == ()


def test_a_stop_blocks_and_a_later_start_unblocks() -> None:
    """With a line for each."""
    stopped = after(STOP)
    assert (stopped.blocked, stopped.state, stopped.since) == (True, "out", NOW)
    started = after(START, start=stopped)
    assert (started.blocked, started.state, started.since) == (False, "in", NOW + MINUTE)
    assert acts(started) == [("out", True), ("in", False)]
    assert [line.sid for line in started.history] == ["SM1", "SM2"]
    assert [line.dated_at for line in started.history] == [NOW, NOW + MINUTE]


def test_a_start_alone_changes_nothing_but_is_noted() -> None:
    """Somebody may ask one day since when."""
    started = after(START)
    assert (started.blocked, started.since) == (False, NOW + MINUTE)
    assert acts(started) == [("in", False)]


def test_whichever_was_written_later_counts_however_late_it_is_heard() -> None:
    """A start that comes after the stop that followed it unblocks nobody."""
    old = text(Sign.IN, "SM2", NOW + HOUR, NOW - MINUTE)
    assert after(STOP, old).blocked
    assert not after(START, text(Sign.OUT, "SM1", NOW + HOUR, NOW)).blocked


def test_at_the_same_moment_the_stop_counts() -> None:
    """Twilio's dates are whole seconds."""
    for order in permutations((STOP, text(Sign.IN, "SM2", NOW, NOW))):
        assert after(*order).blocked
    assert not after(STOP, text(Sign.IN, "SM2", NOW, NOW + MICROSECOND)).blocked


@pytest.mark.parametrize("sign", [Sign.OUT, Sign.IN])
def test_two_texts_of_one_second_do_not_cancel_each_other(sign: Sign) -> None:
    """Impatient people press twice."""
    twice = after(text(sign, "SM1", NOW, NOW), text(sign, "SM2", NOW, NOW))
    assert twice.blocked is (sign is Sign.OUT)
    assert len(twice.against) + len(twice.favour) == 1
    before = text(Sign.OUT, "SM0", NOW, NOW - SECOND)
    assert after(before, *twice.favour, *twice.against).blocked is (sign is Sign.OUT)


def test_a_probable_stop_blocks_until_it_is_read() -> None:
    """A stop beside it is the stronger word."""
    assert (after(MAYBE).blocked, after(MAYBE).state) == (True, "review")
    assert after(MAYBE, STOP).state == after(STOP, MAYBE).state == "out"
    assert after(MAYBE, START).state == "in"


# What people find


def test_what_was_no_stop_is_dismissed() -> None:
    """By name, and for good: hearing it again does not bring it back."""
    read = dismiss(after(MAYBE), "SM3", NOW + HOUR, "ann")
    assert read
    assert (read.blocked, read.against) == (False, ())
    assert acts(read) == [("maybe", True), ("dismissed", False)]
    line = read.history[-1]
    assert (line.by, line.sid, line.at, line.source) == ("ann", "SM3", NOW + HOUR, Source.TEXT)
    for again in (MAYBE, msgspec.structs.replace(MAYBE, dated_at=None)):
        assert attest(read, SUBJECT, again, NOW + DAY) is None


def test_what_was_a_stop_is_confirmed() -> None:
    """Then it is one, of the date that it has, and hearing it again changes nothing."""
    read = confirm(after(MAYBE), "SM3", NOW + HOUR, "ann")
    assert read
    assert (read.state, read.since) == ("out", NOW)
    assert acts(read) == [("maybe", True), ("out", True)]
    assert (read.against[0].by, read.history[-1].by) == ("ann", "ann")
    assert attest(read, SUBJECT, MAYBE, NOW + DAY) is None
    assert not after(START, start=read).blocked


@pytest.mark.parametrize("judge", [dismiss, confirm])
def test_only_what_is_to_be_read_can_be_judged(
    judge: Callable[[Consent, str, datetime, str], Consent | None],
) -> None:
    """No stop is dismissed, nor is anything twice."""
    assert judge(after(STOP), "SM1", NOW, "ann") is None
    assert judge(after(MAYBE), "SM1", NOW, "ann") is None
    read = judge(after(MAYBE), "SM3", NOW, "ann")
    assert read
    assert judge(read, "SM3", NOW, "ann") is None


def test_a_text_that_is_to_be_read_stands_in_for_no_other() -> None:
    """To dismiss the second is to say nothing of the first; to confirm it makes that needless."""
    first = text(Sign.MAYBE, "SM4", NOW, NOW - HOUR)
    for order in permutations((first, MAYBE)):
        read = dismiss(after(*order), "SM3", NOW, "ann")
        assert read
        assert (read.state, [one.sid for one in read.against]) == ("review", ["SM4"])
        sure = confirm(after(*order), "SM3", NOW, "ann")
        assert sure
        assert [one.sid for one in sure.against] == ["SM3"]


def test_a_stop_makes_what_was_written_before_it_needless() -> None:
    """Whatever overrules the stop overrules the rest, too."""
    before = text(Sign.MAYBE, "SM4", NOW, NOW - HOUR)
    for order in permutations((before, STOP)):
        assert after(*order).against == (STOP,)
    later = text(Sign.MAYBE, "SM4", NOW + HOUR, NOW + HOUR)
    assert after(STOP, START, later).state == "review"


# Dates


def test_evidence_without_a_date_was_given_before_it_was_heard_of() -> None:
    """A text at most a day before; anything else, nobody knows when."""
    some, row = text(Sign.IN, "SM2", NOW), listed(Sign.OUT, NOW)
    assert (some.earliest, some.latest) == (NOW - LATEST, NOW)
    assert row.latest == NOW
    assert row.earliest < NOW - 700_000 * DAY
    assert (STOP.earliest, STOP.latest) == (NOW, NOW)


def test_a_start_unblocks_only_where_it_is_certain_that_it_came_later() -> None:
    """Until its date is known, the stop stands."""
    unsure = text(Sign.IN, "SM2", NOW + DAY)
    assert after(STOP, unsure).blocked
    sure = text(Sign.IN, "SM2", NOW + DAY + MICROSECOND)
    assert not after(STOP, sure).blocked
    assert after(text(Sign.OUT, "SM1", NOW), START).state == "in"
    assert after(text(Sign.OUT, "SM1", NOW + HOUR), START).blocked


def test_a_list_without_dates_unblocks_nobody() -> None:
    """And overrules what was there before it came."""
    assert after(STOP, listed(Sign.IN, NOW + 9 * DAY)).blocked
    assert after(START, listed(Sign.OUT, NOW + 9 * DAY)).blocked
    assert not after(listed(Sign.OUT, NOW), START).blocked


def test_dates_that_would_tell_are_asked_for() -> None:
    """At once, and of every text that has none."""
    stop, start = text(Sign.OUT, "SM1", NOW + MINUTE), text(Sign.IN, "SM2", NOW + HOUR)
    doubt = after(stop, start)
    assert doubt.blocked
    assert {one.sid for one in doubt.undated} == {"SM1", "SM2"}
    assert (doubt.ask_at, doubt.asked) == (NOW + HOUR, 0)
    half = after(dated(start, NOW + HOUR), start=doubt)
    assert (half.blocked, half.undated, half.ask_at) == (False, (), None)
    other = after(dated(stop, NOW), start=doubt)
    assert [one.sid for one in other.undated] == ["SM2"]
    assert not after(dated(start, NOW + SECOND), start=other).blocked
    assert after(dated(start, NOW - SECOND), start=other).blocked


def test_the_date_of_a_stop_alone_may_tell() -> None:
    """Where the start has one."""
    doubt = after(text(Sign.OUT, "SM1", NOW + HOUR), START)
    assert [one.sid for one in doubt.undated] == ["SM1"]
    assert not after(text(Sign.OUT, "SM1", NOW + HOUR, NOW), start=doubt).blocked


@pytest.mark.parametrize(
    "evidence",
    [
        (text(Sign.OUT, "SM1", NOW),),
        (text(Sign.IN, "SM2", NOW),),
        (text(Sign.IN, "SM2", NOW), text(Sign.OUT, "SM1", NOW + LATEST)),
        (text(Sign.OUT, "SM1", NOW), text(Sign.IN, "SM2", NOW + 2 * DAY)),
        (listed(Sign.IN, NOW + DAY), text(Sign.OUT, "SM1", NOW)),
        (listed(Sign.OUT, NOW), listed(Sign.IN, NOW + HOUR, NOW - HOUR)),
    ],
)
def test_no_date_is_asked_for_that_would_tell_nothing(evidence: tuple[Evidence, ...]) -> None:
    """One alone, or texts that can only have come in one order, or what Twilio has no date for."""
    known = after(*evidence)
    assert (known.undated, known.ask_at) == ((), None)


def test_a_date_is_written_once() -> None:
    """As a line of its own; who said it, and when it was heard, stays."""
    unsure = text(Sign.OUT, "SM1", NOW)
    known = after(unsure)
    told = attest(known, SUBJECT, text(Sign.OUT, "SM1", NOW + HOUR, NOW - HOUR), NOW + HOUR)
    assert told
    assert told.against == (dated(unsure, NOW - HOUR),)
    assert acts(told) == [("out", True), ("dated", True)]
    assert attest(told, SUBJECT, text(Sign.OUT, "SM1", NOW, NOW), NOW) is None


# Repeats


@pytest.mark.parametrize("one", [STOP, START, MAYBE, text(Sign.OUT, "SM1", NOW)])
def test_a_text_that_is_heard_again_changes_nothing(one: Evidence) -> None:
    """Twilio posts some twice."""
    known = after(one)
    assert attest(known, SUBJECT, one, NOW + HOUR) is None
    later = msgspec.structs.replace(one, heard_at=NOW + 9 * DAY, dated_at=None)
    assert attest(known, SUBJECT, later, NOW + HOUR) is None


def test_a_text_that_has_become_needless_changes_nothing_when_it_is_heard_again() -> None:
    """Not even where its date is not told this time."""
    known = after(STOP, text(Sign.OUT, "SM9", NOW + HOUR, NOW + HOUR))
    assert [one.sid for one in known.against] == ["SM9"]
    again = text(Sign.OUT, "SM1", NOW + 2 * DAY)
    for one in (STOP, again):
        assert attest(known, SUBJECT, one, NOW + 2 * DAY) is None


def test_one_message_may_be_read_in_two_ways() -> None:
    """As when Twilio says what it is only the second time."""
    known = after(MAYBE, text(Sign.OUT, "SM3", NOW))
    assert known.state == "out"
    read = dismiss(known, "SM3", NOW, "ann")
    assert read
    assert read.state == "out"


@pytest.mark.parametrize("sign", [Sign.OUT, Sign.IN])
def test_a_row_that_says_no_more_than_is_known_changes_nothing(sign: Sign) -> None:
    """Lists come again and again."""
    known = after(listed(Sign.OUT, NOW, NOW - DAY), listed(sign, NOW, NOW))
    for one in (listed(sign, NOW + DAY, NOW), listed(sign, NOW + DAY, NOW - HOUR)):
        assert attest(known, SUBJECT, one, NOW) is None
    assert attest(known, SUBJECT, listed(sign, NOW + DAY, NOW + SECOND), NOW) is not None


def test_a_row_that_somebody_may_be_written_to_says_nothing_of_who_is_not_known() -> None:
    """Lists say so of many; with a customer's text it is something else."""
    for date in (None, NOW):
        assert attest(None, SUBJECT, listed(Sign.IN, NOW, date), NOW) is None
    assert attest(None, SUBJECT, START, NOW) is not None


def test_a_row_of_a_probable_stop_does_not_stand_for_a_stop() -> None:
    """The other way round it does."""
    assert after(listed(Sign.MAYBE, NOW, NOW), listed(Sign.OUT, NOW, NOW)).state == "out"
    known = after(listed(Sign.OUT, NOW, NOW))
    assert attest(known, SUBJECT, listed(Sign.MAYBE, NOW, NOW), NOW) is None


# Limits


def test_ever_so_many_stops_are_one_that_is_as_late_as_any_of_them() -> None:
    """A start must then be later than when the last of them was heard of."""
    stops = [text(Sign.OUT, f"SM{n}", NOW + n * MINUTE) for n in range(MOST + 1)]
    kept = after(*stops[:-1])
    assert len(kept.against) == MOST
    full = after(*stops)
    last = NOW + MOST * MINUTE
    assert [(one.sign, one.dated_at) for one in full.against] == [(Sign.OUT, last)]
    assert after(text(Sign.IN, "SMx", last, last), start=full).blocked
    assert not after(text(Sign.IN, "SMx", last, last + SECOND), start=full).blocked


def test_too_many_texts_to_be_read_are_a_stop() -> None:
    """Or the one that is left out would never be read."""
    texts = [text(Sign.MAYBE, f"SM{n}", NOW, NOW + n * MINUTE) for n in range(MOST + 1)]
    assert after(*texts[:-1]).state == "review"
    full = after(*texts)
    assert (full.state, len(full.against)) == ("out", 1)


def test_the_latest_text_counts_in_whatever_order_too_many_were_dated() -> None:
    """Even where the others have moved behind it since."""
    waiting = text(Sign.MAYBE, "SMx", NOW + HOUR)
    texts = [text(Sign.MAYBE, f"SM{n}", NOW + n * SECOND) for n in range(MOST - 1)]
    dates = [dated(one, one.heard_at) for one in texts]
    stop = text(Sign.OUT, "SMy", NOW + HOUR, NOW)
    start = text(Sign.IN, "SMz", NOW + 2 * HOUR, NOW + HOUR - SECOND)
    assert after(waiting, *texts, *dates, stop, start).blocked


def test_of_too_many_starts_the_first_ones_go() -> None:
    """Which can only leave a recipient blocked."""
    starts = [text(Sign.IN, f"SM{n}", NOW + n * MINUTE) for n in range(3 * MOST)]
    known = after(*starts)
    assert [one.sid for one in known.favour] == [one.sid for one in starts[-MOST:]]


def test_a_long_history_tells_only_of_what_changes_the_state() -> None:
    """A customer can write without end."""
    known = after(STOP)
    for n in range(LONGEST + 50):
        known = after(text(Sign.OUT, f"SMa{n}", NOW + n * SECOND, NOW), start=known)
    assert len(known.history) == LONGEST
    turned = after(text(Sign.IN, "SMb", NOW + DAY, NOW + DAY), start=known)
    assert acts(turned)[LONGEST - 1 :] == [("out", True), ("in", False)]
    back = after(text(Sign.OUT, "SMc", NOW + 2 * DAY, NOW + 2 * DAY), start=turned)
    assert acts(back)[LONGEST:] == [("in", False), ("out", True)]


def test_a_consent_survives_being_written() -> None:
    """It is one document."""
    known = confirm(after(MAYBE, START, text(Sign.OUT, "SM9", NOW + HOUR)), "SM3", NOW, "ann")
    assert known
    assert msgspec.json.decode(msgspec.json.encode(known), type=Consent) == known
