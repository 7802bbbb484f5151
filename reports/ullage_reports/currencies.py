"""Which currencies published days are priced in, and what to say of one they are not.

Not here: money that is in another currency than a statement (trust.py lists it apart), and conversion, which the collector does.
"""

from __future__ import annotations

from collections.abc import Sequence

from ullage_collector import ledger
from ullage_collector.published import Facts
from ullage_contract.errors import ConfigError, LedgerError
from ullage_reports.sql import statements


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


def unpriced(currency: str, there: Sequence[str]) -> str | None:
    """What to tell where nothing is priced in a currency; None: something is. there: as ``priced_in`` has them."""
    if currency in there:
        return None
    if not there:
        return "nothing of these days has a price, so no money is known"
    return f"nothing of these days is priced in {currency}: prices are in {', '.join(there[:5])}"
