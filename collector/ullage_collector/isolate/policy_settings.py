"""[isolation.policy]: how far the policy may go by itself, within what limits, and for how long things stand.

Every key with its default and reason stands in collector.example.toml. An override that names a rule says
that rule's mode; one that names none only lowers what the rules say.
Not here: which faults there are and their modes (detect/), which actuator a cluster has (choice.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Final, cast

from ullage_collector.isolate.actuator import Drain
from ullage_collector.isolate.verdict import Mode
from ullage_contract.errors import ConfigError
from ullage_contract.settings import Table

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
DRAINS: Final = ("finish", "notify", "end")


@dataclass(frozen=True, slots=True)
class Override:
    """What a site says of some rules or subjects. rule, cluster, node: globs; label: "key=value" or "key", None: any.

    mode, drain: None: not said here.
    """

    rule: str = "*"
    cluster: str = "*"
    node: str = "*"
    label: str | None = None
    mode: Mode | None = None
    drain: Drain | None = None

    def matches(self, rule: str, cluster_id: str, node_id: str, labels: Mapping[str, str]) -> bool:
        """Whether it speaks of this rule there."""
        return (
            fnmatchcase(rule, self.rule)
            and fnmatchcase(cluster_id, self.cluster)
            and fnmatchcase(node_id, self.node)
            and (self.label is None or has_label(labels, self.label))
        )


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """[isolation.policy]. Seconds, ratios 0..1, counts. The numbers of the limits are those the product promises."""

    mode: Mode = Mode.ADVISE  # the ceiling; nothing acts on a fleet unless asked to
    overrides: tuple[Override, ...] = ()
    nodes_per_window: int = 1
    cards_per_window: int = 2
    window_seconds: float = 600.0
    isolated_ratio: float = 0.02
    isolated_cards_least: int = (
        1  # our choice: because 2 % of a small cluster is less than the one card a rule is for
    )
    nodes_per_domain: int = 1
    domains: tuple[str, ...] = ("rack", "leaf_switch", "switch")
    fresh_seconds: float = 120.0  # our choice: the fault engine's own: what waited longer came from a spool
    decision_seconds: float = (
        900.0  # our choice: because a scheduler restarts in minutes; after that a person decides
    )
    cooldown_seconds: float = 1800.0  # our choice: because who just gave a card back is still working on it
    breaker: bool = True
    breaker_nodes: int = 3  # NVSentinel's issue 1663: one bad rule marked every node of a model
    breaker_window_seconds: float = 300.0
    breaker_seconds: float = HOUR  # our choice: because a person looks at a page within an hour
    approval_seconds: float = 4 * HOUR  # our choice: because half a shift later the fault is another one
    probation_seconds: float = DAY
    drain: Drain = "finish"
    drain_deadline_seconds: float = HOUR  # NVSentinel's DeleteAfterTimeout has 60 min
    node_instead_of_card: Mode = Mode.APPROVE  # our choice: because it takes seven healthy cards too
    escalate_cards: int = 2
    escalate_ratio: float = 0.25
    node_side: tuple[str, ...] = ("*pcie*", "*link*", "*fabric*", "*bus*", "*brake*", "*driver*")
    opt_out: tuple[str, ...] = ()
    opt_out_labels: tuple[str, ...] = ("ullage.dev/isolate=false",)
    reconcile_seconds: float = (
        30.0  # our choice: because a lost fence costs a job if a scheduler round finds it
    )
    attempts: int = 2
    places_an_hour: int = 3  # our choice: who cancels a fence a third time means it
    probes: tuple[str, ...] = ()
    probe_seconds: float = 1500.0  # NVSentinel's janitor gives a repair 25 min
    review_seconds: float = (
        7 * DAY
    )  # our choice: because a card out of service for a week is somebody's forgotten task
    parallel_calls: int = 8  # our choice: because slurmctld serves a site's users too

    def mode_of(
        self, ruled: Mode, rule: str, cluster_id: str, node_id: str, labels: Mapping[str, str]
    ) -> Mode:
        """The mode that holds for a rule there. The first override that says a mode counts."""
        for override in self.overrides:
            if override.mode is not None and override.matches(rule, cluster_id, node_id, labels):
                return override.mode if override.rule != "*" else lower(ruled, override.mode)
        return lower(ruled, self.mode)

    def drain_of(self, rule: str, cluster_id: str, node_id: str, labels: Mapping[str, str]) -> Drain:
        """What becomes of running work when a rule asks for more than keeping new work off."""
        for override in self.overrides:
            if override.drain is not None and override.matches(rule, cluster_id, node_id, labels):
                return override.drain
        return self.drain

    def opted_out(self, cluster_id: str, node_id: str, labels: Mapping[str, str]) -> str | None:
        """By which word of the site a node is left alone; None: it is not."""
        for glob in self.opt_out:
            if fnmatchcase(node_id, glob) or fnmatchcase(f"{cluster_id}/{node_id}", glob):
                return f"opt_out {glob!r}"
        for label in self.opt_out_labels:
            if has_label(labels, label):
                return f"label {label}"
        return None


def lower(one: Mode, other: Mode) -> Mode:
    """The one that goes less far."""
    order = list(Mode)
    return one if order.index(one) <= order.index(other) else other


def has_label(labels: Mapping[str, str], wanted: str) -> bool:
    """wanted: "key=value", or "key" with any value."""
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def read(content: Mapping[str, Any], file: str) -> PolicySettings:
    """The settings of the table's content. Raises ConfigError for a wrong or unknown key."""
    table = Table(content, file, "isolation.policy")
    plain = PolicySettings()
    modes = tuple(mode.value for mode in Mode)
    found = replace(
        plain,
        mode=Mode(table.word("mode", plain.mode.value, modes)),
        nodes_per_window=table.whole("nodes_per_window", plain.nodes_per_window, 0, 100_000),
        cards_per_window=table.whole("cards_per_window", plain.cards_per_window, 0, 1_000_000),
        window_seconds=table.number("window_seconds", plain.window_seconds, 1, DAY),
        isolated_ratio=table.number("isolated_ratio", plain.isolated_ratio, 0, 1),
        isolated_cards_least=table.whole("isolated_cards_least", plain.isolated_cards_least, 0, 1_000_000),
        nodes_per_domain=table.whole("nodes_per_domain", plain.nodes_per_domain, 0, 100_000),
        domains=table.texts("domains") if "domains" in content else plain.domains,
        fresh_seconds=table.number("fresh_seconds", plain.fresh_seconds, 1, HOUR),
        decision_seconds=table.number("decision_seconds", plain.decision_seconds, 1, DAY),
        cooldown_seconds=table.number("cooldown_seconds", plain.cooldown_seconds, 0, 30 * DAY),
        breaker=table.flag("breaker", plain.breaker),
        breaker_nodes=table.whole("breaker_nodes", plain.breaker_nodes, 2, 100_000),
        breaker_window_seconds=table.number("breaker_window_seconds", plain.breaker_window_seconds, 1, DAY),
        breaker_seconds=table.number("breaker_seconds", plain.breaker_seconds, 1, 30 * DAY),
        approval_seconds=table.number("approval_seconds", plain.approval_seconds, 60, 30 * DAY),
        probation_seconds=table.number("probation_seconds", plain.probation_seconds, 0, 365 * DAY),
        drain=cast(Drain, table.word("drain", plain.drain, DRAINS)),
        drain_deadline_seconds=table.number(
            "drain_deadline_seconds", plain.drain_deadline_seconds, 0, 30 * DAY
        ),
        node_instead_of_card=Mode(
            table.word("node_instead_of_card", plain.node_instead_of_card.value, modes)
        ),
        escalate_cards=table.whole("escalate_cards", plain.escalate_cards, 2, 1024),
        escalate_ratio=table.number("escalate_ratio", plain.escalate_ratio, 0, 1),
        node_side=table.texts("node_side") if "node_side" in content else plain.node_side,
        opt_out=table.texts("opt_out"),
        opt_out_labels=table.texts("opt_out_labels") if "opt_out_labels" in content else plain.opt_out_labels,
        reconcile_seconds=table.number("reconcile_seconds", plain.reconcile_seconds, 1, HOUR),
        attempts=table.whole("attempts", plain.attempts, 1, 100),
        places_an_hour=table.whole("places_an_hour", plain.places_an_hour, 0, 1000),
        probes=table.texts("probes"),
        probe_seconds=table.number("probe_seconds", plain.probe_seconds, 10, DAY),
        review_seconds=table.number("review_seconds", plain.review_seconds, HOUR, 365 * DAY),
        parallel_calls=table.whole("parallel_calls", plain.parallel_calls, 1, 256),
        overrides=_overrides(content.get("override", []), file),
    )
    known = set(PolicySettings.__dataclass_fields__) - {"overrides"} | {"override"}
    if stray := set(content) - known:
        raise ConfigError(f"{file}: [isolation.policy]: unknown key {sorted(stray)[0]}")
    return found


def _overrides(rows: Any, file: str) -> tuple[Override, ...]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(
            f"{file}: write [[isolation.policy.override]], one a line of the order they count in"
        )
    return tuple(_override(row, file) for row in rows)


def _override(row: Mapping[str, Any], file: str) -> Override:
    table = Table(row, file, "isolation.policy.override")
    mode = table.word("mode", "", ("", *(mode.value for mode in Mode)))
    drain = table.word("drain", "", ("", *DRAINS))
    found = Override(
        rule=table.text("rule", "*") or "*",
        cluster=table.text("cluster", "*") or "*",
        node=table.text("node", "*") or "*",
        label=table.text("label"),
        mode=Mode(mode) if mode else None,
        drain=cast(Drain, drain) if drain else None,
    )
    table.finish()
    if found.mode is None and found.drain is None:
        raise table.wrong("mode", "", "say a mode, a drain, or both")
    return found
