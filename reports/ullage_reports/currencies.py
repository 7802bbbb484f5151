"""Which currencies published days are priced in, which of them a report is made in, and what to say of one they are not.

Not here: money that is in another currency than a statement (trust.py lists it apart), and conversion, which the collector does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ullage_collector import ledger
from ullage_collector.published import Facts
from ullage_contract.errors import ConfigError, LedgerError
from ullage_reports.period import Period
from ullage_reports.reading import us
from ullage_reports.sql import statements

NO_CURRENCY: Final = "XXX"
"""ISO 4217: no currency involved. Of a report without any price."""


def checked(currency: str) -> str:
    """A currency that was asked for. Raises ConfigError for what is not written as ISO 4217 writes codes.

    Whether ISO has given the code to anybody is not asked: that list changes. What nothing is priced in is told by ``unpriced``.
    """
    try:
        ledger.minor_units(currency)
    except LedgerError as e:
        raise ConfigError(str(e)) from e
    return currency


def priced_in(facts: Facts) -> tuple[str, ...]:
    """The currencies the span is priced in, that of the most hours first."""
    return tuple(str(row[0]) for row in facts.rows(statements("statement")["currencies"]))


def currency_of(facts: Facts, currency: str | None, period: Period | None = None) -> str:
    """The currency asked for, else the only one the span is priced in; where it has no price, that of what is posted in the period;
    NO_CURRENCY where nothing is. Raises ConfigError for several."""
    if currency is not None:
        return checked(currency)
    found = priced_in(facts)
    if not found and period is not None:
        # no card in it, but what is posted from before may be money all the same
        span = {"from_us": us(period.start), "to_us": us(period.end)}
        found = tuple(str(row[0]) for row in facts.rows(statements("statement")["posted_currencies"], span))
    if len(found) > 1:
        raise ConfigError(
            f"prices of this period are in {', '.join(found[:5])}; choose one with --currency, the others are listed apart"
        )
    return found[0] if found else NO_CURRENCY


def unpriced(currency: str, there: Sequence[str]) -> str | None:
    """What to tell where nothing is priced in a currency; None: something is. there: as ``priced_in`` has them."""
    if currency in there:
        return None
    if not there:
        return "nothing of these days has a price, so no money is known"
    return f"nothing of these days is priced in {currency}: prices are in {', '.join(there[:5])}"
