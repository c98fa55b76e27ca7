"""What messages cost, by country: a price table, and the sum of what was counted with it.

Twilio's prices differ by country, sender, carrier and contract; the account's own are in its Console and
its Pricing API (docs/messaging/api/pricing). The table that comes along has the list price of the United
States alone, without carriers' surcharges; whoever sends elsewhere brings the prices of their contract.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from ci360_twilio.errors import SettingsError

ANYWHERE = "*"
"""A table's line for all countries that it does not name."""


class Price(NamedTuple):
    """What a country costs."""

    sms: Decimal
    """For each segment."""
    mms: Decimal | None = None
    """For each message with media; not known where there is none."""


class Prices(NamedTuple):
    """A price table."""

    currency: str
    countries: Mapping[str, Price]
    """By two letters, or ``*``."""
    source: str
    """Where the prices come from, for people."""

    def of(self, country: str | None) -> Price | None:
        """Give the price of a country, if the table has one."""
        return self.countries.get(country or "") or self.countries.get(ANYWHERE)


LIST_PRICES = Prices(
    "USD",
    {"US": Price(Decimal("0.0083"), Decimal("0.022"))},
    "Twilio's list price for long codes (2026), without carriers' surcharges",
)

_HEAD = ("country", "sms")
_COUNTRY = re.compile(r"[A-Z]{2}|\*")
_MOST = Decimal(100)


def parse_prices(lines: Iterable[str], source: str) -> Prices:
    """Read a price table: CSV with the columns ``country``, ``sms``, and perhaps ``mms``, ``currency``.

    Args:
        lines: of the file. A country is two letters, or ``*`` for all others; prices are for one
            segment, and for one message with media.
        source: what the table is called.

    Raises:
        SettingsError: a line cannot be used; the error names it.
    """
    reader = csv.DictReader(lines, skipinitialspace=True)
    names = {name: name.strip().lower() for name in reader.fieldnames or ()}
    if not set(_HEAD) <= set(names.values()):
        raise SettingsError("A price table begins with the line: country,sms,mms,currency")
    found: dict[str, Price] = {}
    currencies: set[str] = set()
    for row in _rows_of(reader):
        where = f"line {reader.line_num} of the price table"
        if None in row:
            words = "there are more cells than columns; write 0.0083, not 0,0083"
            raise SettingsError(f"On {where} {words}.")
        cells = {names[name]: (value or "").strip() for name, value in row.items() if name in names}
        country = cells["country"].upper()
        if not _COUNTRY.fullmatch(country):
            raise SettingsError(f"On {where} the country must be two letters, or *.")
        sms, mms = _amount(cells["sms"], where), _amount(cells.get("mms", ""), where)
        if sms is None:
            raise SettingsError(f"On {where} there is no price for sms.")
        if country in found:
            raise SettingsError(f"On {where} {country} stands for a second time.")
        found[country] = Price(sms, mms)
        currencies.add(cells.get("currency", "").upper() or "USD")
    if len(currencies) > 1:
        raise SettingsError("A price table has one currency; this one has several.")
    if not found:
        raise SettingsError("The price table holds no prices.")
    return Prices(currencies.pop(), found, source)


def _rows_of(reader: csv.DictReader[str]) -> Iterator[dict[str | Any, str | Any]]:
    try:
        yield from reader
    except csv.Error:
        raise SettingsError("The price table is no CSV.") from None


def _amount(text: str, where: str) -> Decimal | None:
    if not text:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(-1)
    if re.match(r"0[0-9]", text) or not amount.is_finite() or not 0 <= amount <= _MOST:
        raise SettingsError(f"On {where} a price is no number from 0 to {_MOST}.")
    return amount
