"""Price tables: what they look like, what is wrong with them, and what a country costs."""

from __future__ import annotations

from decimal import Decimal

import pytest

from ci360_twilio.core.prices import LIST_PRICES, Price, parse_prices
from ci360_twilio.errors import SettingsError


def test_a_table_names_countries_and_the_rest() -> None:
    """By two letters in any case; ``*`` stands for all others."""
    prices = parse_prices(
        ["country,sms,mms,currency", "us, 0.0079 ,0.02,eur", "*,0.05,,EUR"], "mine.csv"
    )
    assert prices.currency == "EUR"
    assert prices.of("US") == Price(Decimal("0.0079"), Decimal("0.02"))
    assert prices.of("DE") == prices.of(None) == Price(Decimal("0.05"), None)


def test_the_table_that_comes_along_knows_one_country() -> None:
    """Where nobody knows a price none is made up."""
    assert LIST_PRICES.of("US") is not None
    assert LIST_PRICES.of("GB") is None


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "begins with the line"),
        (["land,preis"], "begins with the line"),
        (["country,sms"], "holds no prices"),
        (["country,sms", "USA,1"], "line 2"),
        (["country,sms", "US,"], "no price"),
        (["country,sms", "US,cheap"], "line 2"),
        (["country,sms", "US,-1"], "line 2"),
        (["country,sms", "US,NaN"], "line 2"),
        (["country,sms", "US,0,0083"], "more cells"),
        (["country,sms,mms", "US,0,0083"], "line 2"),
        (["country,sms", f"US,{'1' * 140_000}"], "no CSV"),
        (["country,sms", "US,1", "us,2"], "second time"),
        (["country,sms,currency", "US,1,USD", "GB,1,GBP"], "several"),
    ],
)
def test_a_table_that_cannot_be_used_names_its_line(lines: list[str], words: str) -> None:
    """Nothing is guessed about money."""
    with pytest.raises(SettingsError, match=words):
        parse_prices(lines, "mine.csv")
