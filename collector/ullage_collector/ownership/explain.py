"""Why a workload is whose it is: the rule that decided, its version, and what the others lacked.

Pure: rules and a workload in, an explanation out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ullage_collector.ledger import UNMAPPED
from ullage_collector.mapping import Dimension, Mapper, Rule, Subject
from ullage_collector.organisation import Place

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Lost:
    """A rule that matches the workload and did not decide a dimension, and what it lacked; in words."""

    rule: Rule
    why: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided of one dimension. winner None: no rule says; the value then is the source's own word or nobody's.

    lost: the others that match and say something of it, best first.
    """

    dimension: Dimension
    value: str | None
    winner: Rule | None
    lost: Sequence[Lost]


@dataclass(frozen=True, slots=True)
class Explanation:
    """One workload at one instant. seen: what rules could see of it, as a pattern would be written.

    silent: rules that match and are not valid then. contested: rules as good as the department's winner that say otherwise.
    """

    subject: Subject
    at_us: int
    seen: Sequence[str]
    verdicts: Sequence[Verdict]
    silent: Sequence[Lost]
    contested: Sequence[Rule]

    def of(self, dimension: Dimension) -> Verdict:
        return next(verdict for verdict in self.verdicts if verdict.dimension is dimension)


def explain(mapper: Mapper, subject: Subject, at_us: int) -> Explanation:
    """Who pays for a workload at an instant, and why. mapper: the rules as believed when it matters."""
    owner = mapper.at(subject, at_us)
    rules = mapper.matching(subject)
    valid = [rule for rule in rules if rule.valid(at_us)]
    values = {
        Dimension.DEPARTMENT: owner.department,
        Dimension.BUSINESS: owner.business,
        Dimension.SCENARIO: owner.scenario,
    }
    return Explanation(
        subject=subject,
        at_us=at_us,
        seen=[str(text) for text in subject.texts()],
        verdicts=[_verdict(dimension, values[dimension], valid) for dimension in Dimension],
        silent=[Lost(rule, _not_valid(rule, at_us)) for rule in rules if not rule.valid(at_us)],
        contested=[rule for rule in valid if rule.rule_id in owner.contested],
    )


def _verdict(dimension: Dimension, value: str | None, valid: Sequence[Rule]) -> Verdict:
    saying = [rule for rule in valid if rule.gives(dimension) is not None]
    winner = saying[0] if saying else None
    lost = [Lost(rule, beaten(winner, rule)) for rule in saying[1:]] if winner else []
    return Verdict(dimension, value, winner, lost)


def beaten(winner: Rule, rule: Rule) -> str:
    """What a rule lacked against the winner: the first of priority, length, beginning and number that differs."""
    if rule.priority != winner.priority:
        return f"priority {rule.priority} is below {winner.priority}"
    if len(rule.match) != len(winner.match):
        return f"the same priority, and its pattern is shorter ({len(rule.match)} against {len(winner.match)} characters)"
    if rule.valid_from_us != winner.valid_from_us:
        return (
            "the same priority and length, and it is valid from earlier "
            f"({written(rule.valid_from_us)} against {written(winner.valid_from_us)})"
        )
    return f"alike in priority, length and beginning, and its number is smaller ({rule.rule_id} against {winner.rule_id})"


def _not_valid(rule: Rule, at_us: int) -> str:
    if rule.valid_from_us > at_us:
        return f"valid only from {written(rule.valid_from_us)}"
    return f"valid only until {written(rule.valid_to_us)}"


def sentence(
    explanation: Explanation, place: Place | None, sources: Mapping[int, str], *, why: str = ""
) -> str:
    """The answer as a person would say it; place: where the department stands in the tree. why: words to end with."""
    said = explanation.of(Dimension.DEPARTMENT)
    name, at = explanation.subject.workload_id, written(explanation.at_us)
    if said.winner is None:
        text = f"{name} belonged to nobody at {at}: no mapping rule matches; it is shown as unmapped"
    else:
        text = f"{name} belonged to {said.value} at {at} by {version(said.winner, sources)}"
        if place is not None and len(place.path) > 1:
            text += f"; that is {' > '.join(place.path)}"
        if place is not None and place.department is None and said.value != UNMAPPED:
            text += "; no such department was in the organisation then"
    if explanation.contested:
        listed = ", ".join(str(rule.rule_id) for rule in explanation.contested)
        text += f"; contested by rule {listed} of the same priority and length"
    return text + (f"; {why}" if why else "")


def version(rule: Rule, sources: Mapping[int, str]) -> str:
    """A rule with what makes it this version of it: its number, when it holds, since when it is believed, where it is from."""
    source = sources.get(rule.rule_id)
    return (
        f"rule {rule.rule_id} ({rule.match}, priority {rule.priority}; valid {_span(rule.valid_from_us, rule.valid_to_us)}; "
        f"believed {_span(rule.known_from_us, rule.known_to_us)}{f'; {source}' if source else ''})"
    )


def rule_json(rule: Rule, sources: Mapping[int, str]) -> dict[str, object]:
    """A rule and its version. Times are ISO 8601, null where open; valid_from null: since always."""
    return {
        "rule_id": rule.rule_id,
        "match": rule.match,
        "priority": rule.priority,
        "department": rule.department,
        "business": rule.business,
        "scenario": rule.scenario,
        "valid_from": written(rule.valid_from_us) if rule.valid_from_us else None,
        "valid_to": written(rule.valid_to_us),
        "known_from": written(rule.known_from_us),
        "known_to": written(rule.known_to_us),
        "source": sources.get(rule.rule_id),
    }


def lost_json(lost: Iterable[Lost], sources: Mapping[int, str]) -> list[dict[str, object]]:
    """Rules that lost, each with why."""
    return [{**rule_json(each.rule, sources), "why": each.why} for each in lost]


def written(us: int | None) -> str | None:
    """An instant as ISO 8601 with Z; None where there is none."""
    if us is None:
        return None
    return (_EPOCH + timedelta(microseconds=us)).isoformat().replace("+00:00", "Z")


def _span(from_us: int, to_us: int | None) -> str:
    begin = "always" if from_us == 0 else f"from {written(from_us)}"
    return begin if to_us is None else f"{begin} until {written(to_us)}"
