"""What a report's figures stand on, and what is missing: sum checks, prices, names, days, method. Made in trust.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class SumCheck:
    """Parts against their whole, as printed and exactly. level: department, state, scenario, ...

    difference: printed parts minus printed total, must be 0. exact_difference: the same in atoms, must be 0.
    """

    level: str
    parts: int
    total: Decimal
    difference: Decimal
    exact_difference: int

    @property
    def good(self) -> bool:
        return self.difference == 0 and self.exact_difference == 0


@dataclass(frozen=True, slots=True)
class UnpricedRow:
    """Hours nobody gave a price for: an error row, shown on page one."""

    model: str
    pool: str | None
    cards: int
    hours: Decimal
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class ForeignRow:
    """Money in another currency than the report's, of whatever kind: not converted, in no sum. hours: card-hours priced in it."""

    currency: str
    hours: Decimal
    cost: Decimal


@dataclass(frozen=True, slots=True)
class UnmappedRow:
    """A name no mapping rule matches. name: namespace or account, else user, else workload id. priced False: none of
    its hours has a price in the report's currency, so its cost is not known."""

    kind: str
    name: str
    workloads: int
    hours: Decimal
    cost: Decimal
    priced: bool = True


@dataclass(frozen=True, slots=True)
class AssumedPrice:
    """A price somebody assumed; every page that shows it says so."""

    price_id: str
    model: str
    pool: str | None
    price: Decimal
    source: str
    hours: Decimal
    cost: Decimal


@dataclass(frozen=True, slots=True)
class UnlistedCard:
    """A card that was seen and that no inventory lists; counted from when it was first seen. priced: as of UnmappedRow."""

    card_id: str
    node_id: str
    vendor: str
    model: str
    hours: Decimal
    cost: Decimal
    priced: bool = True


@dataclass(frozen=True, slots=True)
class OriginRow:
    """Where the segments' cards are from: real, imported, simulated."""

    origin: str
    cards: int
    hours: Decimal


@dataclass(frozen=True, slots=True)
class SourceDay:
    """One published UTC day this report stands on. digest: SHA-256 of its manifest, hex."""

    day: date
    revision: int
    status: str
    digest: str
    published_at: datetime


@dataclass(frozen=True, slots=True)
class MethodLine:
    """One of the five lines that say how the figures come about: a text key and its values."""

    key: str
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Trust:
    """What the figures stand on.

    coverage_ratio: share of held time whose use is known, 0..1, six decimals; None when nothing was held.
    attributed_ratio: share of hours that are priced, mapped and known (the trust tile).
    missing_days: UTC days of the period that nobody has published.
    dimensions_revision, dimensions_digest: the names and prices used; None when none are published.
    data_digest: SHA-256 over all manifests' digests in order: two reports with one data digest, zone and
    currency carry one set of numbers.
    """

    checks: tuple[SumCheck, ...]
    coverage_ratio: Decimal | None
    attributed_ratio: Decimal | None
    unpriced_hours: Decimal
    unpriced: tuple[UnpricedRow, ...]
    foreign: tuple[ForeignRow, ...]
    unmapped: tuple[UnmappedRow, ...]
    assumed_prices: tuple[AssumedPrice, ...]
    unlisted: tuple[UnlistedCard, ...]
    origins: tuple[OriginRow, ...]
    days: tuple[SourceDay, ...]
    missing_days: tuple[date, ...]
    dimensions_revision: int | None
    dimensions_digest: str | None
    data_digest: str
    method: tuple[MethodLine, ...]

    @property
    def adds_up(self) -> bool:
        """Every sum check is good; a report where it is not is not sent."""
        return all(check.good for check in self.checks)
