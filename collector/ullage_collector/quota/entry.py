"""One node of a quota tree as any source says it: the neutral form that readers give and the store keeps. Pure types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ullage_collector.quota.conditions import Condition, parse

ANY_POOL: Final = "*"
NO_POOL: Final = "__none__"
"""The pool of cards no rule puts into one; also the place of work that no quota binds."""
RESOURCES: Final = ("cards", "card_shares")
BIND_KINDS: Final = (
    "department",
    "k8s",
    "slurm",
    "process",
    "notebook",
    "user",
    "partition",
    "queue",
    "qos",
    "label",
    "workload",
    "cluster",
)
"""What may bind work to a quota; ``k8s`` is a namespace, ``slurm`` an account, ``department`` it and all below it."""


@dataclass(frozen=True, slots=True, order=True)
class Scope:
    """Which cards a limit is about. pool '*': of every pool. vendor, model '': every one; model is a caseless glob."""

    pool: str = ANY_POOL
    resource: str = "cards"
    vendor: str = ""
    model: str = ""

    def __str__(self) -> str:
        kind = " ".join(text for text in (self.vendor, self.model) if text)
        pool = "all pools" if self.pool == ANY_POOL else f"pool {self.pool}"
        return f"{pool}{', ' + kind if kind else ''}{', shares' if self.resource == 'card_shares' else ''}"


@dataclass(frozen=True, slots=True)
class QuotaEntry:
    """A node of a tree, and its limits on one kind of cards over [from_us, to_us), microseconds since the epoch.

    quota: the name, unique in its tree; parent: one of the same tree, None: a root. cluster: whose work binds
    here, None: any. limited False: it is there for the tree alone and limits nothing. min_nano: guaranteed, None:
    it states none; max_nano: ceiling, None: none; lend_nano: most of the guarantee others may use, None: all.
    binds: conditions over workloads, any of which binds; () for inner nodes. from_us None: whenever it is told
    (a snapshot of a scheduler carries no dates). attributes: what else its source says.
    """

    tree: str
    quota: str
    parent: str | None = None
    cluster: str | None = None
    scope: Scope = Scope()
    min_nano: int | None = None
    max_nano: int | None = None
    lend_nano: int | None = None
    weight: float | None = None
    owner: str | None = None
    department: str | None = None
    binds: tuple[str, ...] = ()
    from_us: int | None = None
    to_us: int | None = None
    attributes: Mapping[str, str | int] = field(default_factory=dict)

    @property
    def limited(self) -> bool:
        return self.min_nano is not None or self.max_nano is not None

    def conditions(self) -> list[tuple[Condition, ...]]:
        """``binds``, understood. Raises BadInput for one that could never hold."""
        return [parse(text, BIND_KINDS) for text in self.binds]

    def valid(self, instant_us: int) -> bool:
        """Whether it holds at an instant."""
        return (self.from_us or 0) <= instant_us and (self.to_us is None or instant_us < self.to_us)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader made of a file. refused: (row or object number from 1, reason); notes: said once for all rows."""

    entries: tuple[QuotaEntry, ...]
    rows: int
    refused: tuple[tuple[int, str], ...] = ()
    notes: tuple[str, ...] = ()
