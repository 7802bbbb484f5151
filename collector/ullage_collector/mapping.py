"""Who pays for a workload: dated, prioritised patterns over its attributes to department, business and scenario.

Pure: rules and a workload in, an answer with its reason out; no clock, no database. For each dimension
the winner is the matching rule that gives it: highest priority, then the longer pattern, then the one
valid from later, then the larger rule_id. No match for the department is ``__unallocated__``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import translate
from itertools import pairwise
from typing import Final

from ullage_collector.ledger import UNMAPPED
from ullage_contract.errors import BadInput

KINDS: Final = ("slurm", "k8s", "process", "notebook", "user", "label", "partition", "workload", "cluster")
"""What may stand before the colon of a pattern; ``process`` and ``notebook`` are namespaces of those sources."""


class Dimension(StrEnum):
    """What a rule can give."""

    DEPARTMENT = "department"
    BUSINESS = "business"
    SCENARIO = "scenario"


@dataclass(frozen=True, slots=True)
class Rule:
    """One mapping rule as believed over [known_from_us, known_to_us), true over [valid_from_us, valid_to_us).

    match: ``kind:glob``, e.g. ``k8s:nlp-*``, ``label:team=rec``. Case counts. * ? [] as a shell knows them.
    department, business, scenario: None where the rule does not say. *_us: microseconds since the epoch; None: open.
    """

    rule_id: int
    match: str
    priority: int
    department: str | None = None
    business: str | None = None
    scenario: str | None = None
    valid_from_us: int = 0
    valid_to_us: int | None = None
    known_from_us: int = 0
    known_to_us: int | None = None

    def gives(self, dimension: Dimension) -> str | None:
        """What this rule says of a dimension, or None."""
        return {"department": self.department, "business": self.business, "scenario": self.scenario}[
            dimension
        ]


@dataclass(frozen=True, slots=True)
class Subject:
    """What the rules see of a workload.

    source: slurm, k8s, process, ...: the first part of its id. namespace: Kubernetes namespace or Slurm account.
    scenario: as its source says, used when no rule gives one.
    """

    workload_id: str
    cluster: str = ""
    namespace: str | None = None
    user: str | None = None
    partition: str | None = None
    labels: Mapping[str, str] | None = None
    scenario: str | None = None

    @property
    def source(self) -> str:
        return self.workload_id.split("/", 1)[0]

    def texts(self) -> list[str]:
        """Every ``kind:value`` a pattern may match."""
        found = [f"workload:{self.workload_id}"]
        if self.cluster:
            found.append(f"cluster:{self.cluster}")
        if self.namespace is not None:
            found.append(f"{self.source}:{self.namespace}")
        if self.user is not None:
            found.append(f"user:{self.user}")
        if self.partition is not None:
            found.append(f"partition:{self.partition}")
        found.extend(f"label:{key}={value}" for key, value in sorted((self.labels or {}).items()))
        return found


@dataclass(frozen=True, slots=True)
class Owner:
    """The answer for one workload at one instant.

    rule_id: the department's rule, None when unmapped. rules: dimension -> its winning rule's id.
    contested: ids of rules that matched with the same priority and length as the department's winner and said otherwise.
    """

    department: str
    business: str | None
    scenario: str | None
    rule_id: int | None
    rules: Mapping[Dimension, int]
    contested: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Span:
    """One owner over [from_us, to_us)."""

    from_us: int
    to_us: int
    owner: Owner


class Mapper:
    """Rules as believed at one instant, ready to be asked many times.

    known_at_us: rules not yet or no longer believed then are left out; None takes those believed now.
    Raises BadInput for a pattern whose kind is not one of KINDS: it could never match, and silently.
    """

    def __init__(self, rules: Iterable[Rule], *, known_at_us: int | None = None) -> None:
        self._rules: dict[str, list[tuple[Rule, re.Pattern[str]]]] = {}
        self._matched: dict[str, tuple[Rule, ...]] = {}
        for rule in rules:
            if not _believed(rule, known_at_us):
                continue
            kind = checked(rule)
            self._rules.setdefault(kind, []).append((rule, re.compile(translate(rule.match))))

    @property
    def by_id(self) -> bool:
        """Some rule looks at the workload's own id: two workloads alike in all else may then differ."""
        return "workload" in self._rules

    def matching(self, subject: Subject) -> list[Rule]:
        """Every rule that matches, best first, whenever it is valid."""
        found: dict[int, Rule] = {}
        for text in subject.texts():
            for rule in self._of(text):
                found[id(rule)] = rule
        return sorted(found.values(), key=_rank)

    def at(self, subject: Subject, instant_us: int) -> Owner:
        """Who pays for the workload at an instant, and which rules say so."""
        return self._owner(self.matching(subject), subject, instant_us)

    def spans(self, subject: Subject, from_us: int, to_us: int) -> list[Span]:
        """The owners over [from_us, to_us), cut where the answer changes; together they cover it."""
        rules = self.matching(subject)
        edges = {from_us, to_us}
        for rule in rules:
            edges.update(e for e in (rule.valid_from_us, rule.valid_to_us) if e is not None)
        cuts = sorted(e for e in edges if from_us <= e <= to_us)
        spans: list[Span] = []
        for start, end in pairwise(cuts):
            owner = self._owner(rules, subject, start)
            if spans and spans[-1].owner == owner:
                spans[-1] = Span(spans[-1].from_us, end, owner)
            else:
                spans.append(Span(start, end, owner))
        return spans

    def _of(self, text: str) -> tuple[Rule, ...]:
        found = self._matched.get(text)
        if found is None:
            kind = text.partition(":")[0]
            found = tuple(rule for rule, pattern in self._rules.get(kind, ()) if pattern.match(text))
            if kind != "workload":  # ids hardly repeat; everything else does
                self._matched[text] = found
        return found

    def _owner(self, rules: Sequence[Rule], subject: Subject, instant_us: int) -> Owner:
        valid = [
            r
            for r in rules
            if r.valid_from_us <= instant_us and (r.valid_to_us is None or instant_us < r.valid_to_us)
        ]
        winners: dict[Dimension, Rule] = {}
        for dimension in Dimension:
            winner = next((r for r in valid if r.gives(dimension) is not None), None)
            if winner is not None:
                winners[dimension] = winner
        best = winners.get(Dimension.DEPARTMENT)
        contested = () if best is None else tuple(r.rule_id for r in valid if _ties(r, best))
        business = winners.get(Dimension.BUSINESS)
        scenario = winners.get(Dimension.SCENARIO)
        return Owner(
            department=UNMAPPED if best is None or best.department is None else best.department,
            business=business.business if business else None,
            scenario=scenario.scenario if scenario else subject.scenario,
            rule_id=best.rule_id if best else None,
            rules={dimension: rule.rule_id for dimension, rule in winners.items()},
            contested=contested,
        )


def checked(rule: Rule) -> str:
    """The kind a rule's pattern begins with. Raises BadInput for one that could never match, naming the rule."""
    kind, _, pattern = rule.match.partition(":")
    if kind not in KINDS or not pattern:
        raise BadInput(
            f"mapping rule {rule.rule_id}: match {rule.match[:60]!r} is not kind:pattern with kind one of "
            f"{', '.join(KINDS)}"
        )
    return kind


def explained(owner: Owner, rules: Mapping[int, Rule]) -> str:
    """One sentence a person can check: which rule decided, or that none did."""
    if owner.rule_id is None:
        return "no mapping rule matches; shown as unmapped"
    rule = rules[owner.rule_id]
    text = f"rule {rule.rule_id} ({rule.match}, priority {rule.priority}) gives {owner.department}"
    if owner.contested:
        text += f"; contested by rules {', '.join(map(str, owner.contested))} of the same priority and length"
    return text


def _believed(rule: Rule, known_at_us: int | None) -> bool:
    if known_at_us is None:
        return rule.known_to_us is None
    return rule.known_from_us <= known_at_us and (rule.known_to_us is None or known_at_us < rule.known_to_us)


def _rank(rule: Rule) -> tuple[int, int, int, int]:
    return (-rule.priority, -len(rule.match), -rule.valid_from_us, -rule.rule_id)


def _ties(rule: Rule, best: Rule) -> bool:
    return (
        rule.rule_id != best.rule_id
        and rule.department not in (None, best.department)
        and (rule.priority, len(rule.match)) == (best.priority, len(best.match))
    )
