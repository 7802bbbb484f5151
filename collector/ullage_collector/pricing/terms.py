"""How a price of a card-hour was worked out, exactly, and what of it the price itself does not say.

A price has six decimals, because quantity times price must be the cost. A rate that does not end there (a purchase over its
hours, the tenth part of a node's price) is rounded half up to *the* price; what is lost or gained by that is worked out
here in atoms, for the platform, so that a purchase adds up to itself. Pure; standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, Final

from ullage_collector.ledger import HOUR_US, MICRO, NANO, half_up
from ullage_contract.errors import BadInput, LedgerError

LIST: Final = "list"
CONTRACT: Final = "contract"
OWNED: Final = "owned"
KINDS: Final = (LIST, CONTRACT, OWNED)
ROUNDING: Final = "rounding"
HOST: Final = "host"
YEAR_HOURS: Final = 8_760
"""An amount a year is spread over 8,760 hours, as maintenance is in the cost model (docs/cost-model.md)."""
MONTH_HOURS: Final = 730
"""our choice: because a twelfth of such a year gives every hour the same price, in February too."""
_PERIOD_HOURS: Final = {"hour": 1, "month": MONTH_HOURS, "year": YEAR_HOURS}
DEFAULT_SPLIT: Final = (9, 1)
"""Accelerators to processors and memory in the price of a whole node: AWS split cost allocation data, example of
accelerated instances (docs.aws.amazon.com/cur, read 2026-11-21)."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What stands behind a price row.

    whole: micro-units per hour of what is priced (a card, or the cards of a node together), exactly. host: of a node's
    price what is processors and memory. first, weight, total: which part of ``whole`` one card of this row has: weights
    before the first such card, of one, and of all. anchor_us: from when remainders are counted. components: name -> micro-units
    per card-hour, exact; they add up to what one card has of ``whole``.
    """

    whole: Fraction
    host: Fraction = Fraction(0)
    first: int = 0
    weight: int = 1
    total: int = 1
    anchor_us: int = 0
    components: Mapping[str, Fraction] = field(default_factory=dict)

    @property
    def exact(self) -> Fraction:
        """Micro-units per card-hour."""
        return self.whole * self.weight / self.total

    @property
    def micro(self) -> int:
        """The price: ``exact``, half up."""
        return rounded_micro(self.exact)

    def remainder(
        self,
        price_micro: int,
        place: int,
        from_us: int,
        to_us: int,
        rate: Fraction = Fraction(1),
        since_us: int | None = None,
    ) -> dict[str, int]:
        """Kind -> atoms that the price of one card leaves over [from_us, to_us); kinds of which nothing is left are not in it.

        place: the how manieth card of its row on its node, from 0. rate: what ``whole`` is multiplied by, in another currency.
        since_us: from when that rate holds. Amounts are counted down from there, so that stretches add up to the whole, and
        the cards of a node to the node's price.
        """
        anchor = max(self.anchor_us, since_us if since_us is not None else self.anchor_us)
        before = self.first + self.weight * place
        found: dict[str, int] = {}
        exact = self._until(self.whole * rate, before, to_us - anchor) - self._until(
            self.whole * rate, before, from_us - anchor
        )
        if rounding := exact - price_micro * NANO * (to_us - from_us):
            found[ROUNDING] = rounding
        host = self._until(self.host * rate, before, to_us - anchor) - self._until(
            self.host * rate, before, from_us - anchor
        )
        if host:
            found[HOST] = host
        return found

    def _until(self, micro: Fraction, before: int, elapsed_us: int) -> int:
        """Atoms of one card over the first ``elapsed_us`` since the anchor, rounded down from the first card and instant."""
        atoms = micro * NANO * elapsed_us / self.total
        return _floor(atoms * (before + self.weight)) - _floor(atoms * before)

    def to_json(self) -> str:
        """For the store; fractions are texts."""
        return json.dumps(
            {
                "whole": str(self.whole),
                "host": str(self.host),
                "first": self.first,
                "weight": self.weight,
                "total": self.total,
                "anchor_us": self.anchor_us,
                "components": {name: str(part) for name, part in self.components.items()},
            }
        )


def terms_of(text: str) -> Terms:
    """What ``to_json`` wrote. Raises LedgerError for anything else."""
    try:
        found = json.loads(text)
        return Terms(
            whole=Fraction(found["whole"]),
            host=Fraction(found["host"]),
            first=int(found["first"]),
            weight=int(found["weight"]),
            total=int(found["total"]),
            anchor_us=int(found["anchor_us"]),
            components={str(name): Fraction(part) for name, part in found["components"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as e:
        raise LedgerError(f"terms {text[:60]!r} are none ({e}); import the price again") from e


@dataclass(frozen=True, slots=True)
class Purchase:
    """An owned card, or node: its price, what it is worth at the end, and what it costs beside. Amounts in currency units.

    salvage: a share of capex. maintenance: a share of capex a year. beside: name -> (amount, per), per one of hour, month,
    year, once.
    """

    capex: Fraction
    salvage: Fraction
    maintenance: Fraction
    in_service_us: int
    end_of_life_us: int
    beside: Mapping[str, tuple[Fraction, str]] = field(default_factory=dict)

    def rates(self) -> dict[str, Fraction]:
        """Component -> micro-units per hour while it is written off: a straight line over the hours there really are."""
        hours = Fraction(self.end_of_life_us - self.in_service_us, HOUR_US)
        found = {"capex": self.capex * (1 - self.salvage) / hours}
        for name, (amount, per) in self.beside.items():
            found[name] = amount / (hours if per == "once" else _PERIOD_HOURS[per])
        return {name: rate * MICRO for name, rate in found.items() if rate} | self.after()

    def after(self) -> dict[str, Fraction]:
        """The same when it is written off: maintenance alone."""
        rate = self.capex * self.maintenance / YEAR_HOURS * MICRO
        return {"maintenance": rate} if rate else {}


def decimal_fraction(text: object, name: str) -> Fraction:
    """A decimal number of at least 0, exactly. Raises BadInput."""
    try:
        value = Decimal(str(text))
    except InvalidOperation:
        raise BadInput(f"{name} {str(text)[:40]!r} is no decimal number") from None
    if isinstance(text, bool) or not value.is_finite() or not 0 <= value < 10**15:
        raise BadInput(f"{name} {str(text)[:40]!r}: write a number of at least 0")
    if value.as_tuple().exponent < -24:  # type: ignore[operator]  # finite, so a number
        raise BadInput(f"{name} {str(text)[:40]!r} has more than 24 digits behind the point")
    return Fraction(value)


def rounded_micro(exact: Fraction) -> int:
    """Micro-units to the whole one, half up."""
    return half_up(exact.numerator, exact.denominator)


def _floor(value: Fraction) -> int:
    return value.numerator // value.denominator


def component_decimals(components: Mapping[str, Fraction]) -> dict[str, Any]:
    """Name -> currency units per card-hour with six decimals, as people read them; rounded each on its own."""
    return {name: str(Decimal(rounded_micro(part)).scaleb(-6)) for name, part in components.items()}
