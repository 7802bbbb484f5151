"""Where the mapping rules fail: they contradict each other, match nothing, can never win, or give what is not there.

Pure: rules, what they saw and the organisation in; findings out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Final

from ullage_collector.mapping import Dimension, Mapper, Rule, Subject, rank, sights
from ullage_collector.organisation import Organisation


@dataclass(frozen=True, slots=True)
class Seen:
    """Workloads alike to every rule. subject: the one of them that held most. quantity: nano-share microseconds of all.

    from_us, to_us: from the first to the last instant any of them held a card, clipped to the window.
    """

    subject: Subject
    from_us: int
    to_us: int
    quantity: int
    workloads: int = 1


@dataclass(slots=True)
class Conflict:
    """Two rules of the same priority and length that say otherwise of the same workload; the first wins.

    example: the workload that held most of those affected. quantity, workloads: of all of them.
    """

    winner: Rule
    loser: Rule
    dimension: Dimension
    example: str
    quantity: int = 0
    workloads: int = 0


@dataclass(frozen=True, slots=True)
class Beaten:
    """A rule that does not win, and a rule that beats it; always, or whenever anybody was there to match."""

    rule: Rule
    by: Rule


@dataclass(frozen=True, slots=True)
class Gone:
    """A rule that gives a department the tree does not have. moved_to: its id today where its stable id still is there."""

    rule: Rule
    moved_to: str | None


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found. conflicts: the most card-hours first; the others by rule.

    unmatched: rules that matched nobody in the window. shadowed: rules that can never win. never_won: matched, and lost each time.
    """

    conflicts: Sequence[Conflict] = ()
    unmatched: Sequence[Rule] = ()
    shadowed: Sequence[Beaten] = ()
    never_won: Sequence[Beaten] = ()
    gone: Sequence[Gone] = ()


@dataclass(slots=True)
class _Record:
    matched: set[int] = field(default_factory=set)
    won: set[int] = field(default_factory=set)
    beaten_by: dict[int, Rule] = field(default_factory=dict)
    conflicts: dict[tuple[int, int, Dimension], Conflict] = field(default_factory=dict)


def check(
    mapper: Mapper, seen: Iterable[Seen], organisation: Organisation, *, from_us: int, at_us: int
) -> Checked:
    """Hold rules against who held cards over [from_us, at_us) and against the tree of ``at_us``.

    mapper: the rules as believed. Rules that are not valid at any time from ``from_us`` on are history and left alone.
    """
    record = _Record()
    for each in seen:
        _hold_against(mapper, each, record)
    rules = [rule for rule in mapper.rules if rule.valid_to_us is None or rule.valid_to_us > from_us]
    shadowed = [Beaten(rule, by) for rule in rules if (by := _shadow(rule, rules)) is not None]
    dark = {beaten.rule.rule_id for beaten in shadowed}
    begun = [rule for rule in rules if rule.valid_from_us < at_us]
    return Checked(
        conflicts=sorted(record.conflicts.values(), key=lambda c: (-c.quantity, c.winner.rule_id)),
        unmatched=[rule for rule in begun if rule.rule_id not in record.matched],
        shadowed=shadowed,
        never_won=[
            Beaten(rule, record.beaten_by[rule.rule_id])
            for rule in begun
            if rule.rule_id in record.matched - record.won - dark and rule.rule_id in record.beaten_by
        ],
        gone=_gone(rules, organisation, at_us),
    )


def _hold_against(mapper: Mapper, each: Seen, record: _Record) -> None:
    rules = mapper.matching(each.subject)
    edges = {each.from_us}
    for rule in rules:
        edges.update(e for e in (rule.valid_from_us, rule.valid_to_us) if e is not None)
    told: set[tuple[int, int, Dimension]] = set()
    for at in sorted(edge for edge in edges if each.from_us <= edge < each.to_us):
        valid = [rule for rule in rules if rule.valid(at)]
        record.matched.update(rule.rule_id for rule in valid)
        for dimension in Dimension:
            giving = [rule for rule in valid if rule.gives(dimension) is not None]
            if not giving:
                continue
            best = giving[0]
            record.won.add(best.rule_id)
            for other in giving[1:]:
                record.beaten_by.setdefault(other.rule_id, best)
                key = (best.rule_id, other.rule_id, dimension)
                if _contradict(best, other, dimension) and key not in told:
                    told.add(key)
                    found = record.conflicts.setdefault(
                        key, Conflict(best, other, dimension, each.subject.workload_id)
                    )
                    found.quantity += each.quantity
                    found.workloads += each.workloads


def _contradict(best: Rule, other: Rule, dimension: Dimension) -> bool:
    same = (best.priority, len(best.match)) == (other.priority, len(other.match))
    return same and best.gives(dimension) != other.gives(dimension)


def _gone(rules: Iterable[Rule], organisation: Organisation, at_us: int) -> list[Gone]:
    """Rules valid at an instant whose department is not in its tree; none where there is no tree at all."""
    if not organisation:
        return []
    tree = organisation.tree(at_us)
    found = []
    for rule in rules:
        if rule.department is None or not rule.valid(at_us) or rule.department in tree.departments:
            continue
        if not tree.exists(rule.department):
            found.append(Gone(rule, None))
        elif (current := tree.current(rule.department)) != rule.department:
            found.append(Gone(rule, current))
    return found


# ------------------------------------------------------------------------------- shadows
def _shadow(rule: Rule, rules: Iterable[Rule]) -> Rule | None:
    """A rule that beats this one wherever it matches and in all it says; None where nobody can be sure of one."""
    beating: dict[Dimension, Rule] = {}
    for other in rules:
        if other.rule_id == rule.rule_id or rank(other) > rank(rule) or not _outlasts(other, rule):
            continue
        if covers(other.match, rule.match):
            for dimension in Dimension:
                if other.gives(dimension) is not None:
                    beating.setdefault(dimension, other)
    said = [dimension for dimension in Dimension if rule.gives(dimension) is not None]
    return beating[said[0]] if said and all(dimension in beating for dimension in said) else None


def _outlasts(other: Rule, rule: Rule) -> bool:
    ends = other.valid_to_us is None or (
        rule.valid_to_us is not None and rule.valid_to_us <= other.valid_to_us
    )
    return other.valid_from_us <= rule.valid_from_us and ends


def covers(wide: str, narrow: str) -> bool:
    """Whether one pattern surely matches all that another does. False may also mean that it is not clear.

    Sound, not complete: ``a*`` covers ``ab?`` and ``a[bc]*``; of two patterns that are equal in other words it may say no.
    """
    if wide == narrow:
        return True
    if wide.partition(":")[0] != narrow.partition(":")[0]:
        return False
    if not set(sights(narrow)) <= set(sights(wide)) and wide.partition(":")[2] != "*":
        return False
    return _absorbs(_parts(wide), _parts(narrow))


_PART: Final = re.compile(r"\*+|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)


def _parts(pattern: str) -> list[str]:
    """A glob in parts: ``*``, ``?``, a class, or one character."""
    return ["*" if part.startswith("*") else part for part in _PART.findall(pattern)]


def _absorbs(wide: Sequence[str], narrow: Sequence[str]) -> bool:
    reached = {0}
    for part in wide:
        following: set[int] = set()
        for at in reached:
            if part == "*":
                following.update(range(at, len(narrow) + 1))
            elif at < len(narrow) and narrow[at] != "*" and _takes(part, narrow[at]):
                following.add(at + 1)
        reached = following
    return len(narrow) in reached


def _takes(part: str, one: str) -> bool:
    """Whether a part that stands for one character takes all that another such part does."""
    if part in ("?", one):
        return True
    if len(one) > 1 or one == "?":
        return False
    return len(part) > 1 and re.match(translate(part), one) is not None
