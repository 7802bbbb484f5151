"""What a settle file says: frozen rows with exact numbers. Instants are microseconds since the epoch, UTC.

Not here: reading the file (reader.py), and any arithmetic of money.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, TypeVar

from ullage_contract.errors import ConfigError
from ullage_reports.cost_policy import WORDS
from ullage_reports.settle.division import Division

MIG_COMPUTE_SLICES: Final = 7
MIG_MEMORY_SLICES: Final = 8
"""Of a whole card: NVIDIA MIG User Guide, A100, H100, H200, B200. A card may say otherwise."""
MIG_MEMORY_OF_PROFILE: Final = {1: 1, 2: 2, 3: 4, 4: 4, 7: 8}
"""Memory slices by the compute slices of a profile's name: NVIDIA MIG User Guide, profile tables. A profile with more
memory than these (1g.20gb) must say its memory_slices."""

SOURCES: Final = ("k8s", "slurm")
"""What stands before the colon of a mapping, and before the first slash of a job's name."""
POLICIES: Final[dict[str, tuple[str, ...]]] = {
    "unallocated_idle": WORDS["unallocated_idle"],
    "oversubscription": ("normalise_by_request", "measured_sm_share"),
    "mig_weight": ("compute_slices", "memory_slices", "dominant_share"),
    "faulty": WORDS["faulty"],
    "allocated_idle": WORDS["allocated_idle"],
    "gap_energy": ("mean_of_neighbours", "energy_counter"),
    "borrowing": WORDS["borrowing"],
}
"""Policy -> what it may be, the default first."""


@dataclass(frozen=True, slots=True)
class Price:
    """Currency units per card-hour of a model over [from_us, to_us), known since known_us; None: open, always known.

    entered_us: from when what it belongs to is valid: the purchase of cards that are written off by now.
    """

    model: str
    hourly: Fraction
    from_us: int
    to_us: int | None
    known_us: int | None
    entered_us: int


@dataclass(frozen=True, slots=True)
class Card:
    """One owned card. time_sliced: its holders take turns. replicas: how many slices it is cut into; None: not said."""

    card: str
    model: str
    node: str | None
    compute_slices: int
    memory_slices: int
    time_sliced: bool
    replicas: int | None


@dataclass(frozen=True, slots=True)
class Node:
    """host_watts: power of the server without its cards. cards: how many share it."""

    node: str | None
    host_watts: Fraction
    cards: int
    listed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Allocation:
    """Who holds what. card: a named card, or None: ``count`` cards, of ``model`` where it is given.

    source: which scheduler's names its namespace is one of; None: not said, so any. fraction: of each card; None: not said. compute_slices, memory_slices: of a MIG instance; None: it is none.
    """

    number: int
    department: str | None
    namespace: str | None
    source: str | None
    job: str | None
    kind: str | None
    scenario: str | None
    card: str | None
    count: int
    model: str | None
    fraction: Fraction | None
    compute_slices: int | None
    memory_slices: int | None
    start_us: int
    end_us: int | None
    known_us: int | None


@dataclass(frozen=True, slots=True)
class Telemetry:
    """A reading over [start_us, end_us) of a card, or of a job. active None: it says nothing of activity."""

    card: str | None
    job: str | None
    active: bool | None
    sm_active_pct: Fraction | None
    mean_watts: Fraction | None
    start_us: int
    end_us: int
    known_us: int | None


@dataclass(frozen=True, slots=True)
class Health:
    """A card is faulty or isolated over [start_us, end_us)."""

    card: str
    state: str
    start_us: int
    end_us: int | None
    known_us: int | None


@dataclass(frozen=True, slots=True)
class Rule:
    """source:pattern -> department over [from_us, to_us)."""

    source: str
    pattern: str
    department: str
    priority: int
    from_us: int
    to_us: int | None
    known_us: int | None


@dataclass(frozen=True, slots=True)
class Tariff:
    """Currency units per kWh over [start_us, end_us); None: open."""

    per_kwh: Fraction
    start_us: int | None
    end_us: int | None


@dataclass(frozen=True, slots=True)
class Power:
    """A card's mean power over [start_us, end_us), or what its energy counter rose by."""

    card: str
    mean_watts: Fraction | None
    energy_kwh: Fraction | None
    start_us: int
    end_us: int


@dataclass(frozen=True, slots=True)
class Quota:
    """Cards a department is guaranteed, and may have at most; None: no limit."""

    least: Fraction
    most: Fraction | None


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed period by its label. closed_us: when; None: not said."""

    label: str
    closed_us: int | None


@dataclass(frozen=True, slots=True)
class Policy:
    """One word a question; the first of POLICIES by default."""

    unallocated_idle: str = "none"
    oversubscription: str = "normalise_by_request"
    mig_weight: str = "compute_slices"
    faulty: str = "platform_pays_from_fault_onset"
    allocated_idle: str = "department_pays"
    gap_energy: str = "mean_of_neighbours"
    borrowing: str = "pay_for_use"
    idle_window_us: int = 10 * 60_000_000
    """our choice, as the collector's states.toml has it: longer than a checkpoint, shorter than a coffee."""
    warn_us: int = 60 * 60_000_000
    """From the warning to the stop a recommendation assumes. our choice: an hour to answer a mail."""

    def saying(self, words: Mapping[str, str]) -> Policy:
        """The same with other words; they are of POLICIES."""
        said = {name: words.get(name, getattr(self, name)) for name in POLICIES}
        return Policy(**said, idle_window_us=self.idle_window_us, warn_us=self.warn_us)


@dataclass(frozen=True, slots=True)
class World:
    """A whole settle file. division: it is only a total to share out, or None. ignored: places of keys nobody reads."""

    currency: str
    digits: int
    zone: str
    from_us: int
    to_us: int
    prices: tuple[Price, ...] = ()
    cards: tuple[Card, ...] = ()
    nodes: tuple[Node, ...] = ()
    allocations: tuple[Allocation, ...] = ()
    telemetry: tuple[Telemetry, ...] = ()
    health: tuple[Health, ...] = ()
    rules: tuple[Rule, ...] = ()
    quota: dict[str, Quota] = field(default_factory=dict)
    fixed: dict[str, Fraction] = field(default_factory=dict)
    tariffs: tuple[Tariff, ...] = ()
    pue: Fraction = Fraction(1)
    power: tuple[Power, ...] = ()
    closed: tuple[Closed, ...] = ()
    as_of: tuple[int, ...] = ()
    policy: Policy = field(default_factory=Policy)
    division: Division | None = None
    ignored: tuple[str, ...] = ()

    def known_at(self, known_us: int | None) -> World:
        """The world as it was known then; None: everything that ever became known."""
        if known_us is None:
            return self
        return dataclasses.replace(
            self,
            prices=_known(self.prices, known_us),
            allocations=_known(self.allocations, known_us),
            telemetry=_known(self.telemetry, known_us),
            health=_known(self.health, known_us),
            rules=_known(self.rules, known_us),
        )

    def with_policy(self, name: str, word: str) -> World:
        """The same world under another policy. Raises ConfigError for a word there is none of."""
        if name not in POLICIES or word not in POLICIES[name]:
            known = "; ".join(f"{key}={'|'.join(words)}" for key, words in POLICIES.items())
            raise ConfigError(f"--policy {name}={word}: is no policy; choose from {known}")
        return dataclasses.replace(self, policy=self.policy.saying({name: word}))


_T = TypeVar("_T", Price, Allocation, Telemetry, Health, Rule)


def _known(rows: tuple[_T, ...], known_us: int) -> tuple[_T, ...]:
    return tuple(row for row in rows if row.known_us is None or row.known_us <= known_us)
