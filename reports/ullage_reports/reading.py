"""What a statement is made from: a period's published facts, summed exactly and rounded once.

One object goes through the parts of a statement (tables, timeline, page one, trust), so that all of them
print the same figures.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from ullage_collector.ledger import PLATFORM
from ullage_collector.published import Facts
from ullage_reports.model import Amounts, TreeCut
from ullage_reports.period import Period
from ullage_reports.rounding import Rounding, Sums, ratio
from ullage_reports.sql import statements
from ullage_reports.tree import placed

SQL: Final = "statement"
DAY_US: Final = 86_400_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Cell:
    """One of the finest sums; texts are "" where not given."""

    department: str
    business: str
    scenario: str
    vendor: str
    model: str
    pool: str
    cluster: str
    state: str
    quantity: int
    atoms: int
    unpriced: int


GROUPS: Final[Mapping[str, Callable[[Cell], str]]] = {
    "business": lambda c: PLATFORM if c.department == PLATFORM else c.business,
    "scenario": lambda c: PLATFORM if c.department == PLATFORM else c.scenario,
    "vendor": lambda c: c.vendor,
    "pool": lambda c: c.pool,
    "cluster": lambda c: c.cluster,
}


@dataclass(frozen=True, slots=True)
class Whole:
    """The period in one row, summed by another way than the cells. trusted: quantity that is priced, mapped and known."""

    quantity: int
    atoms: int
    lines: int
    cards: int
    trusted: int


@dataclass(frozen=True, slots=True)
class Figures:
    """The tables of one period, rounded.

    departments: place (tree.py) -> (with everything below it, what is its own). models: (vendor, model) -> amounts. trust_ratio: share of
    hours that are priced, mapped and known. names: id -> row of query ``departments``. parents: the tree of places. tree: by which organisation.
    """

    rounding: Rounding
    departments: Mapping[str, tuple[Amounts, Amounts]]
    groups: Mapping[str, Mapping[str, Amounts]]
    models: Mapping[tuple[str, str], Amounts]
    trust_ratio: Decimal | None
    names: Mapping[str, tuple[Any, ...]]
    parents: Mapping[str, str | None]
    tree: TreeCut


@dataclass(frozen=True, slots=True)
class Reading:
    """An open period with its sums and its rounded tables."""

    facts: Facts
    period: Period
    currency: str
    cells: tuple[Cell, ...]
    whole: Whole
    figures: Figures

    @property
    def rounding(self) -> Rounding:
        return self.figures.rounding

    @property
    def total(self) -> Amounts:
        return self.figures.rounding.total

    @property
    def span(self) -> dict[str, int]:
        """The period as parameters of a query."""
        return {"from_us": us(self.period.start), "to_us": us(self.period.end)}

    def rows(self, name: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """A named question of sql/statement.sql."""
        return self.facts.rows(statements(SQL)[name], parameters)

    def name(self, department: str) -> str:
        """A department as people write it; its id where nobody said."""
        named = self.figures.names.get(department)
        return str(named[1]) if named else department


def read(facts: Facts, period: Period, currency: str, tree_at: datetime | None = None) -> Reading:
    """Sum and round an open period. tree_at: whose organisation sums all hours; None: each by the one valid then."""
    facts.connection.execute(statements(SQL)["spent"])
    cells = _cells(facts, currency)
    whole = _whole(facts, currency)
    return Reading(
        facts=facts,
        period=period,
        currency=currency,
        cells=tuple(cells),
        whole=whole,
        figures=_figured(facts, cells, currency, period, whole.trusted, tree_at),
    )


def _cells(facts: Facts, currency: str) -> list[Cell]:
    found = []
    for row in facts.rows(statements(SQL)["cells"], {"currency": currency}):
        department, business, scenario, vendor, model, pool, cluster, state = map(str, row[:8])
        quantity, atoms, unpriced = map(int, row[8:])
        found.append(
            Cell(
                department, business, scenario, vendor, model, pool, cluster, state, quantity, atoms, unpriced
            )
        )
    return found


def _figured(
    facts: Facts, cells: list[Cell], currency: str, period: Period, trusted: int, tree_at: datetime | None
) -> Figures:
    total = _summed(cells, lambda _: "").get("", Sums())
    rounding = Rounding(total, currency)
    span = (us(period.start), us(period.end))
    by_place = placed(facts, cells, currency, span, None if tree_at is None else us(tree_at))
    names = {
        str(row[0]): row for row in facts.rows(statements(SQL)["departments"], {"to_us": us(period.end)})
    }
    by_model: dict[tuple[str, str], Sums] = defaultdict(Sums)
    for c in cells:
        by_model[c.vendor, c.model].add(c.state, c.quantity, c.atoms, c.unpriced)
    joined = {f"{vendor}\x00{model}": sums for (vendor, model), sums in by_model.items()}
    return Figures(
        rounding=rounding,
        departments=rounding.tree(by_place.own, by_place.parents),
        groups={name: rounding.table(_summed(cells, key)) for name, key in GROUPS.items()},
        models={
            (key.split("\x00")[0], key.split("\x00")[1]): amounts
            for key, amounts in rounding.table(joined).items()
        },
        trust_ratio=ratio(trusted, total.all_quantity),
        names=names,
        parents=by_place.parents,
        tree=TreeCut(tree_at, by_place.changes),
    )


def _whole(facts: Facts, currency: str) -> Whole:
    row = facts.rows(statements(SQL)["whole"], {"currency": currency})[0]
    return Whole(*map(int, row))


def _summed(cells: Iterable[Cell], key: Callable[[Cell], str]) -> dict[str, Sums]:
    found: dict[str, Sums] = defaultdict(Sums)
    for c in cells:
        found[key(c)].add(c.state, c.quantity, c.atoms, c.unpriced)
    return dict(found)


def us(instant: datetime) -> int:
    """Microseconds since the epoch of an aware instant."""
    return (instant - _EPOCH) // timedelta(microseconds=1)


def instant(microseconds: int) -> datetime:
    """The aware instant of microseconds since the epoch."""
    return _EPOCH + timedelta(microseconds=microseconds)


def aware(naive: datetime) -> datetime:
    """A stored time, which is UTC without a zone, with its zone."""
    return naive.replace(tzinfo=UTC)


def day_us(day: date) -> int:
    """Midnight UTC of a day."""
    return (day - date(1970, 1, 1)).days * DAY_US
