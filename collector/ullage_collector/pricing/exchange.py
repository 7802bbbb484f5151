"""Exchange rates dated twice, and what money is told in. Pure: nothing is inverted, chained or guessed.

A price in another currency is multiplied by the rate of its instant, and the product is rounded half up to six decimals, as
*the* price in the report's currency; what is lost or gained by that is a remainder like any other (terms.py). A rate has at
most nine decimals, so that a whole card's remainder is a whole number of atoms.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Final

from ullage_collector.ledger import NANO, minor_units
from ullage_contract.errors import LedgerError

GAPS: Final = ("mean_of_neighbours", "energy_counter")
"""How a hole in what was measured is filled; the first is what is done when nobody says."""


@dataclass(frozen=True, slots=True)
class Rate:
    """One unit of ``currency`` is rate_nano / 10^9 of ``to``. *_us: microseconds; None: open."""

    rate_id: int
    currency: str
    to: str
    rate_nano: int
    valid_from_us: int = 0
    valid_to_us: int | None = None

    def __post_init__(self) -> None:
        minor_units(self.currency)
        minor_units(self.to)
        if self.rate_nano <= 0:
            raise LedgerError(f"rate {self.rate_id} from {self.currency} to {self.to} is not above 0")

    @property
    def factor(self) -> Fraction:
        """By what an amount is multiplied."""
        return Fraction(self.rate_nano, NANO)


@dataclass(frozen=True, slots=True)
class Policy:
    """What somebody decided about money. currency: what everything is converted to, None: nothing is."""

    policy_id: int
    currency: str | None
    gap_energy: str | None
    valid_from_us: int = 0
    valid_to_us: int | None = None


@dataclass(frozen=True, slots=True)
class Converted:
    """A rate over [from_us, to_us). rate None: none is needed, or (``missing``) none is known and the amount stays apart."""

    from_us: int
    to_us: int
    rate: Rate | None
    missing: bool = False


class Exchange:
    """Rates and policies as believed at one instant."""

    def __init__(self, rates: Iterable[Rate], policies: Iterable[Policy] = ()) -> None:
        self._rates = sorted(rates, key=lambda r: (-r.valid_from_us, -r.rate_id))
        self._policies = sorted(policies, key=lambda p: (-p.valid_from_us, -p.policy_id))

    def policy(self, at_us: int) -> Policy | None:
        """The policy of an instant: the one valid from latest, then the larger number."""
        return next((p for p in self._policies if _valid(p, at_us)), None)

    def gap_energy(self, at_us: int) -> str:
        """How holes are filled at an instant."""
        found = (p.gap_energy for p in self._policies if p.gap_energy is not None and _valid(p, at_us))
        return next(found, GAPS[0])

    def currency(self, at_us: int) -> str | None:
        """What money is told in at an instant; None: each in its own."""
        return next((p.currency for p in self._policies if p.currency is not None and _valid(p, at_us)), None)

    def spans(self, currency: str, from_us: int, to_us: int) -> list[Converted]:
        """How an amount in a currency is converted over [from_us, to_us), cut where that changes."""
        edges = {from_us, to_us}
        dated: list[Rate | Policy] = [*self._rates, *self._policies]
        for row in dated:
            edges.update(e for e in (row.valid_from_us, row.valid_to_us) if e is not None)
        found: list[Converted] = []
        for start, end in pairwise(sorted(e for e in edges if from_us <= e <= to_us)):
            target = self.currency(start)
            rate = None
            if target not in (None, currency):
                rate = next(
                    (r for r in self._rates if (r.currency, r.to) == (currency, target) and _valid(r, start)),
                    None,
                )
            missing = rate is None and target not in (None, currency)
            if found and found[-1].rate == rate and found[-1].missing == missing:
                found[-1] = Converted(found[-1].from_us, end, rate, missing)
            else:
                found.append(Converted(start, end, rate, missing))
        return found


def _valid(row: Rate | Policy, at_us: int) -> bool:
    return row.valid_from_us <= at_us and (row.valid_to_us is None or at_us < row.valid_to_us)
