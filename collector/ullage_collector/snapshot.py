"""What the fleet looks like now, small enough to be handed about whole: /metrics and the console read it.

Made by ``fleet_now.py`` and handed on as one object; nobody changes one in place. Not here:
history (the store) and the collector's own health (``metrics.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class CardCount:
    """``cards`` whole cards whose main state (the one with the largest share) is ``state``."""

    cluster: str
    vendor: str
    model: str
    state: str
    cards: int


@dataclass(frozen=True, slots=True)
class DepartmentShare:
    """Cards' worth of capacity a department holds in one state: 2.5 is two and a half cards."""

    department: str
    state: str
    cards: float


@dataclass(frozen=True, slots=True)
class DepartmentCost:
    """What a department's held cards cost an hour now; exact, in ``currency``."""

    department: str
    currency: str
    per_hour: Decimal


@dataclass(frozen=True, slots=True)
class AllocationInfo:
    """Who holds a card now; an empty text where the source does not say."""

    cluster: str
    node: str
    card: str
    workload: str
    user: str
    department: str
    scenario: str


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """The fleet at one instant.

    at: seconds since the epoch, UTC, that it describes.
    share_by_state: state word -> cards' worth of capacity; the seven add up to the owned cards in service.
    incidents_open: severity word -> open incidents that are no history.
    nodes: status word (up, silent, clock_wrong, never_seen) -> nodes.
    unmapped_share: of what is held, the share that maps to no department, 0..1; None: nothing is held.
    """

    at: float
    cards: Sequence[CardCount] = ()
    share_by_state: Mapping[str, float] = field(default_factory=dict)
    departments: Sequence[DepartmentShare] = ()
    costs: Sequence[DepartmentCost] = ()
    allocations: Sequence[AllocationInfo] = ()
    incidents_open: Mapping[str, int] = field(default_factory=dict)
    nodes: Mapping[str, int] = field(default_factory=dict)
    unmapped_share: float | None = None
