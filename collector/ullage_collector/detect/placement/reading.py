"""What the store knows of running jobs' places: their nodes' switches and rails, and what their ports did lately.

Who runs where, and which ports are a job's alone, is read as for stragglers. Not here: the judgement (finding.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ullage_collector.detect.fragmentation.capacity import FreeNode
from ullage_collector.detect.fragmentation.task import WHOLE_MILLI
from ullage_collector.detect.placement.fabric import Group
from ullage_collector.detect.placement.finding import Node, Placed
from ullage_collector.detect.placement.settings import SECOND, Rules
from ullage_collector.detect.placement.traffic import MOVED, PortFigures
from ullage_collector.detect.stragglers.reading import Jobs, asked, source_columns, views
from ullage_collector.sql import fill, statements
from ullage_collector.topology.domains import Subject, Topology

if TYPE_CHECKING:
    import duckdb

MINUTE_US = 60_000_000
SOURCE = "port_minute"


def nodes_of(free: Iterable[FreeNode], topology: Topology) -> list[Node]:
    """Nodes whose cards may take work, with their switches. free: as the fragmentation detector reads them."""
    found = []
    for one in free:
        leaves, spines = switches(topology, one.cluster, one.name)
        found.append(
            Node(
                one.name,
                one.cluster,
                one.model,
                one.pool,
                leaves,
                spines,
                len(one.cards),
                sum(milli >= WHOLE_MILLI for milli in one.cards),
                frozenset(one.card_ids),
            )
        )
    return found


def switches(topology: Topology, cluster: str, node: str) -> tuple[Group, frozenset[str] | None]:
    """(leaf switches, spines above them). Leaves empty: not all of the node's are known; spines None: likewise."""
    subject = Subject("node", node, cluster)
    leaves = topology.domains(subject, "leaf_switch")
    if leaves is None or not leaves.complete:
        return frozenset(), None
    above = topology.domains(subject, "spine")
    return leaves.targets, above.targets if above is not None and above.complete else None


def placed_of(
    cursor: duckdb.DuckDBPyConnection, jobs: Jobs, topology: Topology, rules: Rules, through_us: int
) -> list[Placed]:
    """Every running job of several nodes. Raises what the store raises."""
    figures = _figures(cursor, jobs, rules, through_us)
    cards_of: dict[tuple[str, str], list[str]] = defaultdict(list)
    for thing in topology.cards():
        place = topology.node_of(Subject("card", thing))
        if place is not None:
            cards_of[place].append(thing)
    shared = {
        gang
        for gang, place in zip(jobs.gang_of, jobs.node_of, strict=True)
        if place >= 0 and jobs.shared[place]
    }
    found = []
    for number, gang in enumerate(jobs.gangs):
        names = {held.node_id for held in gang.held}
        if None in names or len(names) < rules.least_nodes:
            continue
        leaves = {str(name): switches(topology, gang.cluster, str(name))[0] for name in names}
        here: dict[str, list[str]] = defaultdict(list)
        for held in gang.held:
            here[str(held.node_id)].append(held.card_id or "")
        rails = rails_of(topology, here)
        could = rails_of(topology, {name: cards_of[gang.cluster, name] for name in here}) if rails else {}
        found.append(
            Placed(gang, leaves, figures.get(number, ()), rails if could else {}, could, number in shared)
        )
    return found


def rails_of(topology: Topology, cards: Mapping[str, Sequence[str]]) -> dict[str, frozenset[str]]:
    """Of each node the rails of these cards; empty where any of them is not known."""
    found: dict[str, frozenset[str]] = {}
    for node, names in cards.items():
        told = [topology.domains(Subject("card", name), "rail") if name else None for name in names]
        if not told or any(each is None or not each.complete for each in told):
            return {}
        found[node] = frozenset().union(*(each.targets for each in told if each is not None))
    return found


def _figures(
    cursor: duckdb.DuckDBPyConnection, jobs: Jobs, rules: Rules, through_us: int
) -> dict[int, list[PortFigures]]:
    """Gang -> its ports' growth over the window."""
    if not jobs.ports.rows or SOURCE not in views(cursor):
        return {}
    columns = source_columns(cursor, SOURCE)
    wanted = dict.fromkeys(
        (*MOVED, *(s.key for s in rules.signs), *(s.per for s in rules.signs if s.per != SECOND))
    )
    keys = [key for key in wanted if f"{key}_increase" in columns]
    with asked(cursor, jobs.ports):
        rows = cursor.execute(
            fill(
                statements("placement")["port_growth"],
                columns="".join(f', sum(m."{key}_increase")' for key in keys),
                source=SOURCE,
                from_us=str(through_us - rules.minutes * MINUTE_US),
                to_us=str(through_us),
            )
        ).fetchall()
    found: dict[int, list[PortFigures]] = defaultdict(list)
    for row, gang, covered, *grown in rows:
        told = {key: float(value) for key, value in zip(keys, grown, strict=True) if value is not None}
        found[gang].append(PortFigures(jobs.port_names[row], float(covered or 0), told))
    return found
