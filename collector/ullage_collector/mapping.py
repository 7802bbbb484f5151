"""Who pays for a workload: dated, prioritised patterns over its attributes to department, business and scenario.

Pure: rules and a workload in, an answer with its reason out; no clock, no database. For each dimension
the winner is the matching rule that gives it: highest priority, then the longer pattern, then the one
valid from later, then the larger rule_id. No match for the department is ``__unallocated__``.

A pattern is ``kind:glob``. After ``slurm:``, ``k8s:`` and the like it sees the namespace (a Slurm account); with a
slash inside also ``cluster/namespace``; beginning with a slash the account's path in its tree, ``/rd/nlp``, also with Slurm's
topmost account before it, and besides with a slash behind it, so that ``slurm:/rd/nlp/*`` is the account and all below it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import translate
from itertools import pairwise
from typing import Final, NamedTuple

from ullage_collector.ledger import UNMAPPED
from ullage_contract.errors import BadInput

NAMESPACED: Final = ("slurm", "k8s", "reservation", "process", "notebook")
"""Sources, whose patterns see namespaces; a Slurm reservation is seen by ``slurm:`` too, by its account."""
SLURM_TOP: Final = "root"
"""The account above all others of a Slurm cluster (sacctmgr(1))."""
KINDS: Final = (
    *NAMESPACED,
    "user",
    "label",
    "annotation",
    "partition",
    "qos",
    "pool",
    "workload",
    "cluster",
)
"""What may stand before the colon of a pattern."""


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

    def valid(self, at_us: int) -> bool:
        """Whether it says something of an instant."""
        return self.valid_from_us <= at_us and (self.valid_to_us is None or at_us < self.valid_to_us)

    def gives(self, dimension: Dimension) -> str | None:
        """What this rule says of a dimension, or None."""
        return {"department": self.department, "business": self.business, "scenario": self.scenario}[
            dimension
        ]


class Form(StrEnum):
    """How a text is written; a pattern sees some of them (``sights``)."""

    PLAIN = "plain"
    IN_CLUSTER = "in_cluster"
    PATH = "path"


class Text(NamedTuple):
    """One thing of a workload that a pattern may match: ``kind:value``."""

    kind: str
    value: str
    form: Form = Form.PLAIN

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"


@dataclass(frozen=True, slots=True)
class Subject:
    """What the rules see of a workload.

    source: slurm, k8s, process, ...: the first part of its id. namespace: Kubernetes namespace or Slurm account.
    scenario: as its source says, used when no rule gives one. account_path: ``rd/nlp`` below Slurm's root. pool: of the
    card that is held, as the inventory says; a workload on cards of two pools is asked about twice. node_pool: as its
    scheduler says.
    """

    workload_id: str
    cluster: str = ""
    namespace: str | None = None
    user: str | None = None
    partition: str | None = None
    labels: Mapping[str, str] | None = None
    scenario: str | None = None
    account_path: str | None = None
    qos: str | None = None
    annotations: Mapping[str, str] | None = None
    pool: str | None = None
    node_pool: str | None = None

    @property
    def source(self) -> str:
        return self.workload_id.split("/", 1)[0]

    def texts(self) -> list[Text]:
        """Everything a pattern may be held against."""
        found = [Text("workload", self.workload_id)]
        if self.cluster:
            found.append(Text("cluster", self.cluster))
        for source in (self.source, "slurm") if self.source == "reservation" else (self.source,):
            if self.namespace is not None:
                found.append(Text(source, self.namespace))
                if self.cluster:
                    found.append(Text(source, f"{self.cluster}/{self.namespace}", Form.IN_CLUSTER))
            if self.account_path:
                below = self.account_path.strip("/").removeprefix(f"{SLURM_TOP}/")
                for path in (f"/{below}", f"/{SLURM_TOP}/{below}"):
                    found.extend(Text(source, text, Form.PATH) for text in (path, path + "/"))
        for kind, value in (
            ("user", self.user),
            ("partition", self.partition),
            ("qos", self.qos),
            ("pool", self.pool),
            ("pool", self.node_pool if self.node_pool != self.pool else None),
        ):
            if value is not None:
                found.append(Text(kind, value))
        # Annotations a site wants kept stand beside a pod's labels (allocation/kubernetes/workloads.py).
        annotations = {**(self.labels or {} if self.source == "k8s" else {}), **(self.annotations or {})}
        for kind, pairs in (("label", self.labels or {}), ("annotation", annotations)):
            found.extend(Text(kind, f"{key}={value}") for key, value in sorted(pairs.items()))
        return found


def subject(
    workload_id: str,
    cluster: str | None,
    namespace: str | None,
    user: str | None,
    partition: str | None,
    labels: str | None,
    scenario: str | None,
    attributes: str | None,
    pool: str | None = None,
) -> Subject:
    """A subject from a row of table workload. labels, attributes: JSON; what is no object is nothing.

    Of the attributes: ``account_path``, ``qos``, ``node_pool``, and annotations, either an object ``annotations`` or keys
    ``annotation:<key>``.
    """
    said = _object(attributes)
    inside = said.get("annotations")
    annotations = _texts(inside if isinstance(inside, dict) else _object(inside))
    annotations |= {
        key.removeprefix("annotation:"): str(value)
        for key, value in said.items()
        if key.startswith("annotation:") and value is not None
    }
    path, qos, node_pool = (said.get(name) for name in ("account_path", "qos", "node_pool"))
    return Subject(
        workload_id,
        cluster or "",
        namespace,
        user,
        partition,
        _texts(_object(labels)),
        scenario,
        account_path=str(path) if path else None,
        qos=str(qos) if qos else None,
        annotations=annotations,
        pool=pool,
        node_pool=str(node_pool) if node_pool else None,
    )


def _object(text: object) -> dict[str, object]:
    if not isinstance(text, str) or not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _texts(found: Mapping[str, object]) -> dict[str, str]:
    return {str(key): str(value) for key, value in found.items() if value is not None}


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
        self._rules: dict[tuple[str, Form], list[tuple[Rule, re.Pattern[str]]]] = {}
        self._matched: dict[Text, tuple[Rule, ...]] = {}
        for rule in rules:
            if not _believed(rule, known_at_us):
                continue
            checked(rule)
            pattern = re.compile(translate(rule.match))
            for sight in sights(rule.match):
                self._rules.setdefault(sight, []).append((rule, pattern))

    @property
    def by_id(self) -> bool:
        """Some rule looks at the workload's own id: two workloads alike in all else may then differ."""
        return any(kind == "workload" for kind, _ in self._rules)

    @property
    def rules(self) -> Sequence[Rule]:
        """The rules that count, by id."""
        found = {rule.rule_id: rule for listed in self._rules.values() for rule, _ in listed}
        return [found[number] for number in sorted(found)]

    def matching(self, subject: Subject) -> list[Rule]:
        """Every rule that matches, best first, whenever it is valid."""
        found: dict[int, Rule] = {}
        for text in subject.texts():
            for rule in self._of(text):
                found[id(rule)] = rule
        return sorted(found.values(), key=rank)

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

    def _of(self, text: Text) -> tuple[Rule, ...]:
        found = self._matched.get(text)
        if found is None:
            written = str(text)
            candidates = self._rules.get((text.kind, text.form), ())
            found = tuple(rule for rule, pattern in candidates if pattern.match(written))
            if text.kind != "workload":  # ids hardly repeat; everything else does
                self._matched[text] = found
        return found

    def _owner(self, rules: Sequence[Rule], subject: Subject, instant_us: int) -> Owner:
        valid = [r for r in rules if r.valid(instant_us)]
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


def sights(match: str) -> tuple[tuple[str, Form], ...]:
    """Which texts a pattern is held against.

    ``k8s:nlp*`` sees namespaces alone, never the cluster ``nlp-1`` before one. What has a slash sees plain texts
    too: a process' namespace may have slashes of its own.
    """
    kind, _, pattern = match.partition(":")
    if kind not in NAMESPACED or "/" not in pattern:
        return ((kind, Form.PLAIN),)
    return ((kind, Form.PLAIN), (kind, Form.PATH if pattern.startswith("/") else Form.IN_CLUSTER))


def checked(rule: Rule) -> str:
    """The kind a rule's pattern begins with. Raises BadInput for one that could never match, naming the rule."""
    kind, _, pattern = rule.match.partition(":")
    if kind not in KINDS or not pattern:
        raise BadInput(
            f"mapping rule {rule.rule_id}: match {rule.match[:60]!r} is not kind:pattern with kind one of "
            f"{', '.join(KINDS)}"
        )
    return kind


def usable_rules(rules: Iterable[Rule]) -> list[Rule]:
    """Those whose pattern can match; what cannot is left out: the day's states tell of it."""
    kept = []
    for rule in rules:
        try:
            checked(rule)
        except BadInput:
            continue
        kept.append(rule)
    return kept


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


def rank(rule: Rule) -> tuple[int, int, int, int]:
    """What rules are ordered by; the least wins."""
    return (-rule.priority, -len(rule.match), -rule.valid_from_us, -rule.rule_id)


def _ties(rule: Rule, best: Rule) -> bool:
    return (
        rule.rule_id != best.rule_id
        and rule.department not in (None, best.department)
        and (rule.priority, len(rule.match)) == (best.priority, len(best.match))
    )
