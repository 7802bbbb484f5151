"""Versions that differ where they should be one: in a pool, in a running job, below a site's minimum, before a fault.

Pure: rows in, findings out. A subject whose version nobody knows is in no count and never drifts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, Final

from ullage_collector.detect.findings import Found
from ullage_collector.ledger import PLATFORM
from ullage_collector.versions import NAMES, Ran, Running, compare
from ullage_contract import rule_file
from ullage_contract.settings import Table

KINDS: Final = (
    "version_drift",
    "version_drift_in_job",
    "version_below_minimum",
    "version_change_before_fault",
)
_LISTED: Final = 20
_KNOWN_NAMES: Final = tuple(dict.fromkeys(NAMES.values()))
_LIKELIHOOD: Final = 0.3  # our choice: that it came after does not make it a cause


FILE: Final = "versions.toml"


@dataclass(frozen=True, slots=True)
class Minimum:
    """A version below which a site wants none. vendor, model: None: every one; model is a glob. source: who says so."""

    name: str
    version: str
    vendor: str | None = None
    model: str | None = None
    source: str | None = None

    def covers(self, item: Running) -> bool:
        """Whether it speaks of this subject."""
        if item.name != self.name or (self.vendor and item.vendor.casefold() != self.vendor.casefold()):
            return False
        return self.model is None or fnmatchcase(item.kind.casefold(), self.model.casefold())


@dataclass(frozen=True, slots=True)
class Rules:
    """detect/versions.toml as values; every number's source stands there."""

    pool_names: tuple[str, ...]
    least: int
    majority_ratio: float
    job_names: tuple[str, ...]
    change_us: int
    look_back_us: int
    change_names: tuple[str, ...]
    minimum: tuple[Minimum, ...] = ()


@dataclass(frozen=True, slots=True)
class Holding:
    """A card that a workload holds now, with the node it is on."""

    workload_id: str
    card_id: str
    cluster: str
    node: str


@dataclass(frozen=True, slots=True)
class Fault:
    """An incident. node: where its subject is; None: not known, or a name that several clusters have."""

    incident_id: int
    family: str
    subject: str
    cause: str
    onset_us: int
    node: str | None
    cards: tuple[str, ...] = ()


@cache
def default_rules() -> Rules:
    """The rules shipped with the package."""
    return parse_rules(rule_file.shipped("ullage_collector.detect", FILE), FILE)


def rules_of(part: Mapping[str, Any]) -> Rules:
    """[versions] of collector.toml: ``rules = FILE`` and [[versions.minimum]]. Raises ConfigError."""
    table = Table(part, "collector.toml", "versions")
    named, own = rule_file.named(table), _minimum(table)
    table.finish()
    rules = default_rules() if named is None else parse_rules(*named)
    return replace(rules, minimum=(*rules.minimum, *own))


def parse_rules(text: str, where: str) -> Rules:
    """Rules of a TOML text. Raises ConfigError naming ``where`` and the key."""
    top = rule_file.opened(text, where)
    pool, job, change = top.table("pool"), top.table("job"), top.table("change")
    rules = Rules(
        pool_names=_names(pool),
        least=pool.whole("least", 3, 2, 1_000_000),
        majority_ratio=pool.number("majority_ratio", 0.5, 0.5, 1.0),
        job_names=_names(job),
        change_us=round(change.number("hours", 24, 0, 8_784) * 3_600_000_000),
        look_back_us=round(change.number("days", 7, 0, 3_660) * 86_400_000_000),
        change_names=_names(change),
        minimum=_minimum(top),
    )
    for table in (pool, job, change, top):
        table.finish()
    return rules


def _names(table: Table) -> tuple[str, ...]:
    found = table.texts("names", '["driver"]')
    for name in found:
        if name not in _KNOWN_NAMES:
            raise table.wrong("names", name, f"write some of {', '.join(_KNOWN_NAMES)}")
    return found


def _minimum(table: Table) -> tuple[Minimum, ...]:
    entries = table._get("minimum", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise table.wrong("minimum", entries, "write [[minimum]] tables")
    found = []
    for entry in entries:
        one = Table(entry, table.file, "minimum")
        version = one.text("version")
        if not version:
            raise one.wrong("version", version, 'write the version, e.g. "550.54.15"')
        found.append(
            Minimum(
                name=one.word("name", "", _KNOWN_NAMES),
                version=version,
                vendor=one.text("vendor"),
                model=one.text("model"),
                source=one.text("source"),
            )
        )
        one.finish()
    return tuple(found)


# ---------------------------------------------------------------------------------------------- in a pool
def drift(running: Iterable[Running], rules: Rules, now_us: int) -> list[Found]:
    """Nodes whose cards, ports or kernel run another version than most of their pool; pools where no version is most's.

    Like is compared with like: a driver with drivers of the same model in the pool.
    """
    groups: dict[tuple[str, str, str], list[Running]] = {}
    for item in running:
        if item.name in rules.pool_names:
            groups.setdefault((item.group, item.name, item.kind), []).append(item)
    found: list[Found] = []
    for (group, name, kind), items in sorted(groups.items()):
        counts = Counter(item.version for item in items)
        if len(items) < rules.least or len(counts) == 1:
            continue
        version, count = min(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        evidence = {"pool": group, "name": name, "model": kind or None, "of": len(items)}
        if count <= len(items) * rules.majority_ratio:
            found.append(_no_majority(group, name, kind, items, counts, evidence, now_us))
            continue
        odd: dict[tuple[str, str], list[Running]] = {}
        for item in items:
            if item.version != version:
                odd.setdefault((item.cluster, item.node), []).append(item)
        evidence |= {"most_run": version, "most": count}
        for place, others in odd.items():
            found.append(_odd_node(place, name, kind, group, others, evidence, now_us))
    return found


def _no_majority(
    group: str,
    name: str,
    kind: str,
    items: Sequence[Running],
    counts: Counter[str],
    evidence: dict[str, Any],
    now_us: int,
) -> Found:
    versions = dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
    return Found(
        "version_drift",
        "pool",
        group,
        _since(items, now_us),
        {**evidence, "versions": versions, "most_run": None},
        key=f"{name} {kind}",
        action="settle_version",
    )


def _odd_node(
    place: tuple[str, str],
    name: str,
    kind: str,
    group: str,
    others: Sequence[Running],
    evidence: dict[str, Any],
    now_us: int,
) -> Found:
    cluster, node = place
    versions = sorted({item.version for item in others})
    order = compare(versions[0], str(evidence["most_run"])) if len(versions) == 1 else None
    said = {
        **evidence,
        "cluster": cluster,
        "node": node,
        "versions": versions,
        "older_or_newer": {-1: "older", 1: "newer"}.get(order or 0),
        "subjects": [item.subject for item in others[:_LISTED]],
        "count": len(others),
    }
    key = f"{cluster} {group} {name} {kind}"
    return Found("version_drift", "node", node, _since(others, now_us), said, key=key, action="align_version")


# ---------------------------------------------------------------------------------------------- in a job
def drift_in_jobs(
    running: Iterable[Running], holdings: Iterable[Holding], rules: Rules, now_us: int
) -> list[Found]:
    """Running workloads whose cards or nodes run two versions of one thing."""
    by_card: dict[str, list[Running]] = {}
    by_node: dict[tuple[str, str], list[Running]] = {}
    for item in running:
        if item.name not in rules.job_names:
            continue
        if item.family == "card":
            by_card.setdefault(item.subject, []).append(item)
        else:
            by_node.setdefault((item.cluster, item.node), []).append(item)
    jobs: dict[str, dict[str, set[Any]]] = {}
    for held in holdings:
        job = jobs.setdefault(held.workload_id, {"cards": set(), "nodes": set()})
        job["cards"].add(held.card_id)
        job["nodes"].add((held.cluster, held.node))
    found: list[Found] = []
    for workload, job in sorted(jobs.items()):
        if len(job["cards"]) < 2:
            continue
        seen: dict[tuple[str, str], dict[str, list[str]]] = {}
        items = [item for card in sorted(job["cards"]) for item in by_card.get(card, ())]
        items += [item for node in sorted(job["nodes"]) for item in by_node.get(node, ())]
        for item in items:
            seen.setdefault((item.name, item.kind), {}).setdefault(item.version, []).append(item.subject)
        for (name, kind), versions in sorted(seen.items()):
            if len(versions) > 1:
                found.append(_mixed(workload, name, kind, versions, len(job["cards"]), now_us))
    return found


def _mixed(
    workload: str, name: str, kind: str, versions: Mapping[str, Sequence[str]], cards: int, now_us: int
) -> Found:
    evidence = {
        "name": name,
        "model": kind or None,
        "cards": cards,
        "versions": {version: list(subjects[:_LISTED]) for version, subjects in sorted(versions.items())},
    }
    key = f"{name} {kind}"
    return Found(
        "version_drift_in_job",
        "workload",
        workload,
        now_us,
        evidence,
        key=key,
        owner=PLATFORM,
        action="align_version",
    )


# ---------------------------------------------------------------------------------------------- below, before
def below_minimum(running: Iterable[Running], rules: Rules, now_us: int) -> list[Found]:
    """Nodes with something older than the site wants. What cannot be compared is not below."""
    low: dict[tuple[str, str, int], list[Running]] = {}
    for item in running:
        for number, minimum in enumerate(rules.minimum):
            if minimum.covers(item) and compare(item.version, minimum.version) == -1:
                low.setdefault((item.cluster, item.node, number), []).append(item)
    found = []
    for (cluster, node, number), items in sorted(low.items()):
        minimum = rules.minimum[number]
        evidence = {
            "cluster": cluster,
            "node": node,
            "name": minimum.name,
            "minimum": minimum.version,
            "because": minimum.source,
            "versions": sorted({item.version for item in items}),
            "subjects": [item.subject for item in items[:_LISTED]],
            "count": len(items),
        }
        key = f"{cluster} {minimum.name} {minimum.vendor or ''} {minimum.model or ''} {minimum.version}"
        found.append(
            Found(
                "version_below_minimum",
                "node",
                node,
                _since(items, now_us),
                evidence,
                key=key,
                action="update",
            )
        )
    return found


def before_faults(ran: Iterable[Ran], faults: Iterable[Fault], rules: Rules, now_us: int) -> list[Found]:
    """Faults whose subject, its node or its node's cards changed a version shortly before. Evidence only.

    The first version ever seen is no change, and neither is one that begins with the fault's own second or later.
    """
    changes: dict[tuple[str, str], list[tuple[Ran, Ran]]] = {}
    last: dict[tuple[str, str, str], Ran] = {}
    for item in sorted(ran, key=lambda r: r.from_us):
        before = last.get((item.family, item.subject, item.name))
        if item.version is None or item.name not in rules.change_names:
            continue
        if before is not None and before.version != item.version:
            changes.setdefault((item.family, item.subject), []).append((before, item))
        last[item.family, item.subject, item.name] = item
    found = []
    for fault in faults:
        if now_us - fault.onset_us > rules.look_back_us:
            continue
        subjects = [(fault.family, fault.subject)]
        if fault.node is not None:
            subjects.append(("node", fault.node))
        if fault.family == "node":
            subjects += [("card", card) for card in fault.cards]
        seen = [
            {
                "subject": subject,
                "name": after.name,
                "from": before.version,
                "to": after.version,
                "changed_at": _iso(after.from_us),
                "hours_before": round((fault.onset_us - after.from_us) / 3_600_000_000, 2),
            }
            for family, subject in dict.fromkeys(subjects)
            for before, after in changes.get((family, subject), ())
            if 0 < fault.onset_us - after.from_us <= rules.change_us
        ]
        if seen:
            evidence = {"incident_id": fault.incident_id, "cause": fault.cause, "onset": _iso(fault.onset_us)}
            found.append(
                Found(
                    "version_change_before_fault",
                    fault.family if fault.family in ("card", "node", "port", "slice") else "node",
                    fault.subject,
                    fault.onset_us,
                    {**evidence, "changes": seen[:_LISTED]},
                    key=str(fault.incident_id),
                    confidence=_LIKELIHOOD,
                    action="compare_with_unchanged",
                )
            )
    return found


def _since(items: Iterable[Running], now_us: int) -> int:
    """From when the newest of them runs what it runs; now where nobody knows."""
    return max((item.since_us for item in items if item.since_us is not None), default=now_us)


def _iso(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat(timespec="seconds")
