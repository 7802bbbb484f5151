"""What is owed, as a statement carries it: charges by department, business and scenario, and what they were shared out by.

Rounded like the rest of a report (model.py): rows and columns add up as they stand. Not here: how it comes about (bill.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ullage_reports.model import Kind


@dataclass(frozen=True, slots=True)
class Charges:
    """What is charged, in the currency, minor units; each may be below 0 but capacity.

    capacity: card-hours at their prices, with what of a price no card share carries. shared: what policy moves between the platform and
    departments; of the whole it is 0. corrections: of closed periods. credits: given, or charged, by decision.
    """

    capacity: Decimal
    shared: Decimal
    energy: Decimal
    corrections: Decimal
    credits: Decimal

    @property
    def total(self) -> Decimal:
        """What is owed."""
        return self.capacity + self.shared + self.energy + self.corrections + self.credits

    def __add__(self, other: Charges) -> Charges:
        """Both together: printed figures, so the sum prints what the rows add up to."""
        return Charges(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class BillRow:
    """One department's bill; rows come as a tree in reading order, by the organisation at the period's end.

    charges: with its sub-departments; own: its alone. The own charges of all rows add up to the whole, as do the rows of depth 0.
    """

    department_id: str
    name: str
    parent_id: str | None
    depth: int
    kind: Kind
    leaf: bool
    charges: Charges
    own: Charges


@dataclass(frozen=True, slots=True)
class BillGroup:
    """The same of a business or scenario. key "": none given; the platform's has key ``platform``."""

    key: str
    charges: Charges


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """A version of the policy and the part of the period it decided. since, until: aware UTC. digest: of its words."""

    policy_id: str
    digest: str
    valid_from: datetime | None
    since: datetime
    until: datetime
    words: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SharedRow:
    """What one department was given, or gave, by one rule of one version of the policy.

    method: policy and word, e.g. ``unallocated_idle/even``. weight: its part of the department weights, 0..1, six decimals; None
    where the rule has no weights. cost: of this row alone, half up; below 0 where it gave. charge_id: for ``ullage-report explain``.
    """

    charge_id: str
    policy_id: str
    method: str
    department_id: str
    department: str
    weight: Decimal | None
    cost: Decimal


@dataclass(frozen=True, slots=True)
class AdjustmentRow:
    """One posted line that goes forward. period_from, period_to: what it corrects, None of a credit. cost: half up, signed.

    model, state: of what is corrected; None: of no one. hours: card-hours, half up, signed; None: of energy, or money alone.
    """

    adjustment_id: str
    kind: str
    department_id: str
    department: str
    business: str | None
    scenario: str | None
    cost_class: str
    period_from: datetime | None
    period_to: datetime | None
    posted_at: datetime
    cost: Decimal
    reason: str
    requester: str
    approver: str | None
    model: str | None = None
    state: str | None = None
    hours: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Bill:
    """What everybody owes. total: all rows together.

    exact: column -> atoms before rounding, as text: a reader can add them up. policies: in the order they held. energy_kwh: with the PUE in it;
    None: no energy is published. energy_billed: False: the price book has no tariff at all, so that energy is told and in no
    bill. unpriced_kwh: what no tariff of the price book covers, and so without cost. estimated_kwh: energy nobody measured.
    hours_without_quota: hours in which the policy asks for guarantees and no quota is published.
    """

    total: Charges
    departments: tuple[BillRow, ...]
    businesses: tuple[BillGroup, ...]
    scenarios: tuple[BillGroup, ...]
    exact: Mapping[str, str]
    policies: tuple[PolicyRow, ...]
    shared: tuple[SharedRow, ...]
    adjustments: tuple[AdjustmentRow, ...]
    energy_kwh: Decimal | None
    energy_billed: bool
    unpriced_kwh: Decimal
    estimated_kwh: Decimal
    hours_without_quota: int

    @property
    def plain(self) -> bool:
        """Nothing but capacity: then it says no more than the tables of cost."""
        return not (self.shared or self.adjustments or (self.energy_kwh and self.energy_billed))
