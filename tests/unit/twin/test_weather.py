"""What befalls messages in lists, and callbacks on their way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci360_twilio.twin.weather import (
    CALM,
    FLICKER_SECONDS,
    SWIFT,
    Carriage,
    Lot,
    Mishap,
    Weather,
    parse_mishap,
)

TO = "+12015550101"
SHARE = {"lag:600": 0.3, "redacted": 0.2, "stranger:-5": 0.1, "late:60": 0.5, "lost": 0.2}


def test_in_fair_weather_nothing_befalls() -> None:
    """An empty plan is no plan."""
    assert Weather().lot(TO, 1) is CALM
    assert Weather().carriage(TO, 1, "sent") == SWIFT


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("lag", 600), ("lag:30", 30), ("stranger:-5", -5), ("late:86400", 86_400), ("lost", 0)],
)
def test_a_mishap_is_read_with_its_seconds(text: str, seconds: float) -> None:
    """Without a number there is a usual one."""
    assert parse_mishap(text) == (Mishap(text.partition(":")[0]), seconds)


@pytest.mark.parametrize(
    "text", ["", "rain", "lost:5", "lag:", "lag:-1", "lag:inf", "late:nan", "blank:1", "lag:1e9"]
)
def test_what_is_not_a_mishap_is_refused(text: str) -> None:
    """A plan with a spelling mistake does not start."""
    with pytest.raises(ValueError, match=r".+"):
        Weather({text: 0.5})
    with pytest.raises(ValueError, match=r".+"):
        Weather().for_recipient(TO, [text])


@pytest.mark.parametrize("part", [-0.1, 1.1])
def test_shares_that_are_none_are_refused(part: float) -> None:
    """Each is a part of a whole; together they may be more."""
    with pytest.raises(ValueError, match="shares"):
        Weather({"lag": part})
    Weather({"lag": 1.0, "late": 1.0})


def test_a_plan_holds_for_all_messages_to_a_recipient() -> None:
    """It comes before chance, for others chance holds, and an empty plan is fair weather."""
    weather = Weather({"redacted": 1.0, "lost": 1.0})
    weather.for_recipient(TO, ["lag:5", "blank", "encoded", "late:7", "repeated", "disordered"])
    lot = Lot(lag=5.0, blank=True, body=Mishap.ENCODED)
    for nth in (1, 2):
        assert weather.lot(TO, nth) == lot
        assert weather.carriage(TO, nth, "sent") == Carriage(False, True, 7.0, True)
    assert weather.lot("+12015550102", 1) == Lot(body=Mishap.REDACTED)
    assert weather.carriage("+12015550102", 1, "sent").lost
    weather.for_recipient(TO, [])
    assert weather.lot(TO, 3) is CALM


def test_shares_are_kept_on_the_whole() -> None:
    """Each mishap is decided on its own."""
    weather = Weather(SHARE, seed=1)
    lots = [weather.lot(f"+1201555{number:04}", 1) for number in range(4000)]
    assert 1060 < sum(lot.lag == 600 for lot in lots) < 1340
    assert 680 < sum(lot.body is Mishap.REDACTED for lot in lots) < 920
    ways = [weather.carriage(f"+1201555{number:04}", 1, "sent") for number in range(4000)]
    assert 1860 < sum(way.late == 60 for way in ways) < 2140
    assert any(way.late and way.lost for way in ways)


@given(seed=st.integers(), order=st.permutations(range(6)))
def test_the_same_seed_gives_the_same_weather_in_any_order(seed: int, order: list[int]) -> None:
    """What befalls one message does not depend on the others."""

    def befalls(numbers: list[int]) -> dict[int, tuple[Lot, Carriage]]:
        weather = Weather(SHARE, seed=seed)
        return {n: (weather.lot(TO, n), weather.carriage(TO, n, "sent")) for n in numbers}

    assert befalls(order) == befalls(sorted(order))


def test_chance_can_be_changed_and_ended() -> None:
    """New shares hold from then on."""
    weather = Weather({"lag": 1.0})
    weather.set_share({"blank": 1.0})
    assert weather.lot(TO, 1) == Lot(blank=True)
    weather.set_share({})
    assert weather.lot(TO, 1) is CALM


def test_a_lagging_message_is_seen_when_its_time_has_come() -> None:
    """Until then no list shows it."""
    lot = Lot(lag=10.0)
    assert [lot.is_seen(age) for age in (-1.0, 0.0, 9.9, 10.0)] == [False, False, False, True]


def test_a_flickering_message_comes_and_goes_and_stays_in_the_end() -> None:
    """It is seen or not for a minute at a time, the same whenever it is asked for."""
    weather = Weather()
    weather.for_recipient(TO, ["flicker:3600"])
    lot = weather.lot(TO, 1)
    seen = [lot.is_seen(minute * FLICKER_SECONDS) for minute in range(60)]
    assert {*seen} == {True, False}
    assert seen == [lot.is_seen(minute * FLICKER_SECONDS + 59.9) for minute in range(60)]
    assert lot.is_seen(3600.0)
